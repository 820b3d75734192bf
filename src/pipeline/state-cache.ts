/**
 * Detector state in a journal, read through a cache of bounded size. What the next events need is fetched before;
 * what they change leaves with the next commit, and may be forgotten at once: whoever asks for it again learns
 * whether that commit must be waited for.
 */
import { type Entry, type Note, Series } from '../detect/series.ts'
import { isTimed, type State, type Wants } from '../detect/state.ts'
import { KeytrailError } from '../model/error.ts'
import { Recent } from '../model/recent.ts'
import type { Commit, ListChange, Loaded, Wanted } from './ports.ts'

/** Values held in memory; about 300 bytes each. */
const MAX_VALUES = 300_000
/** Entries of series held in memory; about 150 bytes each. */
const MAX_ENTRIES = 600_000
/** What a series costs beside its entries, in entries. */
const SERIES_WEIGHT = 8
/**
 * What a busy group gets from one commit is a few entries, and a row for them costs as much as one for hundreds: what
 * so many commits added goes to the lists together.
 */
const MERGED_TOGETHER = 64
/** Commits that may not be durable yet: the loop writes two while it makes the next, and ticks come between. */
const UNSETTLED = 6

interface Held {
  readonly value: object | undefined
  readonly due: number
}

interface HeldSeries {
  readonly series: Series
  /** What it counts in the generation that it was weighed in last. */
  weight: number
  generation: number
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

interface Added {
  readonly due: number
  readonly entries: Entry[]
}

/** By series, then chunk. */
type Additions = Map<string, Map<number, Added>>

const add = (all: Additions, name: string, chunk: number, due: number, entries: readonly Entry[]) => {
  let chunks = all.get(name)
  if (chunks === undefined) {
    chunks = new Map()
    all.set(name, chunks)
  }
  const known = chunks.get(chunk)
  if (known === undefined) chunks.set(chunk, { due, entries: [...entries] })
  else known.entries.push(...entries)
}

function* eachOf(all: Additions): Generator<readonly [name: string, chunk: number, added: Added]> {
  for (const [name, chunks] of all) for (const [chunk, added] of chunks) yield [name, chunk, added]
}

/** The additions of one commit, as they are kept until they are merged. */
type Unmerged = readonly (readonly [
  name: string,
  chunk: number,
  due: number,
  entries: readonly StoredEntry[],
])[]

export type StateChanges = Pick<Commit, 'values' | 'lists' | 'unmerged' | 'merged'>

/** What one commit changes. */
interface Round {
  readonly values: ReadonlyMap<string, Held>
  readonly lists: Additions
  /** Everything that was due by then. */
  readonly hasForgotten: boolean
}

export class CachedState implements State {
  readonly #values = new Recent<string, Held>()
  readonly #series = new Recent<string, HeldSeries>()
  #dirty = new Map<string, Held>()
  #added: Additions = new Map()
  /** What earlier commits added and the lists do not hold yet. */
  #unmerged: Additions = new Map()
  #unmergedCommits = 0
  #hasForgotten = false
  /** What the newest commits change. */
  readonly #unsettled: Round[] = []
  #wantedValues = new Set<string>()
  #wantedChunks = new Map<string, readonly [name: string, timespanMs: number, chunk: number]>()
  /** Series used since the last commit. */
  readonly #touched = new Set<HeldSeries>()
  /** Of the series used in this generation. */
  #weight = 0
  #generation = 0
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
      if (this.#values.get(key) === undefined) this.#wantedValues.add(key)
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
      held = { series: new Series(timespanMs), weight: 0, generation: this.#generation }
      this.#series.set(name, held)
    }
    this.#touched.add(held)
    return held
  }

