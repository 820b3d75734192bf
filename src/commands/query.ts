/** `keytrail query`, and the questions people ask: `keys`, `who-used`, `timeline`. */
import { resolve } from 'node:path'
import { openState } from '../history/manifest.ts'
import { text } from '../history/parquet.ts'
import { ask } from '../history/query.ts'
import { KeytrailError } from '../model/error.ts'
import { answerFormats } from '../render/answer.ts'
import { findHistory, type WhichHistory, withScratch } from './history-where.ts'
import { momentOf } from './where.ts'

export interface QueryOptions extends WhichHistory {
  readonly format: keyof typeof answerFormats | 'parquet'
  readonly out?: string | undefined
  readonly timeout: number
}

/** @param until nothing later is seen */
export const query = async (sql: string, options: QueryOptions, until?: string): Promise<number> => {
  const { format, out, timeout } = options
  if ((format === 'parquet') !== (out !== undefined))
    throw new KeytrailError('usage.option', 'a Parquet file is written with --format parquet --out FILE')
  const { store } = await findHistory(options)
  const seenUntil = until === undefined ? undefined : new Date(momentOf(until, Date.now())).toISOString()
  const target = out === undefined ? undefined : resolve(out)
  const { names, rows } = await withScratch(async (scratch) =>
    ask(store, await openState(store), sql, {
      timeout: timeout * 1000,
      until: seenUntil,
      scratch,
      out: target,
    }),
  )
  if (format !== 'parquet') process.stdout.write(answerFormats[format](names, rows))
  return 0
}

const window = ({ from, to }: Window): string =>
  [
    [from, '>='],
    [to, '<='],
  ]
    .flatMap(([time, than]) =>
      time === undefined
        ? []
        : [`AND time ${than} ${text(new Date(momentOf(time, Date.now())).toISOString().slice(0, -1))}`],
    )
    .join(' ')

export interface Window {
  readonly from?: string | undefined
  readonly to?: string | undefined
}

/** The register of keys, at a date. */
export const keys = (options: QueryOptions & { readonly at?: string | undefined }): Promise<number> =>
  query('SELECT * FROM keys ORDER BY key_id', options, options.at)

/** A key by its whole id, its alias, or the end of its id. */
const isKey = (key: string) =>
  `(key_id = ${text(key)} OR key_alias = ${text(key)} OR ends_with(key_id, ${text(`/${key}`)}))`

export const whoUsed = (key: string, options: QueryOptions & Window): Promise<number> =>
  query(
    `SELECT coalesce(principal, actor_id) AS who, application, operation, outcome, count(*) AS events, min(time) AS first,
     max(time) AS last, count(DISTINCT source_ip) AS addresses, count(*) FILTER (mfa = 'verified') AS with_mfa
     FROM events WHERE ${isKey(key)} ${window(options)} GROUP BY ALL ORDER BY events DESC, who, operation`,
    options,
  )

export const timeline = (entity: string, options: QueryOptions & Window): Promise<number> => {
  const isWho = `(principal = ${text(entity)} OR actor_id = ${text(entity)} OR actor_name = ${text(entity)})`
  return query(
    `SELECT time, 'event' AS what, operation AS name, outcome, coalesce(principal, actor_id) AS who, key_id, event_id AS id
     FROM events WHERE (${isKey(entity)} OR ${isWho}) ${window(options)} UNION ALL
     SELECT time, 'alert', title, severity, principal, key_id, alert_id FROM alerts
     WHERE (principal = ${text(entity)} OR key_id = ${text(entity)}) ${window(options)} ORDER BY time, id`,
    options,
  )
}
