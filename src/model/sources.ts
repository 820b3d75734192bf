/** The sources of a configuration, one schema each. */
import { z } from 'zod'
import { address, awsRegion, awsRole, azureCredential, path, pattern, secret } from './setting.ts'

/** What every source may have. */
const anySource = {
  accounts: z
    .array(pattern('account, subscription, tenant or project'))
    .min(1)
    .max(10_000)
    .describe('accounts that the source speaks for: a record about any other is rejected, and kept as such')
    .optional(),
}

const filesSource = z
  .strictObject({
    type: z.literal('files'),
    ...anySource,
    paths: z
      .array(path('folder, file or pattern'))
      .min(1)
      .max(1000)
      .describe('what is read, and watched for more'),
    start: z
      .enum(['beginning', 'end'])
      .describe('where a file begins that was never read before: `end` passes over what is there already'),
  })
  .describe('log files, plain, gzip or zstd')

const user = { username: pattern('user name'), password: secret('password') }

const kafkaSasl = z
  .discriminatedUnion('mechanism', [
    z.strictObject({ mechanism: z.literal('plain'), ...user }),
    z.strictObject({ mechanism: z.literal('scram-sha-256'), ...user }),
    z.strictObject({ mechanism: z.literal('scram-sha-512'), ...user }),
    z
      .strictObject({
        mechanism: z.literal('oauthbearer'),
        token_url: address('where tokens are given for client credentials'),
        client: pattern('client id'),
        secret: secret('client secret'),
        scope: pattern('scope of the token').optional(),
      })
      .describe('OAuth 2 client credentials'),
    z
      .strictObject({
        mechanism: z.literal('aws'),
        region: awsRegion,
        role: awsRole.optional(),
      })
      .describe('Amazon MSK, by IAM: credentials are looked for where the AWS tools look'),
  ])
  .describe('how Keytrail signs in')

const isLocal = (broker: string) => /^(localhost|127\.0\.0\.1|\[::1\]):/.test(broker)

/** Certificates on both sides; `{}` trusts the usual authorities and shows none. */
export const tls = z
  .strictObject({
    ca_file: path('PEM of a certificate authority that is trusted beside the usual ones').optional(),
    cert_file: path('PEM of the certificate that Keytrail shows').optional(),
    key_file: path('PEM of its private key').optional(),
  })
  .refine(
    ({ cert_file, key_file }) => (cert_file === undefined) === (key_file === undefined),
    'name cert_file and key_file, or neither',
  )
  .describe('TLS; {} trusts the usual authorities')

/** What the source and the sink of Kafka have. */
export const kafkaAccess = {
  brokers: z
    .array(z.string().regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$/, 'host and port'))
    .min(1)
    .max(100)
    .describe('brokers that are asked first, such as kafka.example.com:9093'),
  tls: tls.optional(),
  sasl: kafkaSasl.optional(),
}
export const topic = z.string().regex(/^[A-Za-z0-9._-]{1,249}$/, 'the name of a topic')

interface Access {
  readonly brokers: readonly string[]
  readonly tls?: unknown
  readonly sasl?: unknown
}
export const saslNeedsTls = [
  ({ brokers, tls, sasl }: Access) => sasl === undefined || tls !== undefined || brokers.every(isLocal),
  'sasl needs tls: without it everybody on the way reads what is sent; add tls: {}',
] as const

const kafkaSource = z
  .strictObject({
    type: z.literal('kafka'),
    ...anySource,
    ...kafkaAccess,
    topics: z.array(topic).min(1).max(100).describe('topics that are read'),
    group: pattern('consumer group: members of one group share the partitions'),
    start: z
      .union([z.enum(['earliest', 'latest']), z.iso.datetime({ offset: true })])
      .describe(
        'where a partition begins that neither the journal nor the group knows: or a time (RFC 3339)',
      ),
    on_gap: z
      .enum(['stop', 'continue'])
      .describe('when records were removed before they were read: stop the partition, or tell and go on')
      .default('stop'),
  })
  .refine(...saslNeedsTls)
  .describe('topics of Apache Kafka, Amazon MSK, Azure Event Hubs (Kafka endpoint)')

