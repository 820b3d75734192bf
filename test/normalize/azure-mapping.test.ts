/**
 * The Azure rows of the mapping tables in the design documents against the program: one native record per name.
 * Enrichment is left out, so criticality is the table's.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { KeyEvent } from '../../src/model/event.ts'
import { operations } from '../../src/model/operations.ts'
import {
  type AzureRecord,
  activity,
  audit,
  entraAudit,
  GROUP,
  HSM,
  eventOf as normalizedEvent,
  signIn,
  VAULT,
} from '../support/azure.ts'
import { designFolder, hasDesign } from '../support/samples.ts'
import { mappedByScan } from '../support/scan.ts'

/** One record through the normalizer, and the same through the whole scan. */
const eventOf = (...[record, settings]: Parameters<typeof normalizedEvent>): KeyEvent =>
  mappedByScan(record, normalizedEvent(record, settings), settings)

const read = (name: string) => (hasDesign ? readFileSync(join(designFolder, name), 'utf8') : '')
const schema = read('schema.md')
const databases = read('database-keys.md')

const section = (text: string, heading: string): string => {
  const from = text.indexOf(`\n${heading}`)
  return from < 0 ? '' : text.slice(from, text.indexOf('\n#', from + 2))
}
/** Cells of the rows, `\|` kept inside a cell; without heading and rule. */
const rows = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(1)
    .map((line) => line.split(/ *(?<!\\)\| */).slice(1, -1))
const rowWith = (table: readonly string[][], text: string): string[] => {
  const found = table.filter(([first]) => first?.includes(text))
  expect(found, text).toHaveLength(1)
  return found[0] ?? []
}
/** The words of a cell that are operations, in order. */
const operationsIn = (cell = '') =>
  [...cell.matchAll(/\w+/g)].flatMap(([word]) => (word in operations ? [word] : []))

describe.skipIf(!hasDesign)('5.3 Key Vault', () => {
  const table = rows(section(schema, '### 5.3'))
  it('has 78 names', () => expect(table).toHaveLength(78))
  it.each(table)('%s: %s, %s, %s, %s', (name, operation, object, category, criticality) => {
    const event = eventOf(audit({ operationName: name }))
    expect(event).toMatchObject({
      operation,
      operation_native: name,
      operation_category: category,
      criticality,
      target: { object_type: object },
      source: { provider: 'azure', service: 'azure_key_vault' },
    })
    expect(event.parse_warnings).toBeUndefined()
  })
  it('notifications and KeyRotateIfDue stand for nobody', () => {
    const internal = table.map(([name = '']) => name).filter((name) => /EventGrid|KeyRotateIfDue/.test(name))
    expect(internal).toHaveLength(8)
    for (const operationName of internal)
      expect(eventOf(audit({ operationName })).initiated_by, operationName).toBe('cloud_internal')
  })
})

