/**
 * The published schemas: they say what the documents say, everything that the program writes about the samples
 * follows them, and a wrong event or alert is refused, by JSON Schema and by the program's own check alike.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { describe, expect, it } from 'vitest'
import type { ZodType } from 'zod'
import { alert as alertSchema } from '../../src/model/alert.ts'
import { keyEvent } from '../../src/model/event.ts'
import { record } from '../support/cloudtrail.ts'
import { designFolder, filesBelow, hasDesign, hasSamples, samplesFolder } from '../support/samples.ts'
import { root, scanBytes, scanCli } from '../support/scan.ts'

interface Schema {
  readonly required?: readonly string[]
  readonly enum?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
}

const ajv = new Ajv2020({ strict: true })
addFormats.default(ajv)
const read = (name: string): Schema =>
  JSON.parse(readFileSync(join(root, 'schemas', `${name}.schema.json`), 'utf8'))
const published = { event: read('kms.event.v1'), alert: read('kms.alert.v1') }
const compiled: Record<'event' | 'alert', ValidateFunction> = {
  event: ajv.compile(published.event),
  alert: ajv.compile(published.alert),
}
const own: Record<'event' | 'alert', ZodType> = { event: keyEvent, alert: alertSchema }

// ---- one valid event, one valid alert, and what is wrong with a copy of them -------------------------------

const scheduled = record({
  eventName: 'ScheduleKeyDeletion',
  requestParameters: { keyId: '11111111-2222-4333-8444-555555555555', pendingWindowInDays: 7 },
})
const made = scanBytes([{ path: 'base.json', bytes: Buffer.from(JSON.stringify(scheduled)) }])
const base = JSON.parse(JSON.stringify({ event: made.events[0], alert: made.alerts[0] }))

const ABSENT = Symbol('absent')
/** A copy of the base in which the member at the path is another value, or is absent. */
const changed = (kind: 'event' | 'alert', path: string, value: unknown): unknown => {
  if (path === '') return value
  const copy = structuredClone(base[kind])
  const names = path.split('.')
  const last = names.pop() ?? ''
  let at = copy
  for (const name of names) {
    at[name] ??= {}
    at = at[name]
  }
  if (value === ABSENT) delete at[last]
  else at[last] = value
  return copy
}
const text = (length: number) => 'x'.repeat(length)
/** A map of so many names. */
const pairs = (count: number, prefix = '') =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`${prefix}name${at}`, 'v']))
const list = <T>(length: number, value: T): T[] => new Array<T>(length).fill(value)

type Case = readonly [what: string, path: string, value: unknown]

