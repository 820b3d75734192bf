/**
 * AWS CloudTrail: one record becomes one event, a reason why it is none, or a rejection.
 * Record fields: CloudTrail user guide, "CloudTrail record contents" (event version 1.11).
 */
import { EVENT_SCHEMA_VERSION, type KeyEvent, type ParseWarning } from '../model/event.ts'
import { operations } from '../model/operations.ts'
import type { Normalized } from '../model/outcome.ts'
import { wildcardMatch } from '../model/wildcard.ts'
import { addressClass, addressOf } from './address.ts'
import { awsMapping, sourceName } from './aws-operations.ts'
import { changeOf } from './cloudtrail-change.ts'
import { identify } from './cloudtrail-identity.ts'
import { cryptoOf, targetOf } from './cloudtrail-target.ts'
import { type Format, type NormalizeSettings, type RawRecord, rejected, skipped } from './format.ts'
import { canonical, inspect, isObject, type Json, object, requestOf, string } from './json.ts'
import { byRule, controlsOf, type Mapping } from './mapping.ts'
import type { Peek } from './scanner.ts'
import { type Cuts, field, sha256, shortId, utc } from './text.ts'

const isInsight = (record: Json) =>
  record['eventType'] === 'AwsCloudTrailInsight' ||
  (record['eventCategory'] === 'Insight' && isObject(record['insightDetails']))

const MAJOR_1 = /^1(\.\d+)?$/

const recognizes = (value: unknown): boolean => {
  if (!isObject(value)) return false
  const version = value['eventVersion']
  if (version !== undefined && !(typeof version === 'string' && MAJOR_1.test(version))) return false
  if (isInsight(value)) return true
  return string(value['eventSource']) !== undefined && string(value['eventName']) !== undefined
}

/** Delivered-event key: one account's trail gives an event id once. */
const deliveredId = (recipient: string, nativeId: string): string => shortId(`aws:${recipient}:${nativeId}`)

const PLAIN_ID = /^[\x21-\x7e]{1,128}$/

/**
 * Scope by service and name, remembered by their bytes: a handful of pairs makes up nearly all records, and a
 * look-up without making texts is several times faster.
 */
const remembered = new Map<number, { readonly pair: Buffer; readonly found: ReturnType<typeof awsMapping> }>()
const MAX_REMEMBERED = 10_000

const mappingAt = (bytes: Buffer, source: Peek, name: Peek): ReturnType<typeof awsMapping> => {
  const split = source.end - source.start
  const length = split + name.end - name.start
  let code = length
  for (let at = source.start; at < source.end; at++) code = (Math.imul(code, 31) + (bytes[at] ?? 0)) | 0
  for (let at = name.start; at < name.end; at++) code = (Math.imul(code, 31) + (bytes[at] ?? 0)) | 0
  const known = remembered.get(code)
  if (known !== undefined && known.pair.length === length) {
    let at = 0
    while (at < length && known.pair[at] === bytes[at < split ? source.start + at : name.start + at - split])
      at++
    if (at === length) return known.found
  }
  const found = awsMapping(source.text(bytes), name.text(bytes))
  const pair = Buffer.concat([bytes.subarray(source.start, source.end), bytes.subarray(name.start, name.end)])
  if (remembered.size < MAX_REMEMBERED) remembered.set(code, { pair, found })
  return found
}

/** Only for the form CloudTrail itself writes: everything present, nothing escaped, time in UTC. */
const glance: Format['glance'] = (bytes, { plain, source, name, version, time, id, recipient }) => {
  if (!plain || source.start === 0 || name.start === 0 || time.start === 0 || name.end === name.start)
    return undefined
  if (version.start !== 0 && !isMajor1(bytes, version)) return undefined
  const at = time.text(bytes)
  if (at.length !== 20 || utc(at) !== at) return undefined
  const found = mappingAt(bytes, source, name)
  if (found === undefined) return outOfScope
  if (found.mapping.ingestPath || id.start === 0 || recipient.start === 0) return undefined
  const nativeId = id.text(bytes)
  const account = recipient.text(bytes)
  if (!PLAIN_ID.test(nativeId) || !PLAIN_ID.test(account)) return undefined
  return { kind: 'kept', time: at, eventId: deliveredId(account, nativeId) }
}

const outOfScope = { kind: 'skipped' } as const

/** `1.` and digits. */
const isMajor1 = (bytes: Buffer, { start, end }: Peek): boolean => {
  if (bytes[start] !== 0x31 || bytes[start + 1] !== 0x2e || end - start < 3) return false
  for (let at = start + 2; at < end; at++)
    if ((bytes[at] ?? 0) < 0x30 || (bytes[at] ?? 0) > 0x39) return false
  return true
}

/** Ids of things that carry our own feed, as a request names them. */
const feedResources = (record: Json): string[] => {
  const request = requestOf(record)
  return ['bucketName', 'logGroupName', 'destinationName', 'filterName', 'name', 'rule'].flatMap(
    (name) => string(request[name]) ?? [],
  )
}

