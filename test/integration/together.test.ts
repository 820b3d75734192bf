/** All streaming sources in one process: one feed, each record once, and none waits for another that is slow. */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EventHubProducerClient } from '@azure/event-hubs'
import { PubSub } from '@google-cloud/pubsub'
import { GoogleAuth, PassThroughClient } from 'google-auth-library'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startCloudWatchLogs } from '../standins/cloudwatch-logs.ts'
import { startEventHubs } from '../standins/event-hubs.ts'
import { type Asked, type Moto, motoMissing, startMoto } from '../standins/moto.ts'
import { startPubSubService } from '../standins/pubsub-service.ts'
import { activity, audit, KEY as VAULT_KEY } from '../support/azure.ts'
import { record } from '../support/cloudtrail.ts'
import { entry, VERSION } from '../support/google.ts'
import { eventually } from '../support/reading.ts'
import { service } from '../support/service.ts'
import { startSiem } from '../support/siem.ts'
import { awsEnv, makeTrail, REGION } from '../support/trail-bucket.ts'

const LONGEST_MS = 5000
const BATCH = 20
/** Of one caller, all at once: what costs its detectors most. */
const BACKLOG = Number(process.env['BACKLOG'] ?? 10_000)

interface Feed {
  readonly source: object
  readonly env?: Readonly<Record<string, string>>
  /** Sends calm records, each with one of these names as its user agent. */
  send(names: readonly string[]): Promise<unknown>
  /** The same in the log of administrators, each with one of the names as its correlation id. */
  sendAdmin?(names: readonly string[]): Promise<unknown>
  /** Sends what must raise the alerts. */
  sendBad(): Promise<unknown>
  readonly alerts: readonly string[]
  /** From now on nothing comes. @returns what ends it */
  stick(): () => void
  close(): Promise<unknown>
}

const now = () => new Date().toISOString()
const call = (userAgent: string) => record({ eventTime: now(), userAgent })

const fromS3 = async (moto: Moto) => {
  const trail = await makeTrail(moto, { visibility: 30 })
  return {
    source: trail.config,
    env: awsEnv,
    send: (names: readonly string[]) => trail.deliver(names.map(call), new Date()),
    sendBad: () =>
      trail.deliver([record({ eventTime: now(), eventName: 'ScheduleKeyDeletion' })], new Date()),
    alerts: ['key-deletion-scheduled'],
    stick() {
      moto.behave = ({ method, target, path }: Asked) =>
        target === 'AmazonSQS.ReceiveMessage' || (method === 'GET' && path.includes('.json.gz'))
          ? 'hang'
          : undefined
      return () => {
        moto.behave = () => undefined
        moto.cutHanging()
      }
    },
    async close() {
      trail.s3.destroy()
      trail.sqs.destroy()
      await moto.close()
    },
  } satisfies Feed
}

const fromCloudWatch = async () => {
  const logs = await startCloudWatchLogs()
  logs.group('trail')
  const put = async (records: readonly object[]) =>
    logs.put(
      'trail',
      records.map((one) => ({ timestamp: Date.now(), message: JSON.stringify(one) })),
    )
  return {
    source: {
      type: 'cloudwatch_logs',
      groups: [{ name: 'trail', region: REGION }],
      start: 'beginning',
      poll_seconds: 1,
      requests_per_second: 20,
      endpoint: logs.url,
    },
    send: (names: readonly string[]) => put(names.map(call)),
    sendBad: () => put([record({ eventTime: now(), eventName: 'DisableKey' })]),
    alerts: ['key-disabled'],
    stick() {
      logs.behave = () => ({ kind: 'unavailable' })
      return () => {
        logs.behave = () => undefined
      }
    },
    close: () => logs.close(),
  } satisfies Feed
}

