/**
 * The past out of the segments of a history: commits as the judge saw them, records as their providers wrote them, and
 * what was sent. Every file is compared with its hash before it is read.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { KeytrailError } from '../model/error.ts'
import type { KindName } from '../model/history.ts'
import type { LateEvent } from '../model/replay.ts'
import { type Heartbeat, MAX_LATENESS_MS } from '../pipeline/judging.ts'
import type { PastCommit } from '../pipeline/ports.ts'
import type { HistoryState } from './manifest.ts'
import { type Duck, list, openDuck } from './parquet.ts'
import { fileSha256, type HistoryStore } from './store.ts'

/** Events that are put in order together, in memory; as many more are fetched meanwhile. */
const WINDOW_EVENTS = 8000

export interface PastRecord {
  readonly seq: number
  readonly item: number
  readonly leaf: number
  readonly kept: number
  readonly feed: string
  /** RFC 3339, to the microsecond. */
  readonly time: string
  readonly raw: Buffer
}

export interface SealedPast {
  /** Records in it, and those that no journal had. */
  readonly events: number
  readonly imported: number
  /** Milliseconds since 1970: no event before it was expected any more when history ends. */
  readonly decided: number
  /** Bodies of the records about detectors, in order. */
  readonly detectors: readonly string[]
  /** @param raw whether the bytes of the provider are wanted, too @param last no commit behind this one */
  commits(raw: boolean, last: number): AsyncGenerator<PastCommit>
  records(): AsyncGenerator<PastRecord>
  /** The last revision of each alert, as JSON. */
  sent(): AsyncGenerator<string>
  /** The newest commit that has to do with what happened between two times, RFC 3339. */
  lastOf(from: string, to: string): Promise<number>
  late(limit: number): Promise<readonly LateEvent[]>
  close(): void
}

