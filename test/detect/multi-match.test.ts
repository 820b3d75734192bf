import fc from 'fast-check'
import { expect, test } from 'vitest'
import { multiMatch } from '../../src/detect/multi-match.ts'

const letters = fc.constantFrom('a', 'b', 'A', 'B', ':', '"', 'ä')
const text = (least: number, most: number) =>
  fc.array(letters, { minLength: least, maxLength: most }).map((all) => all.join(''))
const needle = (least: number, most: number) => text(least, most).filter((one) => !one.includes('ä'))

test.each([
  ['short', 1, 4],
  ['long', 5, 7],
])('finds what looking for each text by itself finds: %s texts', (_, least, most) => {
  fc.assert(
    fc.property(
      fc.uniqueArray(needle(least, most), { minLength: 1, maxLength: 6 }),
      text(0, 60),
      (wanted, hay) => {
        const search = multiMatch(wanted)
        const hits = new Set<number>()
        search.collect(hay, hits)
        const fold = (one: string) => one.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
        const expected = wanted.flatMap((one, number) => (fold(hay).includes(fold(one)) ? [number] : []))
        expect([...hits].sort()).toEqual(expected)
        const bytes = Buffer.from(`x${hay}x`)
        expect(search.inBytes(bytes, 1, bytes.length - 1)).toBe(expected.length > 0)
      },
    ),
    { numRuns: 2000, seed: 9 },
  )
})
