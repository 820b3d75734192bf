/** Where other engines answer otherwise, and why we do not follow: each entry is a decision, none a surprise. */
import { defineDetectors } from '../../src/detect/definition.ts'
import { rawVocabulary } from '../../src/detect/raw-fields.ts'
import { compileRule } from '../../src/detect/rule.ts'
import { signalId } from '../../src/detect/signal.ts'
import { delivery } from '../support/cloudtrail.ts'
import { scanBytes } from '../support/scan.ts'
import {
  correlationIds,
  correlations,
  type GoldenHistory,
  groups,
  HISTORIES,
  HOURS,
  histories,
  START,
} from './histories.ts'
import { type Answer, type Detection, type Family, families } from './pairs.ts'

type Applies = (
  value: unknown,
  event: unknown,
  theirs: boolean,
  whole: Readonly<Record<string, unknown>>,
) => boolean
type Decision = readonly [families: string, why: string, applies: Applies]

const isNumber = (value: unknown) => typeof value === 'number'
const isWhole = (value: unknown) => Number.isInteger(value)
const missed: Applies = (_, __, theirs) => !theirs

/** By engine. What is asked about a pair: the value in the rule, that in the record, and their answer, which is not ours. */
const decisions: Readonly<Record<string, readonly Decision[]>> = {
  rsigma: [
    [
      'values',
      'values are compared as they are written: 1 is not true',
      (value, event) => typeof value === 'boolean' && event === '1',
    ],
    [
      'base64offset wide',
      'it keeps the last character though what follows changes it, and so misses texts',
      missed,
    ],
  ],
  'sigma-rust': [
    [
      'wildcards cased',
      'a ? behind a * must match, too',
      (value, _, theirs) => !theirs && /\*\?/.test(String(value)),
    ],
    ['lists nested', 'any element of a list will do: resources of CloudTrail are one', missed],
    ['keywords', 'a keyword may stand within a longer value', missed],
    ['exists', 'null is absent, false is there', (_, event) => event === null || event === false],
    ['values', 'null is no empty text', (value, event) => value === '' && event === null],
    ['values', 'an absent field is null', (value, event) => value === null && event === undefined],
    ['values', 'numbers and true match their texts', (value, event) => String(value) === event],
    [
      'gt gte lt lte',
      'numbers compare with their texts',
      (_, event, theirs) => !theirs && typeof event === 'string',
    ],
    [
      'gt gte lt lte',
      'whole numbers compare with fractions',
      (value, event, theirs) => !theirs && isNumber(event) && isWhole(value) !== isWhole(event),
    ],
    [
      'utf16 utf16be',
      'without contains the whole text is meant: it is not cut to what stands whatever follows',
      missed,
    ],
    [
      'windash',
      'en dash, em dash and horizontal bar are dashes',
      (_, event, theirs) => !theirs && /[–—―]/.test(String(event)),
    ],
    ['fieldref', 'fields are compared like values, in capital or small letters', missed],
    ['conditions', 'an absent field is null', (_, __, ___, { g }) => g === undefined],
  ],
}

/** Cases of ../detect/sigma-cases.ts in which an engine differs: the same decisions, or modifiers it does not know. */
export const decidedCases: Readonly<Record<string, readonly string[]>> = {
  'sigma-rust': [
    'null, field missing',
    'exists, value null',
    'a number against a text',
    'true against a text',
    'gt against a text',
    're|i',
    'fieldref',
    'neq',
    'any element of a list',
    'a keyword inside a longer, nested value',
  ],
}

/** Of a rule with one selection of one field. */
const valueIn = ({ s }: Detection): unknown =>
  typeof s === 'object' && s !== null && !Array.isArray(s) ? Object.values(s)[0] : undefined

export interface Comparison {
  readonly pairs: number
  /** Rules that the other engine does not support. */
  readonly refused: number
  readonly decided: ReadonlySet<string>
  readonly differences: readonly string[]
}

