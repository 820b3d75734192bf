/** Records in DuckDB and in Parquet files. Runs in a process of its own: memory, threads and files are bounded. */
import { mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  BIGINT,
  BLOB,
  DuckDBBlobValue,
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBInstance,
  INTEGER,
  VARCHAR,
} from '@duckdb/node-api'
import { messageOf } from '../model/error.ts'
import type { KindName } from '../model/history.ts'
import { kinds } from './kinds.ts'
import type { HistoryFile } from './manifest.ts'

/** What the hash of a record is made of, and its number. */
export interface SealedRecord {
  readonly kind: KindName
  readonly leaf: number
  readonly seq: number
  readonly item: number
  /** Milliseconds since 1970. */
  readonly kept: number
  readonly raw: Uint8Array | undefined
  readonly body: string | Uint8Array
}

/** One record as it is written. */
export interface HistoryRecord extends SealedRecord {
  readonly time: string
  readonly body: Buffer
}

export const text = (value: string) => `'${value.replaceAll("'", "''")}'`
export const list = (paths: readonly string[]) => `[${paths.map(text).join(', ')}]`

/** Level 1 is as small as level 3 on these records, and faster (bench/README.md). */
const PARQUET = `(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v2, ROW_GROUP_SIZE 4096)`
const MEMORY = '640MB'

export interface Duck {
  readonly connection: DuckDBConnection
  rows(sql: string): Promise<Record<string, unknown>[]>
  close(): void
}

/** @param scratch for what does not fit into memory @param memory when it shares a process: little, and given back at once */
export const openDuck = async (scratch: string, threads = 2, memory?: string): Promise<Duck> => {
  mkdirSync(scratch, { recursive: true })
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: memory ?? MEMORY,
    ...(memory !== undefined && { allocator_flush_threshold: '16MB', allocator_background_threads: 'true' }),
    threads: String(threads),
    temp_directory: join(scratch, 'spill'),
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    preserve_insertion_order: 'false',
  })
  const connection = await instance.connect()
  await connection.run("SET TimeZone = 'UTC'")
  return {
    connection,
    rows: async (sql) => (await connection.runAndReadAll(sql)).getRowObjectsJS(),
    close() {
      connection.closeSync()
      instance.closeSync()
    },
  }
}

const INCOMING = {
  leaf: BIGINT,
  seq: BIGINT,
  item: INTEGER,
  kept: BIGINT,
  time: VARCHAR,
  raw: BLOB,
  body: BLOB,
}
const TABLE = `CREATE OR REPLACE TABLE incoming(${Object.entries(INCOMING).map(([name, type]) => `${name} ${type}`)})`
/** Of a chunk of DuckDB. */
const CHUNK_ROWS = 2048

/**
 * Puts records into the table `incoming`, a chunk at a time. DuckDB must not ask this thread for them: a process that ends
 * meanwhile would wait for DuckDB, and DuckDB for it.
 */
const loadRecords = async ({ connection }: Duck, records: readonly HistoryRecord[]): Promise<void> => {
  const blob = (bytes: Uint8Array) => new DuckDBBlobValue(bytes)
  await connection.run(TABLE)
  const appender = await connection.createAppender('incoming')
  for (let at = 0; at < records.length; at += CHUNK_ROWS) {
    const some = records.slice(at, at + CHUNK_ROWS)
    const chunk = DuckDBDataChunk.create(Object.values(INCOMING), some.length)
    chunk.setColumns([
      some.map(({ leaf }) => BigInt(leaf)),
      some.map(({ seq }) => BigInt(seq)),
      some.map(({ item }) => item),
      some.map(({ kept }) => BigInt(kept)),
      some.map(({ time }) => time),
      some.map(({ raw }) => (raw === undefined ? null : blob(raw))),
      some.map(({ body }) => blob(body)),
    ])
    appender.appendDataChunk(chunk)
  }
  appender.closeSync()
}

type Shape = { [name: string]: string | Shape }

/** What `from_json` reads of a record: the shape, and each column out of it. */
const readerOf = (kind: KindName) => {
  const shape: Shape = {}
  const columns: string[] = []
  for (const [name, place] of Object.entries(kinds[kind].columns)) {
    const [path = '', type = 'VARCHAR'] = place.split(' ')
    const steps = path.split('.')
    const last = steps.pop() ?? ''
    let within = shape
    for (const step of steps) {
      const below = within[step] ?? {}
      within[step] = below
      if (typeof below === 'object') within = below
    }
    within[last] = type === 'UUID' ? 'VARCHAR' : type
    const value = `s.${[...steps, last].map((step) => `"${step}"`).join('.')}`
    columns.push(`${type === 'UUID' ? `${value}::UUID` : value} AS ${name}`)
  }
  return { shape: JSON.stringify(shape), columns: columns.join(', ') }
}

