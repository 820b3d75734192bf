/** The calm base records of Azure tests: a case states what differs. Shapes: Azure Monitor, Event Hubs form. */
import { defaultConfig } from '../../src/model/config.ts'
import { type KeyEvent, keyEvent } from '../../src/model/event.ts'
import type { Normalized } from '../../src/model/outcome.ts'
import type { NormalizeSettings } from '../../src/normalize/format.ts'
import { formats } from '../../src/normalize/index.ts'

export type AzureRecord = Record<string, unknown>

export const TENANT = '11111111-0000-4000-8000-000000000001'
export const SUBSCRIPTION = '22222222-0000-4000-8000-000000000002'
export const OID = '33333333-0000-4000-8000-000000000003'
export const APPID = '44444444-0000-4000-8000-000000000004'
export const GROUP = `/subscriptions/${SUBSCRIPTION}/resourcegroups/keys`
export const VAULT = `${GROUP}/providers/microsoft.keyvault/vaults/kv-payments`
export const HSM = `${GROUP}/providers/microsoft.keyvault/managedhsms/hsm-payments`
export const VERSION = '0123456789abcdef0123456789abcdef'
export const KEY = 'https://kv-payments.vault.azure.net/keys/orders'

export const userClaims = {
  oid: OID,
  appid: '04b07795-8ddb-461a-bbee-02f9e1bf7b46',
  scp: 'user_impersonation',
  upn: 'omar@example.com',
  amr: 'pwd',
  iss: `https://sts.windows.net/${TENANT}/`,
}
export const appClaims = { oid: OID, appid: APPID, appidacr: '1', idtyp: 'app' }

const details = {
  id: `${KEY}/${VERSION}`,
  clientInfo: 'azsdk-net-Security.KeyVault.Keys/4.6.0',
  requestUri: `${KEY}/${VERSION}/decrypt?api-version=7.4`,
  httpStatusCode: 200,
  tlsVersion: 'TLS1_3',
  isRbacAuthorized: true,
}

/** A decryption by a person. Members of `properties` are laid over those of the base record. */
export const audit = (change: AzureRecord = {}, properties: AzureRecord = {}): AzureRecord => ({
  time: '2026-03-02T09:00:00.1234567Z',
  category: 'AuditEvent',
  operationName: 'KeyDecrypt',
  operationVersion: '7.4',
  resultType: 'Success',
  resultSignature: 'OK',
  durationMs: '12',
  callerIpAddress: '198.51.100.20',
  correlationId: '55555555-0000-4000-8000-000000000005',
  resourceId: VAULT.toUpperCase(),
  identity: { claim: userClaims },
  tenantId: TENANT,
  properties: { ...details, ...properties },
  ...change,
})

const long = {
  'http://schemas.microsoft.com/identity/claims/objectidentifier': OID,
  'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn': 'omar@example.com',
  'http://schemas.microsoft.com/claims/authnmethodsreferences': 'pwd,mfa',
  appid: 'c44b4083-3bb0-49c1-b47d-974e53cbdf3c',
  uti: 'u2',
}

/** Terminal record of an action in the Activity log. */
export const activity = (
  operationName: string,
  change: AzureRecord = {},
  properties: AzureRecord = {},
): AzureRecord => ({
  time: '2026-03-02T09:00:00.1234567Z',
  resourceId: VAULT.toUpperCase(),
  operationName,
  category: 'Administrative',
  resultType: 'Success',
  resultSignature: 'Succeeded.OK',
  durationMs: 0,
  callerIpAddress: '198.51.100.20',
  correlationId: '66666666-0000-4000-8000-000000000006',
  identity: { authorization: { action: operationName }, claims: long },
  level: 'Information',
  properties: { eventCategory: 'Administrative', ...properties },
  ...change,
})

export const entraAudit = (
  operationName: string,
  properties: AzureRecord = {},
  change: AzureRecord = {},
): AzureRecord => ({
  time: '2026-03-02T09:00:00.1234567Z',
  resourceId: `/tenants/${TENANT}/providers/Microsoft.aadiam`,
  operationName,
  operationVersion: '1.0',
  category: 'AuditLogs',
  tenantId: TENANT,
  resultSignature: 'None',
  durationMs: 0,
  callerIpAddress: '<null>',
  correlationId: '77777777-0000-4000-8000-000000000007',
  identity: 'Lena',
  properties: {
    id: `Directory_${operationName}`,
    category: 'ApplicationManagement',
    correlationId: '77777777-0000-4000-8000-000000000007',
    result: 'success',
    resultReason: '',
    activityDisplayName: operationName,
    activityDateTime: '2026-03-02T09:00:00.1234567Z',
    initiatedBy: { user: { id: OID, userPrincipalName: 'lena@example.com', ipAddress: '198.51.100.10' } },
    targetResources: [{ id: 'o-1', displayName: 'sp-sql01', type: 'Application', modifiedProperties: [] }],
    additionalDetails: [{ key: 'User-Agent', value: 'Mozilla/5.0' }],
    ...properties,
  },
  ...change,
})

export const signIn = (category: string, properties: AzureRecord = {}, change: AzureRecord = {}) => ({
  time: '2026-03-02T09:00:05Z',
  resourceId: `/tenants/${TENANT}/providers/Microsoft.aadiam`,
  operationName: 'Sign-in activity',
  category,
  tenantId: TENANT,
  resultType: '0',
  resultSignature: 'None',
  callerIpAddress: '198.51.100.10',
  properties: {
    id: 'req-1',
    createdDateTime: '2026-03-02T09:00:00.1234567Z',
    appId: APPID,
    ipAddress: '198.51.100.10',
    status: { errorCode: 0 },
    uniqueTokenIdentifier: 'u1',
    resourceDisplayName: 'Azure Key Vault',
    ...properties,
  },
  ...change,
})

/** The outcome of one record by the format that takes it, before enrichment. */
export const normalized = (value: AzureRecord, settings: Partial<NormalizeSettings> = {}): Normalized => {
  const format = Object.values(formats).find((one) => one.recognizes(value))
  if (format === undefined) return { kind: 'rejected', reason: 'unknown_format', detail: 'no format' }
  const raw = {
    feed_id: 'test',
    transport: 'event_hubs' as const,
    place: 'hub/0',
    number: 1,
    bytes: Buffer.from(JSON.stringify(value)),
    members: undefined,
    envelopeTime: undefined,
    received: '2026-03-02T09:10:00Z',
  }
  return format.normalize(value, raw, { ...defaultConfig, ...settings })
}

/** The event of a record that must become one, checked against the schema. */
export const eventOf = (value: AzureRecord, settings: Partial<NormalizeSettings> = {}): KeyEvent => {
  const result = normalized(value, settings)
  if (result.kind !== 'event') throw new Error(`no event: ${JSON.stringify(result)}`)
  return keyEvent.parse(result.event)
}
