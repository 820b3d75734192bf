import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { generate } from '../../bench/generate.ts'
import { fileWindows, killedRun, leftBy } from '../support/kills.ts'
import { service } from '../support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-kill-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** `KILLS` and `RECORDS` give the full dose; the seed is in the name. */
const kills = Number(process.env['KILLS'] ?? 20)
const records = Number(process.env['RECORDS'] ?? 20_000)
const seed = Number(process.env['SEED'] ?? 1)

test(`${kills} kills over ${records} records leave what an undisturbed run leaves (seed ${seed})`, {
  timeout: 3_600_000,
}, async () => {
  const logs = join(folder, 'logs')
  generate(logs, { records, keys: 1, perFile: 500, seed })
  const calm = service([logs])
  const { code, log } = await calm.run()
  expect(code, log).toBe(0)
  const expected = leftBy(calm)
  expect(expected.counters).toEqual({ 'kept|logs': records, 'received|logs': records })
  expect(expected.feed).toHaveLength(records)
  expect(expected.alerts.length).toBeGreaterThan(50)

  const { one, hits } = await killedRun({ paths: [logs], kills, seed, windows: fileWindows })
  const left = leftBy(one)
  expect(left.counters).toEqual(expected.counters)
  expect(left.alerts).toEqual(expected.alerts)
  expect(left.feed.length).toBe(expected.feed.length)
  expect(left.feed).toEqual(expected.feed)
  expect(left.delivered.toSorted()).toEqual(expected.delivered.toSorted())
  const killed = Object.entries(hits).reduce(
    (sum, [kind, count]) => (kind === 'ran to its end' ? sum : sum + count),
    0,
  )
  console.info(`kills: ${JSON.stringify(hits)}`)
  expect(killed).toBeGreaterThanOrEqual(kills / 4)
  calm.remove()
  one.remove()
})
