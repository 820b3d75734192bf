/** Independent Sigma engines, as processes: how each is installed, asked and read. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import type { End, GoldenHistory } from '../../test/oracles/histories.ts'
import type { Answer, Detection, Family } from '../../test/oracles/pairs.ts'

type Ends = GoldenHistory['ends']

export interface Oracle {
  /** With its version, as it says it itself. */
  readonly name: string
  readonly version: readonly [command: string, ...args: readonly string[]]
  readonly install: string
  pairs?(family: Family): Answer
  histories?(documents: string, histories: readonly (readonly object[])[]): Ends[]
}

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
const documentOf = (detection: Detection, n: number) => ({
  title: `r${n}`,
  id: idOf(n),
  logsource: { product: 'aws' },
  detection,
})
const ndjson = (all: readonly object[]) => all.map((one) => JSON.stringify(one)).join('\n')

const run = (command: string, args: readonly string[], input: string): string[] => {
  const { stdout, stderr, status, error } = spawnSync(command, args, {
    input,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (error !== undefined || (status !== 0 && stdout === '')) throw error ?? new Error(stderr)
  return stdout.split('\n').filter((one) => one !== '')
}

/** Rules in a file of their own. */
const rsigma = (rules: string, events: readonly object[], ...options: readonly string[]): string[] => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-proof-'))
  try {
    const path = join(folder, 'rules.yml')
    writeFileSync(path, rules)
    const args = ['--output-format', 'ndjson', 'engine', 'eval', '-r', path, ...options]
    return run('rsigma', args, ndjson(events))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const python = process.env['PYTHON'] ?? 'python3'
const correlationsInPython = join(import.meta.dirname, 'correlations.py')

export const oracles: Readonly<Record<string, Oracle>> = {
  rsigma: {
    name: 'rsigma 0.23.0',
    version: ['rsigma', '--version'],
    install: 'cargo install rsigma --version 0.23.0 --locked',
    pairs({ rules, events }) {
      const found: number[][] = rules.map(() => [])
      const text = rules.map((one, n) => JSON.stringify(documentOf(one, n))).join('\n---\n')
      const numbered = events.map((one, number_) => ({ ...one, number_ }))
      for (const line of rsigma(text, numbered, '--include-event')) {
        const { rule_id, event } = JSON.parse(line) as { rule_id: string; event: { number_: number } } // rsigma's own form
        found[Number(rule_id.slice(-12))]?.push(event.number_)
      }
      return found.map((one) => one.sort((a, b) => a - b))
    },
    histories(documents, histories) {
      const known = parseAllDocuments(documents).map((one) => one.toJS() as { title: string })
      return histories.map((records) => {
        const ends: Record<string, End[]> = Object.fromEntries(
          known.filter((one) => 'correlation' in one).map(({ title }) => [title, []]),
        )
        const options = ['--correlation-event-mode', 'full', '--timestamp-field', 'eventTime']
        for (const line of rsigma(documents, records, ...options)) {
          const { rule_title, events, group_key } = JSON.parse(line) as {
            rule_title: string
            events?: readonly { eventTime: string }[]
            group_key?: readonly (readonly [field: string, value: string])[]
          } // rsigma's own form
          const last = events?.at(-1)?.eventTime
          if (last !== undefined) ends[rule_title]?.push([Date.parse(last) / 1000, group_key?.[0]?.[1] ?? ''])
        }
        return ends
      })
    },
  },
  'sigma-rust': {
    name: 'sigma-rust 0.7.0',
    version: ['sigma-rust-oracle', '--version'],
    install: 'cargo install --path scripts/oracles/sigma-rust',
    pairs({ rules, events }) {
      const [line = ''] = run('sigma-rust-oracle', [], ndjson([{ rules: rules.map(documentOf), events }]))
      return JSON.parse(line) as Answer // written by main.rs
    },
  },
  'pysigma-sqlite': {
    name: 'pysigma-backend-sqlite 2.1.1',
    version: [python, correlationsInPython, '--version'],
    install:
      'python3 -m venv V && V/bin/pip install pysigma-backend-sqlite==2.1.1 pysigma==2.0.1, then PYTHON=V/bin/python',
    histories(documents, histories) {
      const asked = { documents: parseAllDocuments(documents).map((one) => one.toJS()), histories }
      return run(python, [correlationsInPython], JSON.stringify(asked)).map((one) => JSON.parse(one) as Ends) // written by correlations.py
    },
  },
}

/** Whether an engine is here, in its version. */
export const isHere = ({ name, version: [command, ...args] }: Oracle): boolean => {
  const { stdout, error } = spawnSync(command, args, { encoding: 'utf8' })
  return error === undefined && stdout.startsWith(name)
}
