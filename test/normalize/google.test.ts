/** Google Cloud entries: outcome, identity, target, change and identity of the record. */
import { describe, expect, it } from 'vitest'
import { shortId } from '../../src/normalize/text.ts'
import {
  APPLICATION,
  entry,
  eventOf,
  type GoogleRecord,
  HUMAN,
  KEY,
  normalized,
  PROJECT,
  platform,
  RING,
  VERSION,
} from '../support/google.ts'
import { scanBytes } from '../support/scan.ts'

const by = (authenticationInfo: GoogleRecord) => eventOf(entry({ authenticationInfo }))
const activity = { logName: `projects/${PROJECT}/logs/cloudaudit.googleapis.com%2Factivity` }

describe('outcome', () => {
  it.each([
    [undefined, 'success', undefined],
    [{}, 'success', undefined],
    [{ code: 0 }, 'success', undefined],
    [{ code: 7, message: 'Permission denied' }, 'denied', 'access_denied'],
    [{ code: 16 }, 'denied', 'access_denied'],
    [{ code: 5 }, 'failure', 'not_found'],
    [{ code: 9 }, 'failure', 'invalid_state'],
    [{ code: 3 }, 'failure', 'invalid_input'],
    [{ code: 8 }, 'failure', 'throttled'],
    [{ code: 'seven' }, 'unknown', undefined],
  ])('%j is %s, %s', (status, outcome, group) => {
    const event = eventOf(entry({ status }))
    expect(event.outcome).toBe(outcome)
    expect(event.error?.class).toBe(group)
  })
  it('the first entry of a long operation has only begun; both are one action', () => {
    const first = eventOf(entry({}, { operation: { id: 'op-1', first: true }, insertId: 'a' }))
    const last = eventOf(entry({}, { operation: { id: 'op-1', last: true }, insertId: 'b' }))
    expect([first.outcome, last.outcome]).toEqual(['in_progress', 'success'])
    expect(first.action_id).toBe(last.action_id)
    expect(first.event_id).not.toBe(last.event_id)
  })
  it('a destruction that is refused changes no state', () => {
    const destroy = { methodName: 'DestroyCryptoKeyVersion', resourceName: VERSION }
    const response = { state: 'DESTROY_SCHEDULED', destroyTime: '2026-04-01T00:00:00Z' }
    expect(eventOf(entry({ ...destroy, response }))).toMatchObject({
      outcome: 'success',
      target: { key_id: KEY, key_version: '3', new_state: 'pending_deletion' },
      change: { effective_at: '2026-04-01T00:00:00Z' },
    })
    expect(eventOf(entry({ ...destroy, status: { code: 7 } })).target.new_state).toBeUndefined()
  })
  it('a sign-in that failed', () =>
    expect(
      eventOf(
        entry({
          serviceName: 'login.googleapis.com',
          methodName: 'google.login.LoginService.loginFailure',
          authenticationInfo: { principalEmail: HUMAN },
        }),
      ),
    ).toMatchObject({ operation: 'authenticate', outcome: 'failure', source: { log_type: 'signin' } }))
})

