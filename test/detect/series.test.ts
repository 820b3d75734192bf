import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Series } from '../../src/detect/series.ts'

const SPAN = 10

interface Plain {
  readonly at: number
  readonly value: string
}

const note = () => ({ summary: 'one', raw_ref: '1:1' })
const distinct = (all: readonly Plain[], end: number) =>
  new Set(all.filter(({ at }) => at >= end - SPAN && at <= end).map(({ value }) => value)).size

const entries = fc.array(
  fc.record({ at: fc.nat(60), value: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g') }),
  { maxLength: 60 },
)

describe('Series', () => {
  test('counts as one would by hand, whatever the order of arrival and of questions', () => {
    fc.assert(
      fc.property(entries, fc.array(fc.nat(70), { maxLength: 20 }), (all, questions) => {
        const series = new Series(SPAN)
        all.forEach(({ at, value }, index) => {
          series.add(at, value, `id-${index}`, note)
          const asked = questions[index]
          if (asked !== undefined)
            expect(series.countAt(asked)).toBe(distinct(all.slice(0, index + 1), asked))
        })
        for (const asked of questions) expect(series.countAt(asked)).toBe(distinct(all, asked))
      }),
      { numRuns: 500 },
    )
  })

  test('in order of time, with what is old forgotten', () => {
    fc.assert(
      fc.property(entries, (unordered) => {
        const all = [...unordered].sort((a, b) => a.at - b.at)
        const series = new Series(SPAN)
        all.forEach(({ at, value }, index) => {
          series.add(at, value, `id-${index}`, note)
          expect(series.countAt(at)).toBe(distinct(all.slice(0, index + 1), at))
          series.forgetBefore(at)
          expect(series.chunks.size).toBeLessThanOrEqual(2)
        })
      }),
      { numRuns: 500 },
    )
  })

  test('finds every window that an entry made full, and no other', () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 1, max: 6 }), (all, threshold) => {
        const series = new Series(SPAN)
        all.forEach(({ at, value }, index) => {
          series.add(at, value, `id-${index}`, note)
          const known = all.slice(0, index + 1)
          const ends = [
            ...new Set([at, ...known.map((one) => one.at).filter((one) => one > at && one <= at + SPAN)]),
          ]
          const expected = ends
            .sort((a, b) => a - b)
            .map((end) => ({ at: end, observed: distinct(known, end) }))
            .filter(({ observed }) => observed >= threshold)
          expect(series.crossings(at, threshold)).toEqual(expected)
          expect(series.hasLater(at)).toBe(ends.some((end) => end > at))
        })
      }),
      { numRuns: 500 },
    )
  })

  test('only the first five of a chunk carry a note', () => {
    const series = new Series(SPAN)
    const made = Array.from({ length: 12 }, (_, index) => series.add(3, `v${index}`, `id-${index}`, note))
    expect(made.map((entry) => entry.note !== undefined)).toEqual(made.map((_, index) => index < 5))
  })
})
