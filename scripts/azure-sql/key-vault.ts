// Records of a vault, category AuditEvent. Shape: Key Vault logging, and the columns of AZKVAuditLogs.
import {
  type Caller,
  dataClaims,
  digest,
  type Fields,
  guid,
  keyUrl,
  type Made,
  managementClaims,
  VAULT,
  VAULT_URL,
} from './callers.ts'

interface AuditFacts {
  readonly by?: Caller
  /** Object in the vault, with the version if the record has one. */
  readonly key?: string
  readonly version?: string
  /** Path of the request below the object, or below the vault when there is no object. */
  readonly call?: string
  readonly status?: number
  readonly properties?: Fields
  /** Methods that the token repeats; usually the first one only. */
  readonly amr?: string
  readonly more?: Fields
}
const phrases: Readonly<Record<number, string>> = { 200: 'OK', 401: 'Unauthorized', 403: 'Forbidden' }
const header = (id: string, by: Caller | undefined, claim: Fields) => ({
  category: 'AuditEvent',
  resultType: 'Success', // "Success" whatever became of the request: the status tells
  durationMs: String(11 + (Number.parseInt(digest(id).slice(0, 4), 16) % 60)),
  ...(by !== undefined && { callerIpAddress: by.ip }),
  correlationId: guid(`correlation ${id}`),
  resourceId: VAULT.toUpperCase(),
  identity: { claim },
})

/** A call of the data plane. */
export const audit =
  (operationName: string, facts: AuditFacts = {}): Made =>
  ({ row, time, id }) => {
    const { by, key, version, status = 200, call } = facts
    const base = key === undefined ? VAULT_URL : keyUrl(key, version)
    const path = call?.startsWith('/') ? `${VAULT_URL}${call}` : call === undefined ? base : `${base}/${call}`
    const record = {
      time,
      operationName,
      operationVersion: '7.4',
      ...header(id, by, by === undefined || status === 401 ? {} : dataClaims(by, facts.amr ?? 'pwd')),
      resultSignature: phrases[status],
      properties: {
        ...(key !== undefined && { id: keyUrl(key, version) }),
        ...(by !== undefined && by.agent !== '' && { clientInfo: by.agent }),
        requestUri: `${path}?api-version=7.4`,
        httpStatusCode: status,
        tlsVersion: 'TLS1_2',
        ...(status !== 401 && by !== undefined && { isRbacAuthorized: true, isAddressAuthorized: true }),
        ...facts.properties,
      },
      ...facts.more,
    }
    return { row, category: 'AuditEvent', time, record }
  }

/** The vault's own record of a call through Azure Resource Manager. */
export const vaultAudit =
  (operationName: string, by: Caller, properties: Fields = {}): Made =>
  ({ row, time, id }) => ({
    row,
    category: 'AuditEvent',
    time,
    record: {
      time,
      operationName,
      operationVersion: '2023-07-01',
      ...header(id, by, managementClaims(by)),
      resultSignature: 'OK',
      properties: {
        id: `${VAULT_URL}/`,
        clientInfo: 'azure-resource-manager/2.0',
        requestUri: `https://management.azure.com${VAULT}?api-version=2023-07-01`,
        httpStatusCode: 200,
        ...properties,
      },
    },
  })

export const keyProperties = (expires: number, enabled = true): Fields => ({
  keyProperties: { type: 'RSA-HSM', size: 3072, attributes: { enabled, exp: expires } },
})
