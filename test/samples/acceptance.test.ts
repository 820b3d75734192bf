/**
 * Acceptance cases of detections.md section 4 on public records: what other products' rule tests expect, asked of
 * our detectors. The wrappers of those tests are opened here; only the records inside are scanned.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { KEY, record } from '../support/cloudtrail.ts'
import { filesBelow, hasSamples, samplesFolder } from '../support/samples.ts'
import { scanBytes, scanCli } from '../support/scan.ts'

type Value = Record<string, unknown>

const aws = join(samplesFolder, 'aws')
const values = (folder: string): Value[] =>
  hasSamples
    ? filesBelow(join(aws, folder)).flatMap((path) => JSON.parse(readFileSync(path, 'utf8')) as Value[])
    : []
const one = (folder: string, part: string): Buffer => {
  const path = filesBelow(join(aws, folder)).find((name) => name.includes(part))
  if (path === undefined) throw new Error(`no sample ${part} in ${folder}`)
  return readFileSync(path)
}
const scan = (value: unknown) => {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value))
  const { tallies, ...rest } = scanBytes([{ path: 'case', bytes }])
  const [tally] = tallies
  if (tally === undefined) throw new Error('nothing was read')
  return { ...rest, read: tally, raised: rest.alerts.map((alert) => alert.detector.id) }
}

/** Cases of one rule of panther-analysis, found by the rule's name. */
const panther = (rule: string) =>
  values('panther-analysis')
    .filter((one) => one['rule'] === rule)
    .map((one) => ({
      test: String(one['test']),
      expected: one['expected'] === true,
      log: one['log'] as Value,
    }))
const streamalert = (log: string) =>
  values('streamalert')
    .filter((one) => one['log'] === log)
    .map((one) => one['data'] ?? one['override_record'])

const loss = panther('AWS.KMS.CustomerManagedKeyLoss')
const open = panther('AWS.CloudTrail.ResourceMadePublic')
const selectors = panther('AWS.CloudTrail.EventSelectorsDisabled')
const stopped = panther('AWS.CloudTrail.Stopped')
const isKms = ({ log }: { readonly log: Value }) => log['eventSource'] === 'kms.amazonaws.com'

describe.skipIf(!hasSamples)('rule tests of other products', () => {
  it('are all there: 5, 14 with 2 on keys, 3 and 3', () => {
    const trues = (cases: readonly { readonly expected: boolean }[]) => [
      cases.length,
      cases.filter((one) => one.expected).length,
    ]
    expect([loss, open, open.filter(isKms), selectors, stopped].map(trues)).toEqual([
      [5, 3],
      [14, 5],
      [2, 1],
      [3, 1],
      [3, 1],
    ])
  })

  it.each(loss)('row 1, a key is lost: $test', ({ log, expected }) => {
    const { raised } = scan(log)
    expect(raised.some((id) => id === 'key-disabled' || id === 'key-deletion-scheduled')).toBe(expected)
    expect(
      raised.includes(log['eventName'] === 'DisableKey' ? 'key-disabled' : 'key-deletion-scheduled'),
    ).toBe(expected)
  })

  it('row 1: with resources null the key comes from the response', () => {
    const { log } = loss.find((one) => one.log['resources'] === null) ?? {}
    expect(scan(log).events.map((event) => event.target.key_id)).toEqual([
      'arn:aws:kms:us-west-2:123456789012:key/1',
    ])
  })

  it.each(open.filter(isKms))('row 2, a key policy: $test', ({ log, expected }) => {
    expect(scan(log).raised.includes('policy-public')).toBe(expected)
  })

  it.each(open.filter((one) => !isKms(one)))('row 2, not a key: $test', ({ log }) => {
    expect(scan(log).raised).toEqual([])
  })

  const made = values('streamalert')
    .flatMap((one) => ((one['data'] as Value | undefined)?.['Records'] as Value[] | undefined) ?? [])
    .filter((log) => log['eventSource'] === 'kms.amazonaws.com')
    .filter((log) => log['eventName'] === 'PutKeyPolicy' || log['eventName'] === 'CreateKey')
    .map((log) => ({ name: String(log['eventName']), log }))

  it('row 2: streamalert has one PutKeyPolicy and one CreateKey', () => {
    expect(made.map(({ name }) => name).sort()).toEqual(['CreateKey', 'PutKeyPolicy'])
  })

  it.each(made)('row 2, made public by $name of streamalert', ({ log }) => {
    expect(scan(log).raised).toContain('policy-public')
  })

  it.each(selectors)('row 5, selectors: $test', ({ log, expected }) => {
    expect(scan(log).raised).toEqual(expected ? ['log-mgmt-off'] : [])
  })

  it.each(stopped)('row 5, trail: $test', ({ log, expected }) => {
    expect(scan(log).raised).toEqual(expected ? ['log-stopped'] : [])
  })

  it.each([
    ['cloudtrail-stop', 'StopLogging', 'log-stopped'],
    ['cloudtrail-delete', 'DeleteTrail', 'log-stopped'],
    ['cloudtrail-event-selectors', 'PutEventSelectors', 'log-mgmt-off'],
  ])('row 8, stratus-red-team %s: %s raises %s', (file, name, id) => {
    const { events, raised } = scan(one('stratus-red-team', file))
    expect(events.map((event) => event.operation_native)).toEqual([name])
    expect(raised).toEqual([id])
  })

  it.each([
    ['KMS/CreateKey', 'create', 'denied', 'access_denied'],
    ['KMS/DescribeKey', 'read_metadata', 'failure', 'not_found'],
    ['CloudTrail/StopLogging', 'logging_disable', 'denied', 'access_denied'],
    ['CloudTrail/DeleteTrail', 'logging_disable', 'denied', 'access_denied'],
    ['CloudTrail/UpdateTrail', 'logging_change', 'denied', 'access_denied'],
  ])('row 9, TrailDiscover %s with null parameters: %s %s, class %s', (file, operation, outcome, group) => {
    const { events, raised } = scan(one('traildiscover', `${file}.json`))
    expect(
      events.map((event) => [event.operation, event.outcome, event.error?.class, event.target.key_id]),
    ).toEqual([[operation, outcome, group, undefined]])
    expect(raised).toEqual([])
  })

  it('row 10: cloud-custodian CreateCluster, a bare record, makes an HSM', () => {
    const { events } = scan(one('cloud-custodian-cwe', 'hsm-create-cluster'))
    expect(events).toMatchObject([
      {
        source: { service: 'aws_cloudhsm' },
        operation: 'hsm_create',
        operation_category: 'infrastructure',
        outcome: 'success',
        target: { object_type: 'hsm', container: 'cluster-dqf7m6ithhc' },
      },
    ])
  })
})

