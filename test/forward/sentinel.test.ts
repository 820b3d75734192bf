/** The Sentinel sink against an ingestion service that keeps the documented limits, and misbehaves when told to. */
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { ClientSecretCredential } from '@azure/identity'
import { isAggregateLogsUploadError, LogsIngestionClient } from '@azure/monitor-ingestion'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { OAuth2Server } from 'oauth2-mock-server'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { azureToken } from '../../src/forward/azure-token.ts'
import { pace } from '../../src/forward/pace.ts'
import { dcrAnswers, type SentinelOptions, sentinelSink } from '../../src/forward/sentinel.ts'
import { type Delivery, type Sink, SinkFault } from '../../src/pipeline/ports.ts'
import { renderings } from '../../src/render/renderings.ts'
import { alertStream, eventStream, sentinelTemplate } from '../../src/render/sentinel-template.ts'
import {
  CLIENT,
  type LogsIngestion,
  type LogsIngestionOptions,
  type Misbehavior,
  startLogsIngestion,
  TENANT,
} from '../standins/logs-ingestion.ts'
import { alertOf, eventOf } from '../support/deliveries.ts'
import { root } from '../support/scan.ts'

let signal: AbortSignal
beforeEach(() => {
  signal = AbortSignal.timeout(20_000)
})
const ends: (() => Promise<void>)[] = []
const folder = mkdtempSync(join(tmpdir(), 'keytrail-sentinel-'))
const usual = getCACertificates('default')
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  setDefaultCACertificates(usual)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const SCOPE = 'https://monitor.azure.com/.default'
const names = (stream: typeof alertStream) => stream.columns.map(({ name }) => name)
const streams = { [alertStream.stream]: names(alertStream), [eventStream.stream]: names(eventStream) }

const serve = async (options: Partial<LogsIngestionOptions> = {}): Promise<LogsIngestion> => {
  const server = await startLogsIngestion({ rule: 'dcr-1', streams, ...options })
  setDefaultCACertificates([...usual, server.certificate])
  ends.push(() => server.close())
  return server
}

let certificates = 0
const start = async (
  serverOptions: Partial<LogsIngestionOptions> = {},
  options: Partial<SentinelOptions> & { secret?: () => string } = {},
): Promise<{
  server: LogsIngestion
  sink: Sink
  rows: () => readonly Readonly<Record<string, unknown>>[]
}> => {
  const server = await serve(serverOptions)
  const caFile = join(folder, `ca-${certificates++}.pem`)
  writeFileSync(caFile, server.certificate)
  const { secret = () => 'the-secret', ...more } = options
  const stream = more.stream ?? alertStream.stream
  const sink = sentinelSink({
    name: 'sentinel',
    endpoint: server.url,
    rule: 'dcr-1',
    stream,
    caFile,
    rendering: renderings.asim,
    inFlight: 2,
    clock: Date.now,
    token: azureToken({
      credential: { type: 'client_secret', tenant: TENANT, client: CLIENT, secret: '' },
      authority: server.url,
      scope: SCOPE,
      secretOf: secret,
    }),
    ...more,
  })
  ends.push(() => sink.close())
  return { server, sink, rows: () => server.rows.get(stream) ?? [] }
}

const first =
  (bad: Misbehavior) =>
  (number: number): Misbehavior | undefined =>
    number === 0 ? bad : undefined
const alerts = (count: number) => Array.from({ length: count }, (_, n) => alertOf(n + 1))
const of = (some: Partial<Delivery>): Delivery => ({ events: [], alerts: [], ...some })

const sendAll = async (sink: Sink, delivery: Delivery) => {
  const refused = []
  for (let rest: Delivery | undefined = delivery; rest !== undefined; ) {
    const done = await sink.send(rest, signal)
    refused.push(...done.refused)
    rest = done.again?.delivery
  }
  return refused
}