describe('caller', () => {
  it('a person: nothing is known of a second factor', () =>
    expect(by({ principalEmail: HUMAN })).toMatchObject({
      initiated_by: 'human',
      actor: { principal: HUMAN, type: 'user' },
      auth: { mfa: 'unknown', mfa_source: 'none', policy_decision: 'allow' },
    }))
  it('a service account, with a downloaded key or without', () => {
    const event = by({ principalEmail: APPLICATION, serviceAccountKeyName: '//iam.googleapis.com/k' })
    expect(event).toMatchObject({
      initiated_by: 'workload',
      actor: { type: 'service_account', account: PROJECT, credential_type: 'service_key' },
      auth: { mfa: 'not_applicable' },
      target: { cross_account: false },
    })
    expect(by({ principalEmail: APPLICATION }).actor.credential_type).toBe('unknown')
  })
  it.each([
    'service-123456789012@compute-system.iam.gserviceaccount.com',
    'service-123456789012@gcp-sa-cloudkms.iam.gserviceaccount.com',
    '123456789012@cloudservices.gserviceaccount.com',
  ])('an agent of Google: %s', (principalEmail) =>
    expect(by({ principalEmail })).toMatchObject({
      initiated_by: 'cloud_service',
      actor: { type: 'cloud_service' },
      network: { source_class: 'service' },
    }),
  )
  it('a person behind a service account', () =>
    expect(
      by({
        principalEmail: APPLICATION,
        serviceAccountDelegationInfo: [{ firstPartyPrincipal: { principalEmail: HUMAN } }],
      }),
    ).toMatchObject({
      initiated_by: 'human',
      actor: { principal: APPLICATION, on_behalf_of: { id: HUMAN }, delegation: [HUMAN] },
      auth: { mfa: 'unknown' },
    }))
  it.each([
    [
      'principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/subject/repo',
      'workload_identity',
      'workload',
    ],
    [
      'principal://iam.googleapis.com/locations/global/workforcePools/staff/subject/omar',
      'federated_user',
      'human',
    ],
  ])('federation: %s', (principalSubject, type, initiated_by) =>
    expect(by({ principalSubject })).toMatchObject({ initiated_by, actor: { type } }),
  )
  it('nobody named is unknown', () =>
    expect(by({})).toMatchObject({ initiated_by: 'unknown', actor: { type: 'unknown' } }))
  it.each([
    ['198.51.100.20', 'public', '198.51.100.20', undefined],
    ['10.1.2.3', 'private', '10.1.2.3', undefined],
    ['private', 'private', undefined, 'private'],
    ['gce-internal-ip', 'private', undefined, 'gce-internal-ip'],
    [undefined, 'unknown', undefined, undefined],
  ])('from %s', (callerIp, source_class, source_ip, source_raw) => {
    const { network } = eventOf(entry({ requestMetadata: { callerIp } }))
    expect([network.source_class, network.source_ip, network.source_raw]).toEqual([
      source_class,
      source_ip,
      source_raw,
    ])
  })
})

describe('target', () => {
  it.each([
    [VERSION, KEY, '3', RING],
    [KEY, KEY, undefined, RING],
    [RING, undefined, undefined, RING],
    [`//cloudkms.googleapis.com/${KEY}`, KEY, undefined, RING],
    [
      `projects/${PROJECT}/locations/eu/ekmConnections/e`,
      undefined,
      undefined,
      `projects/${PROJECT}/locations/eu/ekmConnections/e`,
    ],
    [`folders/77/autokeyConfig`, undefined, undefined, `folders/77/autokeyConfig`],
  ])('%s', (resourceName, key, version, container) => {
    const { target } = eventOf(entry({ resourceName }))
    expect([target.key_id, target.key_version, target.container]).toEqual([key, version, container])
  })
  it('a platform event names its key by labels', () =>
    expect(eventOf(platform('scheduledDestructionEvent', '3'))).toMatchObject({
      operation: 'destroy',
      target: { key_id: KEY, key_version: '3', account: PROJECT, region: 'europe-west3' },
    }))
})