describe.skipIf(!hasSamples)('envelopes, row 13', () => {
  const [data] = streamalert('cloudwatch:cloudtrail') as Value[]
  const [control] = streamalert('cloudwatch:control_message') as Value[]
  const decrypt = record()
  const carrying = {
    ...data,
    logEvents: [{ id: '1', timestamp: 1526951139360, message: JSON.stringify(decrypt) }],
  }
  const none = { duplicate: 0, kept: 0, received: 0, rejected: 0, skipped: 0 }

  it('the DATA_MESSAGE is unpacked: its message is the record, and that names no version 1', () => {
    const { read } = scan(data)
    expect(read.received).toBe(1)
    expect([...read.rejected].map(([reason, { count }]) => [reason, count])).toEqual([['unknown_format', 1]])
  })

  it.each([
    ['as it is', carrying],
    [
      'gzip and base64 in awslogs',
      { awslogs: { data: gzipSync(JSON.stringify(carrying)).toString('base64') } },
    ],
    ['gzip as a file', gzipSync(JSON.stringify(carrying))],
  ])('a DATA_MESSAGE with a key event, %s: one record kept, with its own bytes', (_, envelope) => {
    const input = Buffer.isBuffer(envelope) ? envelope : JSON.stringify(envelope)
    const { status, summary, events } = scanCli(['-'], input)
    expect([status, summary.records]).toEqual([0, { ...none, kept: 1, received: 1 }])
    expect(events.map((event) => [event.source.native_id, event.target.key_id])).toEqual([
      [decrypt['eventID'], KEY],
    ])
  })

  it('a CONTROL_MESSAGE adds nothing to received, and is no rejection', () => {
    const { summary } = scanCli(['-'], JSON.stringify(control))
    expect(summary.records).toEqual(none)
    expect(summary.rejections).toEqual([])
    expect(summary.files).toEqual({ failed: 0, read: 0, skipped: 1 })
  })

  it('a CONTROL_MESSAGE beside a DATA_MESSAGE, one text after the other, changes no figure', () => {
    const { status, summary } = scanCli(['-'], JSON.stringify(control) + JSON.stringify(carrying))
    expect([status, summary.records]).toEqual([0, { ...none, kept: 1, received: 1 }])
  })

  it('an insight is no use of a key: skipped, reason insight', () => {
    const [insight] = streamalert('cloudtrail:insight')
    const { read, events } = scan(insight)
    expect([read.received, [...read.skipped], [...read.rejected.keys()]]).toEqual([1, [['insight', 1]], []])
    expect(events).toEqual([])
  })

  const lookups = hasSamples ? one('plaso', 'jsonl').toString('utf8').trim().split('\n') : []

  it('plaso has six LookupEvents answers: none rejected, none about keys', () => {
    const { read } = scan(Buffer.from(lookups.join('\n')))
    expect([lookups.length, read.received, [...read.skipped], read.rejected.size]).toEqual([
      6,
      6,
      [['out_of_scope', 6]],
      0,
    ])
  })

  it('a key event in the LookupEvents form is kept', () => {
    const answer = { ...JSON.parse(lookups[0] ?? ''), CloudTrailEvent: JSON.stringify(decrypt) }
    const { events } = scan(answer)
    expect(events.map((event) => [event.operation, event.time.event, event.target.key_id])).toEqual([
      ['decrypt', '2026-03-02T09:00:00Z', KEY],
    ])
  })

  it('the DATA_MESSAGE gives its time to a record without one, with a warning', () => {
    const { eventTime: _, ...timeless } = decrypt
    const logEvents = [{ id: '1', timestamp: 1526951139360, message: JSON.stringify(timeless) }]
    const { events } = scan({ ...data, logEvents })
    expect(events.map((event) => [Date.parse(event.time.event), event.parse_warnings])).toEqual([
      [1526951139360, ['time_fallback']],
    ])
  })
})