  /** @returns what is missing; `undefined` when nothing is */
  missing(): Wanted | undefined {
    if (this.#wantedValues.size === 0 && this.#wantedChunks.size === 0) return undefined
    const values = [...this.#wantedValues]
    const chunks = [...this.#wantedChunks.values()].map(([name, , chunk]) => [name, chunk] as const)
    const isChanged = (round: Round) =>
      round.hasForgotten ||
      values.some((key) => round.values.has(key)) ||
      chunks.some(([name, chunk]) => round.lists.get(name)?.has(chunk))
    return { values, chunks, settled: !this.#unsettled.some(isChanged) }
  }

  /** Takes what commits before a restart left unmerged. */
  recover(commits: readonly string[]): void {
    for (const one of commits)
      for (const [name, chunk, due, entries] of JSON.parse(one) as Unmerged) // written by changes()
        add(this.#unmerged, name, chunk, due, entries.map(entryOf))
    this.#unmergedCommits = commits.length
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
      const entries = [...(found.get(key) ?? []), ...(this.#unmerged.get(name)?.get(chunk)?.entries ?? [])]
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
    add(this.#added, name, chunk, due, [entry])
  }

  /** What changed since the last time, for a commit. */
  changes(): StateChanges {
    const values = [...this.#dirty].map(([key, { value, due }]) => ({
      key,
      value: value && JSON.stringify(value),
      due,
    }))
    const { lists, ...kept } = this.#changedLists()
    this.#unsettled.push({
      values: this.#dirty,
      lists: kept.merged ? this.#unmerged : new Map(),
      hasForgotten: this.#hasForgotten,
    })
    if (this.#unsettled.length > UNSETTLED) this.#unsettled.shift()
    if (kept.merged) this.#unmerged = new Map()
    this.#dirty = new Map()
    this.#added = new Map()
    this.#hasForgotten = false
    this.#agenda.clear()
    this.#nextDue = Number.POSITIVE_INFINITY
    for (const held of this.#touched) this.#weigh(held)
    this.#touched.clear()
    this.#evict()
    return { values, lists, ...kept }
  }

  /** Additions are merged when there are many, and before the lists forget what was due. */
  #changedLists(): Omit<StateChanges, 'values'> {
    for (const [name, chunk, { due, entries }] of eachOf(this.#added))
      add(this.#unmerged, name, chunk, due, entries)
    const isNew = this.#added.size > 0
    const merged =
      this.#unmerged.size > 0 &&
      (this.#hasForgotten || this.#unmergedCommits + Number(isNew) >= MERGED_TOGETHER)
    if (merged) {
      this.#unmergedCommits = 0
      const lists: ListChange[] = []
      for (const [name, chunk, { due, entries }] of eachOf(this.#unmerged))
        lists.push({ name, chunk, due, entries: JSON.stringify(entries.map(storedEntry)) })
      return { lists, merged, unmerged: undefined }
    }
    if (!isNew) return { lists: [], merged, unmerged: undefined }
    this.#unmergedCommits++
    const added: Unmerged = [...eachOf(this.#added)].map(([name, chunk, { due, entries }]) => [
      name,
      chunk,
      due,
      entries.map(storedEntry),
    ])
    return { lists: [], merged, unmerged: JSON.stringify(added) }
  }

  #weigh(held: HeldSeries): void {
    held.series.forgetOld()
    let weight = SERIES_WEIGHT
    for (const entries of held.series.chunks.values()) weight += entries.length
    this.#weight += weight - (held.generation === this.#generation ? held.weight : 0)
    held.weight = weight
    held.generation = this.#generation
  }

  /** Forgets what was due before a watermark, as the journal does. */
  forget(watermark: number, finalizeMs: number): void {
    this.#hasForgotten = true
    for (const [key, { due, value }] of this.#values)
      if (value !== undefined && due <= watermark && !key.startsWith('open|')) this.#values.delete(key)
    for (const [, held] of this.#series) {
      for (const chunk of held.series.chunks.keys())
        if ((chunk + 2) * held.series.timespanMs + finalizeMs <= watermark) held.series.chunks.delete(chunk)
      if (held.generation === this.#generation) this.#weigh(held)
    }
  }

  /** Two generations together hold no more than the most. */
  #evict(): void {
    if (this.#values.used > this.#maxValues / 2) this.#values.turn()
    if (this.#weight <= this.#maxEntries / 2) return
    this.#series.turn()
    this.#weight = 0
    this.#generation++
  }
}
