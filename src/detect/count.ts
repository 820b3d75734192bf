/** Detectors that count events or distinct values of a group in a sliding window. */
import type { CountDetector } from './definition.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf, timeText } from './evidence.ts'
import { getter } from './fields.ts'
import { begin, type Opened, raise, witness } from './opened.ts'
import { entityOf, groupReader, severityOf, signalId } from './signal.ts'

export const countStep = (detector: CountDetector, context: Context): Step => {
  const { facts, rules, timespanMs, threshold, bucketMs, timespan, groupBy } = detector
  const { state } = context
  const read = groupReader(groupBy)
  const value = detector.field === undefined ? undefined : getter(detector.field)
  const prefix = `${facts.id}|${facts.version}|`

  return (event, at): Plan | undefined => {
    if (!rules.some((rule) => rule.matches(event))) return undefined
    const values = read(event)
    const counted = value === undefined ? event.action_id : value(event)
    if (values === undefined || counted === undefined || counted === null || typeof counted === 'object') {
      context.ungrouped++
      return undefined
    }
    const name = prefix + values.join('|')
    const bucketOf = (time: number) => (bucketMs === 0 ? time : Math.floor(time / bucketMs) * bucketMs)
    const keyOf = (bucket: number) => `open|${name}|${bucket}`
    const openedAt = (bucket: number) => state.get(keyOf(bucket)) as Opened | undefined // only these are kept under this key

    /** The windows that an event changes end at most one timespan behind it. */
    const buckets: number[] = []
    if (bucketMs > 0)
      for (let bucket = bucketOf(at); bucket <= at + timespanMs; bucket += bucketMs) buckets.push(bucket)

    const start = (bucket: number, observed: number): Opened => {
      const about = bucketMs === 0 ? [...values, event.action_id] : [...values, bucket]
      const opened = begin(facts, event, {
        alertId: signalId(facts, about),
        severity: severityOf(facts, event),
        threshold,
        timespan,
        entity: entityOf(groupBy, values),
      })
      opened.next = observed * 10
      return opened
    }

    return {
      needs(wants) {
        const chunk = Math.floor(at / timespanMs)
        for (const one of [chunk - 1, chunk, chunk + 1]) wants.chunk(name, timespanMs, one)
        for (const bucket of buckets) wants.value(keyOf(bucket))
      },
      fold() {
        const series = state.series(name, timespanMs)
        const entry = series.add(at, String(counted), event.event_id, () => noteOf(event))

        const keep = (opened: Opened, bucket: number) =>
          state.put(keyOf(bucket), opened, bucket + bucketMs + context.finalizeMs)
        /** The window that ends at `end` meets the condition. */
        const met = (end: number, observed: number) => {
          const bucket = bucketOf(end)
          const known = bucketMs === 0 ? undefined : openedAt(bucket)
          const opened = known ?? start(bucket, observed)
          if (end > opened.upto) {
            for (const one of series.between(Math.max(end - timespanMs, opened.upto + 1), end))
              witness(opened, one.eventId, timeText(one.at), one.note)
            opened.from = Math.min(opened.from, end - timespanMs)
            opened.upto = end
          }
          const revised = raise(opened, observed, end - timespanMs, end)
          if (bucketMs === 0) return context.tellOnce(opened)
          if (known === undefined || revised) context.tell(opened)
          keep(opened, bucket)
        }

        let open = 0
        for (const bucket of buckets) {
          const opened = openedAt(bucket)
          if (opened === undefined) continue
          open++
          if (at > opened.upto || at < opened.from) continue
          witness(opened, entry.eventId, timeText(at), entry.note) // within what is evidence already
          keep(opened, bucket)
        }
        if (!series.hasLater(at)) {
          const observed = series.countAt(at)
          if (observed >= threshold) met(at, observed)
        } else if (bucketMs === 0 || open < buckets.length)
          for (const { at: end, observed } of series.crossings(at, threshold))
            if (bucketMs > 0 || observed === threshold) met(end, observed)
        const chunk = series.chunkOf(at)
        state.added(name, chunk, entry, (chunk + 2) * timespanMs + context.finalizeMs)
      },
    }
  }
}
