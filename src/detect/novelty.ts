/**
 * Detectors of what was not seen before: a pair of values, decided once per UTC day on the days it was seen.
 *
 * A verdict on an absence can be wrong as long as an earlier event may come: it waits until none is expected
 * before its day, and is withdrawn when one comes after all.
 */
import type { NoveltyDetector } from './definition.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf } from './evidence.ts'
import { getter } from './fields.ts'
import { begin, type Opened, raise, revise, witness } from './opened.ts'
import { entityOf, groupReader, severityOf, signalId } from './signal.ts'

const DAY_MS = 86_400_000
/** An alert is open for a day and a night: an event of an earlier day can withdraw those of the next two. */
const OPEN_DAYS = 2

/** Days since 1970 on which a pair was seen, in order. */
interface Seen {
  readonly days: number[]
}

/** First day of a history. */
interface First {
  day: number
  at: number
}

export const noveltyStep = (detector: NoveltyDetector, context: Context): Step => {
  const { facts, rule, pair, learnOn, learnDays, memoryDays, certain } = detector
  const { state } = context
  const readPair = groupReader(pair)
  const learnGetters = learnOn.map(getter)
  const prefix = `${facts.id}|${facts.version}|`

  return (event, at): Plan | undefined => {
    if (!rule.matches(event)) return undefined
    const values = readPair(event)
    const subject = learnGetters.map((get) => get(event)).find((value) => typeof value === 'string')
    if (values === undefined || subject === undefined) {
      context.ungrouped++
      return undefined
    }
    const day = Math.floor(at / DAY_MS)
    const name = prefix + values.join('|')
    const seenKey = `days|${name}`
    const firstKey = `first|${prefix}${String(subject)}`
    const keyOf = (one: number) => `open|${name}|${one}`
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
        for (let one = day; one <= day + OPEN_DAYS; one++) wants.value(keyOf(one))
      },
      fold() {
        const known = openedOn(day)
        if (known !== undefined) {
          witness(known, event.event_id, event.time.event, noteOf(event))
          if (
            raise(known, known.draft.evidence.total, Date.parse(known.draft.window.start), at) &&
            !known.waiting
          )
            context.tell(known)
          keep(known, day)
          return
        }
        const seen = state.get(seenKey) as Seen | undefined // only these are kept under this key
        const days = seen?.days ?? []
        if (days.includes(day)) return
        const forgetAt = (day + memoryDays + OPEN_DAYS) * DAY_MS
        const first = state.get(firstKey) as First | undefined // only these are kept under this key
        if (first === undefined || at < first.at)
          state.put(firstKey, { day, at } satisfies First, forgetAt + learnDays * DAY_MS)
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
        if (!certain?.(event) && (first === undefined || day - first.day < learnDays))
          return context.learned(facts, learnDays * DAY_MS, first === undefined ? 0 : at - first.at)
        context.learned(facts, learnDays * DAY_MS, learnDays * DAY_MS)
        const entity = entityOf(pair, values)
        const opened = begin(facts, event, {
          alertId: signalId(facts, [...values, day]),
          severity: severityOf(facts, event),
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
