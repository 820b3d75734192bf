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
const missing: readonly string[] = []

/** What the product does not yet do as the documents say: file, case, reason. An entry leaves when its case holds. */
const BEFORE =
  'the last value of a vault or a setting is not kept: rules cannot test before.<field> (contracts.md 3)'
const ADMINS =
  'the access policies of a vault before the write are not kept: which administrators it takes out is not known'
const known: readonly (readonly [file: string, name: string, reason: string])[] = [
  ['vault-network-open.azure-activity.cases.yml', 'the bypass is widened', BEFORE],
  ['vault-network-open.azure-activity.cases.yml', 'it was Allow before as well', BEFORE],
  ['vault-network-open.azure-activity.cases.yml', 'closed: from Allow to Deny', BEFORE],
  [
    'vault-network-open.azure-activity.cases.yml',
    'closed in between, then open: the last value counts',
    BEFORE,
  ],
  ['vault-network-open.azure-activity.cases.yml', 'open at first sight', BEFORE],
  ['vault-network-open.azure-activity.cases.yml', 'another vault was closed', BEFORE],
  ['vault-network-open.azure.cases.yml', 'open to begin with', BEFORE],
  ['log-diag-narrowed.azure-activity.cases.yml', 'another destination than before', BEFORE],
  ['policy-lockout.azure-activity.cases.yml', 'all administrators but the caller are taken out', ADMINS],
  [
    'rbac-key-role.azure-activity.cases.yml',
    'the body stands in the first record only',
    "the terminal record is read alone; the vendor's change-history page shows the body in the Started record only",
  ],
  [
    'policy-external.azure-activity.cases.yml',
    'an access policy for a known partner',
    'a binding does not carry the tenant of its member, so partners cannot be compared',
  ],
  [
    'caller-external.gcp.cases.yml',
    'a user of another domain',
    'actor.account is the project of a service account; the domain of a person is compared with nothing',
  ],
  [
    'decoy-key-touched.gcp.cases.yml',
    'names are compared exactly',
    'labels match in capital or small letters in every cloud (docs/knowledge.md); schema.md 2 rule 6 wants Google exact',
  ],
  [
    'weak-algorithm.gcp.cases.yml',
    'an import job that wraps with SHA-1',
    'importMethod is not read, and an import job has no target.key_id, by which the rule groups (contracts.md 3)',
  ],
]

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
