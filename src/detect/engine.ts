/**
 * The detector engine: events in, alerts out. Pure and in order: the caller brings deduplicated events in
 * (time, id) order, and the set of alert ids depends on them alone.
 *
 * A rule costs nothing for events it cannot match: rules are indexed by operation.
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { CountDetector, Detector, DetectorFacts, SingleDetector } from './definition.ts'
import { Evidence, type Witness, witness } from './evidence.ts'
import { getter } from './fields.ts'
import type { CompiledRule } from './rule.ts'
import { alertOf, entityOf, groupReader, signalId } from './signal.ts'
import { SlidingCount } from './window.ts'

export interface Engine {
  /** Judges one event; `at` is its time in milliseconds since 1970. */
  judge(event: KeyEvent, at: number): void
  /** No more events come: closes every window. */
  finish(): void
  /** Events that matched a correlation's rule but lack a field it groups by or counts. */
  readonly ungrouped: number
}

/** Receives the last revision of each alert; the same id never twice. */
export type AlertListener = (alert: Alert, facts: DetectorFacts) => void

/** An alert whose bucket is still open. */
interface Open {
  readonly facts: DetectorFacts
  readonly event: KeyEvent
  readonly alertId: string
  readonly closesAt: number
  readonly entity: Alert['entity']
  readonly threshold: number
  readonly timespan: string
  readonly evidence: Evidence
  /** Number of the first event of the group that is not yet evidence. */
  seen: number
  observed: number
  window: { start: string; end: string }
  revision: number
  nextRevisionAt: number
  revisedTotal: number
}

/** A group of a correlation, and its alert in the bucket it was last in. */
interface Group {
  readonly count: SlidingCount
  open: Open | undefined
  bucket: number
}

type Step = (event: KeyEvent, at: number, seen: () => Witness) => void

const iso = (at: number) => new Date(at).toISOString()

