/** The configuration: what `run` reads from and writes to, and how records are read. `scan` needs none. */
import { z } from 'zod'
import { categories, criticalities } from './operations.ts'
import {
  address,
  awsRegion,
  awsRole,
  azureCredential,
  format,
  formats,
  id,
  path,
  pattern,
  secret,
} from './setting.ts'
import { kafkaAccess, saslNeedsTls, sourceConfig, tls, topic } from './sources.ts'

const ndjsonSink = z
  .strictObject({
    type: z.literal('ndjson'),
    events: path('file for the normalized feed').optional(),
    alerts: path('file for alerts').optional(),
    format: format('native'),
  })
  .refine(({ events, alerts }) => events !== undefined || alerts !== undefined, 'name events, alerts or both')
  .describe('files with one JSON object a line')

const consoleSink = z
  .strictObject({
    type: z.literal('console'),
    format: z
      .enum(['text', 'json', ...formats])
      .describe('for people, or for programs; json is native')
      .default('text'),
  })
  .describe('alerts on standard output')

const severity = (about: string) => z.enum(criticalities).describe(about).default('info')
const alertSelection = { severity: severity('least severity that is sent') }
const feedSelection = {
  criticality: severity('least criticality that is sent'),
  categories: z
    .array(z.enum(categories))
    .min(1)
    .describe('operation categories that are sent')
    .default([...categories]),
}

const splunkStream = (sourcetype: string) => ({
  index: pattern("index; without one the token's own").optional(),
  sourcetype: pattern('sourcetype').default(sourcetype),
})

const waiting = {
  max_wait_seconds: z.int().min(1).max(3600).describe('attempts are at most this far apart').default(60),
}

/** What every sink over HTTP has. */
const httpSink = {
  ca_file: path('PEM of a certificate authority that is trusted beside the usual ones').optional(),
  in_flight: z.int().min(1).max(16).describe('requests at the same time').default(2),
  ...waiting,
}

const alertsOrFeed = [
  ({ alerts, feed }: { alerts?: unknown; feed?: unknown }) => alerts !== undefined || feed !== undefined,
  'name alerts, feed or both',
] as const

/** Alerts, the feed or both, each with settings of its own. */
const streams = <A extends z.ZodRawShape, F extends z.ZodRawShape>(alerts: A, feed: F) => ({
  alerts: z
    .strictObject({ ...alerts, ...alertSelection })
    .describe('send alerts')
    .optional(),
  feed: z
    .strictObject({ ...feed, ...feedSelection })
    .describe('send the normalized feed')
    .optional(),
})

const splunkSink = z
  .strictObject({
    type: z.literal('splunk'),
    url: address('address of the collector, such as https://splunk.example.com:8088'),
    token: secret('token of the collector'),
    ack: z
      .enum(['preferred', 'required', 'off'])
      .describe('whether an object counts as delivered only when indexers acknowledge it')
      .default('preferred'),
    ack_seconds: z
      .int()
      .min(1)
      .max(3600)
      .describe('seconds after which what nobody acknowledged is sent again')
      .default(300),
    gzip: z.boolean().describe('compress requests').default(true),
    format: format('cim'),
    ...streams(splunkStream('kms:alert'), splunkStream('kms:event')),
    ...httpSink,
  })
  .refine(...alertsOrFeed)
  .describe('Splunk HTTP Event Collector')

const sentinelSink = z
  .strictObject({
    type: z.literal('sentinel'),
    endpoint: address('logs ingestion endpoint of the data collection rule'),
    rule: z
      .string()
      .regex(/^dcr-[0-9A-Za-z]{1,64}$/, 'the immutable id of the rule, such as dcr-0123456789abcdef')
      .describe('immutable id of the data collection rule'),
    credential: azureCredential,
    format: format('asim'),
    authority: address('address that gives tokens, where it is not the public cloud').optional(),
    scope: pattern('scope of the token, where it is not the public cloud').default(
      'https://monitor.azure.com/.default',
    ),
    ...streams(
      { stream: pattern('stream').default('Custom-KeytrailAlert') },
      { stream: pattern('stream').default('Custom-KeytrailEvent') },
    ),
    ...httpSink,
  })
  .refine(...alertsOrFeed)
  .superRefine(({ format, alerts, feed }, found) => {
    if (format.startsWith('ecs'))
      found.addIssue({
        code: 'custom',
        path: ['format'],
        message: 'ECS has a field @timestamp, and no column of a table may be called so: use asim or ocsf',
      })
    else
      for (const [path, one] of Object.entries({ alerts, feed }))
        if (format !== 'asim' && one?.stream.startsWith('Custom-Keytrail'))
          found.addIssue({
            code: 'custom',
            path: [path, 'stream'],
            message: `the table behind ${one.stream} has the columns of ASIM: name a stream of your own, made for ${format}, or leave out format`,
          })
  })
  .describe('Microsoft Sentinel, by the Logs Ingestion API')

