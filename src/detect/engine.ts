/**
 * The detector engine: events in, alerts out. Pure: the set of alert ids depends on the events alone, and each
 * body on the events and their order.
 *
 * An event is judged in two steps. `match` finds what it means to whom and says what must be remembered for
 * that, so that the caller can fetch it; `fold` then changes the state. A rule costs nothing for events it
 * cannot match: rules are indexed by operation.
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import { countStep } from './count.ts'
import type { Detector, DetectorFacts } from './definition.ts'
import { noveltyStep } from './novelty.ts'
import { alertOf, type Opened, revise } from './opened.ts'
import type { CompiledRule } from './rule.ts'
import { singleStep } from './single.ts'
import type { State, Wants } from './state.ts'
import { begin, end } from './steps.ts'
import { type Held, isHeld, release } from './unless.ts'

/** What a matching event does to the state of one detector. */
export interface Plan {
  readonly facts: DetectorFacts
  /** Names the state it needs. */
  needs(wants: Wants): void
  fold(): void
}

/** What steps have in common: the state, how alerts leave, and what is known of time. */
export interface Context {
  readonly state: State
  /** How long a bucket stays open behind its end, milliseconds. */
  readonly finalizeMs: number
  /** No event before this time is still expected, milliseconds since 1970. */
  watermark: number
  /** A revision was made. */
  tell(opened: Opened): void
  /** An alert was made that cannot change. */
  tellOnce(opened: Opened): void
  /** Events that matched but lack a field that is grouped by or counted. */
  ungrouped: number
  /** Detectors that need a history: how long it must be, and the longest one seen, in milliseconds. */
  readonly histories: Map<string, { readonly needMs: number; haveMs: number }>
  learned(facts: DetectorFacts, needMs: number, haveMs: number): void
}

export type Step = (event: KeyEvent, at: number) => Plan | undefined

export interface EngineOptions {
  readonly state: State
  /** How long a bucket stays open behind its end: 0 when events come in order. */
  readonly finalizeMs: number
  /** Tell each revision, or only the last of each alert. */
  readonly revisions: 'all' | 'last'
  onAlert(alert: Alert): void
  /** A rule threw, or took more than its steps: the event goes on without it. */
  onFault(facts: DetectorFacts, cause: unknown): void
}

export interface Engine {
  /** @param at time of the event in milliseconds since 1970 */
  match(event: KeyEvent, at: number): readonly Plan[]
  fold(plan: Plan): void
  /** Asks a detector no more. */
  stop(id: string): void
  /** Time has come to `watermark`: what was held under these keys is decided. */
  tick(watermark: number, due: Iterable<string>): void
  readonly context: Context
}

/** A rule that faults so often is disabled. */
export const MAX_FAULTS = 5

/** A verdict on a day is open until that day is final. */
const DAY_MS = 86_400_000

const NOTHING: readonly Plan[] = []

const stepOf = (
  detector: Detector,
  context: Context,
): { readonly rules: readonly CompiledRule[]; readonly step: Step } => {
  switch (detector.kind) {
    case 'single':
      return {
        rules: detector.unless === undefined ? [detector.rule] : [detector.rule, detector.unless.rule],
        step: singleStep(detector, context),
      }
    case 'count':
      return { rules: detector.rules, step: countStep(detector, context) }
    case 'novelty':
      return { rules: [detector.rule], step: noveltyStep(detector, context) }
  }
}

export const engine = (detectors: readonly Detector[], options: EngineOptions): Engine => {
  const { state, finalizeMs, onAlert, onFault } = options
  const every = options.revisions === 'all'
  const context: Context = {
    state,
    finalizeMs,
    watermark: Number.NEGATIVE_INFINITY,
    tell(opened) {
      opened.told = opened.draft.evidence.total
      if (every) onAlert(alertOf(opened))
    },
    tellOnce: (opened) => onAlert(alertOf(opened)),
    ungrouped: 0,
    histories: new Map(),
    learned({ id }, needMs, haveMs) {
      const known = context.histories.get(id)
      context.histories.set(id, { needMs, haveMs: Math.max(known?.haveMs ?? 0, haveMs) })
    },
  }

  const byOperation = new Map<string, Step[]>()
  const always: Step[] = []
  const stopped = new Set<string>()
  for (const detector of detectors) {
    const { rules, step } = stepOf(detector, context)
    const guarded: Step = (event, at) => {
      if (stopped.size > 0 && stopped.has(detector.facts.id)) return undefined
      begin()
      try {
        return step(event, at)
      } catch (cause) {
        onFault(detector.facts, cause)
        return undefined
      } finally {
        end()
      }
    }
    const operations = rules.map((rule) => rule.operations)
    if (operations.includes(undefined)) always.push(guarded)
    else
      for (const name of new Set(operations.flatMap((one) => [...(one ?? [])])))
        byOperation.set(name, [...(byOperation.get(name) ?? []), guarded])
  }

  return {
    match(event, at) {
      const steps = byOperation.get(event.operation)
      if (steps === undefined && always.length === 0) return NOTHING
      const plans: Plan[] = []
      for (const list of steps === undefined ? [always] : [steps, always])
        for (const step of list) {
          const plan = step(event, at)
          if (plan !== undefined) plans.push(plan)
        }
      return plans
    },
    fold(plan) {
      begin()
      try {
        plan.fold()
      } catch (cause) {
        onFault(plan.facts, cause)
      } finally {
        end()
      }
    },
    stop: (id) => void stopped.add(id),
    tick(watermark, due) {
      context.watermark = Math.max(context.watermark, watermark)
      for (const key of due) {
        const kept = state.get(key) as Opened | Held | undefined // only these are kept under a timed key
        if (kept === undefined) continue
        if (isHeld(kept)) {
          const left = release(kept, context.watermark, context)
          state.put(key, left?.value, left?.due ?? 0)
          continue
        }
        const opened = kept
        if (opened.waiting) {
          opened.waiting = false
          context.tell(opened)
          if (finalizeMs > 0) {
            state.put(key, opened, Date.parse(opened.draft.window.start) + DAY_MS + finalizeMs)
            continue
          }
        }
        state.put(key, undefined, 0)
        if (every && opened.draft.evidence.total <= opened.told) continue
        if (opened.draft.evidence.total > opened.told) revise(opened)
        onAlert(alertOf(opened))
      }
    },
    context,
  }
}
