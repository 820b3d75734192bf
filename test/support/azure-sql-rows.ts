/** What each row of the database key scenario becomes: the columns of the table in database-keys.md 7, with its 2 to 5.3. */
import { expect } from 'vitest'
import { roles } from '../../scripts/azure-sql/activity.ts'
import { type Caller, keyUrl, SERVER, VAULT } from '../../scripts/azure-sql/callers.ts'
import {
  appObject,
  ekm,
  ines,
  K1,
  lena,
  mi,
  omar,
  orders,
  ordersNext,
  sql01,
  sql01Next,
} from '../../scripts/azure-sql/calls.ts'

interface Expected {
  readonly operation?: string
  readonly outcome: string
  readonly [field: string]: unknown
}
interface Row {
  readonly row: number
  readonly events: readonly Expected[]
}

const human = (who: Caller) => ({
  actor: { id: who.oid, name: who.name, type: 'user' },
  network: { source_ip: who.ip },
  initiated_by: 'human',
})
const instance = {
  actor: { id: ekm.oid, application: ekm.appid, type: 'service_principal' },
  network: { source_ip: ekm.ip },
  initiated_by: 'workload',
}
const server = {
  actor: { id: mi.oid, application: mi.appid, type: 'managed_identity' },
  network: { source_class: 'service' },
  initiated_by: 'cloud_service',
}
const verified = { auth: { mfa: 'verified' } }
const notApplicable = { auth: { mfa: 'not_applicable' } }

type Key = typeof orders
const onKey = ({ key, version }: Key) => ({
  target: { object_type: 'key', key_id: keyUrl(key), key_version: version, container: VAULT.toLowerCase() },
})
const onVault = { target: { object_type: 'vault', container: VAULT.toLowerCase() } }
const inContainer = (object_type: string, container: string) => ({
  target: { object_type, container: container.toLowerCase() },
})
const gives = (roleId: string, to: Caller, scope: string) => ({
  ...inContainer('role_assignment', scope),
  change: { bindings: [{ action: 'add', role: roleId, member: to.oid }] },
})

const ok = (operation: string, ...facts: readonly object[]): Expected =>
  Object.assign({ operation, outcome: 'success' }, ...facts) as Expected // the facts have other names
const times = (n: number, one: Expected): Expected[] => Array.from({ length: n }, () => one)
const row = (number: number, ...events: readonly Expected[]): Row => ({ row: number, events })

const challenge = {
  operation: 'authenticate',
  outcome: 'challenge',
  ...onVault,
  actor: { type: 'anonymous' },
}
const sql = { crypto: { used_for: 'sql' } }
const keySql = (version: string) => keyUrl('orders-tde', version)
const onServer = (part: string) => ({ ...inContainer('storage', `${SERVER}/${part}`) })
const application = inContainer('identity', appObject)
const expires = (second: string) => ({
  change: { expires_at: expect.stringMatching(`^${second}(\\.0+)?Z$`) },
})

