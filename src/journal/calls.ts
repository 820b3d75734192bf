/** The calls of the journal port on a store: the same in a worker thread and in memory. */
import { KeytrailError } from '../model/error.ts'
import type { Commit, Cursor, DeadLetter, Trouble, Wanted } from '../pipeline/ports.ts'
import { compress, release } from './block.ts'
import type { Retention, Store } from './store.ts'

/** A commit with its items and ids packed: what crosses to the thread, where thousands of small objects cost most. */
export interface PackedCommit extends Omit<Commit, 'items' | 'ids'> {
  /** 32 digits of the id and 16 of the digest, for each item. */
  readonly ids: string
  readonly packed: Uint8Array | undefined
  readonly count: number
  readonly span: readonly [first: number, last: number]
}

export const calls = {
  next: (store: Store) => store.next,
  commit(store: Store, commit: PackedCommit) {
    const { packed, count, span } = commit
    const ids = unpackIds(commit.ids)
    store.commit(
      { ...commit, ids },
      packed && { count, firstEvent: span[0], lastEvent: span[1], data: compress(packed) },
    )
    if (packed !== undefined) release(packed) // not before: what fails is tried again
  },
  positions: (store: Store, feed: string) => store.positions(feed),
  known: (store: Store, ids: readonly string[]) => store.known(ids),
  load: (store: Store, wanted: Wanted) => store.load(wanted),
  unmerged: (store: Store) => store.unmerged(),
  fate: (store: Store, feed: string, place: string) => store.ledger.fate(feed, place),
  digests: (store: Store, feed: string, since: number) => store.ledger.digests(feed, since),
  due: (store: Store, watermark: number) => store.due(watermark),
  block: (store: Store, seq: number) => store.block(seq),
  blocks: (store: Store, after: number, bytes: number) => store.blocks(after, bytes),
  alerts: (store: Store, after: number, limit: number) => store.alerts(after, limit),
  cursor: (store: Store, sink: string) => store.cursor(sink),
  settle: (store: Store, sink: string, cursor: Cursor, dead: readonly DeadLetter[]) =>
    store.settle(sink, cursor, dead, Date.now()),
  trouble: (store: Store, sink: string, trouble: Trouble | undefined) => store.trouble(sink, trouble),
  again: (store: Store, sink: string) => store.again(sink),
  settleAgain: (store: Store, sink: string, count: number, dead: readonly DeadLetter[]) =>
    store.settleAgain(sink, count, dead, Date.now()),
  retire: (store: Store, sinks: readonly string[]) => store.retire(sinks),
  backlog: (store: Store) => store.backlog(),
  trim: (store: Store, keep: Retention) => store.trim(Date.now(), keep),
}

export type Calls = typeof calls
export type CallName = keyof Calls
type Rest<F> = F extends (store: Store, ...rest: infer R) => unknown ? R : never
export type CallArguments<N extends CallName> = Rest<Calls[N]>
export type CallResult<N extends CallName> = ReturnType<Calls[N]>

const ID_DIGITS = 32
const DIGEST_DIGITS = 16

export const packIds = (ids: Commit['ids']): string => ids.map(({ id, digest }) => id + digest).join('')

const unpackIds = (packed: string): Commit['ids'] =>
  Array.from({ length: packed.length / (ID_DIGITS + DIGEST_DIGITS) }, (_, index) => {
    const at = index * (ID_DIGITS + DIGEST_DIGITS)
    return {
      id: packed.slice(at, at + ID_DIGITS),
      digest: packed.slice(at + ID_DIGITS, at + ID_DIGITS + DIGEST_DIGITS),
    }
  })

/** SQLite result codes: https://www.sqlite.org/rescode.html */
const FULL = 13
const IOERR = 10
const FSYNC = [1034, 1290]

/** A failure of SQLite in the words of our table. */
export const journalError = (cause: unknown): unknown => {
  if (cause instanceof KeytrailError || !(cause instanceof Error) || !('errcode' in cause)) return cause
  const code = Number(cause.errcode)
  const message = `the journal cannot be written or read: ${cause.message}`
  if (FSYNC.includes(code)) return new KeytrailError('journal.fsync', message, { cause })
  if (code === FULL || (code & 0xff) === IOERR) return new KeytrailError('journal.io', message, { cause })
  return cause
}
