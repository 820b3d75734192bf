/**
 * Events and alerts as OCSF 1.8.0: API Activity, for sign-ins Authentication; Detection Finding, and Compliance
 * Finding where all that is named is weakened encryption: then a setting is judged, not somebody's deed.
 * https://schema.ocsf.io/1.8.0/
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { Criticality } from '../model/operations.ts'
import { asTheyAre, operationWords, outcomeWord, products, type Row, riskScores, shape } from './standards.ts'

const severityIds: Readonly<Record<Criticality, number>> = {
  info: 1,
  low: 2,
  medium: 3,
  high: 4,
  critical: 5,
}
const severityNames = ['', 'Informational', 'Low', 'Medium', 'High', 'Critical']
const statusIds = { unknown: 0, success: 1, failure: 2 } as const
const providers: Readonly<Record<Alert['provider'], string>> = {
  aws: 'AWS',
  azure: 'Azure',
  gcp: 'GCP',
  keytrail: 'Keytrail',
}
const activities: Readonly<Record<number, string>> = {
  0: 'Unknown',
  1: 'Create',
  2: 'Read',
  3: 'Update',
  4: 'Delete',
}

/** Fields that OCSF has no place for, or says with fewer words, under their own names. */
const eventRest = `schema_version source.correlation_id time.late ingest.transport ingest.position ingest.integrity
  operation operation_category operation_effect initiated_by outcome actor.credential_type
  actor.on_behalf_of actor.delegation auth.mfa auth.mfa_source auth.mfa_methods network.endpoint_account
  network.tls_version network.tls_cipher target.cross_account crypto compliance.controls truncated parse_warnings`
const alertRest =
  'schema_version revision detector entity observed threshold expected attack controls replay_run_id'

/** A time twice: in milliseconds, and as text in the precision of the source. */
const times = <T>(path: string, give: (of: T) => string | undefined): Row<T>[] => [
  [
    path,
    (of) => {
      const time = give(of)
      return time === undefined ? undefined : Date.parse(time)
    },
  ],
  [`${path}_dt`, give],
]

/** The rows every class begins with, and the ids that follow from class and activity. */
const head = <T>(
  [category_uid, category_name, class_uid, class_name]: readonly [number, string, number, string],
  activity: (of: T) => readonly [id: number, name: string],
  severity: (of: T) => Criticality,
  time: (of: T) => string,
): Row<T>[] => [
  ['activity_id', (of) => activity(of)[0]],
  ['activity_name', (of) => activity(of)[1]],
  ['category_uid', () => category_uid],
  ['category_name', () => category_name],
  ['class_uid', () => class_uid],
  ['class_name', () => class_name],
  ['type_uid', (of) => class_uid * 100 + activity(of)[0]],
  ['type_name', (of) => `${class_name}: ${activity(of)[1]}`],
  ['severity_id', (of) => severityIds[severity(of)]],
  ['severity', (of) => severityNames[severityIds[severity(of)]]],
  ...times<T>('time', (of) => time(of)),
  ['metadata.version', () => '1.8.0'],
  ['metadata.profiles', () => ['cloud', 'datetime']],
]

type ActorType = KeyEvent['actor']['type']
const userTypes: Readonly<Partial<Record<ActorType | KeyEvent['initiated_by'], number>>> = {
  ...{ user: 1, federated_user: 1, human: 1, root: 2, cloud_service: 3, cloud_internal: 3, anonymous: 99 },
  ...{ service_principal: 4, managed_identity: 4, service_account: 4, workload_identity: 4, workload: 4 },
}
const userType = ({ actor: { type }, initiated_by }: KeyEvent) =>
  userTypes[type === 'role_session' ? initiated_by : type] ?? 0

/** A user needs a name: the kind of identity is the last of them. */
const user = (path: string): Row<KeyEvent>[] => [
  [`${path}.uid`, (e) => e.actor.id],
  [`${path}.name`, (e) => e.actor.principal ?? e.actor.name ?? e.actor.type],
  [`${path}.display_name`, (e) => e.actor.name],
  [`${path}.type`, (e) => e.actor.type],
  [`${path}.type_id`, userType],
  [`${path}.account.uid`, (e) => e.actor.account],
]

const session = (path: string): Row<KeyEvent>[] => [
  [`${path}.uid`, (e) => e.actor.session],
  [`${path}.issuer`, (e) => e.actor.issuer],
  [`${path}.credential_uid`, (e) => e.actor.credential_id],
  ...times<KeyEvent>(`${path}.created_time`, (e) => e.auth.session_created),
  [`${path}.is_mfa`, (e) => isMfa(e)],
]

/** OCSF knows yes and no: what is unknown is left out, the word stands in `unmapped`. */
const isMfa = ({ auth: { mfa } }: KeyEvent) =>
  mfa === 'verified' ? true : mfa === 'not_used' ? false : undefined

/** OCSF has 40 characters for an address, which may be written with 45. */
const shortIp = (ip: string | undefined) =>
  ip !== undefined && ip.length > 40 ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip

