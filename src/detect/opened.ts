/** Alerts while they may still change. Nothing in a body depends on a clock. */
import { ALERT_SCHEMA_VERSION, type Alert } from '../model/alert.ts'
import { shorten } from '../model/clip.ts'
import type { KeyEvent } from '../model/event.ts'
import { type Criticality, criticalities } from '../model/operations.ts'
import { techniques } from './attack.ts'
import type { DetectorFacts } from './definition.ts'
import { timeText } from './evidence.ts'
import { getter } from './fields.ts'
import type { Note } from './series.ts'

const PLACEHOLDER = /\{([A-Za-z0-9_.:]+)\}/g

const DEFAULT_EXPLANATION =
  '{actor.principal} called {operation_native} on {target.key_id} with outcome {outcome}.'

const defaultTriage: readonly string[] = [
  'Is the caller known, and was this call expected of it at this time? Look at its other calls in the hour before.',
  'What does the key protect, and who owns it? Ask the owner whether the call was planned.',
  'If nobody planned it, revoke the credentials of the caller and keep the raw records named in the evidence.',
]

/** What begins an alert. */
export interface Beginning {
  readonly alertId: string
  readonly severity: Criticality
  readonly threshold: number
  readonly timespan: string
  readonly entity: Alert['entity']
}

/** A time that is never reached, in numbers that JSON keeps. */
const FAR = Number.MAX_SAFE_INTEGER
const MAX_EVENT_IDS = 50
const MAX_SAMPLES = 5
const MAX_EXPLANATION = 2048

/** An alert that may still change: plain data, so that a journal can keep it. */
export interface Opened {
  /** The body, without the observed value in its explanation. */
  readonly draft: Alert
  /** The explanation: the observed value belongs between the parts. */
  readonly parts: readonly string[]
  /** Times between which every event is evidence, milliseconds since 1970. */
  from: number
  upto: number
  /** Observed value that makes the next revision. */
  next: number
  /** Evidence when the last revision was made. */
  told: number
  /** A verdict on an absence that is not due yet: it has been told to nobody. */
  waiting?: boolean
}

/** @param event the event that raises the alert: its fields fill the explanation */
export const begin = (facts: DetectorFacts, event: KeyEvent, about: Beginning): Opened => {
  const parts = ['']
  const write = (text: string) => parts.push((parts.pop() ?? '') + text)
  let end = 0
  const template = facts.explanation ?? DEFAULT_EXPLANATION
  for (const found of template.matchAll(PLACEHOLDER)) {
    write(template.slice(end, found.index))
    end = found.index + found[0].length
    const name = found[1] ?? ''
    if (name === 'observed') parts.push('')
    else if (name === 'threshold') write(String(about.threshold))
    else if (name === 'timespan') write(about.timespan)
    else {
      const value = getter(name)(event)
      write(Array.isArray(value) ? value.join(', ') : String(value ?? 'unknown'))
    }
  }
  write(template.slice(end))
  const at = event.time.event
  const draft: Alert = {
    schema_version: ALERT_SCHEMA_VERSION,
    alert_id: about.alertId,
    revision: 1,
    kind: 'signal',
    status: 'new',
    detector: {
      id: facts.id,
      version: facts.version,
      content_hash: facts.content_hash,
      author: facts.author,
      license: facts.license,
      reference: facts.reference,
    },
    severity: about.severity,
    title: shorten(facts.title, 256),
    explanation: '',
    entity: about.entity,
    provider: event.source.provider,
    account: event.target.account ?? event.actor.account ?? '',
    window: { start: at, end: at },
    time: { first_event: at, last_event: at },
    observed: 0,
    threshold: about.threshold,
    expected: undefined,
    evidence: { event_ids: [], total: 0, sample: [] },
    labels: event.labels ?? {},
    attack: techniques(facts.tags),
    controls: [...facts.controls],
    triage: [...(facts.triage ?? defaultTriage)],
    replay_run_id: undefined,
  }
  return { draft, parts, from: FAR, upto: -FAR, next: FAR, told: 0 }
}

/** Adds one event to the evidence: all count, the first are shown. */
export const witness = (opened: Opened, eventId: string, time: string, note: Note | undefined): void => {
  const { draft } = opened
  if (draft.evidence.total === 0) draft.time = { first_event: time, last_event: time }
  else if (time < draft.time.first_event) draft.time.first_event = time
  else if (time > draft.time.last_event) draft.time.last_event = time
  witnessBetween(opened, eventId, note)
}

/** Adds one event within the times that are evidence already. */
export const witnessBetween = (
  { draft: { evidence } }: Opened,
  eventId: string,
  note: Note | undefined,
): void => {
  evidence.total++
  if (evidence.event_ids.length < MAX_EVENT_IDS) evidence.event_ids.push(eventId)
  if (note !== undefined && evidence.sample.length < MAX_SAMPLES) evidence.sample.push({ ...note })
}

/** The alert as it stands, apart from what may still change. */
export const alertOf = ({ draft, parts }: Opened): Alert => ({
  ...draft,
  explanation: shorten(parts.join(String(draft.observed)), MAX_EXPLANATION),
  window: { ...draft.window },
  time: { ...draft.time },
  evidence: {
    ...draft.evidence,
    event_ids: draft.evidence.event_ids.slice(),
    sample: draft.evidence.sample.slice(),
  },
})

/** Makes the next revision. */
export const revise = (opened: Opened, status: Alert['status'] = 'updated'): void => {
  opened.draft.revision++
  opened.draft.status = status
  opened.told = opened.draft.evidence.total
}

/**
 * Raises the observed value, which is that of the window [from, to], and the severity when a later event weighs more.
 * @returns whether that made a revision: a graver event does, and each tenfold of the first value
 */
export const raise = (
  opened: Opened,
  observed: number,
  from: number,
  to: number,
  severity: Criticality = opened.draft.severity,
): boolean => {
  const { draft } = opened
  if (observed > draft.observed) {
    draft.observed = observed
    draft.window = { start: timeText(from), end: timeText(to) }
  }
  const graver = criticalities.indexOf(severity) > criticalities.indexOf(draft.severity)
  if (graver) draft.severity = severity
  const tenfold = draft.observed >= opened.next
  if (tenfold) opened.next *= 10
  if (graver || tenfold) revise(opened)
  return graver || tenfold
}
