/**
 * Sigma rules on raw CloudTrail records, beside rsigma: `node bench/sigma.ts --rules DIR --records FILE.ndjson`.
 * Each record is tried against all rules; what matched must be equal before a rate is told. One core each; rates are by
 * processor time, which other work on the machine does not change much.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { parseAllDocuments, stringify } from 'yaml'
import { detectorFiles } from '../src/config/detectors.ts'
import { defineDetectors } from '../src/detect/definition.ts'
import { type Detector, rulesOf } from '../src/detect/detectors.ts'
import { rawRules } from '../src/detect/raw-rules.ts'
import { ruleIndex } from '../src/detect/rule-index.ts'
import { Scanner } from '../src/normalize/scanner.ts'

const { values } = parseArgs({
  options: {
    rules: { type: 'string' },
    records: { type: 'string' },
    times: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    measure: { type: 'boolean', default: false },
  },
})
const { rules: folder, records: path } = values
if (folder === undefined || path === undefined) throw new Error('--rules DIR and --records FILE are needed')

/** The record's own id is its number, so that engines can be compared. */
const NUMBER = /"eventID":"(\d+)"/

/** Clones of every rule with other literals: they match nothing, and cost what rules cost. */
const cloned = (text: string, n: number): string => {
  if (n === 0) return text
  const change = (value: unknown): unknown =>
    typeof value === 'string'
      ? `${value}${n}`
      : Array.isArray(value)
        ? value.map(change)
        : typeof value === 'object' && value !== null
          ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, change(one)]))
          : value
  return parseAllDocuments(text)
    .map((node) => {
      const body = node.toJS() as { id: string; detection: Record<string, unknown> } // public rules have these
      const { condition, ...selections } = body.detection
      const id = `${body.id.slice(0, -4)}${String(n).padStart(4, '0')}`
      return stringify({ ...body, id, detection: { ...(change(selections) as object), condition } })
    })
    .join('---\n')
}

/** Tries every record as intake does; @returns `rule id|record number` for each match. */
const ours = (detectors: readonly Detector[], bytes: Buffer): string[] => {
  const index = ruleIndex<{ readonly id: string; readonly test: (raw: unknown) => boolean }>()
  for (const one of detectors)
    for (const { raw } of rulesOf(one))
      if (raw !== undefined) index.add(raw, { id: one.facts.id, test: raw.test })
  const rules = rawRules(detectors)
  const found: string[] = []
  const scanner = new Scanner()
  for (let start = 0; start < bytes.length; ) {
    if (scanner.scan(bytes, start, bytes.length, false) !== 'done') throw new Error(`no record at ${start}`)
    const { plain, source, name, end } = scanner
    if (!plain || rules?.mayMatch(source.text(bytes), name.text(bytes), bytes, start, end)) {
      const raw = JSON.parse(bytes.toString('utf8', start, end)) as { readonly eventID: string }
      for (const { id, test } of index.candidates('aws', raw))
        if (test(raw)) found.push(`${id}|${raw.eventID}`)
    }
    start = end + 1
  }
  return found
}

const load = (factor: number) => {
  const files = detectorFiles(folder).map((one) => ({ path: one, text: readFileSync(one, 'utf8') }))
  return files.flatMap((file) =>
    Array.from({ length: factor }, (_, n) => ({ path: `${n}/${file.path}`, text: cloned(file.text, n) })),
  )
}

if (values.measure) {
  const { detectors } = defineDetectors(load(Number(values.times)))
  const bytes = readFileSync(path)
  ours(detectors, bytes.subarray(0, bytes.indexOf(10, bytes.length / 4) + 1)) // warm
  const begun = process.cpuUsage()
  const found = ours(detectors, bytes)
  const { user, system } = process.cpuUsage(begun)
  process.stdout.write(JSON.stringify({ ms: (user + system) / 1000, rules: detectors.length, found }))
} else {
  const scratch = mkdtempSync(join(tmpdir(), 'keytrail-sigma-'))
  try {
    const records = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '').length
    const median = (all: readonly number[]) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0
    for (const factor of values.times.split(',').map(Number)) {
      const rulesPath = join(scratch, 'rules.yml')
      writeFileSync(
        rulesPath,
        load(factor)
          .map(({ text }) => text)
          .join('\n---\n'),
      )
      const own: number[] = []
      const theirs: number[] = []
      let rules = 0
      for (let round = 0; round < Number(values.rounds); round++) {
        const args = [
          import.meta.filename,
          '--measure',
          '--times',
          String(factor),
          '--rules',
          folder,
          '--records',
          path,
        ]
        const mine = spawnSync('taskset', ['-c', '1', process.execPath, ...args], {
          encoding: 'utf8',
          maxBuffer: 1e9,
        })
        if (mine.status !== 0) throw new Error(mine.stderr)
        const measured = JSON.parse(mine.stdout) as { ms: number; rules: number; found: string[] }
        rules = measured.rules
        own.push(records / (measured.ms / 1000))
        const time = (file: string) => {
          const out = join(scratch, 'out.ndjson')
          const command = `taskset -c 1 rsigma --output-format ndjson engine eval -r '${rulesPath}' --input-format json --include-event -e '@${file}' >'${out}' 2>/dev/null; times`
          const { stdout } = spawnSync('sh', ['-c', command], { encoding: 'utf8' })
          const [, children = ''] = stdout.split('\n') // of the shell, then of what it ran: user, system
          const [user = 0, system = 0] = [...children.matchAll(/(\d+)m([\d.]+)s/g)].map(
            ([, m, s]) => Number(m) * 60 + Number(s),
          )
          return { ms: (user + system) * 1000, stdout: readFileSync(out, 'utf8') }
        }
        const nothing = join(scratch, 'none.ndjson')
        writeFileSync(nothing, '{"eventID":"-1"}\n')
        const start = time(nothing).ms // loading rules is not what is compared
        const peer = time(path)
        if (peer.stdout === '') throw new Error('rsigma did not run')
        theirs.push(records / ((peer.ms - start) / 1000))
        const theirMatches = peer.stdout
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => `${(JSON.parse(line) as { rule_id: string }).rule_id}|${NUMBER.exec(line)?.[1]}`)
        const a = measured.found.sort().join('\n')
        const b = theirMatches.sort().join('\n')
        if (a !== b)
          throw new Error(`matches differ: ${measured.found.length} here, ${theirMatches.length} there`)
        if (round === 0)
          console.log(`${rules} rules, ${records} records: ${measured.found.length} matches, equal`)
      }
      console.log(
        `× ${factor}: keytrail ${Math.round(median(own))} records/s, rsigma ${Math.round(median(theirs))}, ${(median(own) / median(theirs)).toFixed(1)} times`,
      )
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
