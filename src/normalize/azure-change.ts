/**
 * What an Azure record changes: settings and access policies of a vault, role assignments, keys behind storage
 * and databases, diagnostic settings. Names are plain (see `fold`). Shapes: ARM templates of
 * Microsoft.KeyVault/vaults, Microsoft.Authorization/roleAssignments, Microsoft.Sql/servers/encryptionProtector,
 * Microsoft.Storage/storageAccounts and Microsoft.Insights/diagnosticSettings.
 */
import type { ChangeFlag, KeyEvent } from '../model/event.ts'
import { list, string, strings } from './json.ts'
import { dig, embedded, fold, type Members, scalar } from './members.ts'
import { type Cuts, field } from './text.ts'

export type Change = NonNullable<KeyEvent['change']>
type Binding = NonNullable<Change['bindings']>[number]
type Setting = readonly [name: string, value: unknown]

/** The change without what is absent; nothing when nothing is left. */
export const changed = (change: Change): Change | undefined =>
  Object.values(change).some((one) => one !== undefined) ? change : undefined

export const settingsOf = (pairs: readonly Setting[], cuts: Cuts): Change['settings'] => {
  const settings: Record<string, string> = Object.create(null)
  for (const [name, value] of pairs) {
    const text = field(value, 1024, 'change.settings', cuts)
    if (text !== undefined) settings[name] = text
  }
  return Object.keys(settings).length > 0 ? settings : undefined
}

const flagsOf = (...flags: readonly (ChangeFlag | false)[]): ChangeFlag[] | undefined => {
  const set = flags.filter((one) => one !== false)
  return set.length > 0 ? set : undefined
}

const MAX_BINDINGS = 64

export const bindingsOf = (bindings: readonly Binding[], cuts: Cuts): Change['bindings'] => {
  if (bindings.length > MAX_BINDINGS) cuts.push('change.bindings')
  const kept = bindings.slice(0, MAX_BINDINGS).map((one) => ({
    action: field(one.action, 32, 'change.bindings.action', cuts),
    role: field(one.role, 512, 'change.bindings.role', cuts),
    member: field(one.member, 512, 'change.bindings.member', cuts),
    condition: field(one.condition, 4096, 'change.bindings.condition', cuts),
  }))
  return kept.length > 0 ? kept : undefined
}

const words = (value: unknown): string => strings(embedded(value)).join(',')

/** One access policy, as `keys:get,list;secrets:get`; nested or as columns with one prefix. */
const policyBinding = (policy: Members, prefix: string, action: string): Binding[] => {
  const at = (first: string, second?: string) => {
    if (prefix !== '') return dig(policy, prefix, first, second)
    return second === undefined ? policy.at(first) : dig(policy, first, second)
  }
  const member = string(at('objectid'))
  const role = ['keys', 'secrets', 'certificates', 'storage']
    .map((kind) => [kind, words(at('permissions', kind))])
    .filter(([, granted]) => granted !== '')
    .map((pair) => pair.join(':'))
    .join(';')
  return member === undefined ? [] : [{ action, role, member }]
}

const vaultFields: readonly (readonly [member: string, setting: string])[] = [
  ['enablerbacauthorization', 'rbac_authorization'],
  ['publicnetworkaccess', 'public_network_access'],
  ['enablepurgeprotection', 'purge_protection'],
  ['softdeleteretentionindays', 'soft_delete_days'],
  ['enabledfordeployment', 'enabled_for_deployment'],
  ['enabledfordiskencryption', 'enabled_for_disk_encryption'],
  ['enabledfortemplatedeployment', 'enabled_for_template_deployment'],
]

/**
 * Settings, access policies and flags of a vault or HSM. Flags say what the record shows: an attribute that is
 * not mentioned is not off.
 * @param action add, or what the path of an access policy call says
 * @param owner tenant of the vault
 */
