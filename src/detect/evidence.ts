/** What an alert shows of the events behind it. */
import { shorten } from '../model/clip.ts'
import type { KeyEvent } from '../model/event.ts'

/** The little that must be remembered of an event that counts. */
export interface Witness {
  readonly eventId: string
  readonly time: string
  readonly summary: string
  readonly rawRef: string
}

/** One line: when, what, by whom, on what, from where, with which result. */
export const summaryOf = (event: KeyEvent): string => {
  const target = event.target.key_id ?? event.target.key_alias ?? event.target.container
  const from = event.network.source_ip ?? event.actor.invoked_by ?? event.network.source_raw
  const parts = [event.time.event, ' ', shorten(event.operation_native, 64), ' ', event.outcome]
  if (event.error?.code !== undefined) parts.push(' (', shorten(event.error.code, 48), ')')
  parts.push(' by ', shorten(event.actor.id ?? event.actor.name ?? 'unknown', 140))
  if (target !== undefined) parts.push(' on ', shorten(target, 120))
  if (from !== undefined) parts.push(' from ', shorten(from, 64))
  return shorten(parts.join(''), 512) // joined, not added up: thousands of these are held, and a joined text is the smallest
}

export const witness = (event: KeyEvent): Witness => ({
  eventId: event.event_id,
  time: event.time.event,
  summary: summaryOf(event),
  rawRef: event.raw_ref,
})

export const MAX_EVENT_IDS = 50
export const MAX_SAMPLES = 5

/** Collects witnesses in judge order: the first 50 ids, the first five lines, and the total. */
export class Evidence {
  readonly eventIds: string[] = []
  readonly sample: { summary: string; raw_ref: string }[] = []
  total = 0
  first = ''
  last = ''

  add(one: Witness): void {
    if (this.total === 0) this.first = one.time
    this.last = one.time
    this.total++
    if (this.eventIds.length < MAX_EVENT_IDS) this.eventIds.push(one.eventId)
    if (this.sample.length < MAX_SAMPLES) this.sample.push({ summary: one.summary, raw_ref: one.rawRef })
  }
}
