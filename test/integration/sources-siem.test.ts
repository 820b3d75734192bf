/** From Kafka and Event Hubs to Splunk and Sentinel: alerts arrive there, and events soon enough. */
import { setTimeout as sleep } from 'node:timers/promises'
import { EventHubProducerClient } from '@azure/event-hubs'
import { describe, expect, test } from 'vitest'
import { startEventHubs } from '../standins/event-hubs.ts'
import { noKafka, startKafka } from '../standins/kafka.ts'
import { audit, KEY } from '../support/azure.ts'
import { record } from '../support/cloudtrail.ts'
import { eventually } from '../support/reading.ts'
import { service } from '../support/service.ts'
import { startSiem } from '../support/siem.ts'

/** `RATE_SECONDS` gives another dose. */
const seconds = Number(process.env['RATE_SECONDS'] ?? 8)
const RATE = 200
const STEP_MS = 100
const LONGEST_MS = 5000

interface Sender {
  readonly source: object
  readonly env: Readonly<Record<string, string>>
  /** Sends records that are told apart by their user agents. */
  send(agents: readonly string[]): Promise<unknown>
  /** Sends what raises the alert. */
  sendBad(): Promise<unknown>
  readonly alert: string
  close(): Promise<void>
}

const fromEventHubs = async (): Promise<Sender> => {
  const hub = 'insights-logs-auditevent'
  const hubs = await startEventHubs({ hubs: [{ name: hub, partitions: 4, consumerGroups: ['keytrail'] }] })
  const producer = new EventHubProducerClient(hubs.connectionString, hub)
  const now = () => new Date().toISOString()
  const send = (records: readonly object[]) => producer.sendBatch([{ body: { records } }])
  return {
    source: {
      type: 'event_hubs',
      connection_string: '\u0024{env:EVENT_HUBS}',
      hubs: [hub],
      consumer_group: 'keytrail',
      start: 'earliest',
    },
    env: { EVENT_HUBS: hubs.connectionString },
    send: (agents) =>
      send(agents.map((clientInfo) => audit({ time: now(), correlationId: clientInfo }, { clientInfo }))),
    sendBad: () =>
      send([
        audit(
          { time: now(), operationName: 'KeyPurge', resultSignature: 'NoContent', correlationId: 'bad' },
          { httpStatusCode: 204, requestUri: `${KEY}?api-version=7.4` },
        ),
      ]),
    alert: 'key-purged',
    async close() {
      await producer.close()
      await hubs.close()
    },
  }
}

const fromKafka = async (): Promise<Sender> => {
  const broker = await startKafka()
  const topic = await broker.topic(4)
  const producer = await broker.producer()
  const send = (records: readonly object[]) =>
    producer.send({ topic, messages: records.map((one) => ({ value: JSON.stringify(one) })) })
  const now = () => new Date().toISOString()
  return {
    source: { type: 'kafka', brokers: broker.brokers, topics: [topic], group: 'keytrail', start: 'earliest' },
    env: {},
    send: (agents) => send(agents.map((userAgent) => record({ eventTime: now(), userAgent }))),
    sendBad: () => send([record({ eventTime: now(), eventName: 'ScheduleKeyDeletion' })]),
    alert: 'key-deletion-scheduled',
    close: () => broker.stop(),
  }
}

describe('to Splunk and Sentinel', { timeout: 120_000 + seconds * 2000 }, () => {
  const arrive = async (name: string, from: () => Promise<Sender>) => {
    const sender = await from()
    const siem = await startSiem()
    const one = service([], { sources: { feed: sender.source }, sinks: siem.sinks })
    let stop = () => {}
    const ran = one.run({
      once: false,
      env: { ...siem.env, ...sender.env },
      onStart: (kill) => {
        stop = () => kill('SIGTERM')
      },
    })
    const wheres = ['splunk', 'sentinel'] as const
    const sentAt = new Map<string, number>()
    const waits = { splunk: [] as number[], sentinel: [] as number[] }
    const seen = { splunk: 0, sentinel: 0 }
    const look = () => {
      const now = performance.now()
      for (const where of wheres) {
        const all = siem.arrived(where, 'feed')
        for (const { network } of all.slice(seen[where])) {
          const at = sentAt.get(String((network as { user_agent?: string } | undefined)?.user_agent)) // as it was sent
          if (at !== undefined) waits[where].push(now - at)
        }
        seen[where] = all.length
      }
    }
    try {
      await sender.sendBad()
      await eventually('the alert is at both', () =>
        wheres.every((where) =>
          siem
            .arrived(where, 'alerts')
            .some(({ detector }) => (detector as { id: string }).id === sender.alert),
        ),
      )
      const looking = setInterval(look, 50)
      const began = performance.now()
      const count = RATE * seconds
      for (let step = 0; step < (seconds * 1000) / STEP_MS; step++) {
        const agents = Array.from({ length: (RATE * STEP_MS) / 1000 }, (_, n) => `agent-${step}-${n}`)
        for (const agent of agents) sentAt.set(agent, performance.now())
        await sender.send(agents)
        await sleep(Math.max(0, began + (step + 1) * STEP_MS - performance.now()))
      }
      await eventually('all are there', () => wheres.every((where) => waits[where].length >= count))
      clearInterval(looking)
      stop()
      const { code, log } = await ran
      expect(code, log).toBe(0)
      for (const where of wheres) {
        const sorted = waits[where].toSorted((a, b) => a - b)
        const at = (share: number) => Math.round(sorted[Math.floor(sorted.length * share)] ?? Number.NaN)
        console.info(`${name} to ${where}: ${sorted.length} records, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`)
        expect(sorted.length).toBe(count)
        expect(at(0.99)).toBeLessThanOrEqual(LONGEST_MS)
      }
    } finally {
      stop()
      await ran
      one.remove()
      await siem.close()
      await sender.close()
    }
  }

  test(`${RATE} records a second from Event Hubs`, () => arrive('Event Hubs', fromEventHubs))
  test.skipIf(noKafka !== undefined)(`${RATE} records a second from Kafka`, () => arrive('Kafka', fromKafka))
})
