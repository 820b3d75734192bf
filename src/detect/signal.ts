/** Alert ids and alert bodies. The id says what the alert is about; nothing in the body depends on a clock. */
import { hash } from 'node:crypto'
import { ALERT_SCHEMA_VERSION, type Alert } from '../model/alert.ts'
import { shorten } from '../model/clip.ts'
import type { KeyEvent } from '../model/event.ts'
import { techniques } from './attack.ts'
import type { DetectorFacts } from './definition.ts'
import type { Evidence } from './evidence.ts'
import { getter } from './fields.ts'

/** First 32 hex digits of SHA-256 over what a signal is about. */
export const signalId = (facts: DetectorFacts, about: readonly (string | number)[]): string =>
  hash('sha256', JSON.stringify(['signal', facts.id, facts.version, ...about]), 'hex').slice(0, 32)

/** Values of the group fields, `undefined` when one is missing: then the event is in no group. */
export const groupReader = (fields: readonly string[]): ((event: KeyEvent) => string[] | undefined) => {
  const getters = fields.map(getter)
  return (event) => {
    const values: string[] = []
    for (const get of getters) {
      const value = get(event)
      if (value === undefined || value === null || typeof value === 'object') return undefined
      values.push(String(value))
    }
    return values
  }
}

const PLACEHOLDER = /\{([A-Za-z0-9_.:]+)\}/g

/** Fills `{field}` from the first event and `{observed}`, `{threshold}`, `{timespan}` from the measurement. */
const fill = (template: string, event: KeyEvent, extra: Readonly<Record<string, string>>): string =>
  template.replace(PLACEHOLDER, (_, name: string) => {
    const value = Object.hasOwn(extra, name) ? extra[name] : getter(name)(event)
    if (value === undefined || value === null) return 'unknown'
    return Array.isArray(value) ? value.join(', ') : String(value)
  })

const DEFAULT_EXPLANATION =
  '{actor.principal} called {operation_native} on {target.key_id} with outcome {outcome}.'

const defaultTriage: readonly string[] = [
  'Is the caller known, and was this call expected of it at this time? Look at its other calls in the hour before.',
  'What does the key protect, and who owns it? Ask the owner whether the call was planned.',
  'If nobody planned it, revoke the credentials of the caller and keep the raw records named in the evidence.',
]

export interface Measurement {
  readonly alertId: string
  readonly revision: number
  readonly window: { readonly start: string; readonly end: string }
  readonly observed: number
  readonly threshold: number
  readonly timespan: string
  readonly entity: Alert['entity']
}

/** @param event the first event of the evidence */
export const alertOf = (facts: DetectorFacts, event: KeyEvent, evidence: Evidence, m: Measurement): Alert => {
  const numbers = { observed: String(m.observed), threshold: String(m.threshold), timespan: m.timespan }
  return {
    schema_version: ALERT_SCHEMA_VERSION,
    alert_id: m.alertId,
    revision: m.revision,
    kind: 'signal',
    status: m.revision === 1 ? 'new' : 'updated',
    detector: {
      id: facts.id,
      version: facts.version,
      content_hash: facts.content_hash,
      author: facts.author,
      license: facts.license,
      reference: facts.reference,
    },
    severity: facts.severity,
    title: shorten(facts.title, 256),
    explanation: shorten(fill(facts.explanation ?? DEFAULT_EXPLANATION, event, numbers), 2048),
    entity: m.entity,
    provider: event.source.provider,
    account: event.target.account ?? event.actor.account ?? '',
    window: m.window,
    time: { first_event: evidence.first, last_event: evidence.last },
    observed: m.observed,
    threshold: m.threshold,
    expected: undefined,
    evidence: {
      event_ids: evidence.eventIds.slice(),
      total: evidence.total,
      sample: evidence.sample.slice(),
    },
    labels: event.labels ?? {},
    attack: techniques(facts.tags),
    controls: [...facts.controls],
    triage: [...(facts.triage ?? defaultTriage)],
    replay_run_id: undefined,
  }
}

/** Whom and what an alert is about, from the fields that form its identity. */
export const entityOf = (fields: readonly string[], values: readonly string[]): Alert['entity'] => {
  const of = (...names: string[]) => {
    const at = fields.findIndex((field) => names.includes(field))
    return at < 0 ? undefined : shorten(values[at] ?? '', 512) || undefined
  }
  return {
    key_id: of('target.key_id'),
    principal: of('actor.principal', 'actor.id'),
    account: of('target.account', 'actor.account'),
  }
}
