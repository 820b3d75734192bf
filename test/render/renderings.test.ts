/**
 * Every kept event and alert of all samples, examples and detector cases, in every format, against the validators of
 * test/support/standards.ts; and twenty wrong documents of each format, which the same validators refuse.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { fullDocument, leavesOf, memberOf, type Schema } from '../../scripts/mapping.ts'
import { alertsOf, readCases } from '../../src/commands/test.ts'
import { detectorFiles, isCases, loadDetectors } from '../../src/config/detectors.ts'
import { recordsOf } from '../../src/detect/cases.ts'
import type { Alert } from '../../src/model/alert.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import { type Operation, operations } from '../../src/model/operations.ts'
import { type Format, formats } from '../../src/model/setting.ts'
import { ecsAlertRows, ecsEventRows } from '../../src/render/ecs.ts'
import { ocsfAlertRows, ocsfEventRows, ocsfSignInRows } from '../../src/render/ocsf.ts'
import { renderings } from '../../src/render/renderings.ts'
import type { Row } from '../../src/render/standards.ts'
import { filesBelow, hasSamples, samplesFolder } from '../support/samples.ts'
import { root, scanBytes, scanCli } from '../support/scan.ts'
import { type Doc, hasStandards, validators } from '../support/standards.ts'

/** Records that rule tests of other products wrap in words of their own. */
const wrapped = (): unknown[] =>
  ['panther-analysis', 'streamalert'].flatMap((folder) =>
    filesBelow(join(samplesFolder, 'aws', folder)).flatMap((path) =>
      (JSON.parse(readFileSync(path, 'utf8')) as Doc[]).flatMap(
        ({ log, data, override_record: record }) => log ?? data ?? record ?? [],
      ),
    ),
  )

const caseFiles = () =>
  filesBelow(join(root, 'detectors')).filter((path) => isCases(path.split('/').at(-1) ?? ''))
const detectorsOfCases = () =>
  new Map(
    detectorFiles(join(root, 'detectors')).map((path) => [
      path.replace(/[^/]+$/, ''),
      loadDetectors([path], false).detectors,
    ]),
  )

const events: KeyEvent[] = []
const alerts: Alert[] = []
beforeAll(() => {
  const folders = [join(root, 'examples'), ...(hasSamples ? [samplesFolder] : [])]
  const scanned = scanCli(folders)
  const bytes = (value: unknown) => Buffer.from(JSON.stringify(value))
  const opened = scanBytes(hasSamples ? [{ path: 'wrapped', bytes: bytes(wrapped()) }] : [])
  events.push(...scanned.events, ...opened.events)
  alerts.push(...scanned.alerts, ...opened.alerts)
  const detectors = detectorsOfCases()
  const documents = caseFiles().map((path) => ({ path, document: readCases(path) }))
  const places = documents.flatMap(({ path, document }) =>
    document.cases
      .filter(({ records }) => records.every(({ repeat }) => repeat < 20))
      .map((one) => {
        const records = recordsOf(document, one)
        for (const detector of detectors.get(path.replace(/[^/]+$/, '')) ?? [])
          alerts.push(...alertsOf(detector, records, document.knowledge))
        return { path: `${path}: ${one.name}`, bytes: bytes(records) }
      }),
  )
  events.push(...scanBytes(places, { detectors: [] }).events)
})

const asEvent = (format: Format, event: KeyEvent): Doc =>
  JSON.parse(renderings[format].event(JSON.stringify(event)))
const asAlert = (format: Format, alert: Alert): Doc => JSON.parse(renderings[format].alert(alert))
const once = (complaints: readonly string[]) => [...new Set(complaints)].slice(0, 20)

describe.skipIf(!hasStandards || !hasSamples)('every kept event and alert', () => {
  test('there are thousands, of every class and nearly every detector', () => {
    expect(events.length).toBeGreaterThan(2000)
    expect(new Set(alerts.map(({ detector }) => detector.id)).size).toBeGreaterThan(35)
    const classes = [
      ...events.map((one) => asEvent('ocsf', one)),
      ...alerts.map((one) => asAlert('ocsf', one)),
    ]
    expect([...new Set(classes.map((doc) => doc['class_uid']))].sort()).toEqual([2003, 2004, 3002, 6003])
  })
  test.each(formats)('passes as %s', (format) => {
    const { event, alert } = validators[format]
    expect(once(events.flatMap((one) => event(asEvent(format, one))))).toEqual([])
    expect(once(alerts.flatMap((one) => alert(asAlert(format, one))))).toEqual([])
  })
})

