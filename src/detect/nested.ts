/**
 * Correlations of which every rule counts by itself, and correlations of correlations. The windows of an inner
 * correlation that meet its condition are events of the outer one, at the time they end: whatever the order, the same
 * windows are found, and each is counted once.
 */
import type { KeyEvent } from '../model/event.ts'
import { CountPlan, Group } from './count.ts'
import type { CountDetector, InnerSide } from './detectors.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf } from './evidence.ts'
import { orderedCrossings } from './ordered.ts'
import { readGroup } from './signal.ts'
import type { Wants } from './state.ts'

const nameOf = ({ facts }: CountDetector, values: readonly string[]) =>
  `${facts.id}|${facts.version}|${values.join('|')}`

/** An event of an inner correlation. */
class InnerPlan implements Plan {
  readonly #outer: CountDetector
  readonly #side: InnerSide
  readonly #context: Context
  readonly #event: KeyEvent
  readonly #at: number
  readonly #values: readonly string[]
  readonly #counted: string
  /** Of the inner group, apart from that of the inner correlation's own alerts. */
  readonly #name: string

  constructor(
    outer: CountDetector,
    side: InnerSide,
    context: Context,
    event: KeyEvent,
    at: number,
    values: readonly string[],
    counted: string,
  ) {
    this.#outer = outer
    this.#side = side
    this.#context = context
    this.#event = event
    this.#at = at
    this.#values = values
    this.#counted = counted
    this.#name = `${outer.facts.id}|${outer.facts.version}|in|${nameOf(side.detector, values)}`
  }

  get facts() {
    return this.#outer.facts
  }

  /** The outer event that a window ending at `end` is. */
  #outerAt(end: number): CountPlan {
    const { group, index, value, detector } = this.#side
    const of = (at: number) => this.#values[at] ?? ''
    const values = group.map(of)
    const counted =
      this.#outer.counts === 'rules'
        ? String(index)
        : value === undefined
          ? `${nameOf(detector, this.#values)}|${end}`
          : of(value)
    return new CountPlan(
      this.#outer,
      this.#context,
      this.#event,
      end,
      values,
      new Group(nameOf(this.#outer, values)),
      counted,
    )
  }

  needs(wants: Wants): void {
    const { timespanMs } = this.#side.detector
    const chunk = Math.floor(this.#at / timespanMs)
    wants.chunks(this.#name, timespanMs, chunk - 1, chunk + 1)
    const last = this.#at + timespanMs
    for (let end = this.#at; end < last; end += this.#outer.timespanMs) this.#outerAt(end).needs(wants)
    this.#outerAt(last).needs(wants)
  }

  fold(): void {
    const { detector } = this.#side
    const { state, finalizeMs } = this.#context
    const at = this.#at
    const series = state.series(this.#name, detector.timespanMs)
    const entry = series.add(at, this.#counted, this.#event.event_id, () => noteOf(this.#event))
    const ends = detector.ordered
      ? orderedCrossings(series, entry, detector.threshold)
      : series.crossings(at, detector.threshold)
    for (const { at: end } of ends) this.#outerAt(end).foldOnce()
    const chunk = series.chunkOf(at)
    state.added(this.#name, chunk, entry, (chunk + 2) * detector.timespanMs + finalizeMs)
  }
}

class Plans implements Plan {
  readonly facts: Plan['facts']
  readonly #all: readonly Plan[]

  constructor(facts: Plan['facts'], all: readonly Plan[]) {
    this.facts = facts
    this.#all = all
  }

  needs(wants: Wants): void {
    for (const one of this.#all) one.needs(wants)
  }

  fold(): void {
    for (const one of this.#all) one.fold()
  }
}

type Make = (values: readonly string[], counted: string) => Plan

/** One plan for each rule that matches. */
const plansOf = (
  { sides, counts }: CountDetector,
  context: Context,
  [event, , raw]: Parameters<Step>,
  make: Make,
): Plan[] =>
  sides.flatMap(({ rule, index, group, value }) => {
    if (!rule.matches(event, raw)) return []
    const values = readGroup(group, event, raw)
    const counted = counts === 'rules' ? index : value === undefined ? event.action_id : value(event, raw)
    if (values !== undefined && counted !== undefined && counted !== null && typeof counted !== 'object')
      return [make(values, String(counted))]
    context.ungrouped++
    return []
  })

export const everyRuleStep =
  (detector: CountDetector, context: Context): Step =>
  (...asked) => {
    const [event, at] = asked
    const own = plansOf(
      detector,
      context,
      asked,
      (values, counted) =>
        new CountPlan(detector, context, event, at, values, new Group(nameOf(detector, values)), counted),
    )
    const inner = detector.inner.flatMap((side) =>
      plansOf(
        side.detector,
        context,
        asked,
        (values, counted) => new InnerPlan(detector, side, context, event, at, values, counted),
      ),
    )
    const all = [...own, ...inner]
    return all.length > 1 ? new Plans(detector.facts, all) : all[0]
  }
