/** What all Azure formats share: time, network, and the assembly of the event. */
import { EVENT_SCHEMA_VERSION, type KeyEvent, type ParseWarning, type Service } from '../model/event.ts'
import { memoText } from '../model/memo.ts'
import type { Normalized } from '../model/outcome.ts'
import { addressClass, addressOf } from './address.ts'
import type { Result } from './azure-outcome.ts'
import type { RawRecord } from './format.ts'
import { inspect, type Json, string } from './json.ts'
import { categoryOf, controlsOf, type Mapping } from './mapping.ts'
import { type Cuts, field, sha256, shortId, utc } from './text.ts'

/** The first readable time; else the one of the envelope. */
export const timeOf = (raw: RawRecord, ...given: readonly unknown[]) => {
  for (const one of given) {
    const time = utc(one)
    if (time !== undefined) return { time, fallback: false }
  }
  return raw.envelopeTime === undefined ? undefined : { time: raw.envelopeTime, fallback: true }
}

const MAX_ADDRESSES = 4000

/** An address without its port; the same callers write most records. */
const addressIn = memoText((text) => {
  const origin = text.replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1')
  const ip = addressOf(origin)
  return { origin, ip, group: ip === undefined ? ('unknown' as const) : addressClass(ip) }
}, MAX_ADDRESSES)

/** The address of a service of the provider says nothing about a network of the customer. */
export const networkOf = (
  from: {
    readonly ip: unknown
    readonly agent?: unknown
    readonly tls?: unknown
    readonly endpoint?: unknown
  },
  by: KeyEvent['initiated_by'],
  cuts: Cuts,
): KeyEvent['network'] => {
  const { origin, ip, group } = addressIn(string(from.ip) ?? '')
  const endpoint = string(from.endpoint)
  return {
    source_ip: ip,
    source_raw:
      ip === undefined && origin !== '<null>' ? field(origin, 256, 'network.source_raw', cuts) : undefined,
    source_class:
      by === 'cloud_service'
        ? 'service'
        : ip !== undefined
          ? group
          : by === 'cloud_internal'
            ? 'cloud_internal'
            : 'unknown',
    endpoint_id: endpoint === '(unknown)' ? undefined : field(endpoint, 128, 'network.endpoint_id', cuts),
    tls_version: field(from.tls, 32, 'network.tls_version', cuts),
    user_agent: field(from.agent, 1024, 'network.user_agent', cuts),
  }
}

type Parts = Pick<
  KeyEvent,
  'initiated_by' | 'actor' | 'auth' | 'network' | 'target' | 'crypto' | 'change' | 'labels' | 'duration_ms'
>

export interface AzureFacts {
  /** Absent = azure. */
  readonly provider?: 'azure' | 'gcp'
  readonly service: Service
  readonly logType: KeyEvent['source']['log_type']
  readonly native: string
  readonly mapping: Mapping
  readonly effect?: KeyEvent['operation_effect']
  readonly result: Result
  /** Delivered-event key, and that of the logical action if it is another. */
  readonly key: string
  readonly action?: string | undefined
  readonly version?: unknown
  readonly nativeId: unknown
  readonly requestId?: unknown
  readonly correlationId: unknown
  readonly time: { readonly time: string; readonly fallback: boolean }
  readonly submitted?: unknown
  readonly warnings: readonly (ParseWarning | false)[]
  readonly parts: Parts
}

/** Canonical text of the values that tell one delivered event from another. */
export const keyOf = (...values: readonly unknown[]): string => sha256(JSON.stringify(values)) // undefined becomes null there

export const assemble = (value: Json, raw: RawRecord, facts: AzureFacts, cuts: Cuts): Normalized => {
  const { mapping, result, parts } = facts
  const provider = facts.provider ?? 'azure'
  const eventId = shortId(`${provider}:${facts.key}`)
  const { members, inexact } = inspect(value)
  const warnings = [
    ...facts.warnings,
    facts.time.fallback && ('time_fallback' as const),
    result.conflict && ('conflicting_outcome' as const),
    raw.members !== undefined && raw.members > members && ('duplicate_json_key' as const),
    inexact && ('unmapped_field' as const),
  ].filter((one) => one !== false)
  const position = `${raw.place}:${raw.number}`
  const event: KeyEvent = {
    schema_version: EVENT_SCHEMA_VERSION,
    event_id: eventId,
    action_id: facts.action === undefined ? eventId : shortId(`${provider}:${facts.action}`),
    source: {
      provider,
      service: facts.service,
      log_type: facts.logType,
      format_version: field(facts.version, 32, 'source.format_version', cuts),
      native_id: field(facts.nativeId, 256, 'source.native_id', cuts),
      request_id: field(facts.requestId, 256, 'source.request_id', cuts),
      correlation_id: field(facts.correlationId, 256, 'source.correlation_id', cuts),
    },
    time: {
      event: facts.time.time,
      provider_received: utc(facts.submitted),
      ingested: raw.received,
      late: false,
    },
    ingest: {
      transport: raw.transport,
      feed_id: raw.feed_id,
      position: field(position, 256, 'ingest.position', cuts),
      raw_sha256: raw.sha256 ?? sha256(raw.bytes),
      integrity: 'not_available',
    },
    operation: mapping.operation,
    operation_category: categoryOf(mapping),
    operation_native: field(facts.native, 256, 'operation_native', cuts) ?? 'unknown',
    operation_effect: facts.effect ?? mapping.effect,
    criticality: mapping.criticality,
    outcome: result.outcome,
    error: result.error,
    http_status: result.status,
    ...parts,
    compliance: controlsOf(mapping, false),
    truncated: cuts.length > 0 ? cuts.slice(0, 64) : undefined,
    parse_warnings: warnings.length > 0 ? warnings : undefined,
    raw_ref: field(position, 256, 'raw_ref', []) ?? position.slice(-256),
  }
  return { kind: 'event', event }
}
