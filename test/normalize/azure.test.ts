/** Azure records beyond their names: forms, outcome, MFA, who, what, changes, time, ids, hostile values. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type KeyEvent, keyEvent } from '../../src/model/event.ts'
import {
  APPID,
  type AzureRecord,
  activity,
  appClaims,
  audit,
  entraAudit,
  eventOf,
  GROUP,
  HSM,
  KEY,
  normalized,
  OID,
  SUBSCRIPTION,
  signIn,
  TENANT,
  userClaims,
  VAULT,
  VERSION,
} from '../support/azure.ts'
import { hasSamples, samplesFolder } from '../support/samples.ts'
import { scanBytes } from '../support/scan.ts'

const json = JSON.stringify
const scan = (text: string) => scanBytes([{ path: 'file', bytes: Buffer.from(text) }])
const body = (properties: object) => ({ requestbody: json({ properties }) })

describe('envelopes', () => {
  const one = audit()
  const two = activity('Microsoft.KeyVault/vaults/write')
  it.each([
    ['Event Hubs message', json({ records: [one, two] })],
    ['Event Hubs messages, one a line', `${json({ records: [one] })}\n${json({ records: [two] })}\n`],
    ['array of messages', json([{ records: [one] }, { records: [two] }])],
    ['storage blob', `${json(one)}\r\n${json(two)}\r\n`],
    ['storage blob with a byte order mark', `\ufeff${json(one)}\n${json(two)}`],
    ['REST answer', json({ value: [one, two], nextLink: 'https://management.azure.com/next' })],
    ['REST answer with its context first', json({ '@odata.context': 'x', value: [one, two] })],
  ])('%s', (_, text) => {
    const { events, tally, tallies } = scan(text)
    expect(tallies[0]?.received).toBe(2)
    expect(tally.kept).toBe(2)
    expect(events.map((event) => event.operation).sort()).toEqual(['container_update', 'decrypt'])
  })

  it('an empty message is no record', () => {
    for (const text of ['{"records":[]}', '{"value":[]}']) expect(scan(text).tallies[0]?.received).toBe(0)
  })

  it('delivered by Event Hubs and by a blob again: one event', () => {
    const texts = [json({ records: [one] }), json(one)]
    const { tally } = scanBytes(texts.map((text, at) => ({ path: `${at}`, bytes: Buffer.from(text) })))
    expect(tally).toMatchObject({ kept: 1, duplicate: 1 })
  })

  it('other logs and metrics of Azure are out of scope, not refused', () => {
    const others = [
      { time: one['time'], resourceId: VAULT, metricName: 'ServiceApiHit', count: 1, timeGrain: 'PT1M' },
      {
        time: one['time'],
        resourceId: GROUP,
        category: 'SQLSecurityAuditEvents',
        operationName: 'AuditEvent',
      },
      { ...two, operationName: 'Microsoft.Compute/disks/delete' },
      signIn('ProvisioningLogs'),
      entraAudit('Update conditional access policy'),
    ]
    const { tallies } = scan(json({ records: others }))
    expect(tallies[0]?.skipped).toEqual(new Map([['out_of_scope', others.length]]))
  })

  it.skipIf(!hasSamples)('the sample of the SDK form: four records, out of scope', () => {
    const path = join(samplesFolder, 'azure', 'plaso', 'azure_activity_log.jsonl')
    const { tallies } = scan(readFileSync(path, 'utf8'))
    expect(tallies[0]).toMatchObject({
      received: 4,
      rejected: new Map(),
      skipped: new Map([['out_of_scope', 4]]),
    })
  })
})

describe('forms of one record', () => {
  const said = (event: KeyEvent) => ({
    operation: event.operation,
    outcome: event.outcome,
    status: event.http_status,
    duration: event.duration_ms,
    actor: [event.actor.id, event.actor.name, event.actor.application],
    mfa: event.auth.mfa,
    ip: event.network.source_ip,
    target: [event.target.key_id, event.target.key_version, event.target.container],
  })
  const columns = {
    TimeGenerated: '2026-03-02T09:00:00.1234567Z',
    OperationName: 'KeyDecrypt',
    ResultType: 'Success',
    ResultSignature: 'OK',
    CorrelationId: '55555555-0000-4000-8000-000000000005',
    TenantId: '99999999-0000-4000-8000-000000000009',
  }
  const diagnostics = {
    ...columns,
    Type: 'AzureDiagnostics',
    Category: 'AuditEvent',
    ResourceId: VAULT.toUpperCase(),
    DurationMs: 12,
    CallerIPAddress: '198.51.100.20',
    httpStatusCode_d: 200,
    requestUri_s: `${KEY}/${VERSION}/decrypt?api-version=7.4`,
    id_s: `${KEY}/${VERSION}`,
    identity_claim_oid_g: OID,
    identity_claim_appid_g: userClaims.appid,
    identity_claim_upn_s: userClaims.upn,
    identity_claim_amr_s: 'pwd',
  }
  const table = {
    ...columns,
    Type: 'AZKVAuditLogs',
    _ResourceId: VAULT,
    DurationMs: '12',
    CallerIpAddress: '198.51.100.20',
    HttpStatusCode: 200,
    RequestUri: `${KEY}/${VERSION}/decrypt?api-version=7.4`,
    Id: `${KEY}/${VERSION}`,
    Identity: json({ claim: userClaims }),
  }
  it.each([
    ['AzureDiagnostics', diagnostics],
    ['AZKVAuditLogs', table],
    ['status as text', audit({ durationMs: 12 }, { httpStatusCode: '200' })],
  ])('%s', (_, record) => {
    expect(said(eventOf(record))).toEqual(said(eventOf(audit())))
    expect(eventOf(record).event_id).toHaveLength(32)
  })

  it('the workspace in TenantId is no tenant', () => {
    expect(eventOf(diagnostics).target.cross_account).toBeUndefined()
    expect(eventOf(audit()).target.cross_account).toBe(false)
  })

  const claims = {
    ...userClaims,
    amr: undefined,
    'http://schemas.microsoft.com/claims/authnmethodsreferences': 'pwd,mfa',
  }
  const rest = {
    authorization: { action: 'Microsoft.KeyVault/vaults/delete', scope: VAULT },
    caller: 'omar@example.com',
    claims,
    correlationId: '66666666-0000-4000-8000-000000000006',
    eventDataId: 'AAAAAAAA-0000-4000-8000-00000000000A',
    eventName: { value: 'EndRequest', localizedValue: 'End request' },
    category: { value: 'Administrative', localizedValue: 'Administrative' },
    httpRequest: { clientIpAddress: '198.51.100.20', method: 'DELETE' },
    resourceId: VAULT,
    operationName: { value: 'Microsoft.KeyVault/vaults/delete', localizedValue: 'Delete Vault' },
    status: { value: 'Succeeded', localizedValue: 'Succeeded' },
    subStatus: { value: 'OK', localizedValue: 'OK (HTTP Status Code: 200)' },
    eventTimestamp: '2026-03-02T09:00:00.1234567Z',
    submissionTimestamp: '2026-03-02T09:02:00.0000000Z',
    tenantId: TENANT,
  }
  const sdk = {
    authorization: rest.authorization,
    caller: rest.caller,
    claims,
    correlation_id: rest.correlationId,
    event_data_id: rest.eventDataId,
    event_name: { value: 'EndRequest', localized_value: 'End request' },
    category: { value: 'Administrative', localized_value: 'Administrative' },
    http_request: { client_ip_address: '198.51.100.20' },
    resource_id: VAULT,
    operation_name: { value: 'Microsoft.KeyVault/vaults/delete', localized_value: 'Delete Vault' },
    status: { value: 'Succeeded', localized_value: 'Succeeded' },
    sub_status: { value: 'OK', localized_value: '' },
    event_timestamp: rest.eventTimestamp,
    submission_timestamp: rest.submissionTimestamp,
    tenant_id: TENANT,
  }
  const logs = {
    TimeGenerated: rest.eventTimestamp,
    Type: 'AzureActivity',
    OperationName: 'Delete Vault',
    OperationNameValue: 'MICROSOFT.KEYVAULT/VAULTS/DELETE',
    ActivityStatusValue: 'Success',
    ActivitySubstatusValue: 'OK',
    CategoryValue: 'Administrative',
    Caller: 'omar@example.com',
    CallerIpAddress: '198.51.100.20',
    Claims: json(claims),
    CorrelationId: rest.correlationId,
    EventDataId: rest.eventDataId,
    EventSubmissionTimestamp: rest.submissionTimestamp,
    _ResourceId: VAULT,
    TenantId: '99999999-0000-4000-8000-000000000009',
  }
  it.each([
    ['REST', rest],
    ['SDK', sdk],
    ['AzureActivity', logs],
  ])('Activity log, %s', (_, record) => {
    const event = eventOf(record)
    expect(event).toMatchObject({
      operation: 'container_delete',
      outcome: 'success',
      initiated_by: 'human',
      time: { event: '2026-03-02T09:00:00.1234567Z', provider_received: '2026-03-02T09:02:00.0000000Z' },
      actor: { id: OID, name: 'omar@example.com', type: 'user', account: TENANT },
      auth: { mfa: 'verified', mfa_source: 'event_claim', mfa_methods: ['pwd', 'mfa'] },
      network: { source_ip: '198.51.100.20' },
      target: { container: VAULT, object_type: 'vault', account: SUBSCRIPTION },
    })
    expect(event.event_id).toBe(eventOf(rest).event_id)
    expect(event.action_id).toBe(eventOf(rest).action_id)
  })

  it('Managed HSM: identity as text, claims nested, details at the top', () => {
    const identity = {
      claim: {
        appid: APPID,
        http_schemas_microsoft_com_identity: { claims: { objectidentifier: OID } },
        http_schemas_xmlsoap_org_ws_2005_05_identity: { claims: { upn: 'admin@example.com' } },
      },
    }
    const record = audit({
      operationName: 'BackupCreate',
      resourceId: HSM.toUpperCase(),
      identity: json(identity),
      durationMs: 488,
      httpStatusCode: 202,
      resultSignature: 'Accepted',
      requestUri: 'https://hsm-payments.managedhsm.azure.net/backup',
      subnetId: '(unknown)',
      properties: { PoolType: 'M-HSM', sku_Family: 'B', sku_Name: 'Standard_B1' },
    })
    expect(eventOf(record)).toMatchObject({
      operation: 'backup',
      outcome: 'success',
      http_status: 202,
      duration_ms: 488,
      initiated_by: 'human',
      actor: { id: OID, name: 'admin@example.com' },
      target: { container: HSM, object_type: 'hsm' },
    })
    expect(eventOf(record).network.endpoint_id).toBeUndefined()
  })
})

describe('outcome of an audit record: the status, then the signature, never the result type', () => {
  const cases: readonly [status: unknown, signature: unknown, outcome: string, conflict?: true][] = [
    [200, 'OK', 'success'],
    [202, 'Accepted', 'success'],
    [403, 'Forbidden', 'denied'],
    [401, 'Unauthorized', 'denied'],
    [404, 'Not Found', 'failure'],
    [409, 'Conflict', 'failure'],
    [400, 'Bad Request', 'failure'],
    [429, 'TooManyRequests', 'failure'],
    [500, '', 'failure'],
    [200, 'Forbidden', 'denied', true],
    [200, 'Unauthorized', 'denied', true],
    [200, 'Not Found', 'failure', true],
    [403, 'OK', 'denied', true],
    [undefined, 'OK', 'success'],
    [undefined, 'Forbidden', 'denied'],
    [undefined, 'Not Found', 'failure'],
    [undefined, '', 'unknown'],
    [undefined, undefined, 'unknown'],
    [0, 'None', 'unknown'],
    [{ toString: 1 }, ['OK'], 'unknown'],
  ]
  it.each(cases.map(([a, b, c, d]) => [a, b, c, d] as const))(
    '%s %s: %s',
    (httpStatusCode, resultSignature, outcome, conflict) => {
      const record = audit(
        { operationName: 'KeyPurge', resultType: 'Success', resultSignature },
        { httpStatusCode },
      )
      const event = eventOf(record)
      expect(event.outcome).toBe(outcome)
      expect(event.parse_warnings).toEqual(conflict && ['conflicting_outcome'])
      expect(event.target.new_state).toBe(outcome === 'success' ? 'destroyed' : undefined)
      if (outcome === 'denied') expect(event.error?.class).toBe('access_denied')
    },
  )

  it('the first request without a token is a challenge; 403 on it is not', () => {
    const first = { operationName: 'Authentication', resultSignature: 'Unauthorized', identity: {} }
    expect(eventOf(audit(first, { httpStatusCode: 401 }))).toMatchObject({
      outcome: 'challenge',
      actor: { type: 'anonymous' },
    })
    expect(eventOf(audit(first, { httpStatusCode: undefined })).outcome).toBe('challenge')
    const refused = { ...first, resultSignature: 'Forbidden' }
    expect(eventOf(audit(refused, { httpStatusCode: 403 })).outcome).toBe('denied')
  })

  it.each([
    [404, 'not_found'],
    [409, 'conflict'],
    [400, 'invalid_input'],
    [429, 'throttled'],
    [503, 'internal'],
  ])('error class of %i: %s', (httpStatusCode, group) => {
    const record = audit({ resultSignature: '', resultDescription: 'said' }, { httpStatusCode })
    expect(eventOf(record).error).toEqual({ code: String(httpStatusCode), message: 'said', class: group })
  })
})

describe('outcome in the Activity log', () => {
  it.each([
    ['Start', 'Started.', undefined, 'in_progress'],
    ['Started', '', undefined, 'in_progress'],
    ['Accept', 'Accepted.Created', undefined, 'in_progress'],
    ['Accepted', 'Accepted.Accepted', undefined, 'in_progress'],
    ['Success', 'Succeeded.OK', undefined, 'success'],
    ['Succeeded', '', undefined, 'success'],
    ['Success', 'Succeeded.NoContent', 'OK', 'success'],
    ['Failure', 'Failed.Forbidden', undefined, 'denied'],
    ['Failed', 'Failed.Conflict', undefined, 'failure'],
    ['Failure', '', 'Unauthorized', 'denied'],
    ['Failure', '', undefined, 'failure'],
    ['Success', 'Succeeded.OK', 'Forbidden', 'denied'],
    ['Success', 'Succeeded.OK', 404, 'failure'],
    ['', '', undefined, 'unknown'],
  ])('%s %s %s: %s', (resultType, resultSignature, statusCode, outcome) => {
    const record = activity(
      'Microsoft.KeyVault/vaults/delete',
      { resultType, resultSignature },
      { statusCode },
    )
    expect(eventOf(record).outcome).toBe(outcome)
  })

  it('the records of one action share the action id, each has its own event id', () => {
    const start = eventOf(
      activity('Microsoft.KeyVault/vaults/write', { resultType: 'Start', resultSignature: 'Started.' }),
    )
    const end = eventOf(activity('MICROSOFT.KEYVAULT/VAULTS/WRITE'))
    expect(start.action_id).toBe(end.action_id)
    expect(start.event_id).not.toBe(end.event_id)
  })
})

describe('MFA', () => {
  const claim = (claims: AzureRecord) => audit({ identity: { claim: { ...userClaims, ...claims } } })
  const managed = (methods: unknown, more: AzureRecord = {}) =>
    activity('Microsoft.KeyVault/vaults/write', {
      identity: {
        claims: {
          ...userClaims,
          amr: undefined,
          'http://schemas.microsoft.com/claims/authnmethodsreferences': methods,
          ...more,
        },
      },
    })
  const service = { scp: undefined, upn: undefined, amr: undefined, idtyp: 'app' }
  it.each<[string, AzureRecord, string, string]>([
    ['vault: amr pwd alone', claim({ amr: 'pwd' }), 'unknown', 'none'],
    ['vault: amr with mfa', claim({ amr: 'pwd,mfa' }), 'verified', 'event_claim'],
    ['vault: amr as a list', claim({ amr: ['pwd', 'mfa'] }), 'verified', 'event_claim'],
    ['vault: amr as JSON in a text', claim({ amr: '["rsa","mfa"]' }), 'verified', 'event_claim'],
    ['vault: a word that contains mfa', claim({ amr: 'nomfa' }), 'unknown', 'none'],
    ['vault: rsa', claim({ amr: 'rsa' }), 'unknown', 'none'],
    ['vault: no amr', claim({ amr: undefined }), 'unknown', 'none'],
    ['vault: application', claim(service), 'not_applicable', 'none'],
    ['vault: nobody', audit({ identity: {} }), 'unknown', 'none'],
    ['activity: exactly pwd', managed('pwd'), 'not_used', 'event_claim'],
    ['activity: pwd,mfa', managed('pwd,mfa'), 'verified', 'event_claim'],
    ['activity: rsa,mfa', managed('rsa,mfa'), 'verified', 'event_claim'],
    ['activity: rsa', managed('rsa'), 'unknown', 'none'],
    ['activity: pwd,rsa', managed('pwd,rsa'), 'unknown', 'none'],
    ['activity: none', managed(undefined), 'unknown', 'none'],
    [
      'activity: acr says nothing',
      managed(undefined, { 'http://schemas.microsoft.com/claims/authnclassreference': '1' }),
      'unknown',
      'none',
    ],
    ['activity: application', managed(undefined, service), 'not_applicable', 'none'],
  ])('%s: %s', (_, record, mfa, mfa_source) =>
    expect(eventOf(record).auth).toMatchObject({ mfa, mfa_source }),
  )

  const person = (properties: AzureRecord) =>
    signIn('SignInLogs', { userId: OID, userPrincipalName: 'lena@example.com', ...properties })
  const multi = { authenticationRequirement: 'multiFactorAuthentication' }
  const single = { authenticationRequirement: 'singleFactorAuthentication' }
  const steps = (...authenticationMethod: string[]) => ({
    authenticationDetails: authenticationMethod.map((one) => ({
      authenticationMethod: one,
      succeeded: true,
    })),
  })
  const earlier = {
    authenticationDetails: json([
      {
        authenticationMethod: 'Previously satisfied',
        authenticationStepResultDetail: 'MFA requirement satisfied by claim in the token',
      },
    ]),
  }
  it.each<[string, AzureRecord, string, string]>([
    [
      'two factors',
      person({ ...multi, ...steps('Password', 'Mobile app notification') }),
      'verified',
      'event_claim',
    ],
    ['two factors, earlier', person({ ...multi, ...earlier }), 'verified', 'session_attribute'],
    ['two required, interrupted', person({ ...multi, status: { errorCode: 50074 } }), 'unknown', 'none'],
    ['one factor', person({ ...single, ...steps('Password') }), 'not_used', 'event_claim'],
    ['one factor, no steps', person(single), 'not_used', 'event_claim'],
    ['one factor that may be two', person({ ...single, ...steps('FIDO2 security key') }), 'unknown', 'none'],
    ['nothing said', person({}), 'unknown', 'none'],
    [
      'service principal',
      signIn('ServicePrincipalSignInLogs', { servicePrincipalId: OID, ...single }),
      'not_applicable',
      'none',
    ],
    [
      'managed identity',
      signIn('ManagedIdentitySignInLogs', { servicePrincipalId: OID, ...single }),
      'not_applicable',
      'none',
    ],
  ])('sign-in, %s: %s', (_, record, mfa, mfa_source) =>
    expect(eventOf(record).auth).toMatchObject({ mfa, mfa_source }),
  )
})

describe('who', () => {
  const by = (claim: AzureRecord, change: AzureRecord = {}) =>
    eventOf(audit({ identity: { claim }, ...change }))
  const sql = `${GROUP}/providers/Microsoft.Sql/servers/sql-orders`
  const machine = `${GROUP}/providers/Microsoft.Compute/virtualMachines/vm1`
  it.each<[string, AzureRecord, string, string]>([
    ['upn', { oid: OID, upn: 'a@example.com' }, 'human', 'user'],
    ['delegated, no upn', { oid: OID, appid: APPID, scp: 'user_impersonation' }, 'human', 'user'],
    ['application', appClaims, 'workload', 'service_principal'],
    ['managed identity', { ...appClaims, xms_mirid: machine }, 'workload', 'managed_identity'],
    ['identity of a SQL server', { ...appClaims, xms_mirid: sql }, 'cloud_service', 'managed_identity'],
    ['first party', { appid: '8cae6e77-e04e-42ce-b5cb-50d82bce26b1' }, 'cloud_service', 'cloud_service'],
    [
      'a person with a first-party tool',
      { ...userClaims, appid: '8cae6e77-e04e-42ce-b5cb-50d82bce26b1' },
      'human',
      'user',
    ],
    ['nobody', {}, 'unknown', 'anonymous'],
    ['claims of no one', { ver: '1.0' }, 'unknown', 'unknown'],
  ])('%s: %s, %s', (_, claim, initiated, type) => {
    const event = by(claim)
    expect([event.initiated_by, event.actor.type]).toEqual([initiated, type])
    expect(event.parse_warnings?.includes('unknown_identity_shape') ?? false).toBe(type === 'unknown')
  })

  it('oid before upn; the application beside it; session, tenant and issue time from the token', () => {
    const event = by({ ...userClaims, uti: 'u1', iat: '1772442000' })
    expect(event.actor).toMatchObject({
      id: OID,
      principal: OID,
      name: 'omar@example.com',
      session: 'u1',
      account: TENANT,
      application: userClaims.appid,
      credential_type: 'token',
    })
    expect(event.auth.session_created).toBe('2026-03-02T09:00:00.000Z')
  })
  it.each([
    ['1', 'service_key'],
    ['2', 'certificate'],
    ['0', 'unknown'],
  ])('appidacr %s: %s', (appidacr, type) =>
    expect(by({ ...appClaims, appidacr }).actor).toMatchObject({
      id: OID,
      principal: APPID,
      credential_type: type,
    }),
  )

  it('a token of another tenant crosses the border; a service of the provider does not', () => {
    const foreign = { iss: 'https://sts.windows.net/aaaaaaaa-0000-4000-8000-00000000000a/' }
    expect(by({ ...userClaims, ...foreign }).target.cross_account).toBe(true)
    expect(
      by({ appid: '8cae6e77-e04e-42ce-b5cb-50d82bce26b1', ...foreign }).target.cross_account,
    ).toBeUndefined()
  })
  it('a key used by a SQL server is used for sql, from no network of ours', () => {
    const event = by({ ...appClaims, xms_mirid: sql }, { operationName: 'KeyUnwrap' })
    expect(event).toMatchObject({
      crypto: { used_for: 'sql' },
      network: { source_class: 'service', source_ip: '198.51.100.20' },
    })
  })
})

describe('what', () => {
  const target = (operationName: string, properties: AzureRecord) =>
    eventOf(audit({ operationName }, { id: undefined, ...properties })).target
  const uri = (path: string) => ({ requestUri: `https://KV-Payments.vault.azure.net${path}?api-version=7.4` })
  it.each<[string, AzureRecord, string | undefined, string | undefined]>([
    ['KeyDecrypt', { id: `https://KV-Payments.vault.azure.net/keys/Orders/${VERSION}` }, KEY, VERSION],
    ['KeyDecrypt', uri(`/keys/orders/${VERSION}/decrypt`), KEY, VERSION],
    ['KeyGet', uri('/keys/orders/'), KEY, undefined],
    ['KeyCreate', uri('/keys/orders/create'), KEY, undefined],
    ['KeyPurge', uri('/deletedkeys/orders'), KEY, undefined],
    ['KeyRecover', uri('/deletedkeys/orders/recover'), KEY, undefined],
    ['KeyRestore', uri('/keys/restore'), undefined, undefined],
    ['KeyList', uri('/keys'), undefined, undefined],
    ['CertificateIssuerSet', uri('/certificates/issuers/ca'), undefined, undefined],
    ['SecretGet', uri('/secrets/db/'), 'https://kv-payments.vault.azure.net/secrets/db', undefined],
    [
      'KeyGet',
      { requestUri: 'https://kv-payments.vault.azure.cn/keys/orders' },
      'https://kv-payments.vault.azure.cn/keys/orders',
      undefined,
    ],
    ['KeyGet', { requestUri: '::::' }, undefined, undefined],
  ])('%s %j: %s', (name, properties, id, version) => {
    expect(target(name, properties)).toMatchObject({
      container: VAULT,
      account: SUBSCRIPTION,
      ...(id && { key_id: id }),
    })
    expect([target(name, properties).key_id, target(name, properties).key_version]).toEqual([id, version])
  })

  it.each([
    [false, 'disable', 'high', 'disabled'],
    [true, 'enable', 'medium', 'enabled'],
    [undefined, 'update_metadata', 'medium', undefined],
  ])('KeyUpdate with enabled %s: %s', (enabled, operation, criticality, state) => {
    const event = eventOf(
      audit({ operationName: 'KeyUpdate' }, { keyProperties: { attributes: { enabled } } }),
    )
    expect([event.operation, event.criticality, event.target.new_state]).toEqual([
      operation,
      criticality,
      state,
    ])
  })

  it('type, size, end and exportable of a key', () => {
    const keyProperties = {
      type: 'RSA-HSM',
      size: 3072,
      attributes: { enabled: true, exp: 1835514000, exportable: true },
    }
    const event = eventOf(audit({ operationName: 'KeyImport' }, { keyProperties }))
    expect(event.crypto).toMatchObject({
      algorithm: 'RSA-HSM-3072',
      key_spec: 'RSA-HSM-3072',
      protection_level: 'HSM',
    })
    expect(event.change).toMatchObject({
      expires_at: '2028-03-01T09:00:00.000Z',
      settings: { exportable: 'true' },
    })
  })

  it.each([
    [{ type: 'Rotate' }, 'strengthen', 350],
    [{ type: 'Notify' }, 'weaken', undefined],
  ])('a rotation policy that says %j', (action, effect, days) => {
    const policy = { lifetimeActions: [{ trigger: { timeAfterCreate: 'P350D' }, action }] }
    const event = eventOf(audit({ operationName: 'KeyRotationPolicySet' }, { keyRotationPolicy: policy }))
    expect([event.operation_effect, event.change?.rotation_days]).toEqual([effect, days])
    expect(eventOf(audit({ operationName: 'KeyRotationPolicySet' })).operation_effect).toBeUndefined()
  })
})

describe('changes of a vault', () => {
  const vault = {
    tenantId: TENANT,
    enableRbacAuthorization: false,
    enablePurgeProtection: null,
    softDeleteRetentionInDays: 7,
    publicNetworkAccess: 'Enabled',
    networkAcls: {
      defaultAction: 'Allow',
      bypass: 'AzureServices',
      ipRules: [{ value: '192.0.2.40/32' }, { value: '0.0.0.0/0' }],
    },
    accessPolicies: [
      { tenantId: TENANT, objectId: OID, permissions: { keys: ['get', 'unwrapKey'], secrets: ['all'] } },
      { tenantId: 'aaaaaaaa-0000-4000-8000-00000000000a', objectId: 'o-2', permissions: {} },
    ],
  }
  const expected = {
    settings: {
      rbac_authorization: 'false',
      public_network_access: 'Enabled',
      soft_delete_days: '7',
      network_default_action: 'Allow',
      network_bypass: 'AzureServices',
      network_ip_rules: '192.0.2.40/32,0.0.0.0/0',
    },
    bindings: [
      { action: 'add', role: 'keys:get,unwrapKey;secrets:all', member: OID },
      { action: 'add', member: 'o-2' },
    ],
    flags: ['purge_protection_off', 'rbac_toggle', 'network_open', 'external_account'],
  }
  it.each<[string, AzureRecord]>([
    ['Activity log', activity('Microsoft.KeyVault/vaults/write', {}, body(vault))],
    [
      'Activity log, answer only',
      activity('Microsoft.KeyVault/vaults/write', {}, { responseBody: json({ properties: vault }) }),
    ],
    ['audit record', audit({ operationName: 'VaultPut' }, vault)],
    ['audit record, nested', audit({ operationName: 'VaultPatch' }, { properties: vault })],
  ])('%s', (_, record) => expect(eventOf(record).change).toEqual(expected))

  it('what is not mentioned is not off', () => {
    expect(eventOf(audit({ operationName: 'VaultPatch' })).change).toBeUndefined()
    const calm = {
      enablePurgeProtection: true,
      networkAcls: { defaultAction: 'Deny' },
      enableRbacAuthorization: true,
    }
    expect(eventOf(activity('Microsoft.KeyVault/vaults/write', {}, body(calm))).change?.flags).toBeUndefined()
    expect(eventOf(activity('Microsoft.KeyVault/vaults/write')).change).toBeUndefined()
  })

  it('difference of an access policy, as VaultPatch tells it', () => {
    const properties = {
      addedAccessPolicy: { TenantId: TENANT, ObjectId: 'o-3', Permissions: { keys: ['get'] } },
      removedAccessPolicy: { ObjectId: 'o-4' },
      addedIpRule: { Value: '198.51.0.0/16' },
    }
    expect(eventOf(audit({ operationName: 'VaultPatch' }, properties)).change).toEqual({
      bindings: [
        { action: 'add', role: 'keys:get', member: 'o-3' },
        { action: 'remove', member: 'o-4' },
      ],
      settings: { network_ip_rules: '198.51.0.0/16' },
    })
  })

  it('an access policy call says in its path what it does', () => {
    const resourceId = `${VAULT}/accessPolicies/remove`
    const policies = body({ accessPolicies: [{ objectId: OID, permissions: { keys: ['get'] } }] })
    const event = eventOf(
      activity('Microsoft.KeyVault/vaults/accessPolicies/write', { resourceId }, policies),
    )
    expect(event.change?.bindings).toEqual([{ action: 'remove', role: 'keys:get', member: OID }])
    expect(event.target.container).toBe(VAULT)
  })
})

describe('roles, guardrails and logs', () => {
  const role = 'e147488a-f6f5-4113-8e2d-b22465e65bf6'
  const assign = (scope: string, verb = 'write') =>
    activity(
      `Microsoft.Authorization/roleAssignments/${verb}`,
      { resourceId: `${scope}/providers/Microsoft.Authorization/roleAssignments/1` },
      {
        requestbody: json({
          Id: '1',
          Properties: {
            PrincipalId: 'o-mi',
            RoleDefinitionId: `/providers/roleDefinitions/${role.toUpperCase()}`,
            Scope: scope,
          },
        }),
      },
    )
  it.each([
    [VAULT, VAULT],
    [`${VAULT}/keys/orders-tde`, `${VAULT}/keys/orders-tde`],
    [HSM, HSM],
    [GROUP, GROUP],
    [`/subscriptions/${SUBSCRIPTION}`, `/subscriptions/${SUBSCRIPTION}`],
    [
      '/providers/Microsoft.Management/managementGroups/root',
      '/providers/microsoft.management/managementgroups/root',
    ],
    ['', '/'],
  ])('an assignment on "%s" concerns keys', (scope, container) => {
    expect(eventOf(assign(scope))).toMatchObject({
      operation: 'role_assign',
      target: { object_type: 'role_assignment', container },
      change: { bindings: [{ action: 'add', role, member: 'o-mi' }] },
    })
    expect(eventOf(assign(scope, 'delete')).change?.bindings?.[0]?.action).toBe('remove')
  })
  it('an assignment, a diagnostic setting on anything else does not', () => {
    const machine = `${GROUP}/providers/Microsoft.Compute/virtualMachines/vm1`
    expect(normalized(assign(machine))).toEqual({ kind: 'skipped', reason: 'out_of_scope' })
    const resourceId = `${machine}/providers/microsoft.insights/diagnosticSettings/all`
    const record = activity('Microsoft.Insights/diagnosticSettings/delete', { resourceId })
    expect(normalized(record)).toEqual({ kind: 'skipped', reason: 'out_of_scope' })
  })

  const hub = '/subscriptions/1/x/authorizationrules/send'
  it.each([
    [
      'audit to a hub',
      { logs: [{ categoryGroup: 'audit', enabled: true }], eventHubAuthorizationRuleId: hub },
      'strengthen',
      undefined,
    ],
    ['AuditEvent', { logs: [{ category: 'AuditEvent', enabled: true }] }, 'strengthen', undefined],
    [
      'only another category',
      { logs: [{ category: 'AzurePolicyEvaluationDetails', enabled: true }] },
      'weaken',
      ['logging_reduced'],
    ],
    ['switched off', { logs: [{ category: 'AuditEvent', enabled: false }] }, 'weaken', ['logging_reduced']],
    ['not said', {}, undefined, undefined],
  ])('diagnostic setting, %s', (_, properties, effect, flags) => {
    const resourceId = `${VAULT}/providers/microsoft.insights/diagnosticSettings/audit`
    const event = eventOf(
      activity('Microsoft.Insights/diagnosticSettings/write', { resourceId }, body(properties)),
    )
    expect([event.operation, event.operation_effect, event.change?.flags]).toEqual([
      'logging_change',
      effect,
      flags,
    ])
    expect(event.change?.settings?.['destination']).toBe(
      'eventHubAuthorizationRuleId' in properties ? hub : undefined,
    )
  })

  it('an event hub counts only on the ingest path', () => {
    const resourceId = `${GROUP}/providers/Microsoft.EventHub/namespaces/ns-logs`
    const record = activity('Microsoft.EventHub/namespaces/delete', { resourceId })
    expect(normalized(record)).toEqual({ kind: 'skipped', reason: 'outside_ingest_path' })
    for (const path of ['ns-logs', resourceId, `${resourceId}/eventhubs/audit`, '*/namespaces/ns-*'])
      expect(eventOf(record, { ingest_path: [path] }).operation).toBe('logging_disable')
  })

  it('storage: only with a key, the key without its version', () => {
    const name = 'Microsoft.Storage/storageAccounts/write'
    const encryption = {
      keySource: 'Microsoft.Keyvault',
      keyVaultProperties: {
        keyvaulturi: 'https://kv-payments.vault.azure.net/',
        keyname: 'orders',
        keyversion: VERSION,
      },
    }
    const event = eventOf(activity(name, {}, body({ encryption })))
    expect(event.target).toMatchObject({ key_id: KEY, key_version: VERSION })
    expect(event.change?.settings).toEqual({
      key_source: 'Microsoft.Keyvault',
      kms_key_id: `${KEY}/${VERSION}`,
    })
    expect(normalized(activity(name, {}, body({ tags: {} })))).toEqual({
      kind: 'skipped',
      reason: 'out_of_scope',
    })
  })

  it('Defender: only the plan for Key Vault', () => {
    const plan = (name: string, pricingTier: string) =>
      activity(
        'Microsoft.Security/pricings/write',
        { resourceId: `/subscriptions/1/providers/Microsoft.Security/pricings/${name}` },
        body({ pricingTier }),
      )
    expect(eventOf(plan('KeyVaults', 'Free')).operation).toBe('logging_disable')
    expect(eventOf(plan('KeyVaults', 'Standard')).operation).toBe('logging_change')
    expect(normalized(plan('VirtualMachines', 'Free')).kind).toBe('skipped')
  })
})