const onIngestPath = (record: Json, paths: readonly string[]): boolean => {
  const named = feedResources(record)
  return paths.some((path) =>
    named.some(
      (one) =>
        path === one || path.endsWith(`:${one}`) || path.endsWith(`/${one}`) || wildcardMatch(path, one),
    ),
  )
}

const errorClasses: readonly (readonly [test: RegExp, group: NonNullable<KeyEvent['error']>['class']])[] = [
  [/AccessDenied|Unauthorized|NotAuthorized|Forbidden|AuthFailure|OptInRequired/i, 'access_denied'],
  [/InvalidState|Disabled|KeyUnavailable|NotActive|IncorrectState/i, 'invalid_state'],
  [/NotFound|NoSuch|DoesNotExist/i, 'not_found'],
  [/Throttl|RequestLimit|TooManyRequests|LimitExceeded|SlowDown/i, 'throttled'],
  [/AlreadyExists|Conflict|InUse/i, 'conflict'],
  [/Invalid|Validation|Malformed|Incorrect|Missing|Unsupported|BadRequest/i, 'invalid_input'],
  [/Internal|Unavailable|Timeout|ServiceFailure/i, 'internal'],
]

/** Success is the absence of both an error code and an error message. */
const errorOf = (record: Json, cuts: Cuts): KeyEvent['error'] => {
  const code = string(record['errorCode'])
  const message = string(record['errorMessage'])
  if (code === undefined && message === undefined) return undefined
  const denied = code === undefined && /not authorized|access ?denied/i.test(message ?? '')
  return {
    code: field(code, 128, 'error.code', cuts),
    message: field(message, 1024, 'error.message', cuts),
    class: denied ? 'access_denied' : (errorClasses.find(([test]) => test.test(code ?? ''))?.[1] ?? 'other'),
  }
}

const outcomeOf = (record: Json, error: KeyEvent['error']): KeyEvent['outcome'] => {
  if (error !== undefined) return error.class === 'access_denied' ? 'denied' : 'failure'
  const response = object(record['responseElements'])
  const signin = response['ConsoleLogin'] ?? response['CheckMfa']
  return signin === 'Failure' ? 'failure' : 'success'
}

const networkOf = (record: Json, cuts: Cuts): KeyEvent['network'] => {
  const origin = string(record['sourceIPAddress'])
  const ip = addressOf(origin)
  const tls = object(record['tlsDetails'])
  return {
    source_ip: ip,
    source_raw: ip === undefined ? field(origin, 256, 'network.source_raw', cuts) : undefined,
    source_class:
      ip !== undefined
        ? addressClass(ip)
        : origin === 'AWS Internal'
          ? 'cloud_internal'
          : origin?.endsWith('.amazonaws.com')
            ? 'service'
            : origin === 'private'
              ? 'private'
              : 'unknown',
    endpoint_id: field(record['vpcEndpointId'], 128, 'network.endpoint_id', cuts),
    endpoint_account: field(record['vpcEndpointAccountId'], 128, 'network.endpoint_account', cuts),
    tls_version: field(tls['tlsVersion'], 32, 'network.tls_version', cuts),
    tls_cipher: field(tls['cipherSuite'], 64, 'network.tls_cipher', cuts),
    user_agent: field(record['userAgent'], 1024, 'network.user_agent', cuts),
    geo: undefined,
    asn: undefined,
  }
}

/** Delivered-event key and logical-action key: one action is delivered to several accounts, regions and trails. */
const idsOf = (
  record: Json,
  recipient: string,
  nativeId: string | undefined,
  rawSha: string,
  known: string | undefined,
) => {
  const eventId = known ?? deliveredId(recipient, nativeId ?? `sha256:${sha256(canonical(record) ?? rawSha)}`)
  const shared = string(record['sharedEventID'])
  const requestId = string(record['requestID'])
  const addendum = object(record['addendum'])
  const original = addendum['reason'] === 'UPDATED_DATA' ? string(addendum['originalEventID']) : undefined
  const name = record['eventName']
  const regional = (name === 'ReplicateKey' || name === 'UpdatePrimaryRegion') && requestId !== undefined
  const action =
    shared !== undefined
      ? shortId(`aws:shared:${shared}`)
      : regional
        ? shortId(`aws:${recipient}:${requestId}:${name}`)
        : original !== undefined
          ? deliveredId(recipient, original)
          : eventId
  return { eventId, action }
}

const logTypeOf = (record: Json): KeyEvent['source']['log_type'] => {
  if (record['eventType'] === 'AwsVpceEvent' || record['eventCategory'] === 'NetworkActivity')
    return 'network_activity'
  if (record['eventType'] === 'AwsServiceEvent') return 'system_event'
  if (record['eventType'] === 'AwsConsoleSignIn') return 'signin'
  return record['managementEvent'] === false || record['eventCategory'] === 'Data'
    ? 'data_access'
    : 'management'
}

/** Using or reading a key changes nothing. */
const changesNothing = new Set<string>(['cryptographic', 'read', 'authentication'])
const unchanged = { change: undefined, readable: true }
const keptByRule = { service: 'other', mapping: byRule, listed: true } as const