describe('rows', () => {
  test('an alert has the columns of the table and no other', async () => {
    const { server, sink, rows } = await start()
    const alert = alertOf(1, { replay_run_id: 'r1' })
    expect((await sink.send(of({ alerts: [alert] }), signal)).again).toBeUndefined()
    expect(rows()).toEqual([
      {
        TimeGenerated: '2026-03-02T09:01:00.250Z',
        EventTime: '2026-03-02T09:01:00.250Z',
        EventStartTime: '2026-03-02T09:00:00Z',
        EventEndTime: '2026-03-02T09:01:00Z',
        EventCount: 1,
        EventSchema: 'AlertEvent',
        EventSchemaVersion: '0.1',
        EventVendor: 'Keytrail',
        EventProduct: 'Keytrail',
        EventType: 'Alert',
        EventSubType: 'Threat',
        EventUid: `${alert.alert_id}:1`,
        EventSeverity: 'High',
        EventOriginalSeverity: 'high',
        AlertId: alert.alert_id,
        AlertRevision: 1,
        AlertName: alert.title,
        AlertDescription: alert.explanation,
        AlertStatus: 'Active',
        AttackTechniques: 'T1555',
        RuleName: 'burst-decrypt',
        RuleVersion: 1,
        Username: 'arn:aws:iam::111122223333:role/app',
        KeyId: 'arn:aws:kms:eu-west-1:111122223333:key/k',
        AccountId: '111122223333',
        CloudProvider: 'aws',
        ReplayRunId: 'r1',
        AdditionalFields: JSON.parse(JSON.stringify(alert)),
      },
    ])
    expect([...server.droppedColumns]).toEqual([])
  })

  test('an event has the columns of the table and no other', async () => {
    const { server, sink, rows } = await start({}, { stream: eventStream.stream })
    await sink.send(of({ events: [eventOf(1)] }), signal)
    expect(rows()).toMatchObject([
      {
        TimeGenerated: '2026-03-02T09:00:00.123456Z',
        EventType: 'Execute',
        EventSubType: 'cryptographic/decrypt',
        EventResult: 'Failure',
        EventResultDetails: 'denied',
        EventVendor: 'AWS',
        EventProduct: 'KMS',
        Operation: 'Decrypt',
        Object: 'arn:aws:kms:eu-west-1:111122223333:key/k',
        ObjectType: 'Cloud Resource',
        ActorUserType: 'Application',
        SrcIpAddr: '203.0.113.7',
        Mfa: 'unknown',
        AdditionalFields: JSON.parse(eventOf(1)),
      },
    ])
    expect([...server.droppedColumns]).toEqual([])
  })

  test('requests of many small rows stay below the limit, commas and brackets counted', async () => {
    const { server, sink, rows } = await start({}, { stream: eventStream.stream })
    await sink.send(of({ events: Array.from({ length: 4000 }, (_, n) => eventOf(n)) }), signal)
    expect(rows()).toHaveLength(4000)
    expect(server.requests.every(({ status }) => status === 204)).toBe(true)
    const largest = Math.max(...server.requests.map(({ bytes }) => bytes))
    expect(largest).toBeLessThanOrEqual(900_001)
    expect(largest).toBeGreaterThan(800_000)
  })

  test('a value over 64 KB is cut here, with its digest, not by the service', async () => {
    const { server, sink, rows } = await start({}, { stream: eventStream.stream })
    const policy = 'é'.repeat(40_000)
    await sink.send(of({ events: [eventOf(1, { change: { policy } })] }), signal)
    expect(server.cutFields).toBe(0)
    const [row] = rows()
    const fields = row?.['AdditionalFields'] as { change: { policy: string }; event_id: string }
    expect(fields.event_id).toBe(JSON.parse(eventOf(1)).event_id)
    expect(fields.change.policy).toContain('é'.repeat(100))
    expect(fields.change.policy).toContain(
      `80000 bytes, SHA-256 ${createHash('sha256').update(policy).digest('hex')}`,
    )
  })
})

