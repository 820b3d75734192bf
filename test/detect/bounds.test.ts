/** Too many groups, floods and faults: memory stays bounded, it is said, and the neighbors go on. */
import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { type Detector, defineDetectors } from '../../src/detect/definition.ts'
import { MemoryState } from '../../src/detect/state.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { intake, type Kept } from '../../src/pipeline/intake.ts'
import { judge } from '../../src/pipeline/judge.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import { compareKept } from '../../src/pipeline/order.ts'
import { delivery, record } from '../support/cloudtrail.ts'

test('groups beyond the limit push out those that were used longest ago', () => {
  const state = new MemoryState(1000)
  const add = (name: string, at: number) => {
    const series = state.series(name, 60_000)
    state.added(
      name,
      series.chunkOf(at),
      series.add(at, 'x', `${at}`, () => ({ summary: '', raw_ref: '' })),
    )
    return series.countAt(at)
  }
  add('busy', 0)
  for (let n = 0; n < 20_000; n++) {
    add(`g${n}`, n)
    if (n % 100 === 0) state.series('busy', 60_000)
  }
  expect(state.forgotten).toBeGreaterThan(18_000)
  expect(state.forgotten).toBeLessThan(20_000)
  expect(state.series('busy', 60_000).between(0, 0)).toHaveLength(1)
})

const judged = (detectors: readonly Detector[], records: readonly object[]) => {
  const kept: Kept[] = []
  const options = {
    feed_id: 'f',
    transport: 'file',
    place: 'a',
    received: () => '2026-03-02T12:00:00Z',
    settings: defaultConfig,
    strict: true,
  } as const
  const reader = intake(options, { kept: (one) => kept.push(one) })
  reader.push(delivery(records as Record<string, unknown>[])) // records of the test
  reader.end()
  const alerts: string[] = []
  const faults: unknown[] = []
  const judging = judge(
    recordNormalizer(defaultConfig, undefined),
    detectors,
    ({ detector }) => alerts.push(detector.id),
    () => {},
    (id, cause, last) => faults.push([id, String(cause), last]),
  )
  for (const one of kept.sort(compareKept)) judging.accept(one)
  judging.finish()
  return { alerts, faults, judging }
}
const logsource = { product: 'keytrail', category: 'key_usage' }
const detection = { s: { operation: 'decrypt' }, condition: 's' }
const load = (...documents: object[]) =>
  defineDetectors([{ path: 'd.yml', text: documents.map((one) => stringify(one)).join('---\n') }]).detectors

test('a detector that throws is told and costs its neighbors nothing', () => {
  const [calm, broken] = load(
    { title: 'calm', name: 'calm', logsource, detection },
    { title: 'z', name: 'z', logsource, detection },
  )
  if (calm?.kind !== 'single' || broken?.kind !== 'single') throw new Error('two rules are needed')
  const throwing: Detector = {
    ...broken,
    rule: {
      ...broken.rule,
      matches: () => {
        throw new Error('out of order')
      },
    },
  }
  const { alerts, faults } = judged(
    [calm, throwing],
    Array.from({ length: 7 }, () => record()),
  )
  expect(alerts).toEqual(new Array(7).fill('calm'))
  expect(faults).toHaveLength(5)
  expect(faults.at(-1)).toEqual(['z', 'Error: out of order', true])
})

test('a group with more events than are held has no verdict, and that is said', () => {
  const rule = { title: 'r', name: 'r', logsource, detection }
  const low = {
    title: 'low',
    name: 'low',
    correlation: {
      type: 'event_count',
      rules: ['r'],
      'group-by': ['actor.principal'],
      timespan: '1h',
      condition: { lt: 100_000 },
    },
  }
  const flood = Array.from({ length: 10_001 }, () => record())
  const { alerts, judging } = judged(load(low, rule), flood)
  expect(alerts).toEqual([])
  expect([...judging.engine.context.full]).toEqual(['low'])
})
