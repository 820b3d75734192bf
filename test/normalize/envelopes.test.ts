/** Every envelope of formats.md 1.1: the record inside becomes the event that the bare record becomes. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { KeyEvent } from '../../src/model/event.ts'
import { type CloudTrailRecord, record } from '../support/cloudtrail.ts'
import { type PipelineResult, scanBytes, scanCli } from '../support/scan.ts'

const scanText = (text: string): PipelineResult => scanBytes([{ path: 'file', bytes: Buffer.from(text) }])
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const object = (map: ReadonlyMap<string, unknown> | undefined) => Object.fromEntries(map ?? [])

/** Received, rejected by reason and control values of the one file. */
const counts = ({ tallies: [tally] }: PipelineResult) => ({
  received: tally?.received,
  rejected: Object.fromEntries([...(tally?.rejected ?? [])].map(([reason, { count }]) => [reason, count])),
  control: object(tally?.control),
})

const json = JSON.stringify
const millis = Date.parse('2026-03-02T09:30:00.250Z')
const logEvent = (message: string) => ({ id: '3705', timestamp: millis, message })
const control = logEvent('CWL CONTROL MESSAGE: Checking health of destination Kinesis stream.')
const payload = (messageType: string, ...logEvents: object[]) =>
  json({
    messageType,
    owner: '123456789012',
    logGroup: 'CloudTrail/Group',
    logStream: '123456789012_CloudTrail_eu-central-1',
    subscriptionFilters: ['keys'],
    logEvents,
  })
const data = (text: string) => payload('DATA_MESSAGE', logEvent(text))
const packed = (text: string) => gzipSync(text).toString('base64')
const lambda = (text: string) => json({ awslogs: { data: packed(text) } })
const kinesis = (text: string) =>
  json({
    Records: [
      {
        kinesis: { partitionKey: 'a', data: packed(text), approximateArrivalTimestamp: 1.7e9 },
        eventSource: 'aws:kinesis',
        eventName: 'aws:kinesis:record',
      },
    ],
  })
const bridge = (type: string) => (text: string) =>
  `{"version":"0","x":{"detail":{"no":1}},"detail-type":"AWS ${type} via CloudTrail","source":"aws.kms",
    "time":"2026-03-02T09:30:00Z", "y":"\\"detail\\":{", "detail" : ${text} ,"resources":[{"detail":{"no":2}}]}`
const lookup = (text: string) => ({
  EventId: '1',
  EventName: 'Decrypt',
  EventTime: '2026-03-02 10:30:00+01:00',
  CloudTrailEvent: text,
})
const sns = (text: string) =>
  json({ Type: 'Notification', MessageId: 'n1', Message: text, Timestamp: '2026-03-02T09:30:00.000Z' })
const snsLambda = (text: string) =>
  json({
    Records: [{ EventSource: 'aws:sns', Sns: { Message: text, Timestamp: '2026-03-02T09:30:00.000Z' } }],
  })
const sqs = (text: string) => json({ Messages: [{ MessageId: 'm1', ReceiptHandle: 'r', Body: text }] })
const sqsLambda = (text: string) =>
  json({ Records: [{ messageId: 'm1', body: text, eventSource: 'aws:sqs', awsRegion: 'eu-central-1' }] })
const filtered = (text: string) => json({ events: [{ ...logEvent(text), ingestionTime: 1 }], nextToken: 'x' })

type Wrap = (text: string) => string
const minute = '2026-03-02T09:30:00Z'
const precise = '2026-03-02T09:30:00.250Z'
const api = bridge('API Call')
/** `time` is what the envelope says of the record, if it says anything. */
const forms: readonly [name: string, wrap: Wrap, time?: string][] = [
  ['bare', (text) => text],
  ['S3 file', (text) => `{"Records":[${text}]}`],
  ['CloudWatch Logs event', (text) => json(logEvent(text)), precise],
  ['FilterLogEvents', filtered, precise],
  ['subscription', data, precise],
  ['subscription in Lambda', (text) => lambda(data(text)), precise],
  ['subscription in Kinesis', (text) => kinesis(data(text)), precise],
  ['EventBridge', api, minute],
  ['EventBridge, service event', bridge('Service Event'), minute],
  ['EventBridge in SQS', (text) => sqsLambda(api(text)), minute],
  ['LookupEvents', (text) => json({ Events: [lookup(text)], NextToken: 'x' }), minute],
  ['LookupEvents, one line', (text) => `${json(lookup(text))}\n`, minute],
  ['SNS', sns, minute],
  ['SNS in Lambda', snsLambda, minute],
  ['SNS in SQS', (text) => sqs(sns(text)), minute],
  ['SNS in SQS in Lambda', (text) => sqsLambda(sns(text)), minute],
]

