/**
 * Chains of events of one group. The law: a chain holds at an event of a last step when for every step there is an
 * event in [t - within, t], none before those it comes after, and none of a kind that must be absent strictly between
 * a step and the one before it; of one time the order is open, so it counts as the right one.
 *
 * Events are taken in order of time once none before them is expected any more, so each is looked at once and what is
 * remembered of a group is a few marks for each step. A chain without absences is told at once: later events cannot
 * make it false.
 */
import type { KeyEvent } from '../model/event.ts'
import type { Criticality } from '../model/operations.ts'
import type { SequenceDetector } from './detectors.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf, timeText } from './evidence.ts'
import { begin, type Opened, raise, witness } from './opened.ts'
import type { Note } from './series.ts'
import { entityOf, readGroup, signalId } from './signal.ts'

export interface SequenceStep {
  readonly matches: (event: KeyEvent, raw: unknown) => boolean
  /** Numbers of earlier steps. */
  readonly after: readonly number[]
  readonly count: number
  /** What must not happen between the step before and this one. */
  readonly without: ((event: KeyEvent, raw: unknown) => boolean) | undefined
}

export interface Chain {
  readonly withinMs: number
  readonly severity: Criticality
  readonly steps: readonly SequenceStep[]
}

type Witness = readonly [eventId: string, at: number, note: Note]

/** An event that a step can rest on: where what it needs begins, and what that was. */
interface Mark {
  readonly at: number
  readonly begin: number
  readonly trail: readonly Witness[]
}

interface StepState {
  /** The latest events, as many as the step counts. */
  recent: Mark[]
  /** The one with the latest begin. */
  best: Mark | null
  /** For each step before it, the best mark with nothing forbidden behind it. */
  ready: (Mark | null)[]
}

/** An event that waits for its place in the order. */
interface Item {
  readonly at: number
  readonly eventId: string
  readonly note: Note
  /** By chain: the steps it matches, and those it forbids. */
  readonly steps: readonly (readonly number[])[]
  readonly breaks: readonly (readonly number[])[]
  /** The alert that it may end. */
  readonly opened: Opened
}

/** What is kept of a group, under a timed key. */
export interface Flow {
  readonly flow: string
  readonly queue: Item[]
  readonly chains: StepState[][]
  /** Alerts by bucket, as long as they may change. */
  readonly opened: Record<string, Opened>
  /** Ends that were told before their turn. */
  readonly told: string[]
  until: number
}

/** Events of one group within the lateness; a flood of more has no order that matters. */
const MAX_QUEUE = 1000

export const isFlow = (value: object): value is Flow => 'flow' in value

const emptyStep = ({ after }: SequenceStep): StepState => ({
  recent: [],
  best: null,
  ready: after.map(() => null),
})
const later = (a: Mark | null, b: Mark): Mark => (a === null || b.begin >= a.begin ? b : a)
const isLast = (steps: readonly SequenceStep[], index: number) =>
  !steps.some(({ after }) => after.includes(index))

/** Takes the events of one time. @returns for each that ends the chain, on which events it rests */
const advance = (
  chain: Chain,
  number: number,
  states: StepState[],
  items: readonly Item[],
): (readonly [Item, Mark])[] => {
  const { steps, withinMs } = chain
  const ended: Item[] = []
  steps.forEach((step, index) => {
    const state = states[index]
    if (state === undefined) return
    step.after.forEach((before, place) => {
      const best = states[before]?.best
      // what came at this very time may come before; earlier marks were handed over then
      if (best != null && best.at === items[0]?.at)
        state.ready[place] = later(state.ready[place] ?? null, best)
    })
    for (const item of items) {
      if (!item.steps[number]?.includes(index)) continue
      const ready = state.ready.flatMap((one) => one ?? [])
      if (ready.length < step.after.length) continue
      const own: Witness = [item.eventId, item.at, item.note]
      const mark: Mark = {
        at: item.at,
        begin: Math.min(item.at, ...ready.map((one) => one.begin)),
        trail: [...ready.flatMap(({ trail }) => trail), own],
      }
      state.recent = [...state.recent, mark].slice(-step.count)
      const [first] = state.recent
      if (state.recent.length < step.count || first === undefined) continue
      const whole = {
        ...mark,
        begin: Math.min(...state.recent.map((one) => one.begin)),
        trail: state.recent.flatMap(({ trail }) => trail),
      }
      state.best = later(state.best, whole)
      if (isLast(steps, index)) ended.push(item)
    }
  })
  const at = items[0]?.at ?? 0
  steps.forEach((step, index) => {
    const state = states[index]
    if (state === undefined) return
    const broken = items.some((item) => item.breaks[number]?.includes(index))
    step.after.forEach((before, place) => {
      const best = states[before]?.best
      if (best != null && best.at === at) state.ready[place] = later(state.ready[place] ?? null, best)
      const ready = state.ready[place]
      if (broken && ready != null && ready.at < at) state.ready[place] = null
    })
  })
  const last = steps.flatMap((_, index) => (isLast(steps, index) ? [states[index]?.best ?? null] : []))
  if (last.includes(null)) return []
  const marks = last.flatMap((one) => one ?? [])
  const whole: Mark = {
    at,
    begin: Math.min(...marks.map((one) => one.begin)),
    trail: marks.flatMap(({ trail }) => trail),
  }
  return whole.begin >= at - withinMs ? ended.map((item) => [item, whole] as const) : []
}

const byOrder = (a: Item, b: Item) => a.at - b.at || (a.eventId < b.eventId ? -1 : 1)

