/** What a detector is, once compiled. */
import type { Criticality } from '../model/operations.ts'
import type { ParsedDocument, Problem } from './documents.ts'
import type { CompiledRule, Getter, Predicate } from './record-rule.ts'
import type { Chain } from './sequence.ts'

/** What every detector carries into its alerts. */
export interface DetectorFacts {
  readonly id: string
  readonly version: number
  readonly content_hash: string
  readonly title: string
  readonly description: string
  readonly severity: Criticality
  /** Another severity for some of the events: the first that matches. */
  readonly raise: readonly { readonly matches: Predicate; readonly severity: Criticality }[]
  readonly experimental: boolean
  readonly author: string | undefined
  readonly license: string | undefined
  readonly reference: string | undefined
  readonly tags: readonly string[]
  readonly controls: readonly string[]
  readonly explanation: string | undefined
  readonly triage: readonly string[] | undefined
  readonly falsepositives: readonly string[]
  readonly path: string
}

export interface SingleDetector {
  readonly kind: 'single'
  readonly facts: DetectorFacts
  readonly rule: CompiledRule
  /** Group events into one alert per bucket; absent = one alert per action. */
  readonly group:
    | { readonly by: readonly string[]; readonly getters: readonly Getter[]; readonly bucketMs: number }
    | undefined
  /** No alert when such an event of the same group came at most so long before. */
  readonly unless:
    | {
        readonly rule: CompiledRule
        readonly withinMs: number
        readonly by: readonly Getter[]
        /** To which alerts. */
        readonly applies: Predicate
      }
    | undefined
}

/** One rule of a correlation, and where it finds what is grouped by and counted. */
export interface Side {
  readonly rule: CompiledRule
  /** Its place in the list of rules. */
  readonly index: number
  readonly group: readonly Getter[]
  /** Of the field whose values count; absent = the action counts. */
  readonly value: Getter | undefined
}

/** A correlation whose windows count in another one. */
export interface InnerSide {
  readonly detector: CountDetector
  readonly index: number
  /** Places of the outer group among the inner one's. */
  readonly group: readonly number[]
  readonly value: number | undefined
}

interface Correlation {
  readonly facts: DetectorFacts
  readonly sides: readonly Side[]
  readonly groupBy: readonly string[]
  readonly timespanMs: number
  readonly timespan: string
  readonly bucketMs: number
}

/** Decided as soon as the events are there: more events never make it false. */
export interface CountDetector extends Correlation {
  readonly kind: 'count'
  readonly inner: readonly InnerSide[]
  readonly counts: 'actions' | 'values' | 'rules'
  readonly threshold: number
  /** The rules must match in their order; the threshold is their number. */
  readonly ordered: boolean
}

export type Measure = 'actions' | 'values' | 'rules' | 'sum' | 'avg' | 'percentile'

/** Decided when no event is expected any more: more events can make it false. */
export interface MeasureDetector extends Correlation {
  readonly kind: 'measure'
  readonly measure: Measure
  readonly percentile: number
  readonly holds: (value: number) => boolean
  readonly threshold: number
}

export interface NoveltyDetector {
  readonly kind: 'novelty'
  readonly facts: DetectorFacts
  readonly rule: CompiledRule
  /** Fields whose combination is new, or not. */
  readonly pair: readonly string[]
  readonly pairGetters: readonly Getter[]
  /** The first of these that is there must have been seen for `learnDays` before a verdict. */
  readonly learnOn: readonly Getter[]
  readonly learnDays: number
  /** Days before that a pair must not have been seen. */
  readonly memoryDays: number
  /** Events that need no history: the operator has said what is usual. */
  readonly certain: Predicate | undefined
}

/** Chains of events of a group. */
export interface SequenceDetector {
  readonly kind: 'sequence'
  readonly facts: DetectorFacts
  readonly rule: CompiledRule
  readonly by: readonly string[]
  readonly group: readonly Getter[]
  readonly chains: readonly Chain[]
  readonly bucketMs: number
}

interface Term {
  readonly ms: number
  readonly text: string
}

/** What must come within a term, and does not. */
export interface OwedDetector {
  readonly kind: 'overdue' | 'silence'
  readonly facts: DetectorFacts
  /** What begins a term. */
  readonly rule: CompiledRule
  /** What ends it; absent for silence, where every event does. */
  readonly expect: CompiledRule | undefined
  readonly by: readonly string[]
  readonly group: readonly Getter[]
  readonly due: Term
  /** Another term for some. */
  readonly sooner: { readonly matches: Predicate; readonly due: Term } | undefined
  readonly bucketMs: number
}

export type Detector =
  | SingleDetector
  | CountDetector
  | MeasureDetector
  | NoveltyDetector
  | SequenceDetector
  | OwedDetector

export interface DetectorSet {
  /** In order of id. */
  readonly detectors: readonly Detector[]
  /** Documents without a mistake of their own: what was read, also where it cannot be used. */
  readonly documents: readonly ParsedDocument[]
  readonly problems: readonly Problem[]
}

const UNITS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Milliseconds of a timespan such as `10m`; a leading minus is allowed. */
export const milliseconds = (timespan: string): number =>
  Number(timespan.slice(0, -1)) * (UNITS[timespan.slice(-1)] ?? 0)

/** The rules that a detector asks. */
export const rulesOf = (detector: Detector): readonly CompiledRule[] => {
  switch (detector.kind) {
    case 'single':
      return detector.unless === undefined ? [detector.rule] : [detector.rule, detector.unless.rule]
    case 'count':
      return [
        ...detector.sides.map(({ rule }) => rule),
        ...detector.inner.flatMap((one) => rulesOf(one.detector)),
      ]
    case 'measure':
      return detector.sides.map(({ rule }) => rule)
    case 'novelty':
    case 'sequence':
      return [detector.rule]
    case 'overdue':
    case 'silence':
      return detector.expect === undefined ? [detector.rule] : [detector.rule, detector.expect]
  }
}
