/** Splunk and Sentinel as parts of the whole: one down, a token revoked, and a collector written by others. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { generate } from '../../bench/generate.ts'
import { statusOf } from '../../src/commands/status.ts'
import { splunkSink } from '../../src/forward/splunk.ts'
import { renderings } from '../../src/render/renderings.ts'
import { alertOf, eventOf } from '../support/deliveries.ts'
import { service } from '../support/service.ts'
import { startSiem } from '../support/siem.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-siem-parts-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const noisy = join(import.meta.dirname, '../support/noisy')

const distinct = (all: readonly Record<string, unknown>[], name: string) =>
  new Set(all.map((one) => one[name])).size

const eventually = async (what: string, holds: () => boolean, seconds = 60) => {
  for (let tries = 0; !holds(); tries++) {
    if (tries > seconds * 10) throw new Error(`not within ${seconds} s: ${what}`)
    await sleep(100)
  }
}

/** A service that follows a folder until it is told to stop. */
const running = async (records: number, more: object = {}) => {
  const siem = await startSiem()
  const logs = mkdtempSync(join(folder, 'logs-'))
  generate(join(logs, 'a'), { records, keys: 1, perFile: 500, seed: 5 })
  const one = service([logs], { sinks: siem.sinks, detectors: { folders: [noisy] }, ...more })
  let stop: (name: NodeJS.Signals) => void = () => {}
  const begin = () =>
    one.run({
      once: false,
      env: siem.env,
      onStart: (kill) => {
        stop = kill
      },
    })
  const status = () => {
    const store = one.store()
    try {
      return statusOf(store, one.data, Date.now())
    } finally {
      store.close()
    }
  }
  const sink = (name: string) =>
    existsSync(join(one.data, 'journal.db')) ? status().sinks.find((each) => each.name === name) : undefined
  return { siem, one, begin, stop: () => stop('SIGTERM'), status, sink }
}

test('one sink is down: the other gets all, and the first gets all when it is back', async () => {
  const records = 10_000
  const { siem, one, begin, stop, status, sink } = await running(records)
  siem.hec.behave = () => ({ status: 503, body: { text: 'Server is busy', code: 9 } })
  const ended = begin()
  await eventually(
    'Sentinel has the feed',
    () => distinct(siem.arrived('sentinel', 'feed'), 'event_id') === records,
  )
  await eventually('its place is settled', () => sink('sentinel.feed')?.events === 0)
  expect(siem.hec.indexed).toEqual([])
  const down = sink('splunk.feed')
  expect(down?.trouble).toMatchObject({ fault: false, reason: expect.stringContaining('code 9') })
  expect(status().laws).toEqual({ records: true, alerts: true })
  siem.hec.behave = () => undefined
  await eventually(
    'Splunk has the feed',
    () => distinct(siem.arrived('splunk', 'feed'), 'event_id') === records,
  )
  await eventually(
    'its place is settled',
    () => sink('splunk.feed')?.events === 0 && sink('splunk')?.alerts?.pending === 0,
  )
  const alerts = status().alerts
  expect(alerts).toBeGreaterThan(records / 50)
  expect(distinct(siem.arrived('splunk', 'alerts'), 'alert_id')).toBe(
    distinct(siem.arrived('sentinel', 'alerts'), 'alert_id'),
  )
  expect(sink('splunk')?.alerts).toEqual({ delivered: alerts, pending: 0, dead: 0, unselected: 0 })
  expect(sink('splunk.feed')?.trouble).toBeUndefined()
  stop()
  const { code, log } = await ended
  expect(code, log).toBe(0)
  one.remove()
  await siem.close()
})

test('revoked credentials hold both sinks; they go on by themselves, and nothing is a dead letter', async () => {
  const records = 5000
  const { siem, one, begin, stop, sink } = await running(records)
  siem.hec.token = 'another'
  siem.ingestion.secret = 'another'
  const ended = begin()
  for (const name of ['splunk', 'splunk.feed', 'sentinel', 'sentinel.feed'])
    await eventually(`${name} holds`, () => sink(name)?.trouble?.fault === true)
  expect(sink('splunk')?.trouble?.reason).toContain('the token is invalid')
  expect(sink('sentinel')?.trouble?.reason).toContain('AADSTS7000215')
  await sleep(3000)
  expect(siem.hec.indexed).toEqual([])
  siem.hec.token = 'the-token'
  siem.ingestion.secret = 'the-secret'
  for (const where of ['splunk', 'sentinel'] as const)
    await eventually(
      `${where} has the feed`,
      () => distinct(siem.arrived(where, 'feed'), 'event_id') === records,
    )
  stop()
  expect((await ended).code).toBe(0)
  const store = one.store()
  expect(store.deadLetters()).toEqual([])
  store.close()
  one.remove()
  await siem.close()
})

test('a token in a file is read again when it is refused', async () => {
  const file = join(folder, 'token')
  writeFileSync(file, 'old')
  const siem = await startSiem()
  const logs = join(folder, 'some')
  generate(logs, { records: 1000, keys: 1, perFile: 500, seed: 7 })
  const other = service([logs], {
    sinks: { splunk: { ...siem.sinks.splunk, token: `\u0024{file:${file}}` } },
    detectors: { folders: [noisy] },
  })
  let kill: (name: NodeJS.Signals) => void = () => {}
  const ended = other.run({
    once: false,
    env: siem.env,
    onStart: (how) => {
      kill = how
    },
  })
  await sleep(1500)
  expect(siem.hec.indexed).toEqual([])
  writeFileSync(file, 'the-token\n')
  await eventually('alerts arrive', () => siem.arrived('splunk', 'alerts').length > 0)
  kill('SIGTERM')
  expect((await ended).code).toBe(0)
  other.remove()
  await siem.close()
})

