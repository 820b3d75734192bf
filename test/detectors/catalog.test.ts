import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadDetectors } from '../../src/config/detectors.ts'
import { casesDocument } from '../../src/model/detector.ts'
import { keytrail, root } from '../support/scan.ts'

const folder = join(root, 'detectors')
const ids = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
const { detectors, problems } = loadDetectors([], true)

/** Content hash of each released version: content may change only together with the version. */
const released = JSON.parse(readFileSync(join(root, 'test', 'detectors', 'versions.json'), 'utf8')) as Record<
  string,
  Record<string, string>
>

describe('every detector', () => {
  test('compiles', () => expect(problems).toEqual([]))

  test('is named like its folder', () => expect(detectors.map((one) => one.facts.id)).toEqual(ids.sort()))

  test.each(ids)('%s says what it does not see, first', (id) => {
    const readme = readFileSync(join(folder, id, 'README.md'), 'utf8')
    expect(readme.match(/^## .*$/m)?.[0]).toBe('## What it does not see')
  })

  test.each(ids)('%s has a hit, a near miss and a busy calm day', (id) => {
    expect(existsSync(join(folder, id, 'cases.yml')), 'cases.yml').toBe(true)
    const { cases } = casesDocument.parse(parse(readFileSync(join(folder, id, 'cases.yml'), 'utf8')))
    const alerts = cases.map(({ expect }) => (typeof expect === 'number' ? expect : expect.alerts))
    expect(alerts.some((count) => count > 0)).toBe(true)
    expect(alerts.filter((count) => count === 0).length).toBeGreaterThan(1)
    const calm = cases
      .filter(({ expect }) => expect === 0)
      .map(({ records }) => records.reduce((sum, one) => sum + one.repeat, 0))
    expect(Math.max(...calm)).toBeGreaterThanOrEqual(20)
  })

  test.each(detectors.map((one) => [one.facts.id, one.facts] as const))(
    '%s tells people what to do and auditors what it is for',
    (_, facts) => {
      expect(facts.triage).toHaveLength(3)
      expect(facts.explanation).toBeDefined()
      expect(facts.controls).toContain('KMS-01')
      expect(facts.tags.some((tag) => tag.startsWith('attack.t'))).toBe(true)
      expect(facts.falsepositives.length).toBeGreaterThan(0)
    },
  )

  test.each(detectors.map((one) => [one.facts.id, one.facts] as const))(
    '%s keeps its content under one version',
    (id, facts) => {
      expect(released[id]?.[facts.version], `raise the version of ${id}, then add it to versions.json`).toBe(
        facts.content_hash,
      )
    },
  )
})

test('all cases of all detectors hold', () => {
  const { status, stdout } = keytrail(['test'])
  expect(stdout).toMatch(/^\d{3,} passed, 0 failed$/m)
  expect(status).toBe(0)
})
