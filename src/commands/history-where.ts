/** Which history a command speaks of, and with what it is written. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../config/config.ts'
import { packageVersion } from '../config/paths.ts'
import { type HistoryState, openState, type Writer } from '../history/manifest.ts'
import { fileSigner } from '../history/note.ts'
import { bucketStore, folderStore, type HistoryStore } from '../history/store.ts'
import { awsClient } from '../ingest/aws.ts'
import { lockOf } from '../journal/store.ts'
import type { Config } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'
import { DEFAULT_CONFIG, operator } from './where.ts'

export type HistorySetting = NonNullable<Config['history']>

/** Name of the cursor in the journal. */
export const HISTORY = 'history'
export const LOCK = 'history.lock'
/** A step takes seconds; merging a large day a minute. */
export const LOCK_MS = 120_000

export interface WhichHistory {
  readonly history?: string | undefined
  readonly config?: string | undefined
}

export interface FoundHistory {
  readonly store: HistoryStore
  readonly setting: HistorySetting | undefined
  /** Data directory of the configuration. */
  readonly data: string | undefined
  readonly found: Config | undefined
}

const storeOf = async (
  { folder, s3 }: HistorySetting,
  data: string,
  scratch = join(data, 'history-scratch'),
): Promise<HistoryStore> => {
  if (folder !== undefined) return folderStore(folder)
  if (s3 === undefined)
    throw new KeytrailError('history.missing', 'history names neither a folder nor a bucket')
  const { S3Client } = await import('@aws-sdk/client-s3')
  const { bucket, prefix, region, role, endpoint } = s3
  const client = new S3Client({
    ...(await awsClient({ region, role, endpoint })),
    forcePathStyle: endpoint !== undefined,
  })
  return bucketStore(client, bucket, prefix === '' ? '' : `${prefix.replace(/\/$/, '')}/`, scratch)
}

/** @param scratch for copies of objects, where those of earlier commands must not do @throws KeytrailError `history.missing` */
export const findHistory = async (
  { history, config }: WhichHistory,
  scratch?: string,
): Promise<FoundHistory> => {
  if (history !== undefined) {
    if (!existsSync(history)) throw new KeytrailError('history.missing', `there is no folder ${history}`)
    return {
      store: folderStore(history),
      setting: undefined,
      data: undefined,
      found: config === undefined ? undefined : loadConfig(config),
    }
  }
  const path = config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined)
  const found = path === undefined ? undefined : loadConfig(path)
  if (found?.history === undefined)
    throw new KeytrailError('history.missing', `${path ?? DEFAULT_CONFIG} names no history`)
  return {
    store: await storeOf(found.history, found.data, scratch),
    setting: found.history,
    data: found.data,
    found,
  }
}

const keyPath = ({ key }: HistorySetting, data: string) => key ?? join(data, 'history.key')

export const historyWriter = async (setting: HistorySetting, data: string): Promise<Writer> => {
  const path = keyPath(setting, data)
  return {
    store: await storeOf(setting, data),
    signer: fileSigner(path, setting.origin, !existsSync(path)),
    origin: setting.origin,
    by: `keytrail ${packageVersion()}`,
    clock: Date.now,
  }
}

/** @throws KeytrailError `history.key` */
export const verifierKeyOf = (setting: HistorySetting, data: string): string =>
  fileSigner(keyPath(setting, data), setting.origin, false).verifierKey

export type WhoAndWhy = { readonly config: string; readonly reason: string }

/** One step of an operator, beside `run`: made under the lock that its history takes, too. */
export const change = async (
  { config, reason }: WhoAndWhy,
  step: (
    writer: Writer,
    state: HistoryState,
    by: { who: string; reason: string },
    data: string,
  ) => Promise<HistoryState>,
): Promise<HistoryState> => {
  const { setting, data } = await findHistory({ config })
  if (setting === undefined || data === undefined)
    throw new KeytrailError('history.missing', `${config} names no history`)
  const lock = lockOf(data, LOCK, LOCK_MS)
  try {
    const writer = await historyWriter(setting, data)
    return await step(writer, await openState(writer.store), { who: operator(), reason }, data)
  } finally {
    lock.close()
  }
}

/** Work with a folder for what does not fit into memory, outside of the history. */
export const withScratch = async <T>(work: (scratch: string) => Promise<T>): Promise<T> => {
  const scratch = mkdtempSync(join(tmpdir(), 'keytrail-'))
  try {
    return await work(scratch)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
