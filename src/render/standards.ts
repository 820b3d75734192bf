/**
 * What the standards share: an operation in the words of each, products by vendor, severities, objects made from rows.
 * Operations follow the field mapping of the schema reference; the lists of words are closed:
 * ASIM EventType https://learn.microsoft.com/azure/sentinel/normalization-schema-audit,
 * CIM action https://docs.splunk.com/Documentation/CIM/latest/User/Change,
 * OCSF activity_id of API Activity https://schema.ocsf.io/1.8.0/classes/api_activity,
 * ECS event.type https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-type
 */
import type { KeyEvent, Service } from '../model/event.ts'
import type { Criticality, Operation } from '../model/operations.ts'

export const asimEventTypes = [
  'Set',
  'Read',
  'Create',
  'Delete',
  'Execute',
  'Install',
  'Clear',
  'Enable',
  'Disable',
  'Other',
] as const
export const cimActions = [
  'acl_modified',
  'cleared',
  'created',
  'deleted',
  'modified',
  'read',
  'stopped',
  'updated',
] as const

type EcsType = 'access' | 'change' | 'creation' | 'deletion' | 'error' | 'info' | 'start'
type Words = readonly [
  asim: (typeof asimEventTypes)[number],
  cim: (typeof cimActions)[number] | undefined,
  ocsf: 0 | 1 | 2 | 3 | 4 | 99,
  ecs: EcsType,
]

const groups: readonly (readonly [...Words, operations: string])[] = [
  [
    'Execute',
    'read',
    2,
    'access',
    'encrypt decrypt generate_random sign verify mac_generate mac_verify derive',
  ],
  ['Execute', 'read', 2, 'access', 'wrap unwrap decapsulate export'],
  ['Execute', 'read', 1, 'access', 'generate_data_key generate_data_key_pair backup'],
  ['Execute', 'read', 3, 'access', 'reencrypt'],
  ['Execute', 'modified', 3, 'change', 'security_domain'],
  ['Create', 'created', 1, 'creation', 'create create_version import replicate restore container_create'],
  ['Create', 'created', 1, 'creation', 'hsm_create storage_write snapshot_copy'],
  ['Create', 'read', 1, 'access', 'import_prepare'],
  ['Create', 'acl_modified', 1, 'change', 'grant_create role_assign'],
  ['Set', 'acl_modified', 3, 'change', 'policy_change role_definition_change snapshot_share'],
  [
    'Set',
    'modified',
    3,
    'change',
    'synchronize set_primary rotate rotation_policy_change cancel_deletion tag',
  ],
  ['Set', 'modified', 3, 'change', 'untag alias_change update_metadata backup_update container_update'],
  [
    'Set',
    'modified',
    3,
    'change',
    'container_recover keystore_change network_change hsm_initialize hsm_update',
  ],
  ['Set', 'modified', 3, 'change', 'storage_encryption_change credential_change logging_change mfa_change'],
  ['Set', 'modified', 3, 'change', 'identity_change'],
  ['Delete', 'acl_modified', 4, 'change', 'grant_revoke role_unassign'],
  ['Delete', 'deleted', 4, 'deletion', 'schedule_deletion destroy destroy_material backup_delete'],
  ['Delete', 'deleted', 4, 'deletion', 'container_delete container_purge hsm_delete'],
  ['Disable', 'stopped', 4, 'deletion', 'logging_disable'],
  ['Disable', 'modified', 3, 'change', 'disable'],
  ['Enable', 'modified', 3, 'change', 'enable'],
  ['Read', 'read', 2, 'info', 'read_metadata read_policy read_public_key list'],
  ['Read', 'read', 2, 'access', 'read_secret_value'],
  ['Other', undefined, 99, 'start', 'authenticate'],
  ['Other', undefined, 99, 'error', 'key_access_lost'],
  ['Other', undefined, 99, 'info', 'key_access_restored expiry_near expired'],
]
const unknownWords: Words = ['Other', undefined, 0, 'info']

const words: ReadonlyMap<string, Words> = new Map(
  groups.flatMap(([asim, cim, ocsf, ecs, names]) =>
    names.split(' ').map((name) => [name, [asim, cim, ocsf, ecs]] as const),
  ),
)

