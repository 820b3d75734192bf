/** What `doctor` asks Pub/Sub. No message is taken: that would count as an attempt to deliver it. */
import type { PubSub, protos } from '@google-cloud/pubsub'
import type { Check } from '../pipeline/ports.ts'
import type { PubSubOptions } from './pubsub.ts'
import { explainedPubSub, mayConsume, once, openPubSub } from './pubsub-client.ts'

/** @throws when it cannot be read as it is */
const described = (found: protos.google.pubsub.v1.ISubscription): string => {
  if (found.detached || found.topic === '_deleted-topic_')
    throw new Error('it has no topic any more, and gets nothing: make it anew')
  if (found.pushConfig?.pushEndpoint || found.bigqueryConfig?.table || found.cloudStorageConfig?.bucket)
    throw new Error('it pushes or exports: Keytrail needs a subscription of the type pull')
  const { maxDeliveryAttempts } = found.deadLetterPolicy ?? {}
  const kept = Number(found.messageRetentionDuration?.seconds ?? 0) / 86_400
  return [
    `of ${found.topic}`,
    kept > 0 && `unread messages are kept for ${kept.toFixed(kept < 1 ? 2 : 0)} days`,
    found.enableExactlyOnceDelivery && 'delivers exactly once',
    found.enableMessageOrdering && 'ordered',
    found.filter && `filter ${found.filter}: what it holds back is not counted`,
    maxDeliveryAttempts ? `dead letters after ${maxDeliveryAttempts} attempts` : 'no dead letter topic',
  ]
    .filter(Boolean)
    .join(', ')
}

export const checkPubSub = async (options: PubSubOptions, signal: AbortSignal): Promise<readonly Check[]> => {
  const checks: Check[] = []
  let client: PubSub | undefined
  const step = async (name: string, work: () => Promise<string>) => {
    signal.throwIfAborted()
    try {
      checks.push({ step: name, ok: true, detail: await work() })
    } catch (cause) {
      checks.push({ step: name, ok: false, detail: explainedPubSub(cause) })
    }
  }
  await step('sign in', async () => {
    client = await openPubSub(options)
    return 'there are credentials'
  })
  const own = client
  if (own === undefined) return checks
  try {
    for (const name of options.subscriptions) {
      await step(`read ${name}`, () => mayConsume(own, name))
      await step(`subscription ${name}`, async () => {
        const [found] = await own.subscription(name).getMetadata(once)
        return described(found)
      })
    }
  } finally {
    await own.close()
  }
  return checks
}