export const engine = (detectors: readonly Detector[], onAlert: AlertListener): Engine => {
  const open = new Map<string, Open>()
  const given = new Set<string>()
  let nextClose = Number.POSITIVE_INFINITY
  let ungrouped = 0
  const sweeps: ((now: number) => void)[] = []

  const emit = (one: Open, revision: number) => {
    const { alertId, window, observed, threshold, timespan, entity } = one
    onAlert(
      alertOf(one.facts, one.event, one.evidence, {
        alertId,
        revision,
        window,
        observed,
        threshold,
        timespan,
        entity,
      }),
      one.facts,
    )
  }

  /** Closes buckets that no event can change any more. */
  const close = (now: number) => {
    nextClose = Number.POSITIVE_INFINITY
    for (const [id, one] of open) {
      if (one.closesAt > now) {
        nextClose = Math.min(nextClose, one.closesAt)
        continue
      }
      open.delete(id)
      emit(one, one.evidence.total > one.revisedTotal ? one.revision + 1 : one.revision)
    }
  }

  const start = (one: Open) => {
    open.set(one.alertId, one)
    nextClose = Math.min(nextClose, one.closesAt)
    return one
  }

  /** Raises the observed value; a tenfold of the first one is a revision. */
  const raise = (one: Open, observed: number, from: number, end: string) => {
    if (observed > one.observed) {
      one.observed = observed
      one.window = { start: iso(from), end }
    }
    if (one.observed >= one.nextRevisionAt) {
      one.revision++
      one.nextRevisionAt *= 10
      one.revisedTotal = one.evidence.total
    }
  }

  const single = (detector: SingleDetector): Step => {
    const { facts, rule, group } = detector
    const read = groupReader(group?.by ?? [])
    return (event, at, seen) => {
      if (!rule.matches(event)) return
      if (group === undefined || group.bucketMs === 0) {
        const alertId = signalId(facts, [event.action_id])
        if (given.has(alertId)) return
        given.add(alertId)
        const evidence = new Evidence()
        evidence.add(seen())
        const { key_id, account } = event.target
        const entity = { key_id, principal: event.actor.principal, account: account ?? event.actor.account }
        const window = { start: event.time.event, end: event.time.event }
        onAlert(
          alertOf(facts, event, evidence, {
            alertId,
            revision: 1,
            window,
            observed: 1,
            threshold: 1,
            timespan: '0s',
            entity,
          }),
          facts,
        )
        return
      }
      const values = read(event)
      if (values === undefined) {
        ungrouped++
        return
      }
      const bucket = Math.floor(at / group.bucketMs) * group.bucketMs
      const alertId = signalId(facts, [...values, bucket])
      const one =
        open.get(alertId) ??
        start({
          facts,
          event,
          alertId,
          closesAt: bucket + group.bucketMs,
          entity: entityOf(group.by, values),
          threshold: 1,
          timespan: '0s',
          evidence: new Evidence(),
          seen: 0,
          observed: 1,
          window: { start: event.time.event, end: event.time.event },
          revision: 1,
          nextRevisionAt: 10,
          revisedTotal: 1,
        })
      one.evidence.add(seen())
      raise(one, one.evidence.total, Date.parse(one.event.time.event), event.time.event)
    }
  }

  const counting = (detector: CountDetector): Step => {
    const { facts, rules, timespanMs, threshold, bucketMs, timespan } = detector
    const groups = new Map<string, Group>()
    const read = groupReader(detector.groupBy)
    const value = detector.field === undefined ? undefined : getter(detector.field)
    sweeps.push((now) => {
      for (const [name, { count }] of groups) if (count.newest < now - timespanMs) groups.delete(name)
    })

    const begin = (event: KeyEvent, values: readonly string[], bucket: number, observed: number): Open =>
      start({
        facts,
        event,
        alertId: signalId(facts, bucketMs === 0 ? [...values, event.action_id] : [...values, bucket]),
        closesAt: bucket + bucketMs,
        entity: entityOf(detector.groupBy, values),
        threshold,
        timespan,
        evidence: new Evidence(),
        seen: 0,
        observed: 0,
        window: { start: '', end: '' },
        revision: 1,
        nextRevisionAt: observed * 10,
        revisedTotal: 0,
      })

    return (event, at, seen) => {
      if (!rules.some((rule) => rule.matches(event))) return
      const values = read(event)
      const counted = value === undefined ? event.action_id : value(event)
      if (values === undefined || counted === undefined || counted === null || typeof counted === 'object') {
        ungrouped++
        return
      }
      const name = values.join('\u0000')
      let group = groups.get(name)
      if (group === undefined) {
        group = { count: new SlidingCount(timespanMs), open: undefined, bucket: 0 }
        groups.set(name, group)
      }
      const observed = group.count.add(at, String(counted), seen())
      if (observed < threshold) return
      const bucket = bucketMs === 0 ? at : Math.floor(at / bucketMs) * bucketMs
      const known = bucketMs > 0 && group.bucket === bucket ? group.open : undefined
      const one = known ?? begin(event, values, bucket, observed)
      group.open = one
      group.bucket = bucket
      for (const earlier of group.count.since(one.seen)) one.evidence.add(earlier)
      one.seen = group.count.next
      if (known === undefined) one.revisedTotal = one.evidence.total
      raise(one, observed, at - timespanMs, event.time.event)
    }
  }

  const byOperation = new Map<string, Step[]>()
  const always: Step[] = []
  const index = (rules: readonly CompiledRule[], step: Step) => {
    const operations = new Set<string>()
    for (const rule of rules) {
      if (rule.operations === undefined) {
        always.push(step)
        return
      }
      for (const name of rule.operations) operations.add(name)
    }
    for (const name of operations) byOperation.set(name, [...(byOperation.get(name) ?? []), step])
  }
  for (const detector of detectors) {
    if (detector.facts.experimental) continue
    if (detector.kind === 'single') index([detector.rule], single(detector))
    else index(detector.rules, counting(detector))
  }

  let judged = 0
  return {
    judge(event, at) {
      if (at >= nextClose) close(at)
      if (++judged % 65_536 === 0) for (const sweep of sweeps) sweep(at)
      const steps = byOperation.get(event.operation)
      if (steps === undefined && always.length === 0) return
      let made: Witness | undefined
      const seen = () => {
        made ??= witness(event)
        return made
      }
      if (steps !== undefined) for (const step of steps) step(event, at, seen)
      for (const step of always) step(event, at, seen)
    },
    finish() {
      close(Number.POSITIVE_INFINITY)
    },
    get ungrouped() {
      return ungrouped
    },
  }
}
