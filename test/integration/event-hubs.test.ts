/** The source Event Hubs with the vendor's client: everything that a namespace, a network and a rival can do to it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { EventHubConsumerClient, EventHubProducerClient, type Subscription } from '@azure/event-hubs'
import { generate } from 'selfsigned'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import type { Position } from '../../src/pipeline/ports.ts'
import { type EventHubs, type EventHubsOptions, startEventHubs } from '../standins/event-hubs.ts'
import { CLIENT, startLogsIngestion, TENANT } from '../standins/logs-ingestion.ts'
import { eventually, reading } from '../support/reading.ts'

/** `STALL_SECONDS=30` is the default of the source. */
const stallSeconds = Number(process.env['STALL_SECONDS'] ?? 3)

const services: EventHubs[] = []
const open = async (partitions = 1, more: Partial<EventHubsOptions> = {}) => {
  const service = await startEventHubs({
    hubs: [{ name: 'audit', partitions, consumerGroups: ['keytrail'] }],
    ...more,
  })
  services.push(service)
  process.env['EVENT_HUBS'] = service.connectionString
  return service
}
const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  for (const service of services.splice(0)) await service.close()
})

interface More {
  readonly known?: ReadonlyMap<string, Position>
  readonly follow?: boolean
  readonly [setting: string]: unknown
}
const bySecret = { connection_string: '\u0024{env:EVENT_HUBS}' }
const read = ({ known, follow = true, ...more }: More = {}) => {
  const alarms: string[] = []
  const notices: string[] = []
  const config = sourceConfig.parse({
    type: 'event_hubs',
    ...('namespace' in more ? {} : bySecret),
    hubs: ['audit'],
    consumer_group: 'keytrail',
    start: 'earliest',
    ...more,
  })
  const source = sourceOf('hubs', config, {
    follow,
    onNotice: (text) => notices.push(text),
    onAlarm: (text) => alarms.push(text),
  })
  const one = { ...reading(source, known), alarms, notices }
  stops.push(one.stop)
  return one
}

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, at) => JSON.stringify({ n: from + at }))
const put = (service: EventHubs, texts: readonly string[], partition = 0) => {
  for (const text of texts) service.put('audit', partition, text)
}

/** Sequence numbers of each partition in the order they were handed over: each follows the one before. */
const followEachOther = (one: ReturnType<typeof read>) => {
  const last = new Map<string, number>()
  for (const { place, keep = '' } of one.pieces.filter(({ bytes }) => bytes.length > 0)) {
    const sequence = Number(place.split('@')[1])
    expect(sequence, place).toBe((last.get(keep) ?? -1) + 1)
    last.set(keep, sequence)
  }
}

/** Puts an event every few milliseconds until it is told to end. @returns how many there were */
const publishing = (service: EventHubs, partitions: number) => {
  let isOn = true
  const done = (async () => {
    let n = 0
    for (; isOn; n++) {
      service.put('audit', n % partitions, JSON.stringify({ n }))
      await sleep(5)
    }
    return n
  })()
  return () => {
    isOn = false
    return done
  }
}

/** All there is was handed over, each once and in order. */
const complete = async (one: ReturnType<typeof read>, count: number, ms?: number) => {
  await eventually(`all ${count} are there`, () => one.texts().length >= count, ms)
  await eventually('nothing is unread', () => one.idle() > 0)
  expect(one.texts().length).toBe(count)
  followEachOther(one)
  expect(one.alarms).toEqual([])
}

