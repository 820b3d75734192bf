/** Kinds that Sigma has no word for, against a slow reference; order, batches, duplicates and restarts. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { type Detector, defineDetectors } from '../../src/detect/definition.ts'
import { signalId } from '../../src/detect/signal.ts'
import { type CloudTrailRecord, delivery, record } from '../support/cloudtrail.ts'
import { alertIds, judged } from '../support/judged.ts'
import { scanBytes } from '../support/scan.ts'

const START = Date.parse('2026-03-02T09:00:00Z')
const HOUR = 3_600_000
const WITHIN = 600
const iso = (at: number) => new Date(at).toISOString().replace('.000Z', 'Z')

interface Happening {
  readonly second: number
  readonly user: string
  readonly name: 'a' | 'b' | 'c' | 'n'
}

const recordOf = ({ second, user, name }: Happening): CloudTrailRecord =>
  record({
    eventSource: 's3.amazonaws.com',
    eventName: name,
    eventTime: iso(START + second * 1000),
    requestParameters: { user },
  })

const names = ['a', 'b', 'c', 'n'] as const
const load = (keytrail: object, condition = '1 of them'): readonly Detector[] => {
  const selections = Object.fromEntries(names.map((name) => [name, { eventName: name }]))
  const text = stringify({
    title: 'x',
    name: 'x',
    logsource: { product: 'aws', service: 'cloudtrail' },
    detection: { ...selections, condition },
    keytrail: { by: ['requestParameters.user'], ...keytrail },
  })
  const { detectors, problems } = defineDetectors([{ path: 'x.yml', text }])
  expect(problems).toEqual([])
  return detectors
}

const happening: fc.Arbitrary<Happening> = fc.record({
  second: fc.oneof(
    fc.nat(5000),
    fc.nat(20).map((n) => n * 300),
    fc.nat(20).map((n) => n * 300 + 1),
  ),
  user: fc.constantFrom('u', 'v'),
  name: fc.constantFrom(...names),
})

const idsOf = ([detector]: readonly Detector[], ends: readonly Happening[]): string[] => {
  if (detector === undefined) throw new Error('no detector')
  return [
    ...new Set(
      ends.map(({ user, second }) =>
        signalId(detector.facts, [user, Math.floor((START + second * 1000) / HOUR) * HOUR]),
      ),
    ),
  ].sort()
}

/** The same ids by a scan, and live: another order, twice delivered, in batches, with a restart after each. */
const agrees = async (
  all: readonly Happening[],
  batch: number,
  detectors: readonly Detector[],
  ends: readonly Happening[],
  closing: number,
) => {
  const records = all.map(recordOf)
  const ids = idsOf(detectors, ends)
  const { alerts } = scanBytes([{ path: 'a.json', bytes: delivery(records) }], { detectors })
  expect(alertIds(alerts)).toEqual(ids)
  const mixed = [...records, ...records.slice(0, 4)].sort((a, b) =>
    String(a['requestID']).slice(-1) < String(b['requestID']).slice(-1) ? -1 : 1,
  )
  // nothing is late: the watermark moves with the last tick only
  expect(
    alertIds(await judged(mixed, detectors, { batch, restarts: true, receivedAt: START - HOUR, closing })),
  ).toEqual(ids)
}

interface Step {
  readonly when: Happening['name']
  readonly after?: readonly number[]
  readonly count?: number
  readonly without?: Happening['name']
}

/** Tries every assignment of events to steps. */
const holdsAt = (end: Happening, all: readonly Happening[], steps: readonly Step[]): boolean => {
  const own = all.filter(
    (one) => one.user === end.user && one.second <= end.second && one.second >= end.second - WITHIN,
  )
  const isLast = (index: number) => !steps.some(({ after = [] }) => after.includes(index))
  const absent = (name: Happening['name'] | undefined, from: number, to: number) =>
    name === undefined ||
    !all.some((one) => one.name === name && one.user === end.user && one.second > from && one.second < to)
  const assign = (index: number, chosen: readonly Happening[], used: boolean): boolean => {
    const step = steps[index]
    if (step === undefined) return used
    const fits = own.filter(
      (one) =>
        one.name === step.when &&
        (step.after ?? []).every((before) => {
          const from = chosen[before]?.second ?? 0
          return from <= one.second && absent(step.without, from, one.second)
        }),
    )
    return fits.some((one) => {
      const enough = fits.filter(({ second }) => second <= one.second).length >= (step.count ?? 1)
      return enough && assign(index + 1, [...chosen, one], used || (isLast(index) && one === end))
    })
  }
  return assign(0, [], false)
}