const kafkaSink = z
  .strictObject({
    type: z.literal('kafka'),
    ...kafkaAccess,
    compression: z
      .enum(['none', 'gzip', 'snappy', 'lz4', 'zstd'])
      .describe('how batches are compressed')
      .default('zstd'),
    format: format('native'),
    ...streams({ topic: topic.describe('topic') }, { topic: topic.describe('topic') }),
    ...waiting,
  })
  .refine(...saslNeedsTls)
  .refine(...alertsOrFeed)
  .describe('topics of Apache Kafka, or of what speaks its protocol')

const webhookSink = z
  .strictObject({
    type: z.literal('webhook'),
    url: address('address that takes CloudEvents').refine(
      (text) => !/^https?:\/\/[^/?#]*@/.test(text),
      'no user and password in the address: name a token',
    ),
    keys: z
      .array(secret('key that signs: 24 bytes or more, or whsec_ and base64'))
      .min(1)
      .max(2)
      .describe('keys that sign each request: while one is changed, the new one and the old one'),
    token: secret('bearer token that the receiver asks for').optional(),
    mode: z.enum(['single', 'batch']).describe('one event a request, or up to 500').default('single'),
    source: pattern('who sends, as CloudEvents has it').default('urn:keytrail'),
    allow: z
      .array(z.union([z.cidrv4(), z.cidrv6()]))
      .max(100)
      .describe('networks that may be called although they are not the internet, such as 10.1.2.0/24')
      .default([]),
    format: format('native'),
    proxy: address('address of a proxy; those of the environment are not used').optional(),
    ...streams({}, {}),
    ...httpSink,
  })
  .refine(...alertsOrFeed)
  .describe('an address that takes CloudEvents over HTTP')

const syslogSink = z
  .strictObject({
    type: z.literal('syslog'),
    host: z
      .string()
      .regex(/^([0-9a-fA-F:]+|[A-Za-z0-9._-]{1,253})$/, 'a host or an address')
      .describe('host of the receiver'),
    port: z.int().min(1).max(65_535).describe('port of the receiver').default(6514),
    tls: tls.prefault({}),
    facility: z.int().min(0).max(23).describe('facility; 13 is log audit').default(13),
    hostname: pattern("name that this machine is given; without one, the system's own").optional(),
    enterprise: z
      .int()
      .min(1)
      .describe('private enterprise number of the structured data; 32473 is the one for examples (RFC 5612)')
      .default(32473),
    max_bytes: z
      .int()
      .min(2048)
      .max(1024 * 1024)
      .describe('bytes of a message at most; of a longer record the longest texts are cut')
      .default(8192),
    format: format('native'),
    ...streams({}, {}),
    ...waiting,
  })
  .refine(...alertsOrFeed)
  .describe('a syslog receiver over TLS')

const GIB = 1024 ** 3

const historyConfig = z
  .strictObject({
    folder: path('folder on a local disk').optional(),
    s3: z
      .strictObject({
        bucket: pattern('name of the bucket'),
        prefix: z.string().max(512).describe('what names begin with').default(''),
        region: awsRegion,
        role: awsRole.optional(),
        endpoint: address("where S3 is, when it is not the region's own address").optional(),
      })
      .describe('bucket; everything is kept there, and read from there')
      .optional(),
    key: path(
      'Ed25519 key that signs checkpoints, PEM; without it history.key in the data directory, made when it is not there',
    ).optional(),
    origin: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9./-]{0,127}$/, 'a name such as example.com/keytrail')
      .describe('name of this history in its checkpoints')
      .default('keytrail/history'),
    keep_days: z
      .int()
      .min(1)
      .max(36_500)
      .describe('days after which records are removed, unless they are on hold; without it none are')
      .optional(),
    seal_seconds: z
      .int()
      .min(1)
      .max(3600)
      .describe('what is journaled is sealed after this time')
      .default(60),
    seal_records: z.int().min(1).max(1_000_000).describe('or when so many events wait').default(10_000),
  })
  .refine(({ folder, s3 }) => (folder === undefined) !== (s3 === undefined), 'name either folder or s3')
  .describe('every event kept, provable and replayable')

