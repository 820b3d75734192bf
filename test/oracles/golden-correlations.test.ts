import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { defineDetectors } from '../../src/detect/definition.ts'
import { signalId } from '../../src/detect/signal.ts'
import { object } from '../../src/normalize/json.ts'
import { delivery } from '../support/cloudtrail.ts'
import { scanBytes } from '../support/scan.ts'
import { correlationIds, correlations, type GoldenHistory, histories } from './histories.ts'

const golden = readFileSync(join(import.meta.dirname, 'golden-correlations.ndjson'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as GoldenHistory) // written by scripts/proof-sigma.ts

const { detectors } = defineDetectors([{ path: 'c.yml', text: correlations }])
const HOUR = 3_600_000

/** Of the windows that hold, one alert for each user and hour of their ends. */
test.each(correlationIds)('%s: the alerts that follow from the windows of the other engine', (id) => {
  const [detector, ...more] = detectors.filter(({ facts }) => facts.id === id)
  if (detector === undefined || more.length > 0) throw new Error(`no ${id}`)
  let windows = 0
  histories.forEach((records, n) => {
    const ends = golden[n]?.ends[id] ?? []
    windows += ends.length
    const expected = ends.map((at) => {
      const one = records[at] ?? {}
      const hour = Math.floor(Date.parse(String(one['eventTime'])) / HOUR) * HOUR
      return signalId(detector.facts, [String(object(one['requestParameters'])['user']), hour])
    })
    const { alerts } = scanBytes([{ path: 'a.json', bytes: delivery(records) }], { detectors: [detector] })
    expect(alerts.map(({ alert_id }) => alert_id).sort(), `history ${n}`).toEqual(
      [...new Set(expected)].sort(),
    )
  })
  expect(windows).toBeGreaterThan(10)
})
