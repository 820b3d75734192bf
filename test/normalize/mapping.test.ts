/**
 * The mapping tables of the schema document against the program: one minimal record per native name, all of them
 * in one scan. No context rule of section 4 applies to these records, so criticality is the table's.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KeyEvent } from '../../src/model/event.ts'
import { delivery, KEY, record } from '../support/cloudtrail.ts'
import { designFolder, hasDesign } from '../support/samples.ts'
import { type Scanned, scanCli } from '../support/scan.ts'

// ---- the document ---------------------------------------------------------------------------------------

const schema = hasDesign ? readFileSync(join(designFolder, 'schema.md'), 'utf8') : ''
const section = (heading: string) => {
  const from = schema.indexOf(`\n${heading}`)
  return from < 0 ? '' : schema.slice(from, schema.indexOf('\n#', from + 2))
}
const rows = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => /^\| (?!eventName|operation )/.test(line))
    .map((line) => line.split(/ *\| */).slice(1, -1))

/** Category and base criticality of each operation. */
const operations = new Map(
  rows(section('## 3. ')).map(([name = '', category = '', base = '']) => [name, { category, base }]),
)

type Row = Readonly<
  Record<'service' | 'name' | 'operation' | 'category' | 'criticality' | 'object', string> & {
    source: string | undefined
    effect: string | undefined
    ingestPath?: boolean
  }
>

/** `A, B = weaken; C = strengthen`, the sentence above table 5.1. */
const kmsEffects = new Map(
  (/^Effect: (.*)\.$/m.exec(section('### 5.1 '))?.[1] ?? '').split('; ').flatMap((part) => {
    const [names = '', effect = ''] = part.split(' = ')
    return names.split(', ').map((name) => [name, effect] as const)
  }),
)
/** Section 8, point 20. `*CustomKeyStore` is taken to mean DescribeCustomKeyStores as well. */
const kmsObject = (name: string) => {
  if (/Alias$|^ListAliases$/.test(name)) return 'alias'
  if (/^(CreateGrant|RevokeGrant|RetireGrant|ListGrants|ListRetirableGrants)$/.test(name)) return 'grant'
  if (/CustomKeyStores?$/.test(name)) return 'keystore'
  return name === 'GenerateRandom' ? 'other' : 'key'
}
const hsmObject = (name: string) =>
  /Hsms?$/.test(name) ? 'hsm_instance' : /Backup|ResourcePolicy$/.test(name) ? 'backup' : 'hsm'

const keyService = (heading: string, service: string, object: (name: string) => string): Row[] =>
  rows(section(heading)).map(([name = '', operation = '', category = '', criticality = '']) => ({
    service,
    name,
    operation,
    category,
    criticality,
    object: object(name),
    source: `aws_${service}`,
    effect: service === 'kms' ? kmsEffects.get(name) : undefined,
  }))

/** The source.service row of section 2, first those named like their service. It leaves CreateVpcEndpoint open. */
const sourceOf = (service: string) =>
  (/^(cloudtrail|iam|sts|signin|organizations)$/.test(service) && `aws_${service}`) ||
  (/^(s3|ec2|rds)$/.test(service) && 'aws_storage') ||
  (/^(secretsmanager|ssm)$/.test(service) && 'aws_secrets') ||
  'aws_monitoring'
const wildcards: Record<string, string[]> = {
  'AssumeRole*': ['AssumeRole', 'AssumeRoleWithSAML', 'AssumeRoleWithWebIdentity'],
  'GetParameter*': ['GetParameter', 'GetParameters', 'GetParametersByPath', 'GetParameterHistory'],
}
const effectIn = (note: string, name: string, at: number): string | undefined => {
  const found = /(\w+(?:, \w+)*: )?effect (\w+(?:, \w+)*)/.exec(note)
  const [, condition, list = ''] = found ?? []
  if (condition !== undefined && !/^(Delete|Detach)/.test(name)) return undefined // "delete, detach: effect weaken"
  const effects = list.split(', ')
  return found === null ? undefined : (effects[at] ?? effects[0])
}
const companions: Row[] = rows(section('### 5.7 '))
  .filter(([provider]) => provider === 'AWS')
  .flatMap(([, events = '', names = '', object = '', note = '']) => {
    let service = ''
    return events.split(' / ').flatMap((part, half) => {
      const operation = names.split(' / ')[half] ?? ''
      const found = [...part.matchAll(/([a-z0-9]+) (?=[A-Z])|([A-Z]\w+\*?)/g)].flatMap(([, lower, name]) => {
        service = lower ?? service
        return name === undefined ? [] : (wildcards[name] ?? [name]).map((one) => ({ service, name: one }))
      })
      return found.map((one, at) => ({
        ...one,
        operation,
        category: operations.get(operation)?.category ?? '',
        criticality: operations.get(operation)?.base ?? '',
        object,
        source: one.name === 'CreateVpcEndpoint' ? undefined : sourceOf(one.service),
        effect: effectIn(note, one.name, at),
        ingestPath: /log bucket|ingest path/.test(events + note),
      }))
    })
  })

