/**
 * AWS event names and what they mean: the one table of scope and mapping for CloudTrail.
 *
 * Key services keep every name, unknown ones as operation `unknown`. Of the companion services only the
 * names below are taken. Names marked `ingestPath` speak of log storage and count only for resources that
 * the configuration lists. Source of the names: the botocore service models and the CloudTrail, KMS and
 * CloudHSM user guides.
 */
import type { Service } from '../model/event.ts'
import { as, type Mapping } from './mapping.ts'

const weaken = { effect: 'weaken' } as const
const strengthen = { effect: 'strengthen' } as const
const feedOnly = { ingestPath: true } as const

const kms: Record<string, Mapping> = {
  CancelKeyDeletion: as('cancel_deletion', 'key'),
  ConnectCustomKeyStore: as('keystore_change', 'keystore', { criticality: 'high', effect: 'strengthen' }),
  CreateAlias: as('alias_change', 'alias'),
  CreateCustomKeyStore: as('keystore_change', 'keystore', { criticality: 'high' }),
  CreateGrant: as('grant_create', 'grant'),
  CreateKey: as('create', 'key'),
  Decrypt: as('decrypt', 'key'),
  DeleteAlias: as('alias_change', 'alias', { effect: 'weaken' }),
  DeleteCustomKeyStore: as('keystore_change', 'keystore', { effect: 'weaken' }),
  DeleteExpiredKeyMaterial: as('destroy_material', 'key', { criticality: 'high' }),
  DeleteImportedKeyMaterial: as('destroy_material', 'key'),
  DeleteKey: as('destroy', 'key'),
  DeriveSharedSecret: as('derive', 'key'),
  DescribeCustomKeyStores: as('read_metadata', 'keystore'),
  DescribeKey: as('read_metadata', 'key'),
  DisableKey: as('disable', 'key'),
  DisableKeyRotation: as('rotation_policy_change', 'key', { effect: 'weaken' }),
  DisconnectCustomKeyStore: as('keystore_change', 'keystore', { effect: 'weaken' }),
  EnableKey: as('enable', 'key'),
  EnableKeyRotation: as('rotation_policy_change', 'key', { criticality: 'medium', effect: 'strengthen' }),
  Encrypt: as('encrypt', 'key'),
  GenerateDataKey: as('generate_data_key', 'key'),
  GenerateDataKeyPair: as('generate_data_key_pair', 'key'),
  GenerateDataKeyPairWithoutPlaintext: as('generate_data_key_pair', 'key'),
  GenerateDataKeyWithoutPlaintext: as('generate_data_key', 'key'),
  GenerateMac: as('mac_generate', 'key'),
  GenerateRandom: as('generate_random', 'other'),
  GetKeyLastUsage: as('read_metadata', 'key'),
  GetKeyPolicy: as('read_policy', 'key'),
  GetKeyRotationStatus: as('read_metadata', 'key'),
  GetParametersForImport: as('import_prepare', 'key'),
  GetPublicKey: as('read_public_key', 'key'),
  ImportKeyMaterial: as('import', 'key'),
  ListAliases: as('list', 'alias'),
  ListGrants: as('read_policy', 'grant'),
  ListKeyPolicies: as('read_policy', 'key'),
  ListKeyRotations: as('read_metadata', 'key'),
  ListKeys: as('list', 'key'),
  ListResourceTags: as('list', 'key'),
  ListRetirableGrants: as('read_policy', 'grant'),
  PutKeyPolicy: as('policy_change', 'key'),
  ReEncrypt: as('reencrypt', 'key'),
  ReplicateKey: as('replicate', 'key'),
  RetireGrant: as('grant_revoke', 'grant'),
  RevokeGrant: as('grant_revoke', 'grant'),
  RotateKey: as('rotate', 'key', { criticality: 'info' }),
  RotateKeyOnDemand: as('rotate', 'key'),
  ScheduleKeyDeletion: as('schedule_deletion', 'key'),
  Sign: as('sign', 'key'),
  SynchronizeMultiRegionKey: as('synchronize', 'key'),
  TagResource: as('tag', 'key'),
  UntagResource: as('untag', 'key'),
  UpdateAlias: as('alias_change', 'alias', { criticality: 'high', effect: 'neutral' }),
  UpdateCustomKeyStore: as('keystore_change', 'keystore', { effect: 'neutral' }),
  UpdateKeyDescription: as('update_metadata', 'key', { criticality: 'low' }),
  UpdatePrimaryRegion: as('set_primary', 'key'),
  Verify: as('verify', 'key'),
  VerifyMac: as('mac_verify', 'key'),
}

