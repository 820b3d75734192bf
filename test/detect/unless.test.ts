/** Exceptions that look back: the law against a slow reference, whatever the order of arrival and the batches. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defineDetectors } from '../../src/detect/definition.ts'
import { engine } from '../../src/detect/engine.ts'
import { MemoryState } from '../../src/detect/state.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import { eventOf } from '../support/deliveries.ts'

const MINUTE = 60_000
const START = Date.parse('2026-03-02T09:00:00Z')

const { detectors, problems } = defineDetectors([
  {
    path: 'self.yml',
    text: `title: t
name: self
logsource: { product: keytrail, category: key_usage }
detection:
  assigned: { operation: role_assign }
  created: { operation: container_create }
  condition: assigned
keytrail:
  unless: { before: created, within: 10m, by: [actor.principal] }
`,
  },
])

interface Step {
  readonly operation: 'role_assign' | 'container_create'
  readonly who: string
  /** Minutes from the start. */
  readonly at: number
}

let number = 0
const eventFrom = ({ operation, who, at }: Step): KeyEvent => {
  const id = `e${++number}`
  const time = new Date(START + at * MINUTE).toISOString()
  const event = JSON.parse(eventOf(1)) as KeyEvent
  return {
    ...event,
    operation,
    event_id: id,
    action_id: id,
    time: { ...event.time, event: time },
    actor: { ...event.actor, principal: who },
  }
}

/** Times and names of what is told, when events come in this order and no more than `lateness` late. */
const told = (steps: readonly Step[], lateness: number): string[] => {
  const alerts: string[] = []
  const state = new MemoryState()
  const detecting = engine(detectors, {
    state,
    finalizeMs: 60 * MINUTE,
    revisions: 'all',
    onAlert: ({ time, entity }) => alerts.push(`${time.first_event} ${entity.principal}`),
    onFault: (_, cause) => {
      throw cause
    },
  })
  let newest = Number.NEGATIVE_INFINITY
  for (const step of steps) {
    const at = START + step.at * MINUTE
    newest = Math.max(newest, at)
    const watermark = newest - lateness * MINUTE
    detecting.tick(watermark, state.due(watermark))
    for (const plan of detecting.match(eventFrom(step), at)) detecting.fold(plan)
  }
  const end = START + 10_000 * MINUTE
  detecting.tick(end, state.due(end))
  return alerts.sort()
}

/** The law, read aloud. */
const reference = (steps: readonly Step[]): string[] =>
  steps
    .filter(
      ({ operation, who, at }) =>
        operation === 'role_assign' &&
        !steps.some(
          (one) =>
            one.operation === 'container_create' && one.who === who && one.at <= at && one.at >= at - 10,
        ),
    )
    .map(({ at, who }) => `${new Date(START + at * MINUTE).toISOString()} ${who}`)
    .sort()

const step = fc.record({
  operation: fc.constantFrom('role_assign' as const, 'container_create' as const),
  who: fc.constantFrom('a', 'b'),
  at: fc.nat(60),
})

test('the rule is valid', () => expect(problems).toEqual([]))

describe('the law', () => {
  test('holds in order, an excuse before a finding of the same time', () =>
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const ordered = [...steps].sort((a, b) => a.at - b.at || (a.operation < b.operation ? -1 : 1))
        expect(told(ordered, 0)).toEqual(reference(steps))
      }),
      { numRuns: 300 },
    ))

  test('holds in any order within the lateness', () =>
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        expect(told(steps, 61)).toEqual(reference(steps))
      }),
      { numRuns: 300 },
    ))
})

test('a finding that waits is told when no earlier event is expected', () => {
  const steps: Step[] = [{ operation: 'role_assign', who: 'a', at: 5 }]
  expect(told(steps, 15)).toEqual(reference(steps))
})
