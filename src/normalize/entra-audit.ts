/** Entra audit logs: applications, credentials, roles, MFA methods. Shape: Microsoft Graph, directoryAudit. */
import type { KeyEvent } from '../model/event.ts'
import { bindingsOf, type Change, changed, settingsOf } from './azure-change.ts'
import { keyOf } from './azure-event.ts'
import { isFirstParty } from './azure-identity.ts'
import type { EntraRow } from './azure-operations.ts'
import { type Result, resultOf } from './azure-outcome.ts'
import type { View } from './azure-record.ts'
import type { Party, Told } from './entra-told.ts'
import { list, string } from './json.ts'
import { embedded, fold, type Members, scalar } from './members.ts'
import { type Cuts, utc } from './text.ts'

interface Resource {
  readonly id: string | undefined
  readonly type: string
  /** Old and new value of what was modified, by name. */
  readonly modified: ReadonlyMap<string, readonly [before: string, after: string]>
}

/** Values are JSON inside a text: `"[\"a\"]"`, `"\"a\""`, `"null"`. */
const unpacked = (value: unknown): string => {
  const text = string(value)
  if (text === undefined || text === 'null') return ''
  const from = embedded(text.startsWith('"') ? `[${text}]` : text)
  return Array.isArray(from) ? from.map(scalar).join(',') : text
}

const MAX_RESOURCES = 16
const MAX_MODIFIED = 200

const resourcesOf = (all: Members): readonly Resource[] =>
  list(embedded(all.at('targetresources')))
    .slice(0, MAX_RESOURCES)
    .map((one) => {
      const resource = fold(one)
      const properties = list(embedded(resource.at('modifiedproperties')))
        .slice(0, MAX_MODIFIED)
        .map(fold)
      const modified = properties.map((property) => {
        const values = [unpacked(property.at('oldvalue')), unpacked(property.at('newvalue'))] as const
        return [scalar(property.at('displayname')).toLowerCase(), values] as const
      })
      return {
        id: string(resource.at('id')),
        type: scalar(resource.at('type')).toLowerCase(),
        modified: new Map(modified),
      }
    })

/** The first of these names that was given a value. */
const newValue = (resources: readonly Resource[], ...names: readonly string[]): string | undefined =>
  names
    .flatMap((name) => resources.map(({ modified }) => modified.get(name)?.[1]))
    .find((value) => value !== undefined && value !== '')

const KEY_ID = /KeyIdentifier=([^,\]]{1,128})(?:,KeyType=([^,\]]{1,64}))?/g
const MAX_LIST_CHARS = 65_536

const credentialsIn = (text: string): Map<string, string> =>
  new Map([...text.slice(0, MAX_LIST_CHARS).matchAll(KEY_ID)].map(([, id = '', type = '']) => [id, type]))

type Binding = NonNullable<Change['bindings']>[number]

/** Credentials that were added and removed: the difference of the two lists. */
const credentialBindings = (resources: readonly Resource[]): Binding[] =>
  resources.flatMap(({ modified }) => {
    const [before = '', after = ''] = modified.get('keydescription') ?? []
    const old = credentialsIn(before)
    const now = credentialsIn(after)
    const only = (from: Map<string, string>, other: Map<string, string>, action: string): Binding[] =>
      [...from]
        .filter(([id]) => !other.has(id))
        .map(([member, type]) => ({ action, role: type || undefined, member }))
    return [...only(now, old, 'add'), ...only(old, now, 'remove')]
  })

/** Who receives which role, of an assignment, an ownership or a consent. */
const assignedBinding = (activity: string, resources: readonly Resource[]): Binding => {
  const first = resources.find((one) => one.type === 'user') ?? resources[0]
  const owner = activity.startsWith('add owner')
  const app = activity.includes('app role assignment')
  return {
    action: 'add',
    role: owner
      ? 'owner'
      : newValue(
          resources,
          'role.displayname',
          'approle.value',
          'consentaction.permissions',
          'delegatedpermissiongrant.scope',
        ),
    member: (app ? newValue(resources, 'serviceprincipal.objectid') : undefined) ?? first?.id,
  }
}