const shapes: readonly (readonly [name: string, steps: readonly Step[]])[] = [
  ['two in any order', [{ when: 'a' }, { when: 'b' }]],
  ['one after the other', [{ when: 'a' }, { when: 'b', after: [0] }, { when: 'c', after: [1] }]],
  ['nothing of a kind between', [{ when: 'a' }, { when: 'b', after: [0], without: 'n' }]],
  ['several behind one', [{ when: 'a' }, { when: 'b', after: [0], count: 3 }]],
  ['two behind the same', [{ when: 'a' }, { when: 'b', after: [0] }, { when: 'c', after: [0] }]],
  ['one behind two', [{ when: 'a' }, { when: 'b' }, { when: 'c', after: [0, 1] }]],
]

describe('sequence', () => {
  test.each(shapes)('%s', async (_, steps) => {
    const documents = steps.map(({ when, after, count, without }, index) => ({
      name: `s${index}`,
      when,
      ...(after && { after: after.map((one) => `s${one}`) }),
      ...(count && { count }),
      ...(without && { without }),
    }))
    const detectors = load({ kind: 'sequence', chains: [{ within: '10m', steps: documents }] })
    const lasts = steps
      .filter((_, index) => !steps.some(({ after = [] }) => after.includes(index)))
      .map(({ when }) => when)
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { maxLength: 18 }),
        fc.integer({ min: 1, max: 7 }),
        async (all, batch) => {
          const ends = all.filter((end) => lasts.includes(end.name) && holdsAt(end, all, steps))
          await agrees(all, batch, detectors, ends, START + 100 * HOUR)
        },
      ),
      { numRuns: 40, seed: 9 },
    )
  })

  test('of several chains the graver one decides', () => {
    const detectors = load({
      kind: 'sequence',
      chains: [
        { within: '10m', level: 'medium', steps: [{ when: 'a' }, { when: 'b' }] },
        { within: '10m', level: 'high', steps: [{ when: 'a' }, { when: 'b' }, { when: 'c' }] },
      ],
    })
    const scan = (...all: Happening['name'][]) =>
      scanBytes(
        [
          {
            path: 'a.json',
            bytes: delivery(all.map((name, second) => recordOf({ second, user: 'u', name }))),
          },
        ],
        { detectors },
      ).alerts.map(({ severity, evidence }) => [severity, evidence.total])
    expect(scan('a', 'b')).toEqual([['medium', 2]])
    expect(scan('a', 'b', 'c')).toEqual([['high', 3]])
    expect(scan('a', 'c')).toEqual([])
  })

  test('a chain without absences is told before its time has come', async () => {
    const detectors = load({
      kind: 'sequence',
      chains: [{ within: '10m', steps: [{ when: 'a' }, { when: 'b' }] }],
    })
    const records = (['a', 'b'] as const).map((name, second) => recordOf({ second, user: 'u', name }))
    expect(alertIds(await judged(records, detectors, { receivedAt: START, closing: START }))).toHaveLength(1)
  })
})

