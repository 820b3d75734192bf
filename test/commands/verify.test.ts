import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Bucket, copyTo, listedKeys, signingKey, Trail } from '../support/digests.ts'
import { keytrail, root } from '../support/scan.ts'

const signer = signingKey()
let folder = ''
let trail = new Trail(new Map(), { signer })

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'keytrail-verify-'))
  const objects: Bucket = new Map()
  trail = new Trail(objects, { signer }).hours()
  copyTo(folder, objects, (key) => key === trail.digests.at(-1))
  writeFileSync(join(folder, 'keys.json'), listedKeys(signer))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const verify = (...args: readonly string[]) => keytrail(['verify', 'cloudtrail', ...args], { cwd: folder })
const KEYS = ['--keys', 'keys.json']

/** The lines of the page that call keytrail on a copy, as a shell would take them. */
const documented = readFileSync(join(root, 'docs/verify-cloudtrail.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('keytrail verify cloudtrail ') && !line.includes('s3://'))
  .map((line) =>
    line
      .replace(/\s+#.*$/, '')
      .split(' ')
      .slice(3),
  )

describe('keytrail verify cloudtrail', () => {
  test('commands of the page end with 0', () => {
    expect(documented.length).toBeGreaterThanOrEqual(2)
    for (const args of documented) expect([args, verify(...args).status]).toEqual([args, 0])
  })

  test('says what was verified', () => {
    const { stdout } = verify('AWSLogs', ...KEYS)
    expect(stdout).toContain(
      '123456789012  eu-central-1  trail main_trail\n' +
        `  24 digests verified; ${trail.logs.length} log files verified\n` +
        '  from 2026-03-02 00:01:31 UTC to 2026-03-03 00:01:31 UTC\n',
    )
    expect(stdout).toContain('Everything that is named is here, and as CloudTrail delivered it.\n')
  })

  test('names a failure with what was expected, what was found and what it means, and ends with 1', () => {
    const [log = ''] = trail.logs
    const path = join(folder, log)
    const before = readFileSync(path)
    try {
      rmSync(path)
      const { status, stdout } = verify('AWSLogs', ...KEYS)
      expect(status).toBe(1)
      expect(stdout).toMatch(
        /1 failure\n {2}deleted {2}AWSLogs\/\S+x0\.json\.gz\n {4}expected {2}SHA-256 [0-9a-f]{64}\n {4}found {5}nothing\n {4}means {5}\S/,
      )
      const { stdout: json } = verify('AWSLogs', ...KEYS, '--json')
      const report = JSON.parse(json)
      expect(report).toMatchObject({ verdict: 'failed', uncovered: 0 })
      expect(report.findings).toEqual([
        expect.objectContaining({ kind: 'deleted', object: log, found: 'nothing' }),
      ])
    } finally {
      writeFileSync(path, before)
    }
  })

  test('ends with 2 when it is called wrongly, and says why', () => {
    const wrong: [args: string[], says: RegExp][] = [
      [['AWSLogs'], /list-public-keys .* --keys/],
      [['AWSLogs', '--keys', 'none.json'], /none\.json cannot be read/],
      [['AWSLogs', '--keys', join(folder, trail.logs[0] ?? '')], /cannot be read/],
      [['AWSLogs', ...KEYS, '--from', 'yesterday'], /"yesterday" is neither a time nor a span/],
      [['AWSLogs', ...KEYS, '--from', '2026-03-03', '--to', '2026-03-02'], /--from must be before --to/],
      [['AWSLogs', 's3://example-trail', ...KEYS], /one s3:\/\/ address/],
      [['s3://'], /is not s3:\/\/bucket\/prefix/],
    ]
    for (const [args, says] of wrong) {
      const { status, stderr } = verify(...args)
      expect([args, status]).toEqual([args, 2])
      expect(stderr).toMatch(says)
    }
  })

  test('metadata that is none is refused with its name', () => {
    const path = join(folder, `${trail.digests.at(-1)}.metadata.json`)
    const before = readFileSync(path)
    try {
      writeFileSync(path, 'An error occurred (403)')
      const { status, stderr } = verify('AWSLogs', ...KEYS)
      expect([status, stderr]).toEqual([2, expect.stringContaining('json is not what head-object prints')])
    } finally {
      writeFileSync(path, before)
    }
  })

  test('ends with 4 where there is no digest', () => {
    for (const args of [
      ['AWSLogs/123456789012/CloudTrail'],
      ['nowhere'],
      ['AWSLogs', '--from', '2027-01-01'],
    ]) {
      const { status, stderr, stdout } = verify(...args, ...KEYS)
      expect([args, status, stdout]).toEqual([args, 4, ''])
      expect(stderr).toMatch(/aws s3 sync/)
    }
  })

  test('ends with 4 when the bucket cannot be reached', () => {
    const { status, stderr } = keytrail(['verify', 'cloudtrail', 's3://example-trail'], {
      env: {
        AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
        AWS_REGION: 'eu-central-1',
        AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE',
        AWS_SECRET_ACCESS_KEY: 'example',
        AWS_MAX_ATTEMPTS: '1',
      },
    })
    expect(status).toBe(4)
    expect(stderr).toMatch(/s3:\/\/example-trail\/ cannot be listed: .*ECONNREFUSED/)
  })
})
