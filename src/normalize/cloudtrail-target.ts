/** Which key, or which other resource, a CloudTrail record is about, and with what cryptography. */
import type { KeyEvent } from '../model/event.ts'
import { sourceName } from './aws-operations.ts'
import { canonical, entry, isObject, type Json, list, object, requestOf, string } from './json.ts'
import { type Cuts, field, sha256 } from './text.ts'

type Target = KeyEvent['target']
type Crypto = NonNullable<KeyEvent['crypto']>

const KEY_ARN = /^arn:[^:]+:kms:([^:]*):(\d{12}):key\/.+$/
const ALIAS_ARN = /^arn:[^:]+:kms:[^:]*:(\d{12}):(alias\/.+)$/
const BARE_KEY = /^(mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/

const partitionOf = (region: string) =>
  region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws'

interface Place {
  readonly region: string | undefined
  readonly account: string | undefined
}

/** ARN of a key given by ARN or bare id; an alias or anything else gives `undefined`. */
const keyArn = (id: unknown, place: Place): string | undefined => {
  if (typeof id !== 'string') return undefined
  if (KEY_ARN.test(id)) return id
  if (!BARE_KEY.test(id) || place.region === undefined || place.account === undefined) return undefined
  return `arn:${partitionOf(place.region)}:kms:${place.region}:${place.account}:key/${id}`
}

const aliasName = (id: unknown): string | undefined => {
  if (typeof id !== 'string') return undefined
  if (id.startsWith('alias/')) return id
  return ALIAS_ARN.exec(id)?.[2]
}

const keyResources = (record: Json): string[] => {
  const found: string[] = []
  for (const one of list(record['resources'])) {
    const resource = object(one)
    const arn = string(resource['ARN']) ?? string(resource['arn'])
    const isKey = resource['type'] === 'AWS::KMS::Key' || resource['type'] === undefined
    if (arn !== undefined && isKey && KEY_ARN.test(arn)) found.push(arn)
  }
  return found
}

const resourceAccount = (record: Json): string | undefined =>
  list(record['resources'])
    .map((one) => string(object(one)['accountId']))
    .find((id) => id !== undefined)

/** The key of a call: resources, then the response, then the request. */
const keyOf = (record: Json, place: Place): string | undefined => {
  const [resource] = keyResources(record)
  if (resource !== undefined) return resource
  const request = requestOf(record)
  const response = object(record['responseElements'])
  const metadata = object(response['keyMetadata'])
  const candidates = [
    response['keyId'],
    metadata['arn'],
    metadata['keyId'],
    object(record['serviceEventDetails'])['keyId'],
    request['keyId'],
    request['sourceKeyId'],
    request['targetKeyId'],
    request['destinationKeyId'],
  ]
  for (const candidate of candidates) {
    const arn = keyArn(candidate, place)
    if (arn !== undefined) return arn
  }
  return undefined
}

/** Further keys of the call: where ReEncrypt writes to, and what ReplicateKey makes. */
const secondaryOf = (
  record: Json,
  eventName: string,
  first: string | undefined,
  place: Place,
): Target['secondary'] => {
  const request = requestOf(record)
  if (eventName === 'ReEncrypt') {
    const other = keyResources(record)[1] ?? keyArn(request['destinationKeyId'], place)
    return other === undefined ? undefined : [{ key_id: other, role: 'destination' }]
  }
  if (eventName !== 'ReplicateKey') return undefined
  const replica = keyArn(object(object(record['responseElements'])['replicaKeyMetadata'])['arn'], place)
  return replica === undefined || replica === first ? undefined : [{ key_id: replica, role: 'replica' }]
}

/** Where companion services name the resource that is changed; the first that is there counts. */
const containerNames: Readonly<Record<string, readonly string[]>> = {
  kms: ['customKeyStoreId'],
  cloudhsm: [
    'clusterId',
    'hsmId',
    'backupId',
    'hapgArn',
    'clientArn',
    'hsmArn',
    'resourceArn',
    'resourceId',
    'sourceBackupId',
  ],
  cloudtrail: ['name', 'trailName', 'eventDataStore', 'trailARN'],
  logs: ['logGroupName', 'logGroupIdentifier', 'destinationName', 'resourceIdentifier'],
  events: ['name', 'rule'],
  guardduty: ['detectorId'],
  iam: ['userName', 'roleName', 'groupName', 'policyArn', 'policyName', 'serialNumber'],
  organizations: ['policyId'],
  sts: ['roleArn', 'name'],
  s3: ['bucketName'],
  ec2: ['snapshotId', 'imageId', 'sourceSnapshotId', 'sourceImageId', 'vpcId', 'VpcId'],
  rds: ['dBSnapshotIdentifier', 'sourceDBSnapshotIdentifier', 'targetDBSnapshotIdentifier'],
}

const first = (from: Json, names: readonly string[]): unknown => {
  for (const name of names) if (string(from[name]) !== undefined) return from[name]
  return undefined
}

/** The key that encrypts an object, a bucket, a volume or a snapshot, as the caller of a companion service names it. */
export const storageKey = (request: Json): unknown => {
  const rule = object(request['ServerSideEncryptionConfiguration'])['Rule']
  const byDefault = object(object(Array.isArray(rule) ? rule[0] : rule)['ApplyServerSideEncryptionByDefault'])
  return (
    first(request, ['x-amz-server-side-encryption-aws-kms-key-id', 'kmsKeyId', 'KmsKeyId', 'sSEKMSKeyId']) ??
    string(byDefault['KMSMasterKeyID'])
  )
}

const secretId = (record: Json): unknown => {
  const request = requestOf(record)
  return (
    first(object(record['responseElements']), ['arn', 'aRN']) ??
    first(request, ['secretId', 'name', 'path']) ??
    list(request['names'])[0]
  )
}

const createdStates: Readonly<Record<string, Target['new_state']>> = {
  Enabled: 'enabled',
  Disabled: 'disabled',
  PendingDeletion: 'pending_deletion',
  PendingImport: 'pending_import',
  Unavailable: 'unavailable',
}

/** State the key is in after a successful call (KMS developer guide, "Key states"). */
const stateAfter: Readonly<Record<string, Target['new_state']>> = {
  EnableKey: 'enabled',
  DisableKey: 'disabled',
  ScheduleKeyDeletion: 'pending_deletion',
  CancelKeyDeletion: 'disabled',
  DeleteKey: 'destroyed',
  ImportKeyMaterial: 'enabled',
  DeleteImportedKeyMaterial: 'pending_import',
  DeleteExpiredKeyMaterial: 'pending_import',
}

export interface TargetFacts {
  readonly eventSource: string
  readonly eventName: string
  readonly object: Target['object_type']
  readonly succeeded: boolean
  readonly callerAccount: string | undefined
  readonly recipient: string
}

/** What the record is about. Keys resolve to ARNs; an alias stays an alias, because only state can resolve it. */
export const targetOf = (record: Json, facts: TargetFacts, cuts: Cuts): Target => {
  const source = sourceName(facts.eventSource)
  const request = requestOf(record)
  const response = object(record['responseElements'])
  const region = string(record['awsRegion'])
  const place = { region, account: facts.callerAccount ?? (facts.recipient || undefined) }
  const secret = facts.object === 'secret' ? secretId(record) : undefined
  const key =
    source === 'kms'
      ? keyOf(record, place)
      : (keyArn(storageKey(request), place) ?? secret ?? keyResources(record)[0])
  const id = typeof key === 'string' ? key : undefined
  const arn = id === undefined ? null : KEY_ARN.exec(id)
  const owner = arn?.[2] ?? resourceAccount(record)
  const created = object(response['keyMetadata'])['keyState']
  const cluster =
    object(response['cluster'])['clusterId'] ??
    object(response['hsm'])['hsmId'] ??
    object(response['backup'])['backupId']
  const trail = source === 'cloudtrail' ? string(response['trailARN']) : undefined
  const alias =
    aliasName(request['aliasName']) ?? aliasName(request['keyId']) ?? aliasName(request['sourceKeyId'])
  return {
    key_id: field(id, 512, 'target.key_id', cuts),
    key_version: undefined,
    key_alias: field(alias, 256, 'target.key_alias', cuts),
    container: field(
      trail ??
        first(request, entry(containerNames, source) ?? []) ??
        (source === 'cloudhsm' ? cluster : undefined),
      512,
      'target.container',
      cuts,
    ),
    object_type: facts.object,
    account: field(owner ?? (facts.recipient || undefined), 128, 'target.account', cuts),
    region: field(arn?.[1] || region, 64, 'target.region', cuts),
    cross_account:
      owner === undefined || facts.callerAccount === undefined ? undefined : owner !== facts.callerAccount,
    secondary: source === 'kms' ? secondaryOf(record, facts.eventName, id, place) : undefined,
    old_state: undefined,
    new_state:
      !facts.succeeded || source !== 'kms'
        ? undefined
        : typeof created === 'string'
          ? entry(createdStates, created)
          : entry(stateAfter, facts.eventName),
  }
}

const contextUses: readonly (readonly [member: string, use: Crypto['used_for']])[] = [
  ['aws:s3:arn', 's3'],
  ['aws:ebs:id', 'ebs'],
  ['aws:rds:db-id', 'rds'],
  ['aws:rds:dbc-id', 'rds'],
  ['SecretARN', 'secrets'],
  ['PARAMETER_ARN', 'parameters'],
  ['aws:cloudtrail:arn', 'cloudtrail'],
  ['aws:logs:arn', 'logs'],
]
const serviceUses: Readonly<Record<string, Crypto['used_for']>> = {
  's3.amazonaws.com': 's3',
  'ebs.amazonaws.com': 'ebs',
  'ec2.amazonaws.com': 'ebs',
  'rds.amazonaws.com': 'rds',
  'secretsmanager.amazonaws.com': 'secrets',
  'ssm.amazonaws.com': 'parameters',
  'logs.amazonaws.com': 'logs',
  'cloudtrail.amazonaws.com': 'cloudtrail',
}

/** What the key protected: the encryption context names the data object, else the service that called. */
const usedFor = (context: Json, invokedBy: string | undefined): Crypto['used_for'] =>
  contextUses.find(([member]) => context[member] !== undefined)?.[1] ?? entry(serviceUses, invokedBy)

const MAX_PAIRS = 32

/** The pairs to keep. A map without prototype: names are the caller's choice, `__proto__` included. */
const contextPairs = (
  context: Json,
  mode: 'keep' | 'hash' | 'drop',
  cuts: Cuts,
): Record<string, string> | undefined => {
  if (mode === 'drop') return undefined
  const pairs: Record<string, string> = Object.create(null)
  const names = Object.keys(context)
  if (names.length > MAX_PAIRS) cuts.push('crypto.context')
  for (const name of names.slice(0, MAX_PAIRS)) {
    const value = context[name]
    const text = typeof value === 'string' ? value : (canonical(value) ?? '')
    const kept = mode === 'hash' ? sha256(text) : field(text, 1024, 'crypto.context', cuts)
    pairs[field(name, 256, 'crypto.context', cuts) ?? ''] = kept ?? ''
  }
  return pairs
}

const attestationOf = (record: Json, cuts: Cuts): Crypto['attestation'] => {
  const recipient = object(record['additionalEventData'])['recipient']
  if (!isObject(recipient)) return undefined
  const pcr: Record<string, string> = {}
  for (const [name, value] of Object.entries(recipient)) {
    const index = /PCR(\d{1,2})$/i.exec(name)?.[1]
    const digest = field(value, 128, 'crypto.attestation.pcr', cuts)
    if (index !== undefined && digest !== undefined) pcr[index] = digest
  }
  return {
    image_digest: field(
      recipient['attestationDocumentEnclaveImageDigest'],
      128,
      'crypto.attestation.image_digest',
      cuts,
    ),
    pcr: Object.keys(pcr).length > 0 ? pcr : undefined,
    module_id: field(recipient['attestationDocumentModuleId'], 256, 'crypto.attestation.module_id', cuts),
  }
}

const algorithmNames = [
  'encryptionAlgorithm',
  'sourceEncryptionAlgorithm',
  'signingAlgorithm',
  'macAlgorithm',
  'keyAgreementAlgorithm',
  'wrappingAlgorithm',
]

/** Algorithm, key properties and encryption context of a KMS call, or of a companion call that names encryption. */
export const cryptoOf = (
  record: Json,
  source: string,
  mode: 'keep' | 'hash' | 'drop',
  cuts: Cuts,
): KeyEvent['crypto'] => {
  const request = requestOf(record)
  const metadata = object(object(record['responseElements'])['keyMetadata'])
  if (source !== 'kms') {
    const customer = first(request, ['x-amz-server-side-encryption-customer-algorithm'])
    return customer === undefined
      ? undefined
      : { algorithm: field(customer, 64, 'crypto.algorithm', cuts), origin: 'CUSTOMER_SUPPLIED' }
  }
  const given = request['encryptionContext'] ?? request['sourceEncryptionContext']
  const context = isObject(given) && Object.keys(given).length > 0 ? given : undefined
  const crypto: Crypto = {
    algorithm: field(first(request, algorithmNames), 64, 'crypto.algorithm', cuts),
    key_spec: field(
      first(request, ['keySpec', 'keyPairSpec', 'customerMasterKeySpec']) ?? metadata['keySpec'],
      64,
      'crypto.key_spec',
      cuts,
    ),
    key_usage: field(request['keyUsage'] ?? metadata['keyUsage'], 64, 'crypto.key_usage', cuts),
    origin: field(request['origin'] ?? metadata['origin'], 64, 'crypto.origin', cuts),
    protection_level: undefined,
    context: context === undefined ? undefined : contextPairs(context, mode, cuts),
    context_hash: context === undefined ? undefined : sha256(canonical(context) ?? ''),
    used_for: usedFor(context ?? {}, string(object(record['userIdentity'])['invokedBy'])),
    attestation: attestationOf(record, cuts),
  }
  return Object.values(crypto).some((one) => one !== undefined) ? crypto : undefined
}