/** What the activity is about: of an ownership the application, not the person; of a role the directory. */
const containerOf = (activity: string, resources: readonly Resource[], directory: string) => {
  if (/member to role|elevated/.test(activity)) return directory
  if (!activity.startsWith('add owner')) return resources[0]?.id
  return (
    resources.find((one) => one.type !== 'user')?.id ??
    newValue(resources, 'application.objectid', 'serviceprincipal.objectid')
  )
}

const detailOf = (all: Members, key: string): unknown =>
  list(embedded(all.at('additionaldetails')))
    .map(fold)
    .find((one) => scalar(one.at('key')).toLowerCase() === key)
    ?.at('value')

const initiatorOf = (all: Members): Party & { readonly ip: unknown } => {
  const by = fold(all.at('initiatedby'))
  const user = fold(by.at('user'))
  const app = fold(by.at('app'))
  const id = string(user.at('id'))
  const name = string(user.at('userprincipalname'))
  const ip = user.at('ipaddress')
  if (id !== undefined || name !== undefined)
    return { id, name, appid: undefined, type: 'user', by: 'human', ip }
  const appid = string(app.at('appid'))
  const principal = string(app.at('serviceprincipalid'))
  const display = string(app.at('displayname'))
  const known = (appid ?? principal ?? display) !== undefined
  return {
    id: principal,
    name: display,
    appid,
    type: known ? 'service_principal' : 'unknown',
    by: isFirstParty(appid) ? 'cloud_service' : known ? 'workload' : 'unknown',
    ip,
  }
}

const REFUSED = /insufficient privileges|access denied|unauthorized|forbidden/i

const outcomeOf = (all: Members, cuts: Cuts): Result => {
  const code = scalar(all.at('result')).toLowerCase()
  const message = string(all.at('resultreason'))
  const failed = code === 'failure' || code === 'timeout'
  const refused = failed && REFUSED.test(message ?? '')
  const outcome = code === 'success' ? code : refused ? 'denied' : failed ? 'failure' : 'unknown'
  return resultOf({ outcome, status: undefined, conflict: false, code, message }, cuts)
}

/** A change of credentials comes with a second record that has no values: both are one action. */
const PAIRED = /^(update application)( - certificates and secrets management)?$/

const mfaOf = (by: KeyEvent['initiated_by']): KeyEvent['auth'] => ({
  mfa: by === 'human' || by === 'unknown' ? 'unknown' : 'not_applicable',
  mfa_source: 'none',
})

/**
 * @param activity the native name as `activityOf` spells it
 * @param directory canonical id of the directory
 */
export const audited = (
  { all }: View,
  native: string,
  activity: string,
  row: EntraRow,
  directory: string,
  cuts: Cuts,
): Told => {
  const { mapping, kind } = row
  const resources = resourcesOf(all)
  const party = initiatorOf(all)
  const paired = PAIRED.exec(activity)?.[1]
  const correlation = string(all.at('correlationid'))
  const disabled =
    mapping.object === 'identity' && newValue(resources, 'accountenabled')?.toLowerCase() === 'false'
  const role = mapping.object === 'role_assignment'
  const credentials = mapping.object === 'credential' ? credentialBindings(resources) : []
  const removed = credentials.length > 0 && credentials.every((one) => one.action === 'remove')
  const expires = detailOf(all, 'expirationtime') ?? newValue(resources, 'expirationtime')
  return {
    native,
    mapping: disabled ? { ...mapping, criticality: 'high' } : mapping,
    effect: removed ? 'weaken' : undefined,
    result: outcomeOf(all, cuts),
    action:
      paired === undefined || correlation === undefined
        ? undefined
        : keyOf('entra', correlation, paired, resources[0]?.id),
    party,
    auth: mfaOf(party.by),
    ip: party.ip,
    agent: detailOf(all, 'user-agent'),
    container: containerOf(activity, resources, directory),
    disabled,
    change: changed({
      settings: settingsOf([['kind', kind]], cuts),
      bindings: bindingsOf(role ? [assignedBinding(activity, resources)] : credentials, cuts),
      expires_at: role ? utc(expires) : undefined,
    }),
  }
}
