/** Rules on raw records: what they keep, and that loading them changes no other count. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { type Detector, defineDetectors } from '../../src/detect/definition.ts'
import { rawRules } from '../../src/detect/raw-rules.ts'
import { keyEvent } from '../../src/model/event.ts'
import { activity, audit } from '../support/azure.ts'
import { type CloudTrailRecord, delivery, record } from '../support/cloudtrail.ts'
import { entry } from '../support/google.ts'
import { scanBytes } from '../support/scan.ts'

const rule = (name: string, logsource: object, detection: object): string =>
  stringify({ title: name, name, author: 'Somebody', license: 'DRL 1.1', logsource, detection })
const aws = { product: 'aws', service: 'cloudtrail' }
const load = (...texts: readonly string[]): readonly Detector[] => {
  const { detectors, problems } = defineDetectors(texts.map((text, n) => ({ path: `${n}.yml`, text })))
  expect(problems).toEqual([])
  return detectors
}
const s3 = (name: string, change: CloudTrailRecord = {}) =>
  record({ eventSource: 's3.amazonaws.com', eventName: name, ...change })

const deleted = rule('bucket-deleted', aws, {
  s: { eventSource: 's3.amazonaws.com', eventName: 'DeleteBucket' },
  condition: 's',
})
const decrypted = rule('raw-decrypt', aws, { s: { eventName: 'decrypt' }, condition: 's' })
const root = rule('root', aws, { s: { 'userIdentity.type': 'Root' }, condition: 's' })

const scan = (records: readonly unknown[], detectors: readonly Detector[], strict = false) => {
  const bytes = Buffer.from(JSON.stringify({ Records: records }))
  const { tallies, tally, events, alerts } = scanBytes([{ path: 'a.json', bytes }], { detectors, strict })
  const skipped = [...(tallies[0]?.skipped.values() ?? []), ...tally.skipped.values()].reduce(
    (a, b) => a + b,
    0,
  )
  return {
    received: tallies[0]?.received,
    kept: tally.kept,
    duplicate: tally.duplicate,
    skipped,
    events,
    alerts,
  }
}

describe('a record out of scope', () => {
  const records = [
    s3('DeleteBucket'),
    s3('GetObject'),
    record(),
    s3('DeleteBucket', { eventSource: 'x.amazonaws.com' }),
  ]

  test('is kept when a rule matches it, and says why', () => {
    const { events, alerts, ...counts } = scan(records, load(deleted))
    expect(counts).toEqual({ received: 4, kept: 2, duplicate: 0, skipped: 2 })
    const event = events.find(({ operation_native }) => operation_native === 'DeleteBucket')
    expect(event?.source.service).toBe('other')
    expect(event?.operation).toBe('unknown')
    expect(event?.parse_warnings).toEqual(['rule_match'])
    expect(keyEvent.safeParse(JSON.parse(JSON.stringify(event))).success).toBe(true)
    expect(alerts.map(({ detector }) => [detector.id, detector.author, detector.license])).toEqual([
      ['bucket-deleted', 'Somebody', 'DRL 1.1'],
    ])
  })

  test('is skipped when none does: loading rules changes no other count', () => {
    const {
      events: _,
      alerts,
      ...counts
    } = scan(records, load(rule('n', aws, { s: { eventName: 'Nothing' }, condition: 's' })))
    const { events: __, alerts: ___, ...without } = scan(records, [])
    expect(counts).toEqual(without)
    expect(alerts).toEqual([])
  })

  test('a record in scope stays what it is', () => {
    const { events, alerts } = scan([record()], load(decrypted))
    expect([events[0]?.source.service, events[0]?.operation]).toEqual(['aws_kms', 'decrypt'])
    expect(events[0]?.parse_warnings).toBeUndefined()
    expect(alerts).toHaveLength(1)
  })

  test.each([
    [
      'Azure Activity',
      activity('MICROSOFT.NETWORK/DNSZONES/DELETE'),
      { product: 'azure', service: 'activitylogs' },
      { operationName: 'Microsoft.Network/dnsZones/delete' },
    ],
    [
      'Google Cloud',
      entry({ serviceName: 'compute.googleapis.com', methodName: 'v1.compute.firewalls.delete' }),
      { product: 'gcp', service: 'gcp.audit' },
      { 'gcp.audit.method_name|endswith': '.firewalls.delete' },
    ],
  ])('of %s, too', (_, one, logsource, fields) => {
    expect(
      scan(
        [one],
        load(rule('other-cloud', { ...logsource, service: 'nothing' }, { s: fields, condition: 's' })),
      ).kept,
    ).toBe(0)
    const { events, alerts } = scan([one], load(rule('raw', logsource, { s: fields, condition: 's' })))
    expect(events[0]?.source.service).toBe('other')
    expect(events[0]?.parse_warnings).toEqual(['rule_match'])
    expect(alerts).toHaveLength(1)
  })

  test('a rule of one Azure log does not read another', () => {
    const fields = { s: { operationName: 'KeyDecrypt' }, condition: 's' }
    expect(
      scan([audit()], load(rule('a', { product: 'azure', service: 'activitylogs' }, fields))).alerts,
    ).toEqual([])
    expect(
      scan([audit()], load(rule('v', { product: 'azure', service: 'keyvault' }, fields))).alerts,
    ).toHaveLength(1)
  })
})

test('deciding by a few bytes finds what parsing everything finds', () => {
  const detectors = load(deleted, root)
  const change = fc.record({
    eventName: fc.constantFrom('DeleteBucket', 'deletebucket', 'GetObject', 'Decrypt', 'RunInstances'),
    eventSource: fc.constantFrom(
      's3.amazonaws.com',
      'S3.amazonaws.com',
      'kms.amazonaws.com',
      'ec2.amazonaws.com',
    ),
    userIdentity: fc.constantFrom(
      { type: 'Root', accountId: '123456789012' },
      { type: 'IAMUser', userName: 'root', accountId: '123456789012' },
      { type: 'IAMUser', userName: 'bob', accountId: '123456789012' },
    ),
  })
  const escaped = (text: string) => text.replaceAll('"Root"', '"\\u0052oot"')
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), fc.boolean(), (changes, disguised) => {
      const text = delivery(changes.map((one) => record(one))).toString()
      const bytes = Buffer.from(disguised ? escaped(text) : text)
      const of = (strict: boolean) => {
        const { events, alerts, tally } = scanBytes([{ path: 'a.json', bytes }], { detectors, strict })
        return { events, alerts, kept: tally.kept }
      }
      expect(of(false)).toEqual(of(true))
    }),
    { numRuns: 60, seed: 9 },
  )
})

test('records that no rule could match are decided by their bytes', () => {
  const rules = rawRules(load(deleted, root))
  const may = (source: string, name: string, text: string) =>
    rules?.mayMatch(source, name, Buffer.from(text), 0, text.length)
  expect(may('s3.amazonaws.com', 'DeleteBucket', '')).toBe(true)
  expect(may('ec2.amazonaws.com', 'DeleteBucket', '{"type":"IAMUser"}')).toBe(false)
  expect(may('ec2.amazonaws.com', 'RunInstances', '{"type":"ROOT"}')).toBe(true)
})
