/** Generated histories for correlations, the same every time: see pairs.ts. */
import { stringify } from 'yaml'
import { type CloudTrailRecord, record } from '../support/cloudtrail.ts'
import { randomOf } from './pairs.ts'

export const START = Date.parse('2026-03-02T09:00:00Z')
/** Of the histories, so many at the end have events of one second. */
export const HISTORIES = 60
const TIED = 20
/** None is longer. */
export const HOURS = 8
export const groups = ['u', 'v']
const EVENTS = 40

const size = 'requestParameters.size'
const bodies: Readonly<Record<string, object>> = {
  count_gte: { type: 'event_count', rules: ['a'], condition: { gte: 3 } },
  count_gt: { type: 'event_count', rules: ['a', 'b'], condition: { gt: 3 } },
  count_eq: { type: 'event_count', rules: ['a'], condition: { eq: 2 } },
  count_range: { type: 'event_count', rules: ['a'], condition: { gte: 2, lte: 3 } },
  count_lt: { type: 'event_count', rules: ['a'], condition: { lt: 2 } },
  values_gte: { type: 'value_count', rules: ['a'], condition: { field: size, gte: 3 } },
  values_neq: { type: 'value_count', rules: ['a'], condition: { field: size, neq: 1 } },
  temporal: { type: 'temporal', rules: ['a', 'b', 'c'], condition: { gte: 3 } },
  temporal_all: { type: 'temporal', rules: ['a', 'b', 'c'] },
  temporal_ordered: { type: 'temporal_ordered', rules: ['a', 'b', 'c'] },
  sum_gte: { type: 'value_sum', rules: ['a'], condition: { field: size, gte: 9 } },
  avg_gt: { type: 'value_avg', rules: ['a'], condition: { field: size, gt: 2 } },
  avg_fraction: { type: 'value_avg', rules: ['a'], condition: { field: size, gte: 2.5 } },
  percentile_lte: {
    type: 'value_percentile',
    rules: ['a'],
    condition: { field: size, percentile: 25, lte: 1 },
  },
  aliases: {
    type: 'temporal',
    rules: ['a', 'b'],
    'group-by': ['who'],
    aliases: { who: { a: 'requestParameters.user', b: 'requestParameters.owner' } },
    condition: { gte: 2 },
  },
  nested: { type: 'temporal_ordered', rules: ['count_gte', 'b'] },
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
    generate: true,
    correlation: { 'group-by': ['requestParameters.user'], timespan: '10m', ...body },
  })),
]
  .map((one) => stringify(one))
  .join('---\n')

/** Records in order of time. */
export const histories: readonly (readonly CloudTrailRecord[])[] = Array.from(
  { length: HISTORIES + TIED },
  (_, n) => {
    const random = randomOf(7000 + n)
    let second = 0
    return Array.from({ length: EVENTS }, (_, id) => {
      if (n < HISTORIES || random(3) > 0) second += random(3) === 0 ? 600 - random(3) : 1 + random(200)
      return record({
        eventSource: 's3.amazonaws.com',
        eventName: 'abc'[random(3)],
        eventTime: new Date(START + second * 1000).toISOString().replace('.000Z', 'Z'),
        eventID: `history-${n}-${id}`,
        requestParameters: { user: 'uv'[random(2)], owner: 'uv'[random(2)], size: random(7) - 1, id },
      })
    })
  },
)

/** The end of a window that holds, in seconds since 1970, and whose it is. */
export type End = readonly [second: number, group: string]

/** A line of `histories.<engine>.ndjson`: by correlation the windows that hold; null when the engine does not support it. */
export interface GoldenHistory {
  readonly engine: string
  readonly ends: Readonly<Record<string, readonly End[] | null>>
}