describe.skipIf(!hasDesign)('5.4 Managed HSM', () => {
  const table = rows(section(schema, '### 5.4'))
  /** Text of the row, operation name, which of the row's alternatives, request path. */
  const cases: readonly [row: string, name: string, at: number, path?: string][] = [
    ['^SecurityDomain', 'SecurityDomainDownload', 0],
    ['^SecurityDomain', 'SecurityDomainUpload', 0],
    ['+ Create, Put or Set', 'RoleAssignmentCreate', 0],
    ['+ Create, Put or Set', 'RoleAssignmentPut', 0],
    ['+ Create, Put or Set', 'RoleAssignmentDelete', 1],
    ['+ Create, Put, Set or Delete', 'RoleDefinitionSet', 0],
    ['+ Create, Put, Set or Delete', 'RoleDefinitionDelete', 0],
    ['+ Get or List', 'RoleAssignmentList', 0],
    ['+ Get or List', 'RoleDefinitionGet', 0],
    ['BackupCreate', 'BackupCreate', 0],
    ['BackupCreate', 'FullBackup', 0],
    ['contains `Restore`', 'FullRestore', 0],
    ['contains `Restore`', 'SelectiveKeyRestore', 0],
    ['KeyRelease', 'KeyRelease', 0],
    ['wrap/unwrap', 'EkmWrapKey', 0],
    ['wrap/unwrap', 'EkmUnwrapKey', 1],
    ['wrap/unwrap', 'EkmProxyOperation', 0, '/keys/k/wrapkey'],
    ['wrap/unwrap', 'EkmProxyOperation', 1, '/keys/k/unwrapkey'],
    ['contains `Ekm`, other', 'EkmConnectionUpdate', 0],
    ['anything else', 'SomethingSet', 0],
  ]
  it.each(cases)('%s: %s', (row, operationName, at, path = '') => {
    const [, names, category, criticality = ''] = rowWith(table, row)
    const uri = { requestUri: `https://hsm-payments.managedhsm.azure.net${path}`, id: undefined }
    const event = eventOf(audit({ operationName, resourceId: HSM.toUpperCase() }, uri))
    expect(event).toMatchObject({
      operation: operationsIn(names)[at],
      operation_category: category,
      criticality: criticality.split(' / ')[at] ?? criticality,
      source: { service: 'azure_managed_hsm' },
    })
  })

  it.each([
    ['/securitydomain/download', 'security_domain', 'critical'],
    ['/securitydomain/upload', 'security_domain', 'critical'],
    ['/backup', 'backup', 'high'],
    ['/restore', 'restore', 'critical'],
    ['/keys/providers/Microsoft.Authorization/roleAssignments/1', 'role_assign', 'critical'],
    ['/providers/Microsoft.Authorization/roleDefinitions/1', 'role_definition_change', 'high'],
    ['/keys/orders/create', 'create', 'medium'],
    ['/keys/orders/rotate', 'rotate', 'medium'],
    ['/keys/orders/backup', 'backup', 'high'],
    [`/keys/orders/${'0'.repeat(32)}/release?api-version=7.4`, 'export', 'critical'],
  ])('an unknown name with the path %s: %s', (path, operation, criticality) => {
    const requestUri = `https://hsm-payments.managedhsm.azure.net${path}`
    const record = audit({ operationName: 'Other', resourceId: HSM }, { requestUri })
    expect(eventOf(record)).toMatchObject({ operation, criticality })
  })

  it('names of 5.3 are known', () => {
    const event = eventOf(audit({ operationName: 'KeySign', resourceId: HSM }))
    expect(event).toMatchObject({ operation: 'sign', criticality: 'medium', target: { object_type: 'key' } })
  })

  it('an unknown name of a vault is kept, with a warning', () => {
    const event = eventOf(audit({ operationName: 'RestoreStatus' }))
    expect(event).toMatchObject({
      operation: 'unknown',
      criticality: 'medium',
      parse_warnings: ['unknown_operation'],
    })
  })
})

const body = (properties: object) => ({ requestbody: JSON.stringify({ properties }) })
const at = (resourceId: string) => ({ resourceId })
const SERVER = `${GROUP}/providers/microsoft.sql/servers/sql-orders`
const ingest = { ingest_path: ['ns-logs', 'ws-logs'] }

type Case = readonly [
  row: string,
  action: string,
  alternative: number,
  more?: AzureRecord,
  details?: AzureRecord,
]
const whole = (cases: readonly Case[]) =>
  cases.map(([row, action, at, more = {}, details = {}]) => [row, action, at, more, details] as const)
const keyvault = 'Microsoft.KeyVault'