const fromEventHubs = async () => {
  const [vault, admin] = ['insights-logs-auditevent', 'insights-activity-logs']
  const hubs = await startEventHubs({
    hubs: [vault, admin].map((name) => ({ name, partitions: 2, consumerGroups: ['keytrail'] })),
  })
  const to = (hub: string) => {
    const producer = new EventHubProducerClient(hubs.connectionString, hub)
    return {
      send: (records: readonly object[]) => producer.sendBatch([{ body: { records } }]),
      close: () => producer.close(),
    }
  }
  const [toVault, toAdmin] = [to(vault), to(admin)]
  return {
    source: {
      type: 'event_hubs',
      connection_string: '\u0024{env:EVENT_HUBS}',
      hubs: [vault, admin],
      consumer_group: 'keytrail',
      start: 'earliest',
      stall_seconds: 8,
    },
    env: { EVENT_HUBS: hubs.connectionString },
    send: (names: readonly string[]) =>
      toVault.send(
        names.map((clientInfo) => audit({ time: now(), correlationId: clientInfo }, { clientInfo })),
      ),
    sendAdmin: (names: readonly string[]) =>
      toAdmin.send(
        names.map((correlationId) =>
          activity('MICROSOFT.KEYVAULT/VAULTS/WRITE', { time: now(), correlationId }),
        ),
      ),
    async sendBad() {
      await toVault.send([
        audit(
          { time: now(), operationName: 'KeyPurge', resultSignature: 'NoContent', correlationId: 'bad' },
          { httpStatusCode: 204, requestUri: `${VAULT_KEY}?api-version=7.4` },
        ),
      ])
      await toAdmin.send([activity('MICROSOFT.KEYVAULT/VAULTS/DELETE', { time: now() })])
    },
    alerts: ['key-purged', 'vault-deleted'],
    stick() {
      for (const partition of [0, 1]) hubs.stall(vault, partition)
      return () => {} // the watchdog opens them anew
    },
    async close() {
      await Promise.all([toVault.close(), toAdmin.close()])
      await hubs.close()
    },
  } satisfies Feed
}

const fromPubSub = async () => {
  const server = await startPubSubService()
  const client = new PubSub({
    projectId: server.project,
    apiEndpoint: server.endpoint,
    auth: new GoogleAuth({ authClient: new PassThroughClient() }),
  })
  const topic = client.topic('audit')
  const publish = (insertId: string, payload: object = {}, more: object = {}) =>
    topic.publishMessage({ json: entry({ ...payload }, { timestamp: now(), insertId, ...more }) })
  return {
    server,
    source: {
      type: 'pubsub',
      project: server.project,
      endpoint: server.endpoint,
      subscriptions: [server.name],
      start: 'earliest',
    },
    send: (names: readonly string[]) =>
      Promise.all(
        names.map((name) =>
          publish(name, { requestMetadata: { callerIp: '198.51.100.20', callerSuppliedUserAgent: name } }),
        ),
      ),
    sendBad: () =>
      publish(
        'bad',
        {
          methodName: 'DestroyCryptoKeyVersion',
          resourceName: VERSION,
          authenticationInfo: { principalEmail: 'omar@example.com' },
        },
        { logName: `projects/${server.project}/logs/cloudaudit.googleapis.com%2Factivity` },
      ),
    alerts: ['key-deletion-scheduled'],
    async close() {
      await client.close()
      await server.stop()
    },
  }
}

