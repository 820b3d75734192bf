/** The source Kafka keeps the contract of every source, on a real broker. */
import { afterAll, describe } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { sourceContract } from '../contract/source.ts'
import { noKafka, type RunningKafka, startKafka } from '../standins/kafka.ts'

let broker: Promise<RunningKafka> | undefined
let groups = 0

afterAll(async () => (await broker)?.stop())

describe.skipIf(noKafka !== undefined)(`Kafka${noKafka ? `: ${noKafka}` : ''}`, () => {
  sourceContract('kafka', {
    async make() {
      broker ??= startKafka()
      const { brokers, kafka, topic: makeTopic, producer: connect } = await broker
      const topic = await makeTopic(3)
      const group = `keytrail-${process.pid}-${++groups}`
      const producer = await connect()
      const admin = kafka.admin()
      await admin.connect()
      const config = { type: 'kafka', brokers, topics: [topic], group, start: 'earliest' }
      return {
        config,
        async publish(records) {
          await producer.send({ topic, messages: records.map((one) => ({ value: JSON.stringify(one) })) })
        },
        open: () => sourceOf('kafka', sourceConfig.parse(config), { follow: true, onNotice: () => {} }),
        async unsettled() {
          const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
          const committed = new Map(
            found?.partitions.map(({ partition, offset }) => [partition, Number(offset)]),
          )
          const ends = await admin.fetchTopicOffsets(topic)
          return ends.reduce(
            (sum, { partition, high }) => sum + Number(high) - Math.max(0, committed.get(partition) ?? 0),
            0,
          )
        },
        async close() {
          await admin.disconnect()
        },
      }
    },
  })
})
