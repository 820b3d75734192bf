/** Two ways to scan in tests: the program itself, and its pipeline without files. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadDetectors } from '../../src/config/detectors.ts'
import type { Detector } from '../../src/detect/definition.ts'
import { rawRules } from '../../src/detect/raw-rules.ts'
import { sorter } from '../../src/journal/sorted-runs.ts'
import type { Alert } from '../../src/model/alert.ts'
import { defaultConfig } from '../../src/model/config.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import type { Knowledge } from '../../src/model/knowledge.ts'
import type { Summary } from '../../src/model/summary.ts'
import type { NormalizeSettings } from '../../src/normalize/format.ts'
import { intake, type Tally } from '../../src/pipeline/intake.ts'
import { type JudgeTally, judge } from '../../src/pipeline/judge.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import { merge } from '../../src/pipeline/order.ts'

export const root = join(import.meta.dirname, '..', '..')

export interface CliResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the program as a user would. */
export const keytrail = (
  args: readonly string[],
  options: { readonly cwd?: string; readonly input?: Buffer | string; readonly env?: NodeJS.ProcessEnv } = {},
): CliResult => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'src', 'main.ts'), ...args], {
    cwd: options.cwd ?? root,
    input: options.input,
    env: { ...process.env, NO_COLOR: '1', ...options.env },
    maxBuffer: 256 * 1024 * 1024,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

export interface Scanned {
  readonly status: number | null
  readonly summary: Summary
  readonly events: KeyEvent[]
  readonly alerts: Alert[]
  readonly stderr: string
}

const lines = <T>(path: string): T[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T)

/** `keytrail scan … --json --events --alerts`, with everything it wrote. */
export const scanCli = (args: readonly string[], input?: Buffer | string): Scanned => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  try {
    const events = join(folder, 'events.ndjson')
    const alerts = join(folder, 'alerts.ndjson')
    const options = ['--json', '--no-save', '--quiet', '--events', events, '--alerts', alerts]
    const result = keytrail(['scan', ...args, ...options], input === undefined ? {} : { input })
    if (result.stdout === '') throw new Error(`scan printed nothing: ${result.stderr}`)
    return {
      status: result.status,
      summary: JSON.parse(result.stdout) as Summary,
      events: lines<KeyEvent>(events),
      alerts: lines<Alert>(alerts),
      stderr: result.stderr,
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export interface Place {
  readonly path: string
  readonly bytes: Buffer
}

export interface PipelineResult {
  readonly tallies: readonly Tally[]
  readonly tally: JudgeTally
  readonly events: KeyEvent[]
  readonly alerts: Alert[]
}

const ownDetectors = loadDetectors([], true).detectors

/** A record alone through the whole scan: format detected, kept, and mapped as its normalizer says. @returns `event` */
export const mappedByScan = (
  record: unknown,
  event: KeyEvent,
  config: Partial<NormalizeSettings> = {},
): KeyEvent => {
  const { events, tally } = scanBytes([{ path: 'record', bytes: Buffer.from(JSON.stringify(record)) }], {
    config,
  })
  const wordsOf = ({
    operation,
    operation_category,
    operation_native,
    outcome,
    source,
    target,
  }: KeyEvent) => ({
    operation,
    operation_category,
    operation_native,
    outcome,
    service: source.service,
    target,
  })
  if (tally.kept !== 1 || JSON.stringify(events.map(wordsOf)) !== JSON.stringify([wordsOf(event)]))
    throw new Error(`scan has ${tally.kept} events: ${JSON.stringify(events.map(wordsOf))}`)
  return event
}

/**
 * Intake, sort and judge in this process.
 * @param options `chunk` bytes are pushed at a time; a sorted run is written to disk every `runBytes`
 */
export const scanBytes = (
  places: readonly Place[],
  options: {
    readonly chunk?: number
    readonly runBytes?: number
    readonly strict?: boolean
    readonly config?: Partial<NormalizeSettings>
    readonly known?: Knowledge
    readonly detectors?: readonly Detector[]
  } = {},
): PipelineResult => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  try {
    const sorted = sorter(() => folder, 'run', options.runBytes)
    const detectors = options.detectors ?? ownDetectors
    const settings = { ...defaultConfig, ...options.config, rules: rawRules(detectors) }
    const tallies = places.map(({ path, bytes }) => {
      const reader = intake(
        {
          feed_id: 'test',
          transport: 'file',
          place: path,
          received: () => '2026-01-01T00:00:00Z',
          settings,
          strict: options.strict ?? false,
        },
        sorted,
      )
      const step = options.chunk ?? bytes.length
      for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step))
      return reader.end()
    })
    const events: KeyEvent[] = []
    const alerts: Alert[] = []
    const judging = judge(
      recordNormalizer(settings, undefined, options.known),
      detectors,
      (alert) => alerts.push(alert),
      (event) => events.push(event),
    )
    for (const one of merge(sorted.runs())) judging.accept(one)
    judging.finish()
    return { tallies, tally: judging.tally, events, alerts }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
