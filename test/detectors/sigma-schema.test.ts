/** Our detectors are rules and correlations for any Sigma tool: the specification's own schemas accept them. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { expect, test } from 'vitest'
import { loadDetectors } from '../../src/config/detectors.ts'
import { sharedFolder } from '../support/samples.ts'

const folder = join(sharedFolder, 'schemas', 'sigma-schema')
const present = existsSync(folder)
if (!present) console.warn(`SKIPPED: no Sigma schemas at ${folder}`)

const { documents } = loadDetectors([], true)
/** What only Keytrail can say stands in documents of its own, with a kind. */
const exempt = ['novelty', 'sequence', 'overdue', 'silence']
const plain = documents.filter(({ doc }) => !exempt.includes(doc.keytrail?.kind ?? ''))

test.skipIf(!present)('the schemas of the specification accept our rules and correlations', () => {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  addFormats.default(ajv)
  const schemaOf = (name: string) => ajv.compile(JSON.parse(readFileSync(join(folder, name), 'utf8')))
  const rule = schemaOf('sigma-detection-rule-schema.json')
  const correlation = schemaOf('sigma-correlation-rules-schema.json')
  expect(plain.length).toBeGreaterThan(30)
  const wrong = plain.flatMap(({ kind, place }) => {
    const check = kind === 'correlation' ? correlation : rule
    return check(place.node.toJS()) ? [] : [`${place.path}: ${ajv.errorsText(check.errors)}`]
  })
  expect(wrong).toEqual([])
})
