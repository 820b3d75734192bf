/** What `doctor` asks Kafka: step by step from the network to the first record. */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import type { Admin, Kafka } from 'kafkajs'
import type { Check } from '../pipeline/ports.ts'
import type { KafkaOptions } from './kafka.ts'
import { consumerSettings, explained, openKafka, tlsOf } from './kafka-client.ts'

const KNOCK_MS = 5000
/** A group without members answers within its rebalance delay, three seconds by default. */
const JOIN_MS = 20_000
/** A fetch that finds something answers at once. */
const FETCH_MS = 3000

/** Opens a connection to one broker and closes it. */
const knock = (broker: string, tls: ConnectionOptions | undefined): Promise<string> =>
  new Promise((resolve, reject) => {
    const at = broker.lastIndexOf(':')
    const host = broker.slice(0, at).replace(/^\[|\]$/g, '')
    const port = Number(broker.slice(at + 1))
    const socket =
      tls === undefined
        ? connect({ host, port })
        : connectTls({ host, port, ...(/^[0-9.:]+$/.test(host) ? {} : { servername: host }), ...tls })
    socket.setTimeout(KNOCK_MS, () => socket.destroy(new Error(`timeout after ${KNOCK_MS / 1000} s`)))
    socket.on('error', reject)
    socket.on(tls === undefined ? 'connect' : 'secureConnect', () => {
      resolve(tls === undefined ? 'it answers, without TLS' : 'it answers, and its certificate is trusted')
      socket.destroy()
    })
  })

const topicSays = async (admin: Admin, topic: string): Promise<string> => {
  await admin.fetchTopicMetadata({ topics: [topic] }) // unlike the next one it tells at once that there is none
  const offsets = await admin.fetchTopicOffsets(topic)
  const records = offsets.reduce((sum, { low, high }) => sum + BigInt(high) - BigInt(low), 0n)
  return `${offsets.length} partitions, about ${records} records`
}

/** Joins a group that nobody is in, and reads one record. Nothing is acknowledged. */
const readOne = async (kafka: Kafka, admin: Admin, { topics, group }: KafkaOptions): Promise<string> => {
  const lows = new Map<string, string>()
  for (const topic of topics)
    for (const { partition, low } of await admin.fetchTopicOffsets(topic))
      lows.set(`${topic}/${partition}`, low)
  const consumer = kafka.consumer({ groupId: group, ...consumerSettings })
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [...topics], fromBeginning: true })
    const crashed = new Promise<never>((_, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
    })
    const joined = new Promise<void>((resolve) => {
      consumer.on(consumer.events.GROUP_JOIN, ({ payload: { memberAssignment } }) => {
        for (const [topic, numbers] of Object.entries(memberAssignment))
          for (const partition of numbers)
            consumer.seek({ topic, partition, offset: lows.get(`${topic}/${partition}`) ?? '0' })
        resolve()
      })
    })
    const read = new Promise<string>((resolve) => {
      const eachBatch = async ({ batch }: { readonly batch: { topic: string; partition: number } }) =>
        resolve(`a record of ${batch.topic}/${batch.partition} was read`)
      consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch }).catch(() => {}) // it crashes, too
    })
    const late = sleep(JOIN_MS, undefined, { ref: false }).then(() => {
      throw new Error(`the group gives no answer within ${JOIN_MS / 1000} s`)
    })
    await Promise.race([joined, crashed, late])
    const nothing = sleep(FETCH_MS, 'the group can be joined, and there is nothing to read yet', {
      ref: false,
    })
    return await Promise.race([read, crashed, nothing])
  } finally {
    await consumer.disconnect()
  }
}

const groupSays = async (kafka: Kafka, admin: Admin, options: KafkaOptions): Promise<string> => {
  const [found] = (await admin.describeGroups([options.group])).groups
  const members = found?.members.length ?? 0
  return members > 0
    ? `${members} members read at this moment: it was not joined, which would make them stop for a while`
    : readOne(kafka, admin, options)
}

export const checkKafka = async (options: KafkaOptions, signal: AbortSignal): Promise<readonly Check[]> => {
  const checks: Check[] = []
  const interrupted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
  })
  const step = async (name: string, work: () => Promise<string>): Promise<boolean> => {
    try {
      checks.push({ step: name, ok: true, detail: await Promise.race([work(), interrupted]) })
      return true
    } catch (cause) {
      checks.push({ step: name, ok: false, detail: explained(cause) })
      return false
    }
  }
  const tls = tlsOf(options.tls)
  const reached = []
  for (const broker of options.brokers) reached.push(await step(`broker ${broker}`, () => knock(broker, tls)))
  if (!reached.includes(true)) return checks
  const kafka = await openKafka(options)
  const admin = kafka.admin()
  try {
    const how = options.sasl === undefined ? 'without signing in' : options.sasl.mechanism
    const signedIn = await step('sign in', async () => {
      await admin.connect()
      const { brokers } = await admin.describeCluster()
      return `${how}: the cluster has ${brokers.length} brokers`
    })
    if (!signedIn) return checks
    const topics = []
    for (const topic of options.topics)
      topics.push(await step(`topic ${topic}`, () => topicSays(admin, topic)))
    if (topics.every(Boolean)) await step(`group ${options.group}`, () => groupSays(kafka, admin, options))
  } finally {
    await admin.disconnect()
  }
  return checks
}
