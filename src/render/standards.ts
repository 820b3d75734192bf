/**
 * What CIM and ASIM share: an operation in the words of both, products by vendor, severities.
 * Operations follow the field mapping of the schema reference; the two lists of words are closed:
 * ASIM EventType https://learn.microsoft.com/azure/sentinel/normalization-schema-audit,
 * CIM action https://docs.splunk.com/Documentation/CIM/latest/User/Change
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

type Words = readonly [(typeof asimEventTypes)[number], (typeof cimActions)[number] | undefined]

const groups: readonly (readonly [...Words, string])[] = [
  ['Execute', 'read', 'encrypt decrypt reencrypt generate_data_key generate_data_key_pair generate_random'],
  ['Execute', 'read', 'sign verify mac_generate mac_verify derive wrap unwrap decapsulate backup export'],
  ['Execute', 'modified', 'security_domain'],
  ['Create', 'created', 'create create_version import replicate restore container_create hsm_create'],
  ['Create', 'created', 'storage_write snapshot_copy'],
  ['Create', 'read', 'import_prepare'],
  ['Create', 'acl_modified', 'grant_create role_assign'],
  ['Set', 'acl_modified', 'policy_change role_definition_change snapshot_share'],
  ['Set', 'modified', 'synchronize set_primary rotate rotation_policy_change cancel_deletion tag untag'],
  ['Set', 'modified', 'alias_change update_metadata backup_update container_update container_recover'],
  ['Set', 'modified', 'keystore_change network_change hsm_initialize hsm_update storage_encryption_change'],
  ['Set', 'modified', 'credential_change logging_change mfa_change identity_change'],
  ['Delete', 'acl_modified', 'grant_revoke role_unassign'],
  ['Delete', 'deleted', 'schedule_deletion destroy destroy_material backup_delete'],
  ['Delete', 'deleted', 'container_delete container_purge hsm_delete'],
  ['Disable', 'stopped', 'logging_disable'],
  ['Disable', 'modified', 'disable'],
  ['Enable', 'modified', 'enable'],
  ['Read', 'read', 'read_metadata read_policy read_public_key read_secret_value list'],
  ['Other', undefined, 'authenticate key_access_lost key_access_restored expiry_near expired unknown'],
]

const words: ReadonlyMap<string, Words> = new Map(
  groups.flatMap(([type, action, names]) => names.split(' ').map((name) => [name, [type, action]] as const)),
)

/** ASIM EventType and CIM action of an operation; a notification has no action. */
export const operationWords = (operation: Operation): Words => words.get(operation) ?? ['Other', undefined]

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

/** What a row of a mapping table may give; what is absent is left out. */
export type Value = string | number | undefined

/** @returns an object with the fields that have a value, in the order of the table */
export const rowsOf = <T>(
  rows: readonly (readonly [name: string, value: (of: T) => Value])[],
  of: T,
): Record<string, string | number> => {
  const filled: Record<string, string | number> = {}
  for (const [name, give] of rows) {
    const value = give(of)
    if (value !== undefined && value !== '') filled[name] = value
  }
  return filled
}

/** Whether the call succeeded; unknown stays unknown. */
export const succeeded = ({ outcome }: KeyEvent): boolean | undefined =>
  outcome === 'success' ? true : outcome === 'unknown' || outcome === 'in_progress' ? undefined : false
