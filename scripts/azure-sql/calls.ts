// The cast of the scenario, and its calls on the vault, the server and the directory.
import { activity } from './activity.ts'
import {
  application,
  type Caller,
  type Entry,
  type Fields,
  guid,
  keyUrl,
  type Made,
  managedIdentity,
  person,
  SERVER,
  VAULT,
  versionOf,
} from './callers.ts'
import { directory, json, secret } from './entra.ts'
import { audit } from './key-vault.ts'

// --- Cast ---
export const lena = person('lena', '198.51.100.10')
export const omar = person('omar', '198.51.100.20', 'cli')
export const ines = person('ines', '198.51.100.30')
export const ekm = application('sp-sql01-ekm', '192.0.2.40', '')
export const mi = managedIdentity('sql-orders', '10.20.0.4')
export const K1 = guid('secret K1')
export const sql01 = { key: 'sql01-tde', version: versionOf('sql01-tde', 1) }
export const sql01Next = { key: 'sql01-tde-2', version: versionOf('sql01-tde-2', 1) }
export const orders = { key: 'orders-tde', version: versionOf('orders-tde', 1) }
export const ordersNext = { key: 'orders-tde', version: versionOf('orders-tde', 2) }
export const appObject = guid('application object sp-sql01-ekm')

// --- Time: day 0 is Monday, 2 June 2025 ---
const DAY_MS = 86_400_000
const DAY_0 = Date.UTC(2025, 5, 2)
export const moment = (day: number, clock: string): string =>
  new Date(DAY_0 + day * DAY_MS).toISOString().slice(0, 11) + clock
export const twoYearsAfter = (day: number, clock: string): number => {
  const at = new Date(`${moment(day, clock)}Z`)
  return at.setUTCFullYear(at.getUTCFullYear() + 2) / 1000
}

/** Records of one row. Those of one second follow each other within it. */
export const row = (number: number, day: number, clock: string, ...made: readonly Made[]): Entry[] =>
  made.map((make, at) => {
    const fraction = String((number * 100 + at) * 1001).padStart(7, '0')
    return make({
      row: number,
      time: `${moment(day, clock)}.${fraction}Z`,
      id: `${number}.${at} day ${day}`,
    })
  })
export const times = (n: number, made: Made): Made[] => Array.from({ length: n }, () => made)

// --- Bodies ---
export const vaultBody = (defaultAction: 'Allow' | 'Deny', ...addresses: readonly string[]): Fields => ({
  enableRbacAuthorization: true,
  enablePurgeProtection: true,
  enableSoftDelete: true,
  softDeleteRetentionInDays: 90,
  networkAcls: {
    defaultAction,
    bypass: 'AzureServices',
    ipRules: addresses.map((value) => ({ value })),
    virtualNetworkRules: [],
  },
})
export const vaultRequest: Fields = {
  location: 'westeurope',
  properties: { sku: { family: 'A', name: 'premium' }, ...vaultBody('Deny', '192.0.2.40/32') },
}
export const diagnostics: Fields = {
  properties: {
    eventHubAuthorizationRuleId: `${VAULT.split('/rg-')[0]}/rg-logs/providers/Microsoft.EventHub/namespaces/eh-logs/authorizationRules/send`,
    eventHubName: 'keys',
    logs: [{ categoryGroup: 'audit', enabled: true }],
  },
}
export const diagnosticSetting = `${VAULT}/providers/Microsoft.Insights/diagnosticSettings/to-hub`
export const rotateAfter350Days: Fields = {
  keyRotationPolicy: {
    lifetimeActions: [{ trigger: { timeAfterCreate: 'P350D' }, action: { type: 'Rotate' } }],
    attributes: { expiryTime: 'P2Y' },
  },
}
const serverKey = (version: string) => `kv-sqltde_orders-tde_${version}`

// --- Calls ---
export const vaultWrite = (by: Caller, properties: Fields): Made =>
  activity('Microsoft.KeyVault/vaults/write', VAULT, by, { request: { location: 'westeurope', properties } })
export const serverKeyWrite = (by: Caller, version: string): Made => {
  const properties = { serverKeyType: 'AzureKeyVault', uri: keyUrl('orders-tde', version) }
  const resource = `${SERVER}/keys/${serverKey(version)}`
  return activity('Microsoft.Sql/servers/keys/write', resource, by, { request: { properties } })
}
export const protectorWrite = (by: Caller, version?: string): Made => {
  const serverKeyType = version === undefined ? 'ServiceManaged' : 'AzureKeyVault'
  const asked = {
    serverKeyType,
    serverKeyName: version === undefined ? serverKeyType : serverKey(version),
    ...(version !== undefined && { autoRotationEnabled: true }),
  }
  const became = { ...asked, ...(version !== undefined && { uri: keyUrl('orders-tde', version) }) }
  const resource = `${SERVER}/encryptionProtector/current`
  const answer = { id: resource, name: 'current', kind: 'azurekeyvault', properties: became }
  const bodies = { request: { properties: asked }, response: answer }
  return activity('Microsoft.Sql/servers/encryptionProtector/write', resource, by, bodies)
}
/** @param operation its companion without values has the same */
export const secretsChanged = (
  by: Caller,
  before: readonly string[],
  after: readonly string[],
  operation?: string,
): Made => {
  const list = (ids: readonly string[]) => json(ids.map((id) => secret(id, 'sql01')))
  const modified = [
    ['KeyDescription', list(before), list(after)],
    ['TargetId.ServicePrincipalNames', null, json(ekm.appid)],
  ] as const
  const resource = { id: appObject, displayName: ekm.name, type: 'Application', modified } as const
  return directory('Update application – Certificates and secrets management ', by, [resource], operation)
}
export const unwrap = (by: Caller, key: typeof orders, facts: object = {}): Made =>
  audit('KeyUnwrap', { by, ...key, call: 'unwrapkey', ...facts })
export const wrap = (by: Caller, key: typeof orders): Made =>
  audit('KeyWrap', { by, ...key, call: 'wrapkey' })
export const get = (by: Caller, key: typeof orders): Made => audit('KeyGet', { by, ...key })
export const unauthenticated = (by: Caller): Made => audit('Authentication', { by, status: 401 })
