import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { rawVocabulary } from '../../src/detect/raw-fields.ts'
import { compileRule } from '../../src/detect/rule.ts'
import { compared, decisionsOn } from './decisions.ts'
import { families, type Golden } from './pairs.ts'

const goldenOf = (engine: string) =>
  readFileSync(join(import.meta.dirname, `pairs.${engine}.ndjson`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Golden) // written by scripts/proof-sigma.ts

describe.each(['rsigma', 'sigma-rust'])('%s', (engine) => {
  const results = new Map(
    goldenOf(engine).map((one) => [one.family, compared(one.engine, one.family, one.matches)] as const),
  )

  test.each([...families.keys()])('%s: matches as it does, or as was decided', (family) => {
    expect(results.get(family)?.differences).toEqual([])
  })

  test('every decision is needed, and most pairs are compared', () => {
    const all = [...results.values()]
    expect(new Set(all.flatMap(({ decided }) => [...decided]))).toEqual(new Set(decisionsOn(engine)))
    expect(all.reduce((sum, { pairs }) => sum + pairs, 0)).toBeGreaterThan(20_000)
  })
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
