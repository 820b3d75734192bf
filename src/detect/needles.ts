/**
 * What the text of a record must hold for a rule to match, whatever it means: then a record without it need not be
 * parsed. Every set is a choice of small letters, and each set must be met. Sound, not complete: no set is no claim.
 */
import { literalOf, literalsOf } from './wildcard.ts'

export type Needles = readonly (readonly string[])[]

/** Characters that JSON writes as they are; a slash, too, unless the record holds an escaped one. */
const PLAIN = /[\w .:@+=,/-]{3,}/g
/** In what has more than this a text need not be there: choices, groups, repetitions, classes, escapes. */
const COMPLEX = /[|()[\]{}?*\\]/

const longest = (texts: readonly string[]): string | undefined =>
  texts
    .flatMap((one) => one.toLowerCase().match(PLAIN) ?? [])
    .reduce<string | undefined>(
      (best, one) => (best === undefined || one.length > best.length ? one : best),
      undefined,
    )

/** Behind a plus the letter before it may come again: both sides of it are there. */
const ofExpression = (source: string) => (COMPLEX.test(source) ? undefined : longest(source.split(/[.+^$]/)))

/** A whole text, with its quotes; what may also be written without them stays bare. */
export const quoted = (literal: string): string | undefined => {
  const text = literal.toLowerCase()
  const bare = text === 'true' || text === 'false' || text.trim() === '' || Number.isFinite(Number(text))
  return bare || text.match(PLAIN)?.[0] !== text ? undefined : `"${text}"`
}

const whole = (pattern: string): string | undefined => {
  const literal = literalOf(pattern)
  return (literal === undefined ? undefined : quoted(literal)) ?? longest(literalsOf(pattern))
}

const affixes = ['startswith', 'endswith', 'contains', 'cased', 'all']

/** @param names modifiers of the field @param values what it is compared with */
export const needlesOf = (names: readonly string[], values: readonly unknown[]): Needles => {
  const isExpression =
    names.includes('re') && names.every((name) => name === 're' || name === 'i' || name === 'all')
  if (!isExpression && !names.every((name) => affixes.includes(name))) return []
  const found = values.map((one) =>
    typeof one !== 'string'
      ? undefined
      : isExpression
        ? ofExpression(one)
        : names.some((name) => name !== 'cased' && name !== 'all')
          ? longest(literalsOf(one))
          : whole(one),
  )
  if (names.includes('all')) return found.flatMap((one) => (one === undefined ? [] : [[one]]))
  const known = found.filter((one) => one !== undefined)
  return known.length === found.length && known.length > 0 ? [known] : []
}

/** The most telling of several sets: few and long texts. */
export const bestOf = (needles: Needles): readonly string[] | undefined => {
  const weight = (set: readonly string[]) => Math.min(...set.map(({ length }) => length)) / set.length
  return [...needles].sort((a, b) => weight(b) - weight(a))[0]
}

/** One of several holds: a choice from the best of each. */
export const eitherOf = (all: readonly Needles[]): Needles => {
  const best = all.map(bestOf)
  const known = best.filter((one) => one !== undefined)
  return known.length === best.length && known.length > 0 ? [[...new Set(known.flat())]] : []
}
