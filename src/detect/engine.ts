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
import { type Detector, type DetectorFacts, rulesOf } from './detectors.ts'
import { type Gathered, isGathered, judgeGathered, measureStep } from './measure.ts'
import { everyRuleStep } from './nested.ts'
import { noveltyStep } from './novelty.ts'
import { alertOf, type Opened, revise } from './opened.ts'
import { isOwed, type Owed, owedStep, settleOwed } from './owed.ts'
import { feedOf } from './raw-fields.ts'
import { ruleIndex } from './rule-index.ts'
import { type Flow, isFlow, sequenceMachine, sequenceStep } from './sequence.ts'
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
  /** The end of time, milliseconds since 1970: what would be due behind it is not known to be late. */
  clock: number
  /** A revision was made. */
  tell(opened: Opened): void
  /** An alert can change no more: what was not told of it is. */
  close(opened: Opened): void
  /** An alert was made that cannot change. */
  tellOnce(opened: Opened): void
  /** Events that matched but lack a field that is grouped by or counted. */
  ungrouped: number
  /** Detectors of which a group had more events than are held: it has no verdict. */
  readonly full: Set<string>
  /** Detectors that need a history: how long it must be, and the longest one seen, in milliseconds. */
  readonly histories: Map<string, { readonly needMs: number; haveMs: number }>
  learned(facts: DetectorFacts, needMs: number, haveMs: number): void
}

export type Step = (event: KeyEvent, at: number, raw: unknown) => Plan | undefined

/** Of so many calls one is timed: reading the clock twice costs as much as a rule (measured: 0.3 µs on a virtual machine). */
const SAMPLED = 17

/** What each detector has cost so far, by samples. Only told: nothing is decided by it. */
export interface Spent {
  /** Milliseconds, of any clock. */
  now(): number
  readonly ms: Map<string, number>
}

export interface EngineOptions {
  readonly state: State
  readonly spent?: Spent | undefined
  /** How long a bucket stays open behind its end: 0 when events come in order. */
  readonly finalizeMs: number
  /** Tell each revision, or only the last of each alert. */
  readonly revisions: 'all' | 'last'
  onAlert(alert: Alert): void
  /** A rule threw, or took more than its steps: the event goes on without it. */
  onFault(facts: DetectorFacts, cause: unknown): void
}