describe('change', () => {
  const update = (updateMask: unknown, cryptoKey: GoogleRecord) =>
    eventOf(entry({ methodName: 'UpdateCryptoKey', request: { updateMask, cryptoKey } }, activity))
  it('rotation is set, taken away, or put off', () => {
    expect(update('rotationPeriod,nextRotationTime', { rotationPeriod: '7776000s' })).toMatchObject({
      operation: 'rotation_policy_change',
      operation_effect: 'strengthen',
      change: { rotation_days: 90 },
    })
    expect(update({ paths: ['rotation_period'] }, {})).toMatchObject({
      operation: 'rotation_policy_change',
      operation_effect: 'weaken',
    })
    expect(update('nextRotationTime', { nextRotationTime: '2030-01-01T00:00:00Z' }).operation_effect).toBe(
      'neutral',
    )
  })
  it('labels, algorithm', () => {
    expect(update('labels', { labels: { a: 'b' } }).operation).toBe('tag')
    expect(
      update('versionTemplate', { versionTemplate: { algorithm: 'RSA_DECRYPT_OAEP_2048_SHA1' } }),
    ).toMatchObject({ operation: 'update_metadata', crypto: { algorithm: 'RSA_DECRYPT_OAEP_2048_SHA1' } })
  })
  it.each([
    ['ENABLED', 'enable', 'enabled'],
    ['DISABLED', 'disable', 'disabled'],
  ])('a version is %s', (state, operation, new_state) =>
    expect(
      eventOf(
        entry({
          methodName: 'UpdateCryptoKeyVersion',
          resourceName: VERSION,
          request: { updateMask: 'state', cryptoKeyVersion: { state } },
        }),
      ),
    ).toMatchObject({ operation, target: { object_type: 'key_version', new_state } }),
  )
  const policy = (policyDelta: GoogleRecord, service = 'cloudkms') =>
    eventOf(
      entry(
        {
          serviceName: `${service}.googleapis.com`,
          methodName: 'SetIamPolicy',
          serviceData: { policyDelta },
        },
        activity,
      ),
    )
  const add = { action: 'ADD', role: 'roles/cloudkms.cryptoKeyDecrypter', member: 'user:mallory@example.com' }
  it('bindings of a delta', () => {
    const event = policy({ bindingDeltas: [add, { ...add, action: 'REMOVE', member: 'allUsers' }] })
    expect(event).toMatchObject({ operation: 'policy_change', target: { object_type: 'key' } })
    expect(event.change?.bindings).toEqual([
      { action: 'add', role: add.role, member: add.member },
      { action: 'remove', role: add.role, member: 'allUsers' },
    ])
    expect(event.change?.flags).toBeUndefined()
    expect(policy({ bindingDeltas: [{ ...add, member: 'allAuthenticatedUsers' }] }).change?.flags).toEqual([
      'public_principal',
      'wildcard_principal',
    ])
  })
  it('an audit configuration outweighs bindings, which stay', () => {
    const off = { action: 'REMOVE', service: 'allServices', logType: 'DATA_READ' }
    const event = policy({ bindingDeltas: [add], auditConfigDeltas: [off] }, 'cloudresourcemanager')
    expect(event).toMatchObject({
      operation: 'logging_disable',
      target: { object_type: 'audit_config' },
      change: { flags: ['data_access_off'], bindings: [{ member: add.member }] },
      source: { service: 'gcp_iam' },
    })
    const exempt = { ...off, action: 'ADD', exemptedMember: add.member }
    expect(policy({ auditConfigDeltas: [exempt] })).toMatchObject({
      operation: 'logging_change',
      change: { flags: ['principal_exempted'] },
    })
    const other = { ...off, service: 'storage.googleapis.com' }
    expect(policy({ auditConfigDeltas: [other] }).operation).toBe('policy_change')
  })
  const sink = (value: GoogleRecord) =>
    eventOf(
      entry({
        serviceName: 'logging.googleapis.com',
        methodName: 'google.logging.v2.ConfigServiceV2.UpdateSink',
        resourceName: `projects/${PROJECT}/sinks/s`,
        request: { sink: value },
      }),
    )
  it('a sink that is narrowed or off', () => {
    expect(sink({ filter: 'severity>=ERROR', destination: 'd' })).toMatchObject({
      operation: 'logging_change',
      change: { settings: { filter: 'severity>=ERROR', destination: 'd' } },
    })
    expect(sink({ disabled: true })).toMatchObject({
      operation: 'logging_disable',
      change: { flags: ['logging_reduced'] },
    })
    expect(
      sink({ exclusions: [{ filter: 'protoPayload.serviceName="cloudkms.googleapis.com"' }] }),
    ).toMatchObject({ operation: 'logging_disable', change: { flags: ['logging_reduced', 'kms_excluded'] } })
  })
  it.each([
    { request: { callerProvidedContext: 'ticket 7' } },
    { metadata: { entries: [{ callerProvidedContext: 'ticket 7' }] } },
  ])('the context of an external key: %j', (payload) => {
    expect(eventOf(entry(payload)).crypto?.context).toEqual({ caller_provided_context: 'ticket 7' })
    expect(eventOf(entry(payload), { encryption_context: 'drop' }).crypto).not.toHaveProperty(
      'context.caller_provided_context',
    )
  })
})