/** Takes all of these events, in order. */
const take = (
  chains: readonly Chain[],
  states: StepState[][],
  items: readonly Item[],
  met: (chain: Chain, item: Item, mark: Mark) => void,
) => {
  for (let from = 0; from < items.length; ) {
    const at = items[from]?.at
    let to = from
    while (items[to]?.at === at) to++
    chains.forEach((chain, number) => {
      for (const [item, mark] of advance(chain, number, states[number] ?? [], items.slice(from, to)))
        met(chain, item, mark)
    })
    from = to
  }
}

export const sequenceMachine = (detector: SequenceDetector, context: Context) => {
  const { facts, chains, bucketMs } = detector
  const isPlain = chains.every(({ steps }) => steps.every(({ without }) => without === undefined))
  const longest = Math.max(...chains.map(({ withinMs }) => withinMs))

  const met = (flow: Flow, chain: Chain, item: Item, mark: Mark) => {
    const end = `${chains.indexOf(chain)}|${item.eventId}`
    if (flow.told.includes(end)) return
    flow.told.push(end)
    const bucket = bucketMs === 0 ? item.eventId : String(Math.floor(item.at / bucketMs) * bucketMs)
    const known = flow.opened[bucket]
    const opened = known ?? item.opened
    flow.opened[bucket] = opened
    for (const [eventId, at, note] of mark.trail)
      if (!opened.draft.evidence.event_ids.includes(eventId)) witness(opened, eventId, timeText(at), note)
    if (known === undefined) {
      opened.draft.severity = chain.severity
      raise(opened, opened.draft.evidence.total, mark.begin, item.at)
      opened.next = opened.draft.observed * 10
      return context.tell(opened)
    }
    if (raise(opened, opened.draft.evidence.total, mark.begin, item.at, chain.severity)) context.tell(opened)
  }

  /** When events come in order, the next one of the group or the end settles it; else a tick must. */
  const put = (key: string, flow: Flow) => {
    const next = context.finalizeMs === 0 ? [] : flow.queue.map(({ at }) => at + 1)
    context.state.put(key, flow, Math.min(flow.until, ...next))
  }

  const isOver = (bucket: string, { draft }: Opened, watermark: number) =>
    (bucketMs === 0 ? Date.parse(draft.window.end) : Number(bucket) + bucketMs) + context.finalizeMs <=
    watermark

  /** Takes what no earlier event is expected before. */
  const settle = (flow: Flow, watermark: number) => {
    flow.queue.sort(byOrder)
    const ready = flow.queue.filter(({ at }) => at < watermark)
    flow.queue.splice(0, ready.length)
    take(chains, flow.chains, ready, (chain, item, mark) => met(flow, chain, item, mark))
    const gone = new Set(ready.map(({ eventId }) => eventId))
    flow.told.splice(
      0,
      flow.told.length,
      ...flow.told.filter((one) => !gone.has(one.slice(one.indexOf('|') + 1))),
    )
    for (const [bucket, opened] of Object.entries(flow.opened))
      if (isOver(bucket, opened, watermark)) {
        context.close(opened)
        delete flow.opened[bucket]
      }
  }

  return {
    longest,
    due(key: string, flow: Flow, watermark: number): void {
      settle(flow, watermark)
      if (flow.queue.length === 0 && flow.until <= watermark) context.state.put(key, undefined, 0)
      else put(key, flow)
    },
    add(key: string, item: Item): void {
      const fresh = (): Flow => ({
        flow: facts.id,
        queue: [],
        chains: chains.map(({ steps }) => steps.map(emptyStep)),
        opened: {},
        told: [],
        until: 0,
      })
      const flow = (context.state.get(key) as Flow | undefined) ?? fresh() // only these are kept under this key
      settle(flow, context.watermark)
      if (flow.queue.length >= MAX_QUEUE) {
        context.full.add(facts.id)
        return
      }
      flow.queue.push(item)
      flow.queue.sort(byOrder)
      flow.until = Math.max(flow.until, item.at + longest + Math.max(bucketMs, 1) + context.finalizeMs)
      if (isPlain && context.finalizeMs > 0)
        take(chains, structuredClone(flow.chains), flow.queue, (chain, one, mark) =>
          met(flow, chain, one, mark),
        )
      put(key, flow)
    },
  }
}

export const sequenceStep = (
  detector: SequenceDetector,
  context: Context,
  machine: ReturnType<typeof sequenceMachine>,
): Step => {
  const { facts, rule, by, group, chains, bucketMs } = detector
  return (event, at, raw): Plan | undefined => {
    if (!rule.matches(event, raw)) return undefined
    const numbers = (test: (step: SequenceStep) => boolean | undefined) =>
      chains.map(({ steps }) => steps.flatMap((step, index) => (test(step) ? [index] : [])))
    const steps = numbers((step) => step.matches(event, raw))
    const breaks = numbers((step) => step.without?.(event, raw))
    if ([...steps, ...breaks].every((one) => one.length === 0)) return undefined
    const values = readGroup(group, event, raw)
    if (values === undefined) {
      context.ungrouped++
      return undefined
    }
    const key = `open|${facts.id}|${facts.version}|flow|${values.join('|')}`
    return {
      facts,
      needs: (wants) => wants.value(key),
      fold() {
        const opened = begin(facts, event, {
          alertId: signalId(facts, [
            ...values,
            bucketMs === 0 ? event.action_id : Math.floor(at / bucketMs) * bucketMs,
          ]),
          severity: facts.severity,
          threshold: Math.max(...chains.map((one) => one.steps.length)),
          timespan: `${machine.longest / 60_000}m`,
          entity: entityOf(by, values),
        })
        machine.add(key, { at, eventId: event.event_id, note: noteOf(event), steps, breaks, opened })
      },
    }
  }
}
