/** Detectors that count events or distinct values of a group in a sliding window. */
import type { KeyEvent } from '../model/event.ts'
import { memo } from '../model/memo.ts'
import type { CountDetector } from './definition.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf, timeText } from './evidence.ts'
import { begin, type Opened, raise, witness, witnessBetween } from './opened.ts'
import { orderedCrossings } from './ordered.ts'
import type { Series } from './series.ts'
import { entityOf, readGroup, signalId } from './signal.ts'
import type { Wants } from './state.ts'

/** Groups whose keys are remembered, for each detector. */
const MAX_GROUPS = 50_000

/** Names the state of one group. */
export class Group {
  readonly name: string
  /** Of the two buckets asked for last: an event asks for the one it is in and the next. */
  #buckets: [number, number] = [Number.NaN, Number.NaN]
  #keys: [string, string] = ['', '']

  constructor(name: string) {
    this.name = name
  }

  /** Of the alert of a bucket. */
  keyOf(bucket: number): string {
    if (bucket === this.#buckets[0]) return this.#keys[0]
    if (bucket === this.#buckets[1]) return this.#keys[1]
    const key = `open|${this.name}|${bucket}`
    this.#buckets = [this.#buckets[1], bucket]
    this.#keys = [this.#keys[1], key]
    return key
  }
}

export const countStep = (detector: CountDetector, context: Context): Step => {
  const { facts, sides } = detector
  const groupOf = memo((values: string) => new Group(`${facts.id}|${facts.version}|${values}`), MAX_GROUPS)
  return (event, at, raw) => {
    const side = sides.find(({ rule }) => rule.matches(event, raw))
    if (side === undefined) return undefined
    const values = readGroup(side.group, event, raw)
    const counted = side.value === undefined ? event.action_id : side.value(event, raw)
    if (values === undefined || counted === undefined || counted === null || typeof counted === 'object') {
      context.ungrouped++
      return undefined
    }
    return new CountPlan(detector, context, event, at, values, groupOf(values.join('|')), String(counted))
  }
}

/** One event of a group. A class, not closures: there is one for most events. */
export class CountPlan implements Plan {
  readonly #detector: CountDetector
  readonly #context: Context
  readonly #event: KeyEvent
  readonly #at: number
  readonly #values: readonly string[]
  readonly #group: Group
  readonly #counted: string

  constructor(
    detector: CountDetector,
    context: Context,
    event: KeyEvent,
    at: number,
    values: readonly string[],
    group: Group,
    counted: string,
  ) {
    this.#detector = detector
    this.#context = context
    this.#event = event
    this.#at = at
    this.#values = values
    this.#group = group
    this.#counted = counted
  }

  get facts() {
    return this.#detector.facts
  }

  #bucketOf(time: number): number {
    const { bucketMs } = this.#detector
    return bucketMs === 0 ? time : Math.floor(time / bucketMs) * bucketMs
  }

  #openedIn(bucket: number): Opened | undefined {
    return this.#context.state.get(this.#group.keyOf(bucket)) as Opened | undefined // only these are kept under this key
  }

  #keep(opened: Opened, bucket: number): void {
    const due = bucket + this.#detector.bucketMs + this.#context.finalizeMs
    this.#context.state.put(this.#group.keyOf(bucket), opened, due)
  }

  needs(wants: Wants): void {
    const { timespanMs, bucketMs } = this.#detector
    const chunk = Math.floor(this.#at / timespanMs)
    wants.chunks(this.#group.name, timespanMs, chunk - 1, chunk + 1)
    if (bucketMs === 0) return
    for (let bucket = this.#bucketOf(this.#at); bucket <= this.#at + timespanMs; bucket += bucketMs)
      wants.value(this.#group.keyOf(bucket))
  }

  /** Counts it unless it is there already: a window is found again by every event in it. */
  foldOnce(): void {
    const series = this.#context.state.series(this.#group.name, this.#detector.timespanMs)
    if (!series.between(this.#at, this.#at).some(({ value }) => value === this.#counted)) this.fold()
  }

  fold(): void {
    const { timespanMs, threshold, bucketMs } = this.#detector
    const { state, finalizeMs } = this.#context
    const at = this.#at
    const series = state.series(this.#group.name, timespanMs)
    const entry = series.add(at, this.#counted, this.#event.event_id, () => noteOf(this.#event))

    /** The windows that an event changes end at most one timespan behind it. */
    let allOpen = bucketMs > 0
    if (bucketMs > 0)
      for (let bucket = this.#bucketOf(at); bucket <= at + timespanMs; bucket += bucketMs) {
        const opened = this.#openedIn(bucket)
        if (opened === undefined) {
          if (bucket <= at || series.between(bucket, at + timespanMs).length > 0) allOpen = false
        } else if (at <= opened.upto && at >= opened.from) {
          witnessBetween(opened, entry.eventId, entry.note)
          this.#keep(opened, bucket)
        }
      }
    if (this.#detector.ordered)
      for (const { at: end, observed } of orderedCrossings(series, entry, threshold))
        this.#met(series, end, observed)
    else if (!series.hasLater(at)) {
      const observed = series.countAt(at)
      if (observed >= threshold) this.#met(series, at, observed)
    } else if (!allOpen)
      for (const { at: end, observed } of series.crossings(at, threshold))
        if (bucketMs > 0 || observed === threshold) this.#met(series, end, observed)
    const chunk = series.chunkOf(at)
    state.added(this.#group.name, chunk, entry, (chunk + 2) * timespanMs + finalizeMs)
  }

  /** The window that ends at `end` meets the condition. */
  #met(series: Series, end: number, observed: number): void {
    const { timespanMs, bucketMs } = this.#detector
    const bucket = this.#bucketOf(end)
    const known = bucketMs === 0 ? undefined : this.#openedIn(bucket)
    const opened = known ?? this.#begin(bucket, observed)
    if (end > opened.upto) {
      for (const one of series.between(Math.max(end - timespanMs, opened.upto + 1), end))
        witness(opened, one.eventId, timeText(one.at), one.note)
      opened.from = Math.min(opened.from, end - timespanMs)
      opened.upto = end
    }
    const revised = raise(opened, observed, end - timespanMs, end)
    if (bucketMs === 0) this.#context.tellOnce(opened)
    else {
      if (known === undefined || revised) this.#context.tell(opened)
      this.#keep(opened, bucket)
    }
  }

  #begin(bucket: number, observed: number): Opened {
    const { facts, groupBy, threshold, timespan, bucketMs } = this.#detector
    const event = this.#event
    const opened = begin(facts, event, {
      alertId: signalId(facts, [...this.#values, bucketMs === 0 ? event.action_id : bucket]),
      severity: facts.severity,
      threshold,
      timespan,
      entity: entityOf(groupBy, this.#values),
    })
    opened.next = observed * 10
    return opened
  }
}
