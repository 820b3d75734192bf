/**
 * What intake asks of the rules on raw records: does one match a record that is out of scope, and could it, as far as
 * a few bytes tell. A record that none could match is never decoded.
 */
import type { Provider } from '../model/event.ts'
import { type Detector, rulesOf } from './detectors.ts'
import { multiMatch } from './multi-match.ts'
import { bestOf } from './needles.ts'
import { feedOf } from './raw-fields.ts'
import type { RawRule } from './record-rule.ts'
import { ruleIndex } from './rule-index.ts'

export interface RawRules {
  matches(provider: Provider, raw: unknown): boolean
  /**
   * Could a rule match a CloudTrail record of this source and name?
   * The bytes of the record are looked at only when these do not tell.
   */
  mayMatch(source: string, name: string, bytes: Buffer, start: number, end: number): boolean
}

/** A text of JSON may hold a letter as `\u…`, or a slash as `\/`: then the bytes do not tell what it says. */
const isEscaped = (bytes: Buffer, start: number, end: number): boolean => {
  const own = bytes.subarray(start, end)
  for (let at = own.indexOf(BACKSLASH); at >= 0; at = own.indexOf(BACKSLASH, at + 1))
    if (own[at + 1] === SMALL_U || own[at + 1] === SLASH) return true
  return false
}
const BACKSLASH = 0x5c
const SMALL_U = 0x75
const SLASH = 0x2f
/** Pairs of source and name in a busy account: some thousands (AWS service authorization reference). */
const MAX_REMEMBERED = 10_000

/** @returns `undefined` when no rule reads raw records */
export const rawRules = (detectors: readonly Detector[]): RawRules | undefined => {
  const rules = [...new Set(detectors.flatMap(rulesOf).flatMap(({ raw }) => raw ?? []))]
  const index = ruleIndex<RawRule>()
  for (const rule of rules) index.add(rule, rule)
  if (index.size === 0) return undefined

  const ofAws = rules.filter(({ feeds }) => feeds.has('aws'))
  const isNamed = ({ anchors }: RawRule) => anchors.has('eventName') || anchors.has('eventSource')
  /** Sources that the rules of a name ask for; `undefined` among them: any. Rules without a name stand under "". */
  const sources = new Map<string, Set<string | undefined>>()
  for (const { anchors } of ofAws.filter(isNamed))
    for (const name of anchors.get('eventName') ?? [''])
      for (const source of anchors.get('eventSource') ?? [undefined])
        sources.set(name, (sources.get(name) ?? new Set()).add(source))
  const asks = (name: string, source: string) => {
    const asked = sources.get(name)
    return asked !== undefined && (asked.has(undefined) || asked.has(source))
  }
  /** For each rule without a name, texts of which a record must hold one; `undefined` = any record will do. */
  const needles = ofAws.filter((rule) => !isNamed(rule)).map((rule) => bestOf(rule.needles))
  const anything = needles.includes(undefined)
  const wanted = [...new Set(needles.flatMap((one) => one ?? []))]
  const search = wanted.length > 0 && !anything ? multiMatch(wanted) : undefined
  const remembered = new Map<string, boolean>()

  const byName = (source: string, name: string): boolean => {
    const key = `${source}|${name}`
    const known = remembered.get(key)
    if (known !== undefined) return known
    const found = asks(name.toLowerCase(), source.toLowerCase()) || asks('', source.toLowerCase())
    if (remembered.size < MAX_REMEMBERED) remembered.set(key, found)
    return found
  }

  return {
    matches: (provider, raw) => index.candidates(feedOf(provider, raw), raw).some(({ test }) => test(raw)),
    mayMatch(source, name, bytes, start, end) {
      if (ofAws.length === 0) return false
      if (anything || byName(source, name)) return true
      return search !== undefined && (isEscaped(bytes, start, end) || search.inBytes(bytes, start, end))
    },
  }
}
