import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask } from '../../src/history/query.ts'
import { answerFormats } from '../../src/render/answer.ts'
import { pastWith, type SmallHistory, smallHistory } from '../support/history.ts'

let own: SmallHistory
beforeAll(async () => {
  own = await smallHistory(pastWith(1400, 200, 170_000))
})
afterAll(() => {
  own.duck.close()
  rmSync(own.folder, { recursive: true, force: true })
})

const asked = (sql: string, more: object = {}) =>
  ask(own.store, own.state, sql, { timeout: 20_000, scratch: join(own.folder, 'ask'), ...more })

test('the views answer over all files', async () => {
  // Events go round seven keys, and all of them were denied: nobody used one.
  expect((await asked('SELECT key_id, count(*) FROM events GROUP BY ALL ORDER BY ALL')).rows).toEqual(
    [0, 1, 2, 3, 4, 5, 6].map((n) => [`key-${n}`, '200']),
  )
  expect((await asked("SELECT event_id FROM events WHERE event_id LIKE '%9'")).rows[0]).toEqual([
    expect.stringMatching(/^0{29}[0-9a-f]{2}9$/),
  ])
  expect((await asked('SELECT count(*), max(uses), max(state) FROM keys')).rows).toEqual([['7', '0', null]])
  expect((await asked('SELECT (SELECT count(*) FROM alerts), (SELECT count(*) FROM signals)')).rows).toEqual([
    ['2', '1'],
  ])
  expect((await asked('SELECT reason FROM rejections')).rows).toEqual([['broken_json']])
  expect((await asked('SELECT integrity, sum(events)::INTEGER FROM integrity GROUP BY ALL')).rows).toEqual([
    ['not_available', 1400],
  ])
})

test('at a time, nothing later is seen', async () => {
  const { rows } = await asked('SELECT count(*) FROM events', { until: '2026-03-02T01:00:00Z' })
  expect(rows).toEqual([[String(Math.floor(3_600_000 / 170_000) + 1)]])
})

test.each([
  ["SELECT * FROM read_csv('/etc/passwd')"],
  ["SELECT * FROM '/etc/passwd'"],
  ["SELECT * FROM read_text('/etc/passwd')"],
  ["SELECT * FROM glob('/*')"],
  ["COPY events TO '/tmp/keytrail-query-out'"],
  ["COPY (SELECT 1) TO '/tmp/keytrail-query-out'"],
  ["ATTACH '/tmp/keytrail-query-out'"],
  ['SET threads = 1'],
  ['INSTALL httpfs'],
  ["LOAD '/tmp/keytrail-query-out'"],
  ['DROP VIEW events'],
  ['CREATE TABLE t AS SELECT 1'],
  ['SELECT 1; SELECT 2'],
  ["EXPORT DATABASE '/tmp/keytrail-query-out'"],
  ['SELECT * FROM no_such_view'],
])('refuses %s', async (sql) => {
  await expect(asked(sql)).rejects.toMatchObject({ code: 'query.refused' })
  expect(existsSync('/tmp/keytrail-query-out')).toBe(false)
})

test('a file of history cannot be written over', async () => {
  const [path = ''] = [...own.state.files.keys()]
  const file = await own.store.local(path)
  await expect(asked(`COPY (SELECT 1) TO '${file}'`)).rejects.toMatchObject({ code: 'query.refused' })
})

test('a question without end is interrupted', async () => {
  const endless = 'SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range * b.range = 7'
  await expect(asked(endless, { timeout: 300 })).rejects.toMatchObject({ code: 'query.late' })
})

test('writes Parquet where it is told to, and reads it back', async () => {
  const out = join(own.folder, "o'ne.parquet")
  await asked("SELECT key_id FROM events WHERE key_id = 'key-3' -- and no more", { out })
  const [{ n } = {}] = await own.duck.rows(
    `SELECT count(*)::INTEGER AS n FROM read_parquet('${out.replace("'", "''")}')`,
  )
  expect(n).toBe(200)
})

test.each([
  ['=1+1', "'=1+1"],
  ['@SUM(A1)', "'@SUM(A1)"],
  ['+cmd', "'+cmd"],
  ['-2+3', "'-2+3"],
  ['-2.5', '-2.5'],
  ['\t=1', "'\t=1"],
  ['a,"b"', '"a,""b"""'],
  ['a\nb', '"a\nb"'],
  [null, ''],
])('CSV writes %j so that no spreadsheet calculates it', (value, cell) => {
  expect(answerFormats.csv(['name'], [[value]])).toBe(`name\r\n${cell}\r\n`)
})
