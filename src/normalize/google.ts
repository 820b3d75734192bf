/**
 * Google Cloud: entries of Cloud Logging. Audit entries carry a `protoPayload`; Cloud KMS also writes platform
 * events with a `jsonPayload` (the end of a scheduled destruction, automatic rotation). Every other entry of
 * Cloud Logging is out of scope. Exports rename members (`at_sign_type`, `proto_payload`): names are plain.
 * Shapes: google.logging.v2.LogEntry, google.cloud.audit.AuditLog.
 */
import type { KeyEvent } from '../model/event.ts'
import { memoText } from '../model/memo.ts'
import { addressClass, addressOf } from './address.ts'
import { assemble, timeOf } from './azure-event.ts'
import type { Result } from './azure-outcome.ts'
import { type Format, rejected, skipped } from './format.ts'
import { googleTold, storageKeyOf, type Told } from './google-change.ts'
import { type GoogleCaller, googleCaller } from './google-identity.ts'
import { loginAuth } from './google-login.ts'
import { type Method, methodOf, platformEvents } from './google-operations.ts'
import { canonical, entry, integer, isObject, list, string } from './json.ts'
import { byRule, type Mapping } from './mapping.ts'
import { dig, fold, type Members, scalar } from './members.ts'
import { type Cuts, field, sha256 } from './text.ts'

/** Names of logs and methods that are remembered: feeds use a few dozen. */
const MAX_NAMES = 2000
const isPlatformLog = memoText(
  (log) => /\/logs\/cloudkms\.googleapis\.com(%2f|\/)cryptokey(version)?_events$/i.test(log),
  MAX_NAMES,
)
const isSystemLog = memoText((log) => /(%2f|\/)system_event$/i.test(log), MAX_NAMES)
const lastSegment = memoText((method) => method.toLowerCase().split('.').at(-1) ?? '', MAX_NAMES)

const payloadOf = (top: Members): Members => fold(top.at('protopayload') ?? top.at('jsonpayload'))

const recognizes = (value: unknown): boolean => {
  if (!isObject(value)) return false
  if (
    value['protoPayload'] === undefined &&
    value['logName'] === undefined &&
    value['log_name'] === undefined
  )
    return false
  const top = fold(value)
  return (
    isObject(top.at('protopayload')) ||
    (string(top.at('logname'))?.includes('/logs/') === true &&
      (top.at('timestamp') ?? top.at('receivetimestamp')) !== undefined)
  )
}

type ErrorClass = NonNullable<KeyEvent['error']>['class']
/** google.rpc.Code */
const classes: Readonly<Record<number, ErrorClass>> = {
  2: 'internal',
  3: 'invalid_input',
  5: 'not_found',
  6: 'conflict',
  7: 'access_denied',
  8: 'throttled',
  9: 'invalid_state',
  10: 'conflict',
  11: 'invalid_input',
  13: 'internal',
  14: 'internal',
  15: 'internal',
  16: 'access_denied',
}

/** No status is success; the first entry of a long operation says only that it began. */
const resultOf = (status: Members, operation: Members, cuts: Cuts): Result => {
  const given = status.at('code')
  const code = given === undefined || given === null ? 0 : integer(given)
  const began = operation.at('first') === true && operation.at('last') !== true
  const outcome =
    code === undefined
      ? 'unknown'
      : code === 7 || code === 16
        ? 'denied'
        : code !== 0
          ? 'failure'
          : began
            ? 'in_progress'
            : 'success'
  const failed = outcome === 'denied' || outcome === 'failure'
  return {
    outcome,
    status: undefined,
    conflict: false,
    error: failed
      ? {
          code: field(code, 128, 'error.code', cuts),
          message: field(status.at('message'), 1024, 'error.message', cuts),
          class: classes[code ?? 0] ?? 'other',
        }
      : undefined,
  }
}

/** A sign-in tells its result by its name. */
const signInResult = (method: string, result: Result): Result => {
  if (result.outcome !== 'success') return result
  if (method === 'loginfailure') return { ...result, outcome: 'failure', error: { class: 'access_denied' } }
  return method === 'loginchallenge' ? { ...result, outcome: 'challenge' } : result
}

const KEY =
  /^(projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+\/cryptoKeys\/[^/]+)(?:\/cryptoKeyVersions\/([^/]+))?/
const RING = /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+/
const SECRET = /^(projects\/[^/]+\/(?:locations\/[^/]+\/)?secrets\/[^/]+)(?:\/versions\/([^/]+))?/
const PLACE = /^(?:projects|folders|organizations)\/([^/]+)(?:\/locations\/([^/]+))?/

/** A key that is being made is named by its ring and the id asked for. */
const named = (resource: string, request: Members): string => {
  const child = string(request.at('cryptokeyid'))
  return child !== undefined && RING.exec(resource)?.[0] === resource
    ? `${resource}/cryptoKeys/${child}`
    : resource
}