const canary = z
  .strictObject({
    key: z
      .string()
      .regex(/^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/\S+$/, 'the ARN of a key')
      .describe('ARN of a key that serves nothing else'),
    role: awsRole.optional(),
    endpoint: address("address of KMS, when it is not the region's own").optional(),
    minutes: z.int().min(1).max(60).describe('minutes between two calls').default(5),
  })
  .describe('a key that is described now and then: when three calls in a row do not come, the feed is silent')
export type CanaryConfig = z.infer<typeof canary>

const bucket = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'the name of a bucket')
      .describe('name of the bucket'),
    region: awsRegion.optional(),
    role: awsRole.optional(),
  })
  .describe('a bucket; region and role are those of the source unless named')

const s3Source = z
  .strictObject({
    type: z.literal('s3'),
    ...anySource,
    queue: address('URL of the SQS queue that is told of new objects'),
    region: awsRegion,
    role: awsRole.optional(),
    buckets: z
      .array(bucket)
      .min(1)
      .max(1000)
      .describe('buckets that are read; without them, every bucket that the queue names')
      .optional(),
    start: z
      .enum(['beginning', 'end'])
      .describe(
        'at the first start: read what the queue holds, or pass over what was announced before; what was never announced is for `keytrail backfill`',
      ),
    visibility_seconds: z
      .int()
      .min(2)
      .max(43_200)
      .describe('seconds that a message is kept from others; it is prolonged while the work lasts')
      .default(120),
    objects: z
      .int()
      .min(1)
      .max(64)
      .describe('objects that are fetched at the same time, each of 4 MiB at most; larger ones are streamed')
      .default(8),
    public_keys: z
      .array(path('list of public keys, as `aws cloudtrail list-public-keys` prints it'))
      .min(1)
      .describe('keys that digests are verified with; without them the API of CloudTrail is asked')
      .optional(),
    canary: canary.optional(),
    endpoints: z
      .strictObject({
        s3: address('address of S3').optional(),
        sqs: address('address of SQS').optional(),
        cloudtrail: address('address of CloudTrail').optional(),
      })
      .describe("addresses of the services, when they are not the region's own, such as VPC endpoints")
      .optional(),
  })
  .describe('CloudTrail files in Amazon S3, announced by an SQS queue')

const eventHubsSource = z
  .strictObject({
    type: z.literal('event_hubs'),
    ...anySource,
    connection_string: secret('connection string of the namespace, or of its only hub').optional(),
    namespace: z
      .string()
      .regex(/^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+$/, 'the host of a namespace')
      .describe('host of the namespace, such as keytrail.servicebus.windows.net')
      .optional(),
    credential: azureCredential.optional(),
    authority: address('address that gives tokens, where it is not the public cloud').optional(),
    endpoint: address('address that is connected to, when it is not the namespace itself').optional(),
    hubs: z
      .array(z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?$/, 'the name of an event hub'))
      .min(1)
      .max(100)
      .describe('event hubs that are read'),
    consumer_group: z
      .string()
      .regex(/^(\$Default|[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?)$/, 'the name of a consumer group')
      .describe('consumer group that nobody else reads with'),
    start: z
      .union([z.enum(['earliest', 'latest']), z.iso.datetime({ offset: true })])
      .describe('where a partition begins that was never read before: or a time (RFC 3339)'),
    checkpoints: z
      .strictObject({
        container: address('URL of a container of Azure Storage'),
        connection_string: secret('connection string of the storage account').optional(),
      })
      .describe(
        'checkpoints for others, written after the commit; read where the journal knows nothing. By the credential of the source unless a connection string is named',
      )
      .optional(),
    on_gap: z
      .enum(['stop', 'continue'])
      .describe('when events were removed before they were read: stop the partition, or tell and go on')
      .default('stop'),
    prefetch_bytes: z
      .int()
      .min(64 * 1024)
      .max(1024 ** 3)
      .describe('bytes that are fetched in advance, for all partitions together')
      .default(16 * 1024 ** 2),
    stall_seconds: z
      .int()
      .min(1)
      .max(3600)
      .describe('seconds after which a partition that has events and gives none is opened anew')
      .default(30),
  })
  .refine(
    ({ connection_string, namespace, credential }) =>
      connection_string === undefined
        ? namespace !== undefined && credential !== undefined
        : namespace === undefined && credential === undefined,
    'name connection_string, or namespace and credential',
  )
  .refine(
    ({ checkpoints, credential }) =>
      checkpoints === undefined || checkpoints.connection_string !== undefined || credential !== undefined,
    'checkpoints need a connection_string of their own, or the credential of the source',
  )
  .describe('Azure Event Hubs')