describe('what is owed', () => {
  /** The last event there is: nothing behind it is known. */
  const endOf = (all: readonly Happening[]) => Math.max(0, ...all.map(({ second }) => second))

  test('overdue: a begins a term that b ends', async () => {
    const detectors = load({ kind: 'overdue', expect: 'b', due: '10m' }, 'a')
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { maxLength: 20 }),
        fc.integer({ min: 1, max: 7 }),
        async (all, batch) => {
          // of raw records only what a rule matches is kept
          const until = endOf(all.filter(({ name }) => name === 'a' || name === 'b'))
          const ended = (one: Happening) =>
            all.some(
              (b) =>
                b.name === 'b' &&
                b.user === one.user &&
                b.second >= one.second &&
                b.second <= one.second + WITHIN,
            )
          const over = all.filter((one) => one.name === 'a' && one.second + WITHIN <= until && !ended(one))
          await agrees(all, batch, detectors, over, START + until * 1000 + 15 * 60_000)
        },
      ),
      { numRuns: 40, seed: 9 },
    )
  })

  test('silence: every event begins a term and ends the one before', async () => {
    const detectors = load({ kind: 'silence', due: '10m' }, 'a')
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { maxLength: 20 }),
        fc.integer({ min: 1, max: 7 }),
        async (all, batch) => {
          const own = all.filter(({ name }) => name === 'a')
          const until = endOf(own)
          const over = own.filter(
            (one) =>
              one.second + WITHIN <= until &&
              !own.some(
                (other) =>
                  other.user === one.user && other.second > one.second && other.second <= one.second + WITHIN,
              ),
          )
          await agrees(all, batch, detectors, over, START + until * 1000 + 15 * 60_000)
        },
      ),
      { numRuns: 40, seed: 9 },
    )
  })

  test('another term for some', () => {
    const detectors = load(
      { kind: 'overdue', expect: 'b', due: '2h', sooner: { when: 'n', due: '10m' } },
      'a or n',
    )
    const scan = (first: Happening['name']) =>
      scanBytes(
        [
          {
            path: 'a.json',
            bytes: delivery(
              [{ second: 0, user: 'u', name: first }, { second: 3600, user: 'v', name: 'b' } as const].map(
                recordOf,
              ),
            ),
          },
        ],
        { detectors },
      ).alerts.length
    expect([scan('a'), scan('n')]).toEqual([0, 1])
  })
})

test('breadth: what counts has another name in each cloud', () => {
  const rule = {
    title: 'r',
    name: 'r',
    logsource: { product: 'keytrail', category: 'key_usage' },
    detection: { s: { operation: 'decrypt' }, condition: 's' },
  }
  const wide = {
    title: 'x',
    name: 'x',
    correlation: {
      type: 'value_count',
      rules: ['r'],
      'group-by': ['actor.principal'],
      timespan: '10m',
      condition: { field: 'target.key_id', gte: 3 },
    },
    keytrail: {
      kind: 'breadth',
      field: { aws: 'crypto.context_hash', azure: ['target.key_id', 'target.key_version'] },
    },
  }
  const { detectors, problems } = defineDetectors([
    { path: 'x.yml', text: `${stringify(wide)}---\n${stringify(rule)}` },
  ])
  expect(problems).toEqual([])
  const scan = (contexts: readonly string[]) =>
    scanBytes(
      [
        {
          path: 'a.json',
          bytes: delivery(
            contexts.map((app) => record({ requestParameters: { encryptionContext: { app } } })),
          ),
        },
      ],
      { detectors },
    ).alerts.map(({ observed }) => observed)
  expect(scan(['a', 'b', 'c', 'c'])).toEqual([3])
  expect(scan(['a', 'b', 'b'])).toEqual([])
})

test('what a kind needs is said', () => {
  const problem = (keytrail: object) => {
    const text = stringify({
      title: 'x',
      name: 'x',
      logsource: { product: 'aws' },
      detection: { a: { f: 1 }, condition: 'a' },
      keytrail,
    })
    return defineDetectors([{ path: 'x.yml', text }]).problems[0]?.message
  }
  expect(problem({ kind: 'sequence' })).toMatch(/needs by/)
  expect(problem({ kind: 'sequence', by: ['f'] })).toMatch(/needs chains/)
  expect(problem({ kind: 'overdue', by: ['f'], due: '1h' })).toMatch(/needs due and expect/)
  expect(
    problem({
      kind: 'sequence',
      by: ['f'],
      chains: [{ within: '1h', steps: [{ when: 'a', after: ['z'] }] }],
    }),
  ).toMatch(/no step before/)
})
