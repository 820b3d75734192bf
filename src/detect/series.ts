/**
 * The events that one group of a correlation remembers, and exact counts over a window that slides over event
 * time, both ends inclusive. Events may come in any order; what is answered depends on the events alone.
 *
 * Entries are held in chunks as long as the window, so that any window lies within two of them and a journal
 * can give back one stretch of time without the rest.
 */

/** One event that counts. */
export interface Entry {
  /** Event time, milliseconds since 1970. */
  readonly at: number
  /** What is counted: the action, or the value of a field. */
  readonly value: string
  readonly eventId: string
  /** How it reads in an alert: only for the first few of a chunk. */
  readonly note?: Note | undefined
}

export interface Note {
  readonly summary: string
  readonly raw_ref: string
}

/** Entries of a chunk that carry their note: as many as an alert shows. */
const NOTES = 5

type Counts = Map<string, number>

const countIn = (counts: Counts, value: string) => counts.set(value, (counts.get(value) ?? 0) + 1)
const countOut = (counts: Counts, value: string) => {
  const left = (counts.get(value) ?? 1) - 1
  if (left === 0) counts.delete(value)
  else counts.set(value, left)
}

/** Index of the first entry later than `at`. */
const indexAfter = (entries: readonly Entry[], at: number): number => {
  let low = 0
  let high = entries.length
  if (high === 0 || (entries[high - 1]?.at ?? 0) <= at) return high
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((entries[middle]?.at ?? 0) <= at) low = middle + 1
    else high = middle
  }
  return low
}

/** A window whose end at `at` meets the condition. */
export interface Crossing {
  readonly at: number
  readonly observed: number
}

export class Series {
  readonly timespanMs: number
  /** Entries by number of the chunk, in order of time. A number that is missing has not been looked up. */
  readonly chunks = new Map<number, Entry[]>()
  /** Values of chunks that many entries came to out of order: thousands of entries may have a handful of values. */
  readonly #distinct = new Map<number, Set<string>>()
  /** Distinct values in [end - timespan, end]: what the last question in order left behind. */
  #counts: Counts = new Map()
  #end = Number.NEGATIVE_INFINITY

  constructor(timespanMs: number) {
    this.timespanMs = timespanMs
  }

  chunkOf(at: number): number {
    return Math.floor(at / this.timespanMs)
  }

  /** Puts an entry in its place. `note` is asked for the first few of a chunk only. @returns the entry */
  add(at: number, value: string, eventId: string, note: () => Note): Entry {
    const number = this.chunkOf(at)
    let entries = this.chunks.get(number)
    if (entries === undefined) {
      entries = []
      this.chunks.set(number, entries)
    }
    const entry: Entry = { at, value, eventId, note: entries.length < NOTES ? note() : undefined }
    const index = indexAfter(entries, at)
    if (index === entries.length) entries.push(entry)
    else entries.splice(index, 0, entry)
    if (at <= this.#end && at >= this.#end - this.timespanMs) countIn(this.#counts, value)
    this.#distinct.get(number)?.add(value)
    return entry
  }

  /** Forgets chunks that no window ending at `at` or later reaches. */
  forgetBefore(at: number): void {
    const oldest = this.chunkOf(at - this.timespanMs)
    for (const number of this.chunks.keys()) if (number < oldest) this.chunks.delete(number)
  }

  /** Forgets chunks that the next question in order does not reach. */
  forgetOld(): void {
    this.forgetBefore(this.#end)
  }

  /** Nothing of it is needed for windows that end at `at` or later. */
  isOver(at: number): boolean {
    return this.chunks.size === 0 || Math.max(...this.chunks.keys()) < this.chunkOf(at - this.timespanMs)
  }

  /** Entries in [from, to], in order of time. */
  between(from: number, to: number): readonly Entry[] {
    const parts: Entry[][] = []
    for (let number = this.chunkOf(from); number <= this.chunkOf(to); number++) {
      const entries = this.chunks.get(number)
      if (entries === undefined) continue
      const begin = indexAfter(entries, from - 1)
      const end = indexAfter(entries, to)
      if (begin < end) parts.push(entries.slice(begin, end))
    }
    return parts.length === 1 ? (parts[0] ?? []) : parts.flat()
  }

  /** Whether an entry lies in (at, at + timespan]: then `at` also belongs to windows that end later. */
  hasLater(at: number): boolean {
    const number = this.chunkOf(at)
    const own = this.chunks.get(number)
    if (own !== undefined && indexAfter(own, at) < own.length) return true
    const next = this.chunks.get(number + 1)?.[0]
    return next !== undefined && next.at <= at + this.timespanMs
  }

  /** Distinct values in [at - timespan, at]. Asked in order of time it costs only what came and went. */
  countAt(at: number): number {
    const back = this.timespanMs
    if (at < this.#end || at - this.#end > back) {
      this.#counts = new Map()
      for (const { value } of this.between(at - back, at)) countIn(this.#counts, value)
    } else if (at > this.#end) {
      for (const { value } of this.between(this.#end + 1, at)) countIn(this.#counts, value)
      for (const { value } of this.between(this.#end - back, at - back - 1)) countOut(this.#counts, value)
    }
    this.#end = at
    return this.#counts.size
  }

  /** No window around `at` holds more distinct values than this. */
  #distinctNear(at: number): number {
    let sum = 0
    for (
      let number = this.chunkOf(at - this.timespanMs);
      number <= this.chunkOf(at + this.timespanMs);
      number++
    ) {
      let distinct = this.#distinct.get(number)
      if (distinct === undefined) {
        for (const old of this.#distinct.keys()) if (!this.chunks.has(old)) this.#distinct.delete(old)
        distinct = new Set(this.chunks.get(number)?.map(({ value }) => value))
        if (this.chunks.has(number)) this.#distinct.set(number, distinct)
      }
      sum += distinct.size
    }
    return sum
  }

  /**
   * The windows that an entry at `at` made meet the condition: those that end at it or at a later entry, and
   * hold at least `threshold` distinct values now.
   */
  crossings(at: number, threshold: number): Crossing[] {
    const back = this.timespanMs
    const near = this.between(at - back, at + back)
    if (near.length < threshold) return []
    const from = indexAfter(near, at)
    if (!isFull(near, from, back, threshold) || this.#distinctNear(at) < threshold) return []
    const counts: Counts = new Map()
    for (const { value } of near.slice(0, from)) countIn(counts, value)
    const found: Crossing[] = counts.size >= threshold ? [{ at, observed: counts.size }] : []
    let oldest = 0
    for (let index = from; index < near.length; index++) {
      const { at: end, value } = near[index] as Entry // within its length
      countIn(counts, value)
      for (let one = near[oldest]; one !== undefined && one.at < end - back; one = near[++oldest])
        countOut(counts, one.value)
      if (near[index + 1]?.at !== end && counts.size >= threshold)
        found.push({ at: end, observed: counts.size })
    }
    return found
  }
}

/** Whether any window that ends at `from` or behind holds so many entries: values may be fewer, never more. */
const isFull = (near: readonly Entry[], from: number, back: number, threshold: number): boolean => {
  for (let index = Math.max(from - 1, threshold - 1); index < near.length; index++) {
    const first = near[index - threshold + 1]
    const last = near[index]
    if (first !== undefined && last !== undefined && last.at - first.at <= back) return true
  }
  return false
}
