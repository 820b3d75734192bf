import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { type CloudTrailRecord, delivery, record } from '../support/cloudtrail.ts'
import { random } from '../support/kills.ts'
import { root } from '../support/scan.ts'
import { service } from '../support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-as-seen-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const START = Date.parse('2026-03-02T09:00:00Z')

/** Twelve days of bursts and single calls by six users, each file out of order, some of it days late. */
const disturbed = (): CloudTrailRecord[][] => {
  const next = random(11)
  const pick = (n: number) => Math.floor(next() * n)
  return Array.from({ length: 24 }, (_, file) => {
    const records: CloudTrailRecord[] = []
    for (let burst = 0; burst < 3; burst++) {
      const user = pick(6)
      const start = START + file * 43_200_000 + pick(36_000) * 1000
      for (let n = 20 + pick(60); n > 0; n--)
        records.push(
          record({
            userIdentity: {
              type: 'IAMUser',
              arn: `arn:aws:iam::123456789012:user/u${user}`,
              accountId: '123456789012',
            },
            eventTime: new Date(start + pick(600) * 1000 - (pick(40) === 0 ? 2 * 86_400_000 : 0))
              .toISOString()
              .replace('.000Z', 'Z'),
            sourceIPAddress: `203.0.${pick(3)}.${pick(200)}`,
          }),
        )
    }
    return [...records, ...records.slice(0, pick(30))]
  })
}

/** Changes a threshold from one reload to the next. */
const rule = (threshold: number) => `title: Decrypts, reference
name: few-decrypts
logsource: { product: keytrail, category: key_usage }
detection: { decrypt: { operation: decrypt }, condition: decrypt }
---
title: Few decrypts
name: reload-burst
correlation:
  type: event_count
  rules: [few-decrypts]
  group-by: [actor.principal]
  timespan: 10m
  condition: { gte: ${threshold} }
level: low
keytrail: { version: ${threshold}, explanation: "{actor.principal} decrypted {observed} times" }
`

test('a disturbed run judged again from its journal gives every revision byte for byte', {
  timeout: 120_000,
}, async () => {
  const logs = join(folder, 'logs')
  const rules = join(folder, 'rules')
  mkdirSync(logs)
  mkdirSync(rules)
  writeFileSync(join(rules, 'reload.yml'), rule(20))
  const files = disturbed()
  const write = (index: number) =>
    writeFileSync(join(logs, `${String(index).padStart(2, '0')}.json`), delivery(files[index] ?? []))
  const one = service([logs], { detectors: { folders: [rules] } })
  const feed = async (
    stop: (signal: NodeJS.Signals) => void,
    log: () => string,
    from: number,
    to: number,
  ) => {
    while (!log().includes('keytrail 0')) await sleep(20)
    for (let index = from; index < to; index++) {
      write(index)
      if (index % 4 === 1) {
        writeFileSync(join(rules, 'reload.yml'), rule(20 + index))
        stop('SIGHUP')
      }
      await sleep(300)
    }
    await sleep(1500)
  }
  const first = await one.run({
    once: false,
    onStart: (stop, log) => void feed(stop, log, 0, 12).then(() => stop('SIGKILL')),
  })
  expect(first.code).toBe('SIGKILL')
  const second = await one.run({
    once: false,
    onStart: (stop, log) => void feed(stop, log, 12, 24).then(() => stop('SIGTERM')),
  })
  expect(second.code, second.log).toBe(0)
  expect((await one.run()).code).toBe(0)

  const { status, stdout } = spawnSync(
    process.execPath,
    [join(root, 'src/main.ts'), 'journal', 'check', '--json', '--data', one.data],
    { encoding: 'utf8' },
  )
  const found = JSON.parse(stdout)
  console.info(
    `${found.events} events, ${found.alerts} alert revisions, ${found.commits} commits judged again`,
  )
  expect(found.differences).toEqual([])
  expect(found.damage).toEqual([])
  expect(status).toBe(0)
  expect(found.alerts).toBeGreaterThan(30)
  const store = one.store()
  const sets = [...store.controls('detectors')]
  const late = store.counters().get('late|logs') ?? 0
  const revisions = store.alerts(0, 100_000).map(({ alert }) => alert)
  store.close()
  expect(sets.length).toBeGreaterThanOrEqual(6)
  expect(late).toBeGreaterThan(10)
  expect(
    new Set(
      revisions
        .filter((alert) => alert.detector.id === 'reload-burst')
        .map((alert) => alert.detector.version),
    ).size,
  ).toBeGreaterThan(2)
  expect(revisions.some((alert) => alert.revision > 1)).toBe(true)
  one.remove()
})
