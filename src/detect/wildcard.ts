/** Sigma wildcards: `*` any run, `?` one character, a backslash before them (or before itself) takes them literally. */

import { spend } from './steps.ts'

type Part = string | { readonly any: true } | { readonly one: true } | { readonly of: string }
const ANY: Part = { any: true }
const ONE: Part = { one: true }
/** What `windash` takes for one another (Sigma specification, modifiers appendix). */
const DASH: Part = { of: '-/\u2013\u2014\u2015' }

/** Where a value may stand in a text; without one it is the whole text. */
export type Affix = 'startswith' | 'endswith' | 'contains'

export interface PatternOptions {
  readonly affix?: Affix | undefined
  /** Upper and lower case differ. */
  readonly cased?: boolean
  /** A dash stands for any dash or a slash. */
  readonly windash?: boolean
}

const parse = (pattern: string, windash = false): Part[] => {
  const found: Part[] = []
  let literal = ''
  const flush = () => {
    if (literal !== '') found.push(literal)
    literal = ''
  }
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] ?? ''
    const next = pattern[at + 1]
    if (char === '\\' && (next === '*' || next === '?' || next === '\\')) {
      literal += next
      at++
    } else if (char === '*') {
      flush()
      if (found.at(-1) !== ANY) found.push(ANY)
    } else if (char === '?' || (windash && char === '-')) {
      flush()
      found.push(char === '?' ? ONE : DASH)
    } else literal += char
  }
  flush()
  return found
}

/** Length of what a part takes at a place, -1 when it does not fit there. */
const fitAt = (part: Part, text: string, at: number): number => {
  if (typeof part === 'string') return text.startsWith(part, at) ? part.length : -1
  if (at >= text.length || 'any' in part) return -1
  if ('of' in part) return part.of.includes(text[at] ?? '') ? 1 : -1
  const code = text.codePointAt(at) ?? 0
  return code > 0xffff ? 2 : 1 // one character, also when it takes two units
}

/** Does the whole text match? Each star is tried leftmost first; no exponential search. */
const matchParts = (all: readonly Part[], text: string): boolean => {
  let index = 0
  let at = 0
  let star = -1
  let retry = 0
  for (;;) {
    const part = all[index]
    if (part === ANY) {
      if (index === all.length - 1) return true
      star = index++
      retry = at
      continue
    }
    if (part === undefined && at === text.length) return true
    spend(typeof part === 'string' ? part.length : 1)
    const length = part === undefined ? -1 : fitAt(part, text, at)
    if (length >= 0) {
      index++
      at += length
    } else {
      if (star < 0 || retry >= text.length) return false
      index = star + 1
      at = ++retry
    }
  }
}

/** A pattern free of wildcards stands for one value, escapes removed. */
export const literalOf = (pattern: string): string | undefined => {
  const all = parse(pattern)
  const [only] = all
  if (all.length === 0) return ''
  return all.length === 1 && typeof only === 'string' ? only : undefined
}

/** The texts between the wildcards of a pattern, escapes removed. */
export const literalsOf = (pattern: string): string[] =>
  parse(pattern).filter((one) => typeof one === 'string')

/** Compiles a pattern; without `cased` upper and lower case are one. */
export const wildcardMatcher = (
  pattern: string,
  { affix, cased = false, windash = false }: PatternOptions = {},
): ((text: string) => boolean) => {
  const fold = (text: string) => (cased ? text : text.toLowerCase())
  const own = parse(fold(pattern), windash)
  const before = affix === 'endswith' || affix === 'contains'
  const behind = affix === 'startswith' || affix === 'contains'
  const all = [
    ...(before && own[0] !== ANY ? [ANY] : []),
    ...own,
    ...(behind && (own.at(-1) !== ANY || own.length === 0) ? [ANY] : []),
  ]
  const [first, second, third] = all
  if (all.length === 0) return (text) => text === ''
  if (all.length === 1 && typeof first === 'string') return (text) => text === first || fold(text) === first
  if (all.length === 2 && typeof first === 'string' && second === ANY)
    return (text) => fold(text).startsWith(first)
  if (all.length === 2 && first === ANY && typeof second === 'string')
    return (text) => fold(text).endsWith(second)
  if (all.length === 3 && first === ANY && typeof second === 'string' && third === ANY)
    return (text) => fold(text).includes(second)
  return (text) => matchParts(all, fold(text))
}
