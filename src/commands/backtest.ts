/**
 * `keytrail backtest`: what a detector would have told in these logs, before it tells anybody: alerts a day, about
 * whom, and where it differs from another version or another rule.
 */
import { existsSync } from 'node:fs'
import { loadConfig } from '../config/config.ts'
import { loadDetectors, ownDetectors } from '../config/detectors.ts'
import { learn } from '../config/knowledge.ts'
import type { Detector } from '../detect/definition.ts'
import { rawRules } from '../detect/raw-rules.ts'
import { findFiles } from '../ingest/files.ts'
import { temporaryFolder } from '../journal/sorted-runs.ts'
import type { Alert } from '../model/alert.ts'
import { KeytrailError } from '../model/error.ts'
import { printable } from '../normalize/text.ts'
import { judge } from '../pipeline/judge.ts'
import { recordNormalizer } from '../pipeline/normalize-record.ts'
import { merge } from '../pipeline/order.ts'
import { progress } from '../telemetry/progress.ts'
import { readAll, workersFor } from './scan-read.ts'

export interface BacktestOptions {
  readonly json: boolean
  readonly config?: string | undefined
  /** Another detector, or an older file of the same. */
  readonly than?: string | undefined
  readonly quiet: boolean
}

const TOP = 10

/** One detector, whatever its status; by id among ours, or the one in a file or folder. */
const detectorOf = (name: string) => {
  const path = existsSync(name) ? name : ownDetectors()
  const { detectors, problems, files } = loadDetectors([path], false)
  const [problem] = problems
  if (problem !== undefined)
    throw new KeytrailError(
      'detectors.invalid',
      `${problem.path}:${problem.line}:${problem.column}: ${problem.message}`,
    )
  const [found, ...more] = existsSync(name) ? detectors : detectors.filter(({ facts }) => facts.id === name)
  if (found === undefined) throw new KeytrailError('detectors.missing', `there is no detector ${name}`)
  if (more.length > 0)
    throw new KeytrailError(
      'detectors.invalid',
      `${name} holds ${more.length + 1} detectors: name the file of one`,
    )
  const stable: Detector = { ...found, facts: { ...found.facts, experimental: false } }
  return { detector: stable, files }
}

type Counted = Pick<Alert, 'entity' | 'time' | 'severity'>

const entityOf = ({ entity }: Counted) =>
  [entity.principal, entity.key_id, entity.account].filter((one) => one !== undefined).join(' ') || 'unknown'

/** Counts by key, the most first. */
const ranked = (keys: readonly string[]) => {
  const counts = new Map<string, number>()
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
  return [...counts].sort(([a, left], [b, right]) => right - left || (a < b ? -1 : 1))
}

export const summaryOf = (alerts: readonly Counted[]) => ({
  alerts: alerts.length,
  by_day: Object.fromEntries(
    ranked(alerts.map(({ time }) => time.first_event.slice(0, 10))).sort(([a], [b]) => (a < b ? -1 : 1)),
  ),
  by_severity: Object.fromEntries(ranked(alerts.map(({ severity }) => severity))),
  top: ranked(alerts.map(entityOf))
    .slice(0, TOP)
    .map(([entity, count]) => ({ entity, alerts: count })),
})

/** @returns 0, or 4 when nothing could be read */
export const backtest = async (
  name: string,
  paths: readonly string[],
  options: BacktestOptions,
  signal: AbortSignal,
): Promise<number> => {
  const config = loadConfig(options.config)
  const tried = [name, ...(options.than === undefined ? [] : [options.than])].map(detectorOf)
  const learned = learn(config)
  const base = { ...config, ingest_path: learned.ingest_path }
  const found = findFiles(paths)
  const meter = progress(process.stderr, options.quiet)
  let temporary: ReturnType<typeof temporaryFolder> | undefined
  try {
    const run = async ({ detector, files }: (typeof tried)[number]) => {
      const rules = rawRules([detector])
      const read = await readAll(
        found,
        {
          settings: base,
          ruleFiles: rules && files,
          experimental: true,
          strict: false,
          received: new Date().toISOString(),
        },
        workersFor(found, undefined),
        () => {
          temporary ??= temporaryFolder()
          return temporary.path
        },
        ({ records }) => meter.update(() => `read ${records.toLocaleString('en')} records`),
        signal,
      )
      const alerts: Alert[] = []
      const judging = judge(
        recordNormalizer({ ...base, rules }, undefined, learned.known, learned.locate),
        [detector],
        (alert) => alerts.push(alert),
        () => {},
      )
      for (const one of merge(read.runs)) judging.accept(one)
      judging.finish()
      const { kept, first, last } = judging.tally
      return {
        id: detector.facts.id,
        version: detector.facts.version,
        kept,
        first,
        last,
        received: read.files.reduce((sum, one) => sum + one.received, 0),
        alerts,
      }
    }
    const [own, other] = [await run(tried[0] as (typeof tried)[number]), tried[1] && (await run(tried[1]))] // the first is there
    meter.done()
    const events = ({ alerts }: { alerts: readonly Alert[] }) =>
      new Set(alerts.flatMap(({ evidence }) => evidence.event_ids))
    const [mine, theirs] = [events(own), other === undefined ? undefined : events(other)]
    const days =
      own.first === undefined || own.last === undefined
        ? 0
        : (Date.parse(own.last) - Date.parse(own.first)) / 86_400_000
    const result = {
      detector: `${own.id}@${own.version}`,
      events: own.kept,
      days: Math.round(days * 100) / 100,
      alerts_a_day:
        days === 0 ? own.alerts.length : Math.round((own.alerts.length / Math.max(days, 1)) * 100) / 100,
      ...summaryOf(own.alerts),
      ...(other &&
        theirs && {
          than: {
            detector: `${other.id}@${other.version}`,
            alerts: other.alerts.length,
            only_here: [...mine].filter((id) => !theirs.has(id)).length,
            only_there: [...theirs].filter((id) => !mine.has(id)).length,
          },
        }),
    }
    if (options.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
    else {
      const say = (text: string) => process.stdout.write(`${printable(text)}\n`)
      say(
        `${result.detector}: ${result.alerts} alerts in ${result.events} events of ${result.days} days, ${result.alerts_a_day} a day`,
      )
      for (const [day, count] of Object.entries(result.by_day)) say(`  ${day}  ${count}`)
      if (result.top.length > 0) say('most about')
      for (const { entity, alerts } of result.top) say(`  ${String(alerts).padStart(4)}  ${entity}`)
      if (result.than !== undefined)
        say(
          `${result.than.detector}: ${result.than.alerts} alerts; events of evidence only here ${result.than.only_here}, only there ${result.than.only_there}`,
        )
    }
    return own.received === 0 ? 4 : 0
  } finally {
    meter.done()
    temporary?.remove()
  }
}
