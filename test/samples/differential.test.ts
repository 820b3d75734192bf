/** The ten differential cases of detections.md section 4.1: what other products get wrong, asked of ours. */
import { describe, expect, it } from 'vitest'
import { delivery, KEY, record } from '../support/cloudtrail.ts'
import { scanBytes } from '../support/scan.ts'

type Value = Record<string, unknown>

const scan = (bytes: Buffer) => {
  const { tallies, ...rest } = scanBytes([{ path: 'case', bytes }])
  return { ...rest, read: tallies[0], raised: rest.alerts.map((alert) => alert.detector.id) }
}
const aws = (...records: Value[]) => scan(delivery(records))
const azure = (...records: Value[]) => scan(Buffer.from(JSON.stringify({ records })))
const google = (...entries: Value[]) =>
  scan(Buffer.from(entries.map((one) => JSON.stringify(one)).join('\n')))
const second = (n: number) => String(n).padStart(2, '0')

const resourceId =
  '/SUBSCRIPTIONS/00000000-0000-4000-8000-00000000C0DE/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.KEYVAULT/VAULTS/KV-PAYMENTS'
const vault = 'https://kv-payments.vault.azure.net'
const audit = (operationName: string, id: string, change: Value = {}): Value => ({
  time: '2026-04-14T09:20:11.4021987Z',
  category: 'AuditEvent',
  operationName,
  operationVersion: '7.4',
  resultType: 'Success',
  resultSignature: 'OK',
  durationMs: '21',
  callerIpAddress: '198.51.100.23',
  correlationId: '1b3c5d7e-0000-4000-8000-000000000001',
  resourceId,
  identity: {
    claim: {
      oid: '6e1f0a11-3333-4333-8333-0000000000c3',
      appid: 'a0a0a0a0-4444-4444-8444-0000000000d4',
      idtyp: 'app',
    },
  },
  properties: { id, requestUri: `${id}?api-version=7.4`, httpStatusCode: 200, clientInfo: 'azsdk-net' },
  ...change,
})

const version = (key: string, request: Value, at: string): Value => {
  const name = `projects/payments-prod/locations/global/keyRings/cards/cryptoKeys/${key}/cryptoKeyVersions/1`
  return {
    insertId: `i-${key}-${at}`,
    logName: 'projects/payments-prod/logs/cloudaudit.googleapis.com%2Factivity',
    timestamp: `2026-04-14T09:40:${at}.123456789Z`,
    resource: {
      type: 'cloudkms_cryptokeyversion',
      labels: { project_id: 'payments-prod', location: 'global' },
    },
    protoPayload: {
      '@type': 'type.googleapis.com/google.cloud.audit.AuditLog',
      status: {},
      authenticationInfo: { principalEmail: 'deploy@payments-prod.iam.gserviceaccount.com' },
      requestMetadata: { callerIp: '198.51.100.23' },
      serviceName: 'cloudkms.googleapis.com',
      methodName: 'UpdateCryptoKeyVersion',
      resourceName: name,
      request,
    },
  }
}

