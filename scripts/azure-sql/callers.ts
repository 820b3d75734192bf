// Places, callers and their claims. Every value follows from a name, so two runs give the same records.
import { createHash } from 'node:crypto'

export type Value = string | number | boolean | null | undefined | readonly Value[] | Fields
export type Fields = { readonly [name: string]: Value }
export type Category =
  | 'AuditEvent'
  | 'Activity'
  | 'AuditLogs'
  | 'SignInLogs'
  | 'ServicePrincipalSignInLogs'
  | 'ManagedIdentitySignInLogs'
export interface Entry {
  /** Row of the scenario. */
  readonly row: number
  readonly category: Category
  readonly time: string
  readonly record: Fields
}
/** A record that waits for its time. */
export type Made = (stamp: { readonly row: number; readonly time: string; readonly id: string }) => Entry

export const digest = (text: string) => createHash('sha256').update(text).digest('hex')
/** A GUID that follows from a name. */
export const guid = (name: string): string => {
  const hex = digest(name)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
/** A key version: 32 hex digits. */
export const versionOf = (key: string, number: number): string => digest(`${key}/${number}`).slice(0, 32)

// --- Places ---
export const TENANT = guid('tenant')
export const SUBSCRIPTION = guid('subscription')
export const VAULT = `/subscriptions/${SUBSCRIPTION}/resourceGroups/rg-keys/providers/Microsoft.KeyVault/vaults/kv-sqltde`
export const SERVER = `/subscriptions/${SUBSCRIPTION}/resourceGroups/rg-sql/providers/Microsoft.Sql/servers/sql-orders`
export const VAULT_URL = 'https://kv-sqltde.vault.azure.net'
export const keyUrl = (key: string, version?: string): string =>
  [VAULT_URL, 'keys', key, ...(version === undefined ? [] : [version])].join('/')

// --- Callers ---
export interface Caller {
  readonly kind: 'person' | 'application' | 'managed_identity'
  readonly name: string
  readonly oid: string
  readonly appid: string
  readonly ip: string
  readonly agent: string
}
const PORTAL = 'c44b4083-3bb0-49c1-b47d-974e53cbdf3c'
export const CLI = '04b07795-8ddb-461a-bbee-02f9e1bf7b46'
const browser = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:139.0) Gecko/20100101 Firefox/139.0'
export const person = (name: string, ip: string, tool: 'portal' | 'cli' = 'portal'): Caller => ({
  kind: 'person',
  name: `${name}@example.com`,
  oid: guid(`oid ${name}`),
  appid: tool === 'cli' ? CLI : PORTAL,
  ip,
  agent: tool === 'cli' ? 'AZURECLI/2.73.0 (DEB) azsdk-python-core/1.31.0 Python/3.12.10' : browser,
})
export const application = (name: string, ip: string, agent: string): Caller => ({
  kind: 'application',
  name,
  oid: guid(`oid ${name}`),
  appid: guid(`appid ${name}`),
  ip,
  agent,
})
/** No page says what the SQL Server Connector and Azure SQL call themselves: here they have no user agent. */
export const managedIdentity = (name: string, ip: string): Caller => ({
  ...application(name, ip, ''),
  kind: 'managed_identity',
})
export const from = (caller: Caller, ip: string): Caller => ({ ...caller, ip })

export const issuer = `https://sts.windows.net/${TENANT}/`
/** Claims of a token for the vault itself: short names. */
export const dataClaims = (by: Caller, amr: string): Fields => {
  const { oid, appid } = by
  const own = { aud: 'cfa8b339-82a2-471a-a3c9-0fc0be7a4093', iss: issuer, appid, oid }
  if (by.kind === 'person')
    return {
      ...own,
      amr,
      appidacr: '0',
      ipaddr: by.ip,
      scp: 'user_impersonation',
      unique_name: by.name,
      upn: by.name,
    }
  return by.kind === 'application'
    ? { ...own, appidacr: '1', idtyp: 'app' }
    : { ...own, appidacr: '2', idtyp: 'app', xms_mirid: SERVER.replace('resourceGroups', 'resourcegroups') }
}
/** Claims of a token for Azure Resource Manager: long names, no `amr`. */
export const managementClaims = (by: Caller): Fields => ({
  'http://schemas.microsoft.com/identity/claims/objectidentifier': by.oid,
  ...(by.kind === 'person'
    ? { 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn': by.name }
    : { idtyp: 'app', appidacr: '2' }),
  appid: by.appid,
})
