/** The vendor's client alone: each message is acknowledged when it comes. Arguments: endpoint, project, subscription, messages. */
import { Duration, PubSub } from '@google-cloud/pubsub'
import { measured } from './usage.ts'

const [apiEndpoint = '', projectId = '', name = '', expected = ''] = process.argv.slice(2)
const client = new PubSub({ apiEndpoint, projectId })
const subscription = client.subscription(name, {
  flowControl: { maxMessages: 5000, maxBytes: 16 * 1024 ** 2 },
  minAckDeadline: Duration.from({ seconds: 30 }),
  streamingOptions: { maxStreams: 1 },
})
let began: number | undefined
let count = 0
await new Promise<void>((resolve, reject) => {
  subscription.on('error', reject)
  subscription.on('message', (message) => {
    began ??= performance.now()
    message.ack()
    if (++count === Number(expected)) resolve()
  })
})
measured.wall = performance.now() - (began ?? 0)
await subscription.close()
await client.close()
