/** Pub/Sub with the vendor's client: what a service, a network and a full journal do to messages. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Topic } from '@google-cloud/pubsub'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { noPubSub, type RunningPubSub, seconds, startPubSub } from '../standins/pubsub.ts'
import {
  type PubSubService,
  type PubSubServiceOptions,
  startPubSubService,
} from '../standins/pubsub-service.ts'
import { entry, VERSION } from '../support/google.ts'
import { eventually, reading } from '../support/reading.ts'
import { type Service, service } from '../support/service.ts'

const [OK, NOT_FOUND, INTERNAL, UNAVAILABLE] = [0, 5, 13, 14]

const closing: (() => unknown)[] = []
const closeAll = async () => {
  for (const close of closing.splice(0).reverse()) await close()
}

const configOf = (server: { project: string; endpoint: string }, name: string, more: object = {}) => ({
  type: 'pubsub',
  project: server.project,
  endpoint: server.endpoint,
  subscriptions: [name],
  start: 'earliest',
  lease_seconds: 10,
  ...more,
})

const read = (config: object, follow = true) => {
  const notices: string[] = []
  const source = sourceOf('google', sourceConfig.parse(config), {
    follow,
    onNotice: (text) => notices.push(text),
  })
  const one = { ...reading(source), notices }
  closing.push(one.stop)
  return one
}

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, at) => JSON.stringify({ n: from + at }))
/** Each at least once, and nothing else. */
const complete = (texts: readonly string[], count: number) =>
  expect([...new Set(texts)].sort()).toEqual(numbered(0, count).sort())

/** `run` on the service while something happens to it. */
describe('run loses nothing and judges each event once', { timeout: 60_000 }, () => {
  afterEach(closeAll)
  const CALM = 400
  let n = 0
  const at = () =>
    new Date(Date.now() - 60_000).toISOString().replace('Z', `${String(++n).padStart(6, '0')}Z`)
  const calm = () => JSON.stringify(entry({}, { timestamp: at(), insertId: `calm${n}` }))
  /** The same entry in other messages: a second sink, or a republication. */
  const destroyed = JSON.stringify(
    entry(
      {
        methodName: 'DestroyCryptoKeyVersion',
        resourceName: VERSION,
        authenticationInfo: { principalEmail: 'omar@example.com' },
      },
      {
        logName: 'projects/acme-payments/logs/cloudaudit.googleapis.com%2Factivity',
        timestamp: at(),
        insertId: 'destroyed',
      },
    ),
  )

  const faults: readonly (readonly [
    name: string,
    options: PubSubServiceOptions,
    /** Called four times while messages come. */
    act: (server: PubSubService) => void,
    /** What the service must have seen for the test to mean something. */
    saw: (server: PubSubService) => boolean,
  ])[] = [
    ['when streams end without an error', {}, (s) => s.endStreams(OK), ({ seen }) => seen.streams > 2],
    [
      'when streams end with UNAVAILABLE',
      {},
      (s) => s.endStreams(UNAVAILABLE),
      ({ seen }) => seen.streams > 2,
    ],
    [
      'when the service is not there for a while',
      {},
      (s) => {
        s.refuse('pull', UNAVAILABLE, 2)
        s.refuse('acknowledge', INTERNAL, 1)
        s.refuse('modify', UNAVAILABLE, 2)
        s.endStreams(INTERNAL)
      },
      ({ seen }) => seen.refused > 6,
    ],
    ['when leases lapse', {}, (s) => s.lapse(), (s) => s.deliveries > CALM + 2],
    [
      'when messages come again that were acknowledged',
      {},
      (s) => s.again(...Array.from({ length: s.acknowledged }, (_, one) => one)),
      (s) => s.deliveries > CALM * 1.5,
    ],
    [
      'when a subscription delivers exactly once, and leases lapse all the same',
      { subscription: { enableExactlyOnceDelivery: true } },
      (s) => {
        s.lapse()
        s.endStreams(OK)
      },
      (s) => s.deliveries > CALM + 2 && s.seen.streams > 3,
    ],
  ]
  test.each(faults)('%s', async (_, options, act, saw) => {
    const server = await startPubSubService(options)
    const one: Service = service([], { sources: { google: configOf(server, server.name) } })
    closing.push(server.stop, one.remove)
    server.publish(destroyed, ...Array.from({ length: CALM / 4 }, calm))
    const { code, log } = await one.run({
      once: false,
      onStart: (stop) =>
        void (async () => {
          await eventually('it reads', () => server.deliveries > 0)
          for (let round = 0; round < 4; round++) {
            act(server)
            for (let part = 0; part < 3; part++) {
              server.publish(...Array.from({ length: CALM / 16 }, calm))
              await sleep(150)
            }
          }
          server.publish(destroyed)
          await eventually('all is acknowledged', async () => {
            await sleep(1000)
            server.lapse() // of what was on its way when a stream ended, and not acknowledged
            return server.acknowledged === CALM + 2
          })
        })().finally(() => stop('SIGTERM')),
    })
    expect(code, log).toBe(0)
    expect(server.acknowledged, log).toBe(CALM + 2)
    expect(saw(server), JSON.stringify([server.deliveries, server.seen])).toBe(true)
    const store = one.store()
    const counters = store.counters()
    store.close()
    expect(counters.get('kept|google')).toBe(CALM + 1)
    expect(counters.get('received|google')).toBe(CALM + 1 + (counters.get('duplicate|google') ?? 0))
    expect(counters.get('rejected|google|unknown_format')).toBeUndefined()
    const native = one
      .lines('events')
      .map((event) => (event as { source: { native_id: string } }).source.native_id)
    expect(new Set(native).size).toBe(CALM + 1)
    const alerts = one
      .lines('alerts')
      .map(({ detector, revision }) => `${(detector as { id: string }).id} ${revision}`)
    expect(alerts.filter((text) => text.startsWith('key-deletion-scheduled'))).toEqual([
      'key-deletion-scheduled 1',
    ])
  })
})

