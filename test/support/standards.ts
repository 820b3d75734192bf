/**
 * What each standard asks of a document, said without the product: published schemas where there are any (OCSF, ECS),
 * else the lists of the vendors' pages. A validator gives complaints; none = the document is right.
 */
import { existsSync, readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { Format } from '../../src/model/setting.ts'
import { sharedFolder } from './samples.ts'
import { root } from './scan.ts'

export type Doc = Record<string, unknown>
export type Validator = (doc: Doc) => string[]

const schemas = join(sharedFolder, 'schemas')
export const hasStandards = existsSync(join(schemas, 'ocsf-1.8.0')) && existsSync(join(schemas, 'ecs'))
if (!hasStandards) console.warn(`SKIPPED: no schemas of OCSF and ECS at ${schemas}`)

const readJson = (...path: string[]): Doc => JSON.parse(readFileSync(join(...path), 'utf8'))
const compile = (schema: Doc): ValidateFunction => {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  addFormats.default(ajv)
  return ajv.compile(schema)
}
const complaints = (check: ValidateFunction, doc: unknown): string[] =>
  check(doc) ? [] : (check.errors ?? []).map((one) => `${one.instancePath} ${one.message}`)

// ---- our own ------------------------------------------------------------------------------------------------

const ours = {
  event: compile(readJson(root, 'schemas', 'kms.event.v1.schema.json')),
  alert: compile(readJson(root, 'schemas', 'kms.alert.v1.schema.json')),
}

// ---- tables of names: value is checked by a pattern, `!` = always there ---------------------------------------

type Check = RegExp | 'integer' | 'number' | 'techniques' | typeof ours.event
const text = /^[\s\S]+$/
const tableOf = (names: Readonly<Record<string, Check>>): Validator => {
  const known = new Map(
    Object.entries(names).flatMap(([list, check]) =>
      list.split(/\s+/).map((name) => [name.replace('!', ''), { check, must: name.endsWith('!') }] as const),
    ),
  )
  return (doc) => [
    ...[...known].flatMap(([name, { must }]) =>
      must && doc[name] === undefined ? [`${name} is missing`] : [],
    ),
    ...Object.entries(doc).flatMap(([name, value]) => {
      const check = known.get(name)?.check
      if (check === undefined) return [`${name} is no name of the standard`]
      if (check instanceof RegExp)
        return typeof value === 'string' && check.test(value) ? [] : [`${name} is ${JSON.stringify(value)}`]
      if (check === 'integer') return Number.isInteger(value) ? [] : [`${name} is no whole number`]
      if (check === 'number') return typeof value === 'number' ? [] : [`${name} is no number`]
      if (check === 'techniques')
        return Array.isArray(value) && value.every((one) => /^T\d{4}(\.\d{3})?$/.test(one))
          ? []
          : [`${name} has no techniques`]
      return complaints(check, value).map((one) => `${name}${one}`)
    }),
  ]
}

/** CIM 6: models Change, Data Access, Authentication; Alerts; what risk and finding searches read. */
const cimSeverity = /^(critical|high|medium|low|informational|unknown)$/
const cim = {
  event: tableOf({
    action: /^(acl_modified|cleared|created|deleted|modified|read|stopped|updated|success|failure)$/,
    status: /^(success|failure)$/,
    'severity!': cimSeverity,
    'object_category! change_type! command! vendor_product! app! user_type!': text,
    'authentication_method authentication_service dest http_user_agent object object_attrs object_id': text,
    'object_path result src src_user user user_name vendor_account vendor_region': text,
    result_id: /^.+$/,
    'kms!': ours.event,
  }),
  alert: tableOf({
    'type!': /^(alarm|alert|event|task|warning|unknown)$/,
    'severity!': cimSeverity,
    'id!': /^[0-9a-f]{32}$/,
    'app! signature! signature_id! description! rule_title!': text,
    'dest user src vendor_account vendor_region risk_object': text,
    'risk_object_type!': /^(user|system|other)$/,
    'risk_score!': 'number',
    'security_domain!': /^(access|endpoint|network|threat|identity|audit)$/,
    mitre_technique_id: 'techniques',
    'kms!': ours.alert,
  }),
}

/** ASIM: mandatory columns and closed lists of the pages of AuditEvent 0.1 and AlertEvent 0.1. */
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/
const asimSeverity = /^(Informational|Low|Medium|High)$/
const asim = {
  event: tableOf({
    'TimeGenerated! EventTime! EventStartTime! EventEndTime!': time,
    'EventCount!': 'integer',
    'EventSchema!': /^AuditEvent$/,
    'EventSchemaVersion!': /^0\.1$/,
    'EventType!': /^(Set|Read|Create|Delete|Execute|Install|Clear|Enable|Disable|Other)$/,
    'EventResult!': /^(Success|Partial|Failure|NA)$/,
    'EventSeverity!': asimSeverity,
    'ObjectType!': /^(Cloud Resource|Configuration Atom|Policy Rule|Other)$/,
    'ActorUserType!':
      /^(Regular|Machine|Admin|System|Application|Service Principal|Service|Anonymous|Other)$/,
    'EventUid! EventSubType! EventOriginalType! EventVendor! EventProduct! Operation! Dvc!': text,
    'EventOriginalSeverity! EventResultDetails! TargetAppName! ActorOriginalUserType!': text,
    'EventOriginalUid EventOriginalResultDetails Object OldValue NewValue ActorUserId ActorUsername': text,
    'ActorSessionId ActorScopeId ActingAppId ActingAppName SrcHostname HttpUserAgent DvcScopeId': text,
    'DvcZone Mfa!': text,
    SrcIpAddr: /^[0-9A-Fa-f:.%]+$/,
    SrcGeoCountry: /^[A-Z]{2}$/,
    'AdditionalFields!': ours.event,
  }),
  alert: tableOf({
    'TimeGenerated! EventTime! EventStartTime! EventEndTime!': time,
    'EventCount! AlertRevision! RuleVersion!': 'integer',
    'EventSchema!': /^AlertEvent$/,
    'EventSchemaVersion!': /^0\.1$/,
    'EventType!': /^Alert$/,
    'EventSubType!': /^(Threat|Suspicious Activity|Anomaly|Compliance Violation)$/,
    'EventSeverity!': asimSeverity,
    'AlertStatus!': /^(Active|Closed)$/,
    'AlertId!': /^[0-9a-f]{32}$/,
    AttackTechniques: /^T\d{4}(\.\d{3})?(, T\d{4}(\.\d{3})?)*$/,
    'EventVendor! EventProduct! EventUid! EventOriginalSeverity! AlertName! AlertDescription! RuleName!':
      text,
    'CloudProvider! Username KeyId AccountId ReplayRunId': text,
    'AdditionalFields!': ours.alert,
  }),
}

// ---- OCSF 1.8.0 ---------------------------------------------------------------------------------------------

const classes: Readonly<Record<number, string>> = {
  6003: 'api_activity',
  3002: 'authentication',
  2004: 'detection_finding',
  2003: 'compliance_finding',
}
const ocsfSchemas = new Map(
  hasStandards
    ? Object.entries(classes).map(([uid, name]) => [
        Number(uid),
        compile(readJson(schemas, 'ocsf-1.8.0', `${name}.schema.json`)),
      ])
    : [],
)
const ocsf =
  (...allowed: number[]): Validator =>
  (doc) => {
    const uid = Number(doc['class_uid'])
    const schema = ocsfSchemas.get(uid)
    if (schema === undefined || !allowed.includes(uid)) return [`class ${uid} does not belong here`]
    const whole = uid * 100 + Number(doc['activity_id']) // the schema lists both, not that they fit
    return [
      ...complaints(schema, doc),
      ...(doc['type_uid'] === whole ? [] : [`type_uid is ${doc['type_uid']}, not ${whole}`]),
    ]
  }

// ---- ECS ----------------------------------------------------------------------------------------------------

interface EcsField {
  readonly type: string
  readonly normalize: readonly string[]
  readonly allowed?: readonly string[]
}
const ecsList = hasStandards
  ? (readJson(schemas, 'ecs', 'ecs-fields.json') as {
      fields: Record<string, EcsField>
      category_types: Record<string, string[]>
    })
  : { fields: {}, category_types: {} }
const ecsFields = new Map(Object.entries(ecsList.fields))
/** A longer term is refused by the index, except in a field that is not indexed. */
const MAX_TERM = 32_766

const fits = (type: string, value: unknown): boolean => {
  if (type === 'date') return typeof value === 'string' && time.test(value)
  if (type === 'long') return Number.isSafeInteger(value)
  if (type === 'float') return typeof value === 'number'
  if (type === 'boolean') return typeof value === 'boolean'
  if (type === 'ip') return typeof value === 'string' && isIP(value) !== 0
  return typeof value === 'string' && value !== ''
}
const listed = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value])

