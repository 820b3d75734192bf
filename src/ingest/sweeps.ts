/**
 * Reads one log group again and again, in sweeps of growing reach (cloudwatch-logs.ts says why). A sweep goes
 * through its time in windows; what is kept for a restart is the end of the last whole window, never a token.
 */
import type { FilteredLogEvent } from '@aws-sdk/client-cloudwatch-logs'
import type { Position } from '../pipeline/ports.ts'
import type { Span } from './cloudwatch-api.ts'
import { MINUTE_MS, Minutes } from './minutes.ts'

export interface Page {
  readonly events?: readonly FilteredLogEvent[] | undefined
  readonly nextToken?: string | undefined
}

export interface SweepOptions {
  /** A page, however long it takes; `undefined` when the token is not taken any more. */
  ask(span: Span): Promise<Page | undefined>
  /** Hands over events that were not handed over lately. */
  offer(events: readonly FilteredLogEvent[]): Promise<void>
  /** Hands over what is to be kept under a name. */
  keep(name: string, position: Position): Promise<void>
  known(name: string): Position | undefined
  /** Hash of what identifies an event, 32 bits. */
  hashOf(event: FilteredLogEvent): number
  /** Events before are passed over; milliseconds since 1970. */
  readonly start: number
  readonly pollMs: number
  readonly clock: () => number
  onNotice(text: string): void
}

/** One sweep: where it is in this round. */
interface Round {
  readonly name: string
  /** How late an event may be that it finds. */
  readonly reachMs: number
  readonly everyMs: number
  /** Everything before was read in this round, milliseconds since 1970. */
  at: number
  /** Where this round ends. */
  to: number
  /** Where the one before ended. */
  since: number
  /** Events that were late, in all rounds. */
  late: number
  /** Clock when this round began. */
  began: number
  isOpen: boolean
}

export interface GroupSweeps {
  /** Milliseconds to wait before anything is due; none: `turn` has something to do. */
  wait(): number
  /** One request. @returns whether everything up to now has been read */
  turn(): Promise<boolean>
}

const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
/** The CloudWatch agent sends every 5 s (force_flush_interval): what is later than this is found a little later. */
const OVERLAP_MS = 30_000
/** Past events that are known by count: 14 days, and what a sweep takes. */
const KEPT_HOURS = 15 * 24
/**
 * In a minute with a late event the others are known to the journal only for seven days. What was in the log a day
 * before the last round began has been handed over.
 */
const INGESTED_MS = DAY_MS
/** A window is as long as this many pages need, about. */
const FEW_PAGES = 16
const MANY_PAGES = 64
/** How often one token may come in one window. */
const FOLLOW = 3

const minuteOf = (at: number) => Math.floor(at / MINUTE_MS) * MINUTE_MS

interface Swept {
  readonly isWhole: boolean
  readonly pages: number
  /** Times of the oldest and the newest event. */
  readonly first: number
  readonly last: number
}