const overview = 'https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview'
const limits = 'https://learn.microsoft.com/azure/azure-monitor/fundamentals/service-limits'
const tutorial = 'https://learn.microsoft.com/azure/azure-monitor/logs/tutorial-logs-ingestion-portal'
const package_ = '@azure/monitor-ingestion 1.2.0'
const http = 'https://www.rfc-editor.org/rfc/rfc9110'
type Row = readonly [number, string | object, 'taken' | 'retried' | 'held', string]
const answers: readonly Row[] = [
  [204, '', 'taken', overview],
  [200, '', 'retried', package_],
  [400, { error: { code: 'InvalidStream', message: 'no such stream' } }, 'held', tutorial],
  [400, '', 'held', tutorial],
  [401, { error: { code: 'InvalidToken', message: 'expired' } }, 'held', tutorial],
  [403, { error: { code: 'OperationFailed', message: 'no access' } }, 'held', tutorial],
  [404, { error: { code: 'NotFound', message: 'no rule' } }, 'held', tutorial],
  [408, '', 'retried', http],
  [413, '', 'retried', limits],
  [415, '', 'held', http],
  [418, '', 'held', http],
  [429, '', 'retried', limits],
  [500, '', 'retried', package_],
  [502, '<html>', 'retried', http],
  [503, '', 'retried', package_],
  [504, '', 'retried', http],
]

describe('every answer', () => {
  test('of the table has a row here', () =>
    expect(
      Object.keys(dcrAnswers)
        .map(Number)
        .filter((one) => !answers.some(([status]) => status === one)),
    ).toEqual([]))

  test.each(answers)('%i %o is %s (%s)', async (status, body, expected) => {
    const { server, sink, rows } = await start()
    if (status !== 204) server.behave = first({ status, body, headers: { 'retry-after': '7' } })
    const done = await sink.send(of({ alerts: alerts(2) }), signal)
    expect(done.refused).toEqual([])
    expect(done.again?.fault ?? false).toBe(expected === 'held')
    if (done.again !== undefined)
      expect(done.again).toMatchObject({ afterMs: 7000, delivery: { alerts: alerts(2) } })
    if (done.again !== undefined) expect(await sendAll(sink, done.again.delivery)).toEqual([])
    expect(rows().map((row) => row['AlertId'])).toEqual(alerts(2).map(({ alert_id }) => alert_id))
  })

  test('a row that the service does not understand is refused, its neighbors are not', async () => {
    const { server, sink, rows } = await start()
    server.behave = (number) =>
      [0, 1, 3].includes(number)
        ? { status: 400, body: { error: { code: 'InvalidRequestPayload', message: 'cannot read' } } }
        : undefined
    const refused = await sendAll(sink, of({ alerts: alerts(4) }))
    expect(refused).toHaveLength(1)
    expect(rows()).toHaveLength(3)
  })

  test.each([
    ['at once', 2],
    ['before storing', 2],
    ['after storing', 4],
    ['in head', 4],
  ] as const)('a connection that ends %s: the same ids again', async (cut, stored) => {
    const { server, sink, rows } = await start()
    server.behave = first({ cut })
    expect(await sendAll(sink, of({ alerts: alerts(2) }))).toEqual([])
    expect(rows()).toHaveLength(stored)
    expect(new Set(rows().map((row) => row['AlertId'])).size).toBe(2)
  })
})