const inEvery: readonly Row<KeyEvent>[] = [
  ['metadata.uid', (e) => e.event_id],
  ['metadata.correlation_uid', (e) => e.action_id],
  ['metadata.product.vendor_name', (e) => products[e.source.service][0]],
  ['metadata.product.name', (e) => products[e.source.service][1]],
  ['metadata.log_name', (e) => e.source.log_type],
  ['metadata.log_version', (e) => e.source.format_version],
  ['metadata.log_provider', (e) => e.ingest.feed_id],
  ['metadata.source', (e) => e.raw_ref],
  ['metadata.original_event_uid', (e) => e.source.native_id],
  ['metadata.original_time', (e) => e.time.event],
  ...times<KeyEvent>('metadata.logged_time', (e) => e.time.provider_received),
  ...times<KeyEvent>('metadata.processed_time', (e) => e.time.ingested),
  ['metadata.labels', (e) => Object.entries(e.labels ?? {}).map(([name, value]) => `${name}:${value}`)],
  ['metadata.is_truncated', (e) => (e.truncated === undefined ? undefined : true)],
  ['raw_data_hash.algorithm_id', () => 3],
  ['raw_data_hash.algorithm', () => 'SHA-256'],
  ['raw_data_hash.value', (e) => e.ingest.raw_sha256],
  ['status_id', (e) => statusIds[outcomeWord(e) ?? 'unknown']],
  ['status', (e) => outcomeWord(e) ?? 'unknown'],
  ['status_code', (e) => e.error?.code ?? e.http_status?.toString()],
  ['status_detail', (e) => e.error?.message],
  ['duration', (e) => e.duration_ms],
  ['cloud.provider', (e) => providers[e.source.provider]],
  ['cloud.account.uid', (e) => e.target.account ?? e.actor.account],
  ['cloud.region', (e) => e.target.region],
  ...user('actor.user'),
  ...session('actor.session'),
  ['actor.app_name', (e) => e.actor.invoked_by],
  ['actor.app_uid', (e) => e.actor.application],
  [
    'actor.authorizations',
    ({ auth: { basis = [], policy_decision: decision } }) =>
      basis.length > 0 ? basis.map((name) => ({ decision, policy: { name } })) : decision && [{ decision }],
  ],
  ['api.operation', (e) => e.operation_native],
  ['api.version', (e) => e.source.format_version],
  ['api.service.name', (e) => e.source.service],
  ['api.request.uid', (e) => e.source.request_id],
  ['api.response.code', (e) => e.http_status],
  ['api.response.error', (e) => e.error?.code],
  ['api.response.error_message', (e) => e.error?.message],
  ['http_request.user_agent', (e) => e.network.user_agent],
  ['http_response.code', (e) => e.http_status],
  ['src_endpoint.ip', (e) => shortIp(e.network.source_ip)],
  ['src_endpoint.name', ({ network: n }) => n.source_raw ?? (n.source_ip ? undefined : n.source_class)],
  ['src_endpoint.type', (e) => e.network.source_class],
  ['src_endpoint.interface_uid', (e) => e.network.endpoint_id],
  ['src_endpoint.location.country', (e) => e.network.geo?.country],
  ['src_endpoint.autonomous_system.number', (e) => e.network.asn],
  ...asTheyAre<KeyEvent>('unmapped', eventRest),
  ['unmapped.error_class', (e) => e.error?.class],
]

/** API Activity; a resource needs a name: its kind is the last of them. */
export const ocsfEventRows: readonly Row<KeyEvent>[] = [
  ...head<KeyEvent>(
    [6, 'Application Activity', 6003, 'API Activity'],
    ({ operation }) => {
      const id = operationWords(operation)[2]
      return [id, activities[id] ?? operation]
    },
    (e) => e.criticality,
    (e) => e.time.event,
  ),
  ...inEvery,
  ['resources[].uid', (e) => e.target.key_id ?? e.target.container],
  [
    'resources[].name',
    ({ target: t }) => t.key_alias ?? (t.key_id || t.container ? undefined : t.object_type),
  ],
  ['resources[].type', (e) => e.target.object_type],
  ['resources[].version', (e) => e.target.key_version],
  ['resources[].namespace', (e) => e.target.container],
  ['resources[].owner.account.uid', (e) => e.target.account],
  ['resources[].region', (e) => e.target.region],
  ['resources[].data.before.state', (e) => e.target.old_state],
  ['resources[].data.after.state', (e) => e.target.new_state],
  ['resources[].data.after.change', (e) => e.change],
  ['resources[]', (e) => e.target.secondary?.map(({ key_id, role }) => ({ uid: key_id, role }))],
]

