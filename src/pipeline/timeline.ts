/** The life of each key in a scan, small enough to keep: counts, and the events worth reading. */
import { summaryOf } from '../detect/evidence.ts'
import type { KeyEvent } from '../model/event.ts'
import type { Operation } from '../model/operations.ts'
import type { KeyTimeline } from '../model/summary.ts'

const MAX_KEYS = 500
const MAX_NOTABLE = 50
const MAX_PRINCIPALS = 1000
export const SLOTS = 48

interface Life {
  readonly key: string
  events: number
  readonly first: string
  last: string
  readonly operations: Map<Operation, number>
  readonly principals: Set<string>
  /** Events per minute since 1970. */
  readonly minutes: Map<number, number>
  readonly notable: { time: string; criticality: KeyEvent['criticality']; text: string }[]
}

const isNotable = ({ operation_category, outcome, criticality }: KeyEvent) =>
  outcome === 'denied' ||
  criticality === 'critical' ||
  criticality === 'high' ||
  ['lifecycle', 'access_control', 'backup', 'infrastructure'].includes(operation_category)

export interface Timelines {
  add(event: KeyEvent, at: number): void
  /** Busiest attention first: keys with the most notable events, then by use. */
  result(): { readonly keys: KeyTimeline[]; readonly notListed: number }
}

export const timelines = (): Timelines => {
  const lives = new Map<string, Life>()
  const beyond = new Set<string>()
  let from = Number.POSITIVE_INFINITY
  let to = Number.NEGATIVE_INFINITY

  const slots = (life: Life): number[] => {
    const width = Math.max((to - from) / SLOTS, 1)
    const counts = new Array<number>(SLOTS).fill(0)
    for (const [minute, count] of life.minutes) {
      const slot = Math.min(Math.max(Math.floor((minute * 60_000 - from) / width), 0), SLOTS - 1)
      counts[slot] = (counts[slot] ?? 0) + count
    }
    return counts
  }

  return {
    add(event, at) {
      const key = event.target.key_id
      from = Math.min(from, at)
      to = Math.max(to, at)
      if (key === undefined) return
      let life = lives.get(key)
      if (life === undefined) {
        if (lives.size >= MAX_KEYS) {
          if (beyond.size < 1_000_000) beyond.add(key)
          return
        }
        life = {
          key,
          events: 0,
          first: event.time.event,
          last: event.time.event,
          operations: new Map(),
          principals: new Set(),
          minutes: new Map(),
          notable: [],
        }
        lives.set(key, life)
      }
      life.events++
      life.last = event.time.event
      life.operations.set(event.operation, (life.operations.get(event.operation) ?? 0) + 1)
      const minute = Math.floor(at / 60_000)
      life.minutes.set(minute, (life.minutes.get(minute) ?? 0) + 1)
      if (event.actor.principal !== undefined && life.principals.size < MAX_PRINCIPALS)
        life.principals.add(event.actor.principal)
      if (life.notable.length < MAX_NOTABLE && isNotable(event))
        life.notable.push({ time: event.time.event, criticality: event.criticality, text: summaryOf(event) })
    },
    result() {
      const keys = [...lives.values()]
        .sort(
          (a, b) => b.notable.length - a.notable.length || b.events - a.events || (a.key < b.key ? -1 : 1),
        )
        .map((life) => ({
          key: life.key,
          events: life.events,
          first: life.first,
          last: life.last,
          operations: Object.fromEntries([...life.operations].sort((a, b) => b[1] - a[1])),
          principals: life.principals.size,
          slots: slots(life),
          notable: life.notable,
        }))
      return { keys, notListed: beyond.size }
    },
  }
}