describe('differential cases', () => {
  it('KeyPurge with status 403 and resultType Success: denied, not purged', () => {
    const id = `${vault}/keys/card-kek`
    const refused = audit('KeyPurge', id, {
      resultSignature: 'Forbidden',
      properties: { id, requestUri: `${vault}/deletedkeys/card-kek?api-version=7.4`, httpStatusCode: 403 },
    })
    const { events, raised } = azure(refused)
    expect(events).toMatchObject([
      { operation: 'destroy', outcome: 'denied', http_status: 403, target: { key_id: id } },
    ])
    expect(raised).toEqual(['key-purge-denied'])
  })

  const put = (statement: Value) =>
    record({
      eventName: 'PutKeyPolicy',
      readOnly: false,
      requestParameters: {
        keyId: KEY,
        policyName: 'default',
        policy: JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Sid: 'a', Resource: '*', ...statement }],
        }),
      },
    })

  it('a policy with a list of actions and a list of principals: public', () => {
    const { events, raised } = aws(
      put({ Effect: 'Allow', Principal: { AWS: ['*'] }, Action: ['kms:Describe*', 'kms:Decrypt'] }),
    )
    expect(events).toMatchObject([{ operation: 'policy_change', outcome: 'success' }])
    expect(events[0]?.change?.flags).toEqual(
      expect.arrayContaining(['public_principal', 'wildcard_principal']),
    )
    expect(raised).toContain('policy-public')
  })

  it('a policy that denies everybody: hardening, no alert', () => {
    const { events, raised } = aws(put({ Effect: 'Deny', Principal: '*', Action: 'kms:*' }))
    expect(events).toMatchObject([{ operation: 'policy_change', outcome: 'success' }])
    const flags = events[0]?.change?.flags ?? []
    expect(flags.filter((flag) => flag.endsWith('_principal'))).toEqual([])
    expect(raised).toEqual([])
  })

  it('a service principal reads fifty secrets in a minute: each is a read by one workload', () => {
    const { events } = azure(
      ...Array.from({ length: 50 }, (_, n) =>
        audit('SecretGet', `${vault}/secrets/s-${n}/0123456789abcdef0123456789abcdef`, {
          time: `2026-04-14T09:20:${second(n)}.4021987Z`,
        }),
      ),
    )
    expect(events).toHaveLength(50)
    for (const event of events)
      expect(event).toMatchObject({
        operation: 'read_secret_value',
        outcome: 'success',
        initiated_by: 'workload',
        auth: { mfa: 'not_applicable' },
        target: { object_type: 'secret' },
      })
    expect(new Set(events.map((event) => event.actor.principal)).size).toBe(1)
    expect(events[0]?.actor.principal).toBeDefined()
    expect(new Set(events.map((event) => event.target.key_id)).size).toBe(50)
  })

  it('management events stay on, those of KMS are excluded', () => {
    const { events, raised } = aws(
      record({
        eventSource: 'cloudtrail.amazonaws.com',
        eventName: 'PutEventSelectors',
        readOnly: false,
        resources: [],
        requestParameters: {
          trailName: 'organization',
          eventSelectors: [
            {
              readWriteType: 'All',
              includeManagementEvents: true,
              dataResources: [],
              excludeManagementEventSources: ['kms.amazonaws.com'],
            },
          ],
        },
      }),
    )
    expect(events).toMatchObject([{ operation: 'logging_disable', change: { flags: ['kms_excluded'] } }])
    expect(raised).toEqual(['log-kms-excluded'])
  })

  it('CreateKey by an administrator of single sign-on with mfaAuthenticated false: unknown, no alert', () => {
    const arn =
      'arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123456789abcdef'
    const { events, raised } = aws(
      record({
        eventName: 'CreateKey',
        readOnly: false,
        requestParameters: {
          keySpec: 'SYMMETRIC_DEFAULT',
          origin: 'AWS_KMS',
          policy:
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}]}',
        },
        userIdentity: {
          type: 'AssumedRole',
          principalId: 'AROAEXAMPLEEXAMPLE777:omar@example.com',
          arn: 'arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/omar@example.com',
          accountId: '123456789012',
          accessKeyId: 'ASIAEXAMPLEEXAMPLE77',
          sessionContext: {
            sessionIssuer: {
              type: 'Role',
              principalId: 'AROAEXAMPLEEXAMPLE777',
              arn,
              accountId: '123456789012',
              userName: 'AWSReservedSSO_Admin_0123456789abcdef',
            },
            attributes: { creationDate: '2026-03-02T08:00:00Z', mfaAuthenticated: 'false' },
          },
        },
      }),
    )
    expect(events).toMatchObject([{ operation: 'create', initiated_by: 'human', auth: { mfa: 'unknown' } }])
    expect(raised).toEqual([])
  })

  it('ten updates of one key version are no disabling, ten keys disabled are ten', () => {
    const labels = { updateMask: 'externalProtectionLevelOptions', cryptoKeyVersion: {} }
    const updates = google(...Array.from({ length: 10 }, (_, n) => version('card-kek', labels, second(n))))
    expect(updates.events.map((event) => event.operation)).toEqual(Array(10).fill('update_metadata'))
    expect(new Set(updates.events.map((event) => event.target.key_id)).size).toBe(1)
    expect(updates.raised).toEqual([])

    const off = { updateMask: 'state', cryptoKeyVersion: { state: 'DISABLED' } }
    const disabled = google(...Array.from({ length: 10 }, (_, n) => version(`k-${n}`, off, second(n))))
    expect(disabled.events.map((event) => event.operation)).toEqual(Array(10).fill('disable'))
    expect(new Set(disabled.events.map((event) => event.target.key_id)).size).toBe(10)
    expect(disabled.raised).toEqual(Array(10).fill('key-disabled'))
  })

  it('twenty-five decrypts delivered twice count once', () => {
    const once = Array.from({ length: 25 }, (_, n) => record({ eventTime: `2026-03-02T09:00:${second(n)}Z` }))
    const { events, tally, raised } = aws(...once, ...once)
    expect([events.length, tally.duplicate]).toEqual([25, 25])
    expect(raised).toEqual([])
  })

  it.each([
    ['as CloudTrail writes it', false],
    ['with its parameters in another order', true],
  ])('CopyObject under the key of another account, %s', (_, reversed) => {
    const foreign = 'arn:aws:kms:eu-central-1:999999999999:key/99999999-2222-4333-8444-555555555555'
    const parameters = Object.entries({
      bucketName: 'payments',
      key: 'a.csv',
      'x-amz-copy-source': 'payments/a.csv',
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': foreign,
    })
    const { events } = aws(
      record({
        eventSource: 's3.amazonaws.com',
        eventName: 'CopyObject',
        readOnly: false,
        managementEvent: false,
        eventCategory: 'Data',
        resources: [{ type: 'AWS::S3::Object', ARN: 'arn:aws:s3:::payments/a.csv' }],
        requestParameters: Object.fromEntries(reversed ? parameters.reverse() : parameters),
      }),
    )
    expect(events).toMatchObject([
      {
        operation: 'storage_write',
        target: { key_id: foreign, account: '999999999999', cross_account: true },
      },
    ])
  })

  it('fifty decrypts from AWS Internal: no address, no place, and counted', () => {
    const { events, raised } = aws(
      ...Array.from({ length: 50 }, (_, n) =>
        record({
          eventTime: `2026-03-02T09:00:${second(n)}Z`,
          sourceIPAddress: 'AWS Internal',
          userAgent: 'AWS Internal',
        }),
      ),
    )
    for (const event of events) {
      expect(event.network).toMatchObject({ source_class: 'cloud_internal', source_raw: 'AWS Internal' })
      expect([event.network.source_ip, event.network.geo, event.network.asn]).toEqual([
        undefined,
        undefined,
        undefined,
      ])
    }
    expect(raised).toEqual(['burst-decrypt'])
  })
})
