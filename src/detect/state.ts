/**
 * What detectors remember between events, behind a port: a scan keeps it in memory, a journal keeps it on disk
 * and lends the part that the next events need.
 *
 * A value is a small JSON object under a key, with the time until which it is needed. What begins with `open|`
 * is handed back to the engine when that time has come; everything else may then be forgotten.
 */
import { Recent } from '../model/recent.ts'
import { type Entry, Series } from './series.ts'

export interface State {
  get(key: string): object | undefined
  /** `undefined` removes it. `due`: milliseconds since 1970, event time. */
  put(key: string, value: object | undefined, due: number): void
  /** The series of a group, made when there is none. */
  series(name: string, timespanMs: number): Series
  /** An entry was added to a series. */
  added(name: string, chunk: number, entry: Entry, due: number): void
}

/** What an event needs of the state, so that it can be fetched before. */
export interface Wants {
  value(key: string): void
  /** Chunks of a series, the first and the last one included. */
  chunks(name: string, timespanMs: number, first: number, last: number): void
}

export const isTimed = (key: string): boolean => key.startsWith('open|')

/** Groups held at a time: measured 5 KB each with one event and its note, 290 MB in all. */
const MAX_SERIES = 50_000

/** State of one run over ordered events: nothing is fetched, nothing written, and what is over is forgotten. */
export class MemoryState implements State {
  readonly #values = new Map<string, object>()
  readonly #timed = new Map<string, { readonly value: object; readonly due: number }>()
  readonly #series: Recent<string, Series>
  #now = Number.NEGATIVE_INFINITY
  #nextDue = Number.POSITIVE_INFINITY
  /** Groups that were forgotten within their window: what they count begins anew. */
  forgotten = 0

  constructor(maxSeries = MAX_SERIES) {
    this.#series = new Recent(maxSeries, (series) => {
      if (!series.isOver(this.#now)) this.forgotten++
    })
  }

  get(key: string): object | undefined {
    return isTimed(key) ? this.#timed.get(key)?.value : this.#values.get(key)
  }

  put(key: string, value: object | undefined, due: number): void {
    if (!isTimed(key)) {
      if (value === undefined) this.#values.delete(key)
      else this.#values.set(key, value)
    } else if (value === undefined) this.#timed.delete(key)
    else {
      this.#timed.set(key, { value, due })
      this.#nextDue = Math.min(this.#nextDue, due)
    }
  }

  series(name: string, timespanMs: number): Series {
    const known = this.#series.get(name)
    if (known !== undefined) return known
    const series = new Series(timespanMs)
    this.#series.set(name, series)
    return series
  }

  /** Events come in order: what lies before the window is never asked for again. */
  added(name: string, _chunk: number, { at }: Entry): void {
    this.#now = at
    this.#series.get(name)?.forgetBefore(at)
  }

  /** Keys whose time has come. */
  due(now: number): string[] {
    if (now < this.#nextDue) return []
    const keys: string[] = []
    this.#nextDue = Number.POSITIVE_INFINITY
    for (const [key, { due }] of this.#timed) {
      if (due <= now) keys.push(key)
      else this.#nextDue = Math.min(this.#nextDue, due)
    }
    return keys
  }

  /** Forgets groups that have been silent for longer than their window. */
  sweep(now: number): void {
    for (const [name, series] of this.#series) if (series.isOver(now)) this.#series.delete(name)
  }
}