describe.skipIf(!hasDesign)('5.5 Activity log', () => {
  const table = rows(section(schema, '### 5.5'))
  const created = { resultSignature: 'Succeeded.Created' }
  const hub = at(`${GROUP}/providers/microsoft.eventhub/namespaces/ns-logs/eventhubs/audit`)
  const workspace = at(`${GROUP}/providers/microsoft.operationalinsights/workspaces/ws-logs`)
  const account = at(`${GROUP}/providers/microsoft.storage/storageaccounts/st1`)
  const plan = at(`/subscriptions/1/providers/microsoft.security/pricings/KeyVaults`)
  const encryption = { encryption: { keySource: 'Microsoft.Keyvault' } }
  const cases: readonly Case[] = [
    ['vaults/write, /managedhsms/write', `${keyvault}/vaults/write`, 0],
    ['vaults/write, /managedhsms/write', `${keyvault}/managedHSMs/write`, 0, at(HSM)],
    ['vaults/write, /managedhsms/write', `${keyvault}/vaults/write`, 1, created],
    ['accesspolicies/write', `${keyvault}/vaults/accessPolicies/write`, 0],
    ['vaults/delete, /managedhsms', `${keyvault}/vaults/delete`, 0],
    ['vaults/delete, /managedhsms', `${keyvault}/managedHSMs/delete`, 0, at(HSM)],
    ['deletedvaults/purge', `${keyvault}/locations/deletedVaults/purge/action`, 0],
    ['deletedvaults/purge', `${keyvault}/locations/deletedManagedHsms/purge/action`, 0],
    ['privateendpointconnections', `${keyvault}/vaults/privateEndpointConnections/write`, 0],
    ['privateendpointconnections', `${keyvault}/vaults/privateEndpointConnections/delete`, 0],
    ['privateendpointconnections', `${keyvault}/vaults/privateEndpointConnectionsApproval/action`, 0],
    ['roleassignments/write', 'Microsoft.Authorization/roleAssignments/write', 0],
    ['roleassignments/write', 'Microsoft.Authorization/roleAssignments/delete', 1],
    ['elevateaccess', 'Microsoft.Authorization/elevateAccess/action', 0],
    ['roledefinitions', 'Microsoft.Authorization/roleDefinitions/write', 0],
    ['roledefinitions', 'Microsoft.Authorization/roleDefinitions/delete', 0],
    ['locks/delete', 'Microsoft.Authorization/locks/delete', 0],
    ['locks/delete', 'Microsoft.Authorization/policyAssignments/delete', 0],
    ['locks/delete', 'Microsoft.Authorization/policyAssignments/write', 0],
    ['locks/delete', 'Microsoft.Authorization/policyExemptions/write', 0],
    ['resourcegroups/delete', 'Microsoft.Resources/subscriptions/resourceGroups/delete', 0, at(GROUP)],
    ['storageaccounts/write', 'Microsoft.Storage/storageAccounts/write', 0, account, body(encryption)],
    ['storageaccounts/write', 'Microsoft.Storage/storageAccounts/encryptionScopes/write', 0, account],
    ['pricings', 'Microsoft.Security/pricings/write', 0, plan, body({ pricingTier: 'Free' })],
    ['diagnosticsettings/delete', 'Microsoft.Insights/diagnosticSettings/delete', 0],
    [
      'diagnosticsettings/delete',
      `${keyvault}/vaults/providers/Microsoft.Insights/diagnosticSettings/delete`,
      0,
    ],
    ['diagnosticsettings/write', 'Microsoft.Insights/diagnosticSettings/write', 0],
    ['eventhub/namespaces/delete', 'Microsoft.EventHub/namespaces/delete', 0, hub],
    ['eventhub/namespaces/delete', 'Microsoft.EventHub/namespaces/eventhubs/delete', 0, hub],
    ['eventhub/namespaces/delete', 'Microsoft.OperationalInsights/workspaces/delete', 0, workspace],
    ['eventhub/namespaces/delete', 'Microsoft.EventHub/namespaces/authorizationRules/write', 1, hub],
    ['eventhub/namespaces/delete', 'Microsoft.EventHub/namespaces/authorizationRules/delete', 1, hub],
  ]
  it.each(whole(cases))('%s: %s, alternative %i', (row, action, alternative, more, details) => {
    const [, names, category, criticalities = ''] = rowWith(table, row)
    const levels = criticalities.split(/ \/ |, /)
    for (const name of [action, action.toUpperCase()]) {
      const event = eventOf(activity(name, more, details), ingest)
      expect(event).toMatchObject({
        operation: operationsIn(names)[alternative],
        operation_category: category,
        operation_native: name,
        criticality: levels[alternative] ?? levels[0],
        outcome: 'success',
        source: { service: 'azure_activity', log_type: 'activity' },
      })
      const named = /object_type (\w+)/.exec(names ?? '')?.[1]
      if (named !== undefined) expect(event.target.object_type).toBe(named)
    }
  })

  it.each([
    ['locks/delete', 'weaken'],
    ['policyAssignments/delete', 'weaken'],
    ['policyExemptions/write', 'weaken'],
    ['locks/write', 'strengthen'],
  ])('the effect of %s is %s', (action, effect) => {
    expect(eventOf(activity(`Microsoft.Authorization/${action}`)).operation_effect).toBe(effect)
  })

  const verbs = rows(section(schema, '### 5.3'))
  it.each([
    ['keys/read', 'KeyGet'],
    ['keys/backup/action', 'KeyBackup'],
    ['keys/restore/action', 'KeyRestore'],
    ['keys/recover/action', 'KeyRecover'],
    ['keys/purge/action', 'KeyPurge'],
    ['keys/delete', 'KeyDelete'],
    ['keys/write', 'KeyCreate'],
    ['secrets/getSecret/action', 'SecretGet'],
    ['secrets/purge/action', 'SecretPurge'],
    ['certificates/delete', 'CertificateDelete'],
  ])('the data action %s is %s', (action, name) => {
    const [, operation, object, category, criticality] = verbs.find(([one]) => one === name) ?? []
    const event = eventOf(activity(`MICROSOFT.KEYVAULT/VAULTS/${action}`, at(`${VAULT}/keys/orders`)))
    expect(event).toMatchObject({
      operation,
      operation_category: category,
      criticality,
      target: { object_type: object, container: VAULT },
    })
  })
})

