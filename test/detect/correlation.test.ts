/** Correlations against a slow reference that looks at every window; order, batches, duplicates and restarts. */
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
const iso = (at: number) => new Date(at).toISOString().replace('.000Z', 'Z')

/** What happens: at which second, by whom, which rule it matches, and a number it carries. */
interface Happening {
  readonly second: number
  readonly user: string
  readonly rule: 'a' | 'b' | 'c'
  readonly size: number
}

const recordOf = ({ second, user, rule, size }: Happening): CloudTrailRecord =>
  record({
    eventSource: 's3.amazonaws.com',
    eventName: rule,
    eventTime: iso(START + second * 1000),
    requestParameters: { user, size },
  })

const aws = { product: 'aws', service: 'cloudtrail' }
const rule = (name: string, eventName = name) => ({
  title: name,
  name,
  logsource: aws,
  detection: { s: { eventName }, condition: 's' },
})
const rules = ['a', 'b', 'c'].map((name) => rule(name))
const load = (...documents: readonly object[]): readonly Detector[] => {
  const text = documents.map((one) => stringify(one)).join('---\n')
  const { detectors, problems } = defineDetectors([{ path: 'd.yml', text }])
  expect(problems).toEqual([])
  return detectors
}
/** Without the rules that it does not name, which tell by themselves. */
const only = (detectors: readonly Detector[]) => detectors.filter(({ facts }) => facts.id === 'x')
const correlation = (body: object) => ({
  title: 'x',
  name: 'x',
  correlation: { 'group-by': ['requestParameters.user'], timespan: '10m', ...body },
})

type Window = readonly Happening[]
const SPAN = 600

/** Ids that must come out: of each user and hour in which some event ends a window that holds. */
const expected = (
  all: readonly Happening[],
  [detector]: readonly Detector[],
  wanted: readonly string[],
  holds: (window: Window) => boolean,
  bucket = HOUR,
): string[] => {
  const ids = new Set<string>()
  const own = all.filter((one) => wanted.includes(one.rule))
  for (const end of own) {
    const window = own.filter(
      (one) => one.user === end.user && one.second <= end.second && one.second >= end.second - SPAN,
    )
    if (!holds(window) || detector === undefined) continue
    ids.add(signalId(detector.facts, [end.user, Math.floor((START + end.second * 1000) / bucket) * bucket]))
  }
  return [...ids].sort()
}

const distinct = (values: readonly unknown[]) => new Set(values).size
const inOrder = (window: Window): boolean =>
  window.some(
    (a) =>
      a.rule === 'a' &&
      window.some(
        (b) =>
          b.rule === 'b' &&
          b.second >= a.second &&
          window.some((c) => c.rule === 'c' && c.second >= b.second),
      ),
  )
const total = (window: Window) => window.reduce((sum, { size }) => sum + size, 0)
/** The nearest-rank pair around the place, interpolated: the definition, by counting. */
const quartile = (window: Window): number => {
  const sizes = window.map(({ size }) => size).sort((left, right) => left - right)
  const place = (sizes.length - 1) * 0.25
  const low = sizes[Math.trunc(place)] ?? 0
  return low + ((sizes[Math.trunc(place) + 1] ?? low) - low) * (place % 1)
}

const size = 'requestParameters.size'
const kinds: readonly (readonly [
  name: string,
  body: object,
  wanted: string,
  holds: (window: Window) => boolean,
])[] = [
  [
    'event_count, gte',
    { type: 'event_count', rules: ['a'], condition: { gte: 3 } },
    'a',
    (w) => w.length >= 3,
  ],
  [
    'event_count, gt, two rules',
    { type: 'event_count', rules: ['a', 'b'], condition: { gt: 3 } },
    'ab',
    (w) => w.length > 3,
  ],
  [
    'event_count, eq',
    { type: 'event_count', rules: ['a'], condition: { eq: 2 } },
    'a',
    (w) => w.length === 2,
  ],
  [
    'event_count, a range',
    { type: 'event_count', rules: ['a'], condition: { gte: 2, lte: 3 } },
    'a',
    (w) => w.length >= 2 && w.length <= 3,
  ],
  ['event_count, lt', { type: 'event_count', rules: ['a'], condition: { lt: 2 } }, 'a', (w) => w.length < 2],
  [
    'value_count',
    { type: 'value_count', rules: ['a'], condition: { field: size, gte: 3 } },
    'a',
    (w) => distinct(w.map((one) => one.size)) >= 3,
  ],
  [
    'value_count, neq',
    { type: 'value_count', rules: ['a'], condition: { field: size, neq: 1 } },
    'a',
    (w) => distinct(w.map((one) => one.size)) !== 1,
  ],
  [
    'temporal',
    { type: 'temporal', rules: ['a', 'b', 'c'] },
    'abc',
    (w) => distinct(w.map((one) => one.rule)) === 3,
  ],
  ['temporal_ordered', { type: 'temporal_ordered', rules: ['a', 'b', 'c'] }, 'abc', inOrder],
  [
    'value_sum',
    { type: 'value_sum', rules: ['a'], condition: { field: size, gte: 9 } },
    'a',
    (w) => total(w) >= 9,
  ],
  [
    'value_avg',
    { type: 'value_avg', rules: ['a'], condition: { field: size, gt: 2.5 } },
    'a',
    (w) => total(w) / w.length > 2.5,
  ],
  [
    'value_percentile',
    { type: 'value_percentile', rules: ['a'], condition: { field: size, percentile: 25, lte: 1 } },
    'a',
    (w) => quartile(w) <= 1,
  ],
]

