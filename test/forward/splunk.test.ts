/** The Splunk sink against a collector that knows all codes, and misbehaves when told to. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { epochText, type SplunkOptions, splunkSink } from '../../src/forward/splunk.ts'
import { type Delivery, type Sink, SinkFault } from '../../src/pipeline/ports.ts'
import { renderings } from '../../src/render/renderings.ts'
import { type Hec, type HecOptions, type Misbehavior, startHec } from '../standins/hec.ts'
import { alertOf, eventOf } from '../support/deliveries.ts'

let signal: AbortSignal
beforeEach(() => {
  signal = AbortSignal.timeout(15_000)
})
const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

const start = async (
  server: HecOptions = {},
  options: Partial<SplunkOptions> = {},
): Promise<{ hec: Hec; sink: Sink; notices: string[] }> => {
  const hec = await startHec(server)
  const notices: string[] = []
  const sink = splunkSink({
    name: 'splunk',
    url: hec.url,
    token: () => 'the-token',
    ack: 'preferred',
    gzip: false,
    rendering: renderings.cim,
    sourcetype: 'kms:alert',
    inFlight: 2,
    ackMs: 300_000,
    onNotice: (text) => notices.push(text),
    ...options,
  })
  ends.push(
    () => sink.close(),
    () => hec.close(),
  )
  return { hec, sink, notices }
}

/** The first event request is treated like this. */
const once =
  (bad: Misbehavior) =>
  (kind: 'event' | 'ack', number: number): Misbehavior | undefined =>
    kind === 'event' && number === 0 ? bad : undefined

const alerts = (count: number) => Array.from({ length: count }, (_, n) => alertOf(n + 1))
const events = (count: number) => Array.from({ length: count }, (_, n) => eventOf(n + 1))
const of = (some: Partial<Delivery>): Delivery => ({ events: [], alerts: [], ...some })
const idsIn = (hec: Hec) => hec.indexed.map(({ fields }) => fields?.['alert_id'])

/** Sends once, and waits until it is certain. */
const deliver = async (sink: Sink, delivery: Delivery) => {
  const { refused, again, confirmed, memo } = await sink.send(delivery, signal)
  return { refused, memo, again: again ?? (await confirmed) }
}

/** Sends until nothing is left, as the forward loop does. */
const sendAll = async (sink: Sink, delivery: Delivery) => {
  const refused = []
  const reasons: string[] = []
  for (let rest: Delivery | undefined = delivery; rest !== undefined; ) {
    const done = await deliver(sink, rest)
    refused.push(...done.refused)
    if (done.again) reasons.push(done.again.reason)
    rest = done.again?.delivery
  }
  return { refused, reasons }
}

