/** Fields that a detector may name beside those of the event: what follows from several of them. */
import type { KeyEvent } from '../model/event.ts'
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
const RETRIEVING = ['KeyGet', 'CertificateGet', 'VaultGet']

const among =
  (operations: readonly Operation[]): Test =>
  ({ operation }) =>
    operations.includes(operation)
const effect =
  (operations: readonly Operation[], wanted: KeyEvent['operation_effect']): Test =>
  ({ operation, operation_effect }) =>
    operation_effect === wanted && operations.includes(operation)
const either =
  (...tests: readonly Test[]): Test =>
  (event) =>
    tests.some((test) => test(event))

/** First match: an operation that sets a policy on the way is about the policy. */
const classes: readonly (readonly [name: string, test: Test])[] = [
  ...Object.entries(CRYPTOGRAPHIC).map(([name, operations]) => [name, among(operations)] as const),
  [
    'POL',
    either(
      among(POL),
      (event) => among(['create', 'replicate'])(event) && event.change?.policy !== undefined,
      (event) =>
        event.operation === 'container_update' &&
        (event.change?.bindings !== undefined || (event.change?.flags?.includes('rbac_toggle') ?? false)),
    ),
  ],
  ['DES', either(among(DES), effect(['keystore_change', 'alias_change'], 'weaken'))],
  ['REC', either(among(REC), effect(['keystore_change'], 'strengthen'))],
  ['EXP', among(EXP)],
  ['LIF', among(LIF)],
  [
    'RET',
    either(
      among(['read_secret_value', 'read_public_key']),
      (event) => event.operation === 'read_metadata' && RETRIEVING.includes(event.operation_native),
    ),
  ],
  ['META', among(['read_metadata', 'read_policy', 'list'])],
]

const classOf = (event: KeyEvent): string | undefined => classes.find(([, test]) => test(event))?.[0]

/** `::` stands for as many zero groups as are missing. */
const expand = (address: string): string[] => {
  const [head = '', tail] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(8 - left.length - right.length, 0)
  return [...left, ...new Array<string>(zeros).fill('0'), ...right]
}

/** The network a call came from: its autonomous system where known, else the /16 or /48 of its address. */
const originOf = ({ network: { asn, source_ip } }: KeyEvent): string | undefined => {
  if (asn !== undefined) return `AS${asn}`
  if (source_ip === undefined) return undefined
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(source_ip)?.[1] ?? source_ip
  if (!mapped.includes(':')) return `${mapped.split('.').slice(0, 2).join('.')}.0.0/16`
  const groups = expand(mapped).slice(0, 3)
  return `${groups.map((one) => Number.parseInt(one, 16).toString(16)).join(':')}::/48`
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

type Derived = (event: KeyEvent) => string | readonly string[] | undefined

export const derivedFields: ReadonlyMap<string, Derived> = new Map<string, Derived>([
  ['class', classOf],
  ['network.origin', originOf],
  ['change.granted', rolesGranted],
  ['change.self_grant', selfGrant],
])
