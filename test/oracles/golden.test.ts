import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { rawVocabulary } from '../../src/detect/raw-fields.ts'
import { compileRule } from '../../src/detect/rule.ts'
import { type Detection, families, type Golden } from './pairs.ts'

const golden = readFileSync(join(import.meta.dirname, 'golden.ndjson'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Golden) // written by scripts/proof-sigma.ts

/** Where the engines differ on purpose. */
const decided = (
  family: string,
  { s }: Detection,
  { f }: Readonly<Record<string, unknown>>,
  theirs: boolean,
) => {
  const value = typeof s === 'object' && s !== null && 'f' in s ? s.f : undefined
  if (family === 'values') return typeof value === 'boolean' && f === '1' // values are compared as they are written
  // rsigma keeps the last character though what follows changes it, and so misses texts
  return (family === 'base64offset' || family === 'wide') && !theirs
}

test.each([...families])('%s: matches as the other engine does', (name, { rules, events }) => {
  const matches = golden.find(({ family }) => family === name)?.matches
  const differences = rules.flatMap((detection, rule) => {
    const { test: holds } = compileRule(detection, { vocabulary: rawVocabulary('aws') })
    return events.flatMap((event, index) => {
      const theirs = matches?.[rule]?.includes(index) ?? false
      const same = holds(event) === theirs || decided(name, detection, event, theirs)
      return same ? [] : [JSON.stringify({ detection, event, theirs })]
    })
  })
  expect(differences).toEqual([])
})

test('base64offset finds every text of two letters that is in the bytes', () => {
  const { rules, events } = families.get('base64offset') ?? { rules: [], events: [] }
  let found = 0
  for (const { s } of rules)
    for (const event of events) {
      const text = Object.values(s as Readonly<Record<string, string>>)[0] ?? '' // its only field
      if (text.length < 2 || !Buffer.from(String(event['f']), 'base64').includes(text)) continue
      found++
      const { test: holds } = compileRule({ s, condition: 's' }, { vocabulary: rawVocabulary('aws') })
      expect(holds(event), `${text} in ${event['f']}`).toBe(true)
    }
  expect(found).toBeGreaterThan(10)
})

test.each([...families])(
  '%s: the text of a record that matches holds what is looked for',
  (_, { rules, events }) => {
    for (const detection of rules) {
      const { test: holds, needles } = compileRule(detection, { vocabulary: rawVocabulary('aws') })
      for (const event of events) {
        const text = JSON.stringify(event).toLowerCase()
        if (!holds(event) || text.includes('\\/') || text.includes('\\u')) continue // then it is parsed anyway
        for (const set of needles)
          expect(
            set.some((one) => text.includes(one)),
            `${JSON.stringify(detection)} ${text}`,
          ).toBe(true)
      }
    }
  },
)
