/** How an event reads in an alert. */
import { shorten } from '../model/clip.ts'
import type { KeyEvent } from '../model/event.ts'
import { memo } from '../model/memo.ts'
import type { Note } from './series.ts'

/** Times that are remembered: a burst writes the same ones again and again. */
const MAX_TIMES = 4096

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

export const noteOf = (event: KeyEvent): Note => ({ summary: summaryOf(event), raw_ref: event.raw_ref })

/** RFC 3339 of milliseconds since 1970; whole seconds without a fraction, as most records write them. */
export const timeText = memo((at: number) => new Date(at).toISOString().replace('.000Z', 'Z'), MAX_TIMES)
