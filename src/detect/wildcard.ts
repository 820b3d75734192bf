/** Sigma wildcards: `*` any run, `?` one character, a backslash before them (or before itself) takes them literally. */

import { spend } from './steps.ts'

type Part = string | { readonly any: true } | { readonly one: true }
const ANY: Part = { any: true }
const ONE: Part = { one: true }

const parts = (pattern: string): Part[] => {
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
    } else if (char === '?') {
      flush()
      found.push(ONE)
    } else literal += char
  }
  flush()
  return found
}

/** Does `text` from `from` match parts from `index`? Each star is tried leftmost first; no exponential search. */
const matchParts = (all: readonly Part[], text: string): boolean => {
  let index = 0
  let at = 0
  let star = -1
  let retry = 0
  for (;;) {
    const part = all[index]
    if (part === ANY) {
      star = index++
      retry = at
      continue
    }
    const length = part === undefined ? 0 : typeof part === 'string' ? part.length : 1
    spend(length)
    const fits =
      part === undefined
        ? at === text.length
        : typeof part === 'string'
          ? text.startsWith(part, at)
          : at < text.length
    if (fits && part === undefined) return true
    if (fits) {
      index++
      at += length
    } else {
      if (star < 0 || retry >= text.length) return false
      index = star + 1
      at = ++retry
    }
  }
}

/** Is the pattern free of wildcards? Then it stands for one value. */
export const literalOf = (pattern: string): string | undefined => {
  const all = parts(pattern)
  const [only] = all
  return all.length === 1 && typeof only === 'string' ? only : undefined
}

/** Compiles a pattern; without `cased` upper and lower case are one. */
export const wildcardMatcher = (pattern: string, cased: boolean): ((text: string) => boolean) => {
  const fold = (text: string) => (cased ? text : text.toLowerCase())
  const all = parts(fold(pattern))
  const [first, second, third] = all
  if (all.length === 1 && typeof first === 'string') return (text) => text === first || fold(text) === first
  if (all.length === 2 && typeof first === 'string' && second === ANY)
    return (text) => fold(text).startsWith(first)
  if (all.length === 2 && first === ANY && typeof second === 'string')
    return (text) => fold(text).endsWith(second)
  if (all.length === 3 && first === ANY && typeof second === 'string' && third === ANY)
    return (text) => fold(text).includes(second)
  return (text) => matchParts(all, fold(text))
}
