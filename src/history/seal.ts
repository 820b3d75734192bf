/**
 * Seals what the journal holds into history: files, tiles, one manifest, one checkpoint. The manifest is written last and
 * says up to where the journal is in history, so each record is there exactly once, wherever a process is interrupted.
 */
import { hash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { KeytrailError } from '../model/error.ts'
import type { ItemBytes } from '../pipeline/ports.ts'
import { kinds } from './kinds.ts'
import {
  commitStep,
  type HistoryCursor,
  type HistoryFile,
  type HistoryState,
  NO_HASH,
  type Step,
  type Writer,
} from './manifest.ts'
import { type Duck, type HistoryRecord, mergeFiles, type SealedRecord, writeFile } from './parquet.ts'
import { fileSha256 } from './store.ts'
import { grow, HASH_BYTES, leafHash, loadEdge, partialTiles, rootOf } from './tree.ts'

/** What history reads of a journal. */
export interface Past {
  /** Which journal it is: 64 hexadecimal digits. */
  readonly id: string
  /** Number of its last commit. */
  last(): number
  /** Blocks behind a commit, at most `bytes` of them together, at least one when there is one. */
  blocks(after: number, bytes: number): readonly PastBlock[]
  /** Behind a place in a stream, in order. */
  rows(stream: 'alerts' | 'rejections' | 'control', after: number, limit: number): readonly PastRow[]
}

/** Events are bytes: texts of a whole segment would be copied by every collection of garbage. */
export interface PastBlock {
  readonly seq: number
  readonly at: number
  readonly items: readonly ItemBytes[]
}

export interface PastRow {
  readonly n: number
  readonly seq: number
  readonly kept: number
  readonly isSignal: boolean
  readonly body: string
}

/** Of raw bytes and events in one segment, before compression: with 48 MiB the process grew to 1 GB (bench/history.ts). */
const SEGMENT_BYTES = 40 * 1024 * 1024
const SEGMENT_ROWS = 50_000

const NO_RAW = new Uint8Array(0)

/** The entry of the record that is hashed now, 85 bytes behind one of room. */
const leaf = Buffer.alloc(86)

/** Hash of a record in the tree, as `leafHash` gives it: see docs/history.md. */
export const leafOf = ({ kind, seq, item, kept, raw, body }: Omit<SealedRecord, 'leaf'>): string => {
  leaf.writeUInt8(kinds[kind].code, 1)
  leaf.writeBigUInt64BE(BigInt(seq), 2)
  leaf.writeUInt32BE(item, 10)
  leaf.writeBigUInt64BE(BigInt(kept), 14)
  leaf.write(hash('sha256', raw ?? NO_RAW, 'binary'), 22, 'latin1')
  leaf.write(hash('sha256', body, 'binary'), 54, 'latin1')
  return leafHash(leaf)
}

/** A record that has no number yet. */
export type Unplaced = Omit<HistoryRecord, 'leaf'>

/** With the time of a record, by which it has its day. */
export const unplaced = (one: Omit<Unplaced, 'time'>): Unplaced => {
  const { timeAfter } = kinds[one.kind]
  if (timeAfter === undefined) return { ...one, time: new Date(one.kept).toISOString() }
  const { body } = one
  const from = body.indexOf(timeAfter) + timeAfter.length
  const time = body.toString('latin1', from, body.indexOf('"', from)) // of its own: a piece of a text would hold all of it
  if (!/^\d{4}-\d\d-\d\dT/.test(time))
    throw new KeytrailError(
      'internal.fault',
      `a record of kind ${one.kind} has no time: ${body.toString('latin1', 0, 200)}`,
    )
  return { ...one, time }
}

/** What lies behind the cursor, within the bounds of a segment. */
const gather = (past: Past, cursor: HistoryCursor): { records: Unplaced[]; after: HistoryCursor } => {
  const records: Unplaced[] = []
  const blocks = past.blocks(cursor.feed, SEGMENT_BYTES)
  for (const { seq, at, items } of blocks)
    for (const [item, { raw, event }] of items.entries())
      records.push(unplaced({ kind: 'feed', seq, item, kept: at, raw, body: event }))
  const after = { ...cursor, feed: blocks.at(-1)?.seq ?? cursor.feed }
  for (const stream of ['alerts', 'rejections', 'control'] as const)
    for (const { n, seq, kept, isSignal, body } of past.rows(stream, cursor[stream], SEGMENT_ROWS)) {
      const kind = isSignal ? 'signals' : stream
      records.push(unplaced({ kind, seq, item: 0, kept, raw: undefined, body: Buffer.from(body) }))
      after[stream] = n
    }
  return { records, after }
}

/** Numbers the records: by kind, by day, then as they came, so that each file holds one range. @returns one list a file */
const placed = (records: readonly Unplaced[], first: number): HistoryRecord[][] => {
  const files = Map.groupBy(records, ({ kind, time }) => `${kinds[kind].code} ${time.slice(0, 10)}`)
  let leaf = first
  return [...files]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, file]) => file.map((one) => ({ ...one, leaf: leaf++ })))
}