const schemaOf = (name: string): Schema =>
  JSON.parse(readFileSync(join(root, 'schemas', `${name}.schema.json`), 'utf8'))
const [eventSchema, alertSchema] = [schemaOf('kms.event.v1'), schemaOf('kms.alert.v1')]
/** The same with one path set, or taken away; what leads there is made where it is not. */
const spoiled = (doc: Doc, path: string, value: unknown): Doc => {
  const copy = structuredClone(doc)
  const names = path.split('.')
  const last = names.pop() ?? path
  let at = copy
  for (const name of names) {
    at[name] ??= {}
    at = at[name] as Doc
  }
  if (value === undefined) delete at[last]
  else at[last] = value
  return copy
}

/** A document without what may be absent, with the emptiest texts that may be. */
const least = (of: Schema, doc: Doc): Doc =>
  Object.fromEntries(
    (of.required ?? []).map((name) => {
      const below = of.properties?.[name]
      if (below?.properties !== undefined) return [name, least(below, doc[name] as Doc)]
      const { type, minLength, enum: words, const: only, format, pattern } = below ?? {}
      const mayBeEmpty =
        type === 'string' && [minLength, words, only, format, pattern].every((one) => one === undefined)
      return [name, mayBeEmpty ? '' : doc[name]]
    }),
  )
/** Valid records: the fullest and the barest, both with every word of every list; one without each field, one with it alone. */
const variants = (schema: Schema, stream: 'event' | 'alert'): unknown[] => {
  const full = fullDocument(schema) as Doc
  const bare = least(schema, full)
  /** An operation has its category. */
  const worded = (doc: Doc, path: string, word: string) =>
    spoiled(
      path === 'operation' ? { ...doc, operation_category: operations[word as Operation][0] } : doc,
      path,
      Array.isArray(memberOf(full, path)) ? [word] : word,
    )
  return leavesOf(schema)
    .filter(({ path }) => path !== 'operation_category' && !path.includes('[]'))
    .flatMap(({ path, words = [] }) => [
      spoiled(full, path, undefined),
      spoiled(bare, path, memberOf(full, path)),
      ...words.flatMap((word) => [worded(full, path, word), worded(bare, path, word)]),
    ])
    .filter((doc) => validators.native[stream](doc).length === 0)
}

describe.skipIf(!hasStandards)('every field alone, every field missing, every word', () => {
  const [eventVariants, alertVariants] = [variants(eventSchema, 'event'), variants(alertSchema, 'alert')]
  test('are hundreds', () =>
    expect([eventVariants.length > 500, alertVariants.length > 50]).toEqual([true, true]))
  test.each(formats)('pass as %s', (format) => {
    const { event, alert } = validators[format]
    expect(once(eventVariants.flatMap((one) => event(asEvent(format, one as KeyEvent))))).toEqual([])
    expect(once(alertVariants.flatMap((one) => alert(asAlert(format, one as Alert))))).toEqual([])
  })
  test('an address in its longest form is shortened for OCSF', () => {
    const source_ip = '0000:0000:0000:0000:0000:ffff:192.168.100.228'
    const doc = asEvent(
      'ocsf',
      spoiled(fullDocument(eventSchema) as Doc, 'network.source_ip', source_ip) as unknown as KeyEvent,
    )
    expect(validators.ocsf.event(doc)).toEqual([])
    expect(doc['src_endpoint']).toMatchObject({ ip: '::ffff:c0a8:64e4' })
  })
})

/** A row with a name that no field has would never give anything. */
test.each([
  ['OCSF', ocsfEventRows, eventSchema, 'event'],
  ['OCSF sign-in', ocsfSignInRows, eventSchema, 'event'],
  ['OCSF finding', ocsfAlertRows, alertSchema, 'alert'],
  ['ECS', ecsEventRows, eventSchema, 'event'],
  ['ECS alert', ecsAlertRows, alertSchema, 'alert'],
] as readonly [string, readonly Row<never>[], Schema, 'event' | 'alert'][])(
  'every row of %s gives something',
  (_, rows, schema, stream) => {
    const documents = variants(schema, stream)
    const idle = rows.filter(([, give]) => documents.every((doc) => give(doc as never) === undefined))
    expect(idle.map(([path]) => path)).toEqual([])
  },
)

