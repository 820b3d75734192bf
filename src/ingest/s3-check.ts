/** What `doctor` asks of a queue and its buckets: step by step, and which exact permission or setting is missing. */
import type { SQSClient } from '@aws-sdk/client-sqs'
import { messageOf } from '../model/error.ts'
import { integer, object, parse } from '../normalize/json.ts'
import type { Check } from '../pipeline/ports.ts'
import { isDenied, isNamed, refusal } from './aws.ts'
import { announcementIn } from './s3-notification.ts'
import { type Access, openBuckets } from './s3-objects.ts'
import { openSqs, type QueueOptions } from './s3-queue.ts'

/** Nothing has it: what is answered tells whether the call is allowed. */
const NO_RECEIPT = 'AQEBkeytraildoctor=='
const MAX_BUCKETS = 20

/** @throws unless the service refuses the receipt alone */
const allowed = async (action: string, call: () => Promise<unknown>): Promise<string> => {
  try {
    await call()
  } catch (cause) {
    const known = isNamed(cause, 'ReceiptHandleIsInvalid', 'InvalidParameterValue', 'MessageNotInflight')
    if (!known && !/receipt ?handle/i.test(messageOf(cause))) throw cause
  }
  return `${action} is allowed`
}

/** What S3 says when the key of the bucket is the reason. */
const refusedObject = (cause: unknown, bucket: string): string => {
  const what = messageOf(cause)
  if (/kms:Decrypt/.test(what))
    return `the permission kms:Decrypt on the key of ${bucket} is missing: ${what}`
  if (cause instanceof Error && cause.name.startsWith('KMS.'))
    return `the key of ${bucket} cannot be used: ${cause.name}: ${what}`
  const objects = `arn:aws:s3:::${bucket}/*`
  return refusal(
    cause,
    's3:GetObject',
    isDenied(cause) ? `${objects} (or kms:Decrypt on the key of the bucket)` : objects,
  )
}

const describeQueue = (attributes: Readonly<Record<string, string>>): string => {
  const letters = integer(object(parse(attributes['RedrivePolicy'] ?? ''))['maxReceiveCount'])
  return [
    `${attributes['ApproximateNumberOfMessages'] ?? '?'} messages wait, ${attributes['ApproximateNumberOfMessagesNotVisible'] ?? '?'} are worked on`,
    letters === undefined
      ? 'there is no dead-letter queue: what cannot be read is tried until the queue forgets it'
      : `after ${letters} attempts a message goes to the dead-letter queue`,
  ].join('; ')
}

export const checkS3 = async (
  options: QueueOptions & Access,
  signal: AbortSignal,
): Promise<readonly Check[]> => {
  const { queue, role } = options
  const checks: Check[] = []
  /** @returns whether it went well */
  const step = async (
    name: string,
    work: () => Promise<string>,
    why: (cause: unknown) => string,
  ): Promise<boolean> => {
    try {
      checks.push({ step: name, ok: true, detail: await work() })
      return true
    } catch (cause) {
      signal.throwIfAborted()
      checks.push({ step: name, ok: false, detail: why(cause) })
      return false
    }
  }
  const needs = (action: string, resource: string) => (cause: unknown) =>
    isNamed(cause, 'QueueDoesNotExist', 'AWS.SimpleQueueService.NonExistentQueue')
      ? `the queue ${queue} does not exist: check the URL and the region, and that the role is of the right account`
      : refusal(cause, action, resource)

  const sqs = await openSqs(options)
  const buckets = openBuckets(options)
  try {
    const signedIn = await step(
      'credentials',
      async () => {
        await sqs.config.credentials()
        return role === undefined ? 'found' : `of ${role.arn}`
      },
      needs('sts:AssumeRole', role?.arn ?? 'a role'),
    )
    if (!signedIn) return checks
    const { arn, policy, names, isThere } = await checkQueue(sqs, queue, step, needs, signal)
    if (!isThere) return checks
    const named = options.buckets?.map(({ name }) => name) ?? [...names]
    if (named.length === 0)
      checks.push({
        step: 'buckets',
        ok: true,
        detail: 'not tried: no bucket is named under buckets, and no message of the queue names one now',
      })
    for (const bucket of named.slice(0, MAX_BUCKETS)) {
      const s3 = await buckets.client(bucket)
      if (s3 === undefined) continue
      const { GetBucketNotificationConfigurationCommand, GetObjectCommand, ListObjectsV2Command } =
        await import('@aws-sdk/client-s3')
      const more = { abortSignal: signal }
      await step(
        `${bucket} notification`,
        async () => {
          if (names.has(bucket)) return 'a message of the queue names it'
          const found = await s3
            .send(new GetBucketNotificationConfigurationCommand({ Bucket: bucket }), more)
            .catch((cause) => {
              if (!isDenied(cause)) throw cause
              return undefined
            })
          if (found === undefined)
            return 'not looked at: that takes s3:GetBucketNotification, and reading does not need it'
          const own = found.QueueConfigurations?.find(({ QueueArn }) => QueueArn === arn)
          if (own !== undefined) return `it tells the queue of ${own.Events?.join(', ')}`
          if (found.EventBridgeConfiguration !== undefined)
            return 'it tells EventBridge, whose rules are not looked at'
          if ((found.TopicConfigurations?.length ?? 0) > 0)
            return 'it tells SNS, whose subscriptions are not looked at'
          if (/sns\.amazonaws\.com|aws:SourceArn[^}]*:sns:/.test(policy))
            return 'it tells nobody itself; the queue takes messages of SNS, which may be those of the trail'
          throw new Error(
            `notification not configured: ${bucket} tells neither the queue ${arn}, nor SNS, nor EventBridge of new objects`,
          )
        },
        (cause) => refusal(cause, 's3:GetBucketNotification', `arn:aws:s3:::${bucket}`),
      )
      let key: string | undefined
      await step(
        `${bucket} list`,
        async () => {
          const page = await s3.send(new ListObjectsV2Command({ Bucket: bucket, MaxKeys: 1 }), more)
          key = page.Contents?.[0]?.Key
          return key === undefined ? 'the bucket is empty' : 's3:ListBucket is allowed'
        },
        (cause) =>
          `${refusal(cause, 's3:ListBucket', `arn:aws:s3:::${bucket}`)}; without it a deleted object cannot be told from a forbidden one, and there is no backfill`,
      )
      if (key === undefined) continue
      await step(
        `${bucket} read`,
        async () => {
          const { Body } = await s3.send(
            new GetObjectCommand({ Bucket: bucket, Key: key, Range: 'bytes=0-0' }),
            more,
          )
          await Body?.transformToByteArray()
          return 's3:GetObject is allowed, and the key of the bucket can be used'
        },
        (cause) => refusedObject(cause, bucket),
      )
    }
    return checks
  } finally {
    sqs.destroy()
    buckets.close()
  }
}

