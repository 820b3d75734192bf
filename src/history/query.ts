/**
 * Questions to a history in SQL. Read only: one SELECT, over the views below and the files behind them; no other file, no
 * setting and no extension can be reached, and a question that takes too long is interrupted.
 */
import { StatementType } from '@duckdb/node-api'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { KindName } from '../model/history.ts'
import { kinds } from './kinds.ts'
import type { HistoryState } from './manifest.ts'
import { type Duck, list, openDuck, text } from './parquet.ts'
import type { HistoryStore } from './store.ts'

const idText = (name: string) => `replace(${name}::VARCHAR, '-', '') AS ${name}`

const columnsOf = (kind: KindName): string =>
  Object.entries(kinds[kind].columns)
    .map(([name, place]) => (place.endsWith(' UUID') ? idText(name) : name))
    .join(', ')

/** A kind of which there is no file is an empty view. */
const emptyOf = (kind: KindName): string => {
  const typed = Object.entries(kinds[kind].columns).map(
    ([name, place]) => `NULL::${place.split(' ')[1] ?? 'VARCHAR'} AS ${name}`,
  )
  const own = ['NULL::BIGINT AS leaf', 'NULL::BIGINT AS seq', 'NULL::INTEGER AS item', 'NULL::BIGINT AS kept']
  const rest = ['NULL::TIMESTAMP AS time', 'NULL::VARCHAR AS body', 'NULL::BLOB AS raw']
  return `(SELECT ${[...own, ...typed, ...rest].join(', ')} WHERE false)`
}

const used = `category = 'cryptographic' AND outcome = 'success'`
const done = (...operations: readonly string[]) =>
  `operation IN (${operations.map(text).join(', ')}) AND outcome = 'success'`

/** What each view shows, over the kinds. */
const views: Readonly<Record<string, string>> = {
  events: `SELECT time, ${columnsOf('feed')}, body, raw, leaf, seq FROM feed`,
  alerts: `SELECT time, ${columnsOf('alerts')}, body, leaf, seq FROM alerts_kept`,
  signals: `SELECT time, ${columnsOf('signals')}, body, leaf, seq FROM signals_kept`,
  rejections: `SELECT time, ${columnsOf('rejections')}, body, leaf FROM rejections_kept`,
  /** How much of what each feed gave is proven by the digests of its provider. */
  integrity: `SELECT feed_id, time::DATE AS day, integrity, count(*) AS events FROM feed GROUP BY ALL`,
  keys: `SELECT key_id, arg_max(provider, time) AS provider, arg_max(account, time) AS account,
    arg_max(region, time) AS region, min(time) FILTER (${done('create', 'import', 'replicate')}) AS created,
    max(time) FILTER (${done('rotate', 'create_version')}) AS rotated, count(*) FILTER (${used}) AS uses,
    max(time) FILTER (${used}) AS last_used, arg_max(coalesce(application, principal, actor_id), time) FILTER (${used}) AS last_used_by,
    arg_max(state, time) FILTER (state IS NOT NULL) AS state,
    arg_max(protection, time) FILTER (protection IS NOT NULL) AS protection,
    json_extract_string(arg_max(body, time), '$.labels.owner') AS owner,
    min(time) AS first_seen, max(time) AS last_seen FROM feed WHERE key_id IS NOT NULL GROUP BY key_id`,
}
export const viewNames = Object.keys(views)

export interface Asking {
  /** Milliseconds. */
  readonly timeout: number
  /** Nothing that happened later is seen; RFC 3339. */
  readonly until?: string | undefined
  readonly scratch: string
  /** A file that the answer may be written to. */
  readonly out?: string | undefined
}

const refused = (why: string) => new KeytrailError('query.refused', why)

/** DuckDB with the views, and the door shut behind them. */
const openViews = async (store: HistoryStore, state: HistoryState, asking: Asking): Promise<Duck> => {
  const duck = await openDuck(asking.scratch)
  const until = asking.until === undefined ? '' : `WHERE time <= ${text(asking.until.replace('Z', ''))}`
  const allowed = asking.out === undefined ? [] : [asking.out]
  for (const kind of ['feed', 'alerts', 'signals', 'rejections'] as const) {
    const paths: string[] = []
    for (const one of state.files.values()) if (one.kind === kind) paths.push(await store.local(one.path))
    allowed.push(...paths)
    const files = paths.length === 0 ? emptyOf(kind) : `read_parquet(${list(paths)}, union_by_name = true)`
    const name = kind === 'feed' ? kind : `${kind}_kept`
    await duck.connection.run(`CREATE VIEW ${name} AS SELECT * FROM ${files} ${until}`)
  }
  for (const [name, sql] of Object.entries(views)) await duck.connection.run(`CREATE VIEW ${name} AS ${sql}`)
  await duck.connection.run(`SET allowed_paths = ${list(allowed)}`)
  await duck.connection.run('SET enable_external_access = false')
  await duck.connection.run('SET lock_configuration = true')
  return duck
}

export interface Answer {
  readonly names: readonly string[]
  readonly rows: readonly (readonly unknown[])[]
}

/** @returns the rows; none when they were written to `out` */
export const ask = async (
  store: HistoryStore,
  state: HistoryState,
  sql: string,
  asking: Asking,
): Promise<Answer> => {
  const duck = await openViews(store, state, asking)
  const { connection } = duck
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    connection.interrupt()
  }, asking.timeout)
  try {
    const statements = await connection.extractStatements(sql)
    if (statements.count !== 1) throw refused('one statement at a time is answered')
    const statement = await statements.prepare(0)
    if (statement.statementType !== StatementType.SELECT) throw refused('only SELECT is answered')
    if (asking.out !== undefined) {
      await connection.run(
        `COPY (${sql.replace(/;\s*$/, '')}\n) TO ${text(asking.out)} (FORMAT parquet, COMPRESSION zstd)`,
      )
      return { names: [], rows: [] }
    }
    const reader = await connection.runAndReadAll(sql)
    return { names: reader.columnNames(), rows: reader.getRowsJson() }
  } catch (cause) {
    if (isLate) throw new KeytrailError('query.late', `no answer after ${asking.timeout / 1000} s`, { cause })
    if (cause instanceof KeytrailError) throw cause
    throw new KeytrailError('query.refused', messageOf(cause), { cause })
  } finally {
    clearTimeout(timer)
    duck.close()
  }
}
