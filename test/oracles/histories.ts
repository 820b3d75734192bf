/** Generated histories for correlations, the same every time: see pairs.ts. */
import { stringify } from 'yaml'
import { type CloudTrailRecord, record } from '../support/cloudtrail.ts'
import { randomOf } from './pairs.ts'

const START = Date.parse('2026-03-02T09:00:00Z')
const HISTORIES = 60
const EVENTS = 40

const size = 'requestParameters.size'
/** value_percentile is left out: rsigma compares something else; and it knows whole averages only. */
const bodies: Readonly<Record<string, object>> = {
  count_gte: { type: 'event_count', rules: ['a'], condition: { gte: 3 } },
  count_gt: { type: 'event_count', rules: ['a', 'b'], condition: { gt: 3 } },
  count_eq: { type: 'event_count', rules: ['a'], condition: { eq: 2 } },
  count_range: { type: 'event_count', rules: ['a'], condition: { gte: 2, lte: 3 } },
  count_lt: { type: 'event_count', rules: ['a'], condition: { lt: 2 } },
  values_gte: { type: 'value_count', rules: ['a'], condition: { field: size, gte: 3 } },
  values_neq: { type: 'value_count', rules: ['a'], condition: { field: size, neq: 1 } },
  // without a condition rsigma takes one rule for enough, the specification all
  temporal: { type: 'temporal', rules: ['a', 'b', 'c'], condition: { gte: 3 } },
  temporal_ordered: { type: 'temporal_ordered', rules: ['a', 'b', 'c'] },
  sum_gte: { type: 'value_sum', rules: ['a'], condition: { field: size, gte: 9 } },
  avg_gt: { type: 'value_avg', rules: ['a'], condition: { field: size, gt: 2 } },
}
export const correlationIds = Object.keys(bodies)

const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
const rules = ['a', 'b', 'c'].map((name, n) => ({
  title: name,
  name,
  id: uuid(n + 1),
  logsource: { product: 'aws', service: 'cloudtrail' },
  detection: { s: { eventName: name }, condition: 's' },
}))

/** Rules and correlations, one file. */
export const correlations: string = [
  ...rules,
  ...Object.entries(bodies).map(([name, body], n) => ({
    title: name,
    name,
    id: uuid(100 + n),
    correlation: { 'group-by': ['requestParameters.user'], timespan: '10m', ...body },
  })),
]
  .map((one) => stringify(one))
  .join('---\n')

/** Records in order of time, no two in one second: engines may differ on what happens at once. */
export const histories: readonly (readonly CloudTrailRecord[])[] = Array.from(
  { length: HISTORIES },
  (_, n) => {
    const random = randomOf(7000 + n)
    let second = 0
    return Array.from({ length: EVENTS }, (_, id) => {
      second += random(3) === 0 ? 600 - random(3) : 1 + random(200)
      return record({
        eventSource: 's3.amazonaws.com',
        eventName: 'abc'[random(3)],
        eventTime: new Date(START + second * 1000).toISOString().replace('.000Z', 'Z'),
        eventID: `history-${n}-${id}`,
        requestParameters: { user: 'uv'[random(2)], size: random(7) - 1, id },
      })
    })
  },
)

/** A line of golden-correlations.ndjson: by correlation, the records that end a window which holds. */
export interface GoldenHistory {
  readonly engine: string
  readonly ends: Readonly<Record<string, readonly number[]>>
}
