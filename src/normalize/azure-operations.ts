/**
 * Azure operation names and what they mean: the one table of scope and mapping for Key Vault, Managed HSM, the
 * Activity log and Entra.
 *
 * Key services keep every name, unknown ones as operation `unknown`; of the Activity log and of Entra only
 * the names below are taken. Sources: Key Vault logging, Azure resource provider operations, Entra audit
 * activity reference. Managed HSM publishes no list of names: its rules are patterns.
 */
import { memoText } from '../model/memo.ts'
import { entry } from './json.ts'
import { as, type Mapping } from './mapping.ts'

/** Names that are remembered with what was found for them: feeds use a few hundred. */
const MAX_NAMES = 2000

const weaken = { effect: 'weaken' } as const
const strengthen = { effect: 'strengthen' } as const
const high = { criticality: 'high' } as const

export const vaultOperations: Readonly<Record<string, Mapping>> = {
  Authentication: as('authenticate', 'vault'),
  CertificateBackup: as('backup', 'certificate'),
  CertificateContactsDelete: as('update_metadata', 'certificate'),
  CertificateContactsGet: as('read_metadata', 'certificate'),
  CertificateContactsSet: as('update_metadata', 'certificate'),
  CertificateCreate: as('create', 'certificate'),
  CertificateDelete: as('schedule_deletion', 'certificate', { criticality: 'high' }),
  CertificateEnroll: as('rotate', 'certificate'),
  CertificateExpiredEventGridNotification: as('expired', 'certificate'),
  CertificateGet: as('read_metadata', 'certificate'),
  CertificateGetDeleted: as('read_metadata', 'certificate', { criticality: 'low' }),
  CertificateImport: as('import', 'certificate'),
  CertificateIssuerDelete: as('update_metadata', 'certificate', {
    criticality: 'high',
    category: 'access_control',
  }),
  CertificateIssuerGet: as('read_metadata', 'certificate'),
  CertificateIssuerSet: as('update_metadata', 'certificate', {
    criticality: 'high',
    category: 'access_control',
  }),
  CertificateIssuerUpdate: as('update_metadata', 'certificate', {
    criticality: 'high',
    category: 'access_control',
  }),
  CertificateIssuersList: as('list', 'certificate'),
  CertificateList: as('list', 'certificate', { criticality: 'low' }),
  CertificateListDeleted: as('list', 'certificate', { criticality: 'low' }),
  CertificateListVersions: as('list', 'certificate'),
  CertificateNearExpiryEventGridNotification: as('expiry_near', 'certificate'),
  CertificatePendingDelete: as('schedule_deletion', 'certificate', { criticality: 'medium' }),
  CertificatePendingGet: as('read_metadata', 'certificate'),
  CertificatePendingMerge: as('update_metadata', 'certificate', { category: 'lifecycle' }),
  CertificatePendingUpdate: as('update_metadata', 'certificate', { category: 'lifecycle' }),
  CertificatePolicyGet: as('read_metadata', 'certificate'),
  CertificatePolicySet: as('update_metadata', 'certificate', { category: 'lifecycle' }),
  CertificatePolicyUpdate: as('update_metadata', 'certificate', { category: 'lifecycle' }),
  CertificatePurge: as('destroy', 'certificate'),
  CertificateRecover: as('cancel_deletion', 'certificate'),
  CertificateRenew: as('rotate', 'certificate'),
  CertificateRestore: as('restore', 'certificate'),
  CertificateUpdate: as('update_metadata', 'certificate'),
  KeyBackup: as('backup', 'key'),
  KeyCreate: as('create', 'key'),
  KeyDecrypt: as('decrypt', 'key'),
  KeyDelete: as('schedule_deletion', 'key'),
  KeyEncrypt: as('encrypt', 'key'),
  KeyExpiredEventGridNotification: as('expired', 'key'),
  KeyGet: as('read_metadata', 'key'),
  KeyGetDeleted: as('read_metadata', 'key', { criticality: 'low' }),
  KeyImport: as('import', 'key'),
  KeyList: as('list', 'key'),
  KeyListDeleted: as('list', 'key', { criticality: 'low' }),
  KeyListVersions: as('list', 'key'),
  KeyNearExpiryEventGridNotification: as('expiry_near', 'key'),
  KeyPurge: as('destroy', 'key'),
  KeyRecover: as('cancel_deletion', 'key'),
  KeyRestore: as('restore', 'key'),
  KeyRotate: as('rotate', 'key'),
  KeyRotateIfDue: as('rotate', 'key', { criticality: 'info' }),
  KeyRotationPolicyGet: as('read_metadata', 'key'),
  KeyRotationPolicySet: as('rotation_policy_change', 'key'),
  KeySign: as('sign', 'key'),
  KeyUnwrap: as('unwrap', 'key'),
  KeyUpdate: as('update_metadata', 'key', { category: 'lifecycle' }),
  KeyVerify: as('verify', 'key'),
  KeyWrap: as('wrap', 'key'),
  SecretBackup: as('backup', 'secret'),
  SecretDelete: as('schedule_deletion', 'secret', { criticality: 'high' }),
  SecretExpiredEventGridNotification: as('expired', 'secret'),
  SecretGet: as('read_secret_value', 'secret'),
  SecretGetDeleted: as('read_metadata', 'secret', { criticality: 'low' }),
  SecretList: as('list', 'secret', { criticality: 'low' }),
  SecretListDeleted: as('list', 'secret', { criticality: 'low' }),
  SecretListVersions: as('list', 'secret'),
  SecretNearExpiryEventGridNotification: as('expiry_near', 'secret'),
  SecretPurge: as('destroy', 'secret'),
  SecretRecover: as('cancel_deletion', 'secret'),
  SecretRestore: as('restore', 'secret'),
  SecretSet: as('create', 'secret'),
  SecretUpdate: as('update_metadata', 'secret'),
  VaultAccessPolicyChangedEventGridNotification: as('policy_change', 'vault', { criticality: 'high' }),
  VaultDelete: as('container_delete', 'vault'),
  VaultGet: as('read_metadata', 'vault'),
  VaultPatch: as('container_update', 'vault'),
  VaultPurge: as('container_purge', 'vault'), // of the documentation of 2020
  VaultPut: as('container_update', 'vault'),
  VaultRecover: as('container_recover', 'vault'),
}

