/**
 * Whoever can write to a topic or a folder can write what looks like a log (reliability.md H16). What a record says of
 * itself makes it no more trusted, it erases nothing that is real, and it speaks for no account but those of its source.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Rejection } from '../../src/model/outcome.ts'
import { type CloudTrailRecord, delivery, record } from '../support/cloudtrail.ts'
import { type Service, service } from '../support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-forged-'))
const [trail, open] = [join(folder, 'trail'), join(folder, 'open')]

const OWN = '123456789012'
const FOREIGN = '999988887777'
const root = (account: string): CloudTrailRecord => ({
  userIdentity: {
    type: 'Root',
    principalId: account,
    arn: `arn:aws:iam::${account}:root`,
    accountId: account,
  },
  recipientAccountId: account,
  resources: [
    { accountId: account, type: 'AWS::KMS::Key', ARN: `arn:aws:kms:eu-central-1:${account}:key/k` },
  ],
})
const real = record({ ...root(OWN), eventTime: '2026-03-02T09:00:00Z' })
/** A borrowed id, an account that the source does not speak for. */
const foreign = record({ ...root(FOREIGN), eventID: real['eventID'], eventTime: '2026-03-02T09:00:00Z' })
/** The same id, another story. */
const conflicting = { ...real, userAgent: 'forged', sourceIPAddress: '198.51.100.66' }
const plain = record()
/** Says of itself what only Keytrail may say. */
const boasting = record({
  schema_version: 'kms.event.v1',
  event_id: '0'.repeat(32),
  ingest: { transport: 's3', feed_id: 'trail', integrity: 'verified', position: 'trusted' },
  labels: { environment: 'test', trusted: 'true' },
  auth: { mfa: 'verified', mfa_source: 'derived_rule' },
  criticality: 'info',
  parse_warnings: [],
})
const nameless = record({
  userIdentity: { type: 'AWSService', invokedBy: 'kms.amazonaws.com' },
  recipientAccountId: undefined,
  resources: undefined,
})

let one: Service
let events: Record<string, unknown>[]
const logs: string[] = []
const run = async () => {
  const { code, log } = await one.run()
  expect(code, log).toBe(0)
  logs.push(log)
}
beforeAll(async () => {
  for (const path of [trail, open]) mkdirSync(path)
  const files = { type: 'files', start: 'beginning' }
  one = service([], {
    sources: {
      trail: { ...files, paths: [trail], accounts: [OWN] },
      open: { ...files, paths: [open], accounts: [OWN, '111122223333'] },
    },
  })
  writeFileSync(join(open, 'first.json'), delivery([foreign, plain, boasting, nameless]))
  await run()
  writeFileSync(join(trail, 'real.json'), delivery([real]))
  await run()
  writeFileSync(join(open, 'later.json'), delivery([conflicting]))
  writeFileSync(join(open, 'replayed.json'), `${JSON.stringify(real)}\n`)
  await run()
  events = one.lines('events')
})
afterAll(() => {
  one.remove()
  rmSync(folder, { recursive: true, force: true })
})

const idsOf = ({ source }: Record<string, unknown>) => (source as { native_id: string }).native_id

test('an account that the source does not speak for is rejected, kept, and heard by no detector', () => {
  const store = one.store()
  const rejected = store.rejections(100).map((body) => JSON.parse(body) as Rejection)
  const alerts = store.alerts(0, 1000).map(({ alert }) => alert)
  store.close()
  expect(rejected).toMatchObject([
    { feed_id: 'open', reason: 'foreign_account', detail: `about ${FOREIGN}` },
    { feed_id: 'open', reason: 'foreign_account', detail: 'about no account that is named' },
  ])
  expect(JSON.parse(Buffer.from(rejected[0]?.raw ?? '', 'base64').toString())).toEqual(foreign)
  expect(JSON.stringify([alerts, events])).not.toContain(FOREIGN)
})

test('what a record says of itself changes nothing, and is no provenance', () => {
  const [quiet, loud] = [plain, boasting].map((sent) => events.find((one) => idsOf(one) === sent['eventID']))
  const told = ['ingest', 'labels', 'auth', 'criticality', 'parse_warnings', 'initiated_by', 'actor']
  const pick = (event: Record<string, unknown> | undefined) =>
    told.map((name) => ({ ...Object(event?.[name]), position: '', raw_sha256: '' }))
  expect(loud).toMatchObject({ ingest: { transport: 'file', feed_id: 'open', integrity: 'not_available' } })
  expect(pick(loud)).toEqual(pick(quiet))
  expect(loud?.['event_id']).not.toBe('0'.repeat(32))
})

test('a borrowed id erases nothing: the real record is whole, with its own id and its alert', () => {
  const same = events.filter((found) => idsOf(found) === real['eventID'])
  expect(
    same.map(({ ingest, parse_warnings }) => [(ingest as { feed_id: string }).feed_id, parse_warnings]),
  ).toEqual([
    ['trail', undefined],
    ['open', ['id_conflict']],
  ])
  expect(same[0]?.['network']).toMatchObject({ source_ip: '192.0.2.10' })
  const about = one
    .lines('alerts')
    .filter(({ detector }) => (detector as { id: string }).id === 'caller-root-user')
  expect(about.map(({ evidence }) => (evidence as { event_ids: string[] }).event_ids[0])).toEqual([
    same[0]?.['event_id'],
  ])
})

test('a record that is played again is a duplicate: no event, no alert', () => {
  const store = one.store()
  const counters = Object.fromEntries(store.counters())
  store.close()
  expect(counters).toMatchObject({ 'duplicate|open': 1, 'kept|trail': 1, 'kept|open': 3, 'received|open': 6 })
  expect(counters['rejected|open|foreign_account']).toBe(2)
})

describe('a source', () => {
  test('without a list says what it likes', async () => {
    const free = service([open])
    const { code } = await free.run()
    expect(code).toBe(0)
    expect(free.lines('events').map(idsOf)).toContain(foreign['eventID'])
    free.remove()
  })
})
