/**
 * The loop of `run`: read, judge, commit. Pieces of all sources gather in a batch; a batch becomes durable by time,
 * number or size, whichever is first, and while it is written the next one gathers.
 */
import { messageOf } from '../model/error.ts'
import type { FormatName } from '../normalize/index.ts'
import { printable } from '../normalize/text.ts'
import { countUp } from './count.ts'
import type { FeedBeat } from './coverage.ts'
import { type Intake, intake } from './intake.ts'
import { type Batch, emptyBatch, type LiveJudge, rejectionOf } from './live-judge.ts'
import type { RecordSettings } from './normalize-record.ts'
import type { Commit, Journal, Piece, Position, Source } from './ports.ts'
import { turns } from './turns.ts'
import { rest } from './waiting.ts'

export interface LoopOptions {
  readonly sources: readonly Source[]
  readonly journal: Journal
  readonly judge: LiveJudge
  readonly settings: RecordSettings
  readonly format?: FormatName | undefined
  /** The sources are all that feed this journal. */
  readonly isAll?: boolean
  /** Bytes that sinks may be behind before reading stops. */
  readonly budget: number
  readonly clock: () => number
  onNotice(text: string): void
  /** The loop runs: it may be changed from here on. */
  onStart?(loop: Loop): void
  /** A commit is durable. */
  onCommit(commit: Commit): void
}

export interface Loop {
  /**
   * Ends the source of a feed, if there is one, and begins another in its place: what the first one read is durable and
   * acknowledged by then.
   */
  replace(feed: string, next: Source | undefined): Promise<void>
  /** Commits an act of the operator at its place in the log. */
  act(make: () => Commit): Promise<void>
}

/** A commit is made after this time, or with so many events or bytes (architecture.md section 3). */
const COMMIT_MS = 200
const COMMIT_EVENTS = 1000
const COMMIT_BYTES = 2 * 1024 * 1024
const TICK_MS = 10_000
/** Characters of a source's trouble that a tick holds. */
const MAX_TROUBLE = 512
const BACKLOG_MS = 1000
const TRIM_MS = 60_000
/** Full batches that wait to be judged before reading pauses. */
const READ_AHEAD = 2
/** Commits that are written while the next batch gathers. */
const IN_FLIGHT = 2

interface Reading {
  readonly source: Source
  readonly leave: AbortController
  readonly done: Promise<void>
}