describe.skipIf(!hasDesign)('5.7 and database-keys.md: Entra', () => {
  const companions = rows(section(schema, '### 5.7'))
    .filter(([provider]) => provider === 'Entra')
    .map((cells) => cells.slice(1))
  const activities = rows(section(databases, '### 2.1'))

  it.each([
    ['add member to role', 'Add member to role'],
    ['add member to role', 'Add member to role completed (PIM activation)'],
    ['add member to role', 'Add eligible member to role in PIM completed (timebound)'],
    ['security info', 'User deleted security info'],
    ['security info', 'Admin deleted security info'],
    ['federated credential', 'Add federated identity credential'],
    ['federated credential', 'Remove service principal credentials'],
  ])('%s: %s', (row, name) => {
    const [, operation, object = '', note = ''] = rowWith(companions, row)
    const event = eventOf(entraAudit(name))
    expect(event).toMatchObject({ operation, target: { object_type: object } })
    if (note.includes('weaken')) expect(event.operation_effect).toBe('weaken')
  })

  it.each([
    'SignInLogs',
    'NonInteractiveUserSignInLogs',
    'ServicePrincipalSignInLogs',
    'ManagedIdentitySignInLogs',
  ])('%s: authenticate', (category) => {
    const [, operation, object] = rowWith(companions, 'sign-in logs')
    const event = eventOf(signIn(category))
    expect(event).toMatchObject({
      operation,
      target: { object_type: object },
      source: { log_type: 'signin' },
    })
  })

  const names: readonly [row: string, name: string, kind?: string][] = [
    ['Add application', 'Add application', 'application'],
    ['Add service principal', 'Add service principal', 'service_principal'],
    ['Add owner to application', 'Add owner to application'],
    ['Add owner to application', 'Add owner to service principal'],
    ['Update application – Certificates', 'Update application – Certificates and secrets management '],
    ['Update application – Certificates', 'Update application - Certificates and secrets management'],
    ['Update application – Certificates', 'Add service principal credentials'],
    ['Remove service principal credentials', 'Remove service principal credentials'],
    ['Add app role assignment', 'Add app role assignment to service principal'],
    ['Add app role assignment', 'Consent to application'],
    ['Add app role assignment', 'Add delegated permission grant'],
    ['Update service principal', 'Update service principal'],
  ]
  it.each(names)('%s: %s', (row, name, kind) => {
    const found = activities.filter(([first = '']) => first.startsWith(row))
    const [, , normalized = ''] = found.at(-1) ?? []
    const event = eventOf(entraAudit(name))
    expect(event.operation).toBe(operationsIn(normalized)[0])
    expect(event.operation_native).toBe(name)
    if (kind !== undefined) expect(event.change?.settings?.['kind']).toBe(kind)
  })

  it.each(['Remove service principal', 'Delete application'])('%s: identity_change, deleted', (name) => {
    const event = eventOf(entraAudit(name))
    expect(event).toMatchObject({ operation: 'identity_change', criticality: 'high' })
    expect(event.change?.settings?.['kind']).toBe('deleted')
  })
})