describe('Event Hubs', { timeout: 120_000 }, () => {
  describe('loses nothing, goes never back, hands each event over once', () => {
    test('when sockets are cut', async () => {
      const service = await open(3)
      const end = publishing(service, 3)
      const one = read()
      for (let n = 0; n < 5; n++) {
        await sleep(900)
        expect(service.cutConnections()).toBeGreaterThan(0)
      }
      await complete(one, await end())
    })

    test('when the service is busy', async () => {
      const service = await open(2)
      const end = publishing(service, 2)
      const one = read()
      await eventually('it reads', () => one.texts().length > 20)
      service.detach('audit', 0, 'com.microsoft:server-busy')
      await sleep(1000)
      service.busyFor(4000)
      await sleep(4500)
      const attempts = service.seen.busy
      await complete(one, await end())
      expect(attempts).toBeGreaterThan(0)
      expect(attempts).toBeLessThan(20) // two partitions, waits that double from half a second
      expect(one.notices.join('\n')).toContain('the namespace is throttled')
    })

    test('when another reader takes a partition over, goes, and comes back at a higher level', async () => {
      const service = await open(2)
      const end = publishing(service, 2)
      const one = read()
      await eventually('it reads', () => one.texts().length > 20)
      for (const ownerLevel of [1, 7]) {
        const rival = new EventHubConsumerClient('keytrail', service.connectionString, 'audit')
        let taken = 0
        const subscription: Subscription = rival.subscribe(
          '1',
          {
            async processEvents(events) {
              taken += events.length
            },
            async processError() {},
          },
          { ownerLevel, startPosition: { offset: '@latest' }, maxWaitTimeInSeconds: 1 },
        )
        await eventually('the rival reads', () => taken > 0)
        await sleep(1000)
        await Promise.race([subscription.close().then(() => rival.close()), sleep(3000)]) // it may hang
      }
      expect(service.seen.stolen).toBeGreaterThan(1)
      await complete(one, await end())
      expect(one.notices).toContainEqual(expect.stringMatching(/^audit\/1: another reader .* took it over/))
    })

    test('when claims end all the time', async () => {
      const service = await open(2, { claimSeconds: 1.5 })
      const end = publishing(service, 2)
      const one = read()
      await sleep(8000)
      await complete(one, await end())
      expect(service.seen.tokens).toBeGreaterThan(8)
    })

    test.each([
      ['a partition stalls', (service: EventHubs) => service.stall('audit', 1)],
      ['connections fall silent', (service: EventHubs) => service.silence()],
    ])('when %s: it is noticed and opened anew', async (_, harm) => {
      const service = await open(2)
      const end = publishing(service, 2)
      const one = read({ stall_seconds: stallSeconds })
      await eventually('it reads', () => one.texts('audit/1').length > 20)
      expect(harm(service)).toBeGreaterThan(0)
      await sleep(200)
      const count = one.texts('audit/1').length
      const began = performance.now()
      await eventually('it goes on', () => one.texts('audit/1').length > count, 60_000)
      const took = performance.now() - began
      console.info(`healed after ${Math.round(took)} ms with stall_seconds: ${stallSeconds}`)
      expect(took).toBeGreaterThan(1000)
      await complete(one, await end())
      expect(one.notices).toContainEqual(
        expect.stringMatching(new RegExp(`^audit/1 has given nothing for ${stallSeconds} s.*opened anew$`)),
      )
    })

    test('when two processes read at the same time, each with a journal of its own', async () => {
      const service = await open(2)
      const end = publishing(service, 2)
      const [one, other] = [read(), read()]
      await sleep(9000)
      const count = await end()
      await eventually('both have all', () => one.texts().length + other.texts().length >= 2 * count, 100_000)
      await one.stop()
      await other.stop()
      for (const each of [one, other]) {
        expect(each.texts().length).toBe(count)
        followEachOther(each)
      }
    })
  })

  test('fetches no more in advance than it may, however long a partition was quiet', async () => {
    const service = await open(1)
    const one = read({ prefetch_bytes: 2 * 1024 ** 2 })
    await eventually('nothing is unread', () => one.idle() > 0)
    await sleep(6000) // the client alone would ask for 300 more each second
    one.hold()
    put(service, numbered(0, 3000))
    await sleep(2000)
    expect(service.seen.sent).toBeLessThanOrEqual(32) // 2 MiB of events that may be 64 KiB large
    one.release()
    await complete(one, 3000)
    one.hold()
    const [before, large] = [service.seen.sent, JSON.stringify({ text: 'x'.repeat(900_000) })]
    put(
      service,
      Array.from({ length: 40 }, () => large),
    )
    await sleep(1500)
    const first = service.seen.sent - before
    one.release()
    await eventually('all are there', () => one.texts().length === 3040)
    expect(first).toBeLessThanOrEqual(32)
    one.hold()
    const then = service.seen.sent
    put(
      service,
      Array.from({ length: 40 }, () => large),
    )
    await sleep(1500)
    expect(service.seen.sent - then).toBeLessThanOrEqual(3)
    one.release()
    await eventually('all are there', () => one.texts().length === 3080)
  })

  describe('begins', () => {
    test('at a time, or at the end, which is kept at once', async () => {
      const service = await open()
      put(service, numbered(0, 3))
      await sleep(30)
      const start = new Date().toISOString()
      put(service, numbered(3, 5))
      const atTime = read({ start })
      await eventually('nothing is unread', () => atTime.idle() > 0)
      await atTime.stop()
      expect(atTime.texts()).toEqual(numbered(3, 5))
      const latest = read({ start: 'latest' })
      await eventually('nothing is unread', () => latest.idle() > 0)
      await latest.stop()
      expect(latest.texts()).toEqual([])
      put(service, numbered(5, 7))
      const next = read({ start: 'latest', known: latest.positions })
      await eventually('nothing is unread', () => next.idle() > 0)
      expect(next.texts()).toEqual(numbered(5, 7))
      expect(next.positions.get('audit/0')).toMatchObject({ sequence: 6 })
    })

    test('with partitions that were added at their beginning', async () => {
      const service = await open()
      put(service, numbered(0, 2))
      const one = read({ start: 'latest' })
      await eventually('nothing is unread', () => one.idle() > 0)
      await one.stop()
      service.grow('audit', 2)
      put(service, numbered(2, 4), 1)
      const next = read({ start: 'latest', known: one.positions })
      await eventually('nothing is unread', () => next.idle() > 0)
      expect(next.texts()).toEqual(numbered(2, 4))
    })

    test('and ends, when it is not to follow', async () => {
      const service = await open(3)
      for (const partition of [0, 1]) put(service, numbered(0, 40), partition)
      const one = read({ follow: false })
      await one.ended
      expect(one.texts().length).toBe(80)
      followEachOther(one)
    })
  })

  test('reads what is not data in the sense of AMQP, and passes over what is empty', async () => {
    const service = await open()
    const producer = new EventHubProducerClient(service.connectionString, 'audit')
    await producer.sendBatch([
      { body: { records: [] } },
      { bodyType: 'value', body: { n: 1 } },
      { bodyType: 'value', body: '{"n":2}' },
      { bodyType: 'sequence', body: [[{ n: 3 }]] },
      { body: Buffer.alloc(0) },
      { body: Buffer.from('{"n":4}') },
    ])
    await producer.close()
    const one = read()
    await eventually('nothing is unread', () => one.idle() > 0)
    expect(one.texts()).toEqual(['{"records":[]}', '{"n":1}', '{"n":2}', '[[{"n":3}]]', '{"n":4}'])
    expect(one.positions.get('audit/0')).toMatchObject({ sequence: 5 })
  })

  describe('events that were removed before they were read', () => {
    const gap = 'audit/0: sequence numbers 3..6 (4 events) were removed before they were read'

    test('are named, their partition stands, the others go on', async () => {
      const service = await open(2)
      for (const partition of [0, 1]) put(service, numbered(0, 4), partition)
      const first = read()
      await eventually('nothing is unread', () => first.idle() > 0)
      await first.stop()
      const known = new Map([...first.positions, ['audit/0', { sequence: 2, offset: '142' }]])
      put(service, numbered(4, 9))
      service.expire('audit', 0, 7)
      put(service, numbered(4, 6), 1)
      const one = read({ known })
      await eventually('the other is read', () => one.texts().length === 2)
      await sleep(3000)
      expect(one.texts('audit/1')).toEqual(numbered(4, 6))
      expect(one.idle()).toBe(0)
      expect(one.alarms).toEqual([
        `${gap}; the partition stands: to accept the loss, set on_gap: continue and start again`,
      ])
      await one.stop()
      const next = read({ known: one.positions, on_gap: 'continue' })
      await eventually('the rest is read', () => next.texts().length === 2)
      expect(next.texts()).toEqual(numbered(7, 9))
      expect(next.alarms).toEqual([`${gap}; it goes on at 7`])
    })

    test('while it reads and the journal is full', async () => {
      const service = await open()
      const one = read({ prefetch_bytes: 64 * 1024 })
      await eventually('nothing is unread', () => one.idle() > 0)
      one.hold()
      put(service, numbered(0, 1000))
      await sleep(1000)
      const { sent } = service.seen
      service.expire('audit', 0, 900)
      one.release()
      await eventually('it is told', () => one.alarms.length > 0)
      expect(one.alarms).toEqual([
        expect.stringContaining(`sequence numbers ${sent}..899 (${900 - sent} events) were removed`),
      ])
      expect(one.texts()).toEqual(numbered(0, sent))
    })

    test('because the hub was made anew', async () => {
      const service = await open()
      put(service, numbered(0, 9))
      const one = read()
      await eventually('nothing is unread', () => one.idle() > 0)
      await one.stop()
      service.recreate('audit')
      put(service, numbered(100, 103))
      const text = 'audit/0: was read up to 8, and the hub has 0..2: it was made anew'
      const stands = read({ known: one.positions })
      await eventually('it is told', () => stands.alarms.length > 0)
      expect(stands.alarms).toEqual([expect.stringContaining(text)])
      expect(stands.texts()).toEqual([])
      await stands.stop()
      const goesOn = read({ known: stands.positions, on_gap: 'continue' })
      await eventually('all are there', () => goesOn.texts().length === 3)
      expect(goesOn.texts()).toEqual(numbered(100, 103))
    })
  })

  describe('signs in', () => {
    const usual = getCACertificates('default')
    afterAll(() => setDefaultCACertificates(usual))

    test('with a credential of Entra, over TLS, and again when the role is given back', async () => {
      const ingestion = await startLogsIngestion({ rule: 'dcr-1', streams: {} })
      const pems = await generate([{ name: 'commonName', value: 'hubs.example.com' }], {
        extensions: [
          { name: 'basicConstraints', cA: true },
          { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] },
        ],
      })
      setDefaultCACertificates([...usual, ingestion.certificate, pems.cert])
      process.env['ENTRA_SECRET'] = ingestion.secret
      const service = await open(1, { tls: { key: pems.private, cert: pems.cert }, claimSeconds: 2 })
      put(service, numbered(0, 3))
      const one = read({
        namespace: 'keytrail.servicebus.windows.net',
        endpoint: `https://localhost:${service.port}`,
        credential: {
          type: 'client_secret',
          tenant: TENANT,
          client: CLIENT,
          secret: '\u0024{env:ENTRA_SECRET}',
        },
        authority: ingestion.url,
      })
      await eventually('all are there', () => one.texts().length === 3).catch((cause) => {
        throw new Error(one.notices.join('\n'), { cause })
      })
      service.mayListen = false
      await eventually('it is told', () => one.notices.some((text) => text.includes('Data Receiver')))
      put(service, numbered(3, 5))
      await sleep(500)
      service.mayListen = true
      await eventually('the rest is there', () => one.texts().length === 5)
      expect(one.texts()).toEqual(numbered(0, 5))
      await ingestion.close()
    })
  })
})
