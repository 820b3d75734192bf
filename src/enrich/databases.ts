/**
 * What the database register says of an event: which entry it concerns, what part the caller plays in it, whether
 * that was to be expected, and whether the databases may lose their key by it. A rule decides what follows.
 */
import { BlockList } from 'node:net'
import type { KeyEvent } from '../model/event.ts'
import type { Knowledge } from '../model/knowledge.ts'
import type { Operation } from '../model/operations.ts'
import { wildcardMatch } from '../model/wildcard.ts'
import { holdsAt } from './effective.ts'

type Database = Knowledge['databases'][number]
type Labels = Readonly<Record<string, string>>

/** What of an entry an event is about; `caller`: only its principal calls. */
type Part = 'key' | 'store' | 'principal' | 'server' | 'caller'
/** In order: the first that holds is shown. */
const roles = ['principal', 'backup_identity', 'registrar', 'key_admin', 'database_admin', 'auditor'] as const
type Role = (typeof roles)[number]

/** An entry made ready for look-ups; all ids in small letters. */
interface Entry {
  readonly source: Database
  readonly keys: readonly string[]
  /** Names of the vaults and HSMs that hold its keys. */
  readonly stores: ReadonlySet<string>
  readonly server: string
  /** Ids by which its identities are known. */
  readonly principals: ReadonlySet<string>
  readonly people: Readonly<Record<Role, ReadonlySet<string>>>
  readonly credentials: ReadonlySet<string>
  readonly networks: BlockList | undefined
}

const STORE = /^https:\/\/([^./]+)\./
const lower = (all: readonly (string | undefined)[]): ReadonlySet<string> =>
  new Set(all.flatMap((one) => one?.toLowerCase() ?? []))

const networksOf = (all: readonly string[]): BlockList | undefined => {
  if (all.length === 0) return undefined
  const list = new BlockList()
  for (const one of all) {
    const [address = '', bits] = one.split('/')
    list.addSubnet(address, Number(bits), address.includes(':') ? 'ipv6' : 'ipv4')
  }
  return list
}

const entryOf = (source: Database): Entry => {
  const keys = source.keys.map((one) => one.key_id.toLowerCase())
  const principals = lower(source.principals.flatMap((one) => [one.oid, one.appid, one.application]))
  return {
    source,
    keys,
    stores: lower(keys.map((key) => STORE.exec(key)?.[1])),
    server: source.server.toLowerCase(),
    principals,
    people: {
      principal: principals,
      backup_identity: lower([source.backup_identity]),
      registrar: lower(source.principals.flatMap((one) => one.registrars)),
      key_admin: lower(source.key_admins),
      database_admin: lower(source.database_admins),
      auditor: lower(source.auditors),
    },
    credentials: lower(source.principals.flatMap((one) => one.credential_ids)),
    networks: networksOf(source.networks),
  }
}

const idsOf = ({ id, principal, name, application, type }: KeyEvent['actor']): readonly string[] => [
  // a person's application is the program that was used, not who used it
  ...lower([id, principal, name, type === 'user' ? undefined : application]),
]

const isKeyOf = ({ keys }: Entry, id: string | undefined): boolean =>
  id !== undefined && keys.some((key) => wildcardMatch(key, id.toLowerCase()))

/** A server by its resource id or by its last name, with what is in it. */
const isServerOf = ({ server }: Entry, container: string): boolean =>
  server !== '' && `${container}/`.includes(server.startsWith('/') ? `${server}/` : `/${server}/`)

const STORE_RESOURCE = /\/(?:deleted)?(?:vaults|managedhsms)\/([^/]+)/

const partOf = (entry: Entry, event: KeyEvent): Part | undefined => {
  const { target, change } = event
  const container = target.container?.toLowerCase() ?? ''
  const given = lower((change?.bindings ?? []).map(({ member }) => member))
  if (target.object_type === 'storage' && isServerOf(entry, container)) return 'server'
  if (target.object_type !== 'storage' && isKeyOf(entry, target.key_id)) return 'key'
  if (entry.principals.has(container) || [...given].some((member) => entry.principals.has(member)))
    return 'principal'
  if (isServerOf(entry, container)) return 'server'
  // another key in the same vault is nobody's business here
  if (target.key_id === undefined && entry.stores.has(STORE_RESOURCE.exec(container)?.[1] ?? ''))
    return 'store'
  return idsOf(event.actor).some((id) => entry.principals.has(id)) ? 'caller' : undefined
}

const looking: readonly Operation[] = ['read_metadata', 'list', 'read_policy', 'read_public_key']

/** Whether the entry lets its people do that, then. */
const isPlanned = (entry: Entry, event: KeyEvent, part: Part, mine: ReadonlySet<Role>): boolean => {
  const { operation, change, time } = event
  if (mine.has('principal') && part === 'key') return operation !== 'backup'
  if (mine.has('backup_identity') && operation === 'backup') return true
  if (mine.has('auditor') && looking.includes(operation)) return true
  if (!entry.source.change_windows.some((one) => holdsAt(one, time.event))) return false
  if (part === 'principal' && change?.bindings === undefined) return mine.has('registrar')
  if (operation === 'credential_change') return mine.has('registrar')
  const added = (change?.bindings ?? []).flatMap((one) => (one.action === 'add' ? [one.member] : []))
  const known = ({ principal, key_admin, auditor }: Entry['people'], member: string | undefined) =>
    member !== undefined && [principal, key_admin, auditor].some((set) => set.has(member.toLowerCase()))
  return part === 'server'
    ? mine.has('database_admin')
    : mine.has('key_admin') && added.every((member) => known(entry.people, member))
}

