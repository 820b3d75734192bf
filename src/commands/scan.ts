/** `keytrail scan`: log files in; a summary, the normalized feed and explained alerts out. No configuration needed. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { loadConfig } from '../config/config.ts'
import { loadDetectors } from '../config/detectors.ts'
import { learn } from '../config/knowledge.ts'
import { packageVersion } from '../config/paths.ts'
import { rawRules } from '../detect/raw-rules.ts'
import { type LineWriter, ndjsonFile } from '../forward/ndjson.ts'
import { findFiles } from '../ingest/files.ts'
import { temporaryFolder } from '../journal/sorted-runs.ts'
import type { Alert } from '../model/alert.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { type Criticality, criticalities } from '../model/operations.ts'
import type { RejectReason, SkipReason } from '../model/outcome.ts'
import type { FileResult, ScanReport, Summary } from '../model/summary.ts'
import type { FormatName } from '../normalize/index.ts'
import { printable } from '../normalize/text.ts'
import { type JudgeTally, judge } from '../pipeline/judge.ts'
import { recordNormalizer } from '../pipeline/normalize-record.ts'
import { merge } from '../pipeline/order.ts'
import { timelines } from '../pipeline/timeline.ts'
import { renderReport } from '../render/report.ts'
import { renderScan } from '../render/terminal.ts'
import { progress } from '../telemetry/progress.ts'
import { readAll, workersFor } from './scan-read.ts'

export interface ScanOptions {
  readonly json: boolean
  readonly events?: string | undefined
  readonly alerts?: string | undefined
  readonly report?: string | undefined
  readonly detectors: readonly string[]
  readonly defaultDetectors: boolean
  readonly config?: string | undefined
  readonly format?: FormatName | undefined
  readonly failOn?: Criticality | undefined
  readonly workers?: number | undefined
  /** Terms that end later are not over, milliseconds since 1970; the last event unless said. */
  readonly until?: number | undefined
  readonly strict: boolean
  readonly save: boolean
  readonly quiet: boolean
}

/** Where the last scan is kept, for `explain`. */
export const SAVED_SCAN = join('.keytrail', 'scan')

/** Alerts kept for display, the most severe; the file given with --alerts holds all of them. */
const MAX_LISTED = 1000
/** Events judged between two looks at the signal. */
const SLICE = 2000

const sorted = (map: ReadonlyMap<string, number>): Record<string, number> =>
  Object.fromEntries([...map].filter(([, count]) => count > 0).sort(([a], [b]) => (a < b ? -1 : 1)))

type Rejections = Iterable<{
  readonly reason: RejectReason
  readonly count: number
  readonly example: string
}>

/** By reason; the example is the first in the order of files. */
const rejectionsOf = (files: readonly FileResult[], judged: JudgeTally): Summary['rejections'] => {
  const found = new Map<RejectReason, { count: number; example: string }>()
  const add = (all: Rejections) => {
    for (const { reason, count, example } of all) {
      const known = found.get(reason)
      if (known === undefined) found.set(reason, { count, example })
      else known.count += count
    }
  }
  for (const file of files) add(file.rejected)
  add([...judged.rejected].map(([reason, one]) => ({ reason, ...one })))
  return [...found]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([reason, { count, example }]) => ({ count, example, reason }))
}

const skippedOf = (files: readonly FileResult[], judged: JudgeTally): Partial<Record<SkipReason, number>> => {
  const found: Partial<Record<SkipReason, number>> = Object.fromEntries(judged.skipped)
  for (const file of files)
    for (const [reason, count] of Object.entries(file.skipped) as [SkipReason, number][]) // keys of the record
      found[reason] = (found[reason] ?? 0) + count
  return found
}

const summaryOf = (
  files: readonly FileResult[],
  tally: JudgeTally,
  byDetector: ReadonlyMap<string, number>,
): Summary => {
  const status = (wanted: FileResult['status']) => files.filter((file) => file.status === wanted).length
  const rejections = rejectionsOf(files, tally)
  return {
    alerts: { by_detector: sorted(byDetector), total: [...byDetector.values()].reduce((a, b) => a + b, 0) },
    files: { failed: status('failed'), read: status('read'), skipped: status('skipped') },
    mfa: sorted(tally.mfa),
    operations: sorted(tally.operations),
    outcomes: sorted(tally.outcomes),
    records: {
      duplicate: tally.duplicate,
      kept: tally.kept,
      received: files.reduce((sum, file) => sum + file.received, 0),
      rejected: rejections.reduce((sum, one) => sum + one.count, 0),
      skipped: Object.values(skippedOf(files, tally)).reduce((a, b) => a + b, 0),
    },
    rejections,
    services: sorted(tally.services),
  }
}

const exitCodeOf = ({ files, records }: Summary, worst: number, failOn: Criticality | undefined): number => {
  if (files.read === 0 && records.received === 0) return 4
  if (failOn !== undefined && worst >= criticalities.indexOf(failOn)) return 10
  return files.failed > 0 || records.rejected > 0 ? 3 : 0
}

const writeText = (path: string, text: string) => {
  try {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text, { mode: 0o600 })
  } catch (cause) {
    throw new KeytrailError(
      'output.unwritable',
      `cannot write ${path}: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    )
  }
}

/** The place for the last result; a folder that cannot be written is no reason to refuse a scan. */
const openSaved = (warn: (text: string) => void): LineWriter | undefined => {
  try {
    mkdirSync(SAVED_SCAN, { recursive: true, mode: 0o700 })
    return ndjsonFile(join(SAVED_SCAN, 'alerts.ndjson'))
  } catch (cause) {
    warn(
      `the result is not saved for \`keytrail explain\`: ${cause instanceof Error ? cause.message : cause}`,
    )
    return undefined
  }
}

