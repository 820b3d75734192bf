/** `keytrail verify`: whether a history is what was sealed, and whether all of a window is there. */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { type Checking, checkHistory, type Located } from '../history/check.ts'
import type { HistoryFile } from '../history/manifest.ts'
import { checkpointsIn, parseVerifierKey, type VerifierKey } from '../history/note.ts'
import { leafOf } from '../history/seal.ts'
import { HASH_BYTES } from '../history/tree.ts'
import { KeytrailError } from '../model/error.ts'
import { renderHistoryReport } from '../render/history.ts'
import { progress } from '../telemetry/progress.ts'
import { findHistory, verifierKeyOf, type WhichHistory, withScratch } from './history-where.ts'
import { momentOf } from './where.ts'

export interface VerifyHistoryOptions extends WhichHistory {
  readonly key: readonly string[]
  readonly checkpoint: readonly string[]
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly records: boolean
  readonly json: boolean
  readonly quiet: boolean
}

const given = (text: string): VerifierKey => {
  const key = parseVerifierKey(existsSync(text) ? readFileSync(text, 'utf8') : text)
  if (key === undefined)
    throw new KeytrailError('history.key', `${text} is no verifier key, and no file that holds one`)
  return key
}

/** A file that holds no checkpoint is told to be none. */
const retainedIn = (path: string): string[] => {
  const text = readFileSync(path, 'utf8')
  const found = checkpointsIn(text)
  return found.length > 0 ? found : [text]
}

/** Which numbers of a file the hashes stand for, in order. */
function* leavesOf({ leaves }: HistoryFile): Generator<number> {
  for (const [from, to] of leaves) for (let leaf = from; leaf <= to; leaf++) yield leaf
}

/** Compares the records of files with their hashes in the tree. */
const recordChecker = (store: Awaited<ReturnType<typeof findHistory>>['store'], scratch: string) => {
  const opening = import('../history/parquet.ts').then(async ({ openDuck, readRecords }) => ({
    duck: await openDuck(scratch),
    readRecords,
  }))
  return {
    async locate(file: HistoryFile, hashes: Buffer): Promise<Located> {
      const { duck, readRecords } = await opening
      const missing = new Map([...leavesOf(file)].map((leaf, at) => [leaf, at]))
      let first = Number.POSITIVE_INFINITY
      let unreadable: string | undefined
      const local = await store.local(file.path)
      await readRecords(
        duck,
        local,
        file,
        (record) => {
          const at = missing.get(record.leaf)
          missing.delete(record.leaf)
          const known =
            at === undefined ? '' : hashes.toString('latin1', at * HASH_BYTES, (at + 1) * HASH_BYTES)
          if (leafOf(record) !== known) first = Math.min(first, record.leaf)
        },
        (why) => {
          unreadable ??= why
        },
      )
      if (local.startsWith(scratch)) rmSync(local) // a copy out of a bucket, which is larger than this disk
      for (const leaf of missing.keys()) first = Math.min(first, leaf)
      if (first === Number.POSITIVE_INFINITY)
        return { detail: 'all its records are what was sealed, its bytes are not' }
      return {
        leaf: first,
        detail:
          unreadable === undefined
            ? `record ${first} is not what was sealed`
            : `${missing.size} records cannot be read, the first of them is ${first}: ${unreadable.split('\n')[0]}`,
      }
    },
    close: async () => (await opening).duck.close(),
  }
}

/** @returns 0 when all is proven, 3 when the window is incomplete, 1 when something is not what was sealed */
export const verifyHistory = async (options: VerifyHistoryOptions): Promise<number> => {
  const now = Date.now()
  const time = (text: string | undefined) =>
    text === undefined ? undefined : new Date(momentOf(text, now)).toISOString()
  const shown = progress(process.stderr, options.quiet)
  const report = await withScratch(async (scratch) => {
    const { store, setting, data } = await findHistory(options, scratch)
    const keys = options.key.map(given)
    if (keys.length === 0) {
      if (setting === undefined || data === undefined)
        throw new KeytrailError(
          'history.key',
          'name the verifier key with --key: `keytrail history key` prints it',
        )
      keys.push(given(verifierKeyOf(setting, data)))
    }
    const checker = recordChecker(store, scratch)
    const checking: Checking = {
      keys,
      retained: options.checkpoint.flatMap(retainedIn),
      from: time(options.from),
      to: time(options.to),
      records: checker.locate,
      allRecords: options.records,
      progress: (records) => shown.update(() => `${records} records`),
    }
    try {
      return await checkHistory(store, checking)
    } finally {
      await checker.close()
    }
  })
  shown.done()
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : renderHistoryReport(report))
  return { verified: 0, incomplete: 3, failed: 1 }[report.verdict]
}