const cloudWatchLogsSource = z
  .strictObject({
    type: z.literal('cloudwatch_logs'),
    ...anySource,
    groups: z
      .array(
        z
          .strictObject({
            name: pattern('name of the log group; its ARN when it is shared by a linked account'),
            region: awsRegion,
            role: awsRole.optional(),
          })
          .describe('a log group'),
      )
      .min(1)
      .max(100)
      .describe('log groups that are read'),
    start: z
      .union([z.enum(['beginning', 'end']), z.iso.datetime({ offset: true })])
      .describe('where a group begins that was never read before: events before that time are passed over'),
    filter: pattern('filter pattern that the service applies; what it holds back is not counted').optional(),
    poll_seconds: z.int().min(1).max(900).describe('seconds between two looks').default(10),
    requests_per_second: z
      .number()
      .min(0.1)
      .max(1000)
      .describe('requests for each group; the service allows a few for each account and region together')
      .default(2),
    canary: canary.optional(),
    endpoint: address("address of the service, when it is not the region's own").optional(),
  })
  .describe('Amazon CloudWatch Logs, read by polling')

const pubSubSource = z
  .strictObject({
    ...anySource,
    type: z.literal('pubsub'),
    project: z
      .string()
      .regex(/^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$/, 'the id of a project')
      .describe('id of the project that has the subscriptions'),
    subscriptions: z
      .array(
        z
          .string()
          .regex(
            /^(projects\/[^/\s]+\/subscriptions\/)?[A-Za-z][A-Za-z0-9._~+%-]{2,254}$/,
            'the name of a subscription',
          ),
      )
      .min(1)
      .max(100)
      .describe('pull subscriptions that nobody else reads; one of another project by its full name'),
    start: z
      .union([z.enum(['earliest', 'latest']), z.iso.datetime({ offset: true })])
      .describe(
        'at the first start: read what the subscription holds, or pass over (and acknowledge) what was published before now, or before a time (RFC 3339)',
      ),
    endpoint: address('address of the service: a regional or private one').optional(),
    prefetch_messages: z
      .int()
      .min(1)
      .max(100_000)
      .describe('messages of each subscription that are fetched and not yet acknowledged')
      .default(5000),
    prefetch_bytes: z
      .int()
      .min(64 * 1024)
      .max(1024 ** 3)
      .describe('bytes of each subscription that are fetched and not yet acknowledged')
      .default(8 * 1024 ** 2),
    lease_seconds: z
      .int()
      .min(10)
      .max(3600)
      .describe('seconds that a message is kept from others while it waits; then it is given back')
      .default(600),
  })
  .describe('Google Cloud Pub/Sub, such as the topic of a log sink')

export const sourceConfig = z.discriminatedUnion('type', [
  filesSource,
  s3Source,
  cloudWatchLogsSource,
  eventHubsSource,
  kafkaSource,
  pubSubSource,
])
export type EventHubsConfig = z.infer<typeof eventHubsSource>
export type S3Config = z.infer<typeof s3Source>
export type CloudWatchLogsConfig = z.infer<typeof cloudWatchLogsSource>
export type PubSubConfig = z.infer<typeof pubSubSource>
