/**
 * Kafka as a sink: `run` and the broker are killed again and again while the feed and the alerts go out. Nothing lost,
 * nothing invented, repeats carry the same ids, and what is about one key stays in one partition.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { generate } from '../../bench/generate.ts'
import { kafkaSink } from '../../src/forward/kafka.ts'
import * as kafkaClient from '../../src/ingest/kafka-client.ts'
import { unpacked } from '../../src/journal/store.ts'
import type { Sink } from '../../src/pipeline/ports.ts'
import { renderings } from '../../src/render/renderings.ts'
import { clientOf, noKafka, type RunningKafka, startKafka } from '../standins/kafka.ts'
import { alertOf } from '../support/deliveries.ts'
import { random } from '../support/kills.ts'
import { eventually } from '../support/reading.ts'
import { service } from '../support/service.ts'

/** `KAFKA_KILLS`, `BROKER_KILLS`, `RECORDS` and `KAFKA_NODES` (1 or 3) give the full dose. */
const kills = Number(process.env['KAFKA_KILLS'] ?? 8)
const brokerKills = Number(process.env['BROKER_KILLS'] ?? 1)
const records = Number(process.env['RECORDS'] ?? 20_000)
const nodes = process.env['KAFKA_NODES'] === '3' ? 3 : 1
const seed = Number(process.env['SEED'] ?? 1)
const PARTITIONS = 4
/** What `run` says when the sink cannot send. */
const TROUBLE = /bus(\.feed)?: .*it is tried until it works, nothing is lost/

interface Message {
  readonly partition: number
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  readonly value: Record<string, unknown>
}

/** All that is in a topic, read by a consumer of its own from the beginning. */
const contentOf = async (brokers: readonly string[], topic: string): Promise<Message[]> => {
  const kafka = await clientOf(brokers)
  const admin = kafka.admin()
  await admin.connect()
  const left = new Map(
    (await admin.fetchTopicOffsets(topic))
      .filter(({ high }) => high !== '0')
      .map(({ partition, high }) => [partition, BigInt(high)]),
  )
  await admin.disconnect()
  const all = new Map<string, Message>()
  if (left.size === 0) return []
  const group = { groupId: `reader-${topic}` }
  const consumer = kafka.consumer({ ...group, retry: { retries: 50, restartOnFailure: async () => true } })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise<void>((resolve) => {
    void consumer.run({
      eachMessage: async ({ partition, message }) => {
        all.set(`${partition}/${message.offset}`, {
          partition,
          key: String(message.key),
          headers: Object.fromEntries(
            Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]),
          ),
          value: JSON.parse(String(message.value)) as Record<string, unknown>,
        })
        if (BigInt(message.offset) + 1n === left.get(partition)) left.delete(partition)
        if (left.size === 0) resolve()
      },
    })
  })
  await consumer.disconnect()
  return [...all.values()]
}

const idOf = ({ alert_id, revision, event_id }: Record<string, unknown>) =>
  alert_id === undefined ? String(event_id) : `${alert_id}:${revision}`
const distinct = (all: readonly string[]) => [...new Set(all)].sort()

