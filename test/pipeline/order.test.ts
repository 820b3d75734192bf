/**
 * Same history, same alerts: whatever the order, the files, the chunks, the runs on disk and the threads.
 * What the alerts of the two burst detectors must be is computed here a second time, by brute force.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Alert } from '../../src/model/alert.ts'
import { type CloudTrailRecord, KEY, record } from '../support/cloudtrail.ts'
import { type PipelineResult, scanBytes, scanCli } from '../support/scan.ts'

const START = Date.parse('2026-03-02T09:50:00Z')
const WINDOW = 600
const THRESHOLD = 50

interface Call {
  readonly id: number
  readonly seconds: number
  readonly role: number
  readonly key: number
  readonly context: number
  readonly failed?: boolean
  readonly shared?: number
  readonly agent?: string
  readonly layout?: number
  readonly change?: CloudTrailRecord
}

/** A record as text, and the facts of it that the reference needs. */
interface Fact {
  readonly seconds: number
  readonly role: string
  readonly key: string
  readonly context: string
  /** A decryption that succeeded. */
  readonly counts: boolean
  readonly action: string
  readonly text: string
}

const uuid = (n: number) => `00000000-0000-4000-a000-${String(n).padStart(12, '0')}`
const roleArn = (n: number) => `arn:aws:iam::123456789012:role/job-${n}`
const keyArn = (n: number) => KEY.replace(/5$/, String(n))
const layouts: readonly ((value: CloudTrailRecord) => string)[] = [
  (value) => JSON.stringify(value),
  (value) => JSON.stringify(value, null, 1),
  (value) => JSON.stringify(Object.fromEntries(Object.entries(value).reverse())),
]

const fact = (call: Call): Fact => {
  const [role, key] = [roleArn(call.role), keyArn(call.key)]
  const arn = `arn:aws:sts::123456789012:assumed-role/job-${call.role}/s`
  const sessionContext = { sessionIssuer: { type: 'Role', arn: role } }
  const value = record({
    eventID: uuid(call.id),
    requestID: uuid(call.id),
    eventTime: new Date(START + call.seconds * 1000).toISOString().replace('.000', ''),
    userIdentity: { type: 'AssumedRole', arn, sessionContext, accountId: '123456789012' },
    resources: [{ accountId: '123456789012', type: 'AWS::KMS::Key', ARN: key }],
    requestParameters: { encryptionContext: { object: `o-${call.context}` } },
    ...(call.failed ? { errorCode: 'AccessDenied' } : {}),
    ...(call.shared === undefined ? {} : { sharedEventID: uuid(call.shared) }),
    ...(call.agent === undefined ? {} : { userAgent: call.agent }),
    ...call.change,
  })
  return {
    seconds: call.seconds,
    role,
    key,
    context: String(call.context),
    counts: value['eventName'] === 'Decrypt' && !call.failed,
    action: call.shared === undefined ? JSON.stringify(value) : `shared ${call.shared}`,
    text: (layouts[call.layout ?? 0] ?? JSON.stringify)(value),
  }
}

type Read = (one: Fact) => string
/** Groups and hours that hold an event t with enough distinct values in [t - 600 s, t]. O(n²), no state. */
const reference = (facts: readonly Fact[], group: Read, value: Read): string[] => {
  const hits = new Set<string>()
  const decrypts = facts.filter((one) => one.counts)
  for (const last of decrypts) {
    const from = last.seconds - WINDOW
    const inside = decrypts.filter(
      (one) => group(one) === group(last) && one.seconds >= from && one.seconds <= last.seconds,
    )
    const hour = new Date(START + last.seconds * 1000).toISOString().slice(0, 13)
    if (new Set(inside.map(value)).size >= THRESHOLD) hits.add(`${group(last)} ${hour}`)
  }
  return [...hits].sort()
}
const byKey: Read = (one) => `key ${one.role} ${one.key}`
const byRole: Read = (one) => `contexts ${one.role}`
const expected = (facts: readonly Fact[]): string[] => {
  const keys = reference(facts, byKey, (one) => one.action)
  return [...reference(facts, byRole, (one) => one.context), ...keys].sort()
}
const found = (alerts: readonly Alert[]) =>
  alerts
    .flatMap(({ detector, entity, window }) => {
      const hour = window.end.slice(0, 13)
      if (detector.id === 'burst-decrypt') return [`key ${entity.principal} ${entity.key_id} ${hour}`]
      return detector.id === 'burst-decrypt-contexts' ? [`contexts ${entity.principal} ${hour}`] : []
    })
    .sort()