describe('Entra', () => {
  const K = (id: string) => `[KeyIdentifier=${id},KeyType=Password,KeyUsage=Verify,DisplayName=x]`
  const credentials = (oldValue: unknown, newValue: unknown) => ({
    targetResources: [
      {
        id: 'o-app',
        type: 'Application',
        modifiedProperties: [{ displayName: 'KeyDescription', oldValue, newValue }],
      },
    ],
  })
  const update = 'Update application \u2013 Certificates and secrets management '
  it.each<[unknown, unknown, object[] | undefined, string | undefined]>([
    ['[]', json([K('K1')]), [{ action: 'add', role: 'Password', member: 'K1' }], undefined],
    [null, json(json([K('K1')])), [{ action: 'add', role: 'Password', member: 'K1' }], undefined],
    [
      json([K('K1')]),
      json([K('K1'), K('K2')]),
      [{ action: 'add', role: 'Password', member: 'K2' }],
      undefined,
    ],
    [json([K('K1')]), '[]', [{ action: 'remove', role: 'Password', member: 'K1' }], 'weaken'],
    [undefined, undefined, undefined, undefined],
  ])('credentials %j to %j', (before, after, bindings, effect) => {
    const event = eventOf(entraAudit(update, credentials(before, after)))
    expect([event.change?.bindings, event.operation_effect]).toEqual([bindings, effect])
    expect(event).toMatchObject({
      operation: 'credential_change',
      target: { object_type: 'credential', container: 'o-app' },
    })
  })

  it('the companion record without values shares the action', () => {
    const one = eventOf(entraAudit(update, credentials('[]', json([K('K1')]))))
    const two = eventOf(entraAudit('Update application', credentials(undefined, undefined)))
    expect([two.action_id, two.operation]).toEqual([one.action_id, 'identity_change'])
    expect(two.event_id).not.toBe(one.event_id)
  })

  it('a person, an application, nobody', () => {
    const by = (initiatedBy: object) => eventOf(entraAudit('Add application', { initiatedBy }))
    expect(eventOf(entraAudit('Add application'))).toMatchObject({
      initiated_by: 'human',
      actor: { id: OID, name: 'lena@example.com', account: TENANT },
      auth: { mfa: 'unknown' },
      network: { source_ip: '198.51.100.10', user_agent: 'Mozilla/5.0' },
    })
    const app = by({ app: { appId: APPID, displayName: 'pipeline', servicePrincipalId: OID } })
    expect(app).toMatchObject({
      initiated_by: 'workload',
      actor: { id: OID, principal: APPID },
      auth: { mfa: 'not_applicable' },
    })
    expect(app.network).toEqual({ source_class: 'unknown', user_agent: 'Mozilla/5.0' })
    expect(by({})).toMatchObject({
      initiated_by: 'unknown',
      actor: { type: 'unknown' },
      auth: { mfa: 'unknown' },
    })
  })

  it.each([
    ['success', '', 'success'],
    ['failure', 'Insufficient privileges to complete the operation.', 'denied'],
    ['failure', 'Object not found', 'failure'],
    ['', '', 'unknown'],
  ])('outcome %s %s: %s', (result, resultReason, outcome) =>
    expect(eventOf(entraAudit('Add application', { result, resultReason })).outcome).toBe(outcome),
  )

  const modified = (values: Record<string, string>) =>
    Object.entries(values).map(([displayName, newValue]) => ({ displayName, newValue: json(newValue) }))
  it('an owner, a directory role with its end, an application role', () => {
    const owner = [
      { id: 'u-1', type: 'User', modifiedProperties: modified({ 'Application.ObjectID': 'o-app' }) },
    ]
    expect(eventOf(entraAudit('Add owner to application', { targetResources: owner }))).toMatchObject({
      change: { bindings: [{ action: 'add', role: 'owner', member: 'u-1' }] },
      target: { container: 'o-app' },
    })
    const member = [
      {
        id: 'u-1',
        type: 'User',
        modifiedProperties: modified({ 'Role.DisplayName': 'Global Administrator' }),
      },
    ]
    const additionalDetails = [{ key: 'ExpirationTime', value: '2026-03-02T17:00:00Z' }]
    const name = 'Add member to role completed (PIM activation)'
    expect(eventOf(entraAudit(name, { targetResources: member, additionalDetails })).change).toEqual({
      bindings: [{ action: 'add', role: 'Global Administrator', member: 'u-1' }],
      expires_at: '2026-03-02T17:00:00Z',
    })
    const app = [
      {
        id: 'graph',
        type: 'ServicePrincipal',
        modifiedProperties: modified({ 'AppRole.Value': 'Mail.Read', 'ServicePrincipal.ObjectID': 'o-sp' }),
      },
    ]
    expect(
      eventOf(entraAudit('Add app role assignment to service principal', { targetResources: app })).change
        ?.bindings,
    ).toEqual([{ action: 'add', role: 'Mail.Read', member: 'o-sp' }])
  })

  it.each(['[false]', 'false', '"false"'])('a service principal that is switched off by %s', (newValue) => {
    const targetResources = [
      {
        id: 'o-sp',
        type: 'ServicePrincipal',
        modifiedProperties: [{ displayName: 'AccountEnabled', oldValue: '[true]', newValue }],
      },
    ]
    const event = eventOf(entraAudit('Update service principal', { targetResources }))
    expect(event).toMatchObject({
      operation: 'identity_change',
      criticality: 'high',
      target: { new_state: 'disabled' },
    })
  })

  it('the secret a service principal signed in with', () => {
    const event = eventOf(
      signIn('ServicePrincipalSignInLogs', {
        servicePrincipalId: OID,
        servicePrincipalName: 'sp-sql01',
        servicePrincipalCredentialKeyId: 'K1',
        clientCredentialType: 'clientSecret',
      }),
    )
    expect(event).toMatchObject({
      initiated_by: 'workload',
      outcome: 'success',
      time: { event: '2026-03-02T09:00:00.1234567Z', provider_received: '2026-03-02T09:00:05Z' },
      actor: {
        id: OID,
        principal: APPID,
        name: 'sp-sql01',
        type: 'service_principal',
        credential_id: 'K1',
        credential_type: 'service_key',
        session: 'u1',
      },
      target: { container: 'Azure Key Vault' },
    })
  })

  it.each([
    [0, 'success'],
    [50074, 'challenge'],
    [53003, 'denied'],
    [50126, 'failure'],
    ['x', 'unknown'],
  ])('sign-in with error code %s: %s', (errorCode, outcome) =>
    expect(eventOf(signIn('SignInLogs', { status: { errorCode } }, { resultType: '' })).outcome).toBe(
      outcome,
    ),
  )
})

