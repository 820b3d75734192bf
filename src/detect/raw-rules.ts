/**
 * What intake asks of the rules on raw records: does one match a record that is out of scope, and could it, as far as
 * a few bytes tell. A record that none could match is never decoded.
 */
import type { Provider } from '../model/event.ts'
import { type Detector, rulesOf } from './detectors.ts'
import { feedOf } from './raw-fields.ts'
import type { RawRule } from './record-rule.ts'
import { ruleIndex } from './rule-index.ts'

export interface RawRules {
  matches(provider: Provider, raw: unknown): boolean
  /**
   * Could a rule match a CloudTrail record of this source and name?
   * @param text the record, asked for only when source and name do not tell
   */
  mayMatch(source: string, name: string, text: () => string): boolean
}

/** A text of JSON may hold a letter in this form. */
const ESCAPE = '\\u'
/** Pairs of source and name in a busy account: some thousands (AWS service authorization reference). */
const MAX_REMEMBERED = 10_000

/** Of texts without quotes, backslashes and the like a needle can be looked for as it stands. */
const PLAIN = /^[\w .:@*+=,-]+$/

/** @returns `undefined` when no rule reads raw records */
export const rawRules = (detectors: readonly Detector[]): RawRules | undefined => {
  const rules = [...new Set(detectors.flatMap(rulesOf).flatMap(({ raw }) => raw ?? []))]
  const index = ruleIndex<RawRule>()
  for (const rule of rules) index.add(rule, rule)
  if (index.size === 0) return undefined

  const ofAws = rules.filter(({ feeds }) => feeds.has('aws'))
  const isNamed = ({ anchors }: RawRule) => anchors.has('eventName') || anchors.has('eventSource')
  const named = ofAws.filter(isNamed)
  /** For each rule without a name, texts of which a record must hold one; `undefined` = any record will do. */
  const needles = ofAws
    .filter((rule) => !isNamed(rule))
    .map(({ anchors }) =>
      [...anchors.values()]
        .map((values) => [...values])
        .find((values) => values.every((one) => PLAIN.test(one))),
    )
  const anything = needles.includes(undefined)
  const wanted = [...new Set(needles.flatMap((one) => one ?? []))]
  const remembered = new Map<string, boolean>()

  const byName = (source: string, name: string): boolean => {
    const key = `${source}|${name}`
    const known = remembered.get(key)
    if (known !== undefined) return known
    const found = named.some(
      ({ anchors }) =>
        (anchors.get('eventSource')?.has(source.toLowerCase()) ?? true) &&
        (anchors.get('eventName')?.has(name.toLowerCase()) ?? true),
    )
    if (remembered.size < MAX_REMEMBERED) remembered.set(key, found)
    return found
  }

  return {
    matches: (provider, raw) => index.candidates(feedOf(provider, raw), raw).some(({ test }) => test(raw)),
    mayMatch(source, name, text) {
      if (ofAws.length === 0) return false
      if (anything || byName(source, name)) return true
      if (wanted.length === 0) return false
      const record = text().toLowerCase()
      return record.includes(ESCAPE) || wanted.some((one) => record.includes(one))
    },
  }
}
