/**
 * Events and alerts in the fields of Splunk's Common Information Model: Change, Data Access and Authentication for
 * events, Alerts for alerts, and what Enterprise Security's risk and finding searches read.
 * https://docs.splunk.com/Documentation/CIM/latest/User/Overview
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import { operationWords, outcomeWord, products, type Row, riskScores, shape } from './standards.ts'

const cimSeverity = (severity: string) => (severity === 'info' ? 'informational' : severity)

/** The model an event belongs to. */
export const cimModel = ({ operation_category }: KeyEvent): 'Authentication' | 'Data_Access' | 'Change' =>
  operation_category === 'authentication'
    ? 'Authentication'
    : operation_category === 'cryptographic' || operation_category === 'read'
      ? 'Data_Access'
      : 'Change'

export const cimEventRows: readonly Row<KeyEvent>[] = [
  ['action', (e) => (e.operation === 'authenticate' ? outcomeWord(e) : operationWords(e.operation)[1])],
  ['status', outcomeWord],
  ['severity', (e) => cimSeverity(e.criticality)],
  ['user', (e) => e.actor.principal ?? e.actor.id],
  ['user_name', (e) => e.actor.name],
  ['user_type', (e) => e.actor.type],
  ['src_user', (e) => e.actor.on_behalf_of?.id ?? e.actor.on_behalf_of?.name],
  ['src', (e) => e.network.source_ip ?? e.network.source_raw],
  ['dest', (e) => e.target.container ?? e.target.key_id],
  ['object', (e) => e.target.key_alias ?? e.target.key_id ?? e.target.container],
  ['object_id', (e) => e.target.key_id],
  ['object_category', (e) => e.target.object_type],
  ['object_path', (e) => e.target.container],
  ['object_attrs', (e) => e.target.new_state],
  ['change_type', (e) => e.operation_category],
  ['command', (e) => e.operation_native],
  ['result', (e) => e.error?.message],
  ['result_id', (e) => e.error?.code ?? e.http_status?.toString()],
  ['app', (e) => e.actor.invoked_by ?? e.actor.application ?? e.source.service],
  ['authentication_method', (e) => (e.operation === 'authenticate' ? e.auth.mfa_methods?.[0] : undefined)],
  ['authentication_service', (e) => e.actor.issuer],
  ['http_user_agent', (e) => e.network.user_agent],
  ['vendor_product', (e) => products[e.source.service].join(' ')],
  ['vendor_account', (e) => e.target.account ?? e.actor.account],
  ['vendor_region', (e) => e.target.region],
]

export const cimAlertRows: readonly Row<Alert>[] = [
  ['type', () => 'alert'],
  ['app', () => 'keytrail'],
  ['id', (a) => a.alert_id],
  ['severity', (a) => cimSeverity(a.severity)],
  ['signature', (a) => a.title],
  ['signature_id', (a) => a.detector.id],
  ['description', (a) => a.explanation],
  ['user', (a) => a.entity.principal],
  ['dest', (a) => a.entity.key_id ?? a.entity.account],
  ['vendor_account', (a) => a.account],
  ['risk_object', (a) => a.entity.principal ?? a.entity.key_id ?? a.entity.account],
  ['risk_object_type', (a) => (a.entity.principal === undefined ? 'other' : 'user')],
  ['risk_score', (a) => (a.status === 'withdrawn' ? 0 : riskScores[a.severity])],
  ['rule_title', (a) => a.title],
  ['security_domain', () => 'threat'],
  ['mitre_technique_id', (a) => a.attack.map(({ v18 }) => v18)],
]

const eventFields = shape(cimEventRows)
const alertFields = shape(cimAlertRows)

/** The object as text, with a record that is text already as its last member. */
const withRecord = (fields: Record<string, unknown>, record: string): string =>
  `${JSON.stringify(fields).slice(0, -1)},"kms":${record}}`

/**
 * Fields first, as searches that read only the beginning of an event need it; the whole record under `kms`.
 * @param json the event as it is journaled @returns JSON
 */
export const cimEvent = (event: KeyEvent, json: string): string => withRecord(eventFields(event), json)

/** @returns JSON */
export const cimAlert = (alert: Alert): string => withRecord(alertFields(alert), JSON.stringify(alert))
