/**
 * The queue that announces objects: messages are received, kept from others while they are worked on, and deleted in
 * batches. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Message, SQSClient } from '@aws-sdk/client-sqs'
import { messageOf } from '../model/error.ts'
import type { S3Config } from '../model/sources.ts'
import { awsClient } from './aws.ts'

/** A request takes so many messages (SQS quotas). */
const BATCH = 10
const SECOND_MS = 1000
/** What is not prolonged within a third of its time has two more chances. */
const PROLONG_AT = 3
/** A stop takes 10 s at most; what is not deleted by then comes again, and is known. */
const CLOSE_MS = 4000

export interface Queue {
  readonly client: SQSClient
  /** Messages that are worked on, or wait for their commit. */
  readonly held: number
  /** @param waitSeconds for the first message */
  receive(max: number, waitSeconds: number, signal: AbortSignal): Promise<readonly Message[]>
  /** It is done with: deleted soon, together with others. */
  finish(message: Message): void
  /** It comes again, after so many seconds. */
  giveBack(message: Message, seconds: number): Promise<void>
  /** Deletes what is finished, gives the rest back. */
  close(): Promise<void>
}

export type QueueOptions = Pick<S3Config, 'queue' | 'region' | 'role' | 'visibility_seconds' | 'endpoints'>

export const openSqs = async ({ queue, region, role, endpoints }: QueueOptions): Promise<SQSClient> => {
  const { SQSClient } = await import('@aws-sdk/client-sqs')
  const endpoint = endpoints?.sqs ?? new URL(queue).origin
  return new SQSClient({
    ...(await awsClient({ region, role, endpoint })),
    useQueueUrlAsEndpoint: false,
  })
}

/** @param onTrouble what could not be done, and comes again by itself */
export const openQueue = async (options: QueueOptions, onTrouble: (text: string) => void): Promise<Queue> => {
  const client = await openSqs(options)
  const { ChangeMessageVisibilityBatchCommand, DeleteMessageBatchCommand, ReceiveMessageCommand } =
    await import('@aws-sdk/client-sqs')
  const { queue: QueueUrl, visibility_seconds } = options
  /** By receipt. */
  const held = new Set<string>()
  const finished: string[] = []

  const inBatches = async (
    receipts: readonly string[],
    send: (
      entries: { Id: string; ReceiptHandle: string }[],
    ) => Promise<readonly { Id?: string | undefined; Message?: string | undefined }[]>,
    onFailed: (receipt: string, why: string) => void,
  ) => {
    for (let at = 0; at < receipts.length; at += BATCH) {
      const some = receipts.slice(at, at + BATCH)
      const entries = some.map((ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle }))
      try {
        for (const { Id, Message = 'refused' } of await send(entries))
          onFailed(some[Number(Id)] ?? '', Message)
      } catch (cause) {
        for (const receipt of some) onFailed(receipt, messageOf(cause))
      }
    }
  }

  const changeVisibility = (receipts: readonly string[], seconds: number) =>
    inBatches(
      receipts,
      async (entries) => {
        const Entries = entries.map((one) => ({ ...one, VisibilityTimeout: seconds }))
        return (
          (await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }))).Failed ?? []
        )
      },
      (receipt, why) => {
        held.delete(receipt)
        onTrouble(`a message cannot be kept for longer and will come again: ${why}`)
      },
    )

  const prolong = setInterval(
    () => void changeVisibility([...held], visibility_seconds),
    (visibility_seconds * SECOND_MS) / PROLONG_AT,
  )
  prolong.unref()

  let deleting: Promise<void> | undefined
  /** Whatever gathers while one request is under way goes with the next. */
  const deleteAll = async () => {
    while (finished.length > 0)
      await inBatches(
        finished.splice(0, BATCH),
        async (Entries) =>
          (await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))).Failed ?? [],
        (_, why) => onTrouble(`a message cannot be deleted and will come again: ${why}`),
      )
    deleting = undefined
  }

  return {
    client,
    get held() {
      return held.size
    },
    async receive(max, waitSeconds, signal) {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({
          QueueUrl,
          MaxNumberOfMessages: Math.min(max, BATCH),
          WaitTimeSeconds: waitSeconds,
          VisibilityTimeout: visibility_seconds,
          MessageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
        }),
        { abortSignal: signal },
      )
      for (const { ReceiptHandle } of Messages) if (ReceiptHandle !== undefined) held.add(ReceiptHandle)
      return Messages
    },
    finish({ ReceiptHandle = '' }) {
      held.delete(ReceiptHandle)
      finished.push(ReceiptHandle)
      deleting ??= deleteAll()
    },
    async giveBack({ ReceiptHandle = '' }, seconds) {
      held.delete(ReceiptHandle)
      await changeVisibility([ReceiptHandle], seconds)
    },
    async close() {
      clearInterval(prolong)
      const last = async () => {
        await deleting
        await changeVisibility([...held], 0)
      }
      await Promise.race([last(), sleep(CLOSE_MS, undefined, { ref: false })])
      client.destroy()
    },
  }
}
