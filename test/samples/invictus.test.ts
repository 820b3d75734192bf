/**
 * 2,900 real records of a simulated attack, with the figures that the documents give for them (detections.md
 * section 4, row 7). What the events file says is asked in SQL: no code of the product counts here.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Alert } from '../../src/model/alert.ts'
import type { Summary } from '../../src/model/summary.ts'
import { hasSamples, samplesFolder } from '../support/samples.ts'
import { keytrail } from '../support/scan.ts'

const lines = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')

/** One row per event: its line, and what the questions below ask about. */
const TABLE = `
  CREATE TABLE lines (line TEXT);
  CREATE VIEW events AS SELECT
    json_extract(line, '$.action_id') AS action,
    json_extract(line, '$.source.service') AS service,
    json_extract(line, '$.time.event') AS time,
    unixepoch(json_extract(line, '$.time.event')) AS seconds,
    json_extract(line, '$.operation') AS operation,
    json_extract(line, '$.operation_native') AS name,
    json_extract(line, '$.outcome') AS outcome,
    json_extract(line, '$.error.code') AS error,
    json_extract(line, '$.actor.principal') AS principal,
    json_extract(line, '$.auth.mfa') AS mfa,
    json_extract(line, '$.network.source_ip') AS ip,
    json_extract(line, '$.network.source_raw') AS origin,
    json_extract(line, '$.network.endpoint_id') AS endpoint,
    json_extract(line, '$.target.key_id') AS key,
    json_extract(line, '$.crypto.context') AS context,
    json_extract(line, '$.crypto.context_hash') AS context_hash,
    json_extract(line, '$.change.flags') AS flags
  FROM lines;`

/** Largest count in a window of ten minutes that ends in this hour, both ends inclusive. */
const peaks = (what: string, group: string) => `
  SELECT hour, max(seen) AS peak FROM (
    SELECT substr(a.time, 12, 2) AS hour, a.${group} AS who, count(DISTINCT b.${what}) AS seen
    FROM events a JOIN events b
      ON a.${group} = b.${group} AND b.seconds BETWEEN a.seconds - 600 AND a.seconds
    WHERE a.operation = 'decrypt' AND b.operation = 'decrypt' AND a.outcome = 'success' AND b.outcome = 'success'
    GROUP BY a.action)
  GROUP BY hour, who HAVING peak >= 50 ORDER BY hour`

