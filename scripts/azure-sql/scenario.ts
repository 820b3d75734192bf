// The scenario of examples/azure-sql/: a year of keys for SQL Server (Connector, extensible key management) and Azure SQL,
// one line a row of the table in its README. No clock, no random values.
import { activity, role, roles } from './activity.ts'
import { type Category, type Entry, VAULT } from './callers.ts'
import {
  appObject,
  diagnosticSetting,
  diagnostics,
  ekm,
  get,
  ines,
  K1,
  lena,
  mi,
  omar,
  orders,
  ordersNext,
  protectorWrite,
  rotateAfter350Days,
  row,
  secretsChanged,
  serverKeyWrite,
  sql01,
  sql01Next,
  times,
  twoYearsAfter,
  unauthenticated,
  unwrap,
  vaultBody,
  vaultRequest,
  wrap,
} from './calls.ts'
import { directory, json, signIn, tokenFor } from './entra.ts'
import { audit, keyProperties, vaultAudit } from './key-vault.ts'
import { register } from './register.ts'

/** Row 33: once a day at 10:30, with the version that protects the databases on that day. */
export const daily = (days: number, rotatedOn = 200): Entry[] =>
  Array.from({ length: days }, (_, day) => {
    const key = day < rotatedOn ? orders : ordersNext
    return row(33, day, '10:30:00', get(mi, key), unwrap(mi, key))
  }).flat()

const named = { displayName: ekm.name }
const applicationMade = [
  ['AppId', '[]', json([ekm.appid])],
  ['DisplayName', '[]', json([ekm.name])],
] as const
const principalMade = [
  ['AccountEnabled', '[]', '[true]'],
  ['AppPrincipalId', '[]', json([ekm.appid])],
  ['DisplayName', '[]', json([ekm.name])],
] as const
const owned = [
  ['Application.ObjectID', null, json(appObject)],
  ['Application.DisplayName', null, json(ekm.name)],
] as const

