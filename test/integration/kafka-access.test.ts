/** Ways to sign in to Kafka, and what `doctor` says when one of them does not work. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AclEntry } from 'kafkajs'
import { OAuth2Server } from 'oauth2-mock-server'
import { generate } from 'selfsigned'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sinksOf } from '../../src/commands/sinks.ts'
import { sourceOf } from '../../src/commands/sources.ts'
import { config } from '../../src/model/config.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { SinkFault } from '../../src/pipeline/ports.ts'
import { freePort, noKafka, type RunningKafka, startKafka } from '../standins/kafka.ts'
import { alertOf } from '../support/deliveries.ts'
import { eventually, reading } from '../support/reading.ts'

const TOPIC = 2
const GROUP = 3
const READ = 3
const WRITE = 4
const ALLOW = 3
const LITERAL = 3

describe.skipIf(noKafka !== undefined)(`Kafka${noKafka ? `: ${noKafka}` : ''}`, { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-kafka-access-'))
  const file = (name: string, text: string) => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }
  let broker: RunningKafka
  let identity: OAuth2Server
  let sasl = ''
  let ssl = ''
  let tokenUrl = ''
  let tls: Record<string, string> = {}
  let topic = ''
  let hidden = ''
  let written = ''
  let groups = 0

  beforeAll(async () => {
    const [saslPort, sslPort, identityPort] = [await freePort(), await freePort(), await freePort()]
    sasl = `127.0.0.1:${saslPort}`
    ssl = `127.0.0.1:${sslPort}`
    identity = new OAuth2Server()
    await identity.issuer.keys.generate('RS256')
    await identity.start(identityPort, '127.0.0.1')
    identity.service.on('beforeTokenSigning', (token: { payload: Record<string, unknown> }) => {
      Object.assign(token.payload, { sub: 'reader', aud: 'kafka' })
    })
    identity.service.on(
      'beforeResponse',
      (response: { statusCode: number; body: unknown }, request: unknown) => {
        const { headers } = request as { headers: Record<string, string> } // what Express hands over
        if (headers['authorization'] === `Basic ${Buffer.from('reader:s3cret').toString('base64')}`) return
        Object.assign(response, { statusCode: 401, body: { error: 'invalid_client' } })
      },
    )
    tokenUrl = `http://127.0.0.1:${identityPort}/token`
    const ip = { name: 'subjectAltName' as const, altNames: [{ type: 7 as const, ip: '127.0.0.1' }] }
    const server = await generate([{ name: 'commonName', value: 'broker' }], { extensions: [ip] })
    const client = await generate([{ name: 'commonName', value: 'reader' }])
    tls = {
      ca_file: file('ca.pem', server.cert),
      cert_file: file('client.pem', client.cert),
      key_file: file('client.key', client.private),
    }
    const listener = 'listener.name.sasl_plaintext'
    const security = 'org.apache.kafka.common.security'
    broker = await startKafka({
      listeners: [`SASL_PLAINTEXT://${sasl}`, `SSL://${ssl}`],
      conf: [
        `${listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER`,
        `${listener}.plain.sasl.jaas.config=${security}.plain.PlainLoginModule required user_reader="s3cret" user_stranger="s3cret";`,
        `${listener}.scram-sha-256.sasl.jaas.config=${security}.scram.ScramLoginModule required;`,
        `${listener}.scram-sha-512.sasl.jaas.config=${security}.scram.ScramLoginModule required;`,
        `${listener}.oauthbearer.sasl.jaas.config=${security}.oauthbearer.OAuthBearerLoginModule required;`,
        `${listener}.oauthbearer.sasl.server.callback.handler.class=${security}.oauthbearer.OAuthBearerValidatorCallbackHandler`,
        `${listener}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=http://127.0.0.1:${identityPort}/jwks`,
        `${listener}.oauthbearer.sasl.oauthbearer.expected.audience=kafka`,
        `${listener}.oauthbearer.sasl.oauthbearer.expected.issuer=${identity.issuer.url}`,
        'listener.name.ssl.ssl.client.auth=required',
        'listener.name.ssl.ssl.keystore.type=PEM',
        `listener.name.ssl.ssl.keystore.location=${file('broker.pem', `${server.private}${server.cert}`)}`,
        'listener.name.ssl.ssl.truststore.type=PEM',
        `listener.name.ssl.ssl.truststore.location=${tls['cert_file']}`,
        'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
        'super.users=User:ANONYMOUS',
      ],
      format: [256, 512].flatMap((bits) => [
        '--add-scram',
        `SCRAM-SHA-${bits}=[name=reader,password=s3cret]`,
      ]),
      java: [`-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=http://127.0.0.1:${identityPort}/jwks`],
    })
    topic = await broker.topic(2)
    hidden = await broker.topic()
    written = await broker.topic()
    const admin = broker.kafka.admin()
    await admin.connect()
    // docs/permissions/kafka-acls.md
    const acl = (
      principal: string,
      resourceType: number,
      resourceName: string,
      resourcePatternType: number,
    ) =>
      ({
        principal,
        resourceType,
        resourceName,
        resourcePatternType,
        operation: READ,
        permissionType: ALLOW,
        host: '*',
      }) as AclEntry // the numbers of the protocol: the enumerations come with the client
    await admin.createAcls({
      acl: ['User:reader', 'User:CN=reader'].flatMap((who) => [
        { ...acl(who, TOPIC, written, LITERAL), operation: WRITE },
        acl(who, TOPIC, topic, LITERAL),
        acl(who, GROUP, 'keytrail-', 4),
      ]),
    })
    await admin.createAcls({ acl: [acl('User:stranger', TOPIC, topic, LITERAL)] })
    await admin.disconnect()
    const producer = await broker.producer()
    await producer.send({ topic, messages: [{ partition: 0, value: '{"n":1}' }] })
    process.env['KAFKA_SECRET'] = 's3cret'
    process.env['KAFKA_WRONG'] = 'wrong'
  }, 180_000)
  afterAll(async () => {
    await broker?.stop()
    await identity?.stop()
    rmSync(folder, { recursive: true, force: true })
  }, 60_000)

  const open = (more: object) => {
    const config = sourceConfig.parse({
      type: 'kafka',
      brokers: [sasl],
      topics: [topic],
      group: `keytrail-${++groups}`,
      start: 'earliest',
      ...more,
    })
    return sourceOf('logs', config, { follow: true, onNotice: () => {} })
  }
  const user = (mechanism: string, username = 'reader', secret = 'KAFKA_SECRET') => ({
    sasl: { mechanism, username, password: `\u0024{env:${secret}}` },
  })
  const client = (secret = 'KAFKA_SECRET') => ({
    sasl: {
      mechanism: 'oauthbearer',
      token_url: tokenUrl,
      client: 'reader',
      secret: `\u0024{env:${secret}}`,
    },
  })
  const check = async (more: object) => {
    const source = open(more)
    const checks = (await source.check?.(new AbortController().signal)) ?? []
    return checks.map(({ step, ok, detail }) => `${ok ? 'ok' : 'FAILS'} ${step}: ${detail}`)
  }

  const ways: Readonly<Record<string, () => object>> = {
    plain: () => user('plain'),
    'scram-sha-256': () => user('scram-sha-256'),
    'scram-sha-512': () => user('scram-sha-512'),
    oauthbearer: () => client(),
    'a client certificate': () => ({ brokers: [ssl], tls }),
  }
  test.each(Object.keys(ways))('%s: what doctor says, and reading', async (name) => {
    const more = ways[name]?.() ?? {}
    expect(await check(more)).toEqual([
      expect.stringMatching(/^ok broker 127\.0\.0\.1:\d+: it answers/),
      expect.stringMatching(/^ok sign in: .*: the cluster has 1 brokers$/),
      `ok topic ${topic}: 2 partitions, about 1 records`,
      `ok group keytrail-${groups}: a record of ${topic}/0 was read`,
    ])
    const one = reading(open(more))
    await eventually('the record is there', () => one.texts().length === 1)
    await one.stop()
  })

  const faults: Readonly<Record<string, [more: () => object, last: RegExp]>> = {
    'a wrong password': [
      () => user('plain', 'reader', 'KAFKA_WRONG'),
      /^FAILS sign in: signing in is refused: .*: correct sasl, or the user at the broker$/,
    ],
    'a wrong password with SCRAM': [
      () => user('scram-sha-512', 'reader', 'KAFKA_WRONG'),
      /^FAILS sign in: signing in is refused: /,
    ],
    'a wrong client secret': [
      () => client('KAFKA_WRONG'),
      /^FAILS sign in: .*127\.0\.0\.1:\d+\/token gives no token: status 401/,
    ],
    'nothing listens': [
      () => ({ brokers: ['127.0.0.1:1'] }),
      /^FAILS broker 127\.0\.0\.1:1: .*nothing listens there: correct brokers, or open the way$/,
    ],
    'no such host': [
      () => ({ brokers: ['kafka.invalid:9092'] }),
      /^FAILS broker kafka\.invalid:9092: .*there is no such host: correct brokers$/,
    ],
    'an authority that is not trusted': [
      () => ({ brokers: [ssl], tls: {} }),
      /^FAILS broker .*the certificate is not trusted: name its authority with tls\.ca_file$/,
    ],
    'no client certificate': [
      () => ({ brokers: [ssl], tls: { ca_file: tls['ca_file'] } }),
      /^FAILS sign in: TLS alert: (bad certificate|certificate required): the broker does not accept our certificate: correct tls\.cert_file$/,
    ],
    'TLS to a port without': [
      () => ({ ...user('plain'), tls }),
      /^FAILS broker .*(does not speak TLS as asked|hangs up)/,
    ],
    'no TLS to a port with it': [
      () => ({ brokers: [ssl] }),
      /^FAILS sign in: .*does this port want tls or sasl\?$/,
    ],
    'a port that wants to be signed in to': [() => ({}), /^FAILS sign in: .*(sasl\?|tls\?)$/],
    'a topic that does not exist': [
      () => ({ brokers: broker.brokers, topics: ['missing'] }),
      /^FAILS topic missing: .*UNKNOWN_TOPIC_OR_PARTITION\): the topic does not exist, or the user may not see it/,
    ],
    'a topic that the user may not read': [
      () => ({ ...user('plain'), topics: [hidden] }),
      /^FAILS topic .*TOPIC_AUTHORIZATION_FAILED\): allow Read \(for a source\) or Write \(for a sink\) and Describe on the topic \(docs\/permissions\/kafka-acls\.md\)$/,
    ],
    'a group that the user may not use': [
      () => user('plain', 'stranger'),
      /^FAILS group keytrail-\d+: Failed to find group coordinator: allow Read on the group \(docs\/permissions\/kafka-acls\.md\)/,
    ],
  }
  test.each(Object.keys(faults))('doctor names it: %s', async (name) => {
    const [more, last] = faults[name] ?? [() => ({}), /^$/]
    expect((await check(more())).at(-1)).toMatch(last)
  })

  test('doctor does not disturb a group that reads', async () => {
    const group = `keytrail-${++groups}`
    const one = reading(open({ ...user('plain'), group }))
    await eventually('nothing is unread', () => one.idle() > 0)
    expect((await check({ ...user('plain'), group })).at(-1)).toBe(
      `ok group ${group}: 1 members read at this moment: it was not joined, which would make them stop for a while`,
    )
    await one.stop()
  })

  test('a sink may write where it is allowed to, and holds what it may not write', async () => {
    const { sinks } = config.parse({
      sinks: Object.fromEntries(
        ['reader', 'stranger'].map((name) => [
          name,
          { type: 'kafka', brokers: [sasl], ...user('plain', name), alerts: { topic: written } },
        ]),
      ),
    })
    const [allowed, other] = Object.entries(sinks)
      .flatMap(([name, one]) => sinksOf(name, one, () => {}))
      .map(({ sink }) => sink)
    const { signal } = new AbortController()
    const delivery = { events: [], alerts: [alertOf(1)] }
    await allowed?.open({}, signal)
    expect(await allowed?.send(delivery, signal)).toMatchObject({ refused: [], again: undefined })
    await expect(other?.open({}, signal)).rejects.toThrow(SinkFault)
    expect((await other?.send(delivery, signal))?.again).toMatchObject({
      delivery,
      fault: true,
      reason: expect.stringMatching(
        /TOPIC_AUTHORIZATION_FAILED\): allow Read .* or Write \(for a sink\) and Describe/,
      ),
    })
    for (const one of [allowed, other]) await one?.close()
    const admin = broker.kafka.admin()
    await admin.connect()
    expect(await admin.fetchTopicOffsets(written)).toMatchObject([{ high: '1' }])
    await admin.disconnect()
  })
})
