/** The source Kafka on a real broker: everything that a topic, a group and a broker can do to it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CompressionTypes, Producer } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import type { Position } from '../../src/pipeline/ports.ts'
import { noKafka, type RunningKafka, startKafka } from '../standins/kafka.ts'
import { eventually, reading } from '../support/reading.ts'

const none = 0 as CompressionTypes // the enumeration is not there before the client is loaded

describe.skipIf(noKafka !== undefined)(`Kafka${noKafka ? `: ${noKafka}` : ''}`, { timeout: 180_000 }, () => {
  let broker: RunningKafka
  let producer: Producer
  let groups = 0
  beforeAll(async () => {
    broker = await startKafka()
    producer = await broker.producer()
  }, 180_000)
  afterAll(() => broker?.stop(), 60_000)

  const newGroup = () => `group-${process.pid}-${++groups}`
  const send = (topic: string, partition: number, values: readonly (string | null)[], compression = none) =>
    producer.send({ topic, compression, messages: values.map((value) => ({ partition, value })) })
  const numbered = (from: number, to: number, about = 'n') =>
    Array.from({ length: to - from }, (_, at) => JSON.stringify({ [about]: from + at }))

  interface More {
    readonly group?: string
    readonly start?: string
    readonly on_gap?: string
    readonly known?: ReadonlyMap<string, Position>
    readonly follow?: boolean
  }
  const read = (topic: string | readonly string[], { known, follow = true, ...more }: More = {}) => {
    const alarms: string[] = []
    const notices: string[] = []
    const config = sourceConfig.parse({
      type: 'kafka',
      brokers: broker.brokers,
      topics: [topic].flat(),
      group: newGroup(),
      start: 'earliest',
      ...more,
    })
    const source = sourceOf('logs', config, {
      follow,
      onNotice: (text) => notices.push(text),
      onAlarm: (text) => alarms.push(text),
    })
    return { ...reading(source, known), alarms, notices }
  }
  const committed = async (group: string, topic: string) => {
    const admin = broker.kafka.admin()
    await admin.connect()
    const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    await admin.disconnect()
    return found?.partitions.toSorted((a, b) => a.partition - b.partition).map(({ offset }) => Number(offset))
  }
  const withAdmin = async <T>(work: (admin: ReturnType<typeof broker.kafka.admin>) => Promise<T>) => {
    const admin = broker.kafka.admin()
    await admin.connect()
    return work(admin).finally(() => admin.disconnect())
  }

  test.each(['gzip', 'snappy', 'lz4', 'zstd'])(
    '%s, as the broker compresses and as producers do',
    async (name) => {
      const types = { gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as Readonly<Record<string, CompressionTypes>>
      const values = Array.from({ length: 300 }, (_, n) => JSON.stringify({ n, text: 'key '.repeat(n) }))
      const [byBroker, byProducer] = [
        await broker.topic(1, { 'compression.type': name }),
        await broker.topic(1, { 'compression.type': 'producer' }),
      ]
      await send(byBroker, 0, values)
      await send(byProducer, 0, values, types[name])
      const one = read([byBroker, byProducer])
      await eventually('all are there', () => one.texts().length === 600)
      await one.stop()
      expect(one.texts(`${byBroker}/0`)).toEqual(values)
      expect(one.texts(`${byProducer}/0`)).toEqual(values)
    },
  )

  test('messages without a value, empty ones and aborted transactions move the position alone', async () => {
    const topic = await broker.topic()
    await send(topic, 0, ['{"n":0}', null, '', '{"n":1}'])
    const transactional = broker.kafka.producer({
      transactionalId: `tx-${topic}`,
      idempotent: true,
      maxInFlightRequests: 1,
    })
    await transactional.connect()
    const inTransaction = async (value: string, end: 'commit' | 'abort') => {
      const transaction = await transactional.transaction()
      await transaction.send({ topic, messages: [{ partition: 0, value }] })
      await transaction[end]()
    }
    await inTransaction('{"n":2}', 'commit') // offsets 4, and 5 for its mark
    await inTransaction('{"n":"aborted"}', 'abort') // 6, 7
    const one = read(topic)
    await eventually('nothing is unread', () => one.idle() > 0)
    expect(one.texts()).toEqual(['{"n":0}', '{"n":1}', '{"n":2}'])
    expect(one.positions.get(`${topic}/0`)).toEqual({ offset: '8' })
    await inTransaction('{"n":3}', 'commit') // 8, 9
    await eventually('it goes on behind them', () => one.texts().length === 4)
    await inTransaction('{"n":"aborted"}', 'abort') // 10, 11
    await eventually('marks alone are passed', () => one.positions.get(`${topic}/0`)?.['offset'] === '12')
    await one.stop()
    await transactional.disconnect()
    expect(one.pieces.map(({ place }) => place).slice(0, 6)).toEqual([
      `${topic}/0@0`,
      `${topic}/0@0`,
      `${topic}/0@1`,
      `${topic}/0@2`,
      `${topic}/0@3`,
      `${topic}/0@4`,
    ])
  })

  test('begins where it is told, and partitions that come later at their beginning', async () => {
    const topic = await broker.topic()
    await send(topic, 0, numbered(0, 3))
    await sleep(20)
    const time = new Date()
    await sleep(20)
    await send(topic, 0, numbered(3, 5))
    const atTime = read(topic, { start: time.toISOString() })
    const latest = read(topic, { start: 'latest' })
    await eventually('both have nothing unread', () => atTime.idle() > 0 && latest.idle() > 0)
    await send(topic, 0, numbered(5, 6))
    await eventually('both have the last', () => atTime.texts().length === 3 && latest.texts().length === 1)
    await Promise.all([atTime.stop(), latest.stop()])
    expect(atTime.texts()).toEqual(numbered(3, 6))
    expect(latest.texts()).toEqual(numbered(5, 6))

    await withAdmin((admin) => admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] }))
    const fresh = await broker.producer() // one that knows the first partition alone drops the message silently
    await fresh.send({ topic, messages: [{ partition: 1, value: '{"late":0}' }] })
    const next = read(topic, { start: 'latest', known: latest.positions })
    await eventually('nothing is unread', () => next.idle() > 0)
    await next.stop()
    expect(next.texts()).toEqual(['{"late":0}'])
  })

  test('a partition that is added while it reads the latest is read from its beginning', async () => {
    const topic = await broker.topic()
    const group = newGroup()
    await send(topic, 0, numbered(0, 3))
    const one = read(topic, { group, start: 'latest' })
    await eventually('nothing is unread', () => one.idle() > 0)
    await withAdmin((admin) => admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] }))
    const fresh = await broker.producer() // one that knows the first partition alone drops the message silently
    await fresh.send({ topic, messages: [{ partition: 1, value: '{"late":0}' }] })
    const other = broker.kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500 })
    await other.connect() // the group learns of partitions after five minutes, or when a member comes
    await other.subscribe({ topics: [topic] })
    await other.run({ eachMessage: async () => {} })
    await sleep(1500)
    await other.disconnect()
    await eventually('it is there', () => one.texts().length > 0)
    await one.stop()
    expect(one.texts()).toEqual(['{"late":0}'])
  })

  test('latest is kept at once: what comes while it is stopped is read', async () => {
    const topic = await broker.topic()
    await send(topic, 0, numbered(0, 3))
    const one = read(topic, { start: 'latest' })
    await eventually('nothing is unread', () => one.idle() > 0)
    await one.stop()
    await send(topic, 0, numbered(3, 5))
    const next = read(topic, { start: 'latest', known: one.positions })
    await eventually('nothing is unread', () => next.idle() > 0)
    await next.stop()
    expect(next.texts()).toEqual(numbered(3, 5))
  })

  test('the journal is the truth; where it knows nothing the group is', async () => {
    const topic = await broker.topic()
    const group = newGroup()
    await send(topic, 0, numbered(0, 4))
    const one = read(topic, { group })
    await eventually('all are there', () => one.texts().length === 4)
    await one.stop()
    expect(await committed(group, topic)).toEqual([4])
    await send(topic, 0, numbered(4, 6))
    const byGroup = read(topic, { group })
    await eventually('the rest is there', () => byGroup.texts().length === 2)
    await byGroup.stop()
    expect(byGroup.texts()).toEqual(numbered(4, 6))
    const byJournal = read(topic, { group, known: new Map([[`${topic}/0`, { offset: '1' }]]) })
    await eventually('it reads on from the journal', () => byJournal.texts().length === 5)
    await byJournal.stop()
    expect(byJournal.texts()).toEqual(numbered(1, 6))
  })

  test('a journal that is full for longer than any session does not lose the group', async () => {
    const topic = await broker.topic(2)
    const group = newGroup()
    const one = read(topic, { group })
    await eventually('nothing is unread', () => one.idle() > 0)
    const members = () =>
      withAdmin(async (admin) =>
        (await admin.describeGroups([group])).groups[0]?.members.map(({ memberId }) => memberId),
      )
    const before = await members()
    one.hold()
    const large = Array.from({ length: 24 }, (_, n) => JSON.stringify({ n, text: 'x'.repeat(900_000) }))
    for (const [n, value] of large.entries()) await send(topic, n % 2, [value])
    const count = one.pieces.length
    await sleep(18_000)
    expect(one.pieces.length).toBe(count)
    expect(await members()).toEqual(before)
    one.release()
    await eventually('all are there', () => one.texts().length === large.length)
    await one.stop()
    expect(one.texts().toSorted()).toEqual(large.toSorted())
    expect(one.notices).toEqual([])
  })

  test('members come and go: what comes back goes on where the journal stands, nothing twice', async () => {
    const topic = await broker.topic(6)
    const group = newGroup()
    const one = read(topic, { group })
    let sent = 0
    let isSending = true
    const sending = (async () => {
      for (; isSending; sent++) {
        await send(topic, sent % 6, [JSON.stringify({ n: sent })])
        await sleep(2)
      }
    })()
    for (let round = 0; round < 3; round++) {
      await eventually('some more are there', () => one.texts().length > round * 100)
      const other = broker.kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500 })
      await other.connect()
      await other.subscribe({ topics: [topic] })
      const own = new Set<number>()
      other.on(other.events.GROUP_JOIN, ({ payload }) => {
        for (const number of payload.memberAssignment[topic] ?? []) own.add(number)
      })
      await other.run({ eachMessage: async () => {} })
      await eventually('the other one has partitions', () => own.size === 3)
      await sleep(700)
      await other.disconnect()
    }
    isSending = false
    await sending
    await eventually('all are there', () => one.texts().length >= sent)
    await eventually('nothing is unread', () => one.idle() > 0)
    await one.stop()
    const numbers = one.texts().map((text) => (JSON.parse(text) as { n: number }).n)
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: sent }, (_, n) => n))
    expect(sent).toBeGreaterThan(300)
    expect(one.alarms).toEqual([])
  })

  describe('records that were removed before they were read', () => {
    const deleteUpTo = (topic: string, partition: number, offset: number) =>
      withAdmin(async (admin) => {
        await admin.fetchTopicOffsets(topic) // it must know the topic before
        await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] })
      })

    test('are named, their partition stands, the others go on', async () => {
      const topic = await broker.topic(2)
      const group = newGroup()
      await send(topic, 0, numbered(0, 10))
      await send(topic, 1, numbered(0, 2))
      const known = new Map([
        [`${topic}/0`, { offset: '3' }],
        [`${topic}/1`, { offset: '1' }],
      ])
      await deleteUpTo(topic, 0, 7)
      const one = read(topic, { group, known })
      await eventually('the other partition is read', () => one.texts().length === 1)
      await send(topic, 0, numbered(10, 12))
      await send(topic, 1, numbered(2, 3))
      await eventually('it goes on', () => one.texts().length === 2)
      await sleep(1500)
      expect(one.texts(`${topic}/0`)).toEqual([])
      expect(one.texts(`${topic}/1`)).toEqual(numbered(1, 3))
      expect(one.alarms).toEqual([
        `${topic}/0: offsets 3..6 (4 records) were removed before they were read; the partition stands: to accept the loss, set on_gap: continue and start again`,
      ])
      expect(one.idle()).toBe(0)
      await one.stop()
      expect(await committed(group, topic)).toEqual([3, 3])

      const next = read(topic, { group, known: one.positions, on_gap: 'continue' })
      await eventually('the rest is read', () => next.texts().length === 5)
      await next.stop()
      expect(next.texts()).toEqual(numbered(7, 12))
      expect(next.alarms).toEqual([
        `${topic}/0: offsets 3..6 (4 records) were removed before they were read; it goes on at 7`,
      ])
      expect(next.positions.get(`${topic}/0`)).toEqual({ offset: '12' })
    })

    test.each(['stop', 'continue'])('while it reads and the journal is full: %s', async (on_gap) => {
      const topic = await broker.topic()
      const one = read(topic, { on_gap })
      await eventually('nothing is unread', () => one.idle() > 0)
      one.hold()
      const large = Array.from({ length: 20 }, (_, n) => JSON.stringify({ n, text: 'x'.repeat(900_000) }))
      for (const value of large) await send(topic, 0, [value])
      await sleep(1500)
      await deleteUpTo(topic, 0, 18)
      await eventually('it is told', () => one.alarms.length > 0)
      one.release()
      const [, from = '', to] = /offsets (\d+)\.\.(\d+)/.exec(one.alarms[0] ?? '') ?? []
      expect(to).toBe('17')
      const first = large.slice(0, Number(from))
      const all = on_gap === 'stop' ? first : [...first, ...large.slice(18)]
      await eventually('all that is left is there', () => one.texts().length === all.length)
      await sleep(1000)
      await one.stop()
      expect(one.texts()).toEqual(all)
      expect(Number(from)).toBeGreaterThan(3)
      expect(one.alarms.length).toBe(1)
    })

    test('because the topic was made anew', async () => {
      const topic = await broker.topic()
      await send(topic, 0, numbered(0, 9))
      const one = read(topic)
      await eventually('all are there', () => one.texts().length === 9)
      await one.stop()
      await withAdmin((admin) => admin.deleteTopics({ topics: [topic] }))
      await sleep(1000)
      await withAdmin((admin) => admin.createTopics({ waitForLeaders: false, topics: [{ topic }] }))
      await eventually('it is there', () =>
        send(topic, 0, numbered(0, 1, 'anew')).then(
          () => true,
          () => false,
        ),
      )
      await send(topic, 0, numbered(1, 3, 'anew'))
      const text = `${topic}/0: was read up to 9, and the broker has 0..2: the topic was made anew or cut off; what stood between is unknown`
      const stands = read(topic, { known: one.positions })
      await eventually('it is told', () => stands.alarms.length > 0)
      await sleep(1000)
      await stands.stop()
      expect(stands.texts()).toEqual([])
      expect(stands.alarms).toEqual([
        `${text}; the partition stands: to accept the loss, set on_gap: continue and start again`,
      ])
      const goesOn = read(topic, { known: stands.positions, on_gap: 'continue' })
      await eventually('all are there', () => goesOn.texts().length === 3)
      await goesOn.stop()
      expect(goesOn.alarms).toEqual([`${text}; it goes on at 0`])
      expect(goesOn.texts()).toEqual(numbered(0, 3, 'anew'))
    })
  })

  test('a batch that cannot be opened is found, and stops its partition alone', async () => {
    const topic = await broker.topic(3)
    const gzip = 1 as CompressionTypes
    await send(topic, 0, numbered(0, 2))
    await send(topic, 1, numbered(10, 12))
    await send(topic, 2, numbered(20, 22))
    const bomb = Buffer.alloc(70 * 1024 * 1024)
    await producer.send({ topic, compression: gzip, messages: [{ partition: 1, value: bomb }] })
    await send(topic, 1, numbered(12, 14))
    const one = read(topic)
    await eventually('the others are read', () => one.texts().length === 6)
    await send(topic, 0, numbered(2, 4))
    await send(topic, 2, numbered(22, 24))
    await eventually('it is told', () => one.alarms.length > 0)
    await eventually('they are read on', () => one.texts().length === 10)
    await one.stop()
    expect(one.texts(`${topic}/0`)).toEqual(numbered(0, 4))
    expect(one.texts(`${topic}/1`)).toEqual(numbered(10, 12))
    expect(one.texts(`${topic}/2`)).toEqual(numbered(20, 24))
    expect(one.alarms).toEqual([
      `${topic}/1: the batch at offset 2 cannot be opened (gzip: it becomes more than 67108864 bytes); the partition stands: remove the batch from the topic, for example with kafka-delete-records, and start again`,
    ])
    await withAdmin(async (admin) => {
      await admin.fetchTopicOffsets(topic) // it must know the topic before
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 1, offset: '3' }] })
    })
    const next = read(topic, { known: one.positions, on_gap: 'continue' })
    await eventually('the rest is read', () => next.texts().length === 2)
    await next.stop()
    expect(next.texts()).toEqual(numbered(12, 14))
    expect(next.alarms).toEqual([
      `${topic}/1: offsets 2..2 (one record) were removed before they were read; it goes on at 3`,
    ])
  })

  test('a broker that is killed and comes back is waited for', async () => {
    const own = await startKafka()
    try {
      const topic = await own.topic()
      const ownProducer = await own.producer()
      const sendThere = (values: readonly string[]) =>
        ownProducer.send({ topic, messages: values.map((value) => ({ value })) })
      await sendThere(numbered(0, 5))
      const notices: string[] = []
      const config = sourceConfig.parse({
        type: 'kafka',
        brokers: own.brokers,
        topics: [topic],
        group: newGroup(),
        start: 'earliest',
      })
      const one = reading(sourceOf('logs', config, { follow: true, onNotice: (text) => notices.push(text) }))
      await eventually('the first are there', () => one.texts().length === 5)
      await own.kill()
      await eventually('it is told', () => notices.join('\n').includes('nothing listens there'))
      await eventually('the feed is in trouble', () =>
        one.pieces.some(({ trouble }) => trouble?.includes('nothing listens there')),
      )
      const idle = one.idle()
      await own.restart()
      await eventually('it can be written to', () =>
        sendThere(numbered(5, 8)).then(
          () => true,
          () => false,
        ),
      )
      await eventually('all are there', () => one.texts().length >= 8, 90_000)
      await eventually('the trouble is over', () => one.idle() > idle)
      await one.stop()
      expect([...new Set(one.texts())]).toEqual(numbered(0, 8))
    } finally {
      await own.stop()
    }
  })
})
