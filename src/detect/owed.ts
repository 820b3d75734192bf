/**
 * What must come and does not: `overdue` and `silence`. The law: an event at t that begins a term is told at
 * t + due when nothing that ends it came in [t, t + due] — for silence, where every event begins a term and ends the
 * one before, in (t, t + due]. The verdict falls when no event before the end of the term is expected any more.
 */
import type { OwedDetector } from './detectors.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf, timeText } from './evidence.ts'
import { begin, type Opened, witness } from './opened.ts'
import { entityOf, readGroup, severityOf, signalId } from './signal.ts'

interface Term {
  readonly at: number
  readonly end: number
  readonly opened: Opened
}

/** What is kept of a group, under a timed key. */
export interface Owed {
  readonly owed: string
  readonly terms: readonly Term[]
  /** Times of what ends a term, the newest. */
  readonly came: readonly number[]
  readonly until: number
  /** Alerts told lately: each is told once. */
  readonly told: readonly string[]
}

/** More of them within the lateness say no more than these. */
const MAX_CAME = 64
const MAX_TOLD = 16

export const isOwed = (value: object): value is Owed => 'owed' in value

const ends = (term: Term, came: number, silence: boolean) =>
  came <= term.end && (silence ? came > term.at : came >= term.at)

const put = (context: Context, key: string, owed: Owed) =>
  context.state.put(key, owed, Math.min(owed.until, ...owed.terms.map(({ end }) => end)))

/** Tells the terms that are over. Time that nobody has lived through, behind the end of the input, is not over. */
export const settleOwed = (key: string, owed: Owed, watermark: number, context: Context): void => {
  const now = Math.min(watermark, context.clock)
  const told = [...owed.told]
  for (const { end, opened } of owed.terms) {
    if (end > now || told.includes(opened.draft.alert_id)) continue
    context.tellOnce(opened)
    told.push(opened.draft.alert_id)
  }
  const terms = owed.terms.filter(({ end }) => end > watermark)
  if (terms.length === 0 && owed.until <= watermark) context.state.put(key, undefined, 0)
  else put(context, key, { ...owed, terms, told: told.slice(-MAX_TOLD) })
}

export const owedStep = (detector: OwedDetector, context: Context): Step => {
  const { facts, rule, expect, by, group, due, sooner, bucketMs } = detector
  const { state } = context
  const silence = expect === undefined
  return (event, at, raw): Plan | undefined => {
    const begins = rule.matches(event, raw)
    const came = expect?.matches(event, raw) ?? begins
    if (!begins && !came) return undefined
    const values = readGroup(group, event, raw)
    if (values === undefined) {
      context.ungrouped++
      return undefined
    }
    const key = `open|${facts.id}|${facts.version}|owed|${values.join('|')}`
    const term = (): Term => {
      const { ms, text } = sooner?.matches(event, raw) ? sooner.due : due
      const bucket = bucketMs === 0 ? event.action_id : Math.floor(at / bucketMs) * bucketMs
      const opened = begin(facts, event, {
        alertId: signalId(facts, [...values, bucket]),
        severity: severityOf(facts, event, raw),
        threshold: 1,
        timespan: text,
        entity: entityOf(by, values),
      })
      witness(opened, event.event_id, event.time.event, noteOf(event))
      opened.draft.observed = 1
      opened.draft.window = { start: timeText(at), end: timeText(at + ms) }
      return { at, end: at + ms, opened }
    }
    return {
      facts,
      needs: (wants) => wants.value(key),
      fold() {
        const known = state.get(key) as Owed | undefined // only these are kept under this key
        const seen = came
          ? [...(known?.came ?? []), at].sort((a, b) => a - b).slice(-MAX_CAME)
          : (known?.came ?? [])
        const all = begins ? [...(known?.terms ?? []), term()] : (known?.terms ?? [])
        const terms = all.filter((one) => !seen.some((time) => ends(one, time, silence)))
        const until = Math.max(
          known?.until ?? 0,
          at + Math.max(due.ms, sooner?.due.ms ?? 0) + context.finalizeMs,
        )
        put(context, key, { owed: facts.id, terms, came: seen, until, told: known?.told ?? [] })
      },
    }
  }
}
