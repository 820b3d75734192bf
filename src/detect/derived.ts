/** Fields that a detector may name beside those of the event: what follows from several of them. */
import { z } from 'zod'
import type { KeyEvent } from '../model/event.ts'
import { memo } from '../model/memo.ts'
import type { Operation } from '../model/operations.ts'

type Test = (event: KeyEvent) => boolean
const CRYPTOGRAPHIC: Readonly<Record<string, readonly Operation[]>> = {
  DEC: ['decrypt', 'unwrap', 'derive', 'decapsulate', 'reencrypt'],
  ENC: ['encrypt', 'wrap', 'generate_data_key', 'generate_data_key_pair'],
  SIG: ['sign', 'mac_generate'],
  VER: ['verify', 'mac_verify'],
}
const POL: readonly Operation[] = [
  'policy_change',
  'grant_create',
  'grant_revoke',
  'role_assign',
  'role_unassign',
  'role_definition_change',
]
const DES: readonly Operation[] = [
  'disable',
  'schedule_deletion',
  'destroy',
  'destroy_material',
  'container_delete',
  'container_purge',
  'hsm_delete',
  'backup_delete',
]
const REC: readonly Operation[] = ['cancel_deletion', 'enable', 'restore', 'container_recover']
const EXP: readonly Operation[] = ['backup', 'export', 'security_domain']
const LIF: readonly Operation[] = [
  'create',
  'create_version',
  'import_prepare',
  'import',
  'replicate',
  'synchronize',
  'set_primary',
  'rotate',
  'rotation_policy_change',
  'update_metadata',
  'tag',
  'untag',
  'alias_change',
  'keystore_change',
  'container_create',
  'container_update',
  'hsm_create',
  'hsm_initialize',
  'hsm_update',
  'backup_update',
  'expiry_near',
  'expired',
]
/** Addresses whose network is remembered. */
const MAX_ADDRESSES = 10_000
const RETRIEVING = ['KeyGet', 'CertificateGet', 'VaultGet']

const weakens: Test = ({ operation_effect }) => operation_effect === 'weaken'
const strengthens: Test = ({ operation_effect }) => operation_effect === 'strengthen'

/** First match: an operation that sets a policy on the way is about the policy. */
const classes: readonly (readonly [name: string, operations: readonly Operation[], test?: Test])[] = [
  ...Object.entries(CRYPTOGRAPHIC),
  ['POL', POL],
  ['POL', ['create', 'replicate'], ({ change }) => change?.policy !== undefined],
  [
    'POL',
    ['container_update'],
    ({ change }) => change?.bindings !== undefined || (change?.flags?.includes('rbac_toggle') ?? false),
  ],
  ['DES', DES],
  ['DES', ['keystore_change', 'alias_change'], weakens],
  ['REC', REC],
  ['REC', ['keystore_change'], strengthens],
  ['EXP', EXP],
  ['LIF', LIF],
  ['RET', ['read_secret_value', 'read_public_key']],
  ['RET', ['read_metadata'], ({ operation_native }) => RETRIEVING.includes(operation_native)],
  ['META', ['read_metadata', 'read_policy', 'list']],
]

const classesOf = new Map<string, (typeof classes)[number][]>()
for (const one of classes)
  for (const name of one[1]) classesOf.set(name, [...(classesOf.get(name) ?? []), one])

const classOf = (event: KeyEvent): string | undefined =>
  classesOf.get(event.operation)?.find(([, , test]) => test?.(event) ?? true)?.[0]

/** `::` stands for as many zero groups as are missing. */
const expand = (address: string): string[] => {
  const [head = '', tail] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(8 - left.length - right.length, 0)
  return [...left, ...new Array<string>(zeros).fill('0'), ...right]
}

const prefixOf = memo((address: string) => {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address
  if (!mapped.includes(':')) return `${mapped.split('.').slice(0, 2).join('.')}.0.0/16`
  const groups = expand(mapped).slice(0, 3)
  return `${groups.map((one) => Number.parseInt(one, 16).toString(16)).join(':')}::/48`
}, MAX_ADDRESSES)

/** The network a call came from: its autonomous system where known, else the /16 or /48 of its address. */
const originOf = ({ network: { asn, source_ip } }: KeyEvent): string | undefined => {
  if (asn !== undefined) return `AS${asn}`
  return source_ip === undefined ? undefined : prefixOf(source_ip)
}

/**
 * The data object a call opened: its context where the cloud records one. Azure has no context; there it is the key with its
 * version, since each service keeps its own.
 */
const objectOf = ({ source, target, crypto }: KeyEvent): string | undefined => {
  if (source.provider !== 'azure') return crypto?.context_hash
  return target.key_id && [target.key_id, target.key_version ?? ''].join('/')
}

const granted = ({ change }: KeyEvent) => change?.bindings?.filter(({ action }) => action !== 'remove') ?? []

/** Roles that a change gives, without those it takes away. */
const rolesGranted = (event: KeyEvent): readonly string[] => granted(event).flatMap(({ role }) => role ?? [])

/** Whether a change gives its own author a permission. */
const selfGrant = (event: KeyEvent): string | undefined => {
  const { id, principal, name } = event.actor
  const own = new Set([id, principal, name].map((one) => one?.toLowerCase()))
  return granted(event).some(({ member }) => member !== undefined && own.has(member.toLowerCase()))
    ? 'true'
    : undefined
}

const KMS_ADMIN = 'roles/cloudkms.admin'
const googlePolicy = z.object({
  bindings: z.array(z.object({ role: z.string(), members: z.array(z.string()).default([]) })),
})

const adminsIn = (policy: string): readonly string[] => {
  try {
    const { bindings } = googlePolicy.parse(JSON.parse(policy))
    return bindings.flatMap(({ role, members }) => (role === KMS_ADMIN ? members : []))
  } catch {
    return [] // of another cloud, or cut: change.policy stands in `truncated`
  }
}

/** Whether a policy of Google takes other administrators of a key out and leaves its author alone. */
const soleAdmin = ({ actor, change }: KeyEvent): string | undefined => {
  const own = actor.principal?.toLowerCase()
  const isOwn = (member: string | undefined) => member?.toLowerCase().split(':').at(-1) === own
  const removed = change?.bindings?.some(
    ({ action, role, member }) => action === 'remove' && role === KMS_ADMIN && !isOwn(member),
  )
  if (own === undefined || change?.policy === undefined || !removed) return undefined
  const left = adminsIn(change.policy)
  return left.length > 0 && left.every(isOwn) ? 'true' : undefined
}

type Derived = (event: KeyEvent) => string | readonly string[] | undefined

export const derivedFields: ReadonlyMap<string, Derived> = new Map<string, Derived>([
  ['class', classOf],
  ['network.origin', originOf],
  ['crypto.object', objectOf],
  ['change.granted', rolesGranted],
  ['change.self_grant', selfGrant],
  ['change.sole_admin', soleAdmin],
])