describe.concurrent('Pub/Sub', { timeout: 60_000 }, () => {
  afterAll(closeAll)
  const open = async (options: PubSubServiceOptions = {}) => {
    const server = await startPubSubService(options)
    closing.push(server.stop)
    return server
  }

  test('holds no more than it is told, and gives back what waits for too long, once', async () => {
    const server = await open()
    const config = { prefetch_messages: 50, prefetch_bytes: 64 * 1024 }
    const one = read(configOf(server, server.name, config))
    await eventually('nothing is unread', () => one.idle() > 0)
    one.hold()
    server.publish(...numbered(0, 500))
    await sleep(1000)
    expect(server.deliveries).toBe(50)
    await eventually('it is told', () => one.notices.some((text) => text.includes('given back')), 15_000)
    const streams = server.seen.streams
    await eventually('all but the one that is being taken', () => server.seen.nacks === 49)
    await sleep(2000)
    expect(server.deliveries).toBeLessThan(102) // a stream that ends leaves room for others, which are not read
    expect(server.seen.streams).toBe(streams)
    one.release()
    await eventually('all is acknowledged', () => server.acknowledged === 500)
    complete(one.texts(), 500)
  })

  test('counts bytes, not only messages', async () => {
    const server = await open()
    const one = read(configOf(server, server.name, { prefetch_bytes: 64 * 1024 }))
    await eventually('nothing is unread', () => one.idle() > 0)
    one.hold()
    server.publish(...Array.from({ length: 20 }, () => `{"text":"${'x'.repeat(16 * 1024)}"}`))
    await sleep(1000)
    expect(server.deliveries).toBe(4) // as many as reach 64 KiB
  })

  test('gives back what it did not take when it stops', async () => {
    const server = await open()
    const one = read(configOf(server, server.name))
    await eventually('nothing is unread', () => one.idle() > 0)
    one.hold()
    server.publish(...numbered(0, 100))
    await eventually('all are here', () => server.seen.modifications === 100)
    const began = performance.now()
    await one.stop()
    expect(performance.now() - began).toBeLessThan(4000)
    expect(server.seen.nacks + server.acknowledged).toBe(100)
  })

  test('passes over what was published before, and acknowledges it', async () => {
    const server = await open()
    server.publish(...numbered(0, 5))
    await sleep(2000) // times of the service are whole seconds here
    const one = read(configOf(server, server.name, { start: 'latest' }))
    await eventually('it is acknowledged', () => server.acknowledged === 5)
    await sleep(1000)
    server.publish(...numbered(5, 8))
    await eventually('all is acknowledged', () => server.acknowledged === 8)
    expect(one.texts()).toEqual(numbered(5, 8))
    const next = reading(
      sourceOf('google', sourceConfig.parse(configOf(server, server.name, { start: 'latest' })), {
        follow: false,
        onNotice: () => {},
      }),
      one.positions,
    )
    await eventually('both read', () => server.open === 2)
    await one.stop()
    await eventually('the first one is gone', () => server.open === 1)
    server.again(5, 6)
    await next.ended
    expect(next.texts()).toEqual(numbered(5, 7)) // where it began is known from then on
  })

  test('tells what is missing, is not taken for quiet, and goes on when it is there', async () => {
    const server = await open()
    server.permissions.clear()
    const one = read(configOf(server, server.name))
    await eventually('it is told', () => one.notices.length > 0)
    await sleep(3000)
    expect(one.notices).toEqual([
      expect.stringContaining('pubsub.subscriptions.consume (role roles/pubsub.subscriber)'),
    ])
    expect(one.idle()).toBe(0)
    expect(one.pieces.at(-1)?.trouble).toContain('pubsub.subscriptions.consume')
    server.permissions.add('pubsub.subscriptions.consume')
    server.publish(...numbered(0, 3))
    await eventually('all is acknowledged', () => server.acknowledged === 3)
    await eventually('nothing is unread', () => one.idle() > 0)
  })

  test('says nothing of a stream that ended after a while', async () => {
    const server = await open()
    const one = read(configOf(server, server.name))
    await sleep(10_500)
    expect(server.endStreams(UNAVAILABLE, 'The service was unable to fulfill your request.')).toBe(1)
    await eventually('it is opened anew', () => server.seen.streams === 2)
    server.endStreams(NOT_FOUND)
    await eventually('that is told', () => one.notices.length > 0)
    expect(one.notices).toEqual([expect.stringContaining('there is no such subscription')])
  })

  test('doctor names the permission, and what the subscription is', async () => {
    const bySettings = async (subscription: PubSubServiceOptions['subscription'] = {}, without = '') => {
      const server = await open({ subscription })
      server.permissions.delete(without)
      const source = sourceOf('google', sourceConfig.parse(configOf(server, server.name)), {
        follow: false,
        onNotice: () => {},
      })
      const checks = (await source.check?.(AbortSignal.timeout(20_000))) ?? []
      return checks.map(({ ok, step, detail }) => `${ok ? 'ok' : 'FAILS'} ${step}: ${detail}`)
    }
    expect(
      await bySettings({ messageRetentionDuration: { seconds: 604_800 }, enableExactlyOnceDelivery: true }),
    ).toEqual([
      'ok sign in: there are credentials',
      'ok read audit: pubsub.subscriptions.consume is granted',
      'ok subscription audit: of projects/acme-payments/topics/audit, unread messages are kept for 7 days, delivers exactly once, no dead letter topic',
    ])
    const [, read] = await bySettings({}, 'pubsub.subscriptions.consume')
    expect(read).toMatch(/^FAILS .*pubsub\.subscriptions\.consume is missing/)
    const [, , describing] = await bySettings({}, 'pubsub.subscriptions.get')
    expect(describing).toMatch(/^FAILS .*pubsub\.subscriptions\.get \(role roles\/pubsub\.viewer\)/)
    const [, , push] = await bySettings({ pushConfig: { pushEndpoint: 'https://example.com/push' } })
    expect(push).toMatch(/^FAILS .*it pushes or exports/)
  })
})