/** Moves a file that DuckDB wrote to where its content names it. */
const keepFile = async (
  writer: Writer,
  number: number,
  file: string,
  written: Omit<HistoryFile, 'path' | 'sha256'>,
): Promise<HistoryFile> => {
  const sha256 = fileSha256(file) ?? ''
  const path = `data/${written.kind}/${written.day}/${String(number).padStart(9, '0')}-${sha256.slice(0, 16)}.parquet`
  await writer.store.take(path, file)
  return { path, sha256, ...written }
}

const writeFiles = async (
  writer: Writer,
  duck: Duck,
  number: number,
  records: readonly (readonly HistoryRecord[])[],
) => {
  const files: HistoryFile[] = []
  const scratch = join(writer.store.scratch, `seal-${process.pid}.parquet`)
  mkdirSync(writer.store.scratch, { recursive: true })
  for (const file of records) {
    const { kind, time, leaf } = file[0] as HistoryRecord // none is empty
    const written = await writeFile(duck, kind, time.slice(0, 10), file, scratch)
    if (written.rows !== file.length)
      throw new KeytrailError('internal.fault', `${written.rows} of ${file.length} records were written`)
    const leaves: [number, number] = [leaf, leaf + file.length - 1]
    files.push(await keepFile(writer, number, scratch, { ...written, leaves: [leaves] }))
  }
  return files
}

/** So many records are hashed before this thread hands DuckDB what it writes next. */
const HASHED_AT_ONCE = 256

const leavesOf = async (records: readonly HistoryRecord[]): Promise<Buffer> => {
  const leaves = Buffer.allocUnsafe(records.length * HASH_BYTES)
  for (const [at, one] of records.entries()) {
    leaves.write(leafOf(one), at * HASH_BYTES, 'latin1')
    if (at % HASHED_AT_ONCE === 0) await setImmediate()
  }
  return leaves
}

/** @throws KeytrailError when this history belongs to another journal, or to a younger copy of this one */
export const checkJournal = (state: HistoryState, past: Past): void => {
  if (state.journal === undefined || state.journal === NO_HASH) return // so far, logs were imported
  if (state.journal !== past.id)
    throw new KeytrailError('history.foreign', 'this history was written from another journal')
  if (state.cursor.feed > past.last())
    throw new KeytrailError(
      'history.foreign',
      `history holds commit ${state.cursor.feed}, the journal ends at ${past.last()}: it is an older copy`,
    )
}

/** Makes records one more segment. @returns the history after that */
export const sealRecords = async (
  writer: Writer,
  duck: Duck,
  state: HistoryState,
  records: readonly Unplaced[],
  step: Pick<Step, 'who' | 'reason' | 'cursor' | 'journal'>,
): Promise<HistoryState> => {
  const files = placed(records, state.tree.size)
  const edge = await loadEdge(state.tree.size, writer.store.get)
  if ('missing' in edge) throw new KeytrailError('history.damaged', `${edge.missing} is missing or damaged`)
  const [added, leaves] = await Promise.all([
    writeFiles(writer, duck, state.number + 1, files),
    leavesOf(files.flat()),
  ])
  const tiles: [string, Buffer][] = []
  grow(edge, leaves, (path, tile) => tiles.push([path, tile]))
  const partial = partialTiles(edge.size).flatMap(({ path, width }, level): [string, Buffer][] =>
    width === 0 ? [] : [[path, edge.levels[level] ?? Buffer.alloc(0)]],
  )
  await writer.store.put(...tiles, ...partial)
  const next = await commitStep(writer, state, {
    what: 'seal',
    ...step,
    tree: { size: edge.size, root: rootOf(edge).toString('hex') },
    added,
  })
  const kept = new Set(partial.map(([path]) => path))
  for (const { path, width } of partialTiles(state.tree.size))
    if (width > 0 && !kept.has(path)) await writer.store.remove(path)
  return next
}

