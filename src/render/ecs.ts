/**
 * Events and alerts in the Elastic Common Schema. What it has no field for lies in `labels`, the whole record as text
 * in `event.original`. https://www.elastic.co/docs/reference/ecs
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { Criticality, OperationCategory } from '../model/operations.ts'
import { judgesSetting } from './ocsf.ts'
import { operationWords, outcomeWord, products, type Row, riskScores, shape } from './standards.ts'

/** As Elastic's own rules count. */
const severities: Readonly<Record<Criticality, number>> = {
  info: 1,
  low: 21,
  medium: 47,
  high: 73,
  critical: 99,
}

const categories: Readonly<Partial<Record<OperationCategory, string>>> = {
  cryptographic: 'api',
  read: 'api',
  backup: 'api',
  unknown: 'api',
  access_control: 'iam',
}
const category = ({ operation, operation_category }: KeyEvent): string => {
  if (operation === 'authenticate') return 'authentication'
  if (operation === 'mfa_change') return 'iam'
  if (operation === 'key_access_lost' || operation === 'key_access_restored') return 'database'
  return categories[operation_category] ?? 'configuration'
}

/** What `api` expects and `configuration` does not: that the call was denied. */
const types = (event: KeyEvent, api: boolean) => [
  operationWords(event.operation)[3],
  ...(api && category(event) === 'api' && event.outcome === 'denied' ? ['denied'] : []),
]

/** Labels are flat, and a point in a name would make an object. */
const labelsOf = (labels: Readonly<Record<string, string>> | undefined) =>
  Object.fromEntries(Object.entries(labels ?? {}).map(([name, value]) => [name.replaceAll('.', '_'), value]))

const some = (...values: (string | undefined)[]) => [...new Set(values.filter((one) => one !== undefined))]

const eventRows = (version: string, api: boolean): readonly Row<KeyEvent>[] => [
  ['@timestamp', (e) => e.time.event],
  ['ecs.version', () => version],
  ['event.id', (e) => e.event_id],
  ['event.kind', () => 'event'],
  ['event.category', (e) => [api || category(e) !== 'api' ? category(e) : 'configuration']],
  ['event.type', (e) => types(e, api)],
  ['event.action', (e) => e.operation],
  ['event.code', (e) => e.operation_native],
  ['event.outcome', (e) => outcomeWord(e) ?? 'unknown'],
  ['event.severity', (e) => severities[e.criticality]],
  ['event.provider', (e) => e.source.service],
  ['event.module', () => 'keytrail'],
  ['event.dataset', (e) => `keytrail.${e.source.log_type}`],
  ['event.created', (e) => e.time.provider_received],
  ['event.ingested', (e) => e.time.ingested],
  ['event.duration', (e) => (e.duration_ms === undefined ? undefined : e.duration_ms * 1e6)],
  ['event.hash', (e) => e.ingest.raw_sha256],
  ['event.original', (e) => JSON.stringify(e)],
  ['error.code', (e) => e.error?.code],
  ['error.message', (e) => e.error?.message],
  ['error.type', (e) => e.error?.class],
  ['http.request.id', (e) => e.source.request_id],
  ['http.response.status_code', (e) => e.http_status],
  ['trace.id', (e) => e.source.correlation_id],
  ['cloud.provider', (e) => e.source.provider],
  ['cloud.service.name', (e) => products[e.source.service].join(' ')],
  ['cloud.account.id', (e) => e.target.account ?? e.actor.account],
  ['cloud.region', (e) => e.target.region],
  ['user.id', (e) => e.actor.id],
  ['user.name', (e) => e.actor.principal ?? e.actor.name],
  ['user.full_name', (e) => e.actor.name],
  ['user.email', (e) => (e.actor.name?.includes('@') ? e.actor.name : undefined)],
  ['user.domain', (e) => e.actor.account],
  ['source.ip', (e) => e.network.source_ip],
  ['source.address', (e) => e.network.source_ip ?? e.network.source_raw],
  ['source.geo.country_iso_code', (e) => e.network.geo?.country],
  ['source.as.number', (e) => e.network.asn],
  ['user_agent.original', (e) => e.network.user_agent],
  ['tls.version', (e) => e.network.tls_version?.replace(/^TLSv?/i, '')],
  ['tls.cipher', (e) => e.network.tls_cipher],
  ['entity.id', (e) => e.target.key_id ?? e.target.container],
  ['entity.name', (e) => e.target.key_alias],
  ['entity.sub_type', (e) => e.target.object_type],
  ['related.ip', (e) => some(e.network.source_ip)],
  [
    'related.user',
    ({ actor: a }) => some(a.id, a.principal, a.name, a.on_behalf_of?.id, a.on_behalf_of?.name),
  ],
  ['labels', (e) => labelsOf(e.labels)],
  ['labels.action_id', (e) => e.action_id],
  ['labels.native_id', (e) => e.source.native_id],
  ['labels.late', (e) => e.time.late],
  ['labels.transport', (e) => e.ingest.transport],
  ['labels.feed_id', (e) => e.ingest.feed_id],
  ['labels.integrity', (e) => e.ingest.integrity],
  ['labels.operation_category', (e) => e.operation_category],
  ['labels.operation_effect', (e) => e.operation_effect],
  ['labels.initiated_by', (e) => e.initiated_by],
  ['labels.outcome', (e) => e.outcome],
  ['labels.session', (e) => e.actor.session],
  ['labels.actor_type', (e) => e.actor.type],
  ['labels.credential_id', (e) => e.actor.credential_id],
  ['labels.credential_type', (e) => e.actor.credential_type],
  ['labels.on_behalf_of', (e) => e.actor.on_behalf_of?.id ?? e.actor.on_behalf_of?.name],
  ['labels.invoked_by', (e) => e.actor.invoked_by],
  ['labels.issuer', (e) => e.actor.issuer],
  ['labels.app_id', (e) => e.actor.application],
  ['labels.mfa', (e) => e.auth.mfa],
  ['labels.mfa_source', (e) => e.auth.mfa_source],
  ['labels.mfa_methods', (e) => e.auth.mfa_methods],
  ['labels.policy_decision', (e) => e.auth.policy_decision],
  ['labels.authorization_basis', (e) => e.auth.basis],
  ['labels.source_class', (e) => e.network.source_class],
  ['labels.endpoint_id', (e) => e.network.endpoint_id],
  ['labels.endpoint_account', (e) => e.network.endpoint_account],
  ['labels.key_id', (e) => e.target.key_id],
  ['labels.key_version', (e) => e.target.key_version],
  ['labels.container', (e) => e.target.container],
  ['labels.cross_account', (e) => e.target.cross_account],
  ['labels.secondary_key_id', (e) => e.target.secondary?.map(({ key_id }) => key_id)],
  ['labels.old_state', (e) => e.target.old_state],
  ['labels.new_state', (e) => e.target.new_state],
  ['labels.crypto_algorithm', (e) => e.crypto?.algorithm],
  ['labels.key_spec', (e) => e.crypto?.key_spec],
  ['labels.key_usage', (e) => e.crypto?.key_usage],
  ['labels.key_origin', (e) => e.crypto?.origin],
  ['labels.protection_level', (e) => e.crypto?.protection_level],
  ['labels.context_hash', (e) => e.crypto?.context_hash],
  ['labels.used_for', (e) => e.crypto?.used_for],
  ['labels.attestation', (e) => e.crypto?.attestation?.image_digest],
  ['labels.old_policy_hash', (e) => e.change?.old_policy_hash],
  ['labels.new_policy_hash', (e) => e.change?.new_policy_hash],
  ['labels.change_flags', (e) => e.change?.flags],
  ['labels.bindings', (e) => e.change?.bindings?.map((b) => `${b.action} ${b.role} ${b.member}`)],
  ['labels.grantee', (e) => e.change?.grant?.grantee],
  ['labels.grant_operations', (e) => e.change?.grant?.operations],
  ['labels.settings', (e) => Object.entries(e.change?.settings ?? {}).map(([name, to]) => `${name}=${to}`)],
  ['labels.controls', (e) => e.compliance?.controls],
  ['labels.parse_warnings', (e) => e.parse_warnings],
]

