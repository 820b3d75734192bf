import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { generate } from '../../bench/generate.ts'
import { leftBy } from '../support/kills.ts'
import { keytrail } from '../support/scan.ts'
import { service } from '../support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-backup-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const RECORDS = 20_000

test('a backup made during writes is whole, and the run goes on from it without loss', {
  timeout: 120_000,
}, async () => {
  const logs = join(folder, 'logs')
  generate(logs, { records: RECORDS, keys: 1, perFile: 500, seed: 7 })
  const calm = service([logs])
  expect((await calm.run()).code).toBe(0)
  const expected = leftBy(calm)

  const one = service([logs])
  const copies: {
    readonly to: string
    readonly seq: number
    readonly before: number
    readonly after: number
  }[] = []
  const copyWhileItRuns = async (stop: (signal: NodeJS.Signals) => void, log: () => string) => {
    while (!log().includes('keytrail 0')) await sleep(5)
    const store = one.store()
    for (let n = 0; n < 3; n++) {
      const to = join(folder, `copy-${n}`)
      const before = store.next - 1
      const { status, stdout, stderr } = keytrail(['backup', to, '--data', one.data, '--json'])
      expect(status, stderr).toBe(0)
      copies.push({ to, before, ...(JSON.parse(stdout) as { seq: number }), after: store.next - 1 })
    }
    store.close()
    stop('SIGKILL')
  }
  await one.run({ once: false, onStart: (stop, log) => void copyWhileItRuns(stop, log) })
  console.info(copies.map(({ before, seq, after }) => `${before} ≤ ${seq} ≤ ${after}`).join(', '))
  expect(copies).toHaveLength(3)
  // At least one of them was made while commits were.
  expect(copies.some(({ before, after }) => after > before)).toBe(true)
  for (const { to, before, seq, after } of copies) {
    expect(seq).toBeGreaterThanOrEqual(before)
    expect(seq).toBeLessThanOrEqual(after)
    const { status, stdout } = keytrail(['journal', 'check', '--data', to])
    expect(status, stdout).toBe(0)
  }
  expect(keytrail(['backup', copies[0]?.to ?? '', '--data', one.data]).status).toBe(2)

  // The disk is lost, and what the sink had after the backup stays: the copy takes its place.
  rmSync(one.data, { recursive: true })
  renameSync(copies[0]?.to ?? '', one.data)
  const { code, log } = await one.run()
  expect(code, log).toBe(0)
  const left = leftBy(one)
  expect(left.counters).toEqual(expected.counters)
  expect(left.alerts).toEqual(expected.alerts)
  expect(left.journaled).toEqual(expected.journaled)
  expect(left.feed).toEqual(expected.feed)
  expect(left.delivered.toSorted()).toEqual(expected.delivered.toSorted())

  // Elsewhere, with new sinks: they get all of it.
  const other = join(folder, 'elsewhere')
  mkdirSync(other)
  renameSync(copies[1]?.to ?? '', join(other, 'data'))
  const config = join(other, 'keytrail.json')
  writeFileSync(
    config,
    JSON.stringify({
      data: join(other, 'data'),
      sources: { logs: { type: 'files', paths: [logs], start: 'beginning' } },
      sinks: {
        new: { type: 'ndjson', events: join(other, 'events.ndjson'), alerts: join(other, 'alerts.ndjson') },
      },
    }),
  )
  expect(keytrail(['run', '--once', '--config', config]).status).toBe(0)
  const ids = (path: string) =>
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { event_id: string }).event_id)
      .sort()
  expect(ids(join(other, 'events.ndjson'))).toEqual(ids(join(one.folder, 'events.ndjson')))
  expect(keytrail(['journal', 'check', '--data', join(other, 'data')]).status).toBe(0)
  calm.remove()
  one.remove()
})
