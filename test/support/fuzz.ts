/**
 * Changed records against all decoders: bytes are flipped, cut, doubled and joined, members replaced, renamed and
 * repeated. Whatever comes must end with one outcome for each record, in time, and leave the process as it was.
 *
 *   node test/support/fuzz.ts [executions] [seed]     the full dose: 2,000,000
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { parse as parseYaml } from 'yaml'
import { recordsOf } from '../../src/detect/cases.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { casesDocument } from '../../src/model/detector.ts'
import { keyEvent } from '../../src/model/event.ts'
import { knowledge } from '../../src/model/knowledge.ts'
import { parse } from '../../src/normalize/json.ts'
import { intake, type Kept } from '../../src/pipeline/intake.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import { entraAudit, signIn } from './azure.ts'
import { random } from './kills.ts'

const root = join(import.meta.dirname, '..', '..')

/** Records by format: of the cases of all detectors, the examples, and real logs where they are. */
export const corpus = (): ReadonlyMap<string, readonly string[]> => {
  const found = new Map<string, string[]>()
  const add = (format: string, record: unknown) =>
    found.set(format, [...(found.get(format) ?? []), JSON.stringify(record)])
  const detectors = join(root, 'detectors')
  for (const name of readdirSync(detectors, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!/cases(\.\w+)?\.yml$/.test(name)) continue
    const document = casesDocument.parse(
      parseYaml(readFileSync(join(detectors, name), 'utf8'), { schema: 'core' }),
    )
    for (const one of document.cases)
      for (const record of recordsOf(document, one).slice(0, 1)) add(document.format, record)
  }
  const examples = join(root, 'examples', 'aws')
  for (const name of readdirSync(examples, { recursive: true, encoding: 'utf8' }).sort())
    if (name.endsWith('.json.gz')) {
      const { Records } = JSON.parse(gunzipSync(readFileSync(join(examples, name))).toString()) as {
        Records: unknown[]
      }
      for (const record of Records.slice(0, 10)) add('cloudtrail', record)
    }
  for (const [format, record] of [
    ['entra sign-in', signIn('SignInLogs')],
    ['entra audit', entraAudit('Add member to role')],
  ] as const)
    add(format, record)
  return found
}

/** Inputs that broke something once. */
const foundBefore = (): Uint8Array[] => {
  const folder = join(root, 'test', 'fixtures', 'fuzz')
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name)))
}

const oddValues: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53 + 1,
  '',
  ' ',
  'x'.repeat(70_000),
  '\u0000\u202e\ud800',
  '__proto__',
  '2026-02-30T25:61:61Z',
  '9999-12-31T23:59:59Z',
  '{"a":',
  '[[[[',
  '%7B%22',
  [],
  {},
  [[]],
  [null],
  { value: { value: {} } },
  { constructor: { prototype: { polluted: 1 } } },
  'arn:aws:kms:::::',
  'https://%00.vault.azure.net//keys/',
  'projects//locations/-/keyRings/../x',
]
const oddNames = ['__proto__', 'constructor', 'toString', '', 'a'.repeat(300), 'Statement', 'Principal', '*']

type Random = () => number

const pick = <T>(all: readonly T[], next: Random): T => all[Math.floor(next() * all.length)] as T // never empty here

/** Changes one member somewhere in a value. */
const changedValue = (value: unknown, next: Random): unknown => {
  if (typeof value !== 'object' || value === null || next() < 0.15) return pick(oddValues, next)
  if (Array.isArray(value)) {
    if (value.length === 0 || next() < 0.1) return [...value, pick(oddValues, next)]
    const at = Math.floor(next() * value.length)
    return value.map((one, index) => (index === at ? changedValue(one, next) : one))
  }
  const entries = Object.entries(value)
  const at = Math.floor(next() * entries.length)
  const how = next()
  return Object.fromEntries(
    entries.flatMap(([name, one], index): [string, unknown][] => {
      if (index !== at) return [[name, one]]
      if (how < 0.1) return []
      if (how < 0.2) return [[pick(oddNames, next), one]]
      return [[name, changedValue(one, next)]]
    }),
  )
}

/** Changes bytes. */
const changedBytes = (bytes: Uint8Array, other: Buffer, next: Random): Uint8Array => {
  const at = Math.floor(next() * bytes.length)
  const to = Math.min(bytes.length, at + 1 + Math.floor(next() * 40))
  switch (Math.floor(next() * 6)) {
    case 0: {
      const copy = Buffer.from(bytes)
      copy[at] = Math.floor(next() * 256)
      return copy
    }
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)])
    case 2:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)])
    case 3:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(pick(['"', '\\', '{', ']', '\u2028', '\0', ',', '\xff'], next), 'latin1'),
        bytes.subarray(at),
      ])
    case 4:
      return Buffer.concat([bytes.subarray(0, at), other.subarray(Math.floor(next() * other.length))])
    default:
      return bytes.subarray(0, at)
  }
}

