/**
 * The process that writes history: reads the journal beside `run`, and tells it what is sealed. It ends with the one that
 * started it; what it was about to write is written by the next.
 */
import { setTimeout } from 'node:timers/promises'
import { catchUp, checkSigner, type HistoryState, openState, writeCheckpoint } from '../history/manifest.ts'
import { openDuck } from '../history/parquet.ts'
import { checkJournal, compact, expire, type Past, seal, sweep } from '../history/seal.ts'
import { partsOf } from '../journal/block.ts'
import { lockOf, Store } from '../journal/store.ts'
import { errorCodeOf, messageOf } from '../model/error.ts'
import { type HistorySetting, historyWriter, LOCK, LOCK_MS } from './history-where.ts'

export interface WorkerTask {
  readonly data: string
  readonly history: HistorySetting
}

export type WorkerNews =
  | { readonly kind: 'sealed'; readonly cursor: HistoryState['cursor']; readonly records: number }
  /** An hour has passed: to be told to whoever keeps it elsewhere. */
  | {
      readonly kind: 'checkpoint'
      readonly note: string
      readonly state: Pick<HistoryState, 'number' | 'sha256' | 'tree'>
    }
  | { readonly kind: 'trouble'; readonly reason: string; readonly isFault: boolean }

const LOOK_MS = 500
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

export const pastOf = (store: Store): Past => ({
  id: store.identity(),
  last: () => store.next - 1,
  blocks: (after, bytes) =>
    store.blocks(after, bytes).map(({ seq, at, packed }) => ({ seq, at, items: partsOf(packed) })),
  rows: (stream, after, limit) => store.after(stream, after, limit),
})

const dayOf = (at: number) => new Date(at).toISOString().slice(0, 10)

const work = async ({ data, history }: WorkerTask, tell: (news: WorkerNews) => void, drain: AbortSignal) => {
  const journal = new Store(data, 'reader')
  const past = pastOf(journal)
  const writer = await historyWriter(history, data)
  const duck = await openDuck(writer.store.scratch)
  const first = lockOf(data, LOCK, LOCK_MS)
  let state = await openState(writer.store)
  checkJournal(state, past)
  checkSigner(writer, state)
  if (state.number > 0) await writeCheckpoint(writer, state)
  await sweep(writer, state)
  first.close()
  tell({ kind: 'sealed', cursor: state.cursor, records: state.tree.size })

  const locked = async (step: () => Promise<HistoryState>): Promise<boolean> => {
    const lock = lockOf(data, LOCK, LOCK_MS)
    try {
      state = await catchUp(writer.store, state)
      const before = state.number
      state = await step()
      return state.number > before
    } finally {
      lock.close()
    }
  }

  let told = 0
  const tellHourly = async () => {
    const hour = Math.floor(Date.now() / HOUR_MS)
    if (state.number === 0 || hour === told) return
    told = hour
    const note = await writeCheckpoint(writer, state)
    const { number, sha256, tree } = state
    tell({ kind: 'checkpoint', note, state: { number, sha256, tree } })
  }

  const isDue = (): boolean => {
    const { events, oldest, tick } = journal.waiting(state.cursor.feed, state.cursor)
    const now = Date.now()
    if (drain.aborted) return oldest !== undefined
    return (
      events >= history.seal_records ||
      (oldest !== undefined && now - oldest >= history.seal_seconds * 1000) ||
      (tick !== undefined && now - tick >= HOUR_MS)
    )
  }

  let kept = 0
  for (;;) {
    if (isDue() && (await locked(() => seal(writer, duck, state, past)))) {
      tell({ kind: 'sealed', cursor: state.cursor, records: state.tree.size })
      await tellHourly()
      continue
    }
    if (drain.aborted) told = 0 // the last one, whatever was told this hour
    await tellHourly()
    if (drain.aborted) break
    const hour = Math.floor(Date.now() / HOUR_MS)
    if (kept !== hour) {
      kept = hour
      const { keep_days } = history
      if (keep_days !== undefined) {
        const by = { who: 'keytrail', reason: `older than keep_days: ${keep_days}` }
        await locked(() => expire(writer, state, dayOf(Date.now() - keep_days * DAY_MS), by))
      }
      await locked(async () => {
        await sweep(writer, state)
        return state
      })
      // The newest two days still grow: late records are usual for a day.
      while (
        !drain.aborted &&
        (await locked(() => compact(writer, duck, state, dayOf(Date.now() - DAY_MS))))
      );
    }
    await setTimeout(LOOK_MS, undefined, { signal: drain }).catch(() => {}) // it is time to come to an end
  }
  duck.close()
  journal.close()
}

if (process.send !== undefined && process.argv[2] !== undefined) {
  const draining = new AbortController()
  const tell = (news: WorkerNews) => process.send?.(news)
  let isDone = false
  process.on('message', () => draining.abort())
  process.on('disconnect', () => process.exit(isDone ? 0 : 1))
  process.on('SIGINT', () => {}) // the one that started it says when to end
  process.on('SIGTERM', () => {})
  try {
    await work(JSON.parse(process.argv[2]) as WorkerTask, tell, draining.signal) // made by history-sink.ts
    isDone = true
    process.disconnect()
  } catch (cause) {
    const code = errorCodeOf(cause)
    const isFault = code.startsWith('history.') && code !== 'history.busy'
    process.send({ kind: 'trouble', reason: messageOf(cause), isFault } satisfies WorkerNews, () =>
      process.exit(1),
    )
  }
}
