import { existsSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'
import { defineDetectors } from '../../src/detect/definition.ts'
import { filesBelow, sharedFolder } from '../support/samples.ts'

const folder = join(sharedFolder, 'sigma-rules')
const present = existsSync(folder)
if (!present) console.warn(`SKIPPED: no public Sigma rules at ${folder}`)

const files = present
  ? filesBelow(folder)
      .filter((path) => path.endsWith('.yml'))
      .map((path) => ({ path: relative(folder, path), text: readFileSync(path, 'utf8') }))
  : []

/** Figures of validators.md section 3.1, which two other engines agree on. */
describe.skipIf(!present)('the public rules', () => {
  const { documents, problems } = defineDetectors(files)
  const refused = problems.filter(({ inSet }) => !inSet)
  const count = (kind: string) => documents.filter((one) => one.kind === kind).length

  test('368 rules compile, 8 correlations and 2 filters parse', () => {
    expect([files.length, count('rule'), count('correlation'), count('filter')]).toEqual([386, 368, 8, 2])
  })

  test('exactly those with the old aggregation are refused, with line and reason', () => {
    const old = files
      .filter(({ text }) => /^\s+condition:.*\|/m.test(text))
      .map(
        ({ path, text }) =>
          `${path}:${text.split('\n').findIndex((line) => /condition:.*\|/.test(line)) + 1}`,
      )
    expect(refused.map(({ path, line }) => `${path}:${line}`)).toEqual(old.sort())
    expect(old).toHaveLength(8)
    for (const { message } of refused) expect(message).toMatch(/write a correlation instead/)
  })
})