/** Reads all sources until they end or the signal comes; what was read is durable when it returns. */
export const runLoop = async (options: LoopOptions, signal: AbortSignal): Promise<void> => {
  const { sources, journal, judge, settings, budget, clock, onNotice, onCommit, isAll = false } = options
  const reading = new Map<string, Reading>()
  const caughtUp = new Set<string>()
  /** When a feed brought its last record, and why it brings none. */
  const heard = new Map<string, number>()
  const troubles = new Map<string, string>()
  const oneByOne = turns()
  const writing = new Set<Promise<void>>()
  const failed = new AbortController()
  const stop = AbortSignal.any([signal, failed.signal])
  let batch = emptyBatch()
  let began = 0
  /** RFC 3339 of now; one text for all records of one piece. */
  let now = ''
  const received = () => now

  /** Acknowledges in order beside the loop, each feed for itself: a service that does not answer delays its own alone. */
  const settling = new Map<string, ReturnType<typeof turns>>()
  const settle = ({ feed, settle }: Batch['settles'][number]) => {
    const ofFeed = settling.get(feed) ?? turns()
    settling.set(feed, ofFeed)
    void ofFeed(() =>
      settle().catch((cause) => onNotice(`not acknowledged, will come again: ${messageOf(cause)}`)),
    )
  }
  const settled = async (feed: string) => settling.get(feed)?.(async () => {})

  const write = async (commit: Commit, settles: Batch['settles'] = []) => {
    const durable = journal.commit(commit).then(() => {
      onCommit(commit)
      for (const one of settles) settle(one)
    })
    writing.add(durable)
    durable.then(
      () => writing.delete(durable),
      (cause) => failed.abort(cause),
    )
    if (writing.size >= IN_FLIGHT) await Promise.race(writing)
  }

  /** Hands the batch over; the next one gathers meanwhile. @returns when it is judged and on its way to the disk */
  const flush = (): Promise<void> => {
    const full = batch
    batch = emptyBatch()
    if (full.kept.length > 0) judge.prepare(full)
    return oneByOne(async () => {
      if (full.pieces > 0) await write(await judge.judge(full, clock()), full.settles)
    })
  }
  /** Batches that wait while another is judged. */
  const waiting = new Set<Promise<void>>()
  const flushFull = async () => {
    const flushed = flush()
    waiting.add(flushed)
    flushed.then(
      () => waiting.delete(flushed),
      (cause) => failed.abort(cause),
    )
    if (waiting.size > READ_AHEAD) await Promise.race(waiting)
  }

  const beatOf = ({ feed_id, called }: Source): FeedBeat => {
    const [at, trouble, expected] = [heard.get(feed_id), troubles.get(feed_id), called?.(clock())]
    return {
      ...(at !== undefined && { heard: at }),
      ...(trouble !== undefined && { trouble }),
      ...(expected !== undefined && { called: expected }),
    }
  }
  const tick = () =>
    oneByOne(async () => {
      const feeds = Object.fromEntries([...reading].map(([feed, { source }]) => [feed, beatOf(source)]))
      await write(await judge.tick({ at: clock(), caughtUp: [...caughtUp], feeds, isAll }))
    })

  /** Sinks that are behind by the whole budget stop the reading; nothing is dropped to make room. */
  let holding = false
  const room = async (ending: AbortSignal) => {
    while (holding && !ending.aborted) await rest(100, ending)
  }

  const readSource = async (source: Source, ending: AbortSignal) => {
    const { feed_id } = source
    const known = await journal.positions(feed_id)
    const readers = new Map<string, { readonly reader: Intake; read: number }>()
    const open = (piece: Piece) => {
      const listener = {
        kept(kept: Batch['kept'][number]) {
          batch.kept.push(kept)
          batch.bytes += kept.raw.bytes.length
        },
        skipped: (reason: string) => void countUp(batch.counters, `skipped|${feed_id}|${reason}`),
        rejected(
          ...[reason, detail, position, bytes]: Parameters<
            NonNullable<Parameters<typeof intake>[1]['rejected']>
          >
        ) {
          countUp(batch.counters, `rejected|${feed_id}|${reason}`)
          batch.rejected.push(
            rejectionOf(feed_id, position, reason, detail, bytes, new Date(clock()).toISOString()),
          )
          batch.bytes += bytes.length
        },
      }
      const { begins = { number: 0, skip: 0 } } = piece
      const reader = intake(
        {
          feed_id,
          transport: source.transport,
          place: piece.place,
          received,
          settings,
          format: options.format,
          begins,
          strict: false,
        },
        listener,
      )
      return { reader, read: begins.number + begins.skip }
    }
    const take = async (piece: Piece | 'idle') => {
      if (piece === 'idle') {
        await flush()
        readers.clear()
        troubles.delete(feed_id)
        caughtUp.add(feed_id)
        return
      }
      caughtUp.delete(feed_id)
      if (piece.trouble !== undefined) troubles.set(feed_id, printable(piece.trouble).slice(0, MAX_TROUBLE))
      await room(ending)
      now = new Date(clock()).toISOString()
      if (batch.pieces++ === 0) began = clock()
      const { place } = piece
      let one = readers.get(place)
      if (one === undefined || piece.begins !== undefined) {
        one = open(piece)
        readers.set(place, one)
      }
      if (piece.bytes.length > 0) one.reader.push(piece.bytes)
      else one.reader.drain()
      if (piece.ends) {
        one.reader.end()
        readers.delete(place)
      }
      const soFar = one.reader.soFar
      const read = soFar.number + soFar.since
      if (read > one.read) heard.set(feed_id, clock())
      if (read > one.read)
        batch.counters.set(
          `received|${feed_id}`,
          (batch.counters.get(`received|${feed_id}`) ?? 0) + read - one.read,
        )
      one.read = Math.max(one.read, read)
      const position = piece.position(soFar)
      if (position !== undefined) {
        const positions = batch.positions.get(feed_id) ?? new Map<string, Position>()
        positions.set(piece.keep ?? place, position)
        batch.positions.set(feed_id, positions)
      }
      if (piece.fate !== undefined) batch.ledger.push({ ...piece.fate, feed: feed_id, place, records: read })
      if (piece.settle !== undefined) batch.settles.push({ feed: feed_id, settle: piece.settle })
      if (batch.kept.length >= COMMIT_EVENTS || batch.bytes >= COMMIT_BYTES || clock() - began >= COMMIT_MS)
        await flushFull()
    }
    const fate = (place: string) => journal.fate(feed_id, place)
    await source.read((one) => known.get(one), take, ending, fate)
  }

  /** Sources that are read or take another's place; when there is none, the loop is over. */
  let open = 0
  const over = Promise.withResolvers<void>()
  failed.signal.addEventListener('abort', () => over.resolve())
  const hold = async (work: Promise<void>) => {
    open++
    await work.catch((cause) => failed.abort(cause))
    if (--open === 0) over.resolve()
  }
  const begin = (source: Source) => {
    const leave = new AbortController()
    const ending = AbortSignal.any([stop, leave.signal])
    const done = hold(
      readSource(source, ending).catch((cause) => {
        if (!ending.aborted) throw cause
      }),
    )
    reading.set(source.feed_id, { source, leave, done })
  }
  const replace: Loop['replace'] = (feed, next) =>
    hold(
      (async () => {
        const old = reading.get(feed)
        if (old !== undefined) {
          old.leave.abort()
          await old.done
          await flush()
          await Promise.all(writing)
          await settled(feed)
          await old.source.close?.()
          reading.delete(feed)
          caughtUp.delete(feed)
          for (const known of [heard, troubles]) known.delete(feed)
        }
        if (next !== undefined && !stop.aborted) begin(next)
      })(),
    )

  /** Does something again and again until the loop ends; a failure ends the loop. */
  const every = (ms: number, work: () => Promise<unknown>) => {
    let busy = false
    return setInterval(() => {
      if (busy || stop.aborted) return
      busy = true
      work()
        .catch((cause) => failed.abort(cause))
        .finally(() => {
          busy = false
        })
    }, ms)
  }
  const look = async () => {
    const backlog = await journal.backlog()
    if (backlog >= budget !== holding) {
      holding = !holding
      onNotice(
        holding
          ? `sinks are behind by ${backlog} bytes, the whole budget: reading stops until they catch up`
          : 'sinks have caught up: reading goes on',
      )
    }
  }
  const timers = [
    every(COMMIT_MS, flush),
    every(TICK_MS, tick),
    every(BACKLOG_MS, look),
    every(TRIM_MS, () => journal.trim()),
  ]
  try {
    void hold(
      (async () => {
        for (const source of sources) begin(source)
        options.onStart?.({ replace, act: (make) => oneByOne(() => write(make())) })
      })(),
    )
    await over.promise
    failed.signal.throwIfAborted()
    await flush()
    await tick()
    await Promise.all(writing)
    failed.signal.throwIfAborted()
    await Promise.all([...settling.keys()].map(settled))
  } finally {
    for (const timer of timers) clearInterval(timer)
    await Promise.all([...reading.values()].map(({ source }) => source.close?.()))
  }
}