describe('sign-in', () => {
  test('a wrong secret is a fault with the reason of Entra; the right one is taken up without a restart', async () => {
    let secret = 'wrong'
    const { server, sink, rows } = await start({}, { secret: () => secret })
    await expect(sink.open({}, signal)).rejects.toThrow(SinkFault)
    await expect(sink.open({}, signal)).rejects.toThrow(/AADSTS7000215/)
    const done = await sink.send(of({ alerts: alerts(1) }), signal)
    expect(done.again?.fault).toBe(true)
    secret = 'the-secret'
    expect(await sendAll(sink, of({ alerts: alerts(1) }))).toEqual([])
    expect(rows()).toHaveLength(1)
    expect(server.tokens).toBe(1)
  })

  test('a token is used again, and renewed before it ends', async () => {
    const { server, sink } = await start()
    for (const one of alerts(5)) await sink.send(of({ alerts: [one] }), signal)
    expect(server.tokens).toBe(1)
    const short = await start({ tokenSeconds: 2 })
    for (let n = 1; n <= 3; n++) {
      expect((await short.sink.send(of({ alerts: [alertOf(n)] }), signal)).again).toBeUndefined()
      await new Promise((resolve) => setTimeout(resolve, 1200))
    }
    expect(short.server.tokens).toBeGreaterThan(1)
  })

  test('a role that is missing is named and waited for', async () => {
    const { server, sink, rows } = await start()
    server.hasRole = false
    await expect(sink.open({}, signal)).rejects.toThrow(/Monitoring Metrics Publisher/)
    server.hasRole = true
    await sink.open({}, signal)
    expect(rows()).toEqual([])
  })

  test('a rule or a stream that does not exist is named', async () => {
    await expect((await start({}, { rule: 'dcr-2' })).sink.open({}, signal)).rejects.toThrow(/no such rule/)
    await expect((await start({}, { stream: 'Custom-X' })).sink.open({}, signal)).rejects.toThrow(
      /InvalidStream/,
    )
  })

  test('tokens of an independent server are taken up', async () => {
    const server = await serve()
    const files = ['key', 'cert'].map((name) => join(folder, `oauth.${name}`))
    const { generate } = await import('selfsigned')
    // Another name than the service's: two authorities of one name and OpenSSL may ask the wrong one.
    const pems = await generate([{ name: 'commonName', value: 'Entra of the test' }], {
      extensions: [
        { name: 'basicConstraints', cA: true },
        { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] },
      ],
    })
    const [key = '', cert = ''] = files
    writeFileSync(key, pems.private)
    writeFileSync(cert, pems.cert)
    setDefaultCACertificates([...usual, server.certificate, pems.cert])
    const oauth = new OAuth2Server(key, cert, {
      endpoints: {
        wellKnownDocument: `/${TENANT}/v2.0/.well-known/openid-configuration`,
        token: `/${TENANT}/oauth2/v2.0/token`,
      },
    })
    await oauth.issuer.keys.generate('RS256')
    await oauth.start(0, 'localhost')
    ends.push(() => oauth.stop())
    const token = azureToken({
      credential: { type: 'client_secret', tenant: TENANT, client: CLIENT, secret: '' },
      authority: `https://localhost:${oauth.address().port}`,
      scope: SCOPE,
      secretOf: () => 'any',
    })
    expect(await token.token(signal)).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
  })
})

test('no more requests a minute than the service takes', async () => {
  let now = 60_000 * 1000 - 50
  const take = pace({ requests: 3, bytes: 1000 }, () => now)
  const took: number[] = []
  const began = Date.now()
  for (let n = 0; n < 4; n++) {
    if (n === 3) setTimeout(() => (now += 50), 40)
    await take(1, signal)
    took.push(now)
  }
  expect(took.map((at) => Math.floor(at / 60_000))).toEqual([999, 999, 999, 1000])
  expect(Date.now() - began).toBeGreaterThanOrEqual(40)
})

describe("Microsoft's own client against this server", () => {
  const client = (server: LogsIngestion) =>
    new LogsIngestionClient(
      server.url,
      new ClientSecretCredential(TENANT, CLIENT, 'the-secret', {
        authorityHost: server.url,
        disableInstanceDiscovery: true,
      }),
    )

  test('is served', async () => {
    const server = await serve()
    await client(server).upload('dcr-1', alertStream.stream, [{ AlertId: 'a', Unknown: 1 }])
    expect(server.rows.get(alertStream.stream)).toEqual([{ AlertId: 'a' }])
    expect([...server.droppedColumns]).toEqual(['Unknown'])
  })

  test('meets the limit with many tiny rows, where its sum leaves out the commas', async () => {
    const server = await serve()
    const rows = Array.from({ length: 140_000 }, (_, n) => ({ A: n % 10 }))
    const failure = await client(server)
      .upload('dcr-1', alertStream.stream, rows)
      .catch((cause: unknown) => cause)
    expect(isAggregateLogsUploadError(failure)).toBe(true)
    expect(server.requests.map(({ status }) => status)).toContain(413)
  })

  test('retries when told to, and stores twice what was cut after it was stored', async () => {
    const server = await serve()
    server.behave = (number) =>
      number === 0
        ? { status: 429, headers: { 'retry-after': '1' } }
        : number === 1
          ? { cut: 'after storing' }
          : undefined
    await client(server).upload('dcr-1', alertStream.stream, [{ AlertId: 'a' }])
    expect(server.rows.get(alertStream.stream)).toHaveLength(2)
  })

  test('says which rule and stream do not exist', async () => {
    const server = await serve()
    for (const [rule, stream] of [
      ['dcr-2', alertStream.stream],
      ['dcr-1', 'Custom-X'],
    ] as const)
      await expect(client(server).upload(rule, stream, [{}])).rejects.toThrow()
    expect(server.requests.map(({ status }) => status)).toEqual([404, 400])
  })
})

