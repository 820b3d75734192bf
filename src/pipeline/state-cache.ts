/**
 * Detector state in a journal, read through a cache of bounded size. What the next events need is fetched before;
 * what they change leaves with the next commit. Calls on a journal are answered in order, so what has been handed
 * over may be forgotten at once: it is found again.
 */
import { type Entry, type Note, Series } from '../detect/series.ts'
import { isTimed, type State, type Wants } from '../detect/state.ts'
import { KeytrailError } from '../model/error.ts'
import type { ListChange, Loaded, ValueChange, Wanted } from './ports.ts'

/** Values held in memory; about 300 bytes each. */
const MAX_VALUES = 300_000
/** Entries of series held in memory; about 150 bytes each. */
const MAX_ENTRIES = 600_000
/** What a series costs beside its entries, in entries. */
const SERIES_WEIGHT = 8

interface Held {
  readonly value: object | undefined
  readonly due: number
}

interface HeldSeries {
  readonly series: Series
  weight: number
}

/** As it is stored: `[at, value, event id or 0 when it is the value, note]`. */
type StoredEntry = readonly [at: number, value: string, eventId: string | 0, note?: Note]

const storedEntry = ({ at, value, eventId, note }: Entry): StoredEntry => {
  const id = eventId === value ? 0 : eventId
  return note === undefined ? [at, value, id] : [at, value, id, note]
}
const entryOf = ([at, value, eventId, note]: StoredEntry): Entry => ({
  at,
  value,
  eventId: eventId === 0 ? value : eventId,
  note,
})

/** Puts a key last in order of use. */
const touch = <V>(map: Map<string, V>, key: string, value: V): V => {
  map.delete(key)
  map.set(key, value)
  return value
}

interface Added {
  readonly due: number
  readonly entries: Entry[]
}

export class CachedState implements State {
  readonly #values = new Map<string, Held>()
  readonly #series = new Map<string, HeldSeries>()
  readonly #dirty = new Map<string, Held>()
  /** By series, then chunk. */
  readonly #added = new Map<string, Map<number, Added>>()
  #wantedValues = new Set<string>()
  #wantedChunks = new Map<string, readonly [name: string, timespanMs: number, chunk: number]>()
  /** Series used since the last commit. */
  readonly #touched = new Set<HeldSeries>()
  #weight = 0
  /** Timed values that were loaded or changed since the last commit, and when they are due. */
  readonly #agenda = new Map<string, number>()
  #nextDue = Number.POSITIVE_INFINITY
  readonly #maxValues: number
  readonly #maxEntries: number

  constructor(maxValues = MAX_VALUES, maxEntries = MAX_ENTRIES) {
    this.#maxValues = maxValues
    this.#maxEntries = maxEntries
  }