/** Our answers beside those of another engine. */
export const compared = (engine: string, name: string, matches: Answer): Comparison => {
  const { rules, events } = families.get(name) as Family // written from the families
  const own =
    decisions[engine.split(' ')[0] ?? '']?.filter(([names]) => names.split(' ').includes(name)) ?? []
  const decided = new Set<string>()
  let [pairs, refused] = [0, 0]
  const differences = rules.flatMap((detection, index) => {
    const theirs = matches[index]
    if (theirs === null || theirs === undefined) {
      refused++
      return []
    }
    const { test: holds } = compileRule(detection, { vocabulary: rawVocabulary('aws') })
    return events.flatMap((event, number) => {
      pairs++
      const answer = theirs.includes(number)
      if (holds(event) === answer) return []
      const decision = own.find(([, , applies]) => applies(valueIn(detection), event['f'], answer, event))
      if (decision === undefined) return [JSON.stringify({ detection, event, theirs: answer })]
      decided.add(decision[1])
      return []
    })
  })
  return { pairs, refused, decided, differences }
}

/** Decisions about an engine, to see that each is still needed. */
export const decisionsOn = (engine: string): readonly string[] =>
  (decisions[engine] ?? []).map(([, why]) => why)

/** By engine and correlation; `tied`: only when events come in one second. */
const decidedHistories: Readonly<
  Record<string, Readonly<Record<string, readonly [why: string, when: 'always' | 'tied']>>>
> = {
  rsigma: {
    temporal_all: ['without a condition all rules must match, not one', 'always'],
    avg_fraction: ['an average may be compared with a fraction', 'always'],
    percentile_lte: ['a percentile is the value at that place, as in SQL', 'always'],
    count_eq: ['a window ends with its second, not with each event of it', 'tied'],
    count_lt: ['a window ends with its second, not with each event of it', 'tied'],
  },
  'pysigma-backend-sqlite': {
    temporal_ordered: ['events of one second are in any order', 'tied'],
    nested: ['events of one second are in any order', 'tied'],
  },
}

export interface HistoryComparison {
  /** Correlations that the engine supports. */
  readonly asked: number
  readonly windows: number
  /** Correlations for which a decision was needed. */
  readonly decided: ReadonlySet<string>
  readonly differences: readonly string[]
}

const HOUR = 3_600_000
const { detectors } = defineDetectors([{ path: 'c.yml', text: correlations }])
const wanted = detectors.filter(({ facts }) => correlationIds.includes(facts.id))

/** Our alerts of each history. */
const found = histories.map((records) => {
  const { alerts } = scanBytes([{ path: 'a.json', bytes: delivery(records) }], { detectors: wanted })
  return new Set(alerts.map(({ alert_id }) => alert_id))
})

/** Of the windows that hold in another engine follows one alert for each group and hour of their ends. */
export const comparedHistories = (engine: string, lines: readonly GoldenHistory[]): HistoryComparison => {
  const own = decidedHistories[engine.split(' ')[0] ?? ''] ?? {}
  const decided = new Set<string>()
  const differences: string[] = []
  const asked = wanted.filter(({ facts }) => Array.isArray(lines[0]?.ends[facts.id]))
  let windows = 0
  for (const { facts } of asked)
    histories.forEach((_, n) => {
      const ends = lines[n]?.ends[facts.id] ?? []
      windows += ends.length
      const hours = Array.from({ length: HOURS }, (_, hour) => START + hour * HOUR)
      const hasWindow = (group: string, hour: number) =>
        ends.some(([second, one]) => one === group && second * 1000 >= hour && second * 1000 < hour + HOUR)
      const wrong = groups.flatMap((group) =>
        hours.filter(
          (hour) => hasWindow(group, hour) !== (found[n]?.has(signalId(facts, [group, hour])) ?? false),
        ),
      )
      if (wrong.length === 0) return
      const [, when] = own[facts.id] ?? []
      if (when === undefined || (when === 'tied' && n < HISTORIES))
        differences.push(`${facts.id}, history ${n}: ${wrong.map((hour) => new Date(hour).toISOString())}`)
      else decided.add(facts.id)
    })
  return { asked: asked.length, windows, decided, differences }
}

/** Correlations with a decision about an engine. */
export const decidedOn = (engine: string): readonly string[] => Object.keys(decidedHistories[engine] ?? {})