// biome-ignore format: a row is a line
export const rows: readonly Row[] = [
  row(1, ok('authenticate', human(lena), verified, { target: { object_type: 'identity' } })),
  row(2, ok('identity_change', human(lena), application, { change: { settings: { kind: 'application' } } })),
  row(3, ok('role_assign', human(lena), inContainer('role_assignment', appObject), { change: { bindings: [{ action: 'add', role: 'owner', member: lena.oid }] } })),
  row(4, ok('identity_change', human(lena), inContainer('identity', ekm.oid), { change: { settings: { kind: 'service_principal' } } })),
  row(5, ok('credential_change', human(lena), inContainer('credential', appObject), { change: { bindings: [{ action: 'add', role: 'Password', member: K1 }] } })),
  row(6, { outcome: 'success', ...human(lena) }),
  row(7, ok('authenticate', human(omar), verified, { target: { object_type: 'identity' } })),
  row(8, { outcome: 'in_progress', ...human(omar), ...onVault }),
  row(9, ok('container_create', human(omar), verified, onVault, {
    change: {
      settings: {
        rbac_authorization: 'true',
        purge_protection: 'true',
        soft_delete_days: '90',
        network_default_action: 'Deny',
        network_bypass: 'AzureServices',
        network_ip_rules: '192.0.2.40/32',
      },
    },
  })),
  row(10, ok('container_update', human(omar), onVault)),
  row(11, ok('logging_change', human(omar), verified, inContainer('diagnostic_setting', `${VAULT}/providers/Microsoft.Insights/diagnosticSettings/to-hub`), { operation_effect: 'strengthen' })),
  row(12, ok('policy_change', human(omar), verified, { operation_effect: 'strengthen', target: { object_type: 'guardrail' } })),
  row(13, ok('role_assign', human(omar), verified, gives(roles.cryptoOfficer, omar, VAULT))),
  row(14, { ...challenge, network: { source_ip: omar.ip } }),
  row(15, ok('import', human(omar), onKey(sql01), expires('2027-06-02T08:16:02'), { crypto: { key_spec: 'RSA-HSM-3072' } })),
  row(16, ok('create', human(omar), onKey(orders), expires('2027-06-02T08:16:40'), { crypto: { key_spec: 'RSA-HSM-3072' } })),
  row(17, ...[sql01, orders].map((key) => ok('backup', human(omar), onKey(key)))),
  row(18, ok('rotation_policy_change', human(omar), { operation_effect: 'strengthen', change: { rotation_days: 350 }, target: { key_id: keyUrl('orders-tde') } })),
  row(19, ok('role_assign', human(omar), verified, gives(roles.serviceEncryptionUser, ekm, `${VAULT}/keys/sql01-tde`))),
  row(20, { ...challenge, network: { source_ip: ekm.ip } }),
  row(21, ok('authenticate', instance, notApplicable, { actor: { ...instance.actor, credential_id: K1 } })),
  row(22, ok('list', instance, { target: { object_type: 'key', container: VAULT.toLowerCase() } })),
  row(23, ok('read_metadata', instance, onKey(sql01))),
  row(24, ok('wrap', instance, onKey(sql01))),
  row(25, ok('wrap', instance, onKey(sql01))),
  row(26, ...times(2, ok('unwrap', instance, onKey(sql01)))),
  row(27, ok('role_assign', human(omar), verified, gives(roles.serviceEncryptionUser, mi, `${VAULT}/keys/orders-tde`))),
  row(28, ok('authenticate', notApplicable, { actor: { id: mi.oid, type: 'managed_identity' } })),
  row(29, ok('storage_encryption_change', human(lena), onServer(`keys/kv-sqltde_orders-tde_${orders.version}`), { change: { settings: { key_source: 'AzureKeyVault', kms_key_id: keySql(orders.version) } } })),
  row(30, ok('read_metadata', server, onKey(orders))),
  row(31, ok('storage_encryption_change', human(lena), { target: { object_type: 'storage', container: `${SERVER}/encryptionProtector/current`.toLowerCase(), key_id: keyUrl('orders-tde') }, change: { settings: { key_source: 'AzureKeyVault', kms_key_id: keySql(orders.version), auto_rotation: 'true' } } })),
  row(32, ...times(3, ok('wrap', server, onKey(orders), sql))),
  row(33, ...Array.from({ length: 331 }, (_, day) => onKey(day < 200 ? orders : ordersNext)).flatMap((key) => [ok('read_metadata', server, key), ok('unwrap', server, key, sql)])),
  row(34, ok('authenticate', instance, notApplicable, { actor: { ...instance.actor, credential_id: K1 } })),
  row(35, ok('read_metadata', instance, onKey(sql01)), ...times(2, ok('unwrap', instance, onKey(sql01)))),
  row(37, ok('authenticate', human(ines), verified)),
  row(38, ok('read_metadata', human(ines), onVault), ok('list', human(ines)), ok('read_metadata', human(ines), onKey(orders))),
  row(39, ok('rotate', onKey(ordersNext), { initiated_by: 'cloud_internal' })),
  row(40, ok('unwrap', server, onKey(orders), sql), ...times(3, ok('wrap', server, onKey(ordersNext), sql))),
  row(41, ok('create', human(omar), verified, onKey(sql01Next))),
  row(42, ok('read_metadata', instance, onKey(sql01Next)), ok('unwrap', instance, onKey(sql01)), ...times(2, ok('wrap', instance, onKey(sql01Next)))),
]