/** @returns the history after one more segment of the journal; the same when there is nothing new */
export const seal = async (
  writer: Writer,
  duck: Duck,
  state: HistoryState,
  past: Past,
): Promise<HistoryState> => {
  const { records, after: cursor } = gather(past, state.cursor)
  if (records.length === 0) return state
  return sealRecords(writer, duck, state, records, { who: 'keytrail', reason: '', journal: past.id, cursor })
}

/** Files of one day grow together up to this size: sorted, they are ten times as large in memory (bench/history.ts). */
const MERGED_BYTES = 24 * 1024 * 1024

/** The first files of one kind and day that may become one. */
const mergeable = (state: HistoryState, before: string): HistoryFile[] | undefined => {
  const groups = Map.groupBy(
    [...state.files.values()].filter(({ day, bytes }) => day < before && bytes < MERGED_BYTES / 2),
    ({ kind, day }) => `${kind} ${day}`,
  )
  for (const group of groups.values()) {
    let bytes = 0
    const chosen = group.filter((one) => {
      bytes += one.bytes
      return bytes <= MERGED_BYTES
    })
    if (chosen.length > 1) return chosen
  }
  return undefined
}

const ranges = (files: readonly HistoryFile[]): [number, number][] => {
  const all = files.flatMap(({ leaves }) => leaves).sort(([a], [b]) => a - b)
  const joined: [number, number][] = []
  for (const [from, to] of all) {
    const last = joined.at(-1)
    if (last !== undefined && last[1] + 1 === from) last[1] = to
    else joined.push([from, to])
  }
  return joined
}

/** @param before only days before this one @returns the history with fewer files; the same when nothing is left to do */
export const compact = async (
  writer: Writer,
  duck: Duck,
  state: HistoryState,
  before: string,
): Promise<HistoryState> => {
  const files = mergeable(state, before)
  const [first] = files ?? []
  if (files === undefined || first === undefined) return state
  const inputs: string[] = []
  for (const { path, sha256 } of files) {
    const local = await writer.store.local(path)
    if (fileSha256(local) !== sha256)
      throw new KeytrailError('history.damaged', `${path} is not what was sealed; it stays as it is`)
    inputs.push(local)
  }
  const scratch = join(writer.store.scratch, `merge-${process.pid}.parquet`)
  const written = await mergeFiles(duck, first.kind, first.day, inputs, scratch)
  const rows = files.reduce((sum, one) => sum + one.rows, 0)
  if (written.rows !== rows)
    throw new KeytrailError('internal.fault', `${written.rows} of ${rows} records were merged`)
  const added = [await keepFile(writer, state.number + 1, scratch, { ...written, leaves: ranges(files) })]
  return commitStep(writer, state, {
    what: 'compact',
    who: 'keytrail',
    reason: '',
    added,
    removed: files.map(({ path }) => path),
  })
}

/**
 * Takes days out whose time is over, but for those that are on hold, and for acts: what was in force on the days that stay
 * may have been so for long. @param before the first day that stays
 */
export const expire = async (
  writer: Writer,
  state: HistoryState,
  before: string,
  by: { readonly who: string; readonly reason: string },
): Promise<HistoryState> => {
  const holds = [...state.holds.values()]
  const over = [...state.files.values()].filter(
    ({ kind, day }) =>
      kind !== 'control' && day < before && !holds.some(({ from, to }) => from <= day && day <= to),
  )
  if (over.length === 0) return state
  const next = await commitStep(writer, state, {
    what: 'expire',
    ...by,
    removed: over.map(({ path }) => path),
  })
  for (const { path } of over) await writer.store.remove(path)
  return next
}

/** Removes files that no manifest names: left by a process that was interrupted, or merged into others long ago. */
export const sweep = async (writer: Writer, state: HistoryState): Promise<void> => {
  for (const path of await writer.store.list('data/')) {
    const number = Number(/\/(\d{9})-/.exec(path)?.[1])
    if (number <= state.number && !state.files.has(path)) await writer.store.remove(path)
  }
}