describe('time and ids', () => {
  it('keeps seven digits; an envelope or nothing else stands in', () => {
    expect(eventOf(audit()).time.event).toBe('2026-03-02T09:00:00.1234567Z')
    for (const record of [
      audit({ time: 'yesterday' }),
      activity('Microsoft.KeyVault/vaults/write', { time: 1 }),
      signIn('SignInLogs', { createdDateTime: 0 }, { time: '' }),
    ])
      expect(normalized(record)).toMatchObject({ kind: 'rejected', reason: 'bad_time' })
  })

  const id = (record: AzureRecord) => eventOf(record).event_id
  it.each<[string, AzureRecord]>([
    ['time', audit({ time: '2026-03-02T09:00:00.1234568Z' })],
    ['resource', audit({ resourceId: HSM })],
    ['operation', audit({ operationName: 'KeyEncrypt' })],
    ['correlation', audit({ correlationId: '' })],
    ['address', audit({ callerIpAddress: '198.51.100.21' })],
    ['caller', audit({ identity: { claim: { ...userClaims, oid: 'other' } } })],
    ['request', audit({}, { requestUri: `${KEY}/decrypt` })],
    ['status', audit({}, { httpStatusCode: 403 })],
    ['duration', audit({ durationMs: '13' })],
  ])('the id of an audit record depends on its %s', (_, record) => expect(id(record)).not.toBe(id(audit())))
  it('and on nothing else', () => {
    expect(id(audit({ resourceId: VAULT, durationMs: 12, resultType: 'x', Level: 4 }))).toBe(id(audit()))
    expect(eventOf(audit()).action_id).toBe(id(audit()))
  })
  it('the Activity log and Entra have ids of their own', () => {
    const name = 'Microsoft.KeyVault/vaults/write'
    expect(id(activity(name, { eventDataId: 'E1' }))).toBe(
      id(activity(name, { eventDataId: 'e1', resultType: 'Failure' })),
    )
    expect(id(activity(name, { eventDataId: 'E1' }))).not.toBe(id(activity(name, { eventDataId: 'E2' })))
    expect(id(entraAudit('Add application', { id: 'D1' }))).not.toBe(
      id(entraAudit('Add application', { id: 'D2' })),
    )
    expect(eventOf(entraAudit('Add application', { id: undefined })).parse_warnings).toEqual(['id_fallback'])
  })
})