const place = { role: fc.nat(1), key: fc.nat(1) }
const amount = { count: fc.integer({ min: 40, max: 110 }), gap: fc.nat(14), contexts: fc.nat({ max: 90 }) }
const burst = fc
  .record({ ...place, ...amount, start: fc.nat(7000) })
  .map(({ start, count, gap, ...rest }) => {
    const times = Array.from({ length: count }, (_, at) => start + at * gap)
    return times.map((seconds, at) => ({ ...rest, seconds, context: at % (rest.contexts + 1) }))
  })
const single = fc.record({ ...place, context: fc.nat(99), seconds: fc.nat(8000), failed: fc.boolean() })
const policyChange: CloudTrailRecord = {
  eventName: 'PutKeyPolicy',
  userIdentity: { type: 'IAMUser', arn: 'arn:aws:iam::123456789012:user/ada', accessKeyId: 'AKIAEXAMPLE' },
  requestParameters: { keyId: KEY, policy: { Statement: { Effect: 'Allow', Principal: '*', Action: '*' } } },
}
/** Bursts, single calls, failures, copies for two accounts, policy changes, repeats and borrowed ids. */
const history = fc
  .record({
    bursts: fc.array(burst, { minLength: 1, maxLength: 3 }),
    singles: fc.array(single, { maxLength: 20 }),
    changes: fc.array(fc.nat(8000), { maxLength: 3 }),
    repeats: fc.array(fc.tuple(fc.nat(), fc.nat(2)), { maxLength: 30 }),
    copies: fc.array(fc.nat(), { maxLength: 10 }),
    borrowed: fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 0, 5, 3000), fc.nat(2)), { maxLength: 15 }),
  })
  .map((mix) => {
    const policy = { role: 0, key: 0, context: 0, change: policyChange }
    const changes = mix.changes.map((seconds) => ({ ...policy, seconds }))
    const plain = [...mix.bursts.flat(), ...mix.singles, ...changes]
    const calls: Call[] = plain.map((one, id) => ({ ...one, id }))
    const of = <T>(from: readonly T[], at: number) => from[at % from.length] as T // never empty: bursts
    const shared = new Set(mix.copies.map((at) => at % calls.length))
    const all: Call[] = calls.map((one) => (shared.has(one.id) ? { ...one, shared: one.id } : one))
    for (const id of shared) all.push({ ...of(calls, id), shared: id, id: id + 100_000 })
    for (const [at, later, name] of mix.borrowed) {
      const one = of(calls, at)
      if (!shared.has(one.id)) all.push({ ...one, seconds: one.seconds + later, agent: `forged-${name}` })
    }
    return [...all, ...mix.repeats.map(([at, layout]) => ({ ...of(all, at), layout }))].map(fact)
  })

const files = (facts: readonly Fact[], count: number) =>
  Array.from({ length: count }, (_, file) => {
    const own = facts.filter((_, at) => at % count === file).map((one) => one.text)
    const text = [`{"Records":[${own.join(',')}]}`, `[${own.join(',\n')}]`, own.join('\n')][file % 3] ?? ''
    return { path: `file-${file}`, bytes: Buffer.from(text) }
  })

/** Everything that must not depend on the way, with raw_ref left out. */
const outcome = ({ alerts, events, tally, tallies }: PipelineResult) => ({
  alerts: alerts.map((one) => JSON.stringify(one, (name, value) => (name === 'raw_ref' ? 0 : value))).sort(),
  events: events.map((one) => [one.event_id, one.action_id, one.ingest.raw_sha256, one.parse_warnings]),
  counts: [tally.services, tally.operations, tally.outcomes, tally.mfa].map((map) => [...map].sort()),
  sums: [tally.kept, tally.duplicate, tally.first, tally.last],
  received: tallies.reduce((sum, one) => sum + one.received, 0),
})

