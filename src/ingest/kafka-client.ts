/** A connection to Kafka by kafkajs: addresses, TLS, signing in, codecs, and what its failures mean. */
import { readFileSync } from 'node:fs'
import { type ConnectionOptions, rootCertificates } from 'node:tls'
import type { Kafka, KafkaConfig, SASLOptions } from 'kafkajs'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { AwsRole } from '../model/setting.ts'
import { within } from '../pipeline/waiting.ts'
import { awsClient } from './aws.ts'
import { loadCodecs } from './kafka-codecs.ts'

export type KafkaSasl =
  | {
      readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
      readonly username: string
      readonly password: string
    }
  | {
      readonly mechanism: 'oauthbearer'
      readonly token_url: string
      readonly client: string
      readonly secret: string
      readonly scope?: string | undefined
    }
  | { readonly mechanism: 'aws'; readonly region: string; readonly role?: AwsRole | undefined }

export interface KafkaAccess {
  readonly brokers: readonly string[]
  readonly tls?:
    | {
        readonly ca_file?: string | undefined
        readonly cert_file?: string | undefined
        readonly key_file?: string | undefined
      }
    | undefined
  readonly sasl?: KafkaSasl | undefined
  /** Reads the secret that the configuration names. @throws KeytrailError */
  secretOf(name: string): string
}

/** Far brokers answer late; kafkajs itself waits one second. */
const CONNECT_MS = 10_000
/** A token is asked for anew when it has less than this left. */
const TOKEN_SPARE_MS = 60_000
/** Part of the ten seconds that a graceful stop has. */
const LEAVE_MS = 4000

const pem = (name: string, path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new KeytrailError('config.invalid', `cannot read ${name} ${path}: ${messageOf(cause)}`, { cause })
  }
}

/** @throws KeytrailError when a file cannot be read */
export const tlsOf = (tls: KafkaAccess['tls']): ConnectionOptions | undefined =>
  tls && {
    minVersion: 'TLSv1.2',
    ...(tls.ca_file !== undefined && { ca: [...rootCertificates, pem('ca_file', tls.ca_file)] }),
    ...(tls.cert_file !== undefined && { cert: pem('cert_file', tls.cert_file) }),
    ...(tls.key_file !== undefined && { key: pem('key_file', tls.key_file) }),
  }