describe.skipIf(noPubSub !== undefined)(
  `Pub/Sub on Google's test server${noPubSub ? `: ${noPubSub}` : ''}`,
  { timeout: 60_000 },
  () => {
    let server: RunningPubSub
    beforeAll(async () => {
      server = await startPubSub()
    }, 600_000)
    afterEach(closeAll)
    afterAll(() => server?.stop())
    const publish = (topic: Topic, texts: readonly string[], orderingKey?: string) =>
      Promise.all(
        texts.map((text) =>
          topic.publishMessage({
            data: Buffer.from(text),
            ...(orderingKey !== undefined && { orderingKey }),
          }),
        ),
      )
    const settled = (topic: Topic, count: number) =>
      eventually('all is acknowledged', async () => {
        const all = await server.messages(topic)
        return all.length === count && all.every(({ acks }) => acks > 0)
      })

    test('streams that are cut, and end without an error', async () => {
      const { topic, name } = await server.subscription()
      await server.streamsLast(1)
      const one = read(configOf(server, name))
      let cut = 0
      for (let n = 0; n < 8; n++) {
        await publish(topic, numbered(n * 20, n * 20 + 20))
        await sleep(400)
        if (n % 2 === 1) cut += server.cut()
      }
      server.refuse(true)
      await publish(topic, numbered(160, 180))
      await sleep(1500)
      server.refuse(false)
      await server.streamsLast(0)
      await sleep(1000)
      await server.advance(11) // what was on its way when a stream was cut
      await settled(topic, 180)
      await eventually('nothing is unread', () => one.idle() > 0)
      complete(one.texts(), 180)
      expect(cut).toBeGreaterThan(1)
    })

    test('leases that lapse while the journal is full', async () => {
      const { topic, name } = await server.subscription()
      const one = read(configOf(server, name))
      await publish(topic, numbered(0, 10))
      await eventually('they are there', () => one.texts().length === 10)
      one.hold()
      await publish(topic, numbered(10, 30))
      await sleep(1000)
      await server.advance(61)
      await sleep(1000)
      one.release()
      await settled(topic, 30)
      complete(one.texts(), 30)
      const twice = (await server.messages(topic)).filter(({ deliveries }) => deliveries > 1)
      expect(twice.length).toBeGreaterThan(0)
    })

    test('ordering keys', async () => {
      const { topic, name } = await server.subscription({ enableMessageOrdering: true })
      topic.setPublishOptions({ messageOrdering: true })
      const one = read(configOf(server, name))
      const keys = ['a', 'b', 'c']
      const textsOf = (key: string) => Array.from({ length: 40 }, (_, n) => JSON.stringify({ key, n }))
      for (const key of keys) void publish(topic, textsOf(key), key)
      await settled(topic, 120)
      for (const key of keys)
        expect(one.texts().filter((text) => text.startsWith(`{"key":"${key}"`))).toEqual(textsOf(key))
    })

    test('a subscription that delivers exactly once', async () => {
      const { topic, name } = await server.subscription({ enableExactlyOnceDelivery: true })
      const one = read(configOf(server, name))
      await publish(topic, numbered(0, 50))
      await settled(topic, 50)
      await eventually('nothing is unread', () => one.idle() > 0)
      expect(one.texts().sort()).toEqual(numbered(0, 50).sort())
      expect(one.notices).toEqual([])
    })

    test('poison does not come again and goes to no dead letter topic', async () => {
      const dead = await server.subscription()
      const { topic, name } = await server.subscription({
        deadLetterPolicy: { deadLetterTopic: dead.topic.name, maxDeliveryAttempts: 5 },
        retryPolicy: { minimumBackoff: seconds(1) },
      })
      const one = service([], { sources: { google: configOf(server, name) } })
      closing.push(one.remove)
      const poison = ['{"broken":', 'no JSON', '{"a":1}']
      await publish(topic, [...poison, JSON.stringify(entry())])
      const { code, log } = await one.run()
      expect(code, log).toBe(0)
      const all = await server.messages(topic)
      expect(all.map(({ deliveries, acks }) => [deliveries, acks])).toEqual(all.map(() => [1, 1]))
      expect(await server.messages(dead.topic)).toEqual([])
      const store = one.store()
      const rejected = [...store.counters()].filter(([key]) => key.startsWith('rejected|google'))
      expect(rejected.reduce((sum, [, count]) => sum + count, 0)).toBe(poison.length)
      expect(store.counters().get('kept|google')).toBe(1)
      store.close()
    })
  },
)