describe.skipIf(motoMissing !== undefined)('S3, CloudWatch Logs, Event Hubs and Pub/Sub', () => {
  let moto: Moto
  let s3: Awaited<ReturnType<typeof fromS3>>
  let cloudwatch: Awaited<ReturnType<typeof fromCloudWatch>>
  let hubs: Awaited<ReturnType<typeof fromEventHubs>>
  let pubsub: Awaited<ReturnType<typeof fromPubSub>>
  let feeds: Readonly<Record<string, Omit<Feed, 'stick'>>>
  let one: ReturnType<typeof service>
  let stop = () => {}
  let ended: ReturnType<ReturnType<typeof service>['run']>
  beforeAll(async () => {
    moto = await startMoto()
    ;[s3, cloudwatch, hubs, pubsub] = await Promise.all([
      fromS3(moto),
      fromCloudWatch(),
      fromEventHubs(),
      fromPubSub(),
    ])
    feeds = { s3, cloudwatch, hubs, pubsub }
    const sources = Object.fromEntries(Object.entries(feeds).map(([name, { source }]) => [name, source]))
    one = service([], { sources })
    ended = one.run({
      once: false,
      env: { ...awsEnv, ...hubs.env },
      onStart: (kill) => {
        stop = () => kill('SIGTERM')
      },
    })
  })
  afterAll(async () => {
    stop()
    await ended
    one.remove()
    await Promise.all(Object.values(feeds).map((feed) => feed.close()))
  })

  let rounds = 0
  const sent: string[] = []
  const read = { events: 0, alerts: 0 }
  /** Whole lines that came since this was asked last. */
  const fresh = (name: 'events' | 'alerts') => {
    const path = join(one.folder, `${name}.ndjson`)
    if (!existsSync(path)) return []
    const file = openSync(path, 'r')
    try {
      const bytes = Buffer.alloc(fstatSync(file).size - read[name])
      readSync(file, bytes, 0, bytes.length, read[name])
      const whole = bytes.subarray(0, bytes.lastIndexOf('\n') + 1)
      read[name] += whole.length
      const lines = whole.toString().split('\n').slice(0, -1)
      return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    } finally {
      closeSync(file)
    }
  }
  /** How often each user agent is in the feed. */
  const found = new Map<string, number>()
  const isThere = (names: readonly string[]) => {
    for (const { network } of fresh('events')) {
      const agent = String((network as { user_agent?: string } | undefined)?.user_agent)
      found.set(agent, (found.get(agent) ?? 0) + 1)
    }
    return names.every((name) => found.has(name))
  }
  const namesOf = (feed: string) => {
    const names = Array.from({ length: BATCH }, (_, n) => `${feed}-${rounds}-${n}`)
    sent.push(...names)
    return names
  }
  /** Sends to each of these feeds. @returns for each, after how long it was all in the feed */
  const timed = async (which: readonly string[]) => {
    rounds++
    const waits = await Promise.all(
      which.map(async (feed) => {
        const names = namesOf(feed)
        const began = performance.now()
        await feeds[feed]?.send(names)
        await eventually(`${feed} is in the feed`, () => isThere(names))
        return [feed, Math.round(performance.now() - began)] as const
      }),
    )
    return Object.fromEntries(waits)
  }
  const inTime = (what: string, waits: Readonly<Record<string, number>>) => {
    console.info(
      `${what}: ${Object.entries(waits)
        .map(([feed, ms]) => `${feed} ${ms} ms`)
        .join(', ')}`,
    )
    for (const [feed, ms] of Object.entries(waits))
      expect(ms, `${feed}, ${what}`).toBeLessThanOrEqual(LONGEST_MS)
  }
  const others = (slow: string) => Object.keys(feeds).filter((feed) => feed !== slow)

  test('raise their alerts out of one feed', async () => {
    await timed(Object.keys(feeds)) // they are all connected
    inTime('all together', await timed(Object.keys(feeds)))
    for (const feed of Object.values(feeds)) await feed.sendBad()
    const expected = Object.values(feeds).flatMap(({ alerts }) => alerts)
    const raised: string[] = []
    await eventually('the alerts are there', () => {
      raised.push(...fresh('alerts').map(({ detector }) => (detector as { id: string }).id))
      return raised.filter((id) => expected.includes(id)).length >= expected.length
    })
    expect(raised.filter((id) => expected.includes(id)).sort()).toEqual(expected.toSorted())
  })

  test('do not wait for s3 that has a backlog', async () => {
    const release = s3.stick()
    rounds++
    const late = Array.from({ length: BACKLOG }, (_, n) => `backlog-${n}`)
    sent.push(...late)
    for (let at = 0; at < BACKLOG; at += 500) await s3.send(late.slice(at, at + 500))
    release()
    inTime(`s3 has ${BACKLOG} records waiting`, await timed(others('s3')))
    await eventually('all of them are there', () => isThere(late), 60_000)
  })

  test.each(['s3', 'cloudwatch', 'hubs'] as const)('do not wait for %s that is stuck', async (slow) => {
    const release = { s3, cloudwatch, hubs }[slow].stick()
    rounds++
    const late = namesOf(slow)
    try {
      await feeds[slow]?.send(late)
      inTime(`${slow} is stuck`, await timed(others(slow)))
      expect(isThere(late)).toBe(false)
    } finally {
      release()
    }
    await eventually(`${slow} has caught up`, () => isThere(late))
  })

  test('acknowledge although the queue of another does not answer', async () => {
    let asked = 0
    moto.behave = ({ target }) => {
      if (target !== 'AmazonSQS.DeleteMessageBatch') return undefined
      asked++
      return 'hang'
    }
    try {
      await timed(['s3'])
      await eventually('it is asked', () => asked > 0)
      const before = pubsub.server.acknowledged
      const began = performance.now()
      await timed(['pubsub'])
      await eventually(
        'the others are acknowledged',
        () => pubsub.server.acknowledged >= before + BATCH,
        20_000,
      )
      inTime('the queue does not answer, acknowledged', { pubsub: Math.round(performance.now() - began) })
    } finally {
      moto.behave = () => undefined
      moto.cutHanging()
    }
  })

  test('bring each record once', async () => {
    stop()
    const { code, log } = await ended
    expect(code, log).toBe(0)
    expect(isThere(sent)).toBe(true)
    expect(sent.filter((name) => found.get(name) !== 1)).toEqual([])
  })
})

