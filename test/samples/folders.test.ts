/**
 * Every public sample log is read: the figures of a checked-in table against the program, and both against a
 * count and a classification of their own. Nothing of the product is used for the expected side.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { designFolder, filesBelow, hasDesign, hasSamples, samplesFolder } from '../support/samples.ts'
import { scanBytes, scanCli } from '../support/scan.ts'

interface Counts {
  readonly received: number
  readonly kept: number
  readonly skipped: number
  readonly duplicate: number
  readonly rejected: number
}
type Value = Record<string, unknown>

const table: Record<string, Counts> = JSON.parse(
  readFileSync(join(import.meta.dirname, 'folders.json'), 'utf8'),
)
const aws = join(samplesFolder, 'aws')
/** Rule tests of other products: each element wraps a record in words of its own. */
const wrappers = ['panther-analysis', 'streamalert']

// ---- an independent count -------------------------------------------------------------------------------

const wholeOrLines = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line)]))
  }
}
const elements = (path: string): Value[] => {
  const value = wholeOrLines(readFileSync(path, 'utf8')) as Value | Value[]
  if (Array.isArray(value)) return value
  return Array.isArray(value['Records']) ? (value['Records'] as Value[]) : [value]
}

// ---- an independent classification (contracts.md section 1, names of schema.md 5.7) -----------------------

/** `service name` of every companion event; `name*` stands for all that begin so. */
const companions = (): string[] => {
  const schema = readFileSync(join(designFolder, 'schema.md'), 'utf8')
  const rows = schema.slice(schema.indexOf('### 5.7')).split('\n')
  return rows
    .filter((row) => row.startsWith('| AWS |') && !/log bucket|ingest path/.test(row))
    .flatMap((row) => {
      let service = ''
      return [...(row.split('|')[2] ?? '').matchAll(/([a-z0-9]+) (?=[A-Z])|([A-Z]\w+\*?)/g)].flatMap(
        ([, lower, name]) => {
          service = lower ?? service
          return name === undefined ? [] : [`${service}.amazonaws.com ${name}`]
        },
      )
    })
}
const names = hasDesign ? companions() : []
const inScope = (source: string, name: string) =>
  source === 'kms.amazonaws.com' ||
  source === 'cloudhsm.amazonaws.com' ||
  names.some((one) =>
    one.endsWith('*') ? `${source} ${name}`.startsWith(one.slice(0, -1)) : one === `${source} ${name}`,
  )

const opened = (value: Value): { readonly record: Value; readonly time: unknown } => {
  if (typeof value['CloudTrailEvent'] === 'string')
    return { record: JSON.parse(value['CloudTrailEvent']), time: value['EventTime'] }
  if (value['detail-type'] !== undefined) return { record: value['detail'] as Value, time: value['time'] }
  return { record: value, time: value['@timestamp'] }
}
const outcome = (value: Value): 'rejected' | 'skipped' | 'kept' => {
  const { record, time } = opened(value)
  const { eventSource, eventName, eventVersion } = record
  if (typeof eventSource !== 'string' || typeof eventName !== 'string') return 'rejected'
  if (eventVersion !== undefined && !String(eventVersion).startsWith('1.')) return 'rejected'
  if (Number.isNaN(Date.parse(String(record['eventTime'] ?? time)))) return 'rejected'
  return inScope(eventSource, eventName) ? 'kept' : 'skipped'
}
const classify = (values: readonly Value[]): Counts => {
  const counts = { received: values.length, kept: 0, skipped: 0, duplicate: 0, rejected: 0 }
  const seen = new Set<string>()
  for (const value of values) {
    const { record } = opened(value)
    const found = outcome(value)
    // the samples repeat a record byte by byte, if at all: same account, same id, same text
    const content = `${record['recipientAccountId']} ${record['eventID']} ${JSON.stringify(record)}`
    if (found === 'kept' && seen.has(content)) counts.duplicate++
    else counts[found]++
    if (found === 'kept') seen.add(content)
  }
  return counts
}

describe.skipIf(!hasSamples)('public sample logs', () => {
  it('stand in the table, each folder of them', () => {
    expect(Object.keys(table).sort()).toEqual(readdirSync(aws).sort())
  })

  describe.each(Object.keys(table))('%s', (folder) => {
    const path = join(aws, folder)
    const expected = table[folder]
    const values = filesBelow(path).flatMap(elements)

    it('the table counts what is in the files', () => {
      expect(values.length).toBe(expected?.received)
    })

    it.skipIf(!hasDesign)('the table says what the scope rule of the documents says', () => {
      expect(classify(values)).toEqual(expected)
    })

    it('the program gives the figures of the table, and exit code 3 only for rejections', () => {
      const { status, summary } = scanCli([path])
      expect(summary.records).toEqual(expected)
      expect(summary.files).toEqual({ failed: 0, read: filesBelow(path).length, skipped: 0 })
      expect(status).toBe(expected?.rejected === 0 ? 0 : 3)
      if (wrappers.includes(folder))
        expect(summary.rejections).toMatchObject([{ reason: 'unknown_format', count: expected?.received }])
    })

    it('each file alone is read whole, in 256-byte pieces, in less than five seconds', () => {
      for (const file of filesBelow(path)) {
        const began = performance.now()
        const bytes = readFileSync(file)
        const { tallies, tally } = scanBytes([{ path: file, bytes }], { chunk: 256 })
        const own = classify(elements(file))
        const total = (counts: Iterable<number>) => [...counts].reduce((a, b) => a + b, 0)
        const [read] = tallies
        const got = {
          received: read?.received,
          kept: tally.kept,
          skipped: total(read?.skipped.values() ?? []),
          duplicate: tally.duplicate,
          rejected: total([...(read?.rejected.values() ?? [])].map(({ count }) => count)),
        }
        expect(hasDesign ? got : { received: got.received }, file).toEqual(
          hasDesign ? own : { received: own.received },
        )
        expect(performance.now() - began, file).toBeLessThan(5000)
      }
    })
  })

  it('one file of each form ends with exit code 0, a wrapper with 3', () => {
    const one = (folder: string, name: string) =>
      filesBelow(join(aws, folder)).find((path) => path.includes(name)) ?? folder
    const forms = [
      [one('cloud-custodian-cwe', 'hsm-create-cluster'), 0],
      [one('cloud-custodian-cwe', 'appelb-add-tags'), 0],
      [one('invictus-aws_dataset', 'CloudTrail'), 0],
      [one('plaso', 'jsonl'), 0],
      [one('otrf-security-datasets', 'ec2_proxy'), 0],
      [one('stratus-red-team', 'cloudtrail-stop'), 0],
      [one('traildiscover', 'CreateKey.json'), 0],
      [one('panther-analysis', 'aws_kms_cmk_loss'), 3],
      [one('streamalert', 'control_message'), 3],
    ] as const
    expect(forms.map(([path]) => scanCli([path]).status)).toEqual(forms.map(([, status]) => status))
  })
})
