/** `run` and `doctor` with Event Hubs: records that the vendor's client publishes become alerts, also over kills. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EventHubProducerClient } from '@azure/event-hubs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EventHubs, startEventHubs } from '../standins/event-hubs.ts'
import { activity, audit, KEY, SUBSCRIPTION } from '../support/azure.ts'
import { eventually } from '../support/reading.ts'
import { root } from '../support/scan.ts'
import { type Service, service } from '../support/service.ts'

const [VAULTS, ACTIVITY] = ['insights-logs-auditevent', 'insights-activity-logs']
const source = (more: object = {}) => ({
  type: 'event_hubs',
  connection_string: '\u0024{env:EVENT_HUBS}',
  hubs: [VAULTS, ACTIVITY],
  consumer_group: 'keytrail',
  start: 'earliest',
  ...more,
})

describe('run with Event Hubs', { timeout: 120_000 }, () => {
  let hubs: EventHubs
  let env: Record<string, string>
  const runs: Service[] = []
  beforeAll(async () => {
    hubs = await startEventHubs({
      hubs: [VAULTS, ACTIVITY].map((name) => ({
        name: name ?? '',
        partitions: 2,
        consumerGroups: ['keytrail'],
      })),
    })
    env = { EVENT_HUBS: hubs.connectionString }
  })
  afterAll(async () => {
    for (const one of runs) one.remove()
    await hubs.close()
  })
  const make = (more?: object) => {
    const one = service([], { sources: { azure: source(more) } })
    const config = join(one.folder, 'keytrail.json')
    const sinks = {
      out: {
        type: 'ndjson',
        events: join(one.folder, 'events.ndjson'),
        alerts: join(one.folder, 'alerts.ndjson'),
      },
    }
    writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), sinks }))
    runs.push(one)
    return one
  }
  const publish = async (hub: string, records: readonly object[]) => {
    const producer = new EventHubProducerClient(hubs.connectionString, hub)
    await producer.sendBatch([{ body: { records } }])
    await producer.close()
  }
  const read = (one: Service, name: 'events' | 'alerts') => {
    try {
      return one.lines(name)
    } catch {
      return [] // not written yet
    }
  }

  test('Key Vault and Activity records raise their alerts, each event once over kills', async () => {
    const one = make()
    const at = (n: number) => new Date(Date.now() - 60_000 + n).toISOString()
    let sent = 0
    const calm = (count: number) =>
      Array.from({ length: count }, () => audit({ time: at(++sent), correlationId: `calm-${sent}` }))
    await publish(VAULTS ?? '', [
      ...calm(20),
      audit(
        { time: at(++sent), operationName: 'KeyPurge', resultSignature: 'NoContent' },
        { httpStatusCode: 204, requestUri: `${KEY}?api-version=7.4` },
      ),
    ])
    await publish(ACTIVITY ?? '', [
      activity('MICROSOFT.KEYVAULT/LOCATIONS/DELETEDVAULTS/PURGE/ACTION', {
        time: at(++sent),
        resourceId: `/SUBSCRIPTIONS/${SUBSCRIPTION}/PROVIDERS/MICROSOFT.KEYVAULT/LOCATIONS/WESTEUROPE/DELETEDVAULTS/KV-PAYMENTS`,
      }),
    ])
    for (let round = 0; round < 3; round++) {
      const had = read(one, 'events').length
      await publish(VAULTS ?? '', calm(20))
      const ended = one.run({
        once: false,
        env,
        onStart: (stop) =>
          void eventually('events arrive', () => read(one, 'events').length > had).finally(() =>
            stop('SIGKILL'),
          ),
      })
      await publish(VAULTS ?? '', calm(20))
      expect(await ended).toMatchObject({ code: 'SIGKILL' })
    }
    const last = await one.run({ once: true, env })
    expect(last, last.log).toMatchObject({ code: 0 })
    const ids = one.lines('events').map((event) => String(event['event_id']))
    expect(new Set(ids).size).toBe(sent)
    const alerts = new Set(
      one.lines('alerts').map((alert) => `${(alert['detector'] as { id: string }).id} ${alert['severity']}`),
    )
    expect(alerts).toContain('key-purged critical')
    expect(alerts).toContain('vault-purged critical')
    const store = one.store()
    const kept = [...store.counters()]
      .filter(([name]) => name.startsWith('kept|'))
      .reduce((sum, [, n]) => sum + n, 0)
    store.close()
    expect(kept).toBe(sent)
  })

  const keytrail = (command: string, config: string, more: readonly string[] = []) =>
    new Promise<{ code: number | null; out: string }>((resolve, reject) => {
      const child = spawn(
        process.execPath,
        [join(root, 'src/main.ts'), command, '--config', config, ...more],
        {
          env: { ...process.env, ...env },
          cwd: root,
        },
      )
      let out = ''
      child.stdout.on('data', (chunk: Buffer) => {
        out += chunk
      })
      child.stderr.on('data', (chunk: Buffer) => {
        out += chunk
      })
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, out }))
    })

  test.each([
    [
      'all is well',
      {},
      0,
      [/hub insights-logs-auditevent: it answers, and has 2 partitions/, /an event was read/],
    ],
    ['a hub is missing', { hubs: ['nothing'] }, 1, [/FAILS .*hub nothing: .*there is no such hub/]],
    ['a group is missing', { consumer_group: 'other' }, 1, [/FAILS .*there is no such consumer group/]],
  ] as const)('doctor when %s', async (_, more, code, texts) => {
    const one = make(more)
    const found = await keytrail('doctor', join(one.folder, 'keytrail.json'))
    for (const text of texts) expect(found.out).toMatch(text)
    expect(found.code, found.out).toBe(code)
  })

  test('doctor when the role, the key or the network is missing', async () => {
    const one = make()
    const config = join(one.folder, 'keytrail.json')
    hubs.mayListen = false
    const role = await keytrail('doctor', config)
    hubs.mayListen = true
    expect(role.out).toMatch(/FAILS .*the role Azure Event Hubs Data Receiver/)
    const good = hubs.connectionString
    env['EVENT_HUBS'] = good.replace('SAS_KEY_VALUE', 'ANOTHER_KEY')
    const key = await keytrail('doctor', config)
    env['EVENT_HUBS'] = good.replace(`:${hubs.port}`, ':9')
    const network = await keytrail('doctor', config)
    env['EVENT_HUBS'] = good
    expect(key.out).toMatch(/FAILS .*the key is not accepted/)
    expect(network.out).toMatch(/FAILS .*nothing listens there/)
    expect(key.out + network.out).not.toContain('ANOTHER_KEY')
  })

  test('the example is accepted', async () => {
    const { code, out } = await keytrail('validate', 'examples/event-hubs/keytrail.yml')
    expect(code, out).toBe(0)
  })
})