/** IAM methods are said of a key, a ring, an import job or a connection alike: the resource tells which. */
const objectBy = (resource: string, mapping: Mapping): Mapping => {
  const kind = resource.split('/').at(-2)
  const object =
    kind === 'keyRings'
      ? 'key_ring'
      : kind === 'importJobs'
        ? 'import_job'
        : kind === 'ekmConnections'
          ? 'ekm_connection'
          : resource.endsWith('/ekmConfig')
            ? 'ekm_config'
            : mapping.object
  return { ...mapping, object }
}

interface Place {
  readonly resource: string
  readonly region: unknown
  readonly labels: Members
}

const targetOf = (
  { resource, region, labels }: Place,
  mapping: Mapping,
  caller: GoogleCaller,
  told: Told,
  storageKey: string | undefined,
  cuts: Cuts,
): KeyEvent['target'] => {
  const key = KEY.exec(storageKey?.replace(/^\/\/[^/]+\//, '') ?? resource) ?? SECRET.exec(resource)
  const place = PLACE.exec(resource)
  const ring = RING.exec(resource)?.[0]
  const account = string(place?.[1]) ?? string(labels.at('projectid'))
  const owner = account === '_' || account === '-' ? string(labels.at('projectid')) : account
  const caller_account = caller.actor.account
  const comparable =
    owner !== undefined &&
    caller_account !== undefined &&
    /^\d+$/.test(owner) === /^\d+$/.test(caller_account)
  return {
    key_id: field(key?.[1], 512, 'target.key_id', cuts),
    key_version: field(key?.[2], 128, 'target.key_version', cuts),
    container: field(ring ?? (key?.[1] === undefined ? resource : undefined), 512, 'target.container', cuts),
    object_type: mapping.object,
    account: field(owner, 128, 'target.account', cuts),
    region: field(place?.[2] ?? region, 64, 'target.region', cuts),
    cross_account: comparable ? owner !== caller_account : undefined,
    new_state: told.state,
  }
}

const logTypeOf = memoText((log): KeyEvent['source']['log_type'] => {
  const kind = log
    .split(/%2f|\//i)
    .at(-1)
    ?.toLowerCase()
  if (kind === 'data_access') return 'data_access'
  if (kind === 'activity') return 'activity'
  return kind === 'policy' ? 'policy_denied' : 'system_event'
}, MAX_NAMES)

const networkOf = (payload: Members, by: KeyEvent['initiated_by'], cuts: Cuts): KeyEvent['network'] => {
  const from = fold(payload.at('requestmetadata'))
  const origin = string(from.at('callerip'))
  const ip = addressOf(origin)
  const inside = origin === 'gce-internal-ip' || origin === 'private'
  return {
    source_ip: ip,
    source_raw: ip === undefined ? field(origin, 256, 'network.source_raw', cuts) : undefined,
    source_class:
      by === 'cloud_service'
        ? 'service'
        : ip !== undefined
          ? addressClass(ip)
          : inside
            ? 'private'
            : by === 'cloud_internal'
              ? 'cloud_internal'
              : 'unknown',
    endpoint_id: field(from.at('callernetwork'), 128, 'network.endpoint_id', cuts),
    user_agent: field(from.at('callersupplieduseragent'), 1024, 'network.user_agent', cuts),
  }
}

interface Meaning extends Method {
  readonly native: string
  readonly status: Members
  readonly platform: boolean
}

/** The method of an audit entry, or the one event in the payload of a platform entry. */
const meaningOf = (log: string, payload: Members): Meaning | undefined => {
  if (isPlatformLog(log)) {
    const name = Object.keys(platformEvents).find((one) => isObject(payload.at(one)))
    const event = entry(platformEvents, name)
    if (name === undefined || event === undefined) return undefined
    const status = fold(fold(payload.at(name)).at('status'))
    return {
      service: 'gcp_cloud_kms',
      mapping: event.mapping,
      listed: true,
      native: event.name,
      status,
      platform: true,
    }
  }
  const native = string(payload.at('methodname')) ?? ''
  const found = methodOf(string(payload.at('servicename')) ?? '', native)
  return (
    found && { ...found, native: native || 'unknown', status: fold(payload.at('status')), platform: false }
  )
}

const keptByRule = (payload: Members): Meaning => ({
  service: 'other',
  mapping: byRule,
  listed: true,
  native: string(payload.at('methodname')) ?? 'unknown',
  status: fold(payload.at('status')),
  platform: false,
})

/** The resource of a platform event stands in the labels only. */
const byLabels = (labels: Members): string => {
  const at = (name: string) => scalar(labels.at(name))
  if (at('cryptokeyid') === '') return ''
  const version = at('cryptokeyversionid')
  return [
    `projects/${at('projectid')}/locations/${at('location')}/keyRings/${at('keyringid')}`,
    `cryptoKeys/${at('cryptokeyid')}`,
    ...(version === '' ? [] : [`cryptoKeyVersions/${version}`]),
  ].join('/')
}

/** The nine digits that Cloud Logging compares. */
const nanos = (time: string): string => {
  const [seconds = '', fraction = ''] = time.slice(0, -1).split('.')
  return `${seconds}.${fraction.padEnd(9, '0')}Z`
}

const BIGQUERY_UTC = ' UTC'

const normalize: Format['normalize'] = (value, raw, settings) => {
  if (!isObject(value)) return rejected('unknown_format', 'no entry of Cloud Logging')
  const top = fold(value)
  const payload = payloadOf(top)
  const log = string(top.at('logname')) ?? ''
  const listed = meaningOf(log, payload)
  if (listed === undefined && !raw.matched) return skipped('out_of_scope')
  const labels = fold(dig(top, 'resource', 'labels'))
  const request = fold(payload.at('request'))
  const written = string(payload.at('resourcename'))?.replace(/^\/\/[^/]+\//, '')
  const resource = named(written ?? byLabels(labels), request)
  const stored = listed?.mapping.object === 'storage' ? storageKeyOf(payload) : undefined
  const unstored = listed?.mapping.object === 'storage' && stored === undefined
  const outside = listed?.mapping.ingestPath && !settings.ingest_path.some((one) => resource === one)
  const out = listed === undefined || unstored || outside === true
  if (out && !raw.matched) return skipped(outside ? 'outside_ingest_path' : 'out_of_scope')
  const meaning = out ? keptByRule(payload) : listed
  const last = lastSegment(meaning.native)
  const at = (name: string) => {
    const given = top.at(name)
    return typeof given === 'string' && given.endsWith(BIGQUERY_UTC) ? `${given.slice(0, -4)}Z` : given
  }
  const stamped = timeOf(raw, at('timestamp'))
  const time = stamped?.fallback === false ? stamped : timeOf(raw, at('receivetimestamp'))
  if (time === undefined) return rejected('bad_time', 'timestamp is missing or not RFC 3339')
  const cuts: Cuts = []
  const caller = googleCaller(payload, meaning.platform || isSystemLog(log), cuts)
  const operation = fold(top.at('operation'))
  const result = signInResult(last, resultOf(meaning.status, operation, cuts))
  const told = googleTold(meaning.mapping, last, payload, cuts)
  const mapping = /iampolicy$|iampermissions$/.test(last) ? objectBy(resource, told.mapping) : told.mapping
  const insertId = string(top.at('insertid'))
  const split = fold(top.at('split'))
  const identity =
    insertId === undefined
      ? sha256(canonical(value) ?? raw.bytes)
      : [insertId, scalar(split.at('uid')), scalar(split.at('index'))].join('')
  const longRunning = string(operation.at('id'))
  const context = string(request.at('callerprovidedcontext')) ?? contextIn(payload)
  return assemble(
    value,
    raw,
    {
      provider: 'gcp',
      service: meaning.service,
      logType: meaning.service === 'gcp_login' ? 'signin' : logTypeOf(log),
      native: meaning.native,
      mapping,
      result,
      key: `${log}${nanos(time.time)}${identity}`,
      action: longRunning,
      version: undefined,
      nativeId: insertId,
      requestId: longRunning,
      correlationId: top.at('trace'),
      time,
      submitted: at('receivetimestamp'),
      warnings: [
        out && 'rule_match',
        !meaning.listed && 'unknown_operation',
        !caller.known && 'unknown_identity_shape',
        insertId === undefined && 'id_fallback',
        (stamped === undefined || stamped.fallback) && !time.fallback && 'time_fallback',
      ],
      parts: {
        initiated_by: caller.initiated_by,
        actor: caller.actor,
        auth: { ...caller.auth, ...(meaning.service === 'gcp_login' && loginAuth(last, payload, cuts)) },
        network: networkOf(payload, caller.initiated_by, cuts),
        target: targetOf(
          {
            resource,
            region:
              list(fold(payload.at('resourcelocation')).at('currentlocations'))[0] ?? labels.at('location'),
            labels,
          },
          mapping,
          caller,
          result.outcome === 'success' ? told : { mapping },
          stored,
          cuts,
        ),
        crypto: withContext(told.crypto, context, settings.encryption_context, cuts),
        change: told.change,
      },
    },
    cuts,
  )
}

/** What the caller said about an external key, at its newer place. */
const contextIn = (payload: Members): string | undefined =>
  [dig(payload, 'metadata', 'entries')]
    .flat()
    .map((one) => string(fold(one).at('callerprovidedcontext')))
    .find((one) => one !== undefined)

const withContext = (
  crypto: KeyEvent['crypto'],
  context: string | undefined,
  mode: 'keep' | 'hash' | 'drop',
  cuts: Cuts,
): KeyEvent['crypto'] => {
  if (context === undefined) return crypto
  const kept = mode === 'hash' ? sha256(context) : field(context, 1024, 'crypto.context', cuts)
  return {
    ...crypto,
    context: mode === 'drop' || kept === undefined ? undefined : { caller_provided_context: kept },
    context_hash: sha256(canonical({ caller_provided_context: context }) ?? ''),
  }
}

export const gcpAudit: Format = { recognizes, normalize, glance: () => undefined }