const kms = keyService('### 5.1 ', 'kms', kmsObject)
const cloudhsm = keyService('### 5.2 ', 'cloudhsm', hsmObject)
const all = [...kms, ...cloudhsm, ...companions]

// ---- the records ----------------------------------------------------------------------------------------

const POLICY =
  '{ "Version": "2012-10-17", "Statement": [ { "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*" } ] }'
const CANONICAL =
  '{"Statement":[{"Action":"kms:Decrypt","Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"}'
const internal = { accountId: '123456789012', invokedBy: 'AWS Internal' }
const serviceEvents = ['DeleteExpiredKeyMaterial', 'DeleteKey', 'RotateKey', 'SynchronizeMultiRegionKey']
const LOG = 'audit-logs'
const underKey = { bucketName: 'b', key: 'k', 'x-amz-server-side-encryption-aws-kms-key-id': KEY }
/** Resources of the names that count only on the ingest path, and what makes the other records honest. */
const requestOf = ({ service, name, ingestPath }: Row): Record<string, unknown> => {
  if (ingestPath && service === 's3') return { bucketName: LOG }
  if (ingestPath && service === 'events') return name === 'RemoveTargets' ? { rule: LOG } : { name: LOG }
  if (ingestPath) return name === 'DeleteDestination' ? { destinationName: LOG } : { logGroupName: LOG }
  if (name === 'PutKeyPolicy') return { keyId: KEY, policy: POLICY }
  if (service === 's3') return underKey
  return name.startsWith('GetParameter') ? { name: '/db/password', withDecryption: true } : {}
}
const call = (eventID: string, service: string, eventName: string, requestParameters: unknown, more = {}) => {
  const eventSource = `${service}.amazonaws.com`
  return record({ eventID, eventSource, eventName, requestParameters, resources: undefined, ...more })
}
const minimal = (row: Row) => {
  const { service, name } = row
  const id = `${service} ${name}`
  const resources = service === 'kms' && name !== 'GenerateRandom' ? record()['resources'] : undefined
  if (service !== 'kms' || !serviceEvents.includes(name))
    return call(id, service, name, requestOf(row), { resources })
  const change = { userIdentity: internal, eventType: 'AwsServiceEvent', requestID: undefined }
  return call(id, service, name, null, { resources, ...change })
}