const leaves = (value: unknown, path: string): [path: string, value: unknown][] =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.entries(value).flatMap(([name, one]) => leaves(one, path === '' ? name : `${path}.${name}`))
    : [[path, value]]

const ecsLeaf = (path: string, value: unknown): string[] => {
  if (path.startsWith('labels.')) {
    const scalar = listed(value).every(
      (one) => ['string', 'number', 'boolean'].includes(typeof one) && String(one).length < MAX_TERM,
    )
    return scalar && path.split('.').length === 2 ? [] : [`${path} is no plain label`]
  }
  const field = ecsFields.get(path)
  if (field === undefined) return [`${path} is no field`]
  if (field.normalize.includes('array') !== Array.isArray(value)) return [`${path}: list or not`]
  return listed(value).flatMap((one) => {
    if (!fits(field.type, one)) return [`${path} is no ${field.type}`]
    if (field.type === 'keyword' && path !== 'event.original' && String(one).length >= MAX_TERM)
      return [`${path} is too long for the index`]
    return field.allowed && !field.allowed.includes(String(one)) ? [`${path} is not ${one}`] : []
  })
}
const at = (doc: Doc, path: string): unknown =>
  path.split('.').reduce<unknown>((found, name) => (found as Doc | undefined)?.[name], doc)

