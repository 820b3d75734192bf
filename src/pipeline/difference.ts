/** What a corrected replay gives, beside what was sent: added, withdrawn, changed, each with its reason. */
import type { Alert } from '../model/alert.ts'
import type { AlertChange, LateEvent, Measures, ReplayDifference, Why } from '../model/replay.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Detectors of our own about Keytrail itself. */
const APART = new Set(['feed-silence', 'detector-disabled', 'history-checkpoint', 'integrity-failed'])
/** How far back a detector looks at most: the memory of `novelty`. */
const BEFORE_MS = 31 * DAY_MS
const MAX_EVENTS = 5

/** An alert without its texts: many are held. */
export interface Brief {
  readonly id: string
  readonly detector: string
  readonly version: number
  readonly content: string
  readonly title: string
  readonly entity: Alert['entity']
  readonly window: Alert['window']
  readonly measures: Measures
  readonly evidence: readonly string[]
  readonly withdrawn: boolean
}

export const briefOf = (alert: Alert): Brief => ({
  id: alert.alert_id,
  detector: alert.detector.id,
  version: alert.detector.version,
  content: alert.detector.content_hash,
  title: alert.title,
  entity: alert.entity,
  window: alert.window,
  measures: {
    severity: alert.severity,
    observed: alert.observed,
    time: alert.time,
    events: alert.evidence.total,
  },
  evidence: alert.evidence.event_ids,
  withdrawn: alert.status === 'withdrawn',
})

export interface Compared {
  /** Last revisions. */
  readonly sent: readonly Brief[]
  readonly now: readonly Brief[]
  /** Content hashes of the detectors of now, by id; others are not compared when `only` is set. */
  readonly detectors: ReadonlyMap<string, string>
  readonly only: boolean
  /** `id@version` of every detector that was in force once. */
  readonly inForce: ReadonlySet<string>
  readonly late: readonly LateEvent[]
  /** Up to when `run` had decided, milliseconds since 1970. */
  readonly decided: number
  /** Whether an alert belongs to the window. */
  belongs(measures: Measures): boolean
}

const same = (a: Measures, b: Measures) =>
  a.severity === b.severity &&
  a.observed === b.observed &&
  a.events === b.events &&
  a.time.first_event === b.time.first_event &&
  a.time.last_event === b.time.last_event

export const compare = (all: Compared): ReplayDifference => {
  const { detectors, only, inForce, decided, belongs } = all
  const lateById = new Map(all.late.map((one) => [one.id, one]))
  const byName = Map.groupBy(
    all.late.flatMap((one) =>
      [...new Set([one.key, one.principal])].filter((name) => name !== '').map((name) => ({ name, one })),
    ),
    ({ name }) => name,
  )
  const wanted = ({ detector }: Brief) => !only || detectors.has(detector)
  const sent = new Map(
    all.sent.flatMap((one) => (wanted(one) && !one.withdrawn ? [[one.id, one] as const] : [])),
  )
  const now = new Map(all.now.map((one) => [one.id, one]))

  /** @param from milliseconds since 1970 */
  const near = ({ entity, window }: Brief, from: number): LateEvent[] => {
    const end = Date.parse(window.end)
    const names = [entity.key_id, entity.principal].filter((name) => name !== undefined)
    const found = names.flatMap((name) => (byName.get(name) ?? []).map(({ one }) => one))
    return [...new Set(found)]
      .filter(({ time }) => Date.parse(time) <= end && Date.parse(time) >= from)
      .sort((a, b) => (a.time < b.time ? 1 : -1))
      .slice(0, MAX_EVENTS)
  }

  const reasonOf = (was: Brief | undefined, is: Brief | undefined): { why: Why; events: LateEvent[] } => {
    const other =
      was === undefined
        ? is !== undefined && !inForce.has(`${is.detector}@${is.version}`)
        : detectors.get(was.detector) !== was.content
    if (other) return { why: 'detector', events: [] }
    const known = new Set(was?.evidence)
    const news = (is?.evidence ?? []).flatMap((id) => (known.has(id) ? [] : (lateById.get(id) ?? [])))
    if (news.length > 0) return { why: 'late_event', events: news.slice(0, MAX_EVENTS) }
    const one = (is ?? was) as Brief // one of both is there
    const both = was !== undefined && is !== undefined
    const events = near(
      one,
      both ? Date.parse(one.measures.time.first_event) : Date.parse(one.window.end) - BEFORE_MS,
    )
    return { why: events.length > 0 ? 'late_event_near' : 'unknown', events }
  }

  /** Whether `run` would yet have told more about it. */
  const isOpen = ({ window, measures }: Brief) =>
    Math.max(Date.parse(measures.time.last_event) + HOUR_MS, Date.parse(window.start) + DAY_MS) + DAY_MS >
    decided

  const changes: AlertChange[] = []
  const counts = { sent: 0, now: 0, same: 0, recounted: 0, open: 0, apart: 0 }
  for (const id of new Set([...sent.keys(), ...now.keys()])) {
    const [was, is] = [sent.get(id), now.get(id)]
    const one = is ?? was
    if (one === undefined || ![was, is].some((brief) => brief !== undefined && belongs(brief.measures)))
      continue
    if (APART.has(one.detector)) {
      counts.apart++
      continue
    }
    if (was !== undefined) counts.sent++
    if (is !== undefined) counts.now++
    if (was !== undefined && is !== undefined && same(was.measures, is.measures)) {
      counts.same++
      continue
    }
    const reason = reasonOf(was, is)
    if (reason.why === 'unknown' && is !== undefined && isOpen(is)) {
      counts.open++
      continue
    }
    if (reason.why === 'unknown' && was?.measures.severity === is?.measures.severity) {
      counts.recounted++
      continue
    }
    changes.push({
      what: was === undefined ? 'added' : is === undefined ? 'withdrawn' : 'changed',
      alert_id: id,
      detector: one.detector,
      title: one.title,
      entity: one.entity,
      sent: was?.measures,
      now: is?.measures,
      ...reason,
    })
  }
  const startOf = ({ now: is, sent: was }: AlertChange) => (is ?? was)?.time.first_event ?? ''
  changes.sort((a, b) => (startOf(a) + a.alert_id < startOf(b) + b.alert_id ? -1 : 1))
  return { ...counts, changes }
}