const cloudhsm: Record<string, Mapping> = {
  AddTagsToResource: as('tag', 'hsm', { criticality: 'low' }),
  CopyBackupToRegion: as('backup', 'backup'),
  CreateCluster: as('hsm_create', 'hsm'),
  CreateHapg: as('hsm_create', 'hsm'),
  CreateHsm: as('hsm_create', 'hsm_instance'),
  CreateLunaClient: as('hsm_create', 'hsm'),
  DeleteBackup: as('backup_delete', 'backup'),
  DeleteCluster: as('hsm_delete', 'hsm'),
  DeleteHapg: as('hsm_delete', 'hsm', { criticality: 'high' }),
  DeleteHsm: as('hsm_delete', 'hsm_instance'),
  DeleteLunaClient: as('hsm_delete', 'hsm', { criticality: 'high' }),
  DeleteResourcePolicy: as('policy_change', 'backup'),
  DescribeBackups: as('read_metadata', 'backup'),
  DescribeClusters: as('read_metadata', 'hsm'),
  DescribeHapg: as('read_metadata', 'hsm'),
  DescribeHsm: as('read_metadata', 'hsm_instance'),
  DescribeLunaClient: as('read_metadata', 'hsm'),
  GetConfig: as('read_metadata', 'hsm'),
  GetResourcePolicy: as('read_policy', 'backup'),
  InitializeCluster: as('hsm_initialize', 'hsm'),
  ListAvailableZones: as('list', 'hsm'),
  ListHapgs: as('list', 'hsm'),
  ListHsms: as('list', 'hsm_instance'),
  ListLunaClients: as('list', 'hsm'),
  ListTags: as('list', 'hsm'),
  ListTagsForResource: as('list', 'hsm'),
  ModifyBackupAttributes: as('backup_update', 'backup'),
  ModifyCluster: as('hsm_update', 'hsm'),
  ModifyHapg: as('hsm_update', 'hsm'),
  ModifyHsm: as('hsm_update', 'hsm_instance'),
  ModifyLunaClient: as('hsm_update', 'hsm'),
  PutResourcePolicy: as('policy_change', 'backup'),
  RemoveTagsFromResource: as('untag', 'hsm', { criticality: 'low' }),
  RestoreBackup: as('restore', 'backup'),
  TagResource: as('tag', 'hsm', { criticality: 'low' }),
  UntagResource: as('untag', 'hsm', { criticality: 'low' }),
}
const authenticate = as('authenticate', 'identity')
const readSecret = as('read_secret_value', 'secret')
const identityPolicy = as('role_definition_change', 'identity_policy')
const attach = as('role_assign', 'identity_policy')
const detach = as('role_unassign', 'identity_policy')
const credential = as('credential_change', 'credential')
const logStorageGone = as('logging_disable', 'log_destination', { ...feedOnly, ...weaken })
const logStorageChanged = as('logging_change', 'log_destination', feedOnly)
const snapshotShared = as('snapshot_share', 'snapshot')
const snapshotCopied = as('snapshot_copy', 'snapshot')
const storageEncryption = as('storage_encryption_change', 'storage')

interface Source {
  readonly service: Service
  readonly names: Readonly<Record<string, Mapping>>
  /** A key service: every record is kept, also under names that are not listed. */
  readonly everything?: true
}

