/**
 * Forward: what the journal holds goes to one sink, from where it was left. Each sink has a cursor of its own, so a
 * sink that is down delays no other; it is tried again for ever, further and further apart.
 */
import { setTimeout } from 'node:timers/promises'
import type { Alert } from '../model/alert.ts'
import { messageOf } from '../model/error.ts'
import {
  type Again,
  type Cursor,
  type DeadLetter,
  type Delivery,
  type Journal,
  NOT_TAKEN,
  type Sink,
  SinkFault,
} from './ports.ts'

/** What a sink takes. */
export interface Selection {
  readonly feed: boolean
  readonly alerts: boolean
  /** Whether it takes this alert. */
  wantsAlert(alert: Alert): boolean
  /** Whether it takes this event, as JSON. */
  wantsEvent(event: string): boolean
}

export interface ForwardOptions {
  readonly sink: Sink
  readonly journal: Journal
  readonly selection: Selection
  /** Resolves when there may be something new. */
  readonly news: () => Promise<void>
  /** In [0, 1): spreads attempts. */
  readonly random: () => number
  /** Milliseconds since 1970. */
  readonly clock: () => number
  /** Lets time pass. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
  /** Attempts are at most this far apart. */
  readonly maxWaitMs?: number | undefined
  /** Bytes of blocks that are delivered together. */
  readonly batchBytes?: number | undefined
  onNotice(text: string): void
  /** Deliver what is there when the signal comes, then end. */
  readonly closing: AbortSignal
  /** Settle what is delivered when the signal comes, then end: another goes on from there. */
  readonly leaving?: AbortSignal | undefined
}

const BATCH_BYTES = 1024 * 1024
const BATCH_ALERTS = 4000
/** Of deliveries that wait to be certain, together: a bound for memory, and for repeats after a kill. */
const MAX_OPEN_CHARS = 24 * 1024 * 1024
/** About as long is an alert. */
const ALERT_CHARS = 2500
const FIRST_WAIT_MS = 250
const MAX_WAIT_MS = 60_000
/** No server delays us longer than this by its word alone (reliability.md R11). */
const MAX_ASKED_MS = 300_000

const deliveryOf = (letters: readonly DeadLetter[]): Delivery => ({
  events: letters.filter(({ stream }) => stream === 'feed').map(({ body }) => body),
  alerts: letters.filter(({ stream }) => stream === 'alerts').map(({ body }) => JSON.parse(body) as Alert), // bodies that were journaled
})

const sizeOf = ({ events, alerts }: Delivery) => events.length + alerts.length

const pass = (ms: number, signal: AbortSignal) => setTimeout(ms, undefined, { signal })

const charsOf = ({ events, alerts }: Delivery) =>
  events.reduce((sum, event) => sum + event.length, 0) + alerts.length * ALERT_CHARS

interface Posted {
  readonly refused: readonly DeadLetter[]
  /** What must be sent again after all. */
  readonly confirmed: Promise<readonly Again[]>
}

interface Open {
  readonly posted: Posted
  /** Where the sink is when this is settled. */
  readonly cursor: Cursor
  readonly chars: number
  isCertain: boolean
}

interface Failure {
  readonly reason: string
  readonly fault: boolean
  readonly afterMs?: number | undefined
}

/**
 * Waits after failures: full jitter over doubling steps, as AWS describes it for its own clients; a fault that an
 * operator must correct is tried at the longest distance. Tells once when it begins, changes and ends.
 */
const patience = (options: ForwardOptions, signal: AbortSignal) => {
  const { sink, journal, random, clock, onNotice, maxWaitMs = MAX_WAIT_MS, sleep = pass } = options
  let wait = 0
  let since = 0
  let told: string | undefined
  return {
    async failed({ reason, fault, afterMs }: Failure): Promise<void> {
      signal.throwIfAborted()
      wait = Math.min(fault ? maxWaitMs : Math.max(wait * 2, FIRST_WAIT_MS), maxWaitMs)
      const own = Math.round(fault ? wait * (0.5 + random() / 2) : wait * random())
      const asked = Math.min(afterMs ?? 0, MAX_ASKED_MS)
      const pause = asked > 0 ? asked + Math.round((FIRST_WAIT_MS + asked / 10) * random()) : own
      if (since === 0) since = clock()
      if (told !== reason) {
        const held = fault ? 'it holds until this is corrected' : 'it is tried until it works'
        onNotice(`${sink.name}: ${reason}; ${held}, nothing is lost`)
        await journal.trouble(sink.name, { since, reason, fault })
      }
      told = reason
      await sleep(pause, signal)
    },
    progressed() {
      wait = 0
    },
    async worked(): Promise<void> {
      wait = 0
      if (told === undefined) return
      onNotice(`${sink.name} works again after ${Math.round((clock() - since) / 1000)} s`)
      told = undefined
      since = 0
      await journal.trouble(sink.name, undefined)
    },
  }
}