const byLowerCase: Readonly<Record<string, Mapping>> = Object.fromEntries(
  Object.entries(vaultOperations).map(([name, mapping]) => [name.toLowerCase(), mapping]),
)

const release = as('export', 'key')
const anyRead = /(Get|List|Status)/

/** First match wins. */
const hsmRules: readonly (readonly [test: RegExp, mapping: Mapping])[] = [
  [/^SecurityDomain/i, as('security_domain', 'hsm')],
  [/^RoleAssignment(Create|Put|Set)/i, as('role_assign', 'role_assignment')],
  [/^RoleAssignmentDelete/i, as('role_unassign', 'role_assignment')],
  [/^RoleDefinition(Create|Put|Set|Delete)/i, as('role_definition_change', 'role_definition')],
  [/^RoleAssignment.*(Get|List)/i, as('read_policy', 'role_assignment')],
  [/^RoleDefinition.*(Get|List)/i, as('read_policy', 'role_definition')],
  [/^(Full)?Backup/i, as('backup', 'hsm')],
  [/^Key.*Restore/i, as('restore', 'key', { criticality: 'critical' })],
  [/Restore/i, as('restore', 'hsm', { criticality: 'critical' })],
  [/^KeyRelease/i, release],
  [/Ekm.*unwrap|unwrap.*Ekm/i, as('unwrap', 'ekm_connection')],
  [/Ekm.*wrap|wrap.*Ekm/i, as('wrap', 'ekm_connection', { criticality: 'medium' })],
  [/^EkmProxyOperation/i, as('unwrap', 'ekm_connection')],
  [/Ekm/i, as('keystore_change', 'ekm_connection', high)],
]

