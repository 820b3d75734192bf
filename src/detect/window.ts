/**
 * A count over a window that slides exactly over event time, both ends inclusive: distinct values in
 * [t - timespan, t] after each event at t. Events come in order of time.
 */
import type { Witness } from './evidence.ts'

interface Entry {
  readonly at: number
  readonly value: string
  readonly witness: Witness
}

export class SlidingCount {
  readonly #timespanMs: number
  readonly #counts = new Map<string, number>()
  #entries: Entry[] = []
  #head = 0
  #next = 0

  constructor(timespanMs: number) {
    this.#timespanMs = timespanMs
  }

  /** Adds an event and drops what left the window. @returns distinct values now in the window */
  add(at: number, value: string, witness: Witness): number {
    this.#entries.push({ at, value, witness })
    this.#next++
    this.#counts.set(value, (this.#counts.get(value) ?? 0) + 1)
    this.#drop(at - this.#timespanMs)
    return this.#counts.size
  }

  #drop(before: number): void {
    for (
      let entry = this.#entries[this.#head];
      entry !== undefined && entry.at < before;
      entry = this.#entries[++this.#head]
    ) {
      const left = (this.#counts.get(entry.value) ?? 1) - 1
      if (left === 0) this.#counts.delete(entry.value)
      else this.#counts.set(entry.value, left)
    }
    if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }

  /** Time of the newest event, milliseconds since 1970. */
  get newest(): number {
    return this.#entries.at(-1)?.at ?? 0
  }

  /** Events in the window whose number is `from` or higher, oldest first. */
  *since(from: number): Generator<Witness> {
    for (
      let at = Math.max(this.#head, this.#entries.length - (this.#next - from));
      at < this.#entries.length;
      at++
    ) {
      const entry = this.#entries[at]
      if (entry !== undefined) yield entry.witness
    }
  }

  /** Number that the next event will get. */
  get next(): number {
    return this.#next
  }
}