// biome-ignore format: a row is a line
export const scenario: readonly Entry[] = [
  ...row(1, 0, '08:00:05', signIn(lena, 'u1')),
  ...row(2, 0, '08:02:10', directory('Add application', lena, [{ id: appObject, ...named, type: 'Application', modified: applicationMade }])),
  ...row(3, 0, '08:02:10', directory('Add owner to application', lena, [{ id: lena.oid, displayName: lena.name, type: 'User', modified: owned }])),
  ...row(4, 0, '08:02:12', directory('Add service principal', lena, [{ id: ekm.oid, ...named, type: 'ServicePrincipal', modified: principalMade }])),
  ...row(5, 0, '08:04:30', secretsChanged(lena, [], [K1], 'secret K1')),
  ...row(6, 0, '08:04:30', directory('Update application', lena, [{ id: appObject, ...named, type: 'Application', modified: [['Included Updated Properties', null, '""']] }], 'secret K1')),
  ...row(7, 0, '08:10:00', signIn(omar, 'u2')),
  ...row(8, 0, '08:12:00', activity('Microsoft.KeyVault/vaults/write', VAULT, omar, { phase: 'Start', request: vaultRequest, uti: 'u2', operation: 'vault' })),
  ...row(9, 0, '08:12:09', activity('Microsoft.KeyVault/vaults/write', VAULT, omar, { created: true, request: vaultRequest, uti: 'u2', operation: 'vault' })),
  ...row(10, 0, '08:12:09', vaultAudit('VaultPut', omar, vaultBody('Deny', '192.0.2.40/32'))),
  ...row(11, 0, '08:13:00', activity('Microsoft.Insights/diagnosticSettings/write', diagnosticSetting, omar, { request: diagnostics, uti: 'u2' })),
  ...row(12, 0, '08:13:40', activity('Microsoft.Authorization/locks/write', `${VAULT}/providers/Microsoft.Authorization/locks/keep`, omar, { created: true, request: { properties: { level: 'CanNotDelete' } }, uti: 'u2' })),
  ...row(13, 0, '08:14:00', role('write', omar, { role: roles.cryptoOfficer, to: omar, scope: VAULT })),
  ...row(14, 0, '08:16:01', unauthenticated(omar)),
  ...row(15, 0, '08:16:02', audit('KeyImport', { by: omar, ...sql01, call: '/keys/sql01-tde', properties: keyProperties(twoYearsAfter(0, '08:16:02')) })),
  ...row(16, 0, '08:16:40', audit('KeyCreate', { by: omar, ...orders, call: '/keys/orders-tde/create', properties: keyProperties(twoYearsAfter(0, '08:16:40')) })),
  ...row(17, 0, '08:17:30', ...[sql01, orders].map((key) => audit('KeyBackup', { by: omar, ...key, call: `/keys/${key.key}/backup` }))),
  ...row(18, 0, '08:18:10', audit('KeyRotationPolicySet', { by: omar, key: 'orders-tde', call: 'rotationpolicy', properties: rotateAfter350Days })),
  ...row(19, 0, '08:20:00', role('write', omar, { role: roles.serviceEncryptionUser, to: ekm, scope: `${VAULT}/keys/sql01-tde` })),
  ...row(20, 0, '09:00:00', unauthenticated(ekm)),
  ...row(21, 0, '09:00:01', tokenFor(ekm, K1)),
  ...row(22, 0, '09:00:02', audit('KeyList', { by: ekm, call: '/keys' })),
  ...row(23, 0, '09:00:03', get(ekm, sql01)),
  ...row(24, 0, '09:05:11', wrap(ekm, sql01)),
  ...row(25, 0, '09:06:20', wrap(ekm, sql01)),
  ...row(26, 0, '09:07:00', ...times(2, unwrap(ekm, sql01))),
  ...row(27, 0, '10:00:00', role('write', omar, { role: roles.serviceEncryptionUser, to: mi, scope: `${VAULT}/keys/orders-tde` })),
  ...row(28, 0, '10:03:00', tokenFor(mi)),
  ...row(29, 0, '10:03:05', serverKeyWrite(lena, orders.version)),
  ...row(30, 0, '10:03:06', get(mi, orders)),
  ...row(31, 0, '10:04:00', protectorWrite(lena, orders.version)),
  ...row(32, 0, '10:04:05', ...times(3, wrap(mi, orders))),
  ...daily(331),
  ...row(34, 1, '02:00:10', tokenFor(ekm, K1)),
  ...row(35, 1, '02:00:12', get(ekm, sql01), ...times(2, unwrap(ekm, sql01))),
  // Row 36: the instance asks for nothing from day 2 to day 90, and that is normal.
  ...row(37, 91, '09:00:00', signIn(ines, 'u3')),
  ...row(38, 91, '09:05:00', vaultAudit('VaultGet', ines), audit('KeyList', { by: ines, call: '/keys' }), get(ines, orders)),
  ...row(39, 200, '00:00:00', audit('KeyRotateIfDue', { ...ordersNext, call: '/keys/orders-tde/rotate' })),
  ...row(40, 200, '07:12:00', unwrap(mi, orders), ...times(3, wrap(mi, ordersNext))),
  ...row(41, 330, '09:00:00', audit('KeyCreate', { by: omar, ...sql01Next, call: '/keys/sql01-tde-2/create', amr: 'pwd,mfa', properties: keyProperties(twoYearsAfter(330, '09:00:00')) })),
  ...row(42, 330, '10:00:00', get(ekm, sql01Next), unwrap(ekm, sql01), ...times(2, wrap(ekm, sql01Next))),
]

// --- Files, as diagnostic settings deliver them: one container a category ---
const files: Readonly<Record<Category, string>> = {
  AuditEvent: 'insights-logs-auditevent.jsonl',
  Activity: 'insights-activity-logs.json',
  AuditLogs: 'insights-logs-auditlogs.jsonl',
  SignInLogs: 'insights-logs-signinlogs.jsonl',
  ServicePrincipalSignInLogs: 'insights-logs-serviceprincipalsigninlogs.jsonl',
  ManagedIdentitySignInLogs: 'insights-logs-managedidentitysigninlogs.jsonl',
}
const byTime = (a: Entry, b: Entry) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0)

export interface LogFile {
  readonly name: string
  readonly entries: readonly Entry[]
  readonly text: string
}
/** Blobs of JSON lines; those of the Activity log here in the form that Event Hubs delivers, with `records` around them. */
export const filesOf = (entries: readonly Entry[]): LogFile[] =>
  Object.entries(files).flatMap(([category, name]) => {
    const own = entries.filter((one) => one.category === category).sort(byTime)
    const lines = own.map((one) => JSON.stringify(one.record))
    const text =
      category === 'Activity' ? `{"records":[\n${lines.join(',\n')}\n]}\n` : `${lines.join('\n')}\n`
    return own.length === 0 ? [] : [{ name, entries: own, text }]
  })

/** All that is generated in examples/azure-sql/. */
export const exampleFiles = [...filesOf(scenario), { name: 'databases.yml', text: register }]