describe.skipIf(!hasDesign)('database-keys.md 4.2: Microsoft.Sql', () => {
  const table = rows(section(databases, '### 4.2'))
  const uri = 'https://kv-payments.vault.azure.net/keys/orders-tde/0123456789abcdef0123456789abcdef'
  const protector = body({ serverKeyType: 'AzureKeyVault', uri, autoRotationEnabled: true })
  const cases: readonly Case[] = [
    ['servers/keys/write', 'Microsoft.Sql/servers/keys/write', 0, {}, protector],
    ['servers/keys/write', 'Microsoft.Sql/servers/keys/delete', 0],
    [
      'servers/encryptionProtector/write',
      'Microsoft.Sql/servers/encryptionProtector/write',
      0,
      {},
      protector,
    ],
    ['managedInstances/keys', 'Microsoft.Sql/managedInstances/keys/write', 0, {}, protector],
    ['databases/write', 'Microsoft.Sql/servers/databases/write', 0, {}, body({ encryptionProtector: uri })],
    ['revalidate/action', 'Microsoft.Sql/servers/encryptionProtector/revalidate/action', 0],
    ['revalidate/action', 'Microsoft.Sql/servers/databases/encryptionProtector/revert/action', 0],
    ['MakeDatabaseInaccessible', 'MakeDatabaseInaccessible', 0],
    [
      'MakeDatabaseInaccessible',
      'Microsoft.Sql/managedInstances/databases/MakeManagedDbInaccessible/action',
      0,
    ],
    ['MakeDatabaseInaccessible', 'MakeManagedDatabaseInaccessible', 0],
    ['MakeDatabaseAccessible', 'MakeDatabaseAccessible', 0],
    ['MakeDatabaseAccessible', 'makemanageddatabaseaccessible', 0],
  ]
  it.each(whole(cases))('%s: %s', (row, action, _, more, details) => {
    const found = table.filter(([first]) => first?.includes(row))
    const [, meaning, last = ''] = found[0] ?? []
    // "same for a managed instance" stands for the rows above it
    const wanted =
      operationsIn(last)[0] ?? (meaning?.includes('same') ? 'storage_encryption_change' : undefined)
    const event: KeyEvent = eventOf(activity(action, { ...at(SERVER), ...more }, details))
    expect(event.operation).toBe(wanted)
    expect(event.operation_category).toBe(operations[event.operation][0])
    expect(event.target).toMatchObject({ object_type: 'storage', container: SERVER })
  })

  it('settings of the protector, with the key it names', () => {
    const record = activity('Microsoft.Sql/servers/encryptionProtector/write', at(SERVER), protector)
    const event = eventOf(record)
    expect(event.change?.settings).toEqual({
      key_source: 'AzureKeyVault',
      kms_key_id: uri,
      auto_rotation: 'true',
    })
    expect(event.target.key_id).toBe('https://kv-payments.vault.azure.net/keys/orders-tde')
    expect(event.criticality).toBe('high')
  })

  it('a protector that the service manages is critical (5.3)', () => {
    const details = body({ serverKeyType: 'ServiceManaged' })
    const record = activity('Microsoft.Sql/servers/encryptionProtector/write', at(SERVER), details)
    expect(eventOf(record)).toMatchObject({
      criticality: 'critical',
      change: { settings: { key_source: 'ServiceManaged' } },
    })
  })

  it('lost access: in progress, then final; nobody called (5.3)', () => {
    const record = (resultType: string) =>
      activity('MakeDatabaseInaccessible', { ...at(SERVER), resultType, resultSignature: '' })
    expect(eventOf(record('Started'))).toMatchObject({
      outcome: 'in_progress',
      initiated_by: 'cloud_internal',
      criticality: 'critical',
    })
    expect(eventOf(record('Succeeded'))).toMatchObject({ outcome: 'success', operation: 'key_access_lost' })
  })
})
