/** Reads files into sorted runs of kept events: in this process, or with one worker thread per core. */
import { availableParallelism } from 'node:os'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { type DetectorFile, defineDetectors } from '../detect/definition.ts'
import { rawRules } from '../detect/raw-rules.ts'
import { type InputFile, readFile } from '../ingest/files.ts'
import { RUN_BYTES, readRun, sorter } from '../journal/sorted-runs.ts'
import { KeytrailError } from '../model/error.ts'
import type { FileResult } from '../model/summary.ts'
import type { NormalizeSettings } from '../normalize/format.ts'
import type { FormatName } from '../normalize/index.ts'
import { type IntakeListener, intake, type Kept, type Tally } from '../pipeline/intake.ts'

export interface ReadOptions {
  readonly settings: NormalizeSettings
  /** Detector files when some of their rules read raw records: a thread compiles them for itself. */
  readonly ruleFiles?: readonly DetectorFile[] | undefined
  /** Also rules that are experimental. */
  readonly experimental?: boolean
  readonly format?: FormatName | undefined
  readonly strict: boolean
  /** RFC 3339: one time for the whole scan. */
  readonly received: string
}

export interface ReadProgress {
  files: number
  records: number
}

/** Below this a second thread costs more than it brings. */
const BYTES_PER_WORKER = 8 * 1024 * 1024

/** Number of workers for these files; 1 means none beside this thread. */
export const workersFor = (files: readonly InputFile[], wanted: number | undefined): number => {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const useful = Math.ceil(bytes / BYTES_PER_WORKER)
  const several = wanted ?? Math.min(availableParallelism(), useful)
  return Math.max(1, Math.min(several, files.length))
}

const object = <K extends string, V>(map: ReadonlyMap<K, V>): Partial<Record<K, V>> =>
  Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1))) as Partial<Record<K, V>> // the keys are those of the map

/** What became of a file: read, known not to be a log, or failed. */
const classify = (
  file: InputFile,
  tally: Tally,
  failure: Awaited<ReturnType<typeof readFile>>,
): FileResult => {
  const seen = {
    path: file.path,
    received: tally.received,
    skipped: object(tally.skipped),
    rejected: [...tally.rejected].map(([reason, one]) => ({ reason, ...one })),
  }
  if (failure !== undefined)
    return { ...seen, status: 'failed', reason: failure.reason, detail: failure.detail }
  if (!tally.isJson) {
    const nothing = { path: file.path, received: 0, skipped: {}, rejected: [] }
    return file.named
      ? { ...nothing, status: 'failed', reason: 'no_records' }
      : { ...nothing, status: 'skipped', reason: 'not_json' }
  }
  if (tally.received > 0) return { ...seen, status: 'read' }
  const [control] = tally.control.keys()
  if (control !== undefined) return { ...seen, status: 'skipped', reason: control }
  return tally.sawContainer
    ? { ...seen, status: 'read' }
    : { ...seen, status: 'failed', reason: 'no_records' }
}

const enabledRules = (files: readonly DetectorFile[], experimental: boolean) =>
  rawRules(defineDetectors(files).detectors.filter(({ facts }) => experimental || !facts.experimental))

/** Reads the files that `next` hands out, one after the other. */
export const readFiles = async (
  next: () => InputFile | undefined,
  options: ReadOptions,
  listener: IntakeListener,
  onFile: (result: FileResult) => void,
  signal?: AbortSignal,
): Promise<void> => {
  const rules = options.ruleFiles && enabledRules(options.ruleFiles, options.experimental ?? false)
  const settings = { ...options.settings, rules }
  for (let file = next(); file !== undefined && !signal?.aborted; file = next()) {
    const reader = intake(
      {
        ...options,
        settings,
        received: () => options.received,
        feed_id: 'scan',
        transport: 'file',
        place: file.path,
      },
      listener,
    )
    const failure = await readFile(file, (chunk) => {
      signal?.throwIfAborted()
      reader.push(chunk)
    })
    onFile(classify(file, reader.end(), failure))
  }
}

export type WorkerReply =
  | { readonly kind: 'file'; readonly result: FileResult }
  | { readonly kind: 'done'; readonly runs: readonly string[] }

export interface WorkerInput {
  readonly files: readonly InputFile[]
  readonly options: ReadOptions
  readonly folder: string
  readonly name: string
  /** Raw bytes held before a run is written: all workers together hold what one would. */
  readonly runBytes: number
  /** Shared counter: the next file that nobody reads yet. */
  readonly cursor: SharedArrayBuffer
}

export interface ReadResult {
  /** In order of path. */
  readonly files: FileResult[]
  readonly runs: Iterator<Kept>[]
}

const byPath = (a: FileResult, b: FileResult) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0)

/** A small nursery: what a record needs is short-lived, and several threads share the memory of one. */
const WORKER_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 256 }

const runWorker = (
  input: WorkerInput,
  onFile: (result: FileResult) => void,
  signal: AbortSignal,
): Promise<readonly string[]> =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL(`./scan-worker${extname(import.meta.url)}`, import.meta.url), {
      workerData: input,
      resourceLimits: WORKER_LIMITS,
    })
    const stop = () => void worker.terminate()
    signal.addEventListener('abort', stop, { once: true })
    let runs: readonly string[] | undefined
    worker.on('message', (reply: WorkerReply) => {
      if (reply.kind === 'file') onFile(reply.result)
      else runs = reply.runs
    })
    worker.on('error', (cause) =>
      reject(
        new KeytrailError(
          'worker.failed',
          `a reading thread failed: ${cause instanceof Error ? cause.message : cause}`,
          { cause },
        ),
      ),
    )
    worker.on('exit', (code) => {
      signal.removeEventListener('abort', stop)
      if (runs !== undefined) resolve(runs)
      else
        reject(
          signal.aborted
            ? signal.reason
            : new KeytrailError('worker.failed', `a reading thread ended with code ${code}`),
        )
    })
  })

/**
 * @param folder gives the temporary folder; asked only when something must be written there
 * @returns what became of each file, and the kept events as sorted sequences
 */
export const readAll = async (
  files: readonly InputFile[],
  options: ReadOptions,
  workers: number,
  folder: () => string,
  onProgress: (progress: ReadProgress) => void,
  signal: AbortSignal,
): Promise<ReadResult> => {
  const results: FileResult[] = []
  const progress = { files: 0, records: 0 }
  const onFile = (result: FileResult) => {
    results.push(result)
    progress.files++
    progress.records += result.received
    onProgress(progress)
  }
  if (workers === 1) {
    const sorted = sorter(folder, 'run')
    const queue = files[Symbol.iterator]()
    await readFiles(() => queue.next().value, options, sorted, onFile, signal)
    signal.throwIfAborted()
    return { files: results.sort(byPath), runs: sorted.runs() }
  }
  const cursor = new SharedArrayBuffer(4)
  const all = Array.from({ length: workers }, (_, index) =>
    runWorker(
      { files, options, folder: folder(), name: `worker-${index}`, runBytes: RUN_BYTES / workers, cursor },
      onFile,
      signal,
    ),
  )
  const runs = (await Promise.all(all)).flat()
  return { files: results.sort(byPath), runs: runs.map(readRun) }
}
