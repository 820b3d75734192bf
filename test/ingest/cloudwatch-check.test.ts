import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { loadConfig } from '../../src/config/config.ts'
import { cloudWatchLogs } from '../../src/ingest/cloudwatch-logs.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { type CloudWatchLogs, startCloudWatchLogs } from '../standins/cloudwatch-logs.ts'
import { root } from '../support/scan.ts'

let logs: CloudWatchLogs
beforeEach(async () => {
  logs = await startCloudWatchLogs()
  logs.group('trail')
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAEXAMPLEEXAMPLE12')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret')
  vi.stubEnv('AWS_ENDPOINT_URL_STS', logs.url)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await logs.close()
})

const ROLE = { arn: 'arn:aws:iam::123456789012:role/keytrail-reader', external_id: 'f2a1' }

const sourceFor = (groups: readonly object[]) => {
  const parsed = sourceConfig.parse({
    type: 'cloudwatch_logs',
    groups,
    start: 'beginning',
    requests_per_second: 1000,
    endpoint: logs.url,
  })
  if (parsed.type !== 'cloudwatch_logs') throw new Error('another source')
  return cloudWatchLogs({ ...parsed, feed_id: 'logs', follow: false, onNotice: () => {} })
}

const check = async (more: object = {}) => {
  const source = sourceFor([{ name: 'trail', region: 'eu-central-1', ...more }])
  const checks = (await source.check?.(AbortSignal.timeout(20_000))) ?? []
  await source.close?.()
  return checks.map(({ step, ok, detail }) => `${ok ? 'ok' : 'FAILS'} ${step}: ${detail}`)
}

describe('doctor says what works and what is missing', () => {
  test('all is well', async () => {
    expect(await check()).toEqual([
      'ok eu-central-1/trail credentials: found, access key AKIA…LE12',
      'ok eu-central-1/trail group: it is there; events are kept for ever',
      'ok eu-central-1/trail read: it can be read; there is no event in the last day',
    ])
  })

  test('events are kept for less than the longest sweep reaches', async () => {
    logs.group('trail', { retentionInDays: 7 })
    expect((await check())[1]).toMatch(/^ok .*kept for 7 days.*14 days.*raise the retention$/)
  })

  test('the group is not there', async () => {
    expect(await check({ name: 'tra' })).toEqual([
      expect.stringMatching(/^ok .*credentials/),
      'FAILS eu-central-1/tra group: there is no log group tra in eu-central-1',
      expect.stringMatching(/^FAILS .*read: ResourceNotFoundException: /),
    ])
  })

  test.each(['DescribeLogGroups', 'FilterLogEvents'])('logs:%s is missing', async (action) => {
    logs.denied.add(action)
    expect((await check()).filter((line) => line.startsWith('FAILS'))).toEqual([
      expect.stringContaining(`the permission logs:${action} on `),
    ])
  })

  test('the role may not be assumed', async () => {
    expect(await check({ role: ROLE })).toEqual([
      expect.stringMatching(
        /^FAILS eu-central-1\/123456789012\/trail credentials: the permission sts:AssumeRole on arn:aws:iam::123456789012:role\/keytrail-reader is missing/,
      ),
    ])
  })

  test('there are no credentials', async () => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(name, undefined)
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
    vi.stubEnv('AWS_CONFIG_FILE', '/nowhere')
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nowhere')
    expect(await check()).toEqual([expect.stringMatching(/^FAILS .*credentials: there are no credentials/)])
  })

  test('a group that a linked account shares, by its ARN', async () => {
    const name = 'arn:aws:logs:eu-central-1:123456789012:log-group:trail'
    expect(await check({ name })).toEqual([
      expect.stringMatching(/^ok eu-central-1\/123456789012\/trail credentials/),
      expect.stringMatching(/^ok .*group: shared by a linked account/),
      expect.stringMatching(/^ok .*read: /),
    ])
  })
})

test('groups of several accounts are read with the role of each', async () => {
  const other = { arn: 'arn:aws:iam::210987654321:role/keytrail-reader' }
  logs.roles.set(ROLE.arn, { externalId: 'f2a1', key: 'ASIAONEEXAMPLEEXAMPL' })
  logs.roles.set(other.arn, { key: 'ASIATWOEXAMPLEEXAMPL' })
  logs.group('one', { key: 'ASIAONEEXAMPLEEXAMPL' })
  logs.group('two', { key: 'ASIATWOEXAMPLEEXAMPL' })
  const timestamp = Date.now() - 1
  for (const name of ['one', 'two']) logs.put(name, [{ timestamp, message: `{"in":"${name}"}` }])
  const source = sourceFor([
    { name: 'one', region: 'eu-central-1', role: ROLE },
    { name: 'two', region: 'us-east-1', role: other },
  ])
  const read: string[] = []
  let idle = 0
  await source.read(
    () => undefined,
    async (piece) => {
      if (piece === 'idle') idle++
      else if (piece.bytes.length > 0)
        read.push(
          `${piece.place.split(' ')[0]} ${(JSON.parse(piece.bytes.toString()) as { message: string }).message}`,
        )
    },
    AbortSignal.timeout(20_000),
    async () => undefined,
  )
  await source.close?.()
  expect(read.sort()).toEqual([
    'eu-central-1/123456789012/one {"in":"one"}',
    'us-east-1/210987654321/two {"in":"two"}',
  ])
  expect(idle).toBeGreaterThan(0)
})

test('the documented policy allows what it does, and nothing else', async () => {
  logs.roles.set(ROLE.arn, { externalId: 'f2a1', key: 'ASIAONEEXAMPLEEXAMPL' })
  await check({ role: ROLE })
  const source = sourceFor([{ name: 'trail', region: 'eu-central-1', role: ROLE }])
  await source.read(
    () => undefined,
    async () => {},
    AbortSignal.timeout(20_000),
    async () => undefined,
  )
  const { Statement } = JSON.parse(
    readFileSync(join(root, 'docs/permissions/aws-cloudwatch-logs.json'), 'utf8'),
  ) as { Statement: { Action: string }[] }
  const done = new Set(
    logs.calls.map(({ action }) => `${action === 'AssumeRole' ? 'sts' : 'logs'}:${action}`),
  )
  expect([...done].sort()).toEqual(Statement.map(({ Action }) => Action).sort())
})

test('the example is a valid configuration', () => {
  const { sources } = loadConfig(join(root, 'examples/cloudwatch-logs/keytrail.yml'), true)
  expect(Object.values(sources).map(({ type }) => type)).toEqual(['cloudwatch_logs'])
})