/** Seconds that meet the borders of the window often. */
const second = fc.oneof(
  fc.nat(9000),
  fc.nat(15).map((n) => n * SPAN),
  fc.nat(15).map((n) => n * SPAN + 1),
)
const happening: fc.Arbitrary<Happening> = fc.record({
  second,
  user: fc.constantFrom('u', 'v'),
  rule: fc.constantFrom('a', 'b', 'c'),
  size: fc.integer({ min: -1, max: 5 }),
})

const scanned = (all: readonly CloudTrailRecord[], detectors: readonly Detector[]) =>
  alertIds(scanBytes([{ path: 'a.json', bytes: delivery(all) }], { detectors }).alerts)

describe('a correlation finds what a look at every window finds', () => {
  test.each(kinds)('%s', async (_, body, wanted, holds) => {
    const detectors = only(load(correlation(body), ...rules))
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { maxLength: 40 }),
        fc.integer({ min: 1, max: 9 }),
        async (all, batch) => {
          const records = all.map(recordOf)
          const ids = expected(all, detectors, [...wanted], holds)
          expect(scanned(records, detectors)).toEqual(ids)
          // the same in another order, twice delivered, in batches, with a restart after each
          const shuffled = [...records, ...records.slice(0, 5)].sort((a, b) =>
            String(a['requestID']).slice(-1) < String(b['requestID']).slice(-1) ? -1 : 1,
          )
          const late = { batch, restarts: true, receivedAt: START, closing: START + 100 * HOUR }
          // a watermark that never moves before the last tick: everything is within the lateness
          expect(alertIds(await judged(shuffled, detectors, late))).toEqual(ids)
        },
      ),
      { numRuns: 25, seed: 9 },
    )
  })
})

test('aliases name a field that is called differently in each rule', () => {
  const other = { ...rule('b'), detection: { s: { eventName: 'b' }, condition: 's' } }
  const detectors = load(
    correlation({
      type: 'temporal',
      rules: ['a', 'b'],
      'group-by': ['who'],
      aliases: { who: { a: 'requestParameters.user', b: 'requestParameters.target' } },
    }),
    rule('a'),
    other,
  )
  const b = (target: string) =>
    record({
      eventSource: 's3.amazonaws.com',
      eventName: 'b',
      eventTime: iso(START + 60_000),
      requestParameters: { target },
    })
  const a = recordOf({ second: 0, user: 'u', rule: 'a', size: 1 })
  expect(scanned([a, b('u')], detectors)).toHaveLength(1)
  expect(scanned([a, b('v')], detectors)).toHaveLength(0)
})

describe('a correlation of correlations', () => {
  const many = {
    ...correlation({ type: 'event_count', rules: ['a'], condition: { gte: 3 } }),
    title: 'many',
    name: 'many',
  }
  const detectors = load(
    correlation({ type: 'temporal_ordered', rules: ['many', 'b'], timespan: '10m' }),
    many,
    ...rules,
  )

  test('counts windows of the inner one as events at their end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { maxLength: 30 }),
        fc.integer({ min: 1, max: 9 }),
        async (all, batch) => {
          const ends = all.filter(
            (end) =>
              end.rule === 'a' &&
              all.filter(
                (one) =>
                  one.rule === 'a' &&
                  one.user === end.user &&
                  one.second <= end.second &&
                  one.second >= end.second - SPAN,
              ).length >= 3,
          )
          const virtual = [
            ...ends.map((one) => ({ ...one, rule: 'a' as const })),
            ...all.filter((one) => one.rule === 'b'),
          ]
          const first = (w: Window) =>
            w.some((a) => a.rule === 'a' && w.some((b) => b.rule === 'b' && b.second >= a.second))
          const ids = expected(virtual, only(detectors), ['a', 'b'], first)
          const records = all.map(recordOf)
          expect(scanned(records, only(detectors))).toEqual(ids)
          const late = { batch, restarts: true, receivedAt: START, closing: START + 100 * HOUR }
          expect(alertIds(await judged(records.toReversed(), only(detectors), late))).toEqual(ids)
        },
      ),
      { numRuns: 25, seed: 9 },
    )
  })

  test('inner ones are silent, unless asked', () => {
    expect(detectors.map(({ facts }) => facts.id)).toEqual(['c', 'x'])
    const generate = load(
      { ...correlation({ type: 'temporal', rules: ['many', 'b'] }), generate: true },
      many,
      ...rules,
    )
    expect(generate.map(({ facts }) => facts.id)).toEqual(['b', 'c', 'many', 'x'])
  })

  test('what cannot be is refused', () => {
    const problem = (...documents: readonly object[]) =>
      defineDetectors([{ path: 'd.yml', text: documents.map((one) => stringify(one)).join('---\n') }])
        .problems[0]?.message
    const low = { ...correlation({ type: 'event_count', rules: ['a'], condition: { lt: 3 } }), name: 'low' }
    expect(problem(correlation({ type: 'temporal', rules: ['low', 'b'] }), low, ...rules)).toMatch(
      /decided at the end/,
    )
    expect(problem(correlation({ type: 'temporal', rules: ['x', 'b'] }), ...rules)).toMatch(
      /two deep at most/,
    )
    expect(
      problem(correlation({ type: 'value_sum', rules: ['a'], condition: { gte: 1 } }), ...rules),
    ).toMatch(/needs a field/)
  })
})