/** Request paths, for names that no rule has. */
const hsmPaths: readonly (readonly [test: RegExp, mapping: Mapping])[] = [
  [/^\/securitydomain\/(download|upload)/, as('security_domain', 'hsm')],
  [/\/providers\/microsoft\.authorization\/roleassignments\//, as('role_assign', 'role_assignment')],
  [
    /\/providers\/microsoft\.authorization\/roledefinitions\//,
    as('role_definition_change', 'role_definition'),
  ],
  [/^\/backup(\/|$)/, as('backup', 'hsm')],
  [/^\/restore(\/|$)/, as('restore', 'hsm', { criticality: 'critical' })],
]

/** The name that a verb of the data plane stands for, as request paths and data actions spell it. */
const verbs: Readonly<Record<string, string>> = {
  read: 'get',
  write: 'create',
  wrapkey: 'wrap',
  unwrapkey: 'unwrap',
  getsecret: 'get',
  setsecret: 'set',
}

const verbOf = (kind: string, verb: string): Mapping | undefined => {
  if (kind === 'key' && verb === 'release') return release
  if (kind === 'secret' && verb === 'write') return entry(byLowerCase, 'secretset')
  return entry(byLowerCase, `${kind}${entry(verbs, verb) ?? verb}`)
}

const unlisted = (native: string, hsm: boolean): Mapping => {
  const object = /^Key/.test(native)
    ? 'key'
    : /^Secret/.test(native)
      ? 'secret'
      : /^Cert/.test(native)
        ? 'certificate'
        : hsm
          ? 'hsm'
          : 'vault'
  return as('unknown', object, hsm && !anyRead.test(native) ? high : {})
}

const pathOf = (uri: string | undefined): string =>
  /^https?:\/\/[^/?#]*([^?#]*)/.exec(uri?.slice(0, 2048).toLowerCase() ?? '')?.[1] ?? ''

/** The verb at the end of a path below a key. */
const PATH_VERB = /^\/keys\/[^/]+(?:\/[0-9a-f]{32})?\/([a-z]+)$/

export interface Found {
  readonly mapping: Mapping
  /** A table or a rule has it. */
  readonly listed: boolean
}

/** @param hsm the record is of a Managed HSM */
export const vaultMapping = (native: string, hsm: boolean, uri: string | undefined): Found => {
  if (hsm) {
    const rule = hsmRules.find(([test]) => test.test(native))?.[1]
    if (rule !== undefined) {
      const proxied = /^EkmProxyOperation/i.test(native) && /\/wrap/.test(pathOf(uri))
      return {
        mapping: proxied ? as('wrap', 'ekm_connection', { criticality: 'medium' }) : rule,
        listed: true,
      }
    }
  }
  const named = entry(vaultOperations, native) ?? (/^KeyRelease/i.test(native) ? release : undefined)
  if (named !== undefined) return { mapping: named, listed: true }
  const read = anyRead.test(native)
  const path = pathOf(uri)
  const verb = PATH_VERB.exec(path)?.[1] ?? ''
  const below = !read && (hsm || verb === 'release') ? verbOf('key', verb) : undefined
  if (below !== undefined) return { mapping: below, listed: true }
  const byPath = hsm ? hsmPaths.find(([test]) => test.test(path))?.[1] : undefined
  if (byPath === undefined) return { mapping: unlisted(native, hsm), listed: false }
  const role = byPath.operation === 'role_assign' || byPath.operation === 'role_definition_change'
  if (role && read) return { mapping: as('read_policy', byPath.object), listed: true }
  const removed = byPath.operation === 'role_assign' && /Delete/.test(native)
  return { mapping: removed ? as('role_unassign', 'role_assignment') : byPath, listed: true }
}

/** What else must hold for an action to concern keys. */
export type Condition =
  /** the resource is a vault or HSM, inside one, or above one (resource group, subscription, tenant) */
  | 'key_scope'
  /** the request names an encryption key */
  | 'encryption'
  /** the plan of Defender for Key Vault */
  | 'vault_plan'

export interface ActivityRow {
  readonly test: RegExp
  readonly mapping: Mapping
  readonly only?: Condition
}

const row = (test: RegExp, mapping: Mapping, only?: Condition): ActivityRow =>
  only === undefined ? { test, mapping } : { test, mapping, only }

const feedOnly = { ingestPath: true } as const
const storage = as('storage_encryption_change', 'storage')
const roleScoped = 'key_scope'

/** Actions of the Activity log, lower-cased; first match wins. */
const activity: readonly ActivityRow[] = [
  row(/^microsoft\.keyvault\/vaults\/write$/, as('container_update', 'vault')),
  row(/^microsoft\.keyvault\/managedhsms\/write$/, as('container_update', 'hsm')),
  row(/^microsoft\.keyvault\/vaults\/accesspolicies\/write$/, as('policy_change', 'vault')),
  row(/^microsoft\.keyvault\/vaults\/delete$/, as('container_delete', 'vault')),
  row(/^microsoft\.keyvault\/managedhsms\/delete$/, as('container_delete', 'hsm')),
  row(/^microsoft\.keyvault\/locations\/deletedvaults\/purge\/action$/, as('container_purge', 'vault')),
  row(/^microsoft\.keyvault\/locations\/deletedmanagedhsms\/purge\/action$/, as('container_purge', 'hsm')),
  row(
    /^microsoft\.keyvault\/(vaults|managedhsms)\/privateendpointconnections[^/]*\/(write|delete|action)$/,
    as('network_change', 'private_endpoint'),
  ),
  row(/^microsoft\.authorization\/roleassignments\/write$/, as('role_assign', 'role_assignment'), roleScoped),
  row(
    /^microsoft\.authorization\/roleassignments\/delete$/,
    as('role_unassign', 'role_assignment'),
    roleScoped,
  ),
  row(/^microsoft\.authorization\/elevateaccess\/action$/, as('role_assign', 'role_assignment')),
  row(/^microsoft\.authorization\/roledefinitions\//, as('role_definition_change', 'role_definition')),
  row(
    /^microsoft\.authorization\/locks\/write$/,
    as('policy_change', 'guardrail', { ...high, ...strengthen }),
  ),
  row(/^microsoft\.authorization\/locks\/delete$/, as('policy_change', 'guardrail', { ...high, ...weaken })),
  row(
    /^microsoft\.authorization\/policyassignments\/delete$/,
    as('policy_change', 'guardrail', { ...high, ...weaken }),
  ),
  row(/^microsoft\.authorization\/policyassignments\//, as('policy_change', 'guardrail', high)),
  row(
    /^microsoft\.authorization\/policyexemptions\/write$/,
    as('policy_change', 'guardrail', { ...high, ...weaken }),
  ),
  row(
    /^microsoft\.resources\/subscriptions\/resourcegroups\/delete$/,
    as('container_delete', 'resource_group'),
  ),
  row(/^microsoft\.storage\/storageaccounts\/write$/, storage, 'encryption'),
  row(/^microsoft\.storage\/storageaccounts\/encryptionscopes\/write$/, storage),
  row(
    /^microsoft\.security\/pricings\/write$/,
    as('logging_disable', 'security_service', high),
    'vault_plan',
  ),
  row(
    /^microsoft\.insights\/diagnosticsettings\/delete$/,
    as('logging_disable', 'diagnostic_setting', weaken),
    'key_scope',
  ),
  row(
    /^microsoft\.insights\/diagnosticsettings\/write$/,
    as('logging_change', 'diagnostic_setting'),
    'key_scope',
  ),
  row(
    /^microsoft\.eventhub\/namespaces(\/eventhubs)?\/delete$|^microsoft\.operationalinsights\/workspaces\/delete$/,
    as('logging_disable', 'log_destination', feedOnly),
  ),
  row(
    /^microsoft\.eventhub\/namespaces(\/eventhubs)?\/authorizationrules\//,
    as('logging_change', 'log_destination', feedOnly),
  ),
  row(/^microsoft\.sql\/(servers|managedinstances)\/keys\/(write|delete)$/, storage),
  row(
    /^microsoft\.sql\/(servers|managedinstances)\/encryptionprotector\/(write|revalidate\/action)$/,
    storage,
  ),
  row(/^microsoft\.sql\/servers\/databases\/write$/, storage, 'encryption'),
  row(
    /^microsoft\.sql\/servers\/databases\/(encryptionprotector\/)?(revalidate|revert)(\/action)?$/,
    storage,
  ),
  row(/make(managed)?(database|db)inaccessible(\/action)?$/, as('key_access_lost', 'storage')),
  row(/make(managed)?(database|db)accessible(\/action)?$/, as('key_access_restored', 'storage')),
]

const DATA_ACTION =
  /^microsoft\.keyvault\/(?:vaults|managedhsms)\/(key|secret|certificate)s\/(?:[^/]+\/)*?([a-z]+)(?:\/action)?$/

/** An extension resource is named behind the resource it belongs to. */
export const actionOf = memoText((native) => {
  const action = native.slice(0, 512).toLowerCase().trim()
  const behind = action.lastIndexOf('/providers/')
  return behind < 0 ? action : action.slice(behind + '/providers/'.length)
}, MAX_NAMES)

/** @param action as `actionOf` gives it @returns `null` for one that is out of scope */
export const activityRow = memoText((action): (ActivityRow & Found) | null => {
  const found = activity.find(({ test }) => test.test(action))
  if (found !== undefined) return { ...found, listed: true }
  const [, kind = '', verb = ''] = DATA_ACTION.exec(action) ?? []
  if (kind === '') return null
  const mapping = verbOf(kind, verb)
  if (mapping === undefined && !/\/(action|write|delete)$/.test(action)) return null
  const object = kind === 'key' ? 'key' : kind === 'secret' ? 'secret' : 'certificate'
  return { test: DATA_ACTION, mapping: mapping ?? as('unknown', object), listed: mapping !== undefined }
}, MAX_NAMES)

export interface EntraRow {
  readonly test: RegExp
  readonly mapping: Mapping
  /** What kind of identity is made, or that it is gone. */
  readonly kind?: 'application' | 'service_principal' | 'deleted'
}

const identity = as('identity_change', 'identity')
const credential = as('credential_change', 'credential')
const assigned = as('role_assign', 'role_assignment')

/** Activities of Entra audit logs, as `activityOf` spells them. */
const entra: readonly EntraRow[] = [
  { test: /^(add|update) application$/, mapping: identity, kind: 'application' },
  { test: /^(add|update) service principal$/, mapping: identity, kind: 'service_principal' },
  {
    test: /^(remove service principal|delete application)$/,
    mapping: as('identity_change', 'identity', high),
    kind: 'deleted',
  },
  { test: /^(update|create) application - certificates and secrets management$/, mapping: credential },
  { test: /^add service principal credentials$/, mapping: credential },
  { test: /^remove service principal credentials$/, mapping: as('credential_change', 'credential', weaken) },
  { test: /^[a-z]+ federated identity credential$/, mapping: credential },
  { test: /^add owner to (application|service principal)$/, mapping: assigned },
  { test: /^add app role assignment to service principal$/, mapping: assigned },
  { test: /^(consent to application|add delegated permission grant)$/, mapping: assigned },
  { test: /^add (eligible )?member to role( in pim)?( completed)?( \([a-z -]+\))?$/, mapping: assigned },
  { test: /^user has elevated their access to user access administrator\b/, mapping: assigned },
  {
    test: /\bdeleted security info$|^disable strong authentication$/,
    mapping: as('mfa_change', 'identity', weaken),
  },
]

/** Entra writes dashes of several kinds and blanks at the end. */
export const activityOf = memoText(
  (name) =>
    name
      .slice(0, 512)
      .replace(/[\u2010-\u2015]/g, '-')
      .replace(/\s+/g, ' ')
      .trim()
      .toLowerCase(),
  MAX_NAMES,
)

/** @param activity as `activityOf` gives it @returns `null` for one that is out of scope */
export const entraRow = memoText(
  (activity) => entra.find(({ test }) => test.test(activity)) ?? null,
  MAX_NAMES,
)

export const signIn = as('authenticate', 'identity')
