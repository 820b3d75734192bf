/** Messages in the forms that the pages of AWS show. */
import { describe, expect, test } from 'vitest'
import { announcementIn } from '../../src/ingest/s3-notification.ts'
import { isDecided, skippedByName } from '../../src/ingest/s3-objects.ts'

const KEY = 'AWSLogs/123456789012/CloudTrail/eu-central-1/2026/03/02/a b+c=1.json.gz'
const ENCODED = 'AWSLogs/123456789012/CloudTrail/eu-central-1/2026/03/02/a+b%2Bc%3D1.json.gz'

const event = (key: string, eventName = 'ObjectCreated:Put') => ({
  eventVersion: '2.1',
  eventSource: 'aws:s3',
  awsRegion: 'eu-central-1',
  eventTime: '2026-03-02T09:05:00.000Z',
  eventName,
  s3: {
    s3SchemaVersion: '1.0',
    configurationId: 'keytrail',
    bucket: { name: 'trail', arn: 'arn:aws:s3:::trail' },
    object: { key, size: 1024, eTag: 'd41d8cd98f00b204e9800998ecf8427e', sequencer: '0A1B2C3D4E5F678901' },
  },
})
const direct = { Records: [event(ENCODED)] }
const sns = (Message: string) => ({
  Type: 'Notification',
  MessageId: 'm',
  TopicArn: 'arn:aws:sns:eu-central-1:123456789012:t',
  Message,
})
const bridge = {
  version: '0',
  'detail-type': 'Object Created',
  source: 'aws.s3',
  region: 'eu-central-1',
  detail: {
    bucket: { name: 'trail' },
    object: { key: KEY, size: 5, etag: 'd41d8cd98f00b204e9800998ecf8427e', sequencer: '00617F08299329D189' },
    reason: 'PutObject',
  },
}
const found = { bucket: 'trail', key: KEY, version: 'd41d8cd98f00b204e9800998ecf8427e' }
const objects = (...all: object[]) => ({ kind: 'objects', objects: all })
const nothing = { kind: 'nothing' }
const other = { kind: 'other' }

describe('a message announces', () => {
  test.each<[string, unknown, unknown]>([
    ['S3 itself', direct, objects(found)],
    ['S3 through SNS', sns(JSON.stringify(direct)), objects(found)],
    ['EventBridge, whose keys are plain', bridge, objects(found)],
    ['EventBridge through SNS', sns(JSON.stringify(bridge)), objects(found)],
    [
      'the trail',
      { s3Bucket: 'trail', s3ObjectKey: [KEY, 'b.json.gz'] },
      objects({ ...found, version: '' }, { bucket: 'trail', key: 'b.json.gz', version: '' }),
    ],
    [
      'the trail through SNS',
      sns(JSON.stringify({ s3Bucket: 'trail', s3ObjectKey: [KEY] })),
      objects({ ...found, version: '' }),
    ],
    ['the test of a trail', sns('CloudTrail validation message.'), nothing],
    ['the test of S3', { Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: 'trail' }, nothing],
    ['a removed object', { Records: [event(ENCODED, 'ObjectRemoved:Delete')] }, nothing],
    [
      'one that came and one that went',
      { Records: [event(ENCODED), event('b', 'ObjectRemoved:Delete')] },
      objects(found),
    ],
    ['a key that is not well encoded', { Records: [event('100%')] }, objects({ ...found, key: '100%' })],
    ['an object of EventBridge that was deleted', { ...bridge, 'detail-type': 'Object Deleted' }, nothing],
    [
      'a bucket that cannot be',
      { Records: [{ ...event('a'), s3: { bucket: { name: '../x' }, object: { key: 'a' } } }] },
      { kind: 'invalid' },
    ],
    ['a key that is too long', { Records: [event('k'.repeat(1025))] }, { kind: 'invalid' }],
    [
      'more objects than anybody announces',
      { s3Bucket: 'trail', s3ObjectKey: Array(1001).fill('k') },
      { kind: 'invalid' },
    ],
    ['a log record', { Records: [{ eventSource: 'kms.amazonaws.com', eventName: 'Decrypt' }] }, other],
    ['a number', 7, other],
    [
      'a bucket that is no text',
      { Records: [{ ...event('a'), s3: { bucket: { name: 7 }, object: { key: 'a' } } }] },
      nothing,
    ],
  ])('%s', (_name, message, expected) => {
    expect(announcementIn(JSON.stringify(message))).toEqual(expected)
  })

  test('no JSON at all, and no envelopes without end', () => {
    expect(announcementIn('{"Records":[')).toEqual(other)
    let body = JSON.stringify(direct)
    for (let n = 0; n < 6; n++) body = JSON.stringify(sns(body))
    expect(announcementIn(body)).toEqual(other)
  })
})

test.each([
  ['AWSLogs/123456789012/CloudTrail-Digest/eu-central-1/2026/03/02/x.json.gz', 'digest'],
  ['prefix/AWSLogs/o-exampleorg/123456789012/CloudTrail-Digest/eu-central-1/2026/03/02/x.json.gz', 'digest'],
  ['AWSLogs/123456789012/Config/ConfigWritabilityCheckFile', 'configuration'],
  ['AWSLogs/123456789012/Config/eu-central-1/2026/3/2/ConfigHistory/x.json.gz', 'configuration'],
  ['AWSLogs/123456789012/CloudTrail/eu-central-1/2026/03/02/x.json.gz', undefined],
  ['AWSLogs/123456789012/CloudTrail-Insight/eu-central-1/2026/03/02/x.json.gz', undefined],
])('the name %s', (key, reason) => {
  expect(skippedByName(key)).toBe(reason)
})

test('what the ledger says of another version decides nothing; what waits is not decided', () => {
  const fate = { outcome: 'read', reason: undefined, detail: '', version: 'a' } as const
  expect([isDecided(fate, 'a'), isDecided(fate, ''), isDecided(fate, 'b')]).toEqual([true, true, false])
  expect(isDecided({ ...fate, outcome: 'waiting' }, 'a')).toBe(false)
  expect(isDecided(undefined, '')).toBe(false)
})