describe('what is sent', () => {
  test('an alert: closed envelope, exact time, flat fields, CIM first, the record under kms', async () => {
    const { hec, sink } = await start({}, { index: 'kms' })
    const alert = alertOf(1, {
      time: { first_event: '2026-03-02T09:00:00Z', last_event: '2026-03-02T09:01:00.123456789Z' },
    })
    const done = await deliver(sink, of({ alerts: [alert] }))
    expect(done.again).toBeUndefined()
    const [one] = hec.indexed
    expect(one).toMatchObject({
      time: '1772442060.123456789',
      sourcetype: 'kms:alert',
      index: 'kms',
      source: 'keytrail:burst-decrypt',
      fields: {
        alert_id: alert.alert_id,
        detector_id: 'burst-decrypt',
        severity: 'high',
        provider: 'aws',
        account: '111122223333',
        key_id: 'arn:aws:kms:eu-west-1:111122223333:key/k',
        schema_version: 'kms.alert.v1',
      },
      event: {
        type: 'alert',
        app: 'keytrail',
        id: alert.alert_id,
        severity: 'high',
        signature_id: 'burst-decrypt',
        user: 'arn:aws:iam::111122223333:role/app',
        risk_score: 70,
        mitre_technique_id: ['T1555'],
      },
    })
    expect(one?.event['kms']).toEqual(alert)
    expect(Object.keys(one?.event ?? {}).at(-1)).toBe('kms')
    expect(JSON.stringify(one?.event).length).toBeLessThan(5000)
    expect(hec.headers[0]).toMatchObject({
      authorization: 'Splunk the-token',
      'x-splunk-request-channel': expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
  })

  test('an event, with gzip', async () => {
    const { hec, sink } = await start({}, { sourcetype: 'kms:event', gzip: true })
    await deliver(sink, of({ events: events(20) }))
    expect(hec.headers[0]?.['content-encoding']).toBe('gzip')
    expect(hec.indexed).toHaveLength(20)
    expect(hec.indexed[0]).toMatchObject({
      time: '1772442000.123456',
      source: 'keytrail:logs',
      event: {
        action: 'read',
        status: 'failure',
        severity: 'medium',
        src: '203.0.113.7',
        object_category: 'key',
        command: 'Decrypt',
        result_id: 'AccessDenied',
        vendor_product: 'AWS KMS',
        vendor_region: 'eu-west-1',
        kms: JSON.parse(eventOf(1)),
      },
    })
  })

  test.each([
    ['2026-03-02T09:00:00Z', '1772442000'],
    ['2026-03-02T09:00:00.5Z', '1772442000.5'],
    ['2026-03-02T09:00:00.000000001Z', '1772442000.000000001'],
  ])('the time %s is %s', (time, text) => expect(epochText(time)).toBe(text))

  test('requests stay below 1 MiB and 500 objects, cookies come back', async () => {
    const { hec, sink } = await start({}, { inFlight: 1 })
    const large = Array.from({ length: 2600 }, (_, n) =>
      alertOf(n + 1, { explanation: 'é'.repeat(n < 600 ? 2000 : 10) }),
    )
    const { refused, reasons } = await sendAll(sink, of({ alerts: large }))
    expect([refused, reasons]).toEqual([[], []])
    expect(idsIn(hec)).toEqual(large.map(({ alert_id }) => alert_id))
    expect(Math.max(...hec.requests.map(({ bytes }) => bytes))).toBeLessThanOrEqual(1024 * 1024)
    expect(Math.max(...hec.requests.map(({ objects }) => objects))).toBe(500)
    expect(hec.headers.at(-1)?.cookie).toBe('AWSELB=one')
  })
})

const page = 'https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector'
const observed = 'observed on Enterprise 10.4 and Cloud 10.5'

type Expected = 'taken' | 'retried' | 'held' | 'refused' | 'downgraded'

/** What becomes of three alerts when the collector answers so once: by the meaning each page gives the code. */
const codes: readonly (readonly [
  code: number,
  status: number,
  takes: number,
  more: object,
  Expected,
  from: string,
])[] = [
  [0, 200, 3, {}, 'taken', page],
  [1, 403, 0, {}, 'held', page],
  [2, 401, 0, {}, 'held', page],
  [3, 401, 0, {}, 'held', page],
  [4, 403, 0, {}, 'held', page],
  [5, 400, 0, {}, 'retried', page],
  [6, 400, 1, { 'invalid-event-number': 1 }, 'refused', page],
  [7, 400, 0, { 'invalid-event-number': 1 }, 'held', page],
  [8, 500, 0, {}, 'retried', page],
  [8, 500, 3, {}, 'retried', page],
  [9, 503, 0, {}, 'retried', page],
  [10, 400, 0, {}, 'held', page],
  [11, 400, 0, {}, 'held', page],
  [12, 400, 1, { 'invalid-event-number': 1 }, 'refused', page],
  [13, 400, 1, { 'invalid-event-number': 1 }, 'refused', page],
  [14, 400, 0, {}, 'downgraded', page],
  [15, 400, 1, { 'invalid-event-number': 1 }, 'refused', page],
  [16, 400, 0, {}, 'held', page],
  [17, 200, 3, {}, 'taken', page],
  [18, 503, 0, {}, 'retried', page],
  [19, 503, 0, {}, 'retried', page],
  [20, 503, 0, {}, 'retried', page],
  [21, 400, 0, {}, 'held', page],
  [22, 400, 0, {}, 'held', page],
  [23, 503, 0, {}, 'retried', page],
  [24, 200, 3, {}, 'taken', page],
  [25, 200, 3, {}, 'taken', page],
  [26, 429, 0, {}, 'retried', observed],
  [27, 429, 0, {}, 'retried', observed],
  [28, 400, 0, {}, 'held', observed],
]

describe('every code', () => {
  test.each(codes)(
    '%i with status %i after %i objects: %o is %s (%s)',
    async (code, status, takes, more, expected) => {
      const { hec, sink, notices } = await start()
      hec.behave = once({ status, takes, body: { text: 'as told', code, ...more } })
      const first = await deliver(sink, of({ alerts: alerts(3) }))
      const rest = first.again && (await sendAll(sink, first.again.delivery))
      const refused = [...first.refused, ...(rest?.refused ?? [])]
      const ids = idsIn(hec)
      expect([...new Set(ids), ...refused.map(({ id }) => id)].sort()).toEqual(
        alerts(3).map((one) => one.alert_id),
      )
      expect(first.again?.fault ?? false).toBe(expected === 'held')
      if (expected === 'refused') {
        expect(refused).toMatchObject([{ stream: 'alerts', id: alerts(3)[1]?.alert_id }])
        expect(refused[0]?.reason).toContain(`code ${code}`)
        expect(ids).toHaveLength(2)
      } else expect(refused).toEqual([])
      if (expected === 'taken') expect(hec.requests).toHaveLength(1)
      if (expected === 'held' || expected === 'downgraded') expect(hec.requests).toHaveLength(2)
      expect(notices.join()).toMatch(expected === 'downgraded' ? /no indexer acknowledgement/ : /^$/)
    },
  )

  test.each([
    [200, '<html>sign in</html>', false],
    [200, '', false],
    [200, '{"code":0', false],
    [204, '', true],
    [302, 'moved', true],
    [400, 'unexpected EOF', false],
    [400, '[1,2]', false],
    [401, '', true],
    [403, 'forbidden by a proxy', true],
    [404, 'not found', true],
    [408, '', false],
    [415, '', true],
    [429, 'slow down', false],
    [500, '"bare string"', false],
    [502, '<html>bad gateway</html>', false],
    [503, '', false],
    [504, '', false],
    [418, '{"code":99,"text":"new"}', true],
    [500, 'x'.repeat(100_000), false],
  ])('status %i with %s: sent again, a fault: %s', async (status, body, fault) => {
    const { hec, sink } = await start()
    hec.behave = once({ status, body })
    const first = await deliver(sink, of({ alerts: alerts(2) }))
    expect(first.again).toMatchObject({ fault, delivery: { alerts: alerts(2) } })
    expect(first.again?.reason.length).toBeLessThan(300)
    await sendAll(sink, alertsOf(first))
    expect(idsIn(hec)).toEqual(alerts(2).map(({ alert_id }) => alert_id))
  })
  const alertsOf = (done: Awaited<ReturnType<typeof deliver>>) => done.again?.delivery ?? of({})
})

describe('a body that is too large', () => {
  test('413 is split, also down to one object', async () => {
    const { hec, sink } = await start({ maxBytes: 20_000 })
    const all = [...alerts(60), alertOf(100, { explanation: 'x'.repeat(30_000) }), alertOf(101)]
    const { refused } = await sendAll(sink, of({ alerts: all }))
    expect(refused).toMatchObject([{ id: alertOf(100).alert_id, reason: expect.stringContaining('413') }])
    expect(new Set(idsIn(hec)).size).toBe(61)
    expect(hec.indexed).toHaveLength(61)
  })

  test('code 6 for object 0 of a large body is split before the object is suspected', async () => {
    const { hec, sink } = await start()
    hec.behave = once({
      status: 400,
      body: { text: 'Invalid data format', code: 6, 'invalid-event-number': 0 },
    })
    const large = Array.from({ length: 200 }, (_, n) => alertOf(n + 1, { explanation: 'x'.repeat(2500) }))
    const { refused } = await sendAll(sink, of({ alerts: large }))
    expect(refused).toEqual([])
    expect(hec.indexed).toHaveLength(200)
  })

  test('code 6 without a number is looked for by halves', async () => {
    const { hec, sink } = await start()
    const bad = alertOf(7).alert_id
    hec.behave = () => undefined
    const { refused } = await sendAll(sink, of({ alerts: alerts(3) }))
    expect(refused).toEqual([])
    hec.behave = (kind, number) =>
      kind === 'event' && number === 1
        ? { status: 400, body: { text: 'Invalid data format', code: 6 } }
        : undefined
    await sendAll(sink, of({ alerts: [alertOf(6), alertOf(7)] }))
    expect(idsIn(hec)).toContain(bad)
    expect(hec.requests.map(({ objects }) => objects)).toEqual([3, 2, 1, 1])
  })
})

describe('a connection that ends', () => {
  test.each([
    ['at once', 2],
    ['in body', 2],
    ['before taking', 2],
    ['after taking', 4],
    ['in head', 4],
    ['in answer', 4],
  ] as const)('%s: the same ids again', async (cut, indexed) => {
    const { hec, sink } = await start()
    hec.behave = once({ cut })
    const { reasons, refused } = await sendAll(sink, of({ alerts: alerts(2) }))
    expect(refused).toEqual([])
    expect(reasons).toHaveLength(1)
    expect(new Set(idsIn(hec)).size).toBe(2)
    expect(hec.indexed).toHaveLength(indexed)
  })

  test('nothing listens: the address is named', async () => {
    const { hec, sink } = await start()
    await hec.close()
    const done = await deliver(sink, of({ alerts: alerts(1) }))
    expect(done.again?.reason).toMatch(/the address is wrong or nothing listens: 127\.0\.0\.1:\d+/)
    expect(done.again?.fault).toBe(false)
  })
})

describe('acknowledgement', () => {
  test('is waited for, and asked less and less often', async () => {
    const { hec, sink } = await start({ ackMs: 1500 })
    const began = Date.now()
    const done = await deliver(sink, of({ alerts: alerts(3) }))
    expect(done.again).toBeUndefined()
    expect(Date.now() - began).toBeGreaterThanOrEqual(1500)
    expect(hec.polls.length).toBeLessThanOrEqual(6)
    expect(hec.requests).toHaveLength(1)
    expect(done.memo).toEqual({ delivery: 'acknowledged by the indexers' })
  })

  test('requests go on while earlier ones wait for theirs', async () => {
    const { hec, sink } = await start({ ackMs: 1000 }, { inFlight: 1 })
    await deliver(sink, of({ alerts: alerts(1500) }))
    const [first, , third] = hec.requests.map(({ at }) => at)
    expect((third ?? 0) - (first ?? 0)).toBeLessThan(900)
  })

  test('true that was told once and lost on the way: sent again after the patience', async () => {
    const { hec, sink } = await start({}, { ackMs: 700 })
    hec.behave = (kind, number) => (kind === 'ack' && number === 0 ? { cut: 'after taking' } : undefined)
    const { reasons } = await sendAll(sink, of({ alerts: alerts(2) }))
    expect(reasons).toEqual([expect.stringContaining('do not acknowledge in time')])
    expect(idsIn(hec)).toEqual([1, 2, 1, 2].map((n) => alertOf(n).alert_id))
  })

  test('never given: sent again', async () => {
    const { hec, sink } = await start({ ackMs: 1e9 }, { ackMs: 500 })
    const done = await deliver(sink, of({ alerts: alerts(1) }))
    expect(done.again?.reason).toContain('do not acknowledge in time')
    expect(hec.requests).toHaveLength(1)
  })

  test.each([
    [503, 'busy'],
    [500, { text: 'Internal server error', code: 8 }],
    [200, '<html>'],
  ])('questions answered %i are asked again, nothing is sent again', async (status, body) => {
    const { hec, sink } = await start()
    hec.behave = (kind, number) => (kind === 'ack' && number < 2 ? { status, body } : undefined)
    const done = await deliver(sink, of({ alerts: alerts(1) }))
    expect(done.again).toBeUndefined()
    expect(hec.requests).toHaveLength(1)
  })

  test('off at the server: preferred goes on and says so, in words and in what it keeps', async () => {
    const { sink, notices } = await start({ ack: false })
    expect(await sink.open({}, signal)).toEqual({ delivery: 'taken by the collector' })
    expect(notices).toEqual([expect.stringContaining('enable useACK')])
    expect((await deliver(sink, of({ alerts: alerts(1) }))).again).toBeUndefined()
  })

  test('off at the server: required does not begin', async () => {
    const { hec, sink } = await start({ ack: false }, { ack: 'required' })
    await expect(sink.open({}, signal)).rejects.toThrow(SinkFault)
    expect(hec.indexed).toEqual([])
  })
})

describe('the probe at the start', () => {
  test('writes nothing', async () => {
    const { hec, sink } = await start({ indexes: ['kms'] }, { index: 'kms' })
    await sink.open({}, signal)
    expect(hec.indexed).toEqual([])
  })
  test('names a wrong token', async () => {
    const { sink } = await start({ token: 'another' })
    await expect(sink.open({}, signal)).rejects.toThrow(/403, code 4: the token is invalid/)
    await expect(sink.open({}, signal)).rejects.toThrow(SinkFault)
  })
  test('names a wrong index', async () => {
    const { sink } = await start({ indexes: ['main'] }, { index: 'kms' })
    await expect(sink.open({}, signal)).rejects.toThrow(/code 7: the token may not write to this index/)
  })
  test('names an address that is no collector', async () => {
    const { hec } = await start()
    const { sink } = await start({}, { url: `${hec.url}/elsewhere` })
    await expect(sink.open({}, signal)).rejects.toThrow(/answers 404/)
  })
})

test('a busy server is asked by one request at a time', async () => {
  const { hec, sink } = await start({}, { inFlight: 4 })
  hec.behave = (kind) =>
    kind === 'event' && hec.requests.length <= 6
      ? { status: 429, body: { text: 'HEC queue is at capacity', code: 26 }, headers: { 'retry-after': '2' } }
      : undefined
  const first = await deliver(sink, of({ alerts: alerts(2000) }))
  expect(first.again?.afterMs).toBe(2000)
  const asked = hec.requests.length
  await deliver(sink, first.again?.delivery ?? of({}))
  expect(hec.requests.length - asked).toBe(1)
})
