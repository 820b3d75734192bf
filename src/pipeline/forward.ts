/**
 * Forward: what the journal holds goes to one sink, from where it was left. Each sink has a cursor of its own, so a
 * sink that is down delays no other; it is tried again for ever, further and further apart.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Alert } from '../model/alert.ts'
import { messageOf } from '../model/error.ts'
import {
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
  /** Attempts are at most this far apart. */
  readonly maxWaitMs?: number | undefined
  /** Bytes of blocks that are delivered together. */
  readonly batchBytes?: number | undefined
  onNotice(text: string): void
  /** Deliver what is there when the signal comes, then end. */
  readonly closing: AbortSignal
}

const BATCH_BYTES = 1024 * 1024
const BATCH_ALERTS = 4000
const FIRST_WAIT_MS = 250
const MAX_WAIT_MS = 60_000
/** No server delays us longer than this by its word alone (reliability.md R11). */
const MAX_ASKED_MS = 300_000

const deliveryOf = (letters: readonly DeadLetter[]): Delivery => ({
  events: letters.filter(({ stream }) => stream === 'feed').map(({ body }) => body),
  alerts: letters.filter(({ stream }) => stream === 'alerts').map(({ body }) => JSON.parse(body) as Alert), // bodies that were journaled
})

const sizeOf = ({ events, alerts }: Delivery) => events.length + alerts.length

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
  const { sink, journal, random, clock, onNotice, maxWaitMs = MAX_WAIT_MS } = options
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
      await sleep(pause, undefined, { signal })
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
  const { sink, journal, selection, news, onNotice, closing, batchBytes = BATCH_BYTES } = options
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

  /** Sends until all of it is taken or refused. */
  const deliver = async (delivery: Delivery): Promise<readonly DeadLetter[]> => {
    const refused: DeadLetter[] = []
    for (let rest = delivery; sizeOf(rest) > 0; ) {
      const sent = rest
      const done = await persist(() => sink.send(sent, signal))
      cursor = { ...cursor, memo: done.memo }
      refused.push(...done.refused)
      if (done.again === undefined) break
      rest = done.again.delivery
      if (sizeOf(rest) < sizeOf(sent)) progressed()
      await failed(done.again)
    }
    await worked()
    for (const { id, reason } of refused)
      onNotice(`${sink.name} refuses ${id}: ${reason}; it is kept as a dead letter`)
    return refused
  }

  let cursor: Cursor = await journal.cursor(sink.name)
  const place = (taken: boolean, kept: number) => (taken ? (kept === NOT_TAKEN ? 0 : kept) : NOT_TAKEN)
  cursor = {
    ...cursor,
    feed: place(selection.feed, cursor.feed),
    alerts: place(selection.alerts, cursor.alerts),
  }
  try {
    cursor = { ...cursor, memo: await persist(() => sink.open(cursor.memo, signal)) }
    await worked()
    await journal.trouble(sink.name, undefined) // what an earlier process left
    await journal.settle(sink.name, cursor, [])
    for (;;) {
      signal.throwIfAborted()
      const arrived = news()
      const letters = await journal.again(sink.name)
      if (letters.length > 0) {
        const refused = await deliver(deliveryOf(letters))
        await journal.settle(sink.name, cursor, [])
        await journal.settleAgain(sink.name, letters.length, refused)
      }
      const blocks = selection.feed ? await journal.blocks(cursor.feed, batchBytes) : []
      const stored = selection.alerts ? await journal.alerts(cursor.alerts, BATCH_ALERTS) : []
      if (blocks.length === 0 && stored.length === 0) {
        if (closing.aborted) return
        await arrived
        continue
      }
      const alerts = stored.map(({ alert }) => alert).filter(selection.wantsAlert)
      const events = blocks
        .flatMap(({ items }) => items.map(({ event }) => event))
        .filter(selection.wantsEvent)
      const refused = await deliver({ events, alerts })
      cursor = {
        ...cursor,
        feed: blocks.at(-1)?.seq ?? cursor.feed,
        alerts: stored.at(-1)?.n ?? cursor.alerts,
        passed: cursor.passed + stored.length - alerts.length,
      }
      await journal.settle(sink.name, cursor, refused)
    }
  } catch (cause) {
    if (!signal.aborted) throw cause
  } finally {
    await sink.close()
  }
}