/** Client credentials (RFC 6749, 4.4), kept until they end. */
const tokenOf = (
  { token_url, client, scope }: Extract<KafkaSasl, { mechanism: 'oauthbearer' }>,
  secret: () => string,
) => {
  let value = ''
  let until = 0
  return async () => {
    if (Date.now() < until) return { value }
    const answer = await fetch(token_url, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(`${encodeURIComponent(client)}:${encodeURIComponent(secret())}`).toString('base64')}`,
      },
      body: new URLSearchParams({ grant_type: 'client_credentials', ...(scope !== undefined && { scope }) }),
      signal: AbortSignal.timeout(CONNECT_MS),
    })
    const body: unknown = answer.ok ? await answer.json() : undefined
    if (typeof body !== 'object' || body === null || !('access_token' in body))
      throw new Error(`${token_url} gives no token: status ${answer.status}`)
    value = String(body.access_token)
    const seconds = 'expires_in' in body ? Number(body.expires_in) : 0
    until = Date.now() + seconds * 1000 - TOKEN_SPARE_MS
    return { value }
  }
}

/** @throws KeytrailError when a secret is missing */
export const saslOf = async ({ sasl, secretOf }: KafkaAccess): Promise<SASLOptions | undefined> => {
  switch (sasl?.mechanism) {
    case undefined:
      return undefined
    case 'plain':
    case 'scram-sha-256':
    case 'scram-sha-512':
      return { mechanism: sasl.mechanism, username: sasl.username, password: secretOf(sasl.password) }
    case 'oauthbearer':
      return { mechanism: 'oauthbearer', oauthBearerProvider: tokenOf(sasl, () => secretOf(sasl.secret)) }
    case 'aws': {
      const signer = await import('aws-msk-iam-sasl-signer-js')
      const { region } = sasl
      const { credentials } = await awsClient(sasl)
      return {
        mechanism: 'oauthbearer',
        async oauthBearerProvider() {
          const { token } =
            credentials === undefined
              ? await signer.generateAuthToken({ region })
              : await signer.generateAuthTokenFromCredentialsProvider({
                  region,
                  awsCredentialsProvider: credentials,
                })
          return { value: token }
        },
      }
    }
  }
}

/**
 * @returns a client that retries for a few seconds and then says so; who uses it starts again
 * @throws KeytrailError when a secret or a file is missing
 */
export const openKafka = async (access: KafkaAccess): Promise<Kafka> => {
  const { Kafka, CompressionCodecs, CompressionTypes } = (await import('kafkajs')).default
  const codecs = await loadCodecs()
  const names = { GZIP: 'gzip', Snappy: 'snappy', LZ4: 'lz4', ZSTD: 'zstd' } as const
  for (const [type, name] of Object.entries(names) as [keyof typeof names, keyof typeof codecs][]) // its own entries
    CompressionCodecs[CompressionTypes[type]] = () => ({
      compress: (encoder: { readonly buffer: Buffer }) => codecs[name].compress(encoder.buffer),
      decompress: codecs[name].decompress,
    })
  const ssl = tlsOf(access.tls)
  const sasl = await saslOf(access)
  const config: KafkaConfig = {
    clientId: 'keytrail',
    brokers: [...access.brokers],
    connectionTimeout: CONNECT_MS,
    authenticationTimeout: CONNECT_MS,
    retry: { initialRetryTime: 100, maxRetryTime: 2000, retries: 5, restartOnFailure: async () => false },
    logCreator: () => () => {}, // what it says is an event or a failure, and told from there
    ...(ssl && { ssl }),
    ...(sasl && { sasl }),
  }
  return new Kafka(config)
}

/**
 * A member that was killed holds the others up for the session, so it is short (measured: with the defaults of
 * kafkajs they stood still for a minute). Fetches stay small enough to be held together with the queue.
 */
export const consumerSettings = {
  sessionTimeout: 6000,
  rebalanceTimeout: 10_000,
  heartbeatInterval: 1000,
  maxWaitTimeInMs: 100,
  maxBytesPerPartition: 1024 * 1024,
  maxBytes: 4 * 1024 * 1024,
  allowAutoTopicCreation: false,
  readUncommitted: false,
}

/** Leaves the group and closes connections, as far as brokers still answer. */
export const hangUp = async (...clients: readonly { disconnect(): Promise<void> }[]): Promise<void> => {
  await within(LEAVE_MS, Promise.allSettled(clients.map((one) => one.disconnect())))
}

/** kafkajs wraps what happened in what it did about it. */
export const rootOf = (cause: unknown): unknown =>
  cause instanceof Error && cause.cause !== undefined ? rootOf(cause.cause) : cause

const remedies: Readonly<Record<string, string>> = {
  TOPIC_AUTHORIZATION_FAILED:
    'allow Read (for a source) or Write (for a sink) and Describe on the topic (docs/permissions/kafka-acls.md)',
  GROUP_AUTHORIZATION_FAILED: 'allow Read on the group (docs/permissions/kafka-acls.md)',
  CLUSTER_AUTHORIZATION_FAILED: 'the user may not do that on this cluster (docs/permissions/kafka-acls.md)',
  UNKNOWN_TOPIC_OR_PARTITION:
    'the topic does not exist, or the user may not see it: create it, or allow Describe',
  INCONSISTENT_GROUP_PROTOCOL: 'programs of another kind are in the group: name a group of its own',
  UNSUPPORTED_SASL_MECHANISM: 'the broker does not offer this mechanism: correct sasl.mechanism',
}

/** What a failure of kafkajs or of a socket says, and what to do. */
export const explained = (failure: unknown): string => {
  const cause = rootOf(failure)
  if (!(cause instanceof Error)) return messageOf(cause)
  const [line = ''] = cause.message.split('\n')
  const alert = /(?:alert|alert:) ?([a-z ]+):/.exec(line)?.[1]
  const text = alert === undefined ? line : `TLS alert: ${alert}`
  const type = 'type' in cause ? String(cause.type) : ''
  const code = 'code' in cause ? String(cause.code) : ''
  const remedy = remedies[type]
  if (remedy !== undefined) return `${text} (${type}): ${remedy}`
  if (cause.name === 'KafkaJSGroupCoordinatorNotFound')
    return `${text}: ${remedies['GROUP_AUTHORIZATION_FAILED']}, if the cluster is well otherwise`
  if (cause.name === 'KafkaJSSASLAuthenticationError')
    return `signing in is refused: ${text}: correct sasl, or the user at the broker`
  if (/ENOTFOUND|EAI_AGAIN/.test(code + text)) return `${text}: there is no such host: correct brokers`
  if (/ECONNREFUSED/.test(code + text))
    return `${text}: nothing listens there: correct brokers, or open the way`
  if (alert !== undefined) return `${text}: the broker does not accept our certificate: correct tls.cert_file`
  if (/CERT|SELF_SIGNED|ISSUER|ALTNAME|certificate/i.test(code + text))
    return `${text}: the certificate is not trusted: name its authority with tls.ca_file`
  if (/EPROTO|ERR_SSL|wrong version number/.test(code + text))
    return `${text}: the port does not speak TLS as asked: correct the port, or tls`
  if (/timeout/i.test(text)) return `${text}: no answer: is it the right port, with or without tls?`
  if (/closed|disconnected|ECONNRESET/i.test(code + text))
    return `${text}: the broker hangs up: does this port want tls or sasl?`
  return text
}
