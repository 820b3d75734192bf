/**
 * Alerts or the feed to a topic of Kafka. A record counts as delivered when every replica in sync has it. What is about
 * one entity goes to one partition, in order.
 *
 * kafkajs takes a sequence number back when an answer is lost, and the broker then takes the next, different batch for a
 * repeat: lost without a word (measured, kafka.md 3a). So after any failure the producer is thrown away; a new one has
 * an id of its own, and what it sends again is there twice under the same id.
 *
 * And when a partition moves to a broker that has answered for its others already, kafkajs leaves it out of the next
 * attempt and reports success (producer/sendMessages.js): only partitions that an answer names count as written.
 */
import { once } from 'node:events'
import type { Kafka, Producer } from 'kafkajs'
import { KeytrailError } from '../model/error.ts'
import { type Sink, SinkFault } from '../pipeline/ports.ts'
import type { Rendering } from '../render/renderings.ts'
import { type Enveloped, enveloped } from './envelope.ts'
import { deliverParts, type Outcome } from './parts.ts'

/** The client that sources use, too. */
export interface KafkaClient {
  /** @throws KeytrailError when a secret or a file is missing */
  open(): Promise<Kafka>
  explained(cause: unknown): string
  /** What happened, without what kafkajs did about it. */
  rootOf(cause: unknown): unknown
  hangUp(...clients: readonly { disconnect(): Promise<void> }[]): Promise<void>
}

export interface KafkaSinkOptions {
  readonly name: string
  readonly topic: string
  readonly compression: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  readonly rendering: Rendering
  readonly client: KafkaClient
}

/** A broker takes batches of 1 MiB by default (`message.max.bytes`). */
const LIMITS = { bytes: 900_000, items: 5000, inFlight: 1 }

const faults = /AUTHORIZATION_FAILED$|SASL|^UNSUPPORTED_|^INVALID_TOPIC/
const tooLarge = /^(MESSAGE|RECORD_LIST)_TOO_LARGE$/

/** Resolves with the work, or rejects when the signal comes first. */
const unless = async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
  signal.throwIfAborted()
  const done = new AbortController()
  const aborted = once(signal, 'abort', { signal: done.signal }).then(() => Promise.reject(signal.reason))
  try {
    return await Promise.race([work(), aborted])
  } finally {
    done.abort()
  }
}

interface Session {
  readonly producer: Producer
  /** @throws also when a partition is not answered for */
  send(items: readonly Enveloped[]): Promise<void>
}

export const kafkaSink = ({ name, topic, compression, rendering, client }: KafkaSinkOptions): Sink => {
  const encoder = enveloped(rendering, (_, body) => body)
  const memo = { delivery: 'every replica in sync has it' }
  let session: Session | undefined

  /** @throws what kafkajs throws */
  const connect = async (signal: AbortSignal): Promise<Session> => {
    const { CompressionTypes, Partitioners } = (await import('kafkajs')).default
    const types = {
      none: CompressionTypes.None,
      gzip: CompressionTypes.GZIP,
      snappy: CompressionTypes.Snappy,
      lz4: CompressionTypes.LZ4,
      zstd: CompressionTypes.ZSTD,
    }
    const kafka = await client.open()
    const admin = kafka.admin()
    const producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
    })
    try {
      await admin.connect()
      const [found] = (await admin.fetchTopicMetadata({ topics: [topic] })).topics
      const partitionMetadata = found?.partitions ?? []
      const place = Partitioners.DefaultPartitioner() // as the Java client hashes keys
      await producer.connect()
      signal.throwIfAborted() // nobody waits any more
      return {
        producer,
        async send(items) {
          const messages = items.map(({ bytes, facts: { id, type, time, entity } }) => {
            const message = { key: Buffer.from(entity), value: bytes }
            const partition = place({ topic, partitionMetadata, message })
            const attributes = { ce_specversion: '1.0', ce_id: id, ce_type: type, ce_time: time }
            const headers = { ...attributes, ce_source: 'urn:keytrail', 'content-type': 'application/json' }
            return { ...message, partition, headers }
          })
          const answers = await producer.send({ topic, acks: -1, compression: types[compression], messages })
          const written = new Set(answers.map(({ partition }) => partition))
          const left = messages.find(({ partition }) => !written.has(partition))
          if (left !== undefined)
            throw new Error(`partition ${left.partition} of ${topic} has moved, and no broker answers for it`)
        },
      }
    } catch (cause) {
      await client.hangUp(producer)
      throw cause
    } finally {
      await client.hangUp(admin)
    }
  }

  const discard = async () => {
    const old = session
    session = undefined
    if (old !== undefined) await client.hangUp(old.producer)
  }

  const typeOf = (cause: unknown): string => {
    const root = client.rootOf(cause)
    if (!(root instanceof Error)) return ''
    return 'type' in root && typeof root.type === 'string' ? root.type : root.name.replace('KafkaJS', '')
  }
  const isFault = (cause: unknown) =>
    cause instanceof KeytrailError || cause instanceof SinkFault || faults.test(typeOf(cause))

  const produce = async (items: readonly Enveloped[], signal: AbortSignal): Promise<Outcome> => {
    try {
      session ??= await unless(signal, () => connect(signal))
      const { send } = session
      await unless(signal, () => send(items))
      return { kind: 'accepted' }
    } catch (cause) {
      await discard()
      signal.throwIfAborted()
      const reason = client.explained(cause)
      if (tooLarge.test(typeOf(cause))) return { kind: 'split', reason: `${reason}: see max.message.bytes` }
      return { kind: 'again', reason, fault: isFault(cause) }
    }
  }

  return {
    name,
    /** Address, certificate, user and topic are looked at; whether it may be written shows the first record. */
    async open(_, signal) {
      try {
        session ??= await unless(signal, () => connect(signal))
        return memo
      } catch (cause) {
        signal.throwIfAborted()
        const reason = client.explained(cause)
        throw isFault(cause) ? new SinkFault(reason) : new Error(reason)
      }
    },
    async send(delivery, signal) {
      const done = await deliverParts(delivery, encoder, LIMITS, 0, (items) => produce(items, signal))
      return { ...done, memo }
    },
    close: discard,
  }
}