describe('hostile values', () => {
  const untouched = Object.getOwnPropertyNames(Object.prototype).join()
  const own = (name: string, value: unknown): AzureRecord => JSON.parse(`{${json(name)}:${json(value)}}`)
  const objects: readonly unknown[] = [
    null,
    0,
    true,
    '',
    [],
    [[]],
    {},
    { toString: 1, valueOf: 2 },
    [{ toString: 1 }],
    '[',
    '{',
    '{"a":',
    '\u202e\u0000',
    'x'.repeat(70_000),
    '['.repeat(50_000),
  ]
  const bases: readonly AzureRecord[] = [
    audit(),
    audit({ operationName: 'VaultPatch', resourceId: HSM }),
    activity('Microsoft.KeyVault/vaults/write', {}, body({ networkAcls: {} })),
    activity('Microsoft.Authorization/roleAssignments/write', {}, body({})),
    activity('Microsoft.Insights/diagnosticSettings/write', {}, body({ logs: [] })),
    activity('Microsoft.Storage/storageAccounts/write', {}, body({ encryption: { keySource: 'x' } })),
    entraAudit('Add application'),
    signIn('SignInLogs', { authenticationDetails: [] }),
  ]
  /** Every member, at the top and in the two next levels, replaced by every odd value. */
  const variants = function* (base: AzureRecord, depth = 3): Generator<AzureRecord> {
    for (const name of Object.keys(base)) {
      for (const odd of objects) yield { ...base, [name]: odd }
      const inner = base[name]
      if (depth > 0 && typeof inner === 'object' && inner !== null && !Array.isArray(inner))
        for (const one of variants(inner as AzureRecord, depth - 1)) yield { ...base, [name]: one }
    }
  }
  it.each(bases.map((base, at) => [at, base] as const))(
    'record %i: any member may be anything',
    (_, base) => {
      let count = 0
      for (const record of variants(base)) {
        const result = normalized(record)
        count++
        if (result.kind !== 'event') continue
        const issues = keyEvent.safeParse(result.event).error?.issues ?? []
        expect(issues, json(record).slice(0, 500)).toEqual([])
      }
      expect(count).toBeGreaterThan(100)
      expect(Object.getOwnPropertyNames(Object.prototype).join()).toBe(untouched)
    },
  )

  it.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])('%s is data', (name) => {
    const evil = own(name, { polluted: true })
    const records = [
      audit(
        { ...evil, operationName: name, resultSignature: name, identity: { claim: own(name, 'x') } },
        evil,
      ),
      activity(
        'Microsoft.KeyVault/vaults/write',
        {},
        { requestbody: json({ properties: own(name, 1) }), statusCode: name },
      ),
      entraAudit('Add application', {
        ...evil,
        targetResources: [{ ...evil, modifiedProperties: [{ displayName: name, newValue: name }] }],
      }),
    ]
    for (const record of records) eventOf(record)
    expect(normalized(activity(name)).kind).toBe('skipped')
    expect(eventOf(audit({ operationName: name })).operation).toBe('unknown')
    expect(Object.getOwnPropertyNames(Object.prototype).join()).toBe(untouched)
  })

  it('control characters never reach an event; long texts are cut and noted', () => {
    const event = eventOf(audit({ callerIpAddress: 'a\u0000b' }, { clientInfo: `\u202e${'u'.repeat(5000)}` }))
    expect(event.network.source_raw).toBe('a\\u0000b')
    expect(event.network.user_agent).toHaveLength(1024)
    expect(event.truncated).toEqual(['network.user_agent'])
  })

  it('a name that comes twice is noticed', () => {
    const text = json(audit()).replace('{', '{"operationName":"KeyGet",')
    expect(scan(text).events[0]?.parse_warnings).toEqual(['duplicate_json_key'])
  })
})
