/**
 * The cached state against a plain map: whatever is dropped from memory, merged late, forgotten or cut off by a
 * restart, and however far the reader is behind the writer, what is asked for is what was written.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Store } from '../../src/journal/store.ts'
import { emptyCommit } from '../../src/pipeline/live-judge.ts'
import type { Commit } from '../../src/pipeline/ports.ts'
import { CachedState } from '../../src/pipeline/state-cache.ts'

const SPAN_MS = 1000
const FINALIZE_MS = 5000
/** Commits that a reader may not see yet. */
const BEHIND = 2

/** @param forgets of ten rounds, how many are followed by one that forgets */
const roundOf = (forgets: number) =>
  fc.record({
    puts: fc.array(fc.tuple(fc.nat(40), fc.nat(9)), { maxLength: 4 }),
    adds: fc.array(fc.tuple(fc.nat(12), fc.nat(3000)), { maxLength: 8 }),
    asked: fc.array(fc.tuple(fc.nat(12), fc.nat(12)), { maxLength: 4 }),
    forgets: fc.nat(9).map((one) => one < forgets),
    restarts: fc.oneof(
      { weight: 49, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
  })

const world = () => {
  const [store, reader] = [new Store(undefined, 'judge'), new Store(undefined, 'judge')]
  const late: Commit[] = []
  let seq = 0
  let state = new CachedState(20, 60)
  let isRecovered = false
  return {
    get state() {
      return state
    },
    fetch() {
      if (!isRecovered) state.recover(store.unmerged())
      isRecovered = true
      const wanted = state.missing()
      if (wanted !== undefined) state.load((wanted.settled ? reader : store).load(wanted))
    },
    /** @returns the chunk it is in */
    add(group: string, at: number, value: string): number {
      const series = state.series(group, SPAN_MS)
      const chunk = series.chunkOf(at)
      const entry = series.add(at, value, 'e', () => ({ summary: '', raw_ref: '' }))
      state.added(group, chunk, entry, (chunk + 2) * SPAN_MS + FINALIZE_MS)
      return chunk
    },
    commit(forget: number | undefined) {
      const commit: Commit = { ...emptyCommit, seq: ++seq, at: 0, forget, ...state.changes() }
      store.commit(commit, undefined)
      late.push(commit)
      const seen = late.length > BEHIND ? late.shift() : undefined
      if (seen !== undefined) reader.commit(seen, undefined)
    },
    restart() {
      state = new CachedState(20, 60)
      isRecovered = false
      for (const one of late.splice(0)) reader.commit(one, undefined)
    },
  }
}

describe('cached state', () => {
  test.each([0, 1, 5])('gives what was written, and forgets after %i of ten rounds', (forgets) => {
    fc.assert(
      fc.property(fc.array(roundOf(forgets), { minLength: 1, maxLength: 200, size: 'max' }), (rounds) => {
        const all = world()
        const values = new Map<string, number>()
        const lists = new Map<string, string[]>()
        let written = 0
        for (const [at, { puts, adds, asked, forgets, restarts }] of rounds.entries()) {
          const begins = at * 300
          for (const [key] of puts) all.state.wants.value(`k${key}`)
          const chunks = [
            ...asked.map(
              ([group, back]) => [`g${group}`, Math.max(0, Math.floor(begins / SPAN_MS) - back)] as const,
            ),
            ...adds.map(([group, ms]) => [`g${group}`, Math.floor((begins + ms) / SPAN_MS)] as const),
          ]
          for (const [group, chunk] of chunks) all.state.wants.chunks(group, SPAN_MS, chunk, chunk)
          all.fetch()
          for (const [group, chunk] of chunks) {
            const found = all.state.series(group, SPAN_MS).chunks.get(chunk)
            expect(found?.map(({ value }) => value).sort()).toEqual(
              [...(lists.get(`${group}|${chunk}`) ?? [])].sort(),
            )
          }
          for (const [key, value] of puts) {
            const found = all.state.get(`k${key}`) as { value: number } | undefined
            expect(found?.value).toBe(values.get(`k${key}`))
            all.state.put(`k${key}`, { value }, Number.MAX_SAFE_INTEGER)
            values.set(`k${key}`, value)
          }
          for (const [group, ms] of adds) {
            const chunk = all.add(`g${group}`, begins + ms, `v${written++}`)
            const name = `g${group}|${chunk}`
            lists.set(name, [...(lists.get(name) ?? []), `v${written - 1}`])
          }
          all.commit(undefined)
          if (forgets) {
            all.state.forget(begins, FINALIZE_MS)
            all.commit(begins)
            for (const name of lists.keys())
              if ((Number(name.split('|')[1]) + 2) * SPAN_MS + FINALIZE_MS <= begins) lists.delete(name)
          }
          if (restarts) all.restart()
        }
      }),
      { numRuns: 60, seed: 5, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: true },
    )
  })

  test('a busy group gets one row from many commits', () => {
    const all = world()
    for (let n = 0; n < 64; n++) {
      all.state.wants.chunks('g', SPAN_MS, 0, 0)
      all.fetch()
      all.add('g', n, `v${n}`)
      if (n < 63) all.commit(undefined)
    }
    const { lists, merged, unmerged } = all.state.changes()
    expect({ rows: lists.length, merged, unmerged }).toEqual({ rows: 1, merged: true, unmerged: undefined })
    expect(JSON.parse(lists[0]?.entries ?? '')).toHaveLength(64)
  })
})
