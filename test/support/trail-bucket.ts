/** A trail that delivers to a bucket, whose notifications reach a queue: on moto. */
import { randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import {
  CreateBucketCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import type { Moto } from '../standins/moto.ts'
import { type CloudTrailRecord, delivery } from './cloudtrail.ts'

export const REGION = 'eu-central-1'
export const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'example' }
/** For programs that look where the AWS tools look. */
export const awsEnv = {
  AWS_ACCESS_KEY_ID: credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
  AWS_EC2_METADATA_DISABLED: 'true',
}

export interface Trail {
  readonly bucket: string
  readonly queue: string
  readonly s3: S3Client
  readonly sqs: SQSClient
  /** The source as a configuration names it. */
  readonly config: Readonly<Record<string, unknown>>
  /** As CloudTrail names its files. */
  key(at?: Date, region?: string): string
  /** Puts an object; the bucket tells the queue. @returns its place */
  put(key: string, body: Uint8Array): Promise<string>
  deliver(records: readonly CloudTrailRecord[], at?: Date, region?: string): Promise<string>
  send(body: string): Promise<void>
  /** Messages that wait or are worked on. */
  unsettled(): Promise<number>
}

export interface TrailOptions {
  readonly visibility?: number
  /** Whether the bucket tells the queue. */
  readonly notify?: boolean
}

export const makeTrail = async (
  moto: Moto,
  { visibility = 3, notify = true }: TrailOptions = {},
): Promise<Trail> => {
  const name = `trail-${randomUUID().slice(0, 13)}`
  const options = { region: REGION, endpoint: moto.url, credentials }
  const s3 = new S3Client({ ...options, forcePathStyle: true })
  const sqs = new SQSClient(options)
  await s3.send(
    new CreateBucketCommand({ Bucket: name, CreateBucketConfiguration: { LocationConstraint: REGION } }),
  )
  await sqs.send(new CreateQueueCommand({ QueueName: name }))
  const queue = `${moto.url}/123456789012/${name}`
  if (notify)
    await s3.send(
      new PutBucketNotificationConfigurationCommand({
        Bucket: name,
        NotificationConfiguration: {
          QueueConfigurations: [
            { QueueArn: `arn:aws:sqs:${REGION}:123456789012:${name}`, Events: ['s3:ObjectCreated:*'] },
          ],
        },
      }),
    )
  let number = 0
  const key = (at = new Date('2026-03-02T09:05:00Z'), region = REGION) => {
    const stamp = at.toISOString()
    const day = stamp.slice(0, 10).replaceAll('-', '/')
    const minute = stamp.slice(0, 16).replace(/[-:]/g, '')
    const random = String(++number).padStart(16, '0')
    return `AWSLogs/123456789012/CloudTrail/${region}/${day}/123456789012_CloudTrail_${region}_${minute}Z_${random}.json.gz`
  }
  const put = async (Key: string, Body: Uint8Array) => {
    await s3.send(new PutObjectCommand({ Bucket: name, Key, Body }))
    return `s3://${name}/${Key}`
  }
  return {
    bucket: name,
    queue,
    s3,
    sqs,
    config: {
      type: 's3',
      queue,
      region: REGION,
      start: 'beginning',
      visibility_seconds: visibility,
      endpoints: { s3: moto.url },
    },
    key,
    put,
    deliver: (records, at, region) => put(key(at, region), gzipSync(delivery(records))),
    send: async (MessageBody) =>
      void (await sqs.send(new SendMessageCommand({ QueueUrl: queue, MessageBody }))),
    async unsettled() {
      const { Attributes = {} } = await sqs.send(
        new GetQueueAttributesCommand({ QueueUrl: queue, AttributeNames: ['All'] }),
      )
      return (
        Number(Attributes['ApproximateNumberOfMessages']) +
        Number(Attributes['ApproximateNumberOfMessagesNotVisible'])
      )
    },
  }
}

/** One message as it is now. */
export const peek = async ({ sqs, queue }: Trail): Promise<string | undefined> => {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({ QueueUrl: queue, VisibilityTimeout: 0 }),
  )
  return Messages[0]?.Body
}