/** The event without what tells where it stood. */
const placeless = (event: KeyEvent | undefined) => ({
  ...event,
  raw_ref: undefined,
  ingest: { ...event?.ingest, position: undefined },
})

describe('the record inside becomes the same event', () => {
  const one = record({ userAgent: 'Ωμέγα "q" \\ 𝄞' })
  it.each(forms)('%s', (_, wrap) => {
    for (const text of [json(one), json(one, null, 3), json(one, null, 1).replaceAll('\n', '\r\n')]) {
      const bare = scanText(text)
      const result = scanText(wrap(text))
      expect(counts(result)).toEqual({ received: 1, rejected: {}, control: {} })
      const [event] = result.events
      expect(event?.event_id).toBe(sha256(`aws:123456789012:${one['eventID']}`).slice(0, 32))
      expect(event?.ingest.raw_sha256).toBe(sha256(text))
      expect(placeless(event)).toEqual(placeless(bare.events[0]))
    }
  })

  it.each(forms)('%s: delivered again by S3 it is a duplicate', (_, wrap) => {
    const files = [wrap(json(one, null, 2)), json({ Records: [one] })]
    const { tally } = scanBytes(files.map((text, at) => ({ path: `${at}`, bytes: Buffer.from(text) })))
    expect(tally).toMatchObject({ kept: 1, duplicate: 1 })
  })

  it.each(forms)('%s: a record over 1 MiB is too large', (_, wrap) => {
    const text = json(record({ requestParameters: { x: 'y'.repeat(1024 * 1024) } }))
    expect(counts(scanText(wrap(text)))).toEqual({ received: 1, rejected: { too_large: 1 }, control: {} })
  })
})

it.each<[string, Wrap]>([
  ['S3 files', (text) => `[{"Records":[${text}]},{"Records":[]}]`],
  ['subscriptions', (text) => `[${data(text)}]`],
])('%s in an array, as `jq -s` writes them', (_, wrap) =>
  expect(counts(scanText(wrap(json(record()))))).toEqual({ received: 1, rejected: {}, control: {} }),
)

describe('without a readable eventTime the time of the envelope counts', () => {
  const changes: readonly CloudTrailRecord[] = [{ eventTime: undefined }, { eventTime: 'yesterday' }]
  it.each(forms)('%s', (_, wrap, time) => {
    for (const change of changes) {
      const result = scanText(wrap(json(record(change))))
      const [event] = result.events
      if (time === undefined) {
        expect(counts(result)).toEqual({ received: 1, rejected: { bad_time: 1 }, control: {} })
        continue
      }
      expect(event?.parse_warnings).toEqual(['time_fallback'])
      expect(Date.parse(event?.time.event ?? '')).toBe(Date.parse(time))
    }
    const own = scanText(wrap(json(record()))).events[0]
    expect([own?.time.event, own?.parse_warnings]).toEqual(['2026-03-02T09:00:00Z', undefined])
  })
})

