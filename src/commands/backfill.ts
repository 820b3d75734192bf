/** `keytrail backfill`: what a trail delivered before, from its bucket into a journal; what the ledger knows is passed over. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig } from '../config/config.ts'
import { type BackfillProgress, backfillSource } from '../ingest/s3-backfill.ts'
import { Store } from '../journal/store.ts'
import { type Config, defaultConfig } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'
import { progress } from '../telemetry/progress.ts'
import { judgeAndForward } from './run.ts'

export interface BackfillCommand {
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly config: string
  readonly source?: string | undefined
  readonly data?: string | undefined
  readonly region?: string | undefined
  readonly quiet: boolean
}

/** Name of the feed without a configuration. */
const ALONE = 'backfill'
const FETCHES = 16
const DEFAULT_REGION = 'us-east-1'
/** As shells say it of SIGINT. */
const INTERRUPTED = 130

/** @returns its begin, milliseconds since 1970 */
export const dayOf = (text = '', option: string): number => {
  const at = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN
  if (Number.isNaN(at) || new Date(at).toISOString().slice(0, 10) !== text)
    throw new KeytrailError('usage.option', `${option} needs a day such as 2026-03-02, not "${text}"`)
  return at
}

/** A journal that serves sinks is written with its configuration alone: otherwise they would be forgotten. */
const refuseServing = (folder: string) => {
  if (!existsSync(join(folder, 'journal.db'))) return
  const store = new Store(folder, 'reader')
  const serves = store.cursors().size > 0
  store.close()
  if (serves)
    throw new KeytrailError(
      'usage.option',
      `the journal in ${folder} serves sinks: name its configuration with --config`,
    )
}

/** @returns which bucket access, feed and journal the options speak of */
const target = (options: BackfillCommand) => {
  if (options.data !== undefined) {
    refuseServing(options.data)
    const region = options.region ?? process.env['AWS_REGION'] ?? DEFAULT_REGION
    const config: Config = { ...defaultConfig, data: options.data }
    return { path: undefined, config, feed_id: ALONE, access: { region }, alone: true }
  }
  const config = loadConfig(options.config, true)
  const all = Object.entries(config.sources).flatMap(([name, one]) =>
    one.type === 's3' ? [[name, one] as const] : [],
  )
  const chosen = options.source === undefined ? all : all.filter(([name]) => name === options.source)
  const [found] = chosen
  if (found === undefined || chosen.length > 1)
    throw new KeytrailError(
      'usage.option',
      `${options.config}: ${all.length === 0 ? 'there is no source of type s3; a journal of its own is named with --data' : `name one of its sources with --source: ${all.map(([name]) => name).join(', ')}`}`,
    )
  const [feed_id, access] = found
  return { path: options.config, config, feed_id, access, alone: false }
}

/** @returns 0 when all was read, 3 when objects are missing */
export const backfill = async (
  url: string,
  options: BackfillCommand,
  signal: AbortSignal,
): Promise<number> => {
  const [, bucket, prefix = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]+)(?:\/(.*))?$/s.exec(url) ?? []
  if (bucket === undefined) throw new KeytrailError('usage.option', `"${url}" is not s3://bucket/prefix`)
  const [from, to] = [dayOf(options.from, '--from'), dayOf(options.to, '--to')]
  if (from > to) throw new KeytrailError('usage.option', '--from is later than --to')
  const { path, config, feed_id, access, alone } = target(options)
  const shown = progress(process.stderr, options.quiet)
  let last: BackfillProgress | undefined
  const tell = ({ day, dayNumber, days, read, known, missing }: BackfillProgress) =>
    `${day} (day ${dayNumber} of ${days}): ${read.toLocaleString('en')} objects read, ${known.toLocaleString('en')} known, ${missing.toLocaleString('en')} missing`
  const code = await judgeAndForward(
    {
      path,
      config,
      reloads: false,
      sources: (_, log) => [
        backfillSource({
          ...access,
          feed_id,
          bucket,
          prefix,
          from,
          to,
          objects: FETCHES,
          alone,
          onNotice: (text) => log.warn(text, { feed: feed_id }),
          onProgress(now) {
            last = now
            shown.update(() => tell(now))
          },
        }),
      ],
    },
    signal,
  )
  shown.done()
  if (signal.aborted) {
    process.stderr.write('keytrail: interrupted; the same command goes on where it was left\n')
    return INTERRUPTED
  }
  if (last !== undefined) process.stdout.write(`${tell(last)}\n`)
  return code !== 0 || last === undefined || last.missing === 0 ? code : 3
}
