/** What `doctor` asks Event Hubs: step by step from the network to the first event. Nobody's reading is disturbed. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { EventHubConsumerClient } from '@azure/event-hubs'
import type { Check } from '../pipeline/ports.ts'
import { aborted, within } from '../pipeline/waiting.ts'
import { type CheckpointAccess, hubCheckpoints } from './hub-checkpoints.ts'
import { explainedHub, isStolen, openHub } from './hub-client.ts'
import { newHubPartition } from './hub-partition.ts'

/** Of each step. */
const STEP_MS = 20_000
/** Something that is there comes at once. */
const READ_MS = 3000

/** Reads one partition beside whoever reads it: without a level of ownership nobody is disconnected. */
const readOne = (client: EventHubConsumerClient, id: string): Promise<string> =>
  new Promise((resolve, reject) => {
    client.subscribe(
      id,
      {
        async processEvents([event]) {
          resolve(event === undefined ? 'it may be read, and nothing is there yet' : 'an event was read')
        },
        async processError(cause) {
          if (isStolen(cause)) resolve('it may be read, and somebody reads it at this moment')
          else reject(cause)
        },
      },
      {
        startPosition: { offset: '-1' },
        maxBatchSize: 1,
        prefetchCount: 1,
        maxWaitTimeInSeconds: READ_MS / 1000,
      },
    )
  })

export const checkEventHubs = async (
  { hubs, ...access }: CheckpointAccess & { readonly hubs: readonly string[] },
  signal: AbortSignal,
): Promise<readonly Check[]> => {
  const checks: Check[] = []
  const interrupted = aborted(signal)
  /** @returns what `work` gives, if it goes well */
  const step = async <T>(name: string, work: () => Promise<T>, say: (found: T) => string) => {
    const late = sleep(STEP_MS, undefined, { ref: false }).then(() => {
      throw new Error(`no answer within ${STEP_MS / 1000} s: is port 5671 open on the way?`)
    })
    late.catch(() => {}) // only when it comes first
    try {
      const found = await Promise.race([work(), late, interrupted])
      checks.push({ step: name, ok: true, detail: say(found) })
      return found
    } catch (cause) {
      signal.throwIfAborted()
      checks.push({ step: name, ok: false, detail: explainedHub(cause) })
      return undefined
    }
  }
  const checkpoints = hubCheckpoints(access, () => {})
  for (const hub of hubs) {
    const client = await step(
      `sign in for ${hub}`,
      () => openHub(access, hub),
      (one) => one.fullyQualifiedNamespace,
    )
    if (client === undefined) continue
    try {
      const found = await step(
        `hub ${hub}`,
        () => client.getEventHubProperties({ abortSignal: signal }),
        ({ partitionIds }) => `it answers, and has ${partitionIds.length} partitions`,
      )
      const [first] = found?.partitionIds ?? []
      if (first !== undefined) {
        if (access.checkpoints !== undefined)
          await step(
            'checkpoints',
            () => checkpoints.known(newHubPartition(hub, first)),
            (mark) =>
              `they can be read; partition ${first} of ${hub} ${mark === undefined ? 'has none yet' : `is at ${mark.sequenceNumber}`}`,
          )
        await step(
          `consumer group ${access.consumer_group} of ${hub}`,
          () => readOne(client, first),
          (text) => text,
        )
      }
    } finally {
      await within(
        2000,
        client.close().catch(() => {}),
      ) // it is not used again
    }
  }
  return checks
}
