/** The thread that reads the journal of `run` for its metrics: what takes long there holds up no event. */
import { parentPort, workerData } from 'node:worker_threads'
import { Store } from '../journal/store.ts'
import { messageOf } from '../model/error.ts'
import type { StatusReply } from './metrics.ts'
import { statusOf } from './status.ts'

/** All of the state is read for its sizes: seconds, when it is large. */
const SIZES_MS = 60_000

const folder = workerData as string // given by metrics.ts
const port = parentPort
if (port === null) throw new Error('this file runs in a worker thread')
const store = new Store(folder, 'reader')
let sizes: ReturnType<Store['stateSizes']> = []
let sized = 0

port.on('message', (now: number) => {
  try {
    if (now - sized >= SIZES_MS) {
      sizes = store.stateSizes()
      sized = now
    }
    const found = store.snapshot(() => ({
      status: statusOf(store, folder, now),
      counters: [...store.counters()],
      dead: store.deadCounts(),
      bytes: store.info().bytes,
    }))
    port.postMessage({ kind: 'found', ...found, sizes } satisfies StatusReply)
  } catch (cause) {
    port.postMessage({ kind: 'failed', reason: messageOf(cause) } satisfies StatusReply)
  }
})
