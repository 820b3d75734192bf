/** The journal port over SQLite: in a worker thread for `run`, in memory for tests. */
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type ErrorCode, KeytrailError } from '../model/error.ts'
import type { Commit, EventBlock, Journal, Wanted } from '../pipeline/ports.ts'
import { packBlock, release } from './block.ts'
import {
  type CallArguments,
  type CallName,
  type CallResult,
  calls,
  type PackedCommit,
  packIds,
} from './calls.ts'
import { type PackedBlock, type Retention, Store, unpacked } from './store.ts'

export interface WorkerInput {
  readonly folder: string
}

export type JournalReply =
  | { readonly kind: 'done'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }
  /** The disk does not take what must be written: it is tried again until it does. */
  | { readonly kind: 'holding'; readonly message: string }

/** Little lives long in that thread: a small heap keeps its memory small. */
const LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 192 }

type Ask = <N extends CallName>(name: N, ...rest: CallArguments<N>) => Promise<CallResult<N>>

const packed = ({ items, ids, ...rest }: Commit): PackedCommit => ({
  ...rest,
  ids: packIds(ids),
  count: items.length,
  packed: items.length === 0 ? undefined : packBlock(items),
})

/** In a thread of its own the journal has lent the memory for good. */
const eventsOf = (block: PackedBlock): EventBlock => {
  const { seq, items } = unpacked(block)
  const events = items.map(({ event }) => event)
  const { packed } = block
  if (packed.byteLength === packed.buffer.byteLength) release(packed)
  return { seq, events }
}

const journalOver = (
  ask: Ask,
  next: number,
  keep: Retention,
  load: Journal['load'],
  close: () => Promise<void>,
): Journal => {
  let last = next - 1
  return {
    get next() {
      return last + 1
    },
    async commit(commit) {
      if (commit.seq !== last + 1)
        throw new KeytrailError('internal.fault', `commit ${commit.seq} does not follow ${last}`)
      last = commit.seq
      await ask('commit', packed(commit))
    },
    positions: (feed) => ask('positions', feed),
    fate: (feed, place) => ask('fate', feed, place),
    digests: (feed, since) => ask('digests', feed, since),
    known: (ids) => ask('known', ids),
    load,
    unmerged: () => ask('unmerged'),
    due: (watermark) => ask('due', watermark),
    async block(seq) {
      const block = await ask('block', seq)
      return block && unpacked(block)
    },
    blocks: async (after, bytes) => (await ask('blocks', after, bytes)).map(eventsOf),
    alerts: (after, limit) => ask('alerts', after, limit),
    cursor: (sink) => ask('cursor', sink),
    settle: (sink, cursor, dead) => ask('settle', sink, cursor, dead),
    trouble: (sink, trouble) => ask('trouble', sink, trouble),
    again: (sink) => ask('again', sink),
    settleAgain: (sink, count, dead) => ask('settleAgain', sink, count, dead),
    retire: (sinks) => ask('retire', sinks),
    backlog: () => ask('backlog'),
    trim: () => ask('trim', keep),
    close,
  }
}

/** Everything in memory, for tests and trials: the same store, without a disk. */
export const memoryJournal = (keep: Retention): Journal => {
  const store = new Store(undefined, 'judge')
  const ask = async (name: CallName, ...rest: readonly unknown[]) =>
    (calls[name] as (store: Store, ...rest: readonly unknown[]) => unknown)(store, ...rest) // typed by Ask
  const load = async (wanted: Wanted) => store.load(wanted)
  return journalOver(ask as Ask, store.next, keep, load, async () => store.close())
}

/**
 * @param folder the data directory
 * @param onHolding told again and again while the disk does not take a commit
 * @throws KeytrailError `journal.locked`, `journal.version`, `journal.network`
 */
export const sqliteJournal = async (
  folder: string,
  keep: Retention,
  onHolding: (message: string) => void,
): Promise<Journal> => {
  const worker = new Worker(new URL(`./sqlite-worker${extname(import.meta.url)}`, import.meta.url), {
    workerData: { folder } satisfies WorkerInput,
    resourceLimits: LIMITS,
  })
  const waiting = new Map<number, { resolve: (result: unknown) => void; reject: (cause: unknown) => void }>()
  let asked = 0
  let broken: unknown
  const fail = (cause: unknown) => {
    broken ??= cause
    for (const { reject } of waiting.values()) reject(cause)
    waiting.clear()
  }
  worker.on('message', (reply: JournalReply) => {
    if (reply.kind === 'holding') return onHolding(reply.message)
    const call = waiting.get(reply.id)
    waiting.delete(reply.id)
    if (reply.kind === 'done') call?.resolve(reply.result)
    else call?.reject(new KeytrailError(reply.code, reply.message))
  })
  worker.on('error', fail)
  worker.on('exit', () => fail(new KeytrailError('internal.fault', 'the thread of the journal ended')))

  const send = (name: CallName | 'close', rest: readonly unknown[]) =>
    new Promise<unknown>((resolve, reject) => {
      if (broken !== undefined) return reject(broken)
      const id = ++asked
      waiting.set(id, { resolve, reject })
      const [first] = rest
      const own = name === 'commit' ? (first as PackedCommit).packed?.buffer : undefined // packed has memory of its own
      worker.postMessage({ id, name, rest }, own instanceof ArrayBuffer ? [own] : [])
    })
  const ask = ((name: CallName, ...rest: readonly unknown[]) => send(name, rest)) as Ask
  try {
    const next = await ask('next')
    /** Reads beside the writer: what judging waits for does not stand behind a commit. */
    const reader = new Store(folder, 'reader')
    const load: Journal['load'] = async (wanted) => {
      if (wanted.settled)
        try {
          return reader.load(wanted)
        } catch {
          // the thread of the journal waits until the disk can be read
        }
      return ask('load', wanted)
    }
    return journalOver(ask, next, keep, load, async () => {
      reader.close()
      await send('close', []).catch(() => {}) // a thread that failed has nothing left to close
      await worker.terminate()
    })
  } catch (cause) {
    await worker.terminate()
    throw cause
  }
}