const normalize = (value: unknown, raw: RawRecord, settings: NormalizeSettings): Normalized => {
  if (!isObject(value)) return rejected('unknown_format', 'no CloudTrail record')
  const eventTime = utc(value['eventTime'])
  const time = eventTime ?? raw.envelopeTime ?? utc(value['@timestamp']) // Logstash moves eventTime there
  if (time === undefined) return rejected('bad_time', 'eventTime is missing or not RFC 3339')
  if (isInsight(value)) return skipped('insight')

  const eventSource = String(value['eventSource'])
  const eventName = String(value['eventName'])
  const listed = awsMapping(eventSource, eventName)
  const outside = listed?.mapping.ingestPath && !onIngestPath(value, settings.ingest_path)
  const out = listed === undefined || outside === true
  if (out && !raw.matched) return skipped(outside ? 'outside_ingest_path' : 'out_of_scope')
  const found = out ? keptByRule : listed

  const cuts: Cuts = []
  const warnings: ParseWarning[] = out ? ['rule_match'] : []
  const identity = identify(value, settings.trusted_roles, cuts)
  const recipient = string(value['recipientAccountId']) ?? identity.actor.account ?? ''
  const nativeId = string(value['eventID'])
  const rawSha = raw.sha256 ?? sha256(raw.bytes)
  const { eventId, action } = idsOf(value, recipient, nativeId, rawSha, raw.eventId)
  const error = errorOf(value, cuts)
  const outcome = outcomeOf(value, error)
  const source = sourceName(eventSource)
  const target = targetOf(
    value,
    {
      eventSource,
      eventName,
      object: found.mapping.object,
      succeeded: outcome === 'success',
      callerAccount: identity.actor.account,
      recipient,
    },
    cuts,
  )
  const { change, readable } =
    out || changesNothing.has(operations[found.mapping.operation][0])
      ? unchanged
      : changeOf(value, { eventSource, eventName, time, owner: target.account }, cuts)
  const crypto = cryptoOf(value, source, settings.encryption_context, cuts)
  const flags = change?.flags ?? []
  const excluded = eventName === 'PutEventSelectors' && flags.includes('kms_excluded')
  const mapping: Mapping = excluded
    ? { ...found.mapping, operation: 'logging_disable', criticality: 'critical' }
    : found.mapping

  if (!found.listed) warnings.push('unknown_operation')
  if (!identity.known) warnings.push('unknown_identity_shape')
  if (eventTime === undefined) warnings.push('time_fallback')
  if (nativeId === undefined) warnings.push('id_fallback')
  if (!readable) warnings.push('unmapped_field')
  const { members, inexact } = inspect(value)
  if (raw.members !== undefined && raw.members > members) warnings.push('duplicate_json_key')
  if (inexact && readable) warnings.push('unmapped_field')

  const position = `${raw.place}:${raw.number}`
  const event: KeyEvent = {
    schema_version: EVENT_SCHEMA_VERSION,
    event_id: eventId,
    action_id: action,
    source: {
      provider: 'aws',
      service: found.service,
      log_type: logTypeOf(value),
      format_version: field(value['eventVersion'], 32, 'source.format_version', cuts),
      native_id: field(nativeId, 256, 'source.native_id', cuts),
      request_id: field(value['requestID'], 256, 'source.request_id', cuts),
      correlation_id: undefined,
    },
    time: { event: time, provider_received: undefined, ingested: raw.received, late: false },
    ingest: {
      transport: raw.transport,
      feed_id: raw.feed_id,
      position: field(position, 256, 'ingest.position', cuts),
      raw_sha256: rawSha,
      integrity: 'not_available',
    },
    operation: mapping.operation,
    operation_category: operations[mapping.operation][0],
    operation_native: field(eventName, 256, 'operation_native', cuts) ?? 'unknown',
    operation_effect: mapping.effect ?? effectOf(eventName, flags),
    criticality: mapping.criticality,
    initiated_by: identity.initiated_by,
    outcome,
    error,
    http_status: undefined,
    duration_ms: undefined,
    actor: identity.actor,
    auth: identity.auth,
    network: networkOf(value, cuts),
    target,
    crypto,
    change,
    compliance: controlsOf(mapping, crypto?.attestation !== undefined),
    labels: undefined,
    truncated: cuts.length > 0 ? cuts.slice(0, 64) : undefined,
    parse_warnings: warnings.length > 0 ? warnings : undefined,
    raw_ref: field(position, 256, 'raw_ref', []) ?? position.slice(-256),
  }
  return { kind: 'event', event }
}

/** Selectors and trail updates weaken logging when a flag says so. */
const effectOf = (eventName: string, flags: readonly string[]): KeyEvent['operation_effect'] => {
  if (eventName !== 'PutEventSelectors' && eventName !== 'UpdateTrail' && eventName !== 'PutInsightSelectors')
    return undefined
  return flags.length > 0 ? 'weaken' : 'neutral'
}

export const cloudtrail: Format = { recognizes, normalize, glance }
