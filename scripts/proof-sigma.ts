/**
 * Asks rsigma, an independent Sigma engine, about the generated rules and records of test/oracles, and about the 31
 * cases. With --write its answers become the golden match sets.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sigmaCases } from '../test/detect/sigma-cases.ts'
import { correlationIds, correlations, type GoldenHistory, histories } from '../test/oracles/histories.ts'
import { type Detection, type Family, families, type Golden } from '../test/oracles/pairs.ts'

const ENGINE = 'rsigma 0.23.0'
const golden = join(import.meta.dirname, '../test/oracles/golden.ndjson')

const version = spawnSync('rsigma', ['--version'], { encoding: 'utf8' })
if (version.error !== undefined || !version.stdout.startsWith(ENGINE)) {
  console.warn(`SKIPPED: no ${ENGINE} here; cargo install rsigma --version 0.23.0 --locked`)
  process.exit(process.env['CI'] === undefined ? 0 : 1)
}

const goldenHistories = join(import.meta.dirname, '../test/oracles/golden-correlations.ndjson')

const folder = mkdtempSync(join(tmpdir(), 'keytrail-proof-'))
const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`

/** @returns for each rule the numbers of the records it matches */
const ask = ({ rules, events }: Family): number[][] => {
  const document = (detection: Detection, n: number) =>
    JSON.stringify({ title: `r${n}`, id: idOf(n), logsource: { product: 'aws' }, detection })
  writeFileSync(join(folder, 'rules.yml'), rules.map(document).join('\n---\n'))
  const { stdout, stderr, status } = spawnSync(
    'rsigma',
    ['--output-format', 'ndjson', 'engine', 'eval', '-r', join(folder, 'rules.yml'), '--include-event'],
    { input: events.map((one, number_) => JSON.stringify({ ...one, number_ })).join('\n'), encoding: 'utf8' },
  )
  if (status !== 0 && stdout === '') throw new Error(stderr)
  const found: number[][] = rules.map(() => [])
  for (const line of stdout.split('\n').filter((one) => one !== '')) {
    const { rule_id, event } = JSON.parse(line) as { rule_id: string; event: { number_: number } } // rsigma's own form
    found[Number(rule_id.slice(-12))]?.push(event.number_)
  }
  return found.map((one) => one.sort((a, b) => a - b))
}

/** @returns by correlation, the records that end a window which holds */
const askHistory = (records: readonly object[]): GoldenHistory => {
  writeFileSync(join(folder, 'correlations.yml'), correlations)
  const { stdout, stderr } = spawnSync(
    'rsigma',
    [
      ...['--output-format', 'ndjson', 'engine', 'eval', '-r', join(folder, 'correlations.yml')],
      ...['--correlation-event-mode', 'full', '--timestamp-field', 'eventTime'],
    ],
    {
      input: records.map((one) => JSON.stringify(one)).join('\n'),
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    },
  )
  if (stdout === '') throw new Error(stderr)
  const ends = Object.fromEntries(correlationIds.map((id) => [id, [] as number[]]))
  for (const line of stdout.split('\n').filter((one) => one !== '')) {
    const { rule_title, events } = JSON.parse(line) as {
      rule_title: string
      events?: { requestParameters: { id: number } }[]
    } // rsigma's own form
    const last = events?.at(-1)?.requestParameters.id
    if (last !== undefined) ends[rule_title]?.push(last)
  }
  return { engine: ENGINE, ends }
}

/** Writes what the engine says, or compares it with what it said. @returns whether that is the same */
const compare = (path: string, text: string): boolean => {
  if (process.argv.includes('--write')) writeFileSync(path, text)
  else if (readFileSync(path, 'utf8') !== text) {
    console.error(`${path} is not what ${ENGINE} says now`)
    return false
  }
  return true
}

try {
  let wrong = 0
  for (const [name, detection, records] of sigmaCases) {
    const events = records.map(([record]) => record as Readonly<Record<string, unknown>>) // each is an object
    const [matched = []] = ask({ rules: [detection], events })
    const expected = records.flatMap(([, matches], index) => (matches ? [index] : []))
    if (JSON.stringify(matched) === JSON.stringify(expected)) continue
    wrong++
    console.error(`case "${name}": expected records ${expected}, ${ENGINE} says ${matched}`)
  }
  console.log(`${sigmaCases.length - wrong} of ${sigmaCases.length} cases agree with ${ENGINE}`)
  const text = [...families]
    .map(([family, one]): Golden => ({ engine: ENGINE, family, matches: ask(one) }))
    .map((one) => `${JSON.stringify(one)}\n`)
    .join('')
  if (!compare(golden, text)) wrong++
  if (!compare(goldenHistories, histories.map((one) => `${JSON.stringify(askHistory(one))}\n`).join('')))
    wrong++
  const pairs = [...families.values()].reduce(
    (sum, { rules, events }) => sum + rules.length * events.length,
    0,
  )
  console.log(
    `${families.size} families, ${pairs} pairs of rule and record; ${histories.length} histories, ${correlationIds.length} correlations`,
  )
  process.exitCode = wrong === 0 ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