it('any order, files, chunks and runs give the same, and the bursts are those of the reference', () => {
  const seen = { alerts: 0, contexts: 0, duplicates: 0, conflicts: 0 }
  const shuffled = history.chain((facts) =>
    fc.tuple(fc.constant(facts), fc.shuffledSubarray(facts, { minLength: facts.length })),
  )
  const sizes = fc.record({
    chunk: fc.integer({ min: 1, max: 5000 }),
    runBytes: fc.integer({ min: 3000, max: 100_000 }),
  })
  fc.assert(
    fc.property(shuffled, fc.integer({ min: 1, max: 5 }), sizes, ([facts, mixed], count, options) => {
      const plain = scanBytes(files(facts, 1))
      const { runBytes } = options
      for (const other of [
        scanBytes(files(facts.toReversed(), 1), { chunk: 65_536 }),
        scanBytes(files(mixed, count), options),
        scanBytes(files(mixed, count).reverse(), { runBytes }),
      ])
        expect(outcome(other)).toEqual(outcome(plain))
      expect(found(plain.alerts)).toEqual(expected(facts))

      seen.alerts += plain.alerts.length
      seen.contexts += expected(facts).filter((one) => one.startsWith('contexts')).length
      seen.duplicates += plain.tally.duplicate
      seen.conflicts += plain.events.filter((one) => one.parse_warnings?.includes('id_conflict')).length
    }),
    { seed: 20260302, numRuns: 40 },
  )
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(20)
})

const calls = (...groups: [seconds: number, count: number][]): Fact[] =>
  groups.flatMap(([seconds, count], group) => {
    const ids = Array.from({ length: count }, (_, at) => group * 1000 + at)
    return ids.map((id) => fact({ id, seconds, role: 0, key: 0, context: 0 }))
  })
/** 600 s after START a new hour begins. */
it.each<[string, Fact[], string[]]>([
  ['49 at once', calls([0, 49]), []],
  ['50 at once', calls([0, 50]), ['09']],
  ['the 50th after exactly 10 minutes', calls([0, 49], [600, 1]), ['10']],
  ['the 50th a second later', calls([0, 49], [601, 1]), []],
  ['on both sides of the hour', calls([590, 50], [605, 1]), ['09', '10']],
  ['49 delivered twice', [...calls([0, 49]), ...calls([0, 49])], []],
])('border of a burst: %s', (_, facts, hours) => {
  const alerts = hours.map((hour) => `key ${roleArn(0)} ${keyArn(0)} 2026-03-02T${hour}`)
  expect(expected(facts)).toEqual(alerts)
  expect(found(scanBytes(files(facts, 2)).alerts)).toEqual(alerts)
})

it.each('eventID eventTime eventName eventSource recipientAccountId eventVersion'.split(' '))(
  '--strict sees the same when %s comes again and is no text',
  (name) => {
    for (const value of ['null', '{}', '7']) {
      const text = JSON.stringify(record()).replace(/}$/, `,"${name}":${value}}`)
      const places = [{ path: 'file', bytes: Buffer.from(text) }]
      expect(outcome(scanBytes(places, { strict: true }))).toEqual(outcome(scanBytes(places)))
    }
  },
)

it('one thread and two give the same, in another time zone too', () => {
  const [facts = []] = fc.sample(history, { seed: 3, numRuns: 1 })
  const places = files(facts, 6)
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  try {
    const paths = places.map(({ path }) => join(folder, path))
    for (const [at, { bytes }] of places.entries())
      writeFileSync(paths[at] ?? '', at % 2 === 0 ? bytes : gzipSync(bytes))
    const one = scanCli([folder, '--workers', '1'])
    process.env['TZ'] = 'Asia/Kathmandu'
    const two = scanCli([...paths.toReversed(), '--workers', '2'])
    expect([two.summary, two.alerts]).toEqual([one.summary, one.alerts])
    const inProcess = scanBytes(places)
    for (const { events, alerts } of [one, two]) {
      expect(events.map((event) => event.event_id)).toEqual(inProcess.events.map((event) => event.event_id))
      expect(alerts.map((alert) => alert.alert_id)).toEqual(inProcess.alerts.map((alert) => alert.alert_id))
    }
    expect(one.alerts.length).toBeGreaterThan(0)
  } finally {
    delete process.env['TZ']
    rmSync(folder, { recursive: true, force: true })
  }
})
