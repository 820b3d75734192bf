/** `run` and the broker are killed again and again while records come: nothing lost, nothing twice; and how fast it is. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { noKafka, type RunningKafka, startKafka } from '../standins/kafka.ts'
import { record } from '../support/cloudtrail.ts'
import { leftBy, random } from '../support/kills.ts'
import { eventually } from '../support/reading.ts'
import { type Service, service } from '../support/service.ts'

/** `KAFKA_KILLS`, `BROKER_KILLS`, `KAFKA_NODES` (1 or 3) and `RATE_SECONDS` give the full dose. */
const kills = Number(process.env['KAFKA_KILLS'] ?? 10)
const brokerKills = Number(process.env['BROKER_KILLS'] ?? 2)
const nodes = process.env['KAFKA_NODES'] === '3' ? 3 : 1
const seconds = Number(process.env['RATE_SECONDS'] ?? 20)
const seed = Number(process.env['SEED'] ?? 1)

const windows = ['inside-commit', 'after-commit', 'before-settle', undefined]
const PARTITIONS = 4

describe.skipIf(noKafka !== undefined)(
  `Kafka${noKafka ? `: ${noKafka}` : ''}`,
  { timeout: 3_600_000 },
  () => {
    const running: { readonly broker: RunningKafka; readonly one: Service }[] = []
    afterAll(async () => {
      for (const { broker, one } of running) {
        await broker.stop()
        one.remove()
      }
    }, 60_000)

    const setUp = async () => {
      const broker = await startKafka({ nodes })
      const topic = await broker.topic(PARTITIONS)
      const one = service([], {
        sources: {
          logs: {
            type: 'kafka',
            brokers: broker.brokers,
            topics: [topic],
            group: 'keytrail',
            start: 'earliest',
          },
        },
      })
      running.push({ broker, one })
      return { broker, topic, one }
    }

    test(`${kills} kills of run and ${brokerKills} of the broker lose nothing (seed ${seed}, ${nodes} nodes)`, async () => {
      const { broker, topic, one } = await setUp()
      const next = random(seed)
      const producer = await broker.producer()
      const ids: string[] = []
      let isSending = true
      /**
       * A send that failed may have arrived: it is made again, and what arrives twice is a duplicate. It goes to one
       * partition: when one of several moves to a broker that has answered already, kafkajs leaves it out of the next
       * attempt and says that all was sent (its sendMessages.js, `responsePerBroker`).
       */
      const sending = (async () => {
        while (isSending) {
          const some = Array.from({ length: 20 }, () => record())
          const partition = Math.floor(next() * PARTITIONS)
          const messages = some.map((value) => ({ partition, value: JSON.stringify(value) }))
          while (
            !(await producer.send({ topic, messages }).then(
              () => true,
              () => false,
            ))
          )
            await sleep(200)
          ids.push(...some.map((value) => String(value['eventID'])))
          await sleep(50)
        }
      })()
      const hits: Record<string, number> = {}
      const logs: string[] = []
      const every = Math.max(1, Math.floor(kills / brokerKills))
      let brokersKilled = 0
      for (let kill = 0; kill < kills; kill++) {
        const window = windows[Math.floor(next() * windows.length)]
        const ran = one.run({
          once: false,
          // a member that was killed is waited for: six seconds
          ...(window === undefined
            ? { killAfter: 7500 + Math.floor(next() * 3000) }
            : {
                preload: [join(import.meta.dirname, '../support/kill-at.ts')],
                env: { KILL_AT: `${window}:${3 + Math.floor(next() * 40)}` },
                killAfter: 40_000,
              }),
        })
        if (kill % every === every - 1 && brokersKilled < brokerKills) {
          const node = 1 + Math.floor(next() * nodes)
          await sleep(2000 + next() * 6000)
          await broker.kill(node)
          brokersKilled++
          await sleep(next() * 3000)
          await broker.restart(node)
        }
        const { code, log } = await ran
        expect(code, log).toBe('SIGKILL')
        logs.push(log)
        hits[window ?? 'random'] = (hits[window ?? 'random'] ?? 0) + 1
      }
      isSending = false
      await sending
      const { code, log } = await one.run()
      expect(code, log).toBe(0)
      const left = leftBy(one)
      const idOf = (event: string) =>
        (JSON.parse(event) as { source: { native_id: string } }).source.native_id // events that the program wrote
      const sent = ids.toSorted()
      expect(left.journaled.map(idOf).sort()).toEqual(sent)
      expect(left.feed.map(idOf).sort()).toEqual(sent)
      const { 'received|logs': received = 0, 'duplicate|logs': duplicate = 0, ...others } = left.counters
      expect(others).toEqual({ 'kept|logs': ids.length })
      expect(received).toBe(ids.length + duplicate)
      expect([...logs, log].join('\n')).not.toContain('removed before')
      console.info(
        `${ids.length} records, ${duplicate} of them came twice; kills: ${JSON.stringify(hits)}, ${brokersKilled} of the broker`,
      )
      expect(brokersKilled).toBe(Math.min(brokerKills, kills))
      expect(ids.length).toBeGreaterThan(kills * 100)
    })

    test(`200 records a second for ${seconds} s reach a file within 2 s (p99)`, async () => {
      const { broker, topic, one } = await setUp()
      const producer = await broker.producer()
      const sentAt = new Map<string, number>()
      const waits: number[] = []
      let stop = () => {}
      const ran = one.run({
        once: false,
        onStart: (kill) => {
          stop = () => kill('SIGTERM')
        },
      })
      let seen = 0
      const look = () => {
        const lines = one.lines('events')
        const now = performance.now()
        for (const event of lines.slice(seen)) {
          const { native_id } = event['source'] as { native_id: string } // events that the program wrote
          const at = sentAt.get(native_id)
          if (at !== undefined) waits.push(now - at)
          sentAt.delete(native_id)
        }
        seen = lines.length
      }
      const send = async (count: number) => {
        const some = Array.from({ length: count }, () => record())
        const now = performance.now()
        for (const value of some) sentAt.set(String(value['eventID']), now)
        await producer.send({ topic, messages: some.map((value) => ({ value: JSON.stringify(value) })) })
      }
      await send(1)
      await eventually('it reads', () => {
        try {
          look()
        } catch {
          return false // the file is not there yet
        }
        return seen === 1
      })
      waits.length = 0
      const began = performance.now()
      const STEP_MS = 50
      for (let step = 1; step <= (seconds * 1000) / STEP_MS; step++) {
        await send(10)
        if (step % 2 === 0) look()
        await sleep(Math.max(0, began + step * STEP_MS - performance.now()))
      }
      await eventually('all are there', () => {
        look()
        return sentAt.size === 0
      })
      stop()
      const { code, log } = await ran
      expect(code, log).toBe(0)
      waits.sort((a, b) => a - b)
      const at = (share: number) => Math.round(waits[Math.floor(waits.length * share)] ?? Number.NaN)
      console.info(`${waits.length} records: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, slowest ${at(0.9999)} ms`)
      expect(waits.length).toBe(seconds * 200)
      expect(at(0.99)).toBeLessThanOrEqual(2000)
    })
  },
)
