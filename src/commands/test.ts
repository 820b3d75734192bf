/** `keytrail test`: runs the cases beside each detector through the real normalizer and engine. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse } from 'yaml'
import { detectorFiles, isCases, loadDetectors, ownDetectors } from '../config/detectors.ts'
import { type CaseResult, runCases } from '../detect/cases.ts'
import type { Detector } from '../detect/definition.ts'
import { rawRules } from '../detect/raw-rules.ts'
import type { Alert } from '../model/alert.ts'
import { defaultConfig } from '../model/config.ts'
import { casesDocument } from '../model/detector.ts'
import { KeytrailError } from '../model/error.ts'
import type { Knowledge } from '../model/knowledge.ts'
import { intake, type Kept } from '../pipeline/intake.ts'
import { judge } from '../pipeline/judge.ts'
import { recordNormalizer } from '../pipeline/normalize-record.ts'
import { compareKept } from '../pipeline/order.ts'

export interface TestOptions {
  readonly json: boolean
}

/** Judges records as `scan` would, with one detector, whatever its status. */
export const alertsOf = (detector: Detector, records: readonly unknown[], known?: Knowledge): Alert[] => {
  const kept: Kept[] = []
  const settings = { ...defaultConfig, rules: rawRules([detector]) }
  const reader = intake(
    {
      feed_id: 'test',
      transport: 'file',
      place: 'case',
      received: () => '2026-01-01T00:00:00Z',
      settings,
      strict: true,
    },
    { kept: (one) => kept.push(one) },
  )
  reader.push(Buffer.from(JSON.stringify({ Records: records })))
  reader.end()
  const alerts: Alert[] = []
  const stable: Detector = { ...detector, facts: { ...detector.facts, experimental: false } }
  const judging = judge(
    recordNormalizer(settings, undefined, known),
    [stable],
    (alert) => alerts.push(alert),
    () => {},
  )
  for (const one of kept.sort(compareKept)) judging.accept(one)
  judging.finish()
  return alerts
}

interface Tested {
  readonly id: string
  readonly results: readonly CaseResult[]
}

const testFile = (path: string): Tested[] => {
  const folder = dirname(path)
  const files = readdirSync(folder).filter(isCases).sort()
  if (files.length === 0) return []
  const { detectors, problems } = loadDetectors([path], false)
  const [problem] = problems
  if (problem !== undefined)
    throw new KeytrailError(
      'detectors.invalid',
      `${problem.path}:${problem.line}:${problem.column}: ${problem.message}`,
    )
  const documents = files.map((name) => readCases(join(folder, name)))
  return detectors.map((detector) => ({
    id: detector.facts.id,
    results: documents.flatMap((document) =>
      runCases(document, (records) => alertsOf(detector, records, document.knowledge)),
    ),
  }))
}

/** A cases file, checked. @throws KeytrailError `detectors.invalid` with the path of the first thing wrong */
export const readCases = (casesPath: string) => {
  const checked = casesDocument.safeParse(
    parse(readFileSync(casesPath, 'utf8'), { schema: 'core', merge: false, uniqueKeys: true }),
  )
  if (!checked.success) {
    const [issue] = checked.error.issues
    throw new KeytrailError('detectors.invalid', `${casesPath}: ${issue?.path.join('.')}: ${issue?.message}`)
  }
  return checked.data
}

/** @returns 0 when every case holds, 1 when one does not */
export const test = (folders: readonly string[], options: TestOptions): number => {
  const files = (folders.length === 0 ? [ownDetectors()] : folders).flatMap(detectorFiles)
  const tested = files.flatMap(testFile)
  const all = tested.flatMap(({ results }) => results)
  const failed = all.filter(({ failure }) => failure !== undefined)
  if (options.json)
    process.stdout.write(
      `${JSON.stringify({ detectors: tested, passed: all.length - failed.length, failed: failed.length }, null, 2)}\n`,
    )
  else {
    for (const { id, results } of tested) {
      const bad = results.filter(({ failure }) => failure !== undefined)
      process.stdout.write(
        `${bad.length === 0 ? 'ok  ' : 'FAIL'} ${id}  ${results.length - bad.length} of ${results.length} cases\n`,
      )
      for (const one of bad) process.stdout.write(`     ${one.name}: ${one.failure}\n`)
    }
    const untested = files.length - new Set(tested.map(({ id }) => id)).size
    if (untested > 0)
      process.stdout.write(
        `${untested} detector ${untested === 1 ? 'file has' : 'files have'} no cases.yml\n`,
      )
    process.stdout.write(`${all.length - failed.length} passed, ${failed.length} failed\n`)
  }
  return failed.length === 0 ? 0 : 1
}
