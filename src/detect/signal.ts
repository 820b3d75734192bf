/** What a signal is about: the group an event belongs to, and the id that follows from it. */
import { hash } from 'node:crypto'
import type { Alert } from '../model/alert.ts'
import { shorten } from '../model/clip.ts'
import type { KeyEvent } from '../model/event.ts'
import type { Criticality } from '../model/operations.ts'
import type { DetectorFacts } from './definition.ts'
import type { Getter } from './record-rule.ts'

/** First 32 hex digits of SHA-256 over what a signal is about. */
export const signalId = (
  facts: Pick<DetectorFacts, 'id' | 'version'>,
  about: readonly (string | number)[],
): string => hash('sha256', JSON.stringify(['signal', facts.id, facts.version, ...about]), 'hex').slice(0, 32)

export const severityOf = ({ severity, raise }: DetectorFacts, event: KeyEvent, raw: unknown): Criticality =>
  raise.find(({ matches }) => matches(event, raw))?.severity ?? severity

/** Values of the group fields, `undefined` when one is missing: then the event is in no group. */
export const readGroup = (
  getters: readonly Getter[],
  event: KeyEvent,
  raw: unknown,
): string[] | undefined => {
  const values: string[] = []
  for (const get of getters) {
    const value = get(event, raw)
    if (value === undefined || value === null || typeof value === 'object') return undefined
    values.push(String(value))
  }
  return values
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
