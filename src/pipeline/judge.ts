/** The judge: ordered events in, without duplicates on to the detectors, counted by the words of the schema. */
import type { Detector } from '../detect/definition.ts'
import { type AlertListener, type Engine, engine } from '../detect/engine.ts'
import type { KeyEvent } from '../model/event.ts'
import { deduplicator } from './deduplicate.ts'
import type { Ordered } from './order.ts'

export interface JudgeTally {
  kept: number
  duplicate: number
  readonly services: Map<string, number>
  readonly operations: Map<string, number>
  readonly outcomes: Map<string, number>
  readonly mfa: Map<string, number>
  first: string | undefined
  last: string | undefined
}

export interface Judge {
  /** @returns whether the event is kept; a duplicate is only counted */
  accept(one: Ordered): boolean
  finish(): void
  readonly tally: JudgeTally
  readonly engine: Engine
}

const countUp = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1)

export const judge = (
  detectors: readonly Detector[],
  onAlert: AlertListener,
  onEvent: (event: KeyEvent, at: number) => void,
): Judge => {
  const detecting = engine(detectors, onAlert)
  const duplicate = deduplicator()
  const tally: JudgeTally = {
    kept: 0,
    duplicate: 0,
    services: new Map(),
    operations: new Map(),
    outcomes: new Map(),
    mfa: new Map(),
    first: undefined,
    last: undefined,
  }
  return {
    accept(one) {
      if (duplicate(one) === 'duplicate') {
        tally.duplicate++
        return false
      }
      const { event } = one
      tally.kept++
      countUp(tally.services, event.source.service)
      countUp(tally.operations, event.operation)
      countUp(tally.outcomes, event.outcome)
      countUp(tally.mfa, event.auth.mfa)
      tally.first ??= event.time.event
      tally.last = event.time.event
      const at = Date.parse(event.time.event)
      detecting.judge(event, at)
      onEvent(event, at)
      return true
    },
    finish: () => detecting.finish(),
    tally,
    engine: detecting,
  }
}