/** The more severe first, then the earlier; both fixed by the input alone. */
const bySeverity = (a: Alert, b: Alert): number =>
  criticalities.indexOf(b.severity) - criticalities.indexOf(a.severity) ||
  (a.time.first_event < b.time.first_event
    ? -1
    : a.time.first_event > b.time.first_event
      ? 1
      : a.alert_id < b.alert_id
        ? -1
        : 1)

/** @returns the exit code; the result itself goes to standard output and to the files that were named */
export const scan = async (
  paths: readonly string[],
  options: ScanOptions,
  signal: AbortSignal,
): Promise<number> => {
  const warn = (text: string) => void process.stderr.write(`keytrail: ${printable(text)}\n`)
  const config = loadConfig(options.config)
  const { detectors, problems, files } = loadDetectors(options.detectors, options.defaultDetectors)
  const rules = rawRules(detectors.filter(({ facts }) => !facts.experimental))
  const problemLines = problems.map((one) => `${one.path}:${one.line}:${one.column}: ${one.message}`)
  if (options.json) for (const line of problemLines) warn(`detector left out: ${line}`)

  const found = findFiles(paths)
  const events = options.events === undefined ? undefined : ndjsonFile(options.events)
  const alertFile = options.alerts === undefined ? undefined : ndjsonFile(options.alerts)
  const saved = options.save ? openSaved(warn) : undefined
  if (options.report !== undefined) writeText(options.report, '')

  const learned = learn(config)
  const settings = { ...config, ingest_path: learned.ingest_path }
  const meter = progress(process.stderr, options.quiet)
  let temporary: ReturnType<typeof temporaryFolder> | undefined
  try {
    const folder = () => {
      temporary ??= temporaryFolder()
      return temporary.path
    }
    const read = await readAll(
      found,
      {
        settings,
        ruleFiles: rules && files,
        format: options.format,
        strict: options.strict,
        received: new Date().toISOString(),
      },
      workersFor(found, options.workers),
      folder,
      ({ files, records }) =>
        meter.update(() => `read ${files} of ${found.length} files, ${records.toLocaleString('en')} records`),
      signal,
    )

    const listed: Alert[] = []
    const byDetector = new Map<string, number>()
    let notListed = 0
    let worst = -1
    const lives = timelines()
    const judging = judge(
      recordNormalizer({ ...settings, rules }, options.format, learned.known, learned.locate),
      detectors,
      (alert) => {
        byDetector.set(alert.detector.id, (byDetector.get(alert.detector.id) ?? 0) + 1)
        worst = Math.max(worst, criticalities.indexOf(alert.severity))
        const line = JSON.stringify(alert)
        alertFile?.write(line)
        saved?.write(line)
        listed.push(alert)
        if (listed.length > 2 * MAX_LISTED) {
          listed.sort(bySeverity)
          notListed += listed.length - MAX_LISTED
          listed.length = MAX_LISTED
        }
      },
      (event, at) => {
        events?.write(JSON.stringify(event))
        lives.add(event, at)
      },
      (detector, cause, last) =>
        warn(
          `detector ${detector} failed on an event: ${messageOf(cause)}${last ? '; it is left out from here on' : ''}`,
        ),
    )
    let count = 0
    for (const one of merge(read.runs)) {
      judging.accept(one)
      if (++count % SLICE === 0) {
        meter.update(() => `judged ${count.toLocaleString('en')} events`)
        await new Promise(setImmediate)
        signal.throwIfAborted()
      }
    }
    judging.finish(options.until)
    if (judging.forgotten > 0)
      warn(
        `${judging.forgotten} groups were forgotten within their window: too many at a time to count them all`,
      )
    for (const id of judging.engine.context.full)
      warn(`detector ${id}: a group had more events than are held, it has no verdict on them`)
    meter.done()
    events?.close()
    alertFile?.close()
    saved?.close()

    const { tally, engine } = judging
    const summary = summaryOf(read.files, tally, byDetector)
    const keys = lives.result()
    const report: ScanReport = {
      summary,
      files: read.files,
      skipped: skippedOf(read.files, tally),
      alerts: listed.sort(bySeverity),
      alertsNotListed: notListed,
      span:
        tally.first === undefined || tally.last === undefined
          ? undefined
          : { first: tally.first, last: tally.last },
      keys: keys.keys,
      keysNotListed: keys.notListed,
      detectors: detectors.length,
      problems: problemLines,
      ungrouped: engine.context.ungrouped,
      paths,
    }
    if (saved !== undefined) writeText(join(SAVED_SCAN, 'summary.json'), `${JSON.stringify(summary)}\n`)
    if (options.report !== undefined)
      writeText(
        options.report,
        renderReport(report, { version: packageVersion(), command: `keytrail scan ${paths.join(' ')}` }),
      )
    for (const file of read.files)
      if (file.status === 'failed' && options.json)
        warn(`${file.path}: ${file.reason}${file.detail === undefined ? '' : ` (${file.detail})`}`)
    const color = process.stdout.isTTY === true && !process.env['NO_COLOR']
    process.stdout.write(
      options.json
        ? `${JSON.stringify(summary, null, 2)}\n`
        : renderScan(report, { color, saved: saved !== undefined, report: options.report }),
    )
    return exitCodeOf(summary, worst, options.failOn)
  } finally {
    meter.done()
    temporary?.remove()
  }
}
