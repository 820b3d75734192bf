/** Splunk and Sentinel misbehave by seed while the service is killed again and again: nothing lost, nothing invented. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { generate } from '../../bench/generate.ts'
import { unpacked } from '../../src/journal/store.ts'
import { killedRun, random, siemWindows } from '../support/kills.ts'
import { service } from '../support/service.ts'
import { startSiem } from '../support/siem.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-siem-kill-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** `KILLS` and `RECORDS` give the full dose; the seed is in the name. */
const kills = Number(process.env['KILLS'] ?? 20)
const records = Number(process.env['RECORDS'] ?? 20_000)
const seed = Number(process.env['SEED'] ?? 1)

/** One rule that speaks for every 40th event or so, so that there are alerts enough. */
const noisy = join(import.meta.dirname, '../support/noisy')

const alertKey = (one: Record<string, unknown>) =>
  `${one['alert_id']} ${one['revision']} ${one['status']} ${one['observed']}`
const eventKey = (one: Record<string, unknown>) => String(one['event_id'])
const distinct = (all: readonly string[]) => [...new Set(all)].sort()

test(`${kills} kills over ${records} records while both misbehave (seed ${seed})`, {
  timeout: 3_600_000,
}, async () => {
  const logs = join(folder, 'logs')
  generate(logs, { records, keys: 1, perFile: 500, seed })
  const more = { detectors: { folders: [noisy] } }
  const calm = service([logs], more)
  const { code, log } = await calm.run()
  expect(code, log).toBe(0)
  const expected = {
    alerts: distinct(calm.lines('alerts').map(alertKey)),
    feed: distinct(calm.lines('events').map(eventKey)),
  }
  expect(expected.feed).toHaveLength(records)
  expect(expected.alerts.length).toBeGreaterThan(records / 50)
  calm.remove()

  const siem = await startSiem()
  const next = random(seed + 1)
  let misbehaved = 0
  const one = <T>(all: readonly T[]): T | undefined => all[Math.floor(next() * all.length)]
  const rarely = <T>(all: readonly T[]) => {
    if (next() > 0.15) return undefined
    misbehaved++
    return one(all)
  }
  siem.hec.behave = (kind) =>
    kind === 'ack'
      ? rarely([
          { cut: 'at once' },
          { cut: 'after taking' },
          { status: 503, body: 'busy' },
          { status: 200, body: '<html>' },
        ])
      : rarely([
          { cut: 'at once' },
          { cut: 'in body' },
          { cut: 'before taking' },
          { cut: 'after taking' },
          { cut: 'in head' },
          { cut: 'in answer' },
          { status: 503, body: { text: 'Server is busy', code: 9 } },
          { status: 500, body: { text: 'Internal server error', code: 8 }, takes: 1_000_000 },
          { status: 429, body: { text: 'HEC queue is at capacity', code: 26 } },
          { status: 403, body: { text: 'Token disabled', code: 1 } },
          { status: 200, body: '<html>sign in</html>' },
          { waitMs: 300 },
        ])
  siem.ingestion.behave = () =>
    rarely([
      { cut: 'at once' },
      { cut: 'before storing' },
      { cut: 'after storing' },
      { cut: 'in head' },
      { status: 429, body: '', headers: { 'retry-after': '1' } },
      { status: 500, body: '', stores: true },
      { status: 503, body: '<html>' },
      { status: 403, body: { error: { code: 'OperationFailed', message: 'no access' } } },
    ])
  try {
    const { one: left, hits } = await killedRun({
      paths: [logs],
      kills,
      seed,
      windows: siemWindows,
      more: { ...more, sinks: siem.sinks },
      env: siem.env,
    })
    const store = left.store()
    const journaled = {
      alerts: distinct(
        store.alerts(0, 1e6).map(({ alert }) => alertKey(alert as unknown as Record<string, unknown>)),
      ),
      feed: store
        .blocks(0, Number.MAX_SAFE_INTEGER)
        .flatMap((block) => unpacked(block).items)
        .map(({ event }) => eventKey(JSON.parse(event) as Record<string, unknown>))
        .sort(),
    }
    expect(store.deadLetters()).toEqual([])
    store.close()
    expect(journaled).toEqual(expected)
    const repeats: Record<string, number> = {}
    for (const where of ['splunk', 'sentinel'] as const) {
      const alerts = siem.arrived(where, 'alerts').map(alertKey)
      const feed = siem.arrived(where, 'feed').map(eventKey)
      expect(distinct(alerts), `alerts in ${where}`).toEqual(expected.alerts)
      expect(distinct(feed), `feed in ${where}`).toEqual(expected.feed)
      repeats[`${where} alerts`] = alerts.length - expected.alerts.length
      repeats[`${where} feed`] = feed.length - expected.feed.length
      // what waits for acknowledgement together is at most 24 MiB, counted as 2,500 bytes an alert
      expect(repeats[`${where} alerts`]).toBeLessThanOrEqual((kills + misbehaved) * 10_067)
    }
    const killed = Object.entries(hits).reduce(
      (sum, [kind, count]) => (kind === 'ran to its end' ? sum : sum + count),
      0,
    )
    console.info(
      `${expected.alerts.length} alerts; kills: ${JSON.stringify(hits)}; misbehaved ${misbehaved} times; raw repeats: ${JSON.stringify(repeats)}`,
    )
    expect(killed).toBeGreaterThanOrEqual(kills / 4)
    left.remove()
  } finally {
    await siem.close()
  }
})
