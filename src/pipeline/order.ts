/** The order events are judged in: (time, event id), then content, then place. Independent of how they arrived. */
import { contentHash } from './content.ts'
import type { Kept } from './intake.ts'

/** Time as text that sorts: always nine digits of a second. */
const sortableTime = (time: string): string => {
  const fraction = time.length > 20 ? time.slice(20, -1) : ''
  return `${time.slice(0, 19)}.${fraction.padEnd(9, '0')}`
}

/** Time and event id: 61 characters, ASCII. */
export const orderOf = (time: string, eventId: string): string => sortableTime(time) + eventId

/**
 * Milliseconds since 1970 that no event is behind.
 * @param times RFC 3339 in UTC, or what begins with one
 */
export const endOf = (times: Iterable<string>): number => {
  let newest = ''
  for (const time of times) if (time > newest) newest = time
  return Date.parse(`${newest.slice(0, 19)}Z`) + 1000 // a fraction of a second lies behind its beginning
}

const compareText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

/** Content is looked at only when time and id are equal, which is the case of duplicates and borrowed ids. */
const compareContent = (a: Buffer, b: Buffer): number =>
  a.equals(b) ? 0 : compareText(contentHash(a), contentHash(b)) || Buffer.compare(a, b)

export const compareKept = (a: Kept, b: Kept): number =>
  compareText(a.order, b.order) ||
  compareContent(a.raw.bytes, b.raw.bytes) ||
  compareText(a.raw.place, b.raw.place) ||
  a.raw.number - b.raw.number

/** Merges sorted sequences into one. */
export function* merge(runs: readonly Iterator<Kept>[]): Generator<Kept> {
  const heads: { value: Kept; readonly rest: Iterator<Kept> }[] = []
  for (const rest of runs) {
    const first = rest.next()
    if (!first.done) heads.push({ value: first.value, rest })
  }
  const sink = (from: number) => {
    for (let at = from; ; ) {
      const left = 2 * at + 1
      const right = left + 1
      let least = at
      const smaller = (child: number) => {
        const one = heads[child]
        const other = heads[least]
        if (one !== undefined && other !== undefined && compareKept(one.value, other.value) < 0) least = child
      }
      smaller(left)
      smaller(right)
      const a = heads[at]
      const b = heads[least]
      if (least === at || a === undefined || b === undefined) return
      heads[at] = b
      heads[least] = a
      at = least
    }
  }
  for (let at = heads.length >> 1; at >= 0; at--) sink(at)
  for (let head = heads[0]; head !== undefined; head = heads[0]) {
    yield head.value
    const next = head.rest.next()
    if (!next.done) head.value = next.value
    else {
      const last = heads.pop()
      if (last !== undefined && last !== head) heads[0] = last
    }
    sink(0)
  }
}