const bytesOf = (value: unknown): Buffer => {
  const { bytes } = value as { readonly bytes: Uint8Array } // a BLOB
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

type Row = readonly unknown[]

/** The next chunk is fetched while one is worked on. */
async function* rowsOf(connection: DuckDBConnection, sql: string): AsyncGenerator<Row> {
  const result = await connection.stream(sql)
  let coming = result.fetchChunk()
  for (;;) {
    const chunk = await coming
    if (chunk === null || chunk.rowCount === 0) return
    coming = result.fetchChunk()
    coming.catch(() => {}) // whoever takes it has the failure
    yield* chunk.getRows()
  }
}

/** Becomes text only when it is judged: a window of texts would be copied by every collection of garbage. */
class PastItem {
  readonly item: number
  readonly kept: number
  readonly raw: Buffer
  readonly #body: Buffer

  constructor(item: number, kept: number, raw: Buffer, body: Buffer) {
    this.item = item
    this.kept = kept
    this.raw = raw
    this.#body = body
  }

  get event(): string {
    return this.#body.toString('utf8')
  }
}

const CONTROL = `SELECT seq::DOUBLE, json_extract_string(body, '$.kind'), json_extract_string(body, '$.body') FROM`

/** @param threads of DuckDB: they unpack and sort @throws KeytrailError `history.damaged` */
export const openPast = async (
  store: HistoryStore,
  state: HistoryState,
  scratch: string,
  threads: number,
): Promise<SealedPast> => {
  const paths: Record<KindName, string[]> = { feed: [], alerts: [], signals: [], rejections: [], control: [] }
  for (const { path, kind, sha256 } of state.files.values()) {
    if (kind === 'rejections') continue
    const local = await store.local(path)
    const found = fileSha256(local)
    if (found !== sha256)
      throw new KeytrailError(
        'history.damaged',
        `${path} ${found === undefined ? 'is missing' : 'is not what was sealed'}`,
      )
    paths[kind].push(local)
  }
  const duck = await openDuck(scratch, threads, `${100 + 100 * threads}MB`)
  const { connection } = duck
  const from = (kind: KindName, chosen = paths[kind]) =>
    chosen.length === 0
      ? `(SELECT 0 AS seq, 0 AS leaf, 0 AS kept, '' AS body, '' AS alert_id, 0 AS revision, now()::TIMESTAMP AS time WHERE false)`
      : `read_parquet(${list(chosen)}, union_by_name = true)`
  const all = async (sql: string): Promise<Row[]> => (await connection.runAndReadAll(sql)).getRows()
  const [[events, imported] = []] = await all(
    `SELECT count(*)::DOUBLE, count(*) FILTER (seq = 0)::DOUBLE FROM ${from('feed')}`,
  )
  const spans = (
    paths.feed.length === 0
      ? []
      : await all(
          `SELECT filename, min(seq)::DOUBLE, max(seq)::DOUBLE FROM read_parquet(${list(paths.feed)}, filename = true)
           WHERE seq > 0 GROUP BY filename`,
        )
  ).map(([path, low, high]) => ({ path: String(path), low: Number(low), high: Number(high) }))

  const rows = [...state.files.values()].reduce((sum, one) => sum + one.rows, 0)
  /** Where retention took the events of an hour, its ticks would say that nothing came. */
  const inForce =
    rows < state.tree.size
      ? `(json_extract_string(body, '$.kind') = 'detectors' OR seq >= ${Math.min(Number.MAX_SAFE_INTEGER, ...spans.map(({ low }) => low))})`
      : 'true'

  /** Ends of windows with about as many events each. */
  const windows = async (): Promise<number[]> => {
    const parts = Math.ceil(Number(events ?? 0) / WINDOW_EVENTS)
    if (parts < 2) return []
    const shares = Array.from({ length: parts - 1 }, (_, at) => (at + 1) / parts)
    const [[cuts] = []] = await all(
      `SELECT approx_quantile(seq, [${shares.join(', ')}])::DOUBLE[] FROM ${from('feed')} WHERE seq > 0`,
    )
    const { items } = cuts as { readonly items: readonly number[] } // a LIST
    return [...new Set(items)].sort((a, b) => a - b)
  }

  const decided = async (): Promise<number> => {
    if (paths.feed.length === 0) return 0
    const [[beat] = []] = await all(
      `SELECT json_extract_string(body, '$.body') FROM ${from('control')} WHERE json_extract_string(body, '$.kind') = 'tick'
       ORDER BY seq DESC LIMIT 1`,
    )
    const { at = 0, caughtUp = [] } = (typeof beat === 'string' ? JSON.parse(beat) : {}) as Partial<Heartbeat> // written by run
    const marks = await all(
      `SELECT feed_id, max(least(epoch_ms(time), kept))::DOUBLE FROM ${from('feed')} WHERE seq > 0 GROUP BY feed_id`,
    )
    const newest = marks.map(([feed, mark]) =>
      Math.max(Number(mark), caughtUp.includes(String(feed)) ? at : 0),
    )
    return newest.length === 0 ? 0 : Math.min(...newest) - MAX_LATENESS_MS
  }

  const bySeq = async (sql: string) => Map.groupBy(await all(sql), ([seq]) => Number(seq))

  const within = async (after: number, last: number, raw: boolean): Promise<PastCommit[]> => {
    const range = `WHERE seq > ${after} AND seq <= ${last}`
    const control = await bySeq(
      `${CONTROL} ${from('control')} ${range} AND ${inForce} ORDER BY seq, json_extract(body, '$.n')::BIGINT`,
    )
    const sent = new Map<number, string[]>()
    for (const kind of ['alerts', 'signals'] as const)
      for (const [seq, body] of await all(
        `SELECT seq::DOUBLE, body FROM ${from(kind)} ${range} ORDER BY seq, leaf`,
      ))
        sent.set(Number(seq), [...(sent.get(Number(seq)) ?? []), String(body)])
    const chosen = spans.filter(({ low, high }) => high > after && low <= last).map(({ path }) => path)
    const events = new Map<number, PastItem[]>()
    if (chosen.length > 0)
      for await (const [seq, item, kept, body, bytes] of rowsOf(
        connection,
        `SELECT seq::DOUBLE, item, kept::DOUBLE, encode(body)${raw ? ', raw' : ''} FROM ${from('feed', chosen)} ${range}`,
      )) {
        const one = new PastItem(Number(item), Number(kept), raw ? bytesOf(bytes) : NO_BYTES, bytesOf(body))
        const known = events.get(Number(seq))
        if (known === undefined) events.set(Number(seq), [one])
        else known.push(one)
      }
    return [...new Set([...events.keys(), ...control.keys()])]
      .sort((a, b) => a - b)
      .map((seq) => {
        const items = (events.get(seq) ?? []).sort((a, b) => a.item - b.item)
        const acts = (control.get(seq) ?? []).map(([, kind, body]) => ({
          kind: String(kind),
          body: String(body),
        }))
        return { seq, at: items[0]?.kept ?? 0, items, control: acts, sent: sent.get(seq) ?? [] }
      })
  }

  return {
    events: Number(events ?? 0),
    imported: Number(imported ?? 0),
    decided: await decided(),
    detectors: (
      await all(
        `SELECT json_extract_string(body, '$.body') FROM ${from('control')}
         WHERE json_extract_string(body, '$.kind') = 'detectors' ORDER BY json_extract(body, '$.n')::BIGINT`,
      )
    ).map(([body]) => String(body)),
    async *commits(raw, last) {
      const ends = [...(await windows()).filter((one) => one < last), last]
      const load = (at: number) => {
        const [after = 0, end] = [ends[at - 1], ends[at]]
        return end === undefined ? undefined : within(after, end, raw)
      }
      let coming = load(0)
      for (let at = 0; coming !== undefined; at++) {
        const commits: PastCommit[] = await coming
        coming = load(at + 1) // beside the judging of these
        coming?.catch(() => {}) // whoever takes it has the failure
        yield* commits
      }
    },
    async *records() {
      if (paths.feed.length === 0) return
      for await (const [seq, item, leaf, kept, feed, time, raw] of rowsOf(
        connection,
        `SELECT seq::DOUBLE, item, leaf::DOUBLE, kept::DOUBLE, feed_id, strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ'), raw FROM ${from('feed')}`,
      ))
        yield {
          seq: Number(seq),
          item: Number(item),
          leaf: Number(leaf),
          kept: Number(kept),
          feed: String(feed),
          time: String(time),
          raw: bytesOf(raw),
        }
    },
    async *sent() {
      for await (const [body] of rowsOf(
        connection,
        `SELECT body FROM ${from('alerts')} QUALIFY row_number() OVER (PARTITION BY alert_id ORDER BY revision DESC) = 1`,
      ))
        yield String(body)
    },
    async lastOf(begin, end) {
      const [begins, ends] = [`time >= '${begin}'::TIMESTAMP`, `'${end}'::TIMESTAMP`]
      const touching = (kind: KindName) =>
        `SELECT seq FROM ${from(kind)} WHERE ${begins} AND json_extract_string(body, '$.time.first_event')::TIMESTAMP <= ${ends}`
      const [[seq] = []] = await all(
        `SELECT max(seq)::DOUBLE FROM (SELECT seq FROM ${from('feed')} WHERE ${begins} AND time <= ${ends}
         UNION ALL ${touching('alerts')} UNION ALL ${touching('signals')})`,
      )
      return Number(seq ?? 0)
    },
    async late(limit) {
      if (paths.feed.length === 0) return []
      const rows = await all(
        `SELECT replace(event_id::VARCHAR, '-', ''), strftime(time, '%Y-%m-%dT%H:%M:%SZ'), kept::DOUBLE, feed_id, operation,
         coalesce(key_id, ''), coalesce(principal, ''), seq = 0 FROM ${from('feed')} WHERE late OR seq = 0 ORDER BY time, leaf LIMIT ${limit}`,
      )
      return rows.map(([id, time, kept, feed, operation, key, principal, imported]) => ({
        id: String(id),
        time: String(time),
        kept: Number(kept),
        feed: String(feed),
        operation: String(operation),
        key: String(key),
        principal: String(principal),
        imported: imported === true,
      }))
    },
    close: () => duck.close(),
  }
}

const NO_BYTES = Buffer.alloc(0)

/** SHA-256 of the bytes of the provider, by event id, of one day; the same id twice is a record that borrowed it. */
export const digestsOf = async (
  { connection }: Duck,
  store: HistoryStore,
  state: HistoryState,
  day: string,
): Promise<Map<string, string>> => {
  const files = [...state.files.values()].filter((one) => one.kind === 'feed' && one.day === day)
  if (files.length === 0) return new Map()
  const paths = await Promise.all(files.map(({ path }) => store.local(path)))
  const found = await connection.runAndReadAll(
    `SELECT replace(event_id::VARCHAR, '-', ''), sha256(raw) FROM read_parquet(${list(paths)}, union_by_name = true)`,
  )
  return new Map(found.getRows().map(([id, digest]) => [String(id), String(digest)]))
}
