/** A real Splunk, where Docker answers: what is sent is indexed, acknowledged, and found by its fields. */
import { spawnSync } from 'node:child_process'
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { splunkSink } from '../../src/forward/splunk.ts'
import { SinkFault } from '../../src/pipeline/ports.ts'
import { renderings } from '../../src/render/renderings.ts'
import { alertOf, eventOf } from '../support/deliveries.ts'

const hasDocker = spawnSync('docker', ['info'], { timeout: 20_000 }).status === 0
const TOKEN = '11111111-2222-4333-8444-555555555555'
const PASSWORD = 'Keytrail-test-1'
const START_MS = 600_000

describe.skipIf(!hasDocker)('Splunk in a container', () => {
  let splunk: StartedTestContainer
  const basic = `Basic ${Buffer.from(`admin:${PASSWORD}`).toString('base64')}`

  /** The management interface, whose certificate is Splunk's own: asked from inside the container. */
  const manage = async (path: string, form: Readonly<Record<string, string>>): Promise<string> => {
    const data = Object.entries(form).flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`])
    const { output, exitCode } = await splunk.exec([
      'curl',
      '-sk',
      '-H',
      `Authorization: ${basic}`,
      `https://127.0.0.1:8089${path}`,
      ...data,
    ])
    expect(exitCode, output).toBe(0)
    return output
  }

  const sinkWith = (token: string, index?: string) =>
    splunkSink({
      name: 'splunk',
      url: `http://${splunk.getHost()}:${splunk.getMappedPort(8088)}`,
      token: () => token,
      ack: 'required',
      ackMs: 300_000,
      gzip: true,
      index,
      rendering: renderings.cim,
      sourcetype: 'kms:alert',
      inFlight: 2,
      onNotice: () => {},
    })

  beforeAll(async () => {
    splunk = await new GenericContainer('splunk/splunk:10.0')
      .withEnvironment({
        SPLUNK_START_ARGS: '--accept-license',
        SPLUNK_GENERAL_TERMS: '--accept-sgt-current-at-splunk-com',
        SPLUNK_PASSWORD: PASSWORD,
        SPLUNK_HEC_TOKEN: TOKEN,
        SPLUNK_HEC_SSL: 'false',
      })
      .withExposedPorts(8088)
      .withWaitStrategy(Wait.forHealthCheck())
      .withStartupTimeout(START_MS)
      .start()
    await manage('/servicesNS/nobody/splunk_httpinput/data/inputs/http/splunk_hec_token', { useACK: '1' })
  }, START_MS)
  afterAll(async () => {
    await splunk?.stop()
  })

  test('alerts and events are acknowledged, and found', async () => {
    const signal = AbortSignal.timeout(120_000)
    const sink = sinkWith(TOKEN)
    expect(await sink.open({}, signal)).toEqual({ delivery: 'acknowledged by the indexers' })
    const alerts = Array.from({ length: 600 }, (_, n) => alertOf(n))
    const { refused, again, confirmed } = await sink.send({ events: [eventOf(1)], alerts }, signal)
    expect([refused, again, await confirmed]).toEqual([[], undefined, undefined])
    const found = await manage('/services/search/jobs/oneshot', {
      search:
        '| tstats dc(alert_id) AS ids count WHERE index=* sourcetype=kms:alert detector_id=burst-decrypt',
      output_mode: 'json',
      earliest_time: '0',
    })
    expect((JSON.parse(found) as { results: object[] }).results).toEqual([{ ids: '600', count: '600' }])
    await sink.close()
  }, 180_000)

  test('a wrong token and a wrong index are named', async () => {
    const signal = AbortSignal.timeout(60_000)
    await expect(sinkWith('00000000-0000-0000-0000-000000000000').open({}, signal)).rejects.toThrow(SinkFault)
    const sink = sinkWith(TOKEN, 'no_such_index')
    const { again } = await sink.send({ events: [], alerts: [alertOf(1)] }, signal)
    expect(again?.fault).toBe(true)
    await sink.close()
  }, 120_000)
})
