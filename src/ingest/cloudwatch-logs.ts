/**
 * Amazon CloudWatch Logs, read by polling. FilterLogEvents knows event times only, and an event may come up to
 * 14 days after its time: so the same times are read again and again, in sweeps of growing reach (`sweeps.ts`). The
 * first reads from where the last one ended to now and hands everything over; the others compare what is there with
 * what was read, minute by minute (`minutes.ts`), and hand over what came into the minutes that differ.
 *
 * A round of a sweep begins its own reach before the end of the one before. So it finds whatever is late by less
 * than that and came after that one began, also when Keytrail was not running meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FilteredLogEvent } from '@aws-sdk/client-cloudwatch-logs'
import type { CloudWatchLogsConfig } from '../model/sources.ts'
import { shortId, utcFromMillis } from '../normalize/text.ts'
import { IdSet } from '../pipeline/id-set.ts'
import type { Piece, Position, Source } from '../pipeline/ports.ts'
import { needsOperator, refusal } from './aws.ts'
import { isBadToken, type LogGroup, type OpenGroup, openGroup, placeOf, type Span } from './cloudwatch-api.ts'
import { hashOf } from './minutes.ts'
import { emptyPiece, NOTHING } from './piece.ts'
import { type Page, sweeps } from './sweeps.ts'

export interface CloudWatchLogsOptions extends Omit<CloudWatchLogsConfig, 'type'> {
  readonly feed_id: string
  /** Go on polling; otherwise read what is there and end. */
  readonly follow: boolean
  onNotice(text: string): void
  readonly clock?: () => number
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>
}

/** Bytes handed over at once: small enough to commit in time. */
const PIECE_BYTES = 256 * 1024
/** Waits after failures: full jitter over doubling steps (AWS Architecture Blog, Exponential Backoff And Jitter). */
const FIRST_WAIT_MS = 500
const MAX_WAIT_MS = 60_000
/** Failures one after the other that are nothing to speak of: throttling, mostly. */
const FAILURES_UNTOLD = 3
/** The same trouble is told again after this time. */
const TELL_MS = 600_000
/** Events that are recognized when they are read again soon: 16 bytes each, three times as many at most. */
const RECENT = 100_000

/** @returns whether an id of 32 hex digits is not among the last ones */
const newcomers = (): ((id: string) => boolean) => {
  let now = new IdSet()
  let before = new IdSet()
  return (id) => {
    if (now.size >= RECENT) {
      before = now
      now = new IdSet()
    }
    return now.add(id) && before.add(id)
  }
}

const idOf = ({ eventId, logStreamName, timestamp, message }: FilteredLogEvent): string =>
  eventId ?? `${logStreamName} ${timestamp} ${message}`

/** JSON lines, as the envelope reader knows the events of this service. */
function* linesOf(events: readonly FilteredLogEvent[]): Generator<Buffer> {
  let lines: string[] = []
  let size = 0
  for (const { message = '', ...event } of events) {
    lines.push(`${JSON.stringify({ ...event, message })}\n`)
    size += message.length
    if (size < PIECE_BYTES) continue
    yield Buffer.from(lines.join(''))
    lines = []
    size = 0
  }
  if (lines.length > 0) yield Buffer.from(lines.join(''))
}

const startOf = (start: CloudWatchLogsConfig['start'], now: number): number =>
  start === 'beginning' ? 0 : start === 'end' ? now : Date.parse(start)

const pass = (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal })

/** At most so many calls a second; the signal ends the waiting. */
const pace = (perSecond: number, signal: AbortSignal) => {
  let next = 0
  return async () => {
    const now = performance.now()
    const own = Math.max(next, now)
    next = own + 1000 / perSecond
    if (own > now) await pass(own - now, signal)
  }
}

export const cloudWatchLogs = (options: CloudWatchLogsOptions): Source => {
  const { feed_id, groups, follow, onNotice, clock = Date.now, sleep: rest = pass } = options
  const opened: OpenGroup[] = []
  const open = async (group: LogGroup) => {
    const api = await openGroup(group, options)
    opened.push(api)
    return api
  }
  const isNew = newcomers()

  const readGroup = async (
    group: LogGroup,
    unread: Set<LogGroup>,
    known: (place: string) => Position | undefined,
    take: (piece: Piece | 'idle') => Promise<void>,
    signal: AbortSignal,
  ) => {
    const api = await open(group)
    const place = placeOf(group)
    const ready = pace(options.requests_per_second, signal)
    const handOver = (keep: string, bytes: Buffer, position: () => Position | undefined, from = place) =>
      take(emptyPiece(from, { keep, bytes, position }))

    let told = { reason: '', at: 0 }
    /** Nothing is known of what comes meanwhile: silence is not quiet. */
    const trouble = async (reason: string, isTold: boolean) => {
      if (isTold && (reason !== told.reason || clock() - told.at > TELL_MS)) {
        told = { reason, at: clock() }
        onNotice(`${place} cannot be read, it is tried again: ${reason}`)
      }
      unread.add(group)
      await take(emptyPiece(place, { trouble: `${place}: ${reason}` }))
    }
    const well = () => {
      if (told.reason !== '') onNotice(`${place} is read again`)
      told = { reason: '', at: 0 }
    }

    const ask = async (span: Span): Promise<Page | undefined> => {
      for (let failures = 1; ; failures++) {
        await ready()
        try {
          const page = await api.page(span, signal)
          well()
          return page
        } catch (cause) {
          signal.throwIfAborted()
          if (isBadToken(cause, span)) return undefined
          const isFault = needsOperator(cause)
          await trouble(
            refusal(cause, 'logs:FilterLogEvents', group.name),
            isFault || failures > FAILURES_UNTOLD,
          )
          const most = isFault ? MAX_WAIT_MS : Math.min(FIRST_WAIT_MS * 2 ** (failures - 1), MAX_WAIT_MS)
          await rest(most * (isFault ? 0.5 + Math.random() / 2 : Math.random()), signal)
        }
      }
    }

    const first = known(place)
    const now = clock()
    const swept = sweeps(
      {
        ask,
        async offer(events) {
          const fresh = events.filter((event) => isNew(shortId(`${place} ${idOf(event)}`)))
          const at = fresh[0]?.timestamp
          for (const bytes of linesOf(fresh))
            await handOver(place, bytes, () => undefined, `${place} ${utcFromMillis(at) ?? ''}`)
        },
        keep: (name, position) => handOver(`${place} ${name}`.trimEnd(), NOTHING, () => position),
        known: (name) => known(`${place} ${name}`.trimEnd()),
        hashOf: (event) => hashOf(idOf(event)),
        start: Number(first?.['start'] ?? startOf(options.start, now)),
        pollMs: options.poll_seconds * 1000,
        clock,
        onNotice: (text) => onNotice(`${place}: ${text}`),
      },
      Number(first?.['seen'] ?? now),
    )
    for (;;) {
      const wait = swept.wait()
      if (wait > 0) {
        if (!follow) return
        await rest(wait, signal)
      }
      if (await swept.turn()) unread.delete(group)
      else continue
      if (unread.size === 0) await take('idle')
    }
  }

  return {
    feed_id,
    transport: 'cloudwatch_logs',
    async read(known, take, signal) {
      const unread = new Set(groups)
      try {
        await Promise.all(groups.map((group) => readGroup(group, unread, known, take, signal)))
      } catch (cause) {
        if (!signal.aborted) throw cause
      }
    },
    async check(signal) {
      const all = await Promise.all(groups.map(async (group) => (await open(group)).check(signal)))
      return all.flat()
    },
    async close() {
      for (const api of opened) api.close()
    },
  }
}