/** Label, service, event name, request, and what the event must hold. */
type Note = readonly [string, string, string, Record<string, unknown>, object]
type Condition = readonly [field: string, operator: string, value: string]
const put = (label: string, eventSelectors: object[], expected: object): Note => {
  const request = { trailName: 'main', eventSelectors }
  return [label, 'cloudtrail', 'PutEventSelectors', request, expected]
}
const advanced = (label: string, conditions: Condition[], expected: object): Note => {
  const fieldSelectors = conditions.map(([field, operator, value]) => ({ field, [operator]: [value] }))
  const request = { trailName: 'main', advancedEventSelectors: [{ fieldSelectors }] }
  return [label, 'cloudtrail', 'PutEventSelectors', request, expected]
}
const changes = (...flags: string[]) => ({ operation: 'logging_change', change: { flags } })
const unchanged = {
  operation: 'logging_change',
  change: expect.not.objectContaining({ flags: expect.anything() }),
}
const excluded = { operation: 'logging_disable', change: { flags: ['kms_excluded'] } }
const noKms = { includeManagementEvents: true, excludeManagementEventSources: ['kms.amazonaws.com'] }
const management: Condition = ['eventCategory', 'equals', 'Management']
const newKey = { change: { settings: { kms_key_id: KEY } } }
const hash = createHash('sha256').update(CANONICAL).digest('hex')
const newPolicy = { change: { policy: CANONICAL, new_policy_hash: hash } }
const rule = { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms', KMSMasterKeyID: KEY } }
const bucket = { bucketName: 'b', ServerSideEncryptionConfiguration: { Rule: rule } }
const customer = { bucketName: 'b', 'x-amz-server-side-encryption-customer-algorithm': 'AES256' }
const retention = { logGroupName: LOG, retentionInDays: 1 }
const policies = ['PutUserPolicy', 'PutRolePolicy', 'PutGroupPolicy', 'CreatePolicy', 'CreatePolicyVersion']
const notes: readonly Note[] = [
  put('selectors without KMS', [noKms], excluded),
  put('one of two selectors has KMS', [noKms, { readWriteType: 'All' }], unchanged),
  put('no management events', [{ includeManagementEvents: false }], changes('management_events_off')),
  put('no reads', [{ readWriteType: 'WriteOnly' }], changes('read_events_off')),
  put('no writes', [{ readWriteType: 'ReadOnly' }], changes('logging_reduced')),
  advanced('advanced, no KMS', [management, ['eventSource', 'notEquals', 'kms.amazonaws.com']], excluded),
  advanced('advanced, data', [['eventCategory', 'equals', 'Data']], changes('management_events_off')),
  advanced('advanced, no reads', [management, ['readOnly', 'equals', 'false']], changes('read_events_off')),
  ['no digests', 'cloudtrail', 'UpdateTrail', { enableLogFileValidation: false }, changes('integrity_off')],
  ['retention', 'logs', 'PutRetentionPolicy', retention, { change: { settings: { retention_days: '1' } } }],
  ...policies.map((name): Note => ['policy', 'iam', name, { policyDocument: POLICY }, newPolicy]),
  ['under a key', 's3', 'PutObject', underKey, { target: { key_id: KEY } }],
  ['under a key', 's3', 'CopyObject', underKey, { target: { key_id: KEY } }],
  ['key of the customer', 's3', 'CopyObject', customer, { crypto: { origin: 'CUSTOMER_SUPPLIED' } }],
  ['log group', 'logs', 'AssociateKmsKey', { logGroupName: 'app', kmsKeyId: KEY }, newKey],
  ['bucket', 's3', 'PutBucketEncryption', bucket, newKey],
  ['EBS', 'ec2', 'ModifyEbsDefaultKmsKeyId', { ModifyEbsDefaultKmsKeyIdRequest: { KmsKeyId: KEY } }, newKey],
]

describe.skipIf(!hasDesign)('the mapping tables of the schema document', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  let scanned: Scanned
  const found = (id: string): KeyEvent | undefined =>
    scanned.events.find((event) => event.source.native_id === id)

  beforeAll(() => {
    const config = join(folder, 'keytrail.yml')
    writeFileSync(config, `ingest_path: [${LOG}]\n`)
    const more = notes.map(([label, service, name, request]) =>
      call(`${label}: ${name}`, service, name, request),
    )
    const unknown = ['kms', 'cloudhsm', 's3'].map((service) => call(service, service, 'NameOfNextYear', {}))
    scanned = scanCli(['-', '--config', config], delivery([...all.map(minimal), ...more, ...unknown]))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('have 58 names of KMS, 36 of CloudHSM and 65 of companions, each with an operation of the closed set', () => {
    expect([kms.length, cloudhsm.length, companions.length]).toEqual([58, 36, 65])
    expect(new Set(all.map(({ service, name }) => `${service} ${name}`)).size).toBe(all.length)
    for (const row of all) expect(operations.get(row.operation)?.category, row.name).toBeDefined()
  })

  it.each(all)('$service $name: $operation, $category, $criticality, $object, $effect', (row) => {
    expect(found(`${row.service} ${row.name}`)).toMatchObject({
      operation: row.operation,
      operation_category: row.category,
      operation_native: row.name,
      criticality: row.criticality,
      target: { object_type: row.object },
      ...(row.source === undefined ? {} : { source: { service: row.source } }),
      ...(row.effect === undefined ? {} : { operation_effect: row.effect }),
    })
  })

  it.each(serviceEvents)('%s stands for nobody: cloud_internal', (name) => {
    expect(found(`kms ${name}`)?.initiated_by).toBe('cloud_internal')
  })

  it.each(notes)('note of %s, %s %s', (label, _service, name, _request, expected) => {
    expect(found(`${label}: ${name}`)).toMatchObject(expected)
  })

  it('names that no table has: kept as unknown for key services, skipped for the others', () => {
    const unknown = { operation: 'unknown', criticality: 'medium', parse_warnings: ['unknown_operation'] }
    for (const id of ['kms', 'cloudhsm']) expect(found(id)).toMatchObject(unknown)
    expect(found('s3')).toBeUndefined()
  })

  it('without an ingest path the names of log storage are skipped', () => {
    const { summary } = scanCli(['-'], delivery(all.filter((row) => row.ingestPath).map(minimal)))
    expect(summary.records).toEqual({ received: 10, skipped: 10, kept: 0, duplicate: 0, rejected: 0 })
  })
})