const destroying: readonly Operation[] = [
  'disable',
  'schedule_deletion',
  'destroy',
  'container_delete',
  'container_purge',
]

/** Whether new network rules of the store shut the server out: its networks, or the service it comes by. */
const isShutOut = ({ source, networks }: Entry, settings: Labels): boolean => {
  const closed = settings['network_default_action']?.toLowerCase() === 'deny'
  const off = settings['public_network_access']?.toLowerCase() === 'disabled'
  if (source.platform === 'azure_sql' || source.platform === 'azure_sql_mi')
    return (closed || off) && !/azureservices/i.test(settings['network_bypass'] ?? '')
  if (networks === undefined) return false
  const allowed = networksOf((settings['network_ip_rules'] ?? '').split(',').flatMap(cidr))
  const isIn = (network: string) => {
    const [address = ''] = network.split('/')
    return allowed?.check(address, address.includes(':') ? 'ipv6' : 'ipv4') ?? false
  }
  return off || (closed && !source.networks.every(isIn))
}

/** An address stands for itself. */
const cidr = (rule: string): string[] => {
  const text = rule.trim()
  if (text === '') return []
  return [text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`]
}

/** What takes the key away from the databases, if the event does. */
const riskOf = (entry: Entry, event: KeyEvent, part: Part): string | undefined => {
  const { operation, change, target } = event
  if ((part === 'key' || part === 'store') && destroying.includes(operation)) return part
  const removed = (change?.bindings ?? []).some(
    ({ action, member }) => action === 'remove' && entry.principals.has(member?.toLowerCase() ?? ''),
  )
  if (removed && (operation === 'role_unassign' || operation === 'policy_change')) return 'permission'
  const gone = change?.settings?.['kind'] === 'deleted' || target.new_state === 'disabled'
  if (part === 'principal' && operation === 'identity_change' && gone) return 'identity'
  const settings = part === 'store' ? change?.settings : undefined
  return settings !== undefined && isShutOut(entry, settings) ? 'network' : undefined
}

const LINK = /\/keys\/(?:delete|remove)$/i

/** What a change of the server's encryption makes of its protector. */
const protectorOf = (entry: Entry, { operation, operation_native, change }: KeyEvent): string | undefined => {
  if (operation !== 'storage_encryption_change') return undefined
  if (change?.settings?.['key_source']?.toLowerCase() === 'servicemanaged') return 'service_managed'
  if (LINK.test(operation_native)) return 'removed'
  const store = STORE.exec(change?.settings?.['kms_key_id']?.toLowerCase() ?? '')?.[1]
  return store !== undefined && !entry.stores.has(store) ? 'foreign' : undefined
}

const MINUTE_MS = 60_000
/** Azure SQL: after half an hour without the key a database no longer heals itself (Azure SQL, TDE, inaccessible). */
const HEALS_MS = 30 * MINUTE_MS

const deadlineOf = ({ source: { platform } }: Entry, event: KeyEvent): string =>
  platform === 'azure_sql' || platform === 'azure_sql_mi'
    ? new Date(Date.parse(event.time.event) + HEALS_MS).toISOString()
    : 'the next restart'

const labelsOf = (entry: Entry, event: KeyEvent, part: Part): Labels => {
  const { source, people, credentials, networks } = entry
  const { actor, network, operation } = event
  const ids = idsOf(actor)
  const mine = new Set(roles.filter((role) => ids.some((id) => people[role].has(id))))
  const [role] = roles.filter((one) => mine.has(one))
  const risk = riskOf(entry, event, part)
  const protector = protectorOf(entry, event)
  const ip = network.source_ip
  const outside =
    mine.has('principal') &&
    networks !== undefined &&
    ip !== undefined &&
    !networks.check(ip, ip.includes(':') ? 'ipv6' : 'ipv4')
  const signedIn = mine.has('principal') && operation === 'authenticate' && credentials.size > 0
  const credential = signedIn ? actor.credential_id?.toLowerCase() : undefined
  return {
    database_id: source.id,
    database_platform: source.platform,
    database_server: [source.server.split('/').at(-1), ...source.databases].join(', ').slice(0, 256),
    database_part: part,
    ...(role && { database_role: role }),
    ...(isPlanned(entry, event, part, mine) && { database_planned: 'true' }),
    ...(outside && { database_network: 'outside' }),
    ...(credential && { database_credential: credentials.has(credential) ? 'known' : 'unknown' }),
    ...(protector && { database_protector: protector }),
    ...(risk && { database_risk: risk, database_deadline: deadlineOf(entry, event) }),
  }
}

/** In order: what an event is about rather than what it is near. */
const parts: readonly (string | undefined)[] = ['key', 'principal', 'server', 'store', 'caller']

/**
 * A vault may serve several entries: one that is at risk counts first, then one whose people planned it, then the
 * one that the event is most about.
 * @param databases the register @returns labels of the entry that an event concerns; none without one
 */
export const databaseLabeler = (
  databases: readonly Database[],
): ((event: KeyEvent) => Labels | undefined) => {
  const entries = databases.map(entryOf)
  const weight = ({ database_risk, database_planned, database_part }: Labels) =>
    (database_risk === undefined ? 0 : 100) +
    (database_planned === undefined ? 0 : 10) -
    parts.indexOf(database_part)
  return (event) => {
    let best: Labels | undefined
    for (const entry of entries) {
      const part = holdsAt(entry.source, event.time.event) ? partOf(entry, event) : undefined
      if (part === undefined) continue
      const labels = labelsOf(entry, event, part)
      if (best === undefined || weight(labels) > weight(best)) best = labels
    }
    return best
  }
}