const badEvents: readonly Case[] = [
  ['a member that does not exist', 'extra', 'x'],
  ['a member that does not exist in actor', 'actor.extra', 'x'],
  [
    'a member that does not exist in target.secondary',
    'target.secondary',
    [{ key_id: 'k', role: 'replica', x: 1 }],
  ],
  ['a member that does not exist in change.grant', 'change.grant', { owner: 'x' }],
  ['the version of another schema', 'schema_version', 'kms.event.v2'],
  ['no event id', 'event_id', ABSENT],
  ['no action id', 'action_id', ABSENT],
  ['no source', 'source', ABSENT],
  ['no service', 'source.service', ABSENT],
  ['no time of receipt', 'time.ingested', ABSENT],
  ['no word on lateness', 'time.late', ABSENT],
  ['no verdict on MFA', 'auth.mfa', ABSENT],
  ['no object type', 'target.object_type', ABSENT],
  ['no pointer to the raw record', 'raw_ref', ABSENT],
  ['an operation outside the closed set', 'operation', 'unlock'],
  ['a Sigma word for the criticality', 'criticality', 'informational'],
  ['MFA as yes or no', 'auth.mfa', false],
  ['an unknown cloud', 'source.provider', 'oracle'],
  ['an unknown flag', 'change.flags', ['dangerous']],
  ['an unknown setting', 'change.settings', { color: 'red' }],
  ['an unknown control', 'compliance.controls', ['SC-99']],
  ['an empty principal', 'actor.principal', ''],
  ['an empty event id', 'event_id', ''],
  ['an event id of 65 characters', 'event_id', text(65)],
  ['a principal of 513 characters', 'actor.principal', text(513)],
  ['a user agent of 1,025 characters', 'network.user_agent', text(1025)],
  ['a policy of 32,769 characters', 'change.policy', text(32_769)],
  ['a context name of 257 characters', 'crypto.context', { [text(257)]: 'v' }],
  ['a context value of 1,025 characters', 'crypto.context', { a: text(1025) }],
  ['a context of 33 pairs', 'crypto.context', pairs(33)],
  ['33 settings', 'change.settings', pairs(33, 'tag.')],
  ['33 labels', 'labels', pairs(33)],
  ['a digest of 63 characters', 'ingest.raw_sha256', text(63)],
  ['a country of three letters', 'network.geo', { country: 'DEU' }],
  ['lateness as text', 'time.late', 'false'],
  ['a status as text', 'http_status', '200'],
  ['half a millisecond', 'duration_ms', 0.5],
  ['an account as a number', 'actor.account', 123456789012],
  ['flags as text', 'change.flags', 'kms_excluded'],
  ['a number as a context value', 'crypto.context', { a: 1 }],
  ['words for a time', 'time.event', 'yesterday'],
  ['a blank for T', 'time.event', '2026-03-02 09:00:00Z'],
  ['a time in another zone', 'time.event', '2026-03-02T09:00:00+01:00'],
  ['the thirtieth of February', 'time.event', '2026-02-30T09:00:00Z'],
  ['an empty time', 'time.provider_received', ''],
  ['null for an error', 'error', null],
  ['null for a key', 'target.key_id', null],
  ['a list', '', []],
  ['nothing', '', null],
]

const goodEvents: readonly Case[] = [
  ['as it was written', 'event_id', base.event.event_id],
  ['nine digits of a second', 'time.event', '2026-03-02T09:00:00.123456789Z'],
  ['a principal of 512 characters', 'actor.principal', text(512)],
  ['a context of 32 pairs', 'crypto.context', pairs(32)],
  ['an empty context value', 'crypto.context', { a: '' }],
  ['32 settings', 'change.settings', pairs(32, 'tag.')],
  ['no error, no key', 'target.key_id', ABSENT],
]

const badAlerts: readonly Case[] = [
  ['a member that does not exist', 'extra', 'x'],
  ['a member that does not exist in detector', 'detector.extra', 'x'],
  ['a member that does not exist in entity', 'entity.key', 'x'],
  ['no id', 'alert_id', ABSENT],
  ['no explanation', 'explanation', ABSENT],
  ['no evidence', 'evidence', ABSENT],
  ['an id of 31 digits', 'alert_id', '0'.repeat(31)],
  ['an id with capitals', 'alert_id', 'A'.repeat(32)],
  ['revision zero', 'revision', 0],
  ['an unknown kind', 'kind', 'alarm'],
  ['an unknown status', 'status', 'open'],
  ['a Sigma word for the severity', 'severity', 'informational'],
  ['51 events', 'evidence.event_ids', list(51, 'e')],
  ['six samples', 'evidence.sample', list(6, { summary: 's', raw_ref: 'r' })],
  ['two steps of triage', 'triage', ['first', 'second']],
  ['a technique without its v19 number', 'attack', [{ v18: 'T1485' }]],
  ['a version as text', 'detector.version', '1'],
  ['a window without an end', 'window.end', ABSENT],
  ['a bad time', 'time.first_event', '2026-03-02'],
  ['null for a title', 'title', null],
]

const verdicts = (kind: 'event' | 'alert', value: unknown) => ({
  schema: compiled[kind](value),
  program: own[kind].safeParse(value).success,
})

describe('a changed event', () => {
  it.each(goodEvents)('is valid with %s', (_, path, value) => {
    expect(verdicts('event', changed('event', path, value))).toEqual({ schema: true, program: true })
  })
  it.each(badEvents)('is refused with %s', (_, path, value) => {
    expect(verdicts('event', changed('event', path, value))).toEqual({ schema: false, program: false })
  })
})

