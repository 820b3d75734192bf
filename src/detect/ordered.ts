/**
 * Rules that match one after the other. The law: a window ending at t holds when events e1, e2, … in [t - timespan, t]
 * match rule 1, rule 2, … at times that never fall; of one time the order is open, so it counts as the right one.
 */
import type { Crossing, Entry, Series } from './series.ts'

/** How far a history has come: for each rule the latest begin of a chain that ends with it. */
interface Progress {
  end: number
  /** Before `end`. */
  readonly before: number[]
  /** Rules that matched at `end`. */
  readonly at: Set<number>
}

const NEVER = Number.NEGATIVE_INFINITY

/** The begins of chains when these rules match at one time: one of them may be followed by the next. */
const advanced = (before: readonly number[], at: ReadonlySet<number>, time: number): number[] => {
  const begins = [...before]
  for (let rule = 0; rule < begins.length; rule++)
    if (at.has(rule))
      begins[rule] = Math.max(begins[rule] ?? NEVER, rule === 0 ? time : (begins[rule - 1] ?? NEVER))
  return begins
}

/** What is known of a series whose events came in order: nothing is counted twice. */
const known = new WeakMap<Series, Progress>()

const walk = (
  entries: readonly Entry[],
  rules: number,
  onEnd: (at: number, begin: number) => void,
): Progress => {
  let progress: Progress = { end: NEVER, before: new Array<number>(rules).fill(NEVER), at: new Set() }
  entries.forEach(({ at, value }, index) => {
    if (at > progress.end)
      progress = { end: at, before: advanced(progress.before, progress.at, progress.end), at: new Set() }
    progress.at.add(Number(value))
    if (entries[index + 1]?.at !== at) onEnd(at, advanced(progress.before, progress.at, at).at(-1) ?? NEVER)
  })
  return progress
}

/**
 * The windows that an entry made hold: those that end at it or at a later entry.
 * @param entry was just added to the series; its value is the number of its rule
 * @param rules how many there are
 */
export const orderedCrossings = (series: Series, entry: Entry, rules: number): Crossing[] => {
  const { at } = entry
  const back = series.timespanMs
  const progress = known.get(series)
  if (progress !== undefined && at >= progress.end && !series.hasLater(at)) {
    if (at > progress.end)
      known.set(series, {
        end: at,
        before: advanced(progress.before, progress.at, progress.end),
        at: new Set([Number(entry.value)]),
      })
    else progress.at.add(Number(entry.value))
    const now = known.get(series) ?? progress
    const begin = advanced(now.before, now.at, at).at(-1) ?? NEVER
    return begin >= at - back ? [{ at, observed: rules }] : []
  }
  const found: Crossing[] = []
  const walked = walk(series.between(at - back, at + back), rules, (end, begin) => {
    if (end >= at && begin >= end - back) found.push({ at: end, observed: rules })
  })
  if (series.hasLater(at)) known.delete(series)
  else known.set(series, walked)
  return found
}