/** @param signal ends at once; what was not settled is delivered again after a restart */
export const forward = async (options: ForwardOptions, signal: AbortSignal): Promise<void> => {
  const { sink, journal, selection, news, onNotice, closing, leaving, batchBytes = BATCH_BYTES } = options
  const { failed, progressed, worked } = patience(options, signal)

  /** Tries until it is done. */
  const persist = async <T>(work: () => Promise<T>): Promise<T> => {
    for (;;)
      try {
        return await work()
      } catch (cause) {
        await failed({ reason: messageOf(cause), fault: cause instanceof SinkFault })
      }
  }

  /** Sends until all of it is taken or refused. @returns what becomes certain later, too */
  const post = async (delivery: Delivery): Promise<Posted> => {
    const refused: DeadLetter[] = []
    const confirming: Promise<Again | undefined>[] = []
    for (let rest = delivery; sizeOf(rest) > 0; ) {
      const sent = rest
      const done = await persist(() => sink.send(sent, signal))
      memo = done.memo
      refused.push(...done.refused)
      if (done.confirmed !== undefined) confirming.push(done.confirmed)
      if (done.again === undefined) break
      rest = done.again.delivery
      if (sizeOf(rest) < sizeOf(sent)) progressed()
      await failed(done.again)
    }
    await worked()
    for (const { id, reason } of refused)
      onNotice(`${sink.name} refuses ${id}: ${reason}; it is kept as a dead letter`)
    return {
      refused,
      confirmed: Promise.all(confirming).then((ends) => ends.filter((end) => end !== undefined)),
    }
  }

  /** Waits until all of it is certain, and sends again what is not. */
  const confirm = async ({ refused, confirmed }: Posted): Promise<readonly DeadLetter[]> => {
    const all = [...refused]
    for (const again of await confirmed) {
      await failed(again)
      all.push(...(await confirm(await post(again.delivery))))
    }
    return all
  }

  /** Deliveries that are posted and not settled yet, the oldest first. */
  const open: Open[] = []
  const settleOldest = async () => {
    const [oldest] = open
    if (oldest === undefined) return
    const refused = await confirm(oldest.posted)
    open.shift()
    await journal.settle(sink.name, { ...oldest.cursor, memo }, refused)
  }

  let cursor: Cursor = await journal.cursor(sink.name)
  let memo = cursor.memo
  const place = (taken: boolean, kept: number) => (taken ? (kept === NOT_TAKEN ? 0 : kept) : NOT_TAKEN)
  cursor = {
    ...cursor,
    feed: place(selection.feed, cursor.feed),
    alerts: place(selection.alerts, cursor.alerts),
  }

  /** Posts what lies behind the cursor. @returns whether there was anything */
  const postNext = async (): Promise<boolean> => {
    const blocks = selection.feed ? await journal.blocks(cursor.feed, batchBytes) : []
    const stored = selection.alerts ? await journal.alerts(cursor.alerts, BATCH_ALERTS) : []
    if (blocks.length === 0 && stored.length === 0) return false
    const alerts = stored.map(({ alert }) => alert).filter(selection.wantsAlert)
    const events = blocks.flatMap(({ events }) => events).filter(selection.wantsEvent)
    cursor = {
      ...cursor,
      feed: blocks.at(-1)?.seq ?? cursor.feed,
      alerts: stored.at(-1)?.n ?? cursor.alerts,
      passed: cursor.passed + stored.length - alerts.length,
    }
    const posted = await post({ events, alerts })
    const one: Open = { posted, cursor, chars: charsOf({ events, alerts }), isCertain: false }
    open.push(one)
    void posted.confirmed.then(() => {
      one.isCertain = true
    })
    return true
  }

  const sendLetters = async (): Promise<void> => {
    const letters = await journal.again(sink.name)
    if (letters.length === 0) return
    const refused = await confirm(await post(deliveryOf(letters)))
    await journal.settleAgain(sink.name, letters.length, refused)
  }

  try {
    await journal.settle(sink.name, cursor, []) // from now on nothing it has not passed is trimmed
    memo = await persist(() => sink.open(cursor.memo, signal))
    await worked()
    await journal.trouble(sink.name, undefined) // what an earlier process left
    await journal.settle(sink.name, { ...cursor, memo }, [])
    for (;;) {
      signal.throwIfAborted()
      const arrived = news()
      await sendLetters()
      const isNew = !leaving?.aborted && (await postNext())
      while (open[0]?.isCertain || open.reduce((sum, { chars }) => sum + chars, 0) > MAX_OPEN_CHARS)
        await settleOldest()
      if (isNew) continue
      if (closing.aborted || leaving?.aborted) {
        while (open.length > 0) await settleOldest()
        return
      }
      await Promise.race([arrived, ...open.slice(0, 1).map(({ posted }) => posted.confirmed)])
    }
  } catch (cause) {
    if (!signal.aborted) throw cause
  } finally {
    await sink.close()
  }
}
