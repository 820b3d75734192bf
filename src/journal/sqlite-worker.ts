/**
 * The thread that owns the SQLite journal: calls come one after the other, and are answered in that order.
 * A full disk or a passing I/O error is waited for; nothing is dropped, and no later call overtakes.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { errorCodeOf, KeytrailError, messageOf } from '../model/error.ts'
import { type CallName, calls, journalError } from './calls.ts'
import type { JournalReply, WorkerInput } from './sqlite.ts'
import { type PackedBlock, Store } from './store.ts'

const RETRY_MS = 500

const { folder } = workerData as WorkerInput // given by sqlite.ts
const port = parentPort
if (port === null) throw new Error('this file runs in a worker thread')
const reply = (answer: JournalReply, own: ArrayBuffer[] = []) => port.postMessage(answer, own)

/** Memory of blocks that nobody else uses: it moves to the asker, and is not copied. */
const ownMemory = (blocks: readonly PackedBlock[]): ArrayBuffer[] =>
  blocks.flatMap(({ packed: { buffer, length } }) =>
    buffer instanceof ArrayBuffer && buffer.byteLength === length ? [buffer] : [],
  )

let store: Store | undefined
/** Why nothing more is written: behind a commit that failed, no other may become durable. */
let dead: unknown
const sleeping = new Int32Array(new SharedArrayBuffer(4))

const reopen = () => {
  try {
    store?.close()
  } catch {
    // it failed already, which is why it is closed
  }
  store = undefined
}

const persist = (name: CallName, rest: readonly unknown[]): unknown => {
  if (dead !== undefined) throw dead
  for (;;) {
    try {
      store ??= new Store(folder, 'judge')
      const call = calls[name] as (store: Store, ...rest: readonly unknown[]) => unknown // sqlite.ts types both ends
      return call(store, ...rest)
    } catch (cause) {
      const failure = journalError(cause)
      if (!(failure instanceof KeytrailError) || failure.code !== 'journal.io') {
        dead = failure
        throw failure
      }
      reply({ kind: 'holding', message: failure.message })
      reopen()
      Atomics.wait(sleeping, 0, 0, RETRY_MS)
    }
  }
}

port.on(
  'message',
  ({ id, name, rest }: { id: number; name: CallName | 'close'; rest: readonly unknown[] }) => {
    try {
      if (name === 'close') {
        reopen()
        reply({ kind: 'done', id, result: undefined })
        port.close()
      } else {
        const result = persist(name, rest)
        reply({ kind: 'done', id, result }, name === 'blocks' ? ownMemory(result as PackedBlock[]) : []) // what that call gives
      }
    } catch (cause) {
      reply({ kind: 'failed', id, code: errorCodeOf(cause), message: messageOf(cause) })
    }
  },
)