/** @param firstSeen when the group was first looked at; nothing was handed over before */
export const sweeps = (options: SweepOptions, firstSeen: number): GroupSweeps => {
  const { ask, offer, keep, known, hashOf, start, pollMs, clock, onNotice } = options
  const minutes = new Minutes()
  for (let slot = 0; slot < KEPT_HOURS; slot++) {
    const { hour, minutes: text } = known(`hour ${slot}`) ?? {}
    if (typeof hour === 'number' && typeof text === 'string') minutes.load(hour, text)
  }
  const kept = known('')
  const roundOf = (name: string, reachMs: number, everyMs: number, from: number): Round => {
    const [at = from, to = from, since = from, late = 0] = String(kept?.[name] ?? '')
      .split(' ')
      .filter((part) => part !== '')
      .map(Number)
    return { name, reachMs, everyMs, at, to, since, late, began: 0, isOpen: false }
  }
  const front = roundOf('front', OVERLAP_MS, pollMs, start)
  const rounds = [
    roundOf('quarter', 15 * MINUTE_MS, pollMs, firstSeen),
    roundOf('day', DAY_MS, HOUR_MS, firstSeen),
    roundOf('fortnight', 14 * DAY_MS, DAY_MS, firstSeen),
  ]

  /** Milliseconds since 1970; of what is older nothing is compared. After a long rest sweeps reach further back. */
  const oldest = () => Math.min(clock(), ...rounds.map(({ since }) => since)) - KEPT_HOURS * HOUR_MS

  const remember = async () => {
    for (const [hour, text] of minutes.changes(Math.floor(oldest() / HOUR_MS)))
      await keep(`hour ${hour % KEPT_HOURS}`, { hour, minutes: text })
    const told = [front, ...rounds].map(({ name, at, to, since, late }) => [
      name,
      [at, to, since, late].join(' '),
    ])
    await keep('', { start, seen: firstSeen, ...Object.fromEntries(told) })
  }

  /** Reads [from, to) to its end, a request a turn. @param pages a window of more is given up, to be cut */
  async function* read(
    from: number,
    to: number,
    pages: number,
    see: (events: readonly FilteredLogEvent[]) => Promise<void>,
  ): AsyncGenerator<void, Swept> {
    const followed = new Map<string, number>()
    let first = to
    let last = from
    let nextToken: string | undefined
    for (let full = 0; ; ) {
      const page = await ask({
        startTime: from,
        endTime: to - 1,
        ...(nextToken !== undefined && { nextToken }),
      })
      if (page === undefined) return { isWhole: false, pages: full, first: from, last: to }
      const { events = [] } = page
      for (const { timestamp = from } of events) {
        first = Math.min(first, timestamp)
        last = Math.max(last, timestamp)
      }
      await see(events)
      if (events.length > 0) full++
      nextToken = page.nextToken
      if (nextToken === undefined) return { isWhole: true, pages: full, first, last }
      const times = (followed.get(nextToken) ?? 0) + 1
      followed.set(nextToken, times)
      if (times > FOLLOW) return { isWhole: false, pages: full, first: from, last: to }
      if (full > pages) return { isWhole: false, pages: full, first, last }
      yield
    }
  }

  const counting = (into: Minutes) => (events: readonly FilteredLogEvent[]) => {
    const from = oldest()
    for (const event of events)
      if (event.timestamp !== undefined && event.timestamp >= from) into.add(event.timestamp, hashOf(event))
  }

  /** Reads minutes that differ once more and hands over what came into them. @returns how many that were */
  async function* reread(changed: readonly number[], round: Round): AsyncGenerator<void, number> {
    let late = 0
    for (const minute of changed) {
      const from = minute * MINUTE_MS
      for (;;) {
        const seen = new Minutes()
        const count = counting(seen)
        const { isWhole } = yield* read(
          Math.max(from, start),
          from + MINUTE_MS,
          Number.POSITIVE_INFINITY,
          async (events) => {
            count(events)
            await offer(
              events.filter(({ ingestionTime = round.since }) => ingestionTime >= round.since - INGESTED_MS),
            )
          },
        )
        if (!isWhole) continue
        late += Math.max(seen.count(minute) - minutes.count(minute), 0)
        minutes.take(seen, [minute])
        break
      }
      yield
    }
    return late
  }

  /** Rounds of one sweep, for ever, a request a turn. */
  async function* walk(round: Round): AsyncGenerator<void> {
    let step = HOUR_MS
    /** A window that was cut: where its events begin; up to there it is read first. */
    let empty = 0
    for (;;) {
      round.began = clock()
      round.isOpen = true
      if (round.at >= round.to) {
        const end = round === front ? clock() : minuteOf(front.to - OVERLAP_MS)
        round.since = round.to
        round.at = Math.max(start, minuteOf(round.to - round.reachMs))
        round.to = Math.max(round.to, end)
      }
      const late = round.late
      while (round.at < round.to) {
        const end = Math.min(round.to, empty > round.at ? empty : minuteOf(round.at + step))
        const seen = new Minutes()
        const count = counting(seen)
        const isShort = end - round.at <= MINUTE_MS
        const { isWhole, pages, first, last } = yield* read(
          round.at,
          end,
          isShort ? Number.POSITIVE_INFINITY : MANY_PAGES,
          async (events) => {
            count(events)
            if (round === front) await offer(events)
          },
        )
        if (!isWhole) {
          step = Math.max(MINUTE_MS, (last - first) / 2)
          empty = minuteOf(first)
          yield
          continue
        }
        if (pages < FEW_PAGES && end !== empty) step *= 2
        const changed = minutes.differing(seen, Math.max(round.at, oldest()), end)
        if (round === front) minutes.take(seen, changed)
        else round.late += yield* reread(changed, round)
        round.at = end
        if (round === front) await remember() // the others are remembered with it
        if (round.at < round.to) yield
      }
      if (round.late > late && round.everyMs > pollMs)
        onNotice(`the ${round.name} sweep found ${round.late - late} events that came late`)
      round.isOpen = false
      yield
    }
  }
  const walks = new Map([front, ...rounds].map((round) => [round, walk(round)]))

  const waitOf = (round: Round) => {
    if (round.isOpen || round.at < round.to) return 0
    const last = round.everyMs > pollMs ? Math.max(round.began, round.to) : round.began
    return Math.max(0, last + round.everyMs - clock())
  }
  return {
    wait: () => Math.min(...[front, ...rounds].map(waitOf)),
    async turn() {
      const due = waitOf(front) === 0 ? front : rounds.find((round) => waitOf(round) === 0)
      if (due !== undefined) {
        await walks.get(due)?.next()
        if (due !== front) rounds.push(...rounds.splice(rounds.indexOf(due), 1))
      }
      return waitOf(front) > 0
    },
  }
}