test('a stream that is behind by the whole budget stops the reading, and nothing is dropped', async () => {
  const records = 60_000
  const { siem, one, begin, stop, status } = await running(records, { journal: { budget_bytes: 200_000 } })
  siem.hec.behave = () => ({ status: 503, body: { text: 'Server is busy', code: 9 } })
  const ended = begin()
  await eventually('there is a journal', () => existsSync(join(one.data, 'journal.db')))
  await sleep(5000)
  const received = () => status().feeds.reduce((sum, feed) => sum + feed.received, 0)
  const held = received()
  expect(held).toBeGreaterThan(0)
  expect(held).toBeLessThan(records)
  await sleep(1000)
  expect(received()).toBe(held)
  siem.hec.behave = () => undefined
  for (const where of ['splunk', 'sentinel'] as const)
    await eventually(
      `${where} has the feed`,
      () => distinct(siem.arrived(where, 'feed'), 'event_id') === records,
    )
  stop()
  const { code, log } = await ended
  expect(code, log).toBe(0)
  expect(log).toMatch(/sinks are behind by \d+ bytes, the whole budget: reading stops until they catch up/)
  one.remove()
  await siem.close()
})

interface OtlpValue {
  readonly stringValue?: string
  readonly kvlistValue?: { readonly values: readonly OtlpPair[] }
}
interface OtlpPair {
  readonly key: string
  readonly value: OtlpValue
}
interface OtlpLine {
  readonly resourceLogs: readonly {
    readonly resource: { readonly attributes: readonly OtlpPair[] }
    readonly scopeLogs: readonly {
      readonly logRecords: readonly {
        readonly timeUnixNano: string
        readonly body: OtlpValue
        readonly attributes: readonly OtlpPair[]
      }[]
    }[]
  }[]
}

/** The receiver reads times as doubles: the last digits are its own. */
const microseconds = (nanoseconds: string | undefined) => (BigInt(nanoseconds ?? 0) + 500n) / 1000n

const source = join(import.meta.dirname, '../standins/hec-collector')
const hasGo = spawnSync('go', ['version']).status === 0

describe.skipIf(!hasGo)("the OpenTelemetry Collector's HEC receiver", () => {
  test('reads what is sent as it is meant', { timeout: 600_000 }, async () => {
    const program = join(folder, 'hec-collector')
    await promisify(execFile)('go', ['build', '-o', program, '.'], { cwd: source })
    const out = join(folder, 'collected')
    mkdirSync(out)
    const file = join(out, 'lines')
    const child = spawn(program, ['-port', '0', '-ack', '-out', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    try {
      const url = await new Promise<string>((resolve, reject) => {
        let text = ''
        child.on('exit', () => reject(new Error(`the collector ended: ${text}`)))
        child.stderr.on('data', (chunk: Buffer) => {
          text += chunk
          const found = /ready (http:\S+)/.exec(text)?.[1]
          if (found !== undefined) resolve(found)
        })
      })
      for (const gzip of [false, true]) {
        const sink = splunkSink({
          name: 'splunk',
          url,
          token: () => 'any',
          ack: 'required',
          ackMs: 20_000,
          gzip,
          index: 'kms',
          rendering: renderings.cim,
          sourcetype: 'kms:alert',
          inFlight: 2,
          onNotice: (text) => expect.fail(text),
        })
        const signal = AbortSignal.timeout(30_000)
        expect(await sink.open({}, signal)).toEqual({ delivery: 'acknowledged by the indexers' })
        const alerts = Array.from({ length: 700 }, (_, n) =>
          alertOf(n, { title: `"quoted" \\ {brace} \u2028 ${n}`, explanation: 'ü€😀'.repeat(50) }),
        )
        const { refused, again, confirmed } = await sink.send({ events: [eventOf(1)], alerts }, signal)
        expect([refused, again, await confirmed]).toEqual([[], undefined, undefined])
        await sink.close()
      }
      const lines = readFileSync(file, 'utf8').trim().split('\n')
      const all = lines
        .flatMap((line) => (JSON.parse(line) as OtlpLine).resourceLogs)
        .flatMap(({ resource, scopeLogs }) =>
          scopeLogs.flatMap(({ logRecords }) => logRecords.map((record) => ({ resource, record }))),
        )
      expect(all).toHaveLength(2 * 701)
      const text = (pairs: readonly OtlpPair[], name: string) =>
        pairs.find(({ key }) => key === name)?.value.stringValue
      const one = all.find(({ record }) => text(record.attributes, 'alert_id') === alertOf(7).alert_id)
      expect(microseconds(one?.record.timeUnixNano)).toBe(1772442060250000n)
      expect(text(one?.record.attributes ?? [], 'detector_id')).toBe('burst-decrypt')
      expect(text(one?.resource.attributes ?? [], 'com.splunk.sourcetype')).toBe('kms:alert')
      expect(text(one?.resource.attributes ?? [], 'com.splunk.index')).toBe('kms')
      const body = one?.record.body.kvlistValue?.values ?? []
      expect(text(body, 'signature')).toBe('"quoted" \\ {brace} \u2028 7')
      expect(text(body, 'description')).toBe('ü€😀'.repeat(50))
      const kms = body.find(({ key }) => key === 'kms')?.value.kvlistValue?.values ?? []
      expect(text(kms, 'alert_id')).toBe(alertOf(7).alert_id)
      const event = all.find(({ record }) => microseconds(record.timeUnixNano) === 1772442000123456n)
      expect(text(event?.record.attributes ?? [], 'severity')).toBe('medium')
    } finally {
      child.kill()
    }
  })
})
