/** Correlations of the Sigma specification 2.1, from document to detector. */
import type { CorrelationDocument } from '../model/detector.ts'
import {
  type CountDetector,
  type InnerSide,
  type Measure,
  type MeasureDetector,
  milliseconds,
  type Side,
} from './detectors.ts'
import {
  bucketOf,
  contentHash,
  contentOf,
  DEFAULT_BUCKET_MS,
  factsOf,
  gettersOf,
  type Known,
  list,
  type Of,
  type Rule,
} from './known.ts'
import type { Getter } from './record-rule.ts'
import { RuleError } from './rule.ts'

type Condition = NonNullable<CorrelationDocument['correlation']['condition']>
type Bound = 'gte' | 'gt' | 'lte' | 'lt' | 'eq' | 'neq'

const bounds: Readonly<Record<Bound, (value: number, bound: number) => boolean>> = {
  gte: (value, bound) => value >= bound,
  gt: (value, bound) => value > bound,
  lte: (value, bound) => value <= bound,
  lt: (value, bound) => value < bound,
  eq: (value, bound) => value === bound,
  neq: (value, bound) => value !== bound,
}

/** All bounds must hold. */
const given = (condition: Condition) =>
  (Object.keys(bounds) as Bound[]).flatMap((name) => {
    const bound = condition[name]
    return bound === undefined ? [] : [{ name, bound }]
  })

const measures: Readonly<Record<CorrelationDocument['correlation']['type'], Measure>> = {
  event_count: 'actions',
  value_count: 'values',
  temporal: 'rules',
  temporal_ordered: 'rules',
  value_sum: 'sum',
  value_avg: 'avg',
  value_percentile: 'percentile',
}

/** Copies of an event that a small bucket and a long window would make. */
const MAX_COPIES = 50

type Names = ReadonlyMap<string, Known>

/** Several fields count as one value. */
const together = (getters: readonly Getter[]): Getter | undefined => {
  const [only] = getters
  if (getters.length < 2) return only
  return (event, raw) => {
    const values = getters.map((get) => get(event, raw))
    return values.includes(undefined) ? undefined : JSON.stringify(values)
  }
}

/** Breadth: what counts may be called differently in each cloud; elsewhere nothing counts. */
const perCloud = (
  field: NonNullable<CorrelationDocument['keytrail']>['field'],
  read: (fields: readonly string[], part: string) => Getter[],
): Getter | undefined => {
  if (field === undefined) return undefined
  if (typeof field === 'string' || Array.isArray(field)) return together(read(list(field), 'condition'))
  const clouds = new Map(
    Object.entries(field).map(([cloud, names]) => [cloud, together(read(list(names), 'condition'))]),
  )
  return (event, raw) => clouds.get(event.source.provider)?.(event, raw)
}

/** @throws RuleError */
export const correlationDetector = (
  one: Of<'correlation'>,
  byName: Names,
  isInner = false,
): CountDetector | MeasureDetector => {
  const { correlation } = one.doc
  const { type, aliases = {} } = correlation
  const groupBy = list(correlation['group-by'])
  const named = list(correlation.rules)
  const condition: Condition = correlation.condition ?? { gte: named.length }
  const fields = list(condition.field)
  const measure = measures[type]
  const needsField = type.startsWith('value_')
  const byCloud = one.doc.keytrail?.field
  if (needsField && fields.length === 0)
    throw new RuleError(['correlation', 'condition'], `${type} needs a field in its condition`)

  const known = named.map((name) => ({ name, found: byName.get(name) }))
  /** What a field of the correlation is called in one of its rules. */
  const aliased = (field: string, rule: Known, name: string): string => {
    const own = Object.hasOwn(aliases, field) ? aliases[field] : undefined
    const key = [name, rule.doc.name, rule.doc.id].find(
      (each) => each !== undefined && own !== undefined && Object.hasOwn(own, each),
    )
    return own === undefined || key === undefined ? field : (own[key] ?? field)
  }
  const sideOf = (rule: Rule, name: string, index: number): Side => {
    const read = (all: readonly string[], part: string) =>
      gettersOf(
        rule.compiled,
        all.map((field) => aliased(field, rule, name)),
        ['correlation', part],
      )
    return {
      rule: rule.compiled,
      index,
      group: read(groupBy, 'group-by'),
      value: needsField ? (perCloud(byCloud, read) ?? together(read(fields, 'condition'))) : undefined,
    }
  }
  const innerOf = (inner: Of<'correlation'>, name: string, index: number): InnerSide => {
    if (isInner)
      throw new RuleError(['correlation', 'rules'], `"${name}": correlations nest two deep at most`)
    const detector = correlationDetector(inner, byName, true)
    if (detector.kind !== 'count')
      throw new RuleError(
        ['correlation', 'rules'],
        `"${name}" is decided at the end of a window: no other correlation can count it`,
      )
    const place = (field: string, part: string): number => {
      const at = detector.groupBy.indexOf(aliased(field, inner, name))
      if (at < 0) throw new RuleError(['correlation', part], `"${name}" is not grouped by "${field}"`)
      return at
    }
    return {
      detector,
      index,
      group: groupBy.map((field) => place(field, 'group-by')),
      value: needsField ? place(fields[0] ?? '', 'condition') : undefined,
    }
  }
  const sides = known.flatMap(({ name, found }, index) =>
    found?.kind === 'rule' ? [sideOf(found, name, index)] : [],
  )
  const inner = known.flatMap(({ name, found }, index) =>
    found?.kind === 'correlation' ? [innerOf(found, name, index)] : [],
  )
  const contents = (document: Known): ReturnType<typeof contentOf> =>
    document.kind === 'rule'
      ? contentOf(document)
      : [
          document.doc,
          ...list(document.doc.correlation.rules).flatMap((name) => {
            const found = byName.get(name)
            return found === undefined ? [] : contents(found)
          }),
        ]
  const common = {
    facts: factsOf(one, contentHash(contents(one))),
    sides,
    groupBy,
    timespanMs: milliseconds(correlation.timespan),
    timespan: correlation.timespan,
    bucketMs: bucketOf(one.doc),
  }
  const all = given(condition)
  const [first] = all
  const ordered = type === 'temporal_ordered'
  if (ordered && correlation.condition !== undefined)
    throw new RuleError(
      ['correlation', 'condition'],
      'temporal_ordered takes no condition: all rules match, in order',
    )
  const grows = all.every(({ name }) => name === 'gte' || name === 'gt')
  if (grows && (measure === 'actions' || measure === 'values' || measure === 'rules'))
    return {
      ...common,
      kind: 'count',
      inner,
      ordered,
      counts: measure,
      threshold: Math.max(
        1,
        ...all.map(({ name, bound }) => (name === 'gt' ? Math.floor(bound) + 1 : Math.ceil(bound))),
      ),
    }
  if (inner.length > 0)
    throw new RuleError(
      ['correlation', 'rules'],
      'a correlation with this condition counts rules, not correlations',
    )
  const bucketMs =
    one.doc.keytrail?.dedup === undefined ? Math.max(DEFAULT_BUCKET_MS, common.timespanMs) : common.bucketMs
  if (bucketMs === 0 || common.timespanMs / bucketMs > MAX_COPIES)
    throw new RuleError(
      ['keytrail', 'dedup'],
      `must be at least a ${MAX_COPIES}th of the timespan for this condition`,
    )
  return {
    ...common,
    bucketMs,
    kind: 'measure',
    measure,
    percentile: condition.percentile ?? 50,
    holds: (value) => all.every(({ name, bound }) => bounds[name](value, bound)),
    threshold: first?.bound ?? 0,
  }
}