export const ecsEventRows = eventRows('9.4.0', true)
export const ecsEvent = shape(ecsEventRows)
/** Before 8.7 there was no category `api`, and no entity. */
export const ecsEventBefore87 = shape(
  eventRows('8.6.1', false).filter(([path]) => !path.startsWith('entity.')),
)

export const ecsAlertRows: readonly Row<Alert>[] = [
  ['@timestamp', (a) => a.time.last_event],
  ['ecs.version', () => '8.6.1'], // it needs nothing newer
  ['event.id', (a) => a.alert_id],
  ['event.sequence', (a) => a.revision],
  ['event.kind', () => 'alert'],
  ['event.category', (a) => [judgesSetting(a) ? 'configuration' : 'intrusion_detection']],
  ['event.type', () => ['info']],
  ['event.action', (a) => a.status],
  ['event.module', () => 'keytrail'],
  ['event.dataset', () => 'keytrail.alert'],
  ['event.severity', (a) => severities[a.severity]],
  ['event.risk_score', (a) => (a.status === 'withdrawn' ? 0 : riskScores[a.severity])],
  ['event.start', (a) => a.window.start],
  ['event.end', (a) => a.window.end],
  ['event.reason', (a) => a.explanation],
  ['event.original', (a) => JSON.stringify(a)],
  ['message', (a) => a.explanation],
  ['rule.id', (a) => a.detector.id],
  ['rule.name', (a) => a.title],
  ['rule.version', (a) => String(a.detector.version)],
  ['rule.author', (a) => some(a.detector.author)],
  ['rule.license', (a) => a.detector.license],
  ['rule.reference', (a) => a.detector.reference],
  ['threat.framework', (a) => (a.attack.length > 0 ? 'MITRE ATT&CK' : undefined)],
  ['threat.technique.id', (a) => some(...a.attack.map(({ v18 }) => v18.slice(0, 5)))],
  [
    'threat.technique.subtechnique.id',
    (a) => some(...a.attack.map(({ v18 }) => (v18.includes('.') ? v18 : undefined))),
  ],
  ['cloud.provider', (a) => a.provider],
  ['cloud.account.id', (a) => a.account],
  ['user.name', (a) => a.entity.principal],
  ['related.user', (a) => some(a.entity.principal)],
  ['labels', (a) => labelsOf(a.labels)],
  ['labels.kind', (a) => a.kind],
  ['labels.key_id', (a) => a.entity.key_id],
  ['labels.account', (a) => a.entity.account],
  ['labels.first_event', (a) => a.time.first_event],
  ['labels.observed', (a) => a.observed],
  ['labels.threshold', (a) => a.threshold],
  ['labels.expected', (a) => a.expected],
  ['labels.event_ids', (a) => a.evidence.event_ids],
  ['labels.event_count', (a) => a.evidence.total],
  ['labels.controls', (a) => a.controls],
  ['labels.triage', (a) => a.triage],
  ['labels.replay_run_id', (a) => a.replay_run_id],
]
export const ecsAlert = shape(ecsAlertRows)
