/** Rules as the engine asks them: on the normalized event, or on the record as its provider wrote it. */
import type { KeyEvent } from '../model/event.ts'
import { eventVocabulary } from './fields.ts'
import type { Needles } from './needles.ts'
import { type Feed, feedOf, feedsOf, type Logsource, rawVocabulary } from './raw-fields.ts'
import { type Anchors, type Compiled, compileRule, type RuleContext } from './rule.ts'

export type Predicate = (event: KeyEvent, raw: unknown) => boolean
export type Getter = (event: KeyEvent, raw: unknown) => unknown

/** A rule on raw records: it can be asked before there is an event. */
export interface RawRule {
  readonly feeds: ReadonlySet<Feed>
  readonly test: (raw: unknown) => boolean
  readonly anchors: Anchors
  readonly needles: Needles
}

export interface CompiledRule {
  readonly matches: Predicate
  /** Operations it can match; `undefined` when it may match any. */
  readonly operations: ReadonlySet<string> | undefined
  readonly raw: RawRule | undefined
  /** Reads a field in the words of the rule; `undefined` when there is none of that name. */
  getter(field: string): Getter | undefined
  nearest(wrong: string): string | undefined
}

type Detection = Readonly<Record<string, unknown>>

export const isNormalized = ({ product, category }: Logsource): boolean =>
  product === 'keytrail' && category === 'key_usage'

const both = <S>(rule: Compiled<S>, restrictions: readonly Compiled<S>[]): Compiled<S> =>
  restrictions.length === 0
    ? rule
    : { ...rule, test: (subject) => rule.test(subject) && restrictions.every((one) => one.test(subject)) }

/**
 * @param restrictions filters: each must hold, too
 * @throws RuleError
 */
export const recordRule = (
  logsource: Logsource,
  detection: Detection,
  restrictions: readonly Detection[],
  placeholder: NonNullable<RuleContext<unknown>['placeholder']>,
): CompiledRule => {
  if (isNormalized(logsource)) {
    const context = { vocabulary: eventVocabulary, placeholder }
    const { test, anchors } = both(
      compileRule(detection, context),
      restrictions.map((one) => compileRule(one, context, 'filter')),
    )
    return {
      matches: test,
      operations: anchors.get('operation'),
      raw: undefined,
      getter: eventVocabulary.getter,
      nearest: eventVocabulary.nearest,
    }
  }
  const context = { vocabulary: rawVocabulary(logsource.product), placeholder }
  const { test, anchors, needles } = both(
    compileRule(detection, context),
    restrictions.map((one) => compileRule(one, context, 'filter')),
  )
  const feeds = new Set(feedsOf(logsource))
  return {
    matches: ({ source }, raw) => raw !== undefined && feeds.has(feedOf(source.provider, raw)) && test(raw),
    operations: undefined,
    raw: { feeds, test, anchors, needles },
    getter(field) {
      const get = context.vocabulary.getter(field)
      return get && ((_, raw) => get(raw))
    },
    nearest: context.vocabulary.nearest,
  }
}