describe.skipIf(!hasSamples)('invictus-ir/aws_dataset', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  const database = new DatabaseSync(':memory:')
  const ask = (sql: string) =>
    database
      .prepare(sql)
      .all()
      .map((row) => Object.values(row))
  let status: number | null = null
  let summary: Summary
  let alerts: Alert[] = []

  beforeAll(() => {
    const events = join(folder, 'events.ndjson')
    const alertFile = join(folder, 'alerts.ndjson')
    const options = ['--json', '--no-save', '--quiet', '--events', events, '--alerts', alertFile]
    const result = keytrail(['scan', join(samplesFolder, 'aws', 'invictus-aws_dataset'), ...options])
    status = result.status
    summary = JSON.parse(result.stdout)
    alerts = lines(alertFile).map((line) => JSON.parse(line))
    database.exec(TABLE)
    const insert = database.prepare('INSERT INTO lines VALUES (?)')
    for (const line of lines(events)) insert.run(line)
  })
  afterAll(() => {
    database.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('is read whole: 2,900 received, none rejected, none twice, 484 kept', () => {
    expect(status).toBe(0)
    expect(summary.files).toEqual({ failed: 0, read: 55, skipped: 0 })
    expect(summary.records).toEqual({ duplicate: 0, kept: 484, received: 2900, rejected: 0, skipped: 2416 })
    expect(summary.rejections).toEqual([])
    expect(ask('SELECT count(*), count(DISTINCT action) FROM events')).toEqual([[484, 484]])
  })

  it('has 240 KMS events: 178 decrypt, 42 encrypt, 20 generate_data_key', () => {
    expect(summary.services['aws_kms']).toBe(240)
    expect(
      ask(`SELECT operation, count(*) FROM events WHERE service = 'aws_kms' GROUP BY 1 ORDER BY 2 DESC`),
    ).toEqual([
      ['decrypt', 178],
      ['encrypt', 42],
      ['generate_data_key', 20],
    ])
  })

  it('one person decrypts, with two keys: 122 and 56 times', () => {
    const rows = ask(
      `SELECT principal, count(*) FROM events WHERE operation = 'decrypt' GROUP BY principal, key ORDER BY 2 DESC`,
    )
    expect(rows.map(([, count]) => count)).toEqual([122, 56])
    for (const [principal] of rows) expect(principal).toMatch(/:user\/bert-jan$/)
  })

  it('raises seven alerts of four detectors, and no other', () => {
    expect(summary.alerts).toEqual({
      by_detector: { 'burst-decrypt': 2, 'burst-decrypt-contexts': 2, 'log-mgmt-off': 1, 'log-stopped': 2 },
      total: 7,
    })
    expect(alerts.map((alert) => alert.detector.id).sort()).toEqual([
      'burst-decrypt',
      'burst-decrypt',
      'burst-decrypt-contexts',
      'burst-decrypt-contexts',
      'log-mgmt-off',
      'log-stopped',
      'log-stopped',
    ])
    expect(new Set(alerts.map((alert) => alert.alert_id)).size).toBe(7)
  })

  it.each([
    ['the context', 'context'],
    ['its hash', 'context_hash'],
  ])('opens 20, 42, 42 and 12 different objects in four minutes, told by %s', (_, column) => {
    expect(
      ask(
        `SELECT substr(time, 1, 16), count(DISTINCT ${column}) FROM events
         WHERE operation = 'decrypt' AND context IS NOT NULL GROUP BY 1 ORDER BY 1`,
      ),
    ).toEqual([
      ['2023-07-10T11:57', 20],
      ['2023-07-10T11:58', 42],
      ['2023-07-10T12:07', 42],
      ['2023-07-10T12:08', 12],
    ])
  })

  it.each([
    ['burst-decrypt-contexts', peaks('context', 'principal')],
    ['burst-decrypt', peaks('action', 'key')],
  ])('%s reports the largest window of its hour, as SQL finds it', (id, sql) => {
    const own = alerts.filter((alert) => alert.detector.id === id)
    expect(own.map((alert) => [alert.window.end.slice(11, 13), alert.observed]).sort()).toEqual(ask(sql))
    expect(own.map((alert) => alert.threshold)).toEqual([50, 50])
  })

  it('the two context bursts saw 62 and 58 objects', () => {
    const own = alerts.filter((alert) => alert.detector.id === 'burst-decrypt-contexts')
    expect(own.map((alert) => alert.observed).sort()).toEqual([58, 62])
  })

  it('no KMS event has an MFA verdict: services made the calls', () => {
    expect(ask(`SELECT mfa, count(*) FROM events WHERE service = 'aws_kms' GROUP BY 1`)).toEqual([
      ['not_applicable', 240],
    ])
  })

  it('no KMS event has an address: 164 come from AWS Internal, 76 from Secrets Manager by an endpoint', () => {
    expect(
      ask(
        `SELECT origin, count(*), count(ip), count(endpoint) FROM events WHERE service = 'aws_kms' GROUP BY 1 ORDER BY 2 DESC`,
      ),
    ).toEqual([
      ['AWS Internal', 164, 0, 0],
      ['secretsmanager.amazonaws.com', 76, 0, 76],
    ])
  })

  it.each([
    ['StopLogging: three, none found its trail', 'StopLogging', [['failure', 'TrailNotFoundException', 3]]],
    ['PutEventSelectors: two, both succeeded', 'PutEventSelectors', [['success', null, 2]]],
  ])('%s', (_, name, rows) => {
    expect(
      ask(`SELECT outcome, error, count(*) FROM events WHERE name = '${name}' GROUP BY 1, 2 ORDER BY 3`),
    ).toEqual(rows)
  })

  it('DeleteTrail: three, one of them failed', () => {
    expect(
      ask(
        `SELECT outcome = 'success', count(*) FROM events WHERE name = 'DeleteTrail' GROUP BY 1 ORDER BY 1`,
      ),
    ).toEqual([
      [0, 1],
      [1, 2],
    ])
  })

  it('of the two selector changes one switches management events off, the other restores them', () => {
    expect(ask(`SELECT flags FROM events WHERE name = 'PutEventSelectors' ORDER BY flags IS NULL`)).toEqual([
      ['["management_events_off"]'],
      [null],
    ])
  })
})
