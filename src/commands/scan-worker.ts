/** A reading thread of `scan`: takes whole files, writes sorted runs. */
import { parentPort, workerData } from 'node:worker_threads'
import { sorter } from '../journal/sorted-runs.ts'
import { readFiles, type WorkerInput, type WorkerReply } from './scan-read.ts'

const input = workerData as WorkerInput // set by runWorker in scan-read.ts, the only place that starts this file
const cursor = new Int32Array(input.cursor)
const sorted = sorter(() => input.folder, input.name, input.runBytes)
const reply = (message: WorkerReply) => parentPort?.postMessage(message)

await readFiles(
  () => input.files[Atomics.add(cursor, 0, 1)],
  input.options,
  sorted,
  (result) => reply({ kind: 'file', result }),
)
reply({ kind: 'done', runs: sorted.spillAll() })
