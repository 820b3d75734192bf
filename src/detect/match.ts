/** Sigma field matches: `field|modifier: value`, compiled into tests on one value. */
import { spend } from './steps.ts'
import { wildcardMatcher } from './wildcard.ts'

export type Test = (value: unknown) => boolean

/** A field match that cannot be compiled; `message` says why. */
export class MatchError extends Error {}

const text = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}

/** A list matches when one of its elements does. */
const any =
  (test: (value: string) => boolean): Test =>
  (value) => {
    if (Array.isArray(value)) return value.some((one) => any(test)(one))
    const own = text(value)
    if (own === undefined) return false
    spend(own.length)
    return test(own)
  }

const absent: Test = (value) => value === undefined || value === null

const compare = (name: string, expected: unknown): Test => {
  const limit = typeof expected === 'string' ? Number(expected) : expected
  if (typeof limit !== 'number' || Number.isNaN(limit)) throw new MatchError(`${name} needs a number`)
  const tests: Record<string, (n: number) => boolean> = {
    gt: (n) => n > limit,
    gte: (n) => n >= limit,
    lt: (n) => n < limit,
    lte: (n) => n <= limit,
  }
  const test = tests[name]
  return any((own) => own.trim() !== '' && test !== undefined && test(Number(own)))
}

type Affix = 'startswith' | 'endswith' | 'contains'
const affixes: readonly string[] = ['startswith', 'endswith', 'contains'] satisfies Affix[]
const comparisons: readonly string[] = ['gt', 'gte', 'lt', 'lte']

/** Modifiers this version understands. */
export const modifiers: readonly string[] = [...affixes, ...comparisons, 'all', 'cased', 'exists', 'neq']

const pattern = (value: string, affix: string | undefined): string =>
  `${affix === 'endswith' || affix === 'contains' ? '*' : ''}${value}${affix === 'startswith' || affix === 'contains' ? '*' : ''}`

const single = (expected: unknown, names: readonly string[]): Test => {
  const comparison = names.find((name) => comparisons.includes(name))
  if (comparison !== undefined) return compare(comparison, expected)
  if (expected === null || expected === undefined) return absent
  const own = text(expected)
  if (own === undefined) throw new MatchError('a value must be a text, a number, true, false or null')
  if (own === '') return (value) => value === ''
  const matches = wildcardMatcher(
    pattern(
      own,
      names.find((name) => affixes.includes(name)),
    ),
    names.includes('cased'),
  )
  return any(matches)
}

/**
 * @param names the modifiers, in order
 * @param expected one value or a list: one of them must match, with `all` each of them
 * @throws MatchError
 */
export const compileMatch = (names: readonly string[], expected: unknown): Test => {
  for (const name of names)
    if (!modifiers.includes(name))
      throw new MatchError(`modifier "${name}" is not supported; supported: ${modifiers.join(', ')}`)
  if (names.includes('exists')) {
    if (typeof expected !== 'boolean') throw new MatchError('exists needs true or false')
    return expected ? (value) => !absent(value) : absent
  }
  const tests = (Array.isArray(expected) ? expected : [expected]).map((one) => single(one, names))
  if (tests.length === 0) throw new MatchError('an empty list matches nothing')
  const [only] = tests
  const test: Test =
    tests.length === 1 && only !== undefined
      ? only
      : names.includes('all')
        ? (value) => tests.every((one) => one(value))
        : (value) => tests.some((one) => one(value))
  return names.includes('neq') ? (value) => !test(value) : test
}
