/** Audit entries that the vendor's client publishes reach Splunk and Sentinel, with the alerts that they must raise, in time. */
import { setTimeout as sleep } from 'node:timers/promises'
import { PubSub } from '@google-cloud/pubsub'
import { GoogleAuth, PassThroughClient } from 'google-auth-library'
import { expect, test } from 'vitest'
import { startPubSubService } from '../standins/pubsub-service.ts'
import { entry, type GoogleRecord, KEY, VERSION } from '../support/google.ts'
import { eventually } from '../support/reading.ts'
import { service } from '../support/service.ts'
import { startSiem } from '../support/siem.ts'

/** `SECONDS` gives the full dose. */
const seconds = Number(process.env['SECONDS'] ?? 10)
const PER_SECOND = 200
const TICK_MS = 50
const P99_MS = 5000

const ACTIVITY = 'projects/acme-payments/logs/cloudaudit.googleapis.com%2Factivity'
const human = { authenticationInfo: { principalEmail: 'omar@example.com' } }
/** By the catalog: each of them raises this alert, and the calm ones none of them. */
const dangerous: Readonly<Record<string, GoogleRecord>> = {
  'key-deletion-scheduled': { methodName: 'DestroyCryptoKeyVersion', resourceName: VERSION, ...human },
  'policy-public': {
    methodName: 'SetIamPolicy',
    resourceName: KEY,
    ...human,
    serviceData: {
      policyDelta: {
        bindingDeltas: [
          { action: 'ADD', role: 'roles/cloudkms.cryptoKeyDecrypter', member: 'allAuthenticatedUsers' },
        ],
      },
    },
  },
  'log-dataaccess-off': {
    methodName: 'SetIamPolicy',
    resourceName: KEY,
    ...human,
    serviceData: {
      policyDelta: {
        auditConfigDeltas: [{ action: 'REMOVE', service: 'cloudkms.googleapis.com', logType: 'DATA_READ' }],
      },
    },
  },
}

const nativeOf = (event: Readonly<Record<string, unknown>>) =>
  (event as { source: { native_id: string } }).source.native_id // every entry here has one
const detectorOf = (alert: Readonly<Record<string, unknown>>) =>
  (alert as { detector: { id: string } }).detector.id

test(`at ${PER_SECOND} records a second`, { timeout: 120_000 + seconds * 2000 }, async () => {
  const [server, siem] = await Promise.all([startPubSubService(), startSiem()])
  const client = new PubSub({
    projectId: server.project,
    apiEndpoint: server.endpoint,
    auth: new GoogleAuth({ authClient: new PassThroughClient() }),
  })
  const topic = client.topic('audit')
  const one = service([], {
    sources: {
      google: {
        type: 'pubsub',
        project: server.project,
        endpoint: server.endpoint,
        subscriptions: [server.name],
        start: 'earliest',
      },
    },
    sinks: siem.sinks,
  })
  let stop = () => {}
  const ended = one.run({
    once: false,
    env: siem.env,
    onStart: (kill) => {
      stop = () => kill('SIGTERM')
    },
  })
  const sent = new Map<string, number>()
  const publish = async (payload: GoogleRecord = {}, more: GoogleRecord = {}) => {
    const insertId = `e${sent.size}`
    const now = Date.now()
    sent.set(insertId, now)
    const timestamp = new Date(now).toISOString()
    await topic.publishMessage({ json: entry(payload, { timestamp, insertId, ...more }) })
  }
  const arrived = { splunk: new Map<string, number>(), sentinel: new Map<string, number>() }
  const seen = { splunk: 0, sentinel: 0 }
  const look = () => {
    for (const where of ['splunk', 'sentinel'] as const) {
      const all = siem.arrived(where, 'feed')
      for (const event of all.slice(seen[where])) {
        const id = nativeOf(event)
        if (!arrived[where].has(id)) arrived[where].set(id, Date.now())
      }
      seen[where] = all.length
    }
  }
  const looking = setInterval(look, TICK_MS * 2)
  await publish()
  await eventually('the service is up', () => arrived.splunk.size + arrived.sentinel.size === 2)
  const published: Promise<void>[] = []
  const began = performance.now()
  const perTick = (PER_SECOND * TICK_MS) / 1000
  for (let tick = 1; tick <= (seconds * 1000) / TICK_MS; tick++) {
    for (let n = 0; n < perTick; n++) published.push(publish())
    const payload = Object.values(dangerous)[tick - 20]
    if (payload !== undefined) published.push(publish(payload, { logName: ACTIVITY }))
    await sleep(Math.max(began + tick * TICK_MS - performance.now(), 1))
  }
  await Promise.all(published)
  await eventually('all have arrived', () => arrived.splunk.size + arrived.sentinel.size === 2 * sent.size)
  clearInterval(looking)
  for (const where of ['splunk', 'sentinel'] as const) {
    const waits = [...arrived[where]].map(([id, at]) => at - (sent.get(id) ?? 0)).sort((a, b) => a - b)
    const at = (share: number) => waits[Math.floor(waits.length * share)] ?? Number.NaN
    console.info(
      `${where}: ${sent.size} records, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${waits.at(-1)} ms`,
    )
    expect(at(0.99)).toBeLessThan(P99_MS)
    await eventually('the alerts arrive', () => {
      const ids = siem.arrived(where, 'alerts').map(detectorOf)
      return Object.keys(dangerous).every((id) => ids.includes(id))
    })
    const raised = siem
      .arrived(where, 'alerts')
      .map(detectorOf)
      .filter((id) => id in dangerous)
    expect(raised.sort()).toEqual(Object.keys(dangerous).sort())
  }
  stop()
  const { code, log } = await ended
  expect(code, log).toBe(0)
  one.remove()
  await Promise.all([siem.close(), client.close(), server.stop()])
})
