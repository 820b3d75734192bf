/**
 * Apache Kafka for tests: the vendor's jars from Maven Central, one node or three, on loopback. `start.sh` keeps the
 * jars outside the checkout; the first start fetches them.
 */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Kafka, Producer } from 'kafkajs'
import { openKafka } from '../../src/ingest/kafka-client.ts'

const script = join(import.meta.dirname, 'kafka', 'start.sh')

/** Why there can be no broker here; absent when there can. */
export const noKafka: string | undefined =
  spawnSync('java', ['-version']).status === 0 ? undefined : 'no Java 17 here: Apache Kafka cannot be started'

export interface KafkaOptionsForTests {
  /** More lines of server.properties; they win. */
  readonly conf?: readonly string[]
  readonly listeners?: readonly string[]
  readonly format?: readonly string[]
  readonly java?: readonly string[]
  readonly nodes?: 1 | 3
}

export interface RunningKafka {
  /** Addresses without TLS and without signing in. */
  readonly brokers: readonly string[]
  readonly kafka: Kafka
  producer(): Promise<Producer>
  /** Makes a topic of its own. @returns its name */
  topic(partitions?: number, config?: Readonly<Record<string, string>>): Promise<string>
  /** `kill -9`. */
  kill(node?: number): Promise<void>
  pause(): Promise<void>
  resume(): Promise<void>
  /** After a kill, on the same data and port. */
  restart(node?: number): Promise<void>
  stop(): Promise<void>
}

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })

export const clientOf = (brokers: readonly string[]): Promise<Kafka> =>
  openKafka({ brokers, secretOf: (name) => name })

let topics = 0

export const startKafka = async (options: KafkaOptionsForTests = {}): Promise<RunningKafka> => {
  const { conf = [], listeners = [], format = [], java = [], nodes = 1 } = options
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-kafka-'))
  const env = {
    ...process.env,
    KEYTRAIL_KAFKA_CONF: conf.join('\n'),
    KEYTRAIL_KAFKA_LISTENERS: listeners.join(','),
    KEYTRAIL_KAFKA_FORMAT: format.join(' '),
    KEYTRAIL_KAFKA_OPTS: java.join(' '),
  }
  const run = async (...args: string[]) => (await promisify(execFile)(script, args, { env })).stdout
  const printed = await run('start', folder, '0', String(nodes))
  const brokers = /bootstrap=(\S+)/.exec(printed)?.[1]?.split(',') ?? []
  const kafka = await clientOf(brokers)
  const admin = kafka.admin()
  await admin.connect()
  const open: Producer[] = []
  return {
    brokers,
    kafka,
    async producer() {
      const producer = kafka.producer({ allowAutoTopicCreation: false })
      await producer.connect()
      open.push(producer)
      return producer
    },
    async topic(partitions = 1, config = {}) {
      const name = `logs-${process.pid}-${++topics}`
      await admin.createTopics({
        waitForLeaders: false, // it throws although the topic is made
        topics: [
          {
            topic: name,
            numPartitions: partitions,
            configEntries: Object.entries(config).map(([key, value]) => ({ name: key, value })),
          },
        ],
      })
      for (;;) {
        const found = await admin.fetchTopicOffsets(name).catch(() => undefined) // not there yet
        if (found?.length === partitions) return name
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    },
    kill: async (node) => void (await run('kill', folder, ...(node === undefined ? [] : [String(node)]))),
    pause: async () => void (await run('pause', folder)),
    resume: async () => void (await run('resume', folder)),
    restart: async (node = 1) => void (await run('restart', folder, String(node))),
    async stop() {
      for (const producer of open) await producer.disconnect()
      await admin.disconnect()
      await run('stop', folder)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