export interface Engine {
  /**
   * @param at time of the event in milliseconds since 1970
   * @param raw the record as its provider wrote it, parsed; needed when `readsRaw`
   */
  match(event: KeyEvent, at: number, raw?: unknown): readonly Plan[]
  /** Some rules read the record as its provider wrote it. */
  readonly readsRaw: boolean
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

type Machines = Map<string, ReturnType<typeof sequenceMachine>>

const stepOf = (detector: Detector, context: Context, machines: Machines): Step => {
  switch (detector.kind) {
    case 'single':
      return singleStep(detector, context)
    case 'count':
      return detector.counts === 'rules' || detector.inner.length > 0
        ? everyRuleStep(detector, context)
        : countStep(detector, context)
    case 'sequence': {
      const machine = sequenceMachine(detector, context)
      machines.set(detector.facts.id, machine)
      return sequenceStep(detector, context, machine)
    }
    case 'overdue':
    case 'silence':
      return owedStep(detector, context)
    case 'measure':
      return measureStep(detector, context)
    case 'novelty':
      return noveltyStep(detector, context)
  }
}

export const engine = (detectors: readonly Detector[], options: EngineOptions): Engine => {
  const { state, finalizeMs, onAlert, onFault, spent } = options
  let calls = 0
  /** Does a detector's work: its steps are counted, its faults are its own. */
  const guard = <T>(facts: DetectorFacts, work: () => T): T | undefined => {
    const clock = spent !== undefined && ++calls % SAMPLED === 0 ? spent : undefined
    const since = clock?.now() ?? 0
    begin()
    try {
      return work()
    } catch (cause) {
      onFault(facts, cause)
      return undefined
    } finally {
      end()
      clock?.ms.set(facts.id, (clock.ms.get(facts.id) ?? 0) + (clock.now() - since) * SAMPLED)
    }
  }
  const every = options.revisions === 'all'
  const context: Context = {
    state,
    finalizeMs,
    watermark: Number.NEGATIVE_INFINITY,
    clock: Number.POSITIVE_INFINITY,
    tell(opened) {
      opened.told = opened.draft.evidence.total
      if (every) onAlert(alertOf(opened))
    },
    close(opened) {
      if (every && opened.draft.evidence.total <= opened.told) return
      if (opened.draft.evidence.total > opened.told) revise(opened)
      onAlert(alertOf(opened))
    },
    tellOnce: (opened) => onAlert(alertOf(opened)),
    ungrouped: 0,
    full: new Set(),
    histories: new Map(),
    learned({ id }, needMs, haveMs) {
      const known = context.histories.get(id)
      context.histories.set(id, { needMs, haveMs: Math.max(known?.haveMs ?? 0, haveMs) })
    },
  }

  const byOperation = new Map<string, Step[]>()
  const always: Step[] = []
  const stopped = new Set<string>()
  const onRaw = ruleIndex<Step>()
  const machines: Machines = new Map()
  const measures = new Map(
    detectors.flatMap((one) => (one.kind === 'measure' ? [[one.facts.id, one] as const] : [])),
  )
  for (const detector of detectors) {
    const step = stepOf(detector, context, machines)
    const guarded: Step = (event, at, raw) =>
      stopped.size > 0 && stopped.has(detector.facts.id)
        ? undefined
        : guard(detector.facts, () => step(event, at, raw))
    const rules = rulesOf(detector)
    for (const { raw } of rules) if (raw !== undefined) onRaw.add(raw, guarded)
    const operations = rules.filter(({ raw }) => raw === undefined).map((rule) => rule.operations)
    if (operations.includes(undefined)) always.push(guarded)
    else
      for (const name of new Set(operations.flatMap((one) => [...(one ?? [])])))
        byOperation.set(name, [...(byOperation.get(name) ?? []), guarded])
  }

  return {
    readsRaw: onRaw.size > 0,
    match(event, at, raw) {
      const steps = byOperation.get(event.operation)
      if (steps === undefined && always.length === 0 && onRaw.size === 0) return NOTHING
      const plans: Plan[] = []
      const ask = (list: Iterable<Step>) => {
        for (const step of list) {
          const plan = step(event, at, raw)
          if (plan !== undefined) plans.push(plan)
        }
      }
      if (onRaw.size === 0) {
        if (steps !== undefined) ask(steps)
        ask(always)
      } else
        ask(
          new Set([
            ...(steps ?? []),
            ...always,
            ...onRaw.candidates(feedOf(event.source.provider, raw), raw),
          ]),
        )
      return plans
    },
    fold: (plan) => guard(plan.facts, () => plan.fold()),
    stop: (id) => void stopped.add(id),
    tick(watermark, due) {
      context.watermark = Math.max(context.watermark, watermark)
      for (const key of due) {
        const kept = state.get(key) as Opened | Held | Gathered | Flow | Owed | undefined // only these are kept under a timed key
        if (kept === undefined) continue
        if (isOwed(kept)) {
          settleOwed(key, kept, context.watermark, context)
          continue
        }
        if (isFlow(kept)) {
          const machine = machines.get(kept.flow)
          if (machine === undefined) state.put(key, undefined, 0)
          else machine.due(key, kept, context.watermark)
          continue
        }
        if (isGathered(kept)) {
          const detector = measures.get(kept.gathered)
          const found = detector && judgeGathered(detector, kept)
          if (found !== undefined) context.tellOnce(found)
          state.put(key, undefined, 0)
          continue
        }
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
        context.close(opened)
      }
    },
    context,
  }
}
