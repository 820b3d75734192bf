import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { comparedHistories, decidedOn } from './decisions.ts'
import type { GoldenHistory } from './histories.ts'

describe.each([
  ['rsigma', 'rsigma'],
  ['pysigma-sqlite', 'pysigma-backend-sqlite'],
])('%s', (file, engine) => {
  const lines = readFileSync(join(import.meta.dirname, `histories.${file}.ndjson`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as GoldenHistory) // written by scripts/proof-sigma.ts
  const { asked, windows, decided, differences } = comparedHistories(lines[0]?.engine ?? '', lines)

  test('finds the windows from which our alerts follow, or as was decided', () => {
    expect(differences).toEqual([])
  })

  test('every decision is needed, and there is something to agree on', () => {
    expect([...decided].sort()).toEqual([...decidedOn(engine)].sort())
    expect(asked).toBeGreaterThan(13)
    expect(windows).toBeGreaterThan(1000)
  })
})
