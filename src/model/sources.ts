/** The sources of a configuration, one schema each. */
import { z } from 'zod'
import { address, path, pattern, secret } from './setting.ts'

const filesSource = z
  .strictObject({
    type: z.literal('files'),
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
        region: pattern('region of the cluster'),
        role: pattern('ARN of a role that is assumed first').optional(),
      })
      .describe('Amazon MSK, by IAM: credentials come from the environment as for every AWS program'),
  ])
  .describe('how Keytrail signs in')

const isLocal = (broker: string) => /^(localhost|127\.0\.0\.1|\[::1\]):/.test(broker)

const kafkaSource = z
  .strictObject({
    type: z.literal('kafka'),
    brokers: z
      .array(z.string().regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$/, 'host and port'))
      .min(1)
      .max(100)
      .describe('brokers that are asked first, such as kafka.example.com:9093'),
    topics: z
      .array(z.string().regex(/^[A-Za-z0-9._-]{1,249}$/, 'the name of a topic'))
      .min(1)
      .max(100)
      .describe('topics that are read'),
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
    tls: z
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
      .optional(),
    sasl: kafkaSasl.optional(),
  })
  .refine(
    ({ brokers, tls, sasl }) => sasl === undefined || tls !== undefined || brokers.every(isLocal),
    'sasl needs tls: without it everybody on the way reads what is sent; add tls: {}',
  )
  .describe('topics of Apache Kafka, Amazon MSK, Azure Event Hubs (Kafka endpoint)')

export const sourceConfig = z.discriminatedUnion('type', [filesSource, kafkaSource])
