/**
 * Acceptance rows 3, 4, 6, 11, 12 and 13 (Azure, Google) of detections.md section 4 on public records. Expectations come from
 * the rows and from schema.md; where the row's detector is still to come, its mapping is what is asked.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { record } from '../support/cloudtrail.ts'
import { filesBelow, hasSamples, samplesFolder } from '../support/samples.ts'
import { scanBytes } from '../support/scan.ts'

type Value = Record<string, unknown>

const scan = (value: unknown) => {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value))
  const { tallies, ...rest } = scanBytes([{ path: 'case', bytes }])
  const [tally] = tallies
  if (tally === undefined) throw new Error('nothing was read')
  return { ...rest, read: tally, raised: rest.alerts.map((alert) => alert.detector.id) }
}
const sample = (...path: string[]): Buffer => readFileSync(join(samplesFolder, ...path))
const json = (...path: string[]): Value => JSON.parse(sample(...path).toString('utf8')) as Value
const lines = (...path: string[]): Value[] =>
  sample(...path)
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Value)

/** Cases of one rule of panther-analysis, found by the rule's name. */
const panther = (rule: string) =>
  hasSamples
    ? filesBelow(join(samplesFolder, 'aws', 'panther-analysis'))
        .flatMap((path) => JSON.parse(readFileSync(path, 'utf8')) as Value[])
        .filter((one) => one['rule'] === rule)
        .map((one) => ({
          test: String(one['test']),
          expected: one['expected'] === true,
          log: one['log'] as Value,
        }))
    : []

const copies = panther('AWS.S3.CopyObject.CrossAccount.Encryption.KMS')
const endpoints = panther('AWS.CloudTrail.VPCE.SensitiveAPICalls')
const rotations = panther('AWS.CMK.KeyRotation')
const restricted = panther('AWS.KMS.RestrictsUsage')

describe.skipIf(!hasSamples)('rules whose detectors are still to come', () => {
  it('are all there: 2, 3, 5 and 2, of which 1, 1, 3 and 1 true', () => {
    expect(
      [copies, endpoints, rotations, restricted].map((cases) => [
        cases.length,
        cases.filter(({ expected }) => expected).length,
      ]),
    ).toEqual([
      [2, 1],
      [3, 1],
      [5, 3],
      [2, 1],
    ])
  })

  it.each(copies)('row 3, the account of the key tells them apart: $test', ({ log, expected }) => {
    const { events } = scan(log)
    expect(events).toMatchObject([
      { source: { service: 'aws_storage' }, operation: 'storage_write', target: { object_type: 'storage' } },
    ])
    const [event] = events
    expect(event?.target.key_id).toBe(
      (log['requestParameters'] as Value)['x-amz-server-side-encryption-aws-kms-key-id'],
    )
    expect(event?.target.cross_account === true).toBe(expected)
  })

  it.each(endpoints)('row 4, through a VPC endpoint: $test', ({ log, expected }) => {
    const { events, read } = scan(log)
    if (!expected) {
      expect([read.received, [...read.skipped]]).toEqual([1, [['out_of_scope', 1]]])
      return
    }
    expect(events).toMatchObject([
      {
        source: { service: 'aws_cloudtrail', log_type: 'network_activity' },
        operation: 'logging_change',
        network: {
          endpoint_id: 'vpce-1234abcd',
          endpoint_account: '111111111111',
          source_ip: '10.0.0.1',
          source_class: 'private',
        },
      },
    ])
  })

  it.each([
    ['let through', {}, 'success'],
    [
      'stopped by the policy of the endpoint',
      { errorCode: 'VpceAccessDenied', errorMessage: 'denied' },
      'denied',
    ],
  ])('row 4, adapted to a key: a Decrypt through the endpoint, %s', (_, change, outcome) => {
    const via = endpoints.find(({ expected }) => expected)?.log
    const { events } = scan({ ...via, eventSource: 'kms.amazonaws.com', eventName: 'Decrypt', ...change })
    expect(events).toMatchObject([
      {
        source: { service: 'aws_kms', log_type: 'network_activity' },
        operation: 'decrypt',
        outcome,
        network: { endpoint_id: 'vpce-1234abcd', endpoint_account: '111111111111' },
      },
    ])
  })

  it.each([...rotations, ...restricted])('row 6, the state of a key is no audit record: $test', ({ log }) => {
    const { read, events } = scan(log)
    expect([read.received, [...read.rejected.keys()], events]).toEqual([1, ['unknown_format'], []])
  })

  it.each(rotations)('row 6, what the state says, as the call that makes it: $test', ({ log }) => {
    const origin = String(log['Origin']) === 'External' ? 'EXTERNAL' : 'AWS_KMS'
    const create = { eventName: 'CreateKey', readOnly: false, requestParameters: { origin } }
    expect(scan(record(create)).events.map((event) => event.crypto?.origin)).toEqual([origin])
    const off = log['KeyRotationEnabled'] === false
    const eventName = off ? 'DisableKeyRotation' : 'EnableKeyRotation'
    const { raised } = scan(record({ eventName, readOnly: false, requestParameters: {} }))
    expect(raised).toEqual(off ? ['rotation-disabled'] : [])
  })

  it.each(restricted)(
    'row 6, the policy of the state, as the call that sets it: $test',
    ({ log, expected }) => {
      const put = {
        eventName: 'PutKeyPolicy',
        readOnly: false,
        requestParameters: { policyName: 'default', policy: log['Policy'] },
      }
      expect(scan(record(put)).raised.includes('policy-public')).toBe(!expected)
    },
  )
})

