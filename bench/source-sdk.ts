/** The vendor's client without a source of ours: what it gives is counted and dropped. Arguments: source (JSON), records. */
import { EventHubConsumerClient } from '@azure/event-hubs'
import { openKafka } from '../src/ingest/kafka-client.ts'

interface Wanted {
  readonly type: string
  readonly brokers: readonly string[]
  readonly topics: readonly string[]
  readonly hubs: readonly string[]
  readonly consumer_group: string
}
const [text = '{}', expected = ''] = process.argv.slice(2)
const wanted = JSON.parse(text) as Wanted // written by sources.ts
let seen = 0
const { promise: all, resolve } = Promise.withResolvers<void>()
const count = (more: number) => {
  seen += more
  if (seen >= Number(expected)) resolve()
}

if (wanted.type === 'kafka') {
  const kafka = await openKafka({ brokers: wanted.brokers, secretOf: (name) => name })
  const consumer = kafka.consumer({ groupId: 'bench-sdk' })
  await consumer.connect()
  await consumer.subscribe({ topics: [...wanted.topics], fromBeginning: true })
  await consumer.run({ autoCommit: false, eachBatch: async ({ batch }) => count(batch.messages.length) })
  await all
  await consumer.disconnect()
} else {
  const [hub = ''] = wanted.hubs
  const client = new EventHubConsumerClient(wanted.consumer_group, process.env['EVENT_HUBS'] ?? '', hub)
  client.subscribe(
    {
      processEvents: async (events) => count(events.length),
      processError: async (cause) => Promise.reject(cause),
    },
    {
      startPosition: { offset: '-1' },
      maxBatchSize: 100,
      maxWaitTimeInSeconds: 1,
      skipParsingBodyAsJson: true,
    },
  )
  await all
}
process.exit(0)