/** An operation in the words of ASIM, CIM (a notification has none), OCSF and ECS. */
export const operationWords = (operation: Operation): Words => words.get(operation) ?? unknownWords

/** Vendor and product as people write them. */
export const products: Readonly<Record<Service, readonly [vendor: string, product: string]>> = {
  aws_kms: ['AWS', 'KMS'],
  aws_cloudhsm: ['AWS', 'CloudHSM'],
  aws_cloudtrail: ['AWS', 'CloudTrail'],
  aws_iam: ['AWS', 'IAM'],
  aws_sts: ['AWS', 'STS'],
  aws_signin: ['AWS', 'Sign-In'],
  aws_organizations: ['AWS', 'Organizations'],
  aws_storage: ['AWS', 'Storage'],
  aws_secrets: ['AWS', 'Secrets Manager'],
  aws_monitoring: ['AWS', 'CloudWatch'],
  azure_key_vault: ['Microsoft', 'Azure Key Vault'],
  azure_managed_hsm: ['Microsoft', 'Azure Managed HSM'],
  azure_cloud_hsm: ['Microsoft', 'Azure Cloud HSM'],
  azure_activity: ['Microsoft', 'Azure Resource Manager'],
  entra: ['Microsoft', 'Entra ID'],
  gcp_cloud_kms: ['Google', 'Cloud KMS'],
  gcp_kms_inventory: ['Google', 'Cloud KMS Inventory'],
  gcp_logging: ['Google', 'Cloud Logging'],
  gcp_iam: ['Google', 'Cloud IAM'],
  gcp_storage: ['Google', 'Cloud Storage'],
  gcp_secret_manager: ['Google', 'Secret Manager'],
  gcp_login: ['Google', 'Login'],
  other: ['other', 'other'],
}

/** 0 to 100, as risk-based alerting adds them up. */
export const riskScores: Readonly<Record<Criticality, number>> = {
  info: 5,
  low: 20,
  medium: 40,
  high: 70,
  critical: 95,
}

/** Where something goes in a standard, and what it is; nothing, `''` and `[]` are left out. */
export type Row<T> = readonly [path: string, give: (of: T) => unknown]

type Tree = Record<string, unknown>

/** @returns the member of that name; `name[]` is the first of a list */
const branch = (tree: Tree, step: string): Tree => {
  const name = step.replace('[]', '')
  tree[name] ??= name === step ? {} : [{}]
  const found = tree[name]
  return (Array.isArray(found) ? found[0] : found) as Tree // made here
}

/** @returns what makes an object of rows, in their order: `a.b` lies in `a`, `a[].b` in the first of the list `a`, `a[]` gives further ones */
export const shape = <T>(rows: readonly Row<T>[]): ((of: T) => Tree) => {
  const steps = rows.map(([path, give]) => {
    const above = path.split('.')
    return { name: above.pop() ?? path, above, give }
  })
  return (of) => {
    const made: Tree = {}
    for (const { name, above, give } of steps) {
      const value = give(of)
      if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) continue
      const tree = above.reduce(branch, made)
      if (name.endsWith('[]')) tree[name.slice(0, -2)] = [tree[name.slice(0, -2)] ?? [], value].flat()
      else tree[name] = value
    }
    return made
  }
}

/** Rows for fields that are taken as they are: `a.b` goes to `under.b`. */
export const asTheyAre = <T>(under: string, fields: string): Row<T>[] =>
  fields.split(/\s+/).map((field) => {
    const steps = field.split('.')
    return [
      `${under}.${steps.at(-1)}`,
      (of) => steps.reduce<unknown>((at, step) => (at as Tree | undefined)?.[step], of), // undefined where a part is absent
    ]
  })

/** Whether the call succeeded; unknown stays unknown. */
export const succeeded = ({ outcome }: KeyEvent): boolean | undefined =>
  outcome === 'success' ? true : outcome === 'unknown' || outcome === 'in_progress' ? undefined : false

export const outcomeWord = (event: KeyEvent): 'success' | 'failure' | undefined => {
  const success = succeeded(event)
  return success === undefined ? undefined : success ? 'success' : 'failure'
}
