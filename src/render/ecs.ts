/**
 * Events and alerts in the Elastic Common Schema. What it has no field for lies in `labels`, the whole record as text
 * in `event.original`. https://www.elastic.co/docs/reference/ecs
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { Criticality, OperationCategory } from '../model/operations.ts'
import { judgesSetting } from './ocsf.ts'
import { asTheyAre, operationWords, outcomeWord, products, type Row, riskScores, shape } from './standards.ts'

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

/** Fields that become labels under the last part of their name. */
const eventLabels = `action_id source.native_id time.late ingest.transport ingest.feed_id ingest.integrity
  operation_category operation_effect initiated_by outcome actor.session actor.credential_id actor.credential_type
  actor.invoked_by actor.issuer auth.mfa auth.mfa_source auth.mfa_methods auth.policy_decision auth.basis
  network.source_class network.endpoint_id network.endpoint_account target.key_id target.key_version target.container
  target.cross_account target.old_state target.new_state crypto.key_spec crypto.key_usage
  crypto.origin crypto.protection_level crypto.context_hash crypto.used_for
  change.old_policy_hash change.new_policy_hash change.flags change.grant.grantee compliance.controls parse_warnings`
const alertLabels = `kind entity.key_id entity.account time.first_event observed threshold expected evidence.event_ids
  controls triage replay_run_id`

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
  ...asTheyAre<KeyEvent>('labels', eventLabels),
  ['labels.actor_type', (e) => e.actor.type],
  ['labels.on_behalf_of', (e) => e.actor.on_behalf_of?.id ?? e.actor.on_behalf_of?.name],
  ['labels.app_id', (e) => e.actor.application],
  ['labels.crypto_algorithm', (e) => e.crypto?.algorithm],
  ['labels.attestation', (e) => e.crypto?.attestation?.image_digest],
  ['labels.secondary_key_id', (e) => e.target.secondary?.map(({ key_id }) => key_id)],
  ['labels.bindings', (e) => e.change?.bindings?.map((b) => `${b.action} ${b.role} ${b.member}`)],
  ['labels.grant_operations', (e) => e.change?.grant?.operations],
  ['labels.settings', (e) => Object.entries(e.change?.settings ?? {}).map(([name, to]) => `${name}=${to}`)],
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
  ...asTheyAre<Alert>('labels', alertLabels),
  ['labels.event_count', (a) => a.evidence.total],
]
export const ecsAlert = shape(ecsAlertRows)