/** Authentication, for sign-ins: what was signed in to is no resource there. */
export const ocsfSignInRows: readonly Row<KeyEvent>[] = [
  ...head<KeyEvent>(
    [3, 'Identity & Access Management', 3002, 'Authentication'],
    () => [1, 'Logon'],
    (e) => e.criticality,
    (e) => e.time.event,
  ),
  ...inEvery,
  ...user('user'),
  ...session('session'),
  ['is_mfa', isMfa],
  ['auth_factors', (e) => e.auth.mfa_methods?.map((factor_type) => ({ factor_type_id: 99, factor_type }))],
  ['service.name', (e) => e.source.service],
  ['unmapped.target', (e) => e.target],
  ['unmapped.change', (e) => e.change],
]

const apiActivity = shape(ocsfEventRows)
const authentication = shape(ocsfSignInRows)
export const ocsfEvent = (event: KeyEvent) =>
  event.operation === 'authenticate' ? authentication(event) : apiActivity(event)

const technique = (uid: string) => ({
  version: '18',
  technique: { uid: uid.slice(0, 5) },
  ...(uid.includes('.') && { sub_technique: { uid } }),
})

/** Create, Update, Close; New, and Deleted for what turned out to be none. */
const life = {
  new: [1, 'Create', 1, 'New'],
  updated: [2, 'Update', 1, 'New'],
  withdrawn: [3, 'Close', 6, 'Deleted'],
} as const

const findingRows = (class_uid: number, class_name: string): Row<Alert>[] => [
  ...head<Alert>(
    [2, 'Findings', class_uid, class_name],
    ({ status }) => [life[status][0], life[status][1]],
    (a) => a.severity,
    (a) => a.time.last_event,
  ),
  ['metadata.uid', (a) => `${a.alert_id}:${a.revision}`],
  ['metadata.product.vendor_name', () => 'Keytrail'],
  ['metadata.product.name', () => 'Keytrail'],
  ['metadata.labels', (a) => Object.entries(a.labels).map(([name, value]) => `${name}:${value}`)],
  ['cloud.provider', (a) => providers[a.provider]],
  ['cloud.account.uid', (a) => a.account],
  ['status_id', (a) => life[a.status][2]],
  ['status', (a) => life[a.status][3]],
  ['message', (a) => a.explanation],
  ['count', (a) => a.evidence.total],
  ...times<Alert>('start_time', (a) => a.window.start),
  ...times<Alert>('end_time', (a) => a.window.end),
  ['finding_info.uid', (a) => a.alert_id],
  ['finding_info.title', (a) => a.title],
  ['finding_info.desc', (a) => a.explanation],
  ['finding_info.types', (a) => [a.kind]],
  ...times<Alert>('finding_info.created_time', (a) => a.time.last_event),
  ...times<Alert>('finding_info.first_seen_time', (a) => a.time.first_event),
  ...times<Alert>('finding_info.last_seen_time', (a) => a.time.last_event),
  ['finding_info.analytic.uid', (a) => a.detector.id],
  ['finding_info.analytic.name', (a) => a.title],
  ['finding_info.analytic.type_id', () => 1],
  ['finding_info.analytic.type', () => 'Rule'],
  ['finding_info.analytic.version', (a) => String(a.detector.version)],
  ['finding_info.src_url', (a) => a.detector.reference],
  ['finding_info.attacks', (a) => a.attack.map(({ v18 }) => technique(v18))],
  ['finding_info.related_events', (a) => a.evidence.event_ids.map((uid) => ({ uid }))],
  ['finding_info.related_events_count', (a) => a.evidence.total],
  ['evidences[].data.sample', (a) => a.evidence.sample],
  ['evidences[].actor.user.uid', (a) => a.entity.principal],
  ['resources[].uid', (a) => a.entity.key_id ?? a.entity.account ?? a.account],
  ['resources[].name', (a) => (a.entity.key_id || a.entity.account || a.account ? undefined : a.provider)],
  ['resources[].type', (a) => (a.entity.key_id === undefined ? 'account' : 'key')],
  ['remediation.desc', (a) => a.triage.join('\n')],
  ...asTheyAre<Alert>('unmapped', alertRest),
]

export const ocsfAlertRows: readonly Row<Alert>[] = [
  ...findingRows(2004, 'Detection Finding'),
  ['is_alert', () => true],
  ['risk_score', (a) => (a.status === 'withdrawn' ? 0 : riskScores[a.severity])],
]
const detection = shape(ocsfAlertRows)

const compliance = shape<Alert>([
  ...findingRows(2003, 'Compliance Finding'),
  ['compliance.control', (a) => a.controls[0]],
  ['compliance.requirements', (a) => a.controls],
  ['compliance.status_id', (a) => (a.status === 'withdrawn' ? 0 : 3)],
  ['compliance.status', (a) => (a.status === 'withdrawn' ? 'Unknown' : 'Fail')],
])

/** T1600, Weaken Encryption, https://attack.mitre.org/techniques/T1600/ */
export const judgesSetting = ({ attack }: Alert) =>
  attack.length > 0 && attack.every(({ v18 }) => v18.startsWith('T1600'))

export const ocsfAlert = (alert: Alert) => (judgesSetting(alert) ? compliance(alert) : detection(alert))