describe('record', () => {
  it('is known by log, time in nine digits and insertId', () => {
    const { event_id } = eventOf(entry({}, { timestamp: '2026-03-02T09:00:00.5Z' }))
    const log = `projects/${PROJECT}/logs/cloudaudit.googleapis.com%2Fdata_access`
    expect(event_id).toBe(shortId(`gcp:${log}2026-03-02T09:00:00.500000000Z1uvby3sea7j9u`))
  })
  it('exports rename members', () => {
    const { protoPayload, logName, insertId, receiveTimestamp, ...rest } = entry()
    const { methodName, serviceName, resourceName, ...payload } = protoPayload as GoogleRecord // made above
    expect(
      eventOf({
        ...rest,
        log_name: logName,
        insert_id: insertId,
        timestamp: '2026-03-02 09:00:00.123456789 UTC',
        proto_payload: {
          ...payload,
          method_name: methodName,
          service_name: serviceName,
          resource_name: resourceName,
        },
      }),
    ).toEqual({ ...eventOf(entry()), time: expect.anything(), ingest: expect.anything() })
  })
  it('without insertId the content is its id; without time it is refused', () => {
    expect(eventOf(entry({}, { insertId: undefined })).parse_warnings).toEqual(['id_fallback'])
    expect(eventOf(entry({}, { timestamp: undefined })).parse_warnings).toEqual(['time_fallback'])
    expect(normalized(entry({}, { timestamp: 7, receiveTimestamp: 'soon' }))).toMatchObject({
      kind: 'rejected',
      reason: 'bad_time',
    })
  })
  it.each(['compute.googleapis.com', 'bigquery.googleapis.com', '__proto__', ''])(
    '%s is out of scope',
    (serviceName) =>
      expect(normalized(entry({ serviceName, methodName: 'constructor' }))).toEqual({
        kind: 'skipped',
        reason: 'out_of_scope',
      }),
  )
  it('an unknown method of a key service is kept', () =>
    expect(eventOf(entry({ methodName: 'constructor' }))).toMatchObject({
      operation: 'unknown',
      parse_warnings: ['unknown_operation'],
    }))
  const shapes: unknown[] = [
    null,
    7,
    '',
    'x',
    [],
    [null],
    {},
    true,
    { toString: 1 },
    { a: { toString: null } },
  ]
  it.each(shapes)('%j at any member throws nothing', (shape) => {
    const base = entry()
    for (const name of Object.keys(base)) normalized({ ...base, [name]: shape })
    const members = [
      ...Object.keys(base['protoPayload'] as GoogleRecord), // made above
      'request',
      'response',
      'metadata',
      'serviceData',
      'resourceLocation',
    ]
    for (const name of members)
      for (const method of ['Decrypt', 'SetIamPolicy', 'UpdateCryptoKey', 'UpdateCryptoKeyVersion'])
        eventOrNone(entry({ methodName: method, [name]: shape }))
    expect(Object.keys(Object.prototype)).toEqual([])
  })
})

describe('what entries travel in', () => {
  const data = Buffer.from(JSON.stringify(entry())).toString('base64')
  const message = { data, messageId: '1', publishTime: '2026-03-02T09:00:01Z' }
  it.each([
    ['a push', { message, subscription: 'projects/p/subscriptions/s' }],
    ['one message of a pull', { ackId: 'a', message }],
    ['a pull', { receivedMessages: [{ ackId: 'a', message }] }],
    ['an answer of entries.list', { entries: [entry()], nextPageToken: 'x' }],
    ['an array', [entry()]],
    ['an entry', entry()],
  ])('%s', (_, body) => {
    const { events, tallies } = scanBytes([{ path: 'file', bytes: Buffer.from(JSON.stringify(body)) }])
    expect(tallies[0]?.received).toBe(1)
    expect(events.map((one) => one.event_id)).toEqual([eventOf(entry()).event_id])
  })
  it('a message that is not base64 is refused and counted', () => {
    const body = { message: { ...message, data: '{}' }, subscription: 's' }
    const { events, tallies } = scanBytes([{ path: 'file', bytes: Buffer.from(JSON.stringify(body)) }])
    expect([tallies[0]?.received, [...(tallies[0]?.rejected.keys() ?? [])], events]).toEqual([
      1,
      ['bad_payload'],
      [],
    ])
  })
})

/** An event must be one by the schema; anything else may be refused. */
const eventOrNone = (value: GoogleRecord) => {
  if (normalized(value).kind === 'event') eventOf(value)
}