export const vaultChange = (vault: Members, action: string, owner: unknown, cuts: Cuts): Change => {
  const rules = dig(vault, 'networkacls', 'iprules')
  const addresses = list(embedded(rules)).flatMap((one) => string(fold(one).at('value')) ?? [])
  const entries = list(embedded(vault.at('accesspolicies'))).map(fold)
  const own = string(owner)?.toLowerCase()
  const purge = vault.at('enablepurgeprotection')
  const foreign = entries.some((one) => {
    const tenant = string(one.at('tenantid'))?.toLowerCase()
    return action === 'add' && own !== undefined && tenant !== undefined && tenant !== own
  })
  return {
    settings: settingsOf(
      [
        ...vaultFields.map(([member, setting]): Setting => [setting, vault.at(member)]),
        ['network_default_action', dig(vault, 'networkacls', 'defaultaction')],
        ['network_bypass', dig(vault, 'networkacls', 'bypass')],
        ['network_ip_rules', dig(vault, 'addediprule', 'value') ?? (addresses.join(',') || undefined)],
      ],
      cuts,
    ),
    bindings: bindingsOf(
      [
        ...entries.flatMap((one) => policyBinding(one, '', action)),
        ...policyBinding(vault, 'addedaccesspolicy', 'add'),
        ...policyBinding(vault, 'removedaccesspolicy', 'remove'),
      ],
      cuts,
    ),
    flags: flagsOf(
      (purge === null || scalar(purge) === 'false') && 'purge_protection_off',
      scalar(vault.at('enablerbacauthorization')) === 'false' && 'rbac_toggle',
      scalar(dig(vault, 'networkacls', 'defaultaction')).toLowerCase() === 'allow' && 'network_open',
      foreign && 'external_account',
    ),
  }
}

/** The role by its id, which is the same everywhere for the roles Azure brings along. */
export const roleChange = (assignment: Members, action: 'add' | 'remove', cuts: Cuts): Change => {
  const member = string(assignment.at('principalid'))
  const role = string(assignment.at('roledefinitionid'))?.toLowerCase().split('/').at(-1)
  const condition = string(assignment.at('condition'))
  return {
    bindings:
      member === undefined && role === undefined
        ? undefined
        : bindingsOf([{ action, role, member, condition }], cuts),
    flags: flagsOf(
      action === 'add' &&
        scalar(assignment.at('principaltype')).toLowerCase() === 'foreigngroup' &&
        'external_account',
    ),
  }
}

/** The key that a storage account, an encryption scope, a server or a database is encrypted with. */
export const encryptionOf = (body: Members) => {
  const encryption = fold(body.at('encryption'))
  const vault = fold(encryption.at('keyvaultproperties') ?? body.at('keyvaultproperties'))
  const base = string(vault.at('keyvaulturi'))?.replace(/\/+$/, '')
  const name = string(vault.at('keyname'))
  const version = string(vault.at('keyversion'))
  const source =
    string(encryption.at('keysource')) ?? string(body.at('serverkeytype')) ?? string(body.at('source'))
  const uri =
    string(body.at('uri')) ??
    string(vault.at('keyuri')) ??
    string(body.at('encryptionprotector')) ??
    fold(body.at('keys')).names[0] ??
    (base === undefined || name === undefined
      ? undefined
      : [base, 'keys', name, ...(version === undefined ? [] : [version])].join('/'))
  return {
    source,
    uri,
    automatic: body.at('autorotationenabled') ?? body.at('encryptionprotectorautorotation'),
  }
}

export const encryptionChange = (encryption: ReturnType<typeof encryptionOf>, cuts: Cuts): Change => ({
  settings: settingsOf(
    [
      ['key_source', encryption.source],
      ['kms_key_id', encryption.uri],
      ['auto_rotation', encryption.automatic],
    ],
    cuts,
  ),
})

const AUDIT = /^(auditevent|audit|alllogs)$/

/** @param vault the setting is one of a vault or HSM: then one of the audit categories must stay on */
export const diagnosticChange = (body: Members, vault: boolean, cuts: Cuts) => {
  const logs = list(embedded(body.at('logs'))).map(fold)
  const on = logs.filter((one) => scalar(one.at('enabled')) === 'true')
  const kept = on.some((one) => {
    const category = string(one.at('category')) ?? string(one.at('categorygroup'))
    return !vault || AUDIT.test(category?.toLowerCase() ?? '')
  })
  const known = body.at('logs') !== undefined && body.at('logs') !== null
  const destinations = [
    'eventhubauthorizationruleid',
    'eventhubname',
    'workspaceid',
    'storageaccountid',
    'marketplacepartnerid',
  ].flatMap((name) => string(body.at(name)) ?? [])
  const change: Change = {
    settings: settingsOf([['destination', destinations.join(',') || undefined]], cuts),
    flags: flagsOf(known && !kept && 'logging_reduced'),
  }
  return { change, effect: known ? (kept ? ('strengthen' as const) : ('weaken' as const)) : undefined }
}
