/** Records in an envelope of another standard: what the envelope tells of them, and the record as its content. */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { Criticality } from '../model/operations.ts'
import type { Rendering } from '../render/renderings.ts'
import type { Encoder, Outgoing } from './parts.ts'

/** What the key of Kafka, the attributes of a CloudEvent and the head of a syslog message are made of. */
export interface Facts {
  /** A repeat has the same; the next revision of an alert has another. */
  readonly id: string
  /** Name and version of the schema. */
  readonly type: string
  readonly time: string
  /** The key, else the caller, else the account that it is about. */
  readonly entity: string
  readonly severity: Criticality
}

export interface Enveloped extends Outgoing {
  readonly facts: Facts
}

const ofEvent = ({ event_id, schema_version, time, target, actor, criticality }: KeyEvent): Facts => ({
  id: event_id,
  type: schema_version,
  time: time.event,
  entity: target.key_id || actor.principal || target.account || event_id,
  severity: criticality,
})

const ofAlert = ({ alert_id, revision, schema_version, time, entity, account, severity }: Alert): Facts => ({
  id: `${alert_id}:${revision}`,
  type: schema_version,
  time: time.last_event,
  entity: entity.key_id || entity.principal || entity.account || account || alert_id,
  severity,
})

/** @param wrap one record in its envelope */
export const enveloped = (
  rendering: Rendering,
  wrap: (facts: Facts, body: string) => string,
): Encoder<Enveloped> => ({
  event(json) {
    const event = JSON.parse(json) as KeyEvent // journaled: it follows the schema
    const facts = ofEvent(event)
    const bytes = Buffer.from(wrap(facts, rendering.event(json, event)))
    return { stream: 'feed', id: event.event_id, event: json, bytes, facts }
  },
  alert(alert) {
    const facts = ofAlert(alert)
    const bytes = Buffer.from(wrap(facts, rendering.alert(alert)))
    return { stream: 'alerts', id: alert.alert_id, alert, bytes, facts }
  },
})
