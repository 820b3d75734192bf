/**
 * Conditions that more events can make false: an upper bound, a sum, an average, a percentile. The law: a bucket is
 * judged once, when no event before its end is expected any more; it holds when some event in it ends a window
 * [t - timespan, t] whose measure meets the condition. A group with more events than are held has no verdict.
 */
import type { KeyEvent } from '../model/event.ts'
import type { Measure, MeasureDetector } from './detectors.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf, timeText } from './evidence.ts'
import { begin, type Opened, raise, witness } from './opened.ts'
import type { Note } from './series.ts'
import { entityOf, readGroup, signalId } from './signal.ts'

/** An event of a window: `[at, what is measured, action, event id, how it reads]`. */
type Item = readonly [at: number, value: string, action: string, eventId: string, note: Note | undefined]

/** What is kept of a group and bucket, under a timed key. */
export interface Gathered {
  readonly gathered: string
  /** Begin of the bucket, milliseconds since 1970. */
  readonly bucket: number
  readonly items: Item[]
  /** The alert to be, begun by the first event. */
  opened: Opened
  first: readonly [at: number, eventId: string]
}

/** Events held of one group and bucket, about 1 MB; a flood is a case for counting. */
const MAX_ITEMS = 10_000

export const isGathered = (value: object): value is Gathered => 'gathered' in value

const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b)

/** With linear interpolation between neighbors, as most statistics programs do. */
export const percentileOf = (values: readonly number[], percentile: number): number => {
  const all = sorted(values)
  const place = ((all.length - 1) * percentile) / 100
  const below = all[Math.floor(place)] ?? 0
  const above = all[Math.ceil(place)] ?? below
  return below + (above - below) * (place - Math.floor(place))
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

/** @param values of the actions in a window, not empty */
export const measured = (measure: Measure, values: readonly string[], percentile: number): number => {
  switch (measure) {
    case 'actions':
      return values.length
    case 'values':
    case 'rules':
      return new Set(values).size
    case 'sum':
      return sum(values.map(Number))
    case 'avg':
      return sum(values.map(Number)) / values.length
    case 'percentile':
      return percentileOf(values.map(Number), percentile)
  }
}

const isNumeric = (measure: Measure) => measure === 'sum' || measure === 'avg' || measure === 'percentile'

/** Judges a bucket. @returns the alert, if there is one */
export const judgeGathered = (
  { measure, percentile, holds, timespanMs, bucketMs }: MeasureDetector,
  { items, opened, bucket }: Gathered,
): Opened | undefined => {
  if (items.length >= MAX_ITEMS) return undefined
  const seen = new Set<string>()
  const all = [...items]
    .sort(([a, , , left], [b, , , right]) => a - b || (left < right ? -1 : 1))
    .filter(([, value, action]) => {
      const key = measure === 'rules' ? `${action}|${value}` : action
      return !seen.has(key) && seen.add(key) // copies of one action count once
    })
  let oldest = 0
  let found = false
  let told = 0
  all.forEach(([end], index) => {
    while ((all[oldest]?.[0] ?? end) < end - timespanMs) oldest++
    if (end < bucket || end >= bucket + bucketMs || all[index + 1]?.[0] === end) return
    const window = all.slice(oldest, index + 1)
    const observed = measured(
      measure,
      window.map(([, value]) => value),
      percentile,
    )
    if (!holds(observed)) return
    if (!found) opened.draft.observed = observed
    else raise(opened, observed, end - timespanMs, end)
    if (!found) opened.draft.window = { start: timeText(end - timespanMs), end: timeText(end) }
    found = true
    for (const [at, , , eventId, note] of all.slice(Math.max(oldest, told), index + 1))
      witness(opened, eventId, timeText(at), note)
    told = index + 1
  })
  return found ? opened : undefined
}

export const measureStep = (detector: MeasureDetector, context: Context): Step => {
  const { facts, sides, groupBy, measure, timespanMs, timespan, bucketMs, threshold } = detector
  const { state } = context

  const add = (key: string, bucket: number, item: Item, event: KeyEvent, values: readonly string[]) => {
    const known = state.get(key) as Gathered | undefined // only these are kept under this key
    const isFirst = (first: Gathered['first']) =>
      item[0] >= bucket &&
      (item[0] < first[0] || first[0] < bucket || (item[0] === first[0] && item[3] < first[1]))
    const opened = () =>
      begin(facts, event, {
        alertId: signalId(facts, [...values, bucket]),
        severity: facts.severity,
        threshold,
        timespan,
        entity: entityOf(groupBy, values),
      })
    const one: Gathered = known ?? {
      gathered: facts.id,
      bucket,
      items: [],
      opened: opened(),
      first: [item[0], item[3]],
    }
    if (known !== undefined && isFirst(known.first)) {
      one.opened = opened()
      one.first = [item[0], item[3]]
    }
    if (one.items.length < MAX_ITEMS) one.items.push(item)
    if (one.items.length === MAX_ITEMS) context.full.add(facts.id)
    state.put(key, one, bucket + bucketMs)
  }

  return (event, at, raw): Plan | undefined => {
    const items = sides.flatMap(({ rule, index, group, value }) => {
      if (!rule.matches(event, raw)) return []
      const values = readGroup(group, event, raw)
      const read = measure === 'rules' ? index : value === undefined ? event.action_id : value(event, raw)
      const counts = read !== undefined && read !== null && typeof read !== 'object'
      if (values !== undefined && counts && (!isNumeric(measure) || Number.isFinite(Number(read))))
        return [{ values, item: [at, String(read), event.action_id, event.event_id, noteOf(event)] as const }]
      context.ungrouped++
      return []
    })
    const counted = measure === 'rules' ? items : items.slice(0, 1)
    if (counted.length === 0) return undefined
    const places = counted.flatMap(({ values, item }) => {
      const found = []
      for (let bucket = Math.floor(at / bucketMs) * bucketMs; bucket <= at + timespanMs; bucket += bucketMs)
        found.push({
          values,
          item,
          bucket,
          key: `open|${facts.id}|${facts.version}|${values.join('|')}|${bucket}`,
        })
      return found
    })
    return {
      facts,
      needs(wants) {
        for (const { key } of places) wants.value(key)
      },
      fold() {
        for (const { key, bucket, item, values } of places)
          if (context.watermark < bucket + bucketMs) add(key, bucket, item, event, values) // else it is judged
      },
    }
  }
}