export const config = z
  .strictObject({
    data: path('data directory: the journal lives here, on a local disk').default('.keytrail/data'),
    sources: z
      .record(id, sourceConfig)
      .describe('where records come from; the name is the feed id')
      .default({}),
    sinks: z
      .record(
        id,
        z.discriminatedUnion('type', [
          ndjsonSink,
          consoleSink,
          splunkSink,
          sentinelSink,
          kafkaSink,
          webhookSink,
          syslogSink,
        ]),
      )
      .describe('where the feed and the alerts go')
      .default({}),
    detectors: z
      .strictObject({
        folders: z.array(path('folder of detectors')).max(100).describe('detectors of your own').default([]),
        default: z.boolean().describe('load the detectors that come with Keytrail').default(true),
        disable: z
          .array(pattern('detector id'))
          .max(1000)
          .describe('detectors that are not used')
          .default([]),
      })
      .describe('what looks for attacks')
      .prefault({}),
    journal: z
      .strictObject({
        keep_days: z
          .int()
          .min(1)
          .max(3650)
          .describe('days that blocks are kept after every sink has them')
          .default(7),
        keep_bytes: z
          .int()
          .min(1)
          .describe('bytes that are kept at most after every sink has them')
          .default(10 * GIB),
        budget_bytes: z
          .int()
          .min(1)
          .describe('bytes that a sink may be behind before reading stops; nothing is dropped')
          .default(10 * GIB),
      })
      .describe('how much history the journal holds')
      .prefault({}),
    history: historyConfig.optional(),
    http: z
      .strictObject({
        listen: z
          .string()
          .regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, 'address and port, such as 127.0.0.1:9470')
          .describe('address and port'),
        token: secret(
          'bearer token that /status and /metrics ask for; without one they answer on loopback only',
        ).optional(),
      })
      .describe('/healthz, /readyz, /status and /metrics')
      .optional(),
    log: z
      .enum(['debug', 'info', 'warn', 'error'])
      .describe('least severity of what is logged on standard error')
      .default('info'),
    knowledge: z
      .array(path('file of knowledge, YAML or CSV'))
      .max(100)
      .describe('what you know and no log says: labels of keys, callers and accounts, own accounts, partners')
      .default([]),
    geo: z
      .array(path('MaxMind DB file with countries or autonomous systems'))
      .max(8)
      .describe('where addresses are; the first file that knows counts')
      .default([]),
    ingest_path: z
      .array(pattern('name or ARN of a log bucket, log group, rule or destination'))
      .max(1000)
      .describe('resources that carry our own feed: changes to them are judged as changes to logging')
      .default([]),
    trusted_roles: z
      .array(pattern('role ARN, * matches any run of characters'))
      .max(1000)
      .describe('roles whose identity provider enforces MFA: their sessions count as verified (derived_rule)')
      .default([]),
    encryption_context: z
      .enum(['keep', 'hash', 'drop'])
      .describe(
        'keep the pairs, keep names and hash values, or drop them (context detectors then see nothing)',
      )
      .default('keep'),
  })
  .refine(({ history, sinks }) => history === undefined || sinks['history'] === undefined, {
    path: ['sinks', 'history'],
    error: 'history has a cursor of this name: call the sink otherwise',
  })
  .describe('Keytrail configuration')

export type Config = z.infer<typeof config>
export type SourceConfig = Config['sources'][string]
export const defaultConfig: Config = config.parse({})