/** ASimAuditEventLogs and ASimAlertEventLogs as Microsoft's documentation lists their columns. */
const asim = {
  audit: new Set(
    `TimeGenerated EventStartTime EventEndTime EventCount EventSchema EventSchemaVersion EventUid EventOriginalUid
     EventType EventSubType EventOriginalType EventResult EventResultDetails EventOriginalResultDetails EventSeverity
     EventOriginalSeverity EventVendor EventProduct Operation Object ObjectType OldValue NewValue ActorUserId
     ActorUsername ActorUserType ActorOriginalUserType ActorSessionId ActorScopeId ActingAppId ActingAppName SrcIpAddr
     SrcHostname SrcGeoCountry HttpUserAgent TargetAppName Dvc DvcScopeId DvcZone AdditionalFields`.split(
      /\s+/,
    ),
  ),
  alert: new Set(
    `TimeGenerated EventStartTime EventEndTime EventCount EventSchema EventSchemaVersion EventVendor EventProduct
     EventType EventSubType EventUid EventSeverity EventOriginalSeverity AlertId AlertName AlertDescription AlertStatus
     AttackTechniques RuleName Username AdditionalFields`.split(/\s+/),
  ),
}
const own = new Set(
  'EventTime Mfa AlertRevision RuleVersion KeyId AccountId CloudProvider ReplayRunId'.split(' '),
)
const mandatory =
  'EventCount EventStartTime EventEndTime EventType EventResult EventProduct EventVendor EventSchema EventSchemaVersion Dvc Operation Object ObjectType'

/** A resource as Azure gets it: expressions worked out, without what only the deployment reads. */
const deployed = (resource: object): unknown => {
  const { dependsOn: _, scope: __, ...body } = resource as Record<string, unknown>
  return JSON.parse(
    JSON.stringify(body)
      .replace(/"\[parameters\('retentionDays'\)\]"/g, '365')
      .replace(/"\[concat\([^"]*'\/([^']+)'\)\]"/g, '"$1"'),
  )
}

describe('tables', () => {
  test.each([
    ['AuditEvent', eventStream, asim.audit],
    ['AlertEvent', alertStream, asim.alert],
  ] as const)('%s has the columns of the standard, and some of our own', (_, { columns }, standard) => {
    for (const { name } of columns) {
      expect(standard.has(name) || own.has(name), name).toBe(true)
      expect(name).toMatch(/^[A-Za-z][A-Za-z0-9_]{0,44}$/)
      expect(['_ResourceId', 'id', '_SubscriptionId', 'TenantId', 'Type', 'UniqueId', 'Title']).not.toContain(
        name,
      )
    }
  })
  test('AuditEvent has every mandatory column', () => {
    for (const name of mandatory.split(' ')) expect(names(eventStream)).toContain(name)
  })

  const schemas = join(root, '../shared/schemas/azure-resource-types')
  test.skipIf(!existsSync(schemas))('the template is what the resource types allow', () => {
    const ajv = new Ajv2020({ strict: false, logger: false, validateFormats: false })
    const { resources } = sentinelTemplate()
    const checks = [
      ['tables.schema.json', 'Microsoft.OperationalInsights/workspaces/tables'],
      ['dataCollectionRules.schema.json', 'Microsoft.Insights/dataCollectionRules'],
      ['roleAssignments.schema.json', 'Microsoft.Authorization/roleAssignments'],
    ] as const
    for (const [file, type] of checks) {
      const validate = ajv.compile(JSON.parse(readFileSync(join(schemas, file), 'utf8')) as object)
      const some = resources.filter((one) => one.type === type)
      expect(some.length).toBeGreaterThan(0)
      for (const one of some) expect(validate(deployed(one)), JSON.stringify(validate.errors)).toBe(true)
    }
  })
})