type Step = (name: string, work: () => Promise<string>, why: (cause: unknown) => string) => Promise<boolean>

/** Looks at the queue, with messages that are given back at once. @returns what the buckets are compared with */
const checkQueue = async (
  sqs: SQSClient,
  queue: string,
  step: Step,
  needs: (action: string, resource: string) => (cause: unknown) => string,
  signal: AbortSignal,
) => {
  const {
    ChangeMessageVisibilityCommand,
    DeleteMessageCommand,
    GetQueueAttributesCommand,
    ReceiveMessageCommand,
  } = await import('@aws-sdk/client-sqs')
  const more = { abortSignal: signal }
  let attributes: Readonly<Record<string, string>> = {}
  const isThere = await step(
    'queue',
    async () => {
      const asked = new GetQueueAttributesCommand({ QueueUrl: queue, AttributeNames: ['All'] })
      const found = await sqs.send(asked, more).catch((cause) => {
        if (!isDenied(cause)) throw cause
        return undefined
      })
      if (found === undefined)
        return 'not looked at: that takes sqs:GetQueueAttributes, and reading does not need it'
      attributes = found.Attributes ?? {}
      return describeQueue(attributes)
    },
    needs('sqs:GetQueueAttributes', queue),
  )
  const names = new Set<string>()
  if (isThere) {
    await step(
      'receive',
      async () => {
        const { Messages = [] } = await sqs.send(
          new ReceiveMessageCommand({
            QueueUrl: queue,
            MaxNumberOfMessages: 10,
            VisibilityTimeout: 0,
            WaitTimeSeconds: 1,
          }),
          more,
        )
        for (const { Body = '' } of Messages) {
          const found = announcementIn(Body)
          if (found.kind === 'objects') for (const { bucket } of found.objects) names.add(bucket)
        }
        return 'sqs:ReceiveMessage is allowed'
      },
      needs('sqs:ReceiveMessage', queue),
    )
    const receipt = { QueueUrl: queue, ReceiptHandle: NO_RECEIPT }
    await step(
      'delete',
      () => allowed('sqs:DeleteMessage', () => sqs.send(new DeleteMessageCommand(receipt), more)),
      needs('sqs:DeleteMessage', queue),
    )
    await step(
      'prolong',
      () =>
        allowed('sqs:ChangeMessageVisibility', () =>
          sqs.send(new ChangeMessageVisibilityCommand({ ...receipt, VisibilityTimeout: 0 }), more),
        ),
      needs('sqs:ChangeMessageVisibility', queue),
    )
  }
  return { arn: attributes['QueueArn'] ?? '', policy: attributes['Policy'] ?? '', names, isThere }
}