describe.skipIf(noKafka !== undefined)(`the sink Kafka${noKafka ? `: ${noKafka}` : ''}`, () => {
  let broker: RunningKafka
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-kafka-sink-'))
  beforeAll(async () => {
    broker = await startKafka({ nodes })
  }, 120_000)
  afterAll(async () => {
    await broker?.stop()
    rmSync(folder, { recursive: true, force: true })
  }, 60_000)

  test(`${kills} kills of run and ${brokerKills} of the broker over ${records} records (seed ${seed}, ${nodes} nodes)`, {
    timeout: 3_600_000,
  }, async () => {
    const logs = join(folder, 'logs')
    generate(logs, { records, keys: 1, perFile: 500, seed })
    const [feed, alerts] = [await broker.topic(PARTITIONS), await broker.topic(PARTITIONS)]
    const one = service([logs], {
      detectors: { folders: [join(import.meta.dirname, '../support/noisy')] },
      sinks: {
        bus: {
          type: 'kafka',
          brokers: broker.brokers,
          max_wait_seconds: 1,
          alerts: { topic: alerts },
          feed: { topic: feed },
        },
      },
    })
    const next = random(seed)
    const windows = ['kafka-answered', 'inside-commit', 'after-commit', undefined]
    const hits: Record<string, number> = {}
    /** Kills the broker while `run` sends, and `run` some time after the broker is back. */
    const killBoth = async (kill: (signal: NodeJS.Signals) => void, log: () => string) => {
      const node = 1 + Math.floor(next() * nodes)
      await eventually('it reads', () => log().includes('reads logs'))
      await broker.kill(node)
      if (nodes === 1) await eventually('it is told', () => TROUBLE.test(log()))
      await broker.restart(node)
      await sleep(next() * 2000)
      kill('SIGKILL')
    }
    let brokersKilled = 0
    for (let kill = 0; kill < kills; kill++) {
      const window = windows[kill % windows.length]
      const both = window === undefined && brokersKilled < brokerKills
      let killing: Promise<void> | undefined
      const { code, log } = await one.run({
        once: !both,
        ...(both
          ? {
              onStart: (kill, said) => {
                killing = killBoth(kill, said)
              },
            }
          : window === undefined
            ? { killAfter: 700 + Math.floor(next() * 2000) }
            : {
                preload: [join(import.meta.dirname, '../support/kill-at.ts')],
                env: { KILL_AT: `${window}:${1 + Math.floor(next() * 3)}` },
                killAfter: 60_000,
              }),
      })
      await killing
      if (both) brokersKilled++
      if (code !== 'SIGKILL' && code !== 0) throw new Error(`ended with ${code}: ${log}`)
      const name = code === 0 ? 'ran to its end' : (window ?? 'random')
      hits[name] = (hits[name] ?? 0) + 1
    }
    const { code, log } = await one.run()
    expect(code, log).toBe(0)

    const store = one.store()
    const journaled = {
      alerts: store.alerts(0, 1e6).map(({ alert }) => idOf(alert as unknown as Record<string, unknown>)),
      feed: store
        .blocks(0, Number.MAX_SAFE_INTEGER)
        .flatMap((block) => unpacked(block).items)
        .map(({ event }) => idOf(JSON.parse(event) as Record<string, unknown>)),
    }
    expect(store.deadLetters()).toEqual([])
    store.close()
    expect(journaled.feed).toHaveLength(records)
    expect(journaled.alerts.length).toBeGreaterThan(records / 50)
    const repeats: Record<string, number> = {}
    for (const [stream, topic] of Object.entries({ alerts, feed })) {
      const content = await contentOf(broker.brokers, topic)
      const expected = journaled[stream as keyof typeof journaled].toSorted()
      expect(distinct(content.map(({ value }) => idOf(value)))).toEqual(expected)
      repeats[stream] = content.length - expected.length
      const partitions = new Map<string, number>()
      const bodies = new Map<string, string>()
      for (const { partition, key, headers, value } of content) {
        expect(headers['ce_id']).toBe(idOf(value))
        expect(partitions.get(key) ?? partition, `partition of ${key}`).toBe(partition)
        partitions.set(key, partition)
        const body = JSON.stringify(value)
        expect(bodies.get(idOf(value)) ?? body).toBe(body)
        bodies.set(idOf(value), body)
      }
      if (stream === 'feed') expect(new Set(partitions.values()).size).toBe(PARTITIONS)
    }
    const killed = Object.entries(hits).reduce(
      (sum, [kind, count]) => (kind === 'ran to its end' ? sum : sum + count),
      0,
    )
    console.info(
      `${journaled.feed.length} events, ${journaled.alerts.length} alerts; kills: ${JSON.stringify(hits)}, ${brokersKilled} of the broker; repeats: ${JSON.stringify(repeats)}`,
    )
    expect(killed).toBeGreaterThanOrEqual(kills / 2)
    expect(hits['kafka-answered']).toBeGreaterThan(0)
    expect(repeats['feed']).toBeGreaterThan(0)
    expect(brokersKilled).toBe(Math.min(brokerKills, Math.floor(kills / windows.length)))
    one.remove()
  })

  const sinkTo = (topic: string, more: object = {}, open = () => clientOf(broker.brokers)): Sink => {
    const { hangUp, explained, rootOf } = kafkaClient
    const sink = kafkaSink({
      name: 'bus',
      topic,
      compression: 'zstd',
      rendering: renderings.native,
      client: { open, hangUp, explained, rootOf },
      ...more,
    })
    sinks.push(sink)
    return sink
  }
  const sinks: Sink[] = []
  afterEach(async () => {
    for (const sink of sinks.splice(0)) await sink.close()
  })
  const { signal } = new AbortController()
  const alertsIn = async (topic: string) =>
    (await contentOf(broker.brokers, topic)).map(({ value }) =>
      Number.parseInt(String(value['alert_id']), 16),
    )

  test('an answer that is lost costs nothing: what comes next is no repeat', async () => {
    let swallowed = 0
    let isSwallowing = false
    const [host = '', port = ''] = broker.brokers[0]?.split(':') ?? []
    const proxy = createServer((near) => {
      const far = connect({ host, port: Number(port) })
      near.pipe(far)
      far.on('data', (chunk: Buffer) => (isSwallowing ? swallowed++ : near.write(chunk)))
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        one.on('error', () => other.destroy())
        one.on('close', () => other.destroy())
      }
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    const way = (proxy.address() as AddressInfo).port
    const { default: kafkajs } = await import('kafkajs')
    const kafka = new kafkajs.Kafka({
      brokers: [...broker.brokers],
      requestTimeout: 1000,
      retry: { retries: 1, initialRetryTime: 50 },
      logCreator: () => () => {},
      socketFactory: ({ onConnect }) => connect({ host: '127.0.0.1', port: way }, onConnect),
    })
    const topic = await broker.topic()
    const sink = sinkTo(topic, {}, async () => kafka)
    const send = (...numbers: number[]) =>
      sink.send({ events: [], alerts: numbers.map((n) => alertOf(n)) }, signal)
    await sink.open({}, signal)
    expect((await send(1, 2, 3)).again).toBeUndefined()
    isSwallowing = true
    expect((await send(4, 5, 6)).again?.delivery.alerts).toHaveLength(3)
    isSwallowing = false
    expect(swallowed).toBeGreaterThan(0)
    expect((await send(7, 8, 9)).again).toBeUndefined()
    expect((await send(4, 5, 6)).again).toBeUndefined()
    expect([...new Set(await alertsIn(topic))].sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    proxy.close()
  })

  test('a record that the broker finds too large costs that record only', async () => {
    const topic = await broker.topic(1, { 'max.message.bytes': '2000' })
    const large = alertOf(2, { explanation: randomBytes(3000).toString('base64').slice(0, 2048) })
    const triage = [1, 2, 3].map(() => randomBytes(400).toString('base64').slice(0, 512))
    const alerts = [alertOf(1), { ...large, triage: [...triage, ...triage] }, alertOf(3)]
    const { again, refused } = await sinkTo(topic).send({ events: [], alerts }, signal)
    expect(again).toBeUndefined()
    expect(refused).toMatchObject([{ stream: 'alerts', id: '2'.padStart(32, '0') }])
    expect(refused[0]?.reason).toMatch(/larger than the max message size.*: see max\.message\.bytes/)
    expect(new Set(await alertsIn(topic))).toEqual(new Set([1, 3]))
  })

  test.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const)('%s: in order', async (compression) => {
    const topic = await broker.topic(3)
    const numbers = Array.from({ length: 300 }, (_, n) => n + 1)
    const sink = sinkTo(topic, { compression })
    const { again } = await sink.send({ events: [], alerts: numbers.map((n) => alertOf(n)) }, signal)
    expect(again).toBeUndefined()
    expect(await alertsIn(topic)).toEqual(numbers)
  })

  test('a key lies where the Java client puts it', async () => {
    const topic = await broker.topic(5)
    const keys = [
      '21',
      'foobar',
      'a-little-bit-long-string',
      'a-little-bit-longer-string',
      'lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8',
    ]
    // Apache Kafka, UtilsTest.testMurmur2
    const hashes = [-973932308, -790332482, -985981536, -1486304829, -58897971]
    const alerts = keys.map((key_id, n) => alertOf(n + 1, { entity: { key_id } }))
    await sinkTo(topic).send({ events: [], alerts }, signal)
    const places = new Map(
      (await contentOf(broker.brokers, topic)).map(({ key, partition }) => [key, partition]),
    )
    expect(keys.map((key) => places.get(key))).toEqual(hashes.map((hash) => (hash & 0x7fffffff) % 5))
  })

  test('a topic that is not there is named, and held', async () => {
    const sink = sinkTo('no-such-topic')
    await expect(sink.open({}, signal)).rejects.toThrow(
      /UNKNOWN_TOPIC_OR_PARTITION\): the topic does not exist, or the user may not see it/,
    )
    expect((await sink.send({ events: [], alerts: [alertOf(1)] }, signal)).again).toMatchObject({
      delivery: { alerts: [alertOf(1)] },
    })
  })

  test('a broker that hangs does not hold up the end', async () => {
    const topic = await broker.topic()
    const sink = sinkTo(topic)
    await expect(sink.open({}, AbortSignal.abort())).rejects.toThrow(/abort/)
    await sink.open({}, signal)
    await broker.pause()
    try {
      const stop = AbortSignal.timeout(500)
      await expect(sink.send({ events: [], alerts: [alertOf(1)] }, stop)).rejects.toThrow(/timeout|aborted/)
    } finally {
      await broker.resume()
    }
  })
})