/** Service by `eventSource`, without `.amazonaws.com`. */
export const awsSources: Readonly<Record<string, Source>> = {
  kms: { service: 'aws_kms', names: kms, everything: true },
  cloudhsm: { service: 'aws_cloudhsm', names: cloudhsm, everything: true },
  cloudtrail: {
    service: 'aws_cloudtrail',
    names: {
      StopLogging: as('logging_disable', 'trail', weaken),
      DeleteTrail: as('logging_disable', 'trail', weaken),
      DeleteEventDataStore: as('logging_disable', 'trail', weaken),
      PutEventSelectors: as('logging_change', 'trail'),
      UpdateTrail: as('logging_change', 'trail'),
      PutInsightSelectors: as('logging_change', 'trail'),
      StartLogging: as('logging_change', 'trail', strengthen),
      CreateTrail: as('logging_change', 'trail', strengthen),
    },
  },
  logs: {
    service: 'aws_monitoring',
    names: {
      DeleteLogGroup: logStorageGone,
      DeleteSubscriptionFilter: logStorageGone,
      DeleteDestination: logStorageGone,
      PutRetentionPolicy: logStorageChanged,
      AssociateKmsKey: storageEncryption,
    },
  },
  events: {
    service: 'aws_monitoring',
    names: { DisableRule: logStorageGone, DeleteRule: logStorageGone, RemoveTargets: logStorageGone },
  },
  guardduty: {
    service: 'aws_monitoring',
    names: {
      DeleteDetector: as('logging_disable', 'security_service', weaken),
      UpdateDetector: as('logging_disable', 'security_service'),
    },
  },
  securityhub: {
    service: 'aws_monitoring',
    names: { DisableSecurityHub: as('logging_disable', 'security_service', weaken) },
  },
  iam: {
    service: 'aws_iam',
    names: {
      DeactivateMFADevice: as('mfa_change', 'identity', weaken),
      DeleteVirtualMFADevice: as('mfa_change', 'identity', weaken),
      EnableMFADevice: as('mfa_change', 'identity', strengthen),
      CreateAccessKey: credential,
      UpdateAccessKey: credential,
      DeleteAccessKey: credential,
      PutUserPolicy: identityPolicy,
      PutRolePolicy: identityPolicy,
      PutGroupPolicy: identityPolicy,
      CreatePolicy: identityPolicy,
      CreatePolicyVersion: identityPolicy,
      AttachUserPolicy: attach,
      AttachRolePolicy: attach,
      DetachUserPolicy: detach,
      DetachRolePolicy: detach,
    },
  },
  organizations: {
    service: 'aws_organizations',
    names: {
      DetachPolicy: as('policy_change', 'guardrail', weaken),
      DeletePolicy: as('policy_change', 'guardrail', weaken),
      UpdatePolicy: as('policy_change', 'guardrail'),
    },
  },
  signin: { service: 'aws_signin', names: { ConsoleLogin: authenticate, CheckMfa: authenticate } },
  sts: {
    service: 'aws_sts',
    names: {
      AssumeRole: authenticate,
      AssumeRoleWithSAML: authenticate,
      AssumeRoleWithWebIdentity: authenticate,
      GetSessionToken: authenticate,
      GetFederationToken: authenticate,
    },
  },
  s3: {
    service: 'aws_storage',
    names: {
      CopyObject: as('storage_write', 'storage'),
      PutObject: as('storage_write', 'storage'),
      PutBucketEncryption: storageEncryption,
      DeleteBucket: logStorageGone,
      PutBucketLifecycle: logStorageChanged,
      PutBucketPolicy: logStorageChanged,
    },
  },
  ec2: {
    service: 'aws_storage',
    names: {
      ModifyEbsDefaultKmsKeyId: storageEncryption,
      DisableEbsEncryptionByDefault: as('storage_encryption_change', 'storage', weaken),
      CopySnapshot: snapshotCopied,
      CopyImage: snapshotCopied,
      ModifySnapshotAttribute: snapshotShared,
      ModifyImageAttribute: snapshotShared,
      CreateVpcEndpoint: as('network_change', 'private_endpoint'),
    },
  },
  rds: {
    service: 'aws_storage',
    names: { CopyDBSnapshot: snapshotCopied, ModifyDBSnapshotAttribute: snapshotShared },
  },
  secretsmanager: {
    service: 'aws_secrets',
    names: { GetSecretValue: readSecret, BatchGetSecretValue: readSecret },
  },
  ssm: {
    service: 'aws_secrets',
    names: {
      GetParameter: readSecret,
      GetParameters: readSecret,
      GetParametersByPath: readSecret,
      GetParameterHistory: readSecret,
    },
  },
}

const unlisted: Mapping = as('unknown', 'other')

/** What CloudTrail calls `<name>.amazonaws.com`, without the suffix. */
export const sourceName = (eventSource: string): string =>
  eventSource.endsWith('.amazonaws.com') ? eventSource.slice(0, -14) : eventSource

/**
 * Looks a record up by service and name.
 * @returns the mapping; `unknown` for an unlisted name of a key service; `undefined` when out of scope.
 */
export const awsMapping = (
  eventSource: string,
  eventName: string,
): { readonly service: Service; readonly mapping: Mapping; readonly listed: boolean } | undefined => {
  const name = sourceName(eventSource)
  if (!Object.hasOwn(awsSources, name)) return undefined
  const source = awsSources[name]
  if (source === undefined) return undefined
  const mapping = Object.hasOwn(source.names, eventName) ? source.names[eventName] : undefined
  if (mapping !== undefined) return { service: source.service, mapping, listed: true }
  return source.everything ? { service: source.service, mapping: unlisted, listed: false } : undefined
}