describe.skipIf(!hasSamples)('Google', () => {
  const ring = 'projects/cloud-custodian/locations/us-central1/keyRings/cloud-custodian'
  const key = `${ring}/cryptoKeys/cloud-custodian`
  it.each([
    ['kms-keyring-create', 'container_create', 'key_ring', undefined],
    ['kms-cryptokey-create', 'create', 'key', key],
    ['kms-cryptokey-version-create', 'create_version', 'key_version', key],
  ])('row 11: cloud-custodian %s is %s of a %s', (file, operation, objectType, id) => {
    const { events, raised } = scan(sample('gcp', 'cloud-custodian', `${file}.json`))
    expect(events).toMatchObject([
      {
        source: { provider: 'gcp', service: 'gcp_cloud_kms' },
        operation,
        outcome: 'success',
        initiated_by: 'human',
        auth: { mfa: 'unknown' },
        target: {
          object_type: objectType,
          container: ring,
          account: 'cloud-custodian',
          region: 'us-central1',
        },
      },
    ])
    expect(events.map((event) => [event.target.key_id, event.change?.rotation_days])).toEqual([
      [id, undefined],
    ])
    expect(raised).toEqual([])
  })

  const policies = [
    'google.cloud.audit.AuditLog.setIamPolicy',
    'google.iam.admin.v1.SetIamPolicy-keyAdmin',
    'google.iam.admin.v1.SetIamPolicy-tokenCreator',
  ]
  it.each(policies)('row 12: security-analytics %s', (file) => {
    const path = ['gcp', 'gcp-security-analytics', `${file}.json`]
    const payload = json(...path)['protoPayload'] as Value
    const { policyDelta } = payload['serviceData'] as { policyDelta: { bindingDeltas: Value[] } }
    const { events, raised } = scan(sample(...path))
    expect(events).toMatchObject([
      {
        source: { service: 'gcp_iam' },
        operation: 'policy_change',
        operation_native: payload['methodName'],
        outcome: 'success',
      },
    ])
    const lower = policyDelta.bindingDeltas.map((one) => ({
      ...one,
      action: String(one['action']).toLowerCase(),
    }))
    expect(events[0]?.change?.bindings).toEqual(lower)
    expect(raised).toEqual([])
  })

  it.each([
    ['loginSuccess', 'success'],
    ['loginSuccess-isSuspicious', 'success'],
    ['loginFailure', 'failure'],
  ])('row 12: a %s is a sign-in, %s', (name, outcome) => {
    const { events } = scan(sample('gcp', 'gcp-security-analytics', `google.login.LoginService.${name}.json`))
    expect(events).toMatchObject([
      {
        source: { service: 'gcp_login' },
        operation: 'authenticate',
        outcome,
        target: { object_type: 'identity' },
      },
    ])
  })

  it('row 12: a sign-in by password alone had no second factor (formats.md 4)', () => {
    const { events } = scan(
      sample('gcp', 'gcp-security-analytics', 'google.login.LoginService.loginSuccess.json'),
    )
    expect(events.map(({ auth }) => [auth.mfa, auth.mfa_source, auth.mfa_methods])).toEqual([
      ['not_used', 'event_claim', ['password']],
    ])
  })

  it('row 13: plaso has eleven entries as JSON lines; none is rejected, none is about keys', () => {
    const { read, events } = scan(sample('gcp', 'plaso', 'gcp_logging.jsonl'))
    expect([
      lines('gcp', 'plaso', 'gcp_logging.jsonl').length,
      read.received,
      read.rejected.size,
      events,
    ]).toEqual([11, 11, 0, []])
  })
})

describe.skipIf(!hasSamples)('Azure, row 13: the Activity log as the SDK gives it', () => {
  const file = ['azure', 'plaso', 'azure_activity_log.jsonl']

  it('plaso has four records; none is rejected, none is about keys', () => {
    const { read, events } = scan(sample(...file))
    expect([read.received, read.rejected.size, events]).toEqual([4, 0, []])
  })

  it('the same form about a vault is kept, with its own time and caller', () => {
    const [first] = lines(...file)
    const named = (value: string) => ({ value, localized_value: value })
    const { events } = scan({
      ...first,
      operation_name: named('Microsoft.KeyVault/vaults/delete'),
      resource_id:
        '/subscriptions/00000000-0000-4000-8000-00000000c0de/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv-old',
      event_name: named('EndRequest'),
      status: named('Succeeded'),
    })
    expect(events).toMatchObject([
      {
        source: { service: 'azure_activity', provider: 'azure' },
        time: { event: first?.['event_timestamp'] },
        operation: 'container_delete',
        outcome: 'success',
        initiated_by: 'workload',
        auth: { mfa: 'not_applicable' },
        target: { object_type: 'vault' },
      },
    ])
  })
})
