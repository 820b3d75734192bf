/**
 * `keytrail backfill --into history`: logs that no journal had, from disk straight into history, with the verdict of
 * CloudTrail's digests. Nobody is told of them: queries see them, and a corrected replay judges them.
 */
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { loadConfig } from '../config/config.ts'
import { learn } from '../config/knowledge.ts'
import type { HistoryState } from '../history/manifest.ts'
import { openDuck } from '../history/parquet.ts'
import { digestsOf } from '../history/past.ts'
import { sealRecords, type Unplaced, unplaced } from '../history/seal.ts'
import { findDigests, verifyTrails } from '../history/verify.ts'
import { findFiles } from '../ingest/files.ts'
import { trailFolder } from '../ingest/trail-folder.ts'
import { temporaryFolder } from '../journal/sorted-runs.ts'
import { KeytrailError } from '../model/error.ts'
import type { IntegrityVerdict } from '../model/integrity.ts'
import { parse } from '../normalize/json.ts'
import { sha256 } from '../normalize/text.ts'
import { contentHash } from '../pipeline/content.ts'
import { conflictId, deduplicator } from '../pipeline/deduplicate.ts'
import { recordNormalizer } from '../pipeline/normalize-record.ts'
import { merge } from '../pipeline/order.ts'
import { progress } from '../telemetry/progress.ts'
import { dayOf } from './backfill.ts'
import { change } from './history-where.ts'
import { readAll, workersFor } from './scan-read.ts'
import { keysIn } from './verify.ts'

export interface BackfillHistoryOptions {
  readonly config: string
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly keys: readonly string[]
  readonly quiet: boolean
}

/** Name of the feed. */
const FEED = 'backfill'
const SEGMENT_EVENTS = 20_000
const SEGMENT_BYTES = 48 * 1024 * 1024
const DAY_MS = 86_400_000

/** Verdicts of the digests that lie beside the logs, by name of the file. */
const verdictsIn = async (paths: readonly string[], keys: readonly string[], signal: AbortSignal) => {
  const trail = trailFolder(paths)
  const verdicts = new Map<string, IntegrityVerdict>()
  const given = keysIn(keys)
  const digests = await findDigests(trail)
  if (digests.size > 0 && keys.length === 0)
    throw new KeytrailError('verify.keys', 'digests lie beside the logs: name the public keys with --keys')
  const report = await verifyTrails(
    trail,
    digests,
    async () => given,
    {},
    signal,
    () => {},
    (name, verdict) => verdicts.set(name, verdict),
  )
  // A file that no digest names, where one should: somebody put it there.
  for (const { object, kind } of report.findings) if (kind === 'added') verdicts.set(object, 'failed')
  return {
    of: (place: string) => verdicts.get(trail.nameOf('', resolve(place))) ?? 'not_available',
    findings: report.findings.length,
  }
}

