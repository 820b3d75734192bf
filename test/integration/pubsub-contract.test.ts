/** The source Pub/Sub keeps the contract of every source, with the vendor's client on Google's own test server. */
import { afterAll, describe } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { sourceContract } from '../contract/source.ts'
import { noPubSub, type RunningPubSub, startPubSub } from '../standins/pubsub.ts'

let ready: Promise<RunningPubSub> | undefined

afterAll(async () => (await ready)?.stop())

describe.skipIf(noPubSub !== undefined)(`Pub/Sub${noPubSub ? `: ${noPubSub}` : ''}`, () => {
  sourceContract('pubsub', {
    async make() {
      ready ??= startPubSub()
      const server = await ready
      const { topic, name } = await server.subscription()
      const config = {
        type: 'pubsub',
        project: server.project,
        endpoint: server.endpoint,
        subscriptions: [name],
        lease_seconds: 10, // what was on its way to a process that died comes again after it
        start: 'earliest',
      }
      return {
        config,
        async publish(records) {
          for (let at = 0; at < records.length; at += 100) {
            const lines = records.slice(at, at + 100).map((one) => `${JSON.stringify(one)}\n`)
            await topic.publishMessage({ data: Buffer.from(lines.join('')) })
          }
        },
        open: () => sourceOf('google', sourceConfig.parse(config), { follow: true, onNotice: () => {} }),
        unsettled: async () => (await server.messages(topic)).filter(({ acks }) => acks === 0).length,
        close: async () => {},
      }
    },
  })
})
