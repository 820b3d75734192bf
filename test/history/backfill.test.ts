import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import type { ReplayReport } from '../../src/model/replay.ts'
import { called, record } from '../support/cloudtrail.ts'
import { type Bucket, copyTo, listedKeys, signingKey, Trail } from '../support/digests.ts'
import { keytrail } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-backfill-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const ROOT = { type: 'Root', arn: 'arn:aws:iam::123456789012:root', accountId: '123456789012' }

test('logs that no journal had go into history with the verdict of their digests, once, and change the corrected replay', () => {
  const signer = signingKey()
  const objects: Bucket = new Map()
  const trail = new Trail(objects, { signer }).hours()
  copyTo(folder, objects, (key) => key === trail.digests.at(-1))
  writeFileSync(join(folder, 'keys.json'), listedKeys(signer))
  writeFileSync(
    join(folder, 'keytrail.yml'),
    'data: data\nsources: { logs: { type: files, paths: [live], start: beginning } }\nhistory: { folder: history, origin: backfill.test/history }\n',
  )
  const [bad = ''] = trail.logs
  const changed = join(folder, bad)
  const events = trail.logs.reduce(
    (sum, key) => sum + JSON.parse(gunzipSync(readFileSync(join(folder, key))).toString()).Records.length,
    0,
  )
  const { Records } = JSON.parse(gunzipSync(readFileSync(changed)).toString())
  writeFileSync(
    changed,
    gzipSync(
      JSON.stringify({
        Records: [...Records, record({ eventTime: Records[0].eventTime, userIdentity: ROOT })],
      }),
    ),
  )

  const run = (...args: readonly string[]) => keytrail(args, { cwd: folder })
  expect(run('backfill', 'AWSLogs', '--into', 'history').stderr).toContain('name the public keys with --keys')
  const first = run('backfill', 'AWSLogs', '--into', 'history', '--keys', 'keys.json')
  expect(first.stdout, first.stderr).toContain(
    `${events + 1} events sealed (integrity: 3 failed, ${events - 2} verified), 0 known`,
  )
  expect(first.status).toBe(0)
  const again = run('backfill', 'AWSLogs', '--into', 'history', '--keys', 'keys.json')
  expect(again.stdout).toContain(`0 events sealed, ${events + 1} known`)
  const integrity = run(
    'query',
    'SELECT integrity, sum(events)::INTEGER AS n FROM integrity GROUP BY 1 ORDER BY 1',
    '--format',
    'csv',
  )
  expect(integrity.stdout.replaceAll('\r', '')).toContain(`failed,3\nverified,${events - 2}\n`)

  // The journal of run comes later into the same history; what it never saw stays out of what it sent.
  writeFileSync(join(folder, 'live'), JSON.stringify({ Records: [called('alice', '2026-03-02T09:00:00Z')] }))
  expect(run('run', '--once').status).toBe(0)
  const verified = run('verify', 'history', '--json')
  expect(JSON.parse(verified.stdout).findings).toEqual([])
  const seen = JSON.parse(run('replay', '--as-seen', '--json').stdout) as ReplayReport
  expect([seen.events, seen.differing]).toEqual([1, []])
  const corrected = JSON.parse(run('replay', '--json').stdout) as ReplayReport
  expect(corrected.events).toBe(events + 2)
  expect(corrected.difference?.changes).toMatchObject([
    {
      what: 'added',
      detector: 'caller-root-user',
      why: 'late_event',
      events: [{ imported: true, feed: 'backfill' }],
    },
  ])
})
