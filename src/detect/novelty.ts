/**
 * Detectors of what was not seen before: a pair of values, decided once per UTC day on the days it was seen.
 *
 * A verdict on an absence can be wrong as long as an earlier event may come: it waits until none is expected
 * before its day, and is withdrawn when one comes after all.
 */

import { memo } from '../model/memo.ts'
import type { NoveltyDetector } from './definition.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf } from './evidence.ts'
import { begin, type Opened, raise, revise, witness } from './opened.ts'
import { entityOf, readGroup, severityOf, signalId } from './signal.ts'

const DAY_MS = 86_400_000
/** An alert is open for a day and a night: an event of an earlier day can withdraw those of the next two. */
const OPEN_DAYS = 2

/** Days since 1970 on which a pair was seen, in order. */
interface Seen {
  readonly days: number[]
}

/** A history: it begins anew when nothing was seen for as long as a pair is remembered. */
interface First {
  readonly day: number
  readonly at: number
  /** Newest day. */
  readonly last: number
}

/** With a day more; one that is too far before does not belong to it. */
const joined = (history: First, day: number, at: number, memoryDays: number): First =>
  history.day - day > memoryDays
    ? history
    : {
        day: Math.min(day, history.day),
        at: Math.min(at, history.at),
        last: Math.max(day, history.last),
      }

/** Pairs whose keys are remembered, for each detector. */
const MAX_PAIRS = 50_000

/** What is remembered of one pair around one day. */
interface Around {
  day: number
  /** Seen on that day already, with no alert: most events say nothing new. */
  settled: boolean
  /** Names of its state: the days it was seen on, and its alerts on that day and those behind it. */
  names: readonly string[]
}

const NOTHING: readonly string[] = []

export const noveltyStep = (detector: NoveltyDetector, context: Context): Step => {
  const { facts, rule, pair, pairGetters, learnOn, learnDays, memoryDays, certain } = detector
  const { state } = context
  const prefix = `${facts.id}|${facts.version}|`
  const aroundOf = memo((): Around => ({ day: Number.NaN, settled: false, names: NOTHING }), MAX_PAIRS)
  const firstOf = memo((subject: string) => `first|${prefix}${subject}`, MAX_PAIRS)

  return (event, at, raw): Plan | undefined => {
    if (!rule.matches(event, raw)) return undefined
    const values = readGroup(pairGetters, event, raw)
    const subject = learnOn.map((get) => get(event, raw)).find((value) => typeof value === 'string')
    if (values === undefined || subject === undefined) {
      context.ungrouped++
      return undefined
    }
    const day = Math.floor(at / DAY_MS)
    const name = values.join('|')
    const around = aroundOf(name)
    /** Its days are remembered until then: longer than that nothing is settled. */
    const isRemembered = context.watermark < (day + memoryDays) * DAY_MS
    if (around.day === day && around.settled && isRemembered) return undefined
    if (around.day !== day || around.names.length === 0) {
      around.day = day
      around.settled = false
      around.names = [
        `days|${prefix}${name}`,
        ...Array.from({ length: OPEN_DAYS + 1 }, (_, later) => `open|${prefix}${name}|${day + later}`),
      ]
    }
    const [seenKey = '', ...openKeys] = around.names
    const firstKey = firstOf(subject)
    const keyOf = (one: number) => openKeys[one - day] ?? ''
    const openedOn = (one: number) => state.get(keyOf(one)) as Opened | undefined // only these are kept under this key
    const keep = (opened: Opened, one: number) =>
      state.put(keyOf(one), opened, opened.waiting ? one * DAY_MS : (one + 1) * DAY_MS + context.finalizeMs)

    /** A day before has the pair after all. */
    const withdraw = () => {
      for (let later = day + 1; later <= day + Math.min(OPEN_DAYS, memoryDays); later++) {
        const opened = openedOn(later)
        if (opened === undefined) continue
        if (!opened.waiting) {
          revise(opened, 'withdrawn')
          context.tellOnce(opened)
        }
        state.put(keyOf(later), undefined, 0)
      }
    }

    return {
      facts,
      needs(wants) {
        wants.value(seenKey)
        wants.value(firstKey)
        for (const key of openKeys) wants.value(key)
      },
      fold() {
        const known = openedOn(day)
        if (known !== undefined) {
          witness(known, event.event_id, event.time.event, noteOf(event))
          const { evidence, window } = known.draft
          const severity = severityOf(facts, event, raw)
          const revised = raise(known, evidence.total, Date.parse(window.start), at, severity)
          if (revised && !known.waiting) context.tell(known)
          keep(known, day)
          return
        }
        const seen = state.get(seenKey) as Seen | undefined // only these are kept under this key
        const days = seen?.days ?? []
        if (days.includes(day)) {
          if (around.day === day) {
            around.settled = true
            around.names = NOTHING
          }
          return
        }
        const forgetAt = (day + memoryDays + OPEN_DAYS) * DAY_MS
        const kept = state.get(firstKey) as First | undefined // only these are kept under this key
        const first = kept !== undefined && day - kept.last <= memoryDays ? kept : undefined
        if (first === undefined || day !== first.last)
          state.put(
            firstKey,
            first === undefined
              ? ({ day, at, last: day } satisfies First)
              : joined(first, day, at, memoryDays),
            (Math.max(day, first?.last ?? day) + memoryDays + OPEN_DAYS) * DAY_MS,
          )
        const newest = Math.max(day, days.at(-1) ?? day)
        state.put(
          seenKey,
          {
            days: [...days, day].filter((one) => one >= newest - memoryDays).sort((a, b) => a - b),
          } satisfies Seen,
          forgetAt,
        )
        withdraw()
        if (days.some((one) => one < day && one >= day - memoryDays)) return
        if (!certain?.(event, raw) && (first === undefined || day - first.day < learnDays))
          return context.learned(facts, learnDays * DAY_MS, first === undefined ? 0 : at - first.at)
        context.learned(facts, learnDays * DAY_MS, learnDays * DAY_MS)
        const entity = entityOf(pair, values)
        const opened = begin(facts, event, {
          alertId: signalId(facts, [...values, day]),
          severity: severityOf(facts, event, raw),
          threshold: 1,
          timespan: `${memoryDays}d`,
          entity: { ...entity, key_id: entity.key_id ?? event.target.key_id },
        })
        witness(opened, event.event_id, event.time.event, noteOf(event))
        opened.draft.observed = 1
        opened.next = 10
        opened.waiting = context.watermark < day * DAY_MS
        if (!opened.waiting) context.tell(opened)
        keep(opened, day)
      },
    }
  }
}