/** `RATE_SECONDS` gives another dose. */
const seconds = Number(process.env['RATE_SECONDS'] ?? 8)
const RATE = 200
const STEP_MS = 100

test(`Key Vault, Activity and Cloud Audit, each ${RATE} a second, reach Splunk and Sentinel`, {
  timeout: 120_000 + seconds * 2000,
}, async () => {
  const [hubs, pubsub, siem] = await Promise.all([fromEventHubs(), fromPubSub(), startSiem()])
  const sources = { azure: hubs.source, google: pubsub.source }
  const one = service([], { sources, sinks: siem.sinks })
  let stop = () => {}
  const ran = one.run({
    once: false,
    env: { ...siem.env, ...hubs.env },
    onStart: (kill) => {
      stop = () => kill('SIGTERM')
    },
  })
  const wheres = ['splunk', 'sentinel'] as const
  const kinds = { vault: hubs.send, activity: hubs.sendAdmin, audit: pubsub.send }
  const sentAt = new Map<string, number>()
  const waits = wheres.map((where) => ({ where, seen: 0, ms: new Map<string, number>() }))
  const look = () => {
    const now = performance.now()
    for (const one of waits) {
      const all = siem.arrived(one.where, 'feed')
      for (const event of all.slice(one.seen)) {
        const { correlation_id, native_id } = event['source'] as Record<string, string> // every event has it
        const name = [correlation_id, native_id].find((id) => id !== undefined && sentAt.has(id))
        if (name !== undefined && !one.ms.has(name)) one.ms.set(name, now - (sentAt.get(name) ?? 0))
      }
      one.seen = all.length
    }
  }
  const looking = setInterval(look, STEP_MS / 2)
  try {
    const alerts = [...hubs.alerts, ...pubsub.alerts].sort()
    await Promise.all([hubs.sendBad(), pubsub.sendBad()])
    for (const where of wheres)
      await eventually(`the alerts are at ${where}`, () => {
        const raised = siem.arrived(where, 'alerts').map(({ detector }) => (detector as { id: string }).id)
        return alerts.every((id) => raised.includes(id))
      })
    const began = performance.now()
    for (let step = 0; step < (seconds * 1000) / STEP_MS; step++) {
      await Promise.all(
        Object.entries(kinds).map(([kind, send]) => {
          const names = Array.from({ length: (RATE * STEP_MS) / 1000 }, (_, n) => `${kind}-${step}-${n}`)
          for (const name of names) sentAt.set(name, performance.now())
          return send(names)
        }),
      )
      await sleep(Math.max(0, began + (step + 1) * STEP_MS - performance.now()))
    }
    await eventually('all are there', () => waits.every(({ ms }) => ms.size === sentAt.size))
    for (const { where, ms } of waits)
      for (const kind of Object.keys(kinds)) {
        const sorted = [...ms]
          .flatMap(([name, one]) => (name.startsWith(kind) ? one : []))
          .sort((a, b) => a - b)
        const p99 = Math.round(sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN)
        console.info(`${kind} to ${where}: ${sorted.length} records, p99 ${p99} ms`)
        expect(p99, `${kind} to ${where}`).toBeLessThanOrEqual(LONGEST_MS)
      }
    stop()
    const { code, log } = await ran
    expect(code, log).toBe(0)
  } finally {
    clearInterval(looking)
    stop()
    await ran
    one.remove()
    await Promise.all([siem.close(), hubs.close(), pubsub.close()])
  }
})