type Written = Omit<HistoryFile, 'path' | 'sha256' | 'leaves'>

/** Writes records of one kind and day. */
export const writeFile = async (
  duck: Duck,
  kind: KindName,
  day: string,
  records: readonly HistoryRecord[],
  path: string,
): Promise<Written> => {
  const { shape, columns } = readerOf(kind)
  rmSync(path, { force: true })
  await loadRecords(duck, records)
  await duck.connection.run(
    `COPY (SELECT leaf, seq, item, kept, time::TIMESTAMP AS time, ${columns}, ${kind === 'feed' ? 'raw, ' : ''}body
     FROM (SELECT *, from_json(body, ${text(shape)}) AS s FROM (SELECT * REPLACE (decode(body) AS body) FROM incoming))
     ORDER BY ${kinds[kind].order}) TO ${text(path)} ${PARQUET}`,
  )
  await duck.connection.run('DROP TABLE incoming')
  return { kind, day, ...(await measure(duck, kind, path)) }
}

const isoOf = (value: unknown) =>
  String(value)
    .replace(' ', 'T')
    .replace(/(\.\d+?)0*$/, '$1')
    .replace(/\.$/, '')

const measure = async (duck: Duck, kind: KindName, path: string) => {
  const [all] = await duck.rows(
    `SELECT count(*)::INTEGER AS rows, min(time)::VARCHAR AS first, max(time)::VARCHAR AS last FROM read_parquet(${text(path)})`,
  )
  const hours: Record<string, Record<string, number>> = {}
  if (kind === 'feed')
    for (const one of await duck.rows(
      `SELECT feed_id, strftime(time, '%Y-%m-%dT%H') AS hour, count(*)::INTEGER AS events FROM read_parquet(${text(path)})
       GROUP BY ALL ORDER BY ALL`,
    )) {
      const feed = String(one['feed_id'])
      hours[feed] = { ...hours[feed], [String(one['hour'])]: Number(one['events']) }
    }
  return {
    rows: Number(all?.['rows']),
    bytes: statSync(path).size,
    time: [`${isoOf(all?.['first'])}Z`, `${isoOf(all?.['last'])}Z`] as [string, string],
    ...(kind === 'feed' && { hours }),
  }
}

/** Writes one file with the records of several. @param inputs files on this machine */
export const mergeFiles = async (
  duck: Duck,
  kind: KindName,
  day: string,
  inputs: readonly string[],
  path: string,
): Promise<Written> => {
  rmSync(path, { force: true })
  await duck.connection.run('SET threads = 1') // each thread sorts in memory of its own
  await duck.connection.run(
    `COPY (SELECT * FROM read_parquet(${list(inputs)}, union_by_name = true) ORDER BY ${kinds[kind].order}) TO ${text(path)} ${PARQUET}`,
  )
  await duck.connection.run('RESET threads')
  return { kind, day, ...(await measure(duck, kind, path)) }
}

/** Row groups are read apart: what is damaged hides no more than its own. */
const GROUP_ROWS = 4096

/** Hands over the records of a file in chunks. @throws when a chunk cannot be read and `onDamage` is not given */
export const readRecords = async (
  duck: Duck,
  path: string,
  { kind, rows }: Pick<HistoryFile, 'kind' | 'rows'>,
  take: (record: SealedRecord & { readonly body: string }) => void,
  onDamage?: (why: string) => void,
): Promise<void> => {
  const raw = kind === 'feed' ? 'raw' : 'NULL::BLOB'
  const columns = `leaf, seq, item, kept, ${raw} AS raw, body`
  for (let from = 0; from < rows; from += GROUP_ROWS)
    try {
      const result = await duck.connection.stream(
        `SELECT ${columns} FROM read_parquet(${text(path)}, file_row_number = true)
         WHERE file_row_number >= ${from} AND file_row_number < ${from + GROUP_ROWS}`,
      )
      for (
        let chunk = await result.fetchChunk();
        chunk && chunk.rowCount > 0;
        chunk = await result.fetchChunk()
      )
        for (const [leaf, seq, item, kept, bytes, body] of chunk.getRows())
          take({
            kind,
            leaf: Number(leaf),
            seq: Number(seq),
            item: Number(item),
            kept: Number(kept),
            raw: bytes instanceof DuckDBBlobValue ? bytes.bytes : undefined,
            body: String(body),
          })
    } catch (cause) {
      if (onDamage === undefined) throw cause
      onDamage(messageOf(cause))
    }
}