describe('a changed alert', () => {
  it('is valid as it was written', () => {
    expect(verdicts('alert', base.alert)).toEqual({ schema: true, program: true })
  })
  it.each(badAlerts)('is refused with %s', (_, path, value) => {
    expect(verdicts('alert', changed('alert', path, value))).toEqual({ schema: false, program: false })
  })
})

describe.skipIf(!hasSamples)('events and alerts of all samples', () => {
  const aws = join(samplesFolder, 'aws')
  /** The records inside the test wrappers of other products, one after the other. */
  const wrapped = (folder: string): Buffer => {
    const cases = filesBelow(join(aws, folder)).flatMap((path) => JSON.parse(readFileSync(path, 'utf8')))
    return Buffer.from(
      cases.map((one) => JSON.stringify(one.data ?? one.override_record ?? one.log)).join('\n'),
    )
  }

  it.each([
    ['the folders', 573, () => scanCli([aws])],
    [
      'the wrapped records of panther-analysis',
      1,
      () => scanBytes([{ path: 'p', bytes: wrapped('panther-analysis') }]),
    ],
    [
      'the wrapped records of streamalert',
      1,
      () => scanBytes([{ path: 's', bytes: wrapped('streamalert') }]),
    ],
  ])('of %s follow the schemas', (_, least, scan) => {
    const { events, alerts } = scan()
    expect(events.length).toBeGreaterThanOrEqual(least)
    for (const [kind, values] of [['event', events] as const, ['alert', alerts] as const])
      for (const value of JSON.parse(JSON.stringify(values)))
        expect(verdicts(kind, value), JSON.stringify(value)).toEqual({ schema: true, program: true })
  })
})

describe.skipIf(!hasDesign)('the schema of events and its document', () => {
  const document = hasDesign ? readFileSync(join(designFolder, 'schema.md'), 'utf8') : ''
  const table = (from: string, to: string) =>
    document
      .slice(document.indexOf(from), document.indexOf(to))
      .split('\n')
      .filter((line) => line.startsWith('| ') && !/^\| (field|operation \| category) \|/.test(line))
      .map((line) => line.split(/ *\| */).slice(1, -1))
  /** Name and R or O; `a.b, c` names a.b and a.c. */
  const fields = table('## 2. ', '## 3. ').flatMap(([names = '', , need]) => {
    const parent = names.slice(0, names.indexOf('.') + 1)
    return names.split(', ').map((name) => [name.includes('.') ? name : parent + name, need] as const)
  })
  const leaves = (schema: Schema, names: readonly string[]): string[] => {
    const [name = '', ...rest] = names
    const next = schema.properties?.[name]
    if (next === undefined) return ['missing']
    return [schema.required?.includes(name) ? 'R' : 'O', ...(rest.length > 0 ? leaves(next, rest) : [])]
  }

  it.each(fields)('%s is %s', (name, need) => {
    const steps = leaves(published.event, name.split('.'))
    expect(steps.includes('missing') ? 'missing' : steps.includes('O') ? 'O' : 'R').toBe(need)
  })
  it('has no field beyond the document', () => {
    const known = new Set(fields.map(([name]) => name.split('.').slice(0, 2).join('.')))
    const objects = new Set([...known].filter((name) => name.includes('.')).map((name) => name.split('.')[0]))
    const all = Object.entries(published.event.properties ?? {}).flatMap(([name, { properties = {} }]) =>
      objects.has(name) ? Object.keys(properties).map((one) => `${name}.${one}`) : [name],
    )
    expect(all.filter((name) => !known.has(name))).toEqual([])
  })
  it('has the operations of the document, no more and no fewer', () => {
    const operations = table('## 3. ', '## 4. ').map(([name]) => name)
    expect([...(published.event.properties?.['operation']?.enum ?? [])].sort()).toEqual(operations.sort())
  })
})
