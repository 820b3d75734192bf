/**
 * Forward: what the journal holds goes to one sink, from where it was left. Each sink has a cursor of its own, so a
 * sink that is down delays no other; it is tried again for ever, further and further apart.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Alert } from '../model/alert.ts'
import { messageOf } from '../model/error.ts'
import type { Cursor, DeadLetter, Delivery, Journal, Sink } from './ports.ts'

export interface ForwardOptions {
  readonly sink: Sink
  readonly journal: Journal
  /** Whether it takes the feed; every sink takes alerts. */
  readonly feed: boolean
  /** Resolves when there may be something new. */
  readonly news: () => Promise<void>
  /** In [0, 1): spreads attempts. */
  readonly random: () => number
  onNotice(text: string): void
  /** Deliver what is there when the signal comes, then end. */
  readonly closing: AbortSignal
}

const BATCH_BYTES = 1024 * 1024
const BATCH_ALERTS = 500
/** Attempts are at most this far apart: full jitter over doubling steps, as AWS describes it for its own clients. */
const MAX_WAIT_MS = 60_000
const FIRST_WAIT_MS = 250
/** A sink without a feed holds no block back. */
const NO_FEED = Number.MAX_SAFE_INTEGER

const deliveryOf = (letters: readonly DeadLetter[]): Delivery => ({
  events: letters.filter(({ stream }) => stream === 'feed').map(({ body }) => body),
  alerts: letters.filter(({ stream }) => stream === 'alerts').map(({ body }) => JSON.parse(body) as Alert), // bodies that were journaled
})

/** @param signal ends at once; what was not settled is delivered again after a restart */
export const forward = async (options: ForwardOptions, signal: AbortSignal): Promise<void> => {
  const { sink, journal, feed, news, random, onNotice, closing } = options
  let cursor: Cursor = await journal.cursor(sink.name)
  if (!feed || cursor.feed === NO_FEED) cursor = { ...cursor, feed: feed ? 0 : NO_FEED }
  let wait = 0

  /** Tries until it is done. */
  const persist = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        const done = await work()
        if (wait > 0) onNotice(`${sink.name}: ${what} works again`)
        wait = 0
        return done
      } catch (cause) {
        signal.throwIfAborted()
        wait = Math.min(Math.max(wait * 2, FIRST_WAIT_MS), MAX_WAIT_MS)
        const pause = Math.round(wait * random())
        onNotice(`${sink.name}: ${what} failed: ${messageOf(cause)}; next attempt in ${pause} ms`)
        await sleep(pause, undefined, { signal })
      }
    }
  }

  try {
    cursor = { ...cursor, memo: await persist('opening', () => sink.open(cursor.memo)) }
    await journal.settle(sink.name, cursor, [])
    for (;;) {
      signal.throwIfAborted()
      const arrived = news()
      const again = await journal.again(sink.name)
      if (again.length > 0) {
        const { memo, refused } = await persist('delivery of dead letters', () =>
          sink.send(deliveryOf(again), signal),
        )
        cursor = { ...cursor, memo }
        await journal.settle(sink.name, cursor, [])
        await journal.settleAgain(sink.name, again.length, refused)
      }
      const blocks = feed ? await journal.blocks(cursor.feed, BATCH_BYTES) : []
      const stored = await journal.alerts(cursor.alerts, BATCH_ALERTS)
      if (blocks.length === 0 && stored.length === 0) {
        if (closing.aborted) return
        await arrived
        continue
      }
      const delivery = {
        events: blocks.flatMap(({ items }) => items.map(({ event }) => event)),
        alerts: stored.map(({ alert }) => alert),
      }
      const { memo, refused } = await persist('delivery', () => sink.send(delivery, signal))
      cursor = { feed: blocks.at(-1)?.seq ?? cursor.feed, alerts: stored.at(-1)?.n ?? cursor.alerts, memo }
      await journal.settle(sink.name, cursor, refused)
      for (const one of refused)
        onNotice(`${sink.name} refuses ${one.id}: ${one.reason}; it is kept as a dead letter`)
    }
  } catch (cause) {
    if (!signal.aborted) throw cause
  } finally {
    await sink.close()
  }
}