/** @returns 0 when all was read, 3 when files failed or records were rejected, 4 when nothing could be read */
export const backfillHistory = async (
  place: string,
  options: BackfillHistoryOptions,
  signal: AbortSignal,
): Promise<number> => {
  if (place.startsWith('s3://'))
    throw new KeytrailError(
      'usage.option',
      'history takes logs from disk, with their digests: copy them first, `aws s3 sync s3://BUCKET/AWSLogs AWSLogs`',
    )
  const from = options.from === undefined ? undefined : dayOf(options.from, '--from')
  const to = options.to === undefined ? undefined : dayOf(options.to, '--to') + DAY_MS
  const config = loadConfig(options.config)
  mkdirSync(config.data, { recursive: true, mode: 0o700 }) // the key and the lock of history are there
  const learned = learn(config)
  const settings = { ...config, ingest_path: learned.ingest_path }
  const found = findFiles([place]).filter(({ path }) => !path.includes('/CloudTrail-Digest/'))
  const meter = progress(process.stderr, options.quiet)
  const temporary = temporaryFolder()
  const duck = await openDuck(temporary.path)
  const now = Date.now()
  try {
    const trail = await verdictsIn([place], options.keys, signal)
    const read = await readAll(
      found,
      { settings, strict: false, received: new Date(now).toISOString() },
      workersFor(found, undefined),
      () => temporary.path,
      ({ records }) => meter.update(() => `read ${records.toLocaleString('en')} records`),
      signal,
    )
    const normalize = recordNormalizer(settings, undefined, learned.known, learned.locate)
    const firstOf = deduplicator()
    const counts = { kept: 0, known: 0, outside: 0, rejected: 0 }
    const verdicts: Record<string, number> = {}
    let [waiting, bytes]: [Unplaced[], number] = [[], 0]
    let state: HistoryState | undefined
    let day = ''
    let known = new Map<string, string>()
    const by = { config: options.config, reason: `backfill of ${place}` }
    const flush = async () => {
      const records = waiting
      if (records.length > 0)
        state = await change(by, (writer, before, { who, reason }) =>
          sealRecords(writer, duck, before, records, { who, reason }),
        )
      counts.kept += records.length
      waiting = []
      bytes = 0
      meter.update(() => `sealed ${counts.kept.toLocaleString('en')} events`)
    }
    /** What history holds of a day, when the first event of it comes: they come in order. */
    const enter = async (next: string) => {
      if (next === day) return
      await flush()
      day = next
      state = await change(by, async (writer, before) => {
        known = await digestsOf(duck, writer.store, before, day)
        return before
      })
    }
    for (const kept of merge(read.runs)) {
      signal.throwIfAborted()
      const { raw, order } = kept
      const at = Date.parse(`${order.slice(0, 19)}Z`)
      if (at < (from ?? at) || at >= (to ?? Number.POSITIVE_INFINITY)) {
        counts.outside++
        continue
      }
      const digest = sha256(raw.bytes)
      const result = normalize(parse(raw.bytes.toString('utf8')), {
        ...raw,
        feed_id: FEED,
        sha256: digest,
        eventId: order.slice(-32),
      })
      if (result.kind === 'rejected') counts.rejected++
      if (result.kind !== 'event') continue
      const { event } = result
      const verdict = firstOf(kept, event.parse_warnings?.includes('time_fallback') ?? false)
      await enter(event.time.event.slice(0, 10))
      const before = known.get(event.event_id)
      if (verdict.kind === 'conflict' || (before !== undefined && before !== digest)) {
        event.event_id = event.action_id = conflictId(event.event_id, contentHash(raw.bytes))
        event.parse_warnings = [...(event.parse_warnings ?? []), 'id_conflict']
      }
      if (verdict.kind === 'duplicate' || known.has(event.event_id)) {
        counts.known++
        continue
      }
      known.set(event.event_id, digest)
      event.ingest.integrity = trail.of(raw.place)
      verdicts[event.ingest.integrity] = (verdicts[event.ingest.integrity] ?? 0) + 1
      const body = Buffer.from(JSON.stringify(event))
      waiting.push(unplaced({ kind: 'feed', seq: 0, item: 0, kept: now, raw: Buffer.from(raw.bytes), body }))
      bytes += raw.bytes.length + body.length
      if (waiting.length >= SEGMENT_EVENTS || bytes >= SEGMENT_BYTES) await flush()
    }
    await flush()
    meter.done()
    const failed = read.files.filter(({ status }) => status === 'failed')
    for (const file of failed) process.stderr.write(`keytrail: ${file.path}: ${file.reason}\n`)
    const rejected =
      counts.rejected + read.files.flatMap((one) => one.rejected).reduce((n, { count }) => n + count, 0)
    const shown = Object.entries(verdicts)
      .sort()
      .map(([name, count]) => `${count.toLocaleString('en')} ${name}`)
    process.stdout.write(
      `${counts.kept.toLocaleString('en')} events sealed${shown.length > 0 ? ` (integrity: ${shown.join(', ')})` : ''}, ${counts.known.toLocaleString('en')} known, ${counts.outside.toLocaleString('en')} of other days, ${rejected.toLocaleString('en')} records rejected; ${state?.tree.size.toLocaleString('en') ?? 0} records in history\n`,
    )
    if (trail.findings > 0)
      process.stdout.write(
        `the digests have ${trail.findings} findings: \`keytrail verify cloudtrail ${place}\` names them\n`,
      )
    if (read.files.every(({ received }) => received === 0)) return 4
    return failed.length > 0 || rejected > 0 ? 3 : 0
  } finally {
    meter.done()
    duck.close()
    temporary.remove()
  }
}
