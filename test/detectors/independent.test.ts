/**
 * Cases of Azure and Google that were written from the documents and the vendors' pages alone, before and apart from the
 * rules: `independent/<detector>.<form of the records>.cases.yml`. They run through the code of `keytrail test`.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { alertsOf, readCases } from '../../src/commands/test.ts'
import { loadDetectors } from '../../src/config/detectors.ts'
import { runCases } from '../../src/detect/cases.ts'

const folder = join(import.meta.dirname, 'independent')
const { detectors } = loadDetectors([], true)

/** Detectors that are still to come. An entry leaves when its detector arrives. */
const missing: readonly string[] = ['rbac-key-role']

/** What the product does not yet do as the documents say: file, case, reason. An entry leaves when its case holds. */
const known: readonly (readonly [file: string, name: string, reason: string])[] = []

const files = readdirSync(folder).sort()
const detectorOf = (file: string) => file.split('.')[0] ?? file

test('a detector that is there is not called missing', () => {
  expect(missing.filter((id) => detectors.some((one) => one.facts.id === id))).toEqual([])
})

test('every known failure is a case', () => {
  const names = new Set(
    files.flatMap((file) => readCases(join(folder, file)).cases.map(({ name }) => `${file}: ${name}`)),
  )
  expect(known.map(([file, name]) => `${file}: ${name}`).filter((one) => !names.has(one))).toEqual([])
})

describe.each(files.filter((file) => !missing.includes(detectorOf(file))))('%s', (file) => {
  const document = readCases(join(folder, file))
  const detector = detectors.find((one) => one.facts.id === detectorOf(file))

  test.each(document.cases)('$name', (one) => {
    if (detector === undefined) throw new Error(`no detector ${detectorOf(file)}`)
    const [result] = runCases({ ...document, cases: [one] }, (records) =>
      alertsOf(detector, records, document.knowledge),
    )
    const reason = known.find(([where, name]) => where === file && name === one.name)?.[2]
    if (reason === undefined) expect(result?.failure).toBeUndefined()
    else expect(result?.failure, `holds now, take it out of the known failures: ${reason}`).toBeDefined()
  })
})