  /** Collects what is needed and not here. */
  readonly wants: Wants = {
    value: (key) => {
      const held = this.#values.get(key)
      if (held === undefined) this.#wantedValues.add(key)
      else if (this.#values.size > this.#maxValues / 2) touch(this.#values, key, held) // order matters when room gets short
    },
    chunks: (name, timespanMs, first, last) => {
      const { chunks } = this.#hold(name, timespanMs).series
      for (let chunk = first; chunk <= last; chunk++)
        if (!chunks.has(chunk)) this.#wantedChunks.set(`${name}|${chunk}`, [name, timespanMs, chunk])
    },
  }

  #hold(name: string, timespanMs: number): HeldSeries {
    let held = this.#series.get(name)
    if (held === undefined) {
      held = { series: new Series(timespanMs), weight: 0 }
      this.#series.set(name, held)
    } else if (this.#weight > this.#maxEntries / 2) touch(this.#series, name, held)
    this.#touched.add(held)
    return held
  }

  /** @returns what is missing; `undefined` when nothing is */
  missing(): Wanted | undefined {
    if (this.#wantedValues.size === 0 && this.#wantedChunks.size === 0) return undefined
    return {
      values: [...this.#wantedValues],
      chunks: [...this.#wantedChunks.values()].map(([name, , chunk]) => [name, chunk] as const),
    }
  }

  /** Takes what was missing; what is not in it does not exist. */
  load(loaded: Loaded): void {
    for (const key of this.#wantedValues) this.#values.set(key, { value: undefined, due: 0 })
    this.#loadValues(loaded.values)
    const found = new Map<string, Entry[]>()
    for (const [name, chunk, entries] of loaded.chunks) {
      const key = `${name}|${chunk}`
      const parsed = (JSON.parse(entries) as StoredEntry[]).map(entryOf) // written by changes()
      found.set(key, [...(found.get(key) ?? []), ...parsed])
    }
    for (const [key, [name, timespanMs, chunk]] of this.#wantedChunks) {
      const entries = found.get(key) ?? []
      this.#hold(name, timespanMs).series.chunks.set(
        chunk,
        entries.sort((a, b) => a.at - b.at),
      ) // stable: equal times stay in order
    }
    this.#wantedValues = new Set()
    this.#wantedChunks = new Map()
  }

  #loadValues(values: Loaded['values']): void {
    for (const [key, value, due] of values)
      if (this.#values.get(key)?.value === undefined)
        this.#values.set(key, { value: JSON.parse(value) as object, due }) // written by changes()
  }

  /** Takes the timed values that may become due before the next commit. */
  loadTimed(values: Loaded['values']): void {
    this.#loadValues(values)
    for (const [key, , due] of values) if (!this.#agenda.has(key)) this.#schedule(key, due)
  }

  #schedule(key: string, due: number): void {
    this.#agenda.set(key, due)
    this.#nextDue = Math.min(this.#nextDue, due)
  }

  /** Timed keys whose time has come, in order of time. */
  due(watermark: number): string[] {
    if (watermark < this.#nextDue) return []
    const all = [...this.#agenda].sort(([a, at], [b, other]) => at - other || (a < b ? -1 : 1))
    this.#nextDue = all.find(([, due]) => due > watermark)?.[1] ?? Number.POSITIVE_INFINITY
    return all.filter(([, due]) => due <= watermark).map(([key]) => key)
  }

  get(key: string): object | undefined {
    const held = this.#values.get(key)
    if (held === undefined) throw new KeytrailError('internal.fault', `state ${key} was not fetched`)
    return held.value
  }

  put(key: string, value: object | undefined, due: number): void {
    const held = { value, due }
    this.#values.set(key, held)
    this.#dirty.set(key, held)
    if (!isTimed(key)) return
    if (value === undefined) this.#agenda.delete(key)
    else this.#schedule(key, due)
  }

  series(name: string, timespanMs: number): Series {
    return this.#hold(name, timespanMs).series
  }

  added(name: string, chunk: number, entry: Entry, due: number): void {
    let chunks = this.#added.get(name)
    if (chunks === undefined) {
      chunks = new Map()
      this.#added.set(name, chunks)
    }
    const known = chunks.get(chunk)
    if (known === undefined) chunks.set(chunk, { due, entries: [entry] })
    else known.entries.push(entry)
  }

  /** What changed since the last time, for a commit. */
  changes(): { readonly values: ValueChange[]; readonly lists: ListChange[] } {
    const values = [...this.#dirty].map(([key, { value, due }]) => ({
      key,
      value: value && JSON.stringify(value),
      due,
    }))
    const lists = [...this.#added].flatMap(([name, chunks]) =>
      [...chunks].map(([chunk, { due, entries }]) => ({
        name,
        chunk,
        due,
        entries: JSON.stringify(entries.map(storedEntry)),
      })),
    )
    this.#dirty.clear()
    this.#added.clear()
    this.#agenda.clear()
    this.#nextDue = Number.POSITIVE_INFINITY
    for (const held of this.#touched) this.#weigh(held)
    this.#touched.clear()
    this.#evict()
    return { values, lists }
  }

  #weigh(held: HeldSeries): void {
    held.series.forgetOld()
    let weight = SERIES_WEIGHT
    for (const entries of held.series.chunks.values()) weight += entries.length
    this.#weight += weight - held.weight
    held.weight = weight
  }

  /** Forgets what was due before a watermark, as the journal does. */
  forget(watermark: number, finalizeMs: number): void {
    for (const [key, { due, value }] of this.#values)
      if (value !== undefined && due <= watermark && !key.startsWith('open|')) this.#values.delete(key)
    for (const held of this.#series.values()) {
      for (const chunk of held.series.chunks.keys())
        if ((chunk + 2) * held.series.timespanMs + finalizeMs <= watermark) held.series.chunks.delete(chunk)
      this.#weigh(held)
    }
  }

  /** Drops what was not used for longest. */
  #evict(): void {
    if (this.#values.size > this.#maxValues)
      for (const key of this.#values.keys()) {
        if (this.#values.size <= (this.#maxValues * 3) / 4) break
        this.#values.delete(key)
      }
    for (const [name, { weight }] of this.#series) {
      if (this.#weight <= this.#maxEntries) break
      this.#series.delete(name)
      this.#weight -= weight
    }
  }
}