type Wrong = readonly [stream: 'event' | 'alert', what: string, path: string, value: unknown]
/** Of a document with every field: one thing made wrong; `undefined` takes it away. */
const wrong: Readonly<Record<Exclude<Format, 'ecs_before_8_7'>, readonly Wrong[]>> = {
  native: [
    ['event', 'without an id', 'event_id', undefined],
    ['event', 'another version', 'schema_version', 'kms.event.v2'],
    ['event', 'an operation that is none', 'operation', 'decipher'],
    ['event', 'MFA as yes or no', 'auth.mfa', false],
    ['event', 'an unknown field', 'colour', 'red'],
    ['event', 'an unknown field deep inside', 'target.owner', 'me'],
    ['event', 'a number for a text', 'actor.id', 7],
    ['event', 'null for absent', 'target.key_id', null],
    ['event', 'an empty text', 'target.key_id', ''],
    ['event', 'a time in words', 'time.event', 'yesterday'],
    ['event', 'a digest that is cut', 'ingest.raw_sha256', 'abc'],
    ['event', 'a text that is too long', 'network.tls_version', 'x'.repeat(33)],
    ['event', 'a setting with a name of its own', 'change.settings', { colour: 'red' }],
    ['event', 'a flag that is none', 'change.flags', ['maybe']],
    ['alert', 'without a detector', 'detector', undefined],
    ['alert', 'a short id', 'alert_id', 'abc'],
    ['alert', 'revision 0', 'revision', 0],
    ['alert', 'a severity of others', 'severity', 'informational'],
    ['alert', 'two triage steps', 'triage', ['a', 'b']],
    ['alert', 'evidence below nothing', 'evidence.total', -1],
  ],
  cim: [
    ['event', 'without a severity', 'severity', undefined],
    ['event', 'our severity word', 'severity', 'info'],
    ['event', 'an action that is none', 'action', 'decrypt'],
    ['event', 'our outcome', 'status', 'denied'],
    ['event', 'a name of no model', 'key_id', 'k'],
    ['event', 'a list for a text', 'user', ['a', 'b']],
    ['event', 'a number for a text', 'result_id', 403],
    ['event', 'an empty text', 'dest', ''],
    ['event', 'without the record', 'kms', undefined],
    ['event', 'another record', 'kms', {}],
    ['event', 'without a product', 'vendor_product', undefined],
    ['event', 'null for absent', 'src', null],
    ['alert', 'without an id', 'id', undefined],
    ['alert', 'a type that is none', 'type', 'notable'],
    ['alert', 'our severity word', 'severity', 'info'],
    ['alert', 'a risk score as text', 'risk_score', '70'],
    ['alert', 'a risk object type that is none', 'risk_object_type', 'key'],
    ['alert', 'a domain that is none', 'security_domain', 'cloud'],
    ['alert', 'a technique that is none', 'mitre_technique_id', ['Brute Force']],
    ['alert', 'without a signature', 'signature', undefined],
  ],
  asim: [
    ['event', 'without an operation', 'Operation', undefined],
    ['event', 'without a device', 'Dvc', undefined],
    ['event', 'a type that is none', 'EventType', 'Decrypt'],
    ['event', 'our outcome', 'EventResult', 'denied'],
    ['event', 'a severity that is none', 'EventSeverity', 'Critical'],
    ['event', 'an object type that is none', 'ObjectType', 'Key'],
    ['event', 'another schema', 'EventSchema', 'AlertEvent'],
    ['event', 'another version', 'EventSchemaVersion', '1.0'],
    ['event', 'a count as text', 'EventCount', '1'],
    ['event', 'a time in seconds', 'TimeGenerated', 1772442000],
    ['event', 'a name for an address', 'SrcIpAddr', 'AWS Internal'],
    ['event', 'a country in words', 'SrcGeoCountry', 'Netherlands'],
    ['event', 'a column that is none', 'KeyUid', 'k'],
    ['event', 'a user type that is none', 'ActorUserType', 'root'],
    ['event', 'without the record', 'AdditionalFields', undefined],
    ['alert', 'without an id', 'AlertId', undefined],
    ['alert', 'our status', 'AlertStatus', 'withdrawn'],
    ['alert', 'our severity', 'EventSeverity', 'critical'],
    ['alert', 'techniques in words', 'AttackTechniques', 'Impair Defenses'],
    ['alert', 'a revision as text', 'AlertRevision', '1'],
  ],
  ocsf: [
    ['event', 'without an actor', 'actor', undefined],
    ['event', 'an empty actor', 'actor', {}],
    ['event', 'a user with no name', 'actor.user', { type_id: 1 }],
    ['event', 'an activity that is none', 'activity_id', 7],
    ['event', 'the type of another activity', 'type_uid', 600304],
    ['event', 'the type of another class', 'type_uid', 300201],
    ['event', 'another class', 'class_uid', 3004],
    ['event', 'a finding among events', 'class_uid', 2004],
    ['event', 'an unknown attribute', 'key', 'k'],
    ['event', 'an unknown attribute deep inside', 'actor.session.mfa', 'unknown'],
    ['event', 'time as text', 'time', '2026-03-02T09:00:00Z'],
    ['event', 'a name for an address', 'src_endpoint.ip', 'AWS Internal'],
    ['event', 'MFA in words', 'actor.session.is_mfa', 'unknown'],
    ['event', 'a status that is none', 'status_id', 3],
    ['event', 'without a cloud', 'cloud', undefined],
    ['event', 'a request without an id', 'api.request', {}],
    ['alert', 'a finding without an id', 'finding_info.uid', undefined],
    ['alert', 'a severity in words', 'severity_id', 'high'],
    ['alert', 'a risk score that is no whole number', 'risk_score', 0.7],
    ['alert', 'techniques as texts', 'finding_info.attacks', ['T1098']],
  ],
  ecs: [
    ['event', 'without a time', '@timestamp', undefined],
    ['event', 'without a version', 'ecs', undefined],
    ['event', 'a category as text', 'event.category', 'api'],
    ['event', 'a category that is none', 'event.category', ['cryptography']],
    ['event', 'a type that is none', 'event.type', ['decrypt']],
    ['event', 'a type the category does not expect', 'event.type', ['start', 'error']],
    ['event', 'our outcome', 'event.outcome', 'denied'],
    ['event', 'a kind that is none', 'event.kind', 'audit'],
    ['event', 'a severity in words', 'event.severity', 'high'],
    ['event', 'a duration with a fraction', 'event.duration', 1.5],
    ['event', 'a name for an address', 'source.ip', 'AWS Internal'],
    ['event', 'a list where one is', 'user.name', ['a']],
    ['event', 'one where a list is', 'related.user', 'a'],
    ['event', 'a field that is none', 'key.id', 'k'],
    ['event', 'a label with members', 'labels.grant', { id: 'g' }],
    ['event', 'a label longer than a term', 'labels.settings', 'x'.repeat(40_000)],
    ['alert', 'of the kind event', 'event.kind', 'event'],
    ['alert', 'a category with another type', 'event.type', ['access']],
    ['alert', 'a technique that is no list', 'threat.technique.id', 'T1098'],
    ['alert', 'a time in seconds', 'event.start', 1772442000],
  ],
}

describe.skipIf(!hasStandards).each(Object.entries(wrong))('wrong documents of %s', (name, cases) => {
  const format = name as keyof typeof wrong
  test('are twenty', () => expect(cases.length).toBe(20))
  test.each(cases)('an %s, %s, is refused', (stream, _, path, value) => {
    const good =
      stream === 'event'
        ? asEvent(format, fullDocument(eventSchema) as KeyEvent)
        : asAlert(format, fullDocument(alertSchema) as Alert)
    expect(validators[format][stream](good)).toEqual([])
    expect(validators[format][stream](spoiled(good, path, value))).not.toEqual([])
  })
})

test.skipIf(!hasStandards)('before 8.7 a category api and a field of entity are refused', () => {
  const event = asEvent('ecs_before_8_7', fullDocument(eventSchema) as KeyEvent)
  const { event: check } = validators.ecs_before_8_7
  expect(check(event)).toEqual([])
  expect(check(spoiled(event, 'event.category', ['api']))).not.toEqual([])
  expect(check(spoiled(event, 'entity.id', 'k'))).not.toEqual([])
})
