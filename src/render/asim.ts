/**
 * Events and alerts as rows of the two Sentinel tables: ASIM's AuditEvent and AlertEvent columns, and the whole
 * record in AdditionalFields. One table gives the encoder its values and the template its columns.
 * https://learn.microsoft.com/azure/sentinel/normalization-schema-audit
 * https://learn.microsoft.com/azure/sentinel/normalization-schema-alert
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent, ObjectType } from '../model/event.ts'
import type { Criticality, Operation } from '../model/operations.ts'
import { operationWords, products, shape, succeeded } from './standards.ts'

export type ColumnType = 'string' | 'int' | 'boolean' | 'datetime' | 'dynamic'
type Cell = string | number | boolean | object | undefined
type Column<T> = readonly [name: string, type: ColumnType, give: (of: T) => Cell]

const severities: Readonly<Record<Criticality, string>> = {
  info: 'Informational',
  low: 'Low',
  medium: 'Medium',
  high: 'High',
  critical: 'High',
}

const policyRules: ReadonlySet<ObjectType> = new Set([
  'grant',
  'role_assignment',
  'role_definition',
  'identity_policy',
  'guardrail',
  'audit_config',
])
const configurationAtoms: ReadonlySet<ObjectType> = new Set([
  'alias',
  'autokey_config',
  'ekm_config',
  'log_sink',
  'trail',
  'diagnostic_setting',
  'log_destination',
])
const otherObjects: ReadonlySet<ObjectType> = new Set(['identity', 'credential', 'location', 'other'])
const policyOperations: ReadonlySet<Operation> = new Set(['policy_change', 'snapshot_share'])
const settingOperations: ReadonlySet<Operation> = new Set(['rotation_policy_change', 'tag', 'untag'])

const objectType = ({ operation, target: { object_type } }: KeyEvent): string => {
  if (policyOperations.has(operation) || policyRules.has(object_type)) return 'Policy Rule'
  if (settingOperations.has(operation) || configurationAtoms.has(object_type)) return 'Configuration Atom'
  return otherObjects.has(object_type) ? 'Other' : 'Cloud Resource'
}

const userTypes: Readonly<Partial<Record<KeyEvent['actor']['type'], string>>> = {
  root: 'Admin',
  user: 'Regular',
  federated_user: 'Regular',
  service_principal: 'Service Principal',
  managed_identity: 'Service Principal',
  service_account: 'Service',
  workload_identity: 'Application',
  cloud_service: 'System',
  anonymous: 'Anonymous',
}
const roleUsers: Readonly<Partial<Record<KeyEvent['initiated_by'], string>>> = {
  human: 'Regular',
  workload: 'Application',
  cloud_service: 'System',
  cloud_internal: 'System',
}
const userType = ({ actor, initiated_by }: KeyEvent) =>
  userTypes[actor.type] ?? (actor.type === 'role_session' ? roleUsers[initiated_by] : undefined) ?? 'Other'

const result = (event: KeyEvent) => {
  const success = succeeded(event)
  return success === undefined ? 'NA' : success ? 'Success' : 'Failure'
}

export const eventColumns: readonly Column<KeyEvent>[] = [
  ['TimeGenerated', 'datetime', (e) => e.time.event],
  ['EventTime', 'datetime', (e) => e.time.event],
  ['EventStartTime', 'datetime', (e) => e.time.event],
  ['EventEndTime', 'datetime', (e) => e.time.event],
  ['EventCount', 'int', () => 1],
  ['EventSchema', 'string', () => 'AuditEvent'],
  ['EventSchemaVersion', 'string', () => '0.1'],
  ['EventUid', 'string', (e) => e.event_id],
  ['EventOriginalUid', 'string', (e) => e.source.native_id],
  ['EventType', 'string', (e) => operationWords(e.operation)[0]],
  ['EventSubType', 'string', (e) => `${e.operation_category}/${e.operation}`],
  ['EventOriginalType', 'string', (e) => e.operation_native],
  ['EventResult', 'string', result],
  ['EventResultDetails', 'string', (e) => e.outcome],
  ['EventOriginalResultDetails', 'string', (e) => e.error?.code ?? e.http_status?.toString()],
  ['EventSeverity', 'string', (e) => severities[e.criticality]],
  ['EventOriginalSeverity', 'string', (e) => e.criticality],
  ['EventVendor', 'string', (e) => products[e.source.service][0]],
  ['EventProduct', 'string', (e) => products[e.source.service][1]],
  ['Operation', 'string', (e) => e.operation_native],
  ['Object', 'string', (e) => e.target.key_id ?? e.target.key_alias ?? e.target.container],
  ['ObjectType', 'string', objectType],
  ['OldValue', 'string', (e) => e.target.old_state ?? e.change?.old_policy_hash],
  ['NewValue', 'string', (e) => e.target.new_state ?? e.change?.new_policy_hash],
  ['ActorUserId', 'string', (e) => e.actor.id],
  ['ActorUsername', 'string', (e) => e.actor.principal ?? e.actor.name],
  ['ActorUserType', 'string', userType],
  ['ActorOriginalUserType', 'string', (e) => e.actor.type],
  ['ActorSessionId', 'string', (e) => e.actor.session],
  ['ActorScopeId', 'string', (e) => e.actor.account],
  ['ActingAppId', 'string', (e) => e.actor.application],
  ['ActingAppName', 'string', (e) => e.actor.invoked_by],
  ['SrcIpAddr', 'string', (e) => e.network.source_ip],
  ['SrcHostname', 'string', (e) => e.network.source_raw],
  ['SrcGeoCountry', 'string', (e) => e.network.geo?.country],
  ['HttpUserAgent', 'string', (e) => e.network.user_agent],
  ['TargetAppName', 'string', (e) => e.target.container ?? e.source.service],
  ['Dvc', 'string', (e) => products[e.source.service].join(' ')],
  ['DvcScopeId', 'string', (e) => e.target.account],
  ['DvcZone', 'string', (e) => e.target.region],
  ['Mfa', 'string', (e) => e.auth.mfa],
  ['AdditionalFields', 'dynamic', (e) => e],
]

export const alertColumns: readonly Column<Alert>[] = [
  ['TimeGenerated', 'datetime', (a) => a.time.last_event],
  ['EventTime', 'datetime', (a) => a.time.last_event],
  ['EventStartTime', 'datetime', (a) => a.window.start],
  ['EventEndTime', 'datetime', (a) => a.window.end],
  ['EventCount', 'int', () => 1],
  ['EventSchema', 'string', () => 'AlertEvent'],
  ['EventSchemaVersion', 'string', () => '0.1'],
  ['EventVendor', 'string', () => 'Keytrail'],
  ['EventProduct', 'string', () => 'Keytrail'],
  ['EventType', 'string', () => 'Alert'],
  ['EventSubType', 'string', () => 'Threat'],
  ['EventUid', 'string', (a) => `${a.alert_id}:${a.revision}`],
  ['EventSeverity', 'string', (a) => severities[a.severity]],
  ['EventOriginalSeverity', 'string', (a) => a.severity],
  ['AlertId', 'string', (a) => a.alert_id],
  ['AlertRevision', 'int', (a) => a.revision],
  ['AlertName', 'string', (a) => a.title],
  ['AlertDescription', 'string', (a) => a.explanation],
  ['AlertStatus', 'string', (a) => (a.status === 'withdrawn' ? 'Closed' : 'Active')],
  ['AttackTechniques', 'string', (a) => a.attack.map(({ v18 }) => v18).join(', ')],
  ['RuleName', 'string', (a) => a.detector.id],
  ['RuleVersion', 'int', (a) => a.detector.version],
  ['Username', 'string', (a) => a.entity.principal],
  ['KeyId', 'string', (a) => a.entity.key_id],
  ['AccountId', 'string', (a) => a.account],
  ['CloudProvider', 'string', (a) => a.provider],
  ['ReplayRunId', 'string', (a) => a.replay_run_id],
  ['AdditionalFields', 'dynamic', (a) => a],
]

/** A row of KeytrailEvent_CL. */
export const asimEvent = shape(eventColumns.map(([name, , give]) => [name, give]))
/** A row of KeytrailAlert_CL. */
export const asimAlert = shape(alertColumns.map(([name, , give]) => [name, give]))