const ecs =
  (kind: string, since87 = true): Validator =>
  (doc) => {
    const categories = listed(at(doc, 'event.category')).map(String)
    const types = listed(at(doc, 'event.type')).map(String)
    const must = ['@timestamp', 'ecs.version', 'event.id', 'event.kind', 'event.category', 'event.type']
    return [
      ...must.flatMap((path) => (at(doc, path) === undefined ? [`${path} is missing`] : [])),
      ...leaves(doc, '').flatMap(([path, value]) => ecsLeaf(path, value)),
      ...(at(doc, 'event.kind') === kind ? [] : [`event.kind is not ${kind}`]),
      ...(since87 || (!categories.includes('api') && doc['entity'] === undefined) ? [] : ['not before 8.7']),
      ...categories.flatMap((category) =>
        types.flatMap((type) =>
          ecsList.category_types[category]?.includes(type) ? [] : [`${category} has no type ${type}`],
        ),
      ),
    ]
  }

export const validators: Readonly<Record<Format, { readonly event: Validator; readonly alert: Validator }>> =
  {
    native: { event: (doc) => complaints(ours.event, doc), alert: (doc) => complaints(ours.alert, doc) },
    cim,
    asim,
    ocsf: { event: ocsf(6003, 3002), alert: ocsf(2004, 2003) },
    ecs: { event: ecs('event'), alert: ecs('alert') },
    ecs_before_8_7: { event: ecs('event', false), alert: ecs('alert', false) },
  }