describe('no record at all', () => {
  const s3 = {
    eventSource: 'aws:s3',
    eventName: 'ObjectCreated:Put',
    s3: { bucket: { name: 'b' }, object: { key: 'k' } },
  }
  const notification = json({ Records: [s3, s3] })
  const own = json({ s3Bucket: 'trail', s3ObjectKey: ['AWSLogs/1.json.gz'] })
  const test = json({ Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: 'b' })
  const digest = json({
    awsAccountId: '123456789012',
    digestS3Bucket: 'b',
    digestS3Object: 'o',
    logFiles: [],
  })
  const config = json({ fileVersion: '1.0', configSnapshotId: 'x', configurationItems: [{ a: 1 }] })
  const health = payload('CONTROL_MESSAGE', control)
  const cases: readonly [name: string, text: string, control: Record<string, number>][] = [
    ['digest file', digest, { digest: 1 }],
    ['digest with log files', digest.replace('[]', '[{"s3Object":"o","hashValue":"00"}]'), { digest: 1 }],
    ['configuration', config, { configuration: 1 }],
    ['control message', health, { control_message: 1 }],
    ['control message without events', payload('CONTROL_MESSAGE'), {}],
    ['control message in Lambda', lambda(health), { control_message: 1 }],
    ['control message in Kinesis', kinesis(health), { control_message: 1 }],
    ['control message as a log event', json(control), { control_message: 1 }],
    ['S3 notification', notification, { notification: 2 }],
    ['S3 notification in SQS', sqs(notification), { notification: 2 }],
    ['S3 notification in SNS', sns(notification), { notification: 2 }],
    ['S3 notification in SNS in SQS', sqsLambda(sns(notification)), { notification: 2 }],
    ['S3 test event in SNS in SQS', sqs(sns(test)), { notification: 1 }],
    ["CloudTrail's own body", own, { notification: 1 }],
    ["CloudTrail's own body in SNS", sns(own), { notification: 1 }],
    ["CloudTrail's own body in SNS in SQS", sqsLambda(sns(own)), { notification: 1 }],
    ['an empty S3 file', '{"Records":[]}', {}],
    ['an empty S3 file in SQS', sqs('{"Records":[]}'), {}],
    ['an empty S3 file in SNS in SQS', sqs(sns('{"Records":[]}')), {}],
  ]
  it.each(cases)('%s', (_, text, expected) => {
    const result = scanText(text)
    expect(counts(result)).toEqual({ received: 0, rejected: {}, control: expected })
    expect(result.events).toEqual([])
  })

  it('stands beside records without counting', () => {
    const text = payload('DATA_MESSAGE', logEvent(json(record())), control, logEvent(json(record())))
    const result = scanText(`${digest}\n${text}\n${notification}\n`)
    const expected = { digest: 1, control_message: 1, notification: 2 }
    expect(counts(result)).toEqual({ received: 2, rejected: {}, control: expected })
    expect(result.tally.kept).toBe(2)
  })
})

describe('what cannot be opened is one rejected record', () => {
  const whole = gzipSync(data(json(record())))
  const nested = Array.from({ length: 20 }).reduce(
    (text: string) => json({ MessageId: 'm', Body: text }),
    '{}',
  )
  const cases: readonly [name: string, text: string, reason: string][] = [
    ['no base64', json({ awslogs: { data: 'not base64!' } }), 'bad_payload'],
    ['gzip cut off', json({ awslogs: { data: whole.subarray(0, -20).toString('base64') } }), 'bad_payload'],
    ['a payload over 64 MiB', lambda(' '.repeat(65 * 1024 * 1024) + data(json(record()))), 'bad_payload'],
    ['twenty envelopes', nested, 'bad_payload'],
    ['a message that is no JSON', json(logEvent('START RequestId: 1')), 'broken_json'],
    ['a message of several lines', json(logEvent('Traceback\n  line 1\n  line 2')), 'broken_json'],
    ['an empty message', json(logEvent(' ')), 'unknown_format'],
    ['a message that is another log', json(logEvent('{"level":"info"}')), 'unknown_format'],
    [
      'EventBridge of something else',
      json({ 'detail-type': 'EC2 State', detail: { a: 1 } }),
      'unknown_format',
    ],
  ]
  it.each(cases)('%s', (_, text, reason) =>
    expect(counts(scanText(text))).toEqual({ received: 1, rejected: { [reason]: 1 }, control: {} }),
  )
})

it('several gzip members in one file, a control message between them, as Firehose writes them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  try {
    const texts = [data(json(record())), payload('CONTROL_MESSAGE', control), data(json(record()))]
    writeFileSync(join(folder, 'object'), Buffer.concat(texts.map((one) => gzipSync(one))))
    const { status, summary, events } = scanCli([join(folder, 'object')])
    expect({ status, events: events.length }).toEqual({ status: 0, events: 2 })
    expect(summary.records).toMatchObject({ received: 2, kept: 2 })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

it('the limit is for a record, not for a payload with many of them', () => {
  const texts = Array.from({ length: 2500 }, (_, at) =>
    json(record({ userAgent: Array.from('abcdefghij', (letter) => sha256(`${letter}${at}`)).join('') })),
  )
  const whole = kinesis(payload('DATA_MESSAGE', ...texts.map(logEvent)))
  expect(whole.length).toBeGreaterThan(1024 * 1024)
  expect(counts(scanText(whole))).toEqual({ received: 2500, rejected: {}, control: {} })
})