const quoted = JSON.stringify
/** What records travel in. */
const envelopes: readonly ((record: string) => string)[] = [
  (one) => `{"Records":[${one},${one}]}`,
  (one) => `{"records":[${one}]}`,
  (one) => `[${one}]`,
  (one) =>
    `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":[{"id":"1","timestamp":1,"message":${quoted(one)}}]}`,
  (one) => `{"detail-type":"AWS API Call via CloudTrail","source":"aws.kms","detail":${one}}`,
  (one) => `{"Type":"Notification","Message":${quoted(one)}}`,
  (one) => `{"message":{"data":"${Buffer.from(one).toString('base64')}"},"subscription":"s"}`,
  (one) => `{"receivedMessages":[{"ackId":"a","message":{"data":"${Buffer.from(one).toString('base64')}"}}]}`,
]

export interface Fuzzed {
  readonly executions: number
  readonly outcomes: Readonly<Record<string, number>>
  /** Milliseconds of the slowest. */
  readonly slowest: number
  /** Inputs that broke something, and how. */
  readonly failures: readonly { readonly input: string; readonly failure: string }[]
}

const known = knowledge.parse({
  own_accounts: ['123456789012'],
  labels: [{ kind: 'key', match: '*', labels: { owner: 'x' } }],
})
const prototypeNames = Object.getOwnPropertyNames(Object.prototype).join()

/** @param executions inputs, spread over all formats @param seed decides all of them */
export const fuzz = (executions: number, seed: number): Fuzzed => {
  const next = random(seed)
  const records = corpus()
  const formats = [...records.keys()]
  const normalize = recordNormalizer(defaultConfig, undefined, known)
  const outcomes: Record<string, number> = {}
  const failures: { input: string; failure: string }[] = []
  const count = (name: string) => {
    outcomes[name] = (outcomes[name] ?? 0) + 1
  }
  let slowest = 0
  /** Whatever comes ends with an outcome for each record, and with events that follow the schema. */
  const run = (bytes: Uint8Array, format: string, check: boolean) => {
    const began = performance.now()
    try {
      judge(bytes, format, check)
    } catch (cause) {
      failures.push({
        input: Buffer.from(bytes).toString('latin1').slice(0, 5000),
        failure: cause instanceof Error ? (cause.stack ?? cause.message) : String(cause),
      })
    }
    slowest = Math.max(slowest, performance.now() - began)
  }
  const judge = (bytes: Uint8Array, format: string, check: boolean) => {
    const kept: Kept[] = []
    let judged = 0
    const reader = intake(
      {
        feed_id: 'fuzz',
        transport: 'file',
        place: 'fuzz',
        received: () => '2026-01-01T00:00:00Z',
        settings: defaultConfig,
        strict: false,
      },
      { kept: (one) => kept.push(one) },
    )
    reader.push(Buffer.from(bytes))
    const { received, skipped, rejected } = reader.end()
    for (const one of kept) {
      const value = parse(one.raw.bytes.toString('utf8'))
      const result = normalize(value, one.raw)
      judged++
      count(`${format} ${result.kind}`)
      if (result.kind !== 'event' || !check) continue
      const checked = keyEvent.safeParse(JSON.parse(JSON.stringify(result.event)))
      const [issue] = checked.error?.issues ?? []
      if (issue !== undefined) throw new Error(`not an event: ${issue.path.join('.')} ${issue.message}`)
    }
    const sum =
      judged +
      [...skipped.values()].reduce((a, b) => a + b, 0) +
      [...rejected.values()].reduce((a, one) => a + one.count, 0)
    if (sum !== received) throw new Error(`received ${received}, accounted ${sum}`)
    if (kept.length === 0) count(`${format} not kept`)
  }

  for (const found of foundBefore()) run(found, 'found before', true)
  for (let n = 0; n < executions && failures.length < 5; n++) {
    const format = formats[n % formats.length] ?? ''
    const all = records.get(format) ?? []
    const base = pick(all, next)
    let bytes: Uint8Array = Buffer.from(base)
    if (next() < 0.7) {
      let value: unknown = JSON.parse(base)
      for (let changes = 1 + Math.floor(next() * 3); changes > 0; changes--) value = changedValue(value, next)
      bytes = Buffer.from(JSON.stringify(value) ?? 'null')
    }
    if (next() < 0.2) bytes = Buffer.from(pick(envelopes, next)(Buffer.from(bytes).toString()))
    if (next() < 0.45) bytes = changedBytes(bytes, Buffer.from(pick(all, next)), next)
    run(bytes, format, n % 16 === 0)
  }
  if (Object.getOwnPropertyNames(Object.prototype).join() !== prototypeNames)
    failures.push({ input: '', failure: 'Object.prototype was changed' })
  return { executions, outcomes, slowest: Math.round(slowest), failures }
}

if (process.argv[1] === import.meta.filename) {
  const [executions = 2_000_000, seed = 1] = process.argv.slice(2).map(Number)
  const result = fuzz(executions, seed)
  console.log(
    JSON.stringify({ seed, ...result, rss_mib: Math.round(process.resourceUsage().maxRSS / 1024) }, null, 2),
  )
  process.exitCode = result.failures.length === 0 ? 0 : 1
}
