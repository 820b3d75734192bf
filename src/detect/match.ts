/** Sigma field matches: `field|modifier: value`, compiled into tests on one value. */
import { BlockList, isIP } from 'node:net'
import { RE2JS } from 're2js'
import { encoded, textEncodings } from './encode.ts'
import { spend } from './steps.ts'
import { type Affix, literalOf, wildcardMatcher } from './wildcard.ts'

/** `subject` is the whole record, for what refers to another field. */
export type Test<S = unknown> = (value: unknown, subject: S) => boolean

/** What a match may refer to beside its own value. */
export interface MatchContext<S> {
  /** Reads another field; throws MatchError when there is none of that name. */
  getter(field: string): (subject: S) => unknown
  /** Values of `%name%`; `undefined` when nobody gave any. */
  placeholder(name: string): readonly string[] | undefined
}

/** A field match that cannot be compiled; `message` says why. */
export class MatchError extends Error {}

const alone: MatchContext<unknown> = {
  getter: (field) => {
    throw new MatchError(`no other field "${field}" here`)
  },
  placeholder: () => undefined,
}

const text = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}

/** A list matches when one of its elements does. */
const any =
  (test: (value: string) => boolean): Test =>
  (value) => {
    if (typeof value === 'string') {
      spend(value.length)
      return test(value)
    }
    if (Array.isArray(value)) return value.some((one) => any(test)(one, undefined))
    const own = text(value)
    if (own === undefined) return false
    spend(own.length)
    return test(own)
  }

const isAbsent = (value: unknown) => value === undefined || value === null

const numberOf = (expected: unknown, name: string): number => {
  const limit = typeof expected === 'string' && expected.trim() !== '' ? Number(expected) : expected
  if (typeof limit !== 'number' || Number.isNaN(limit)) throw new MatchError(`${name} needs a number`)
  return limit
}

const comparisons: Readonly<Record<string, (own: number, limit: number) => boolean>> = {
  gt: (own, limit) => own > limit,
  gte: (own, limit) => own >= limit,
  lt: (own, limit) => own < limit,
  lte: (own, limit) => own <= limit,
}

const DAY_MS = 86_400_000
/** ISO 8601: the week belongs to the year of its Thursday. */
const weekOf = (date: Date): number => {
  const day = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate())
  const thursday = new Date(day + (4 - (date.getUTCDay() || 7)) * DAY_MS)
  return Math.ceil(((thursday.getTime() - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / DAY_MS + 1) / 7)
}

/** Parts of a point in time, in UTC. */
const timeParts: Readonly<Record<string, (date: Date) => number>> = {
  minute: (date) => date.getUTCMinutes(),
  hour: (date) => date.getUTCHours(),
  day: (date) => date.getUTCDate(),
  week: weekOf,
  month: (date) => date.getUTCMonth() + 1,
  year: (date) => date.getUTCFullYear(),
}

const RFC_3339 = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?)(Z|[+-]\d{2}:\d{2})?$/i
/** Seconds reach this in the year 33658: above it they are milliseconds. */
const MAX_SECONDS = 1e12

const dateOf = (own: string): Date | undefined => {
  const [, day, clock, zone] = RFC_3339.exec(own) ?? []
  const seconds = Number(own)
  const at =
    day !== undefined
      ? Date.parse(`${day}T${clock}${zone ?? 'Z'}`)
      : own.trim() === ''
        ? Number.NaN
        : seconds > MAX_SECONDS
          ? seconds
          : seconds * 1000
  return Number.isFinite(at) && Math.abs(at) <= 8.64e15 ? new Date(at) : undefined
}

const affixes: readonly string[] = ['startswith', 'endswith', 'contains'] satisfies Affix[]
const flags: Readonly<Record<string, number>> = {
  i: RE2JS.CASE_INSENSITIVE,
  m: RE2JS.MULTILINE,
  s: RE2JS.DOTALL,
}

/** Modifiers this version understands: all of the specification. */
export const modifiers: readonly string[] = [
  ...affixes,
  ...Object.keys(comparisons),
  ...Object.keys(timeParts),
  ...Object.keys(flags),
  ...textEncodings,
  ...[
    'all',
    'base64',
    'base64offset',
    'cased',
    'cidr',
    'exists',
    'expand',
    'fieldref',
    'neq',
    're',
    'windash',
  ],
]

/** Each says by itself how a value is compared: two of them contradict each other. */
const deciders = ['re', 'cidr', 'exists', 'fieldref', 'base64', 'base64offset']

const check = (names: readonly string[]) => {
  for (const name of names)
    if (!modifiers.includes(name))
      throw new MatchError(`modifier "${name}" is not supported; supported: ${modifiers.join(', ')}`)
  const two = (all: readonly string[]) => {
    const [first, second] = names.filter((name) => all.includes(name))
    if (second !== undefined) throw new MatchError(`"${first}" and "${second}" contradict each other`)
  }
  two(affixes)
  two([...deciders, ...Object.keys(comparisons)])
  two(Object.keys(timeParts))
  two(textEncodings)
  if (names.some((name) => ['re', 'cidr', 'exists'].includes(name))) two([...affixes, 're', 'cidr', 'exists'])
  if (!names.includes('re') && names.some((name) => flags[name] !== undefined))
    throw new MatchError('i, m and s belong to re')
}

/** A regular expression on an engine whose time grows with the text only; it may match anywhere. */
const expression = (source: string, names: readonly string[]): Test => {
  try {
    const compiled = RE2JS.compile(
      source,
      names.reduce((sum, name) => sum | (flags[name] ?? 0), 0),
    )
    return any((own) => compiled.matcher(own).find())
  } catch (cause) {
    throw new MatchError(`regular expression: ${cause instanceof Error ? cause.message : cause}`)
  }
}

const network = (range: string): Test => {
  const [address = '', bits = '', more] = range.split('/')
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  const most = family === 'ipv6' ? 128 : 32
  if (isIP(address) === 0 || more !== undefined || !/^\d{1,3}$/.test(bits) || Number(bits) > most)
    throw new MatchError(`"${range}" is no network such as 192.0.2.0/24`)
  const list = new BlockList()
  list.addSubnet(address, Number(bits), family)
  return any((own) => isIP(own) === (family === 'ipv6' ? 6 : 4) && list.check(own, family))
}

const PLACEHOLDER = /%([A-Za-z0-9_.-]+)%/

/** All values of a pattern with `%names%`; a name without values stands for itself. */
const expanded = (pattern: string, context: MatchContext<never>): string[] => {
  const found = PLACEHOLDER.exec(pattern)
  if (found === null) return [pattern]
  const head = pattern.slice(0, found.index)
  const tail = expanded(pattern.slice(found.index + found[0].length), context)
  const values = context.placeholder(found[1] ?? '') ?? [found[0]]
  return values.flatMap((value) => tail.map((rest) => head + value + rest))
}

const single = <S>(expected: unknown, names: readonly string[], context: MatchContext<S>): Test<S> => {
  const part = names.map((name) => timeParts[name]).find((one) => one !== undefined)
  const comparison = names.find((name) => comparisons[name] !== undefined)
  const compare = comparisons[comparison ?? ''] ?? ((own: number, limit: number) => own === limit)
  if (part !== undefined) {
    const wanted = numberOf(expected, names.join('|'))
    return any((own) => {
      const date = dateOf(own)
      return date !== undefined && compare(part(date), wanted)
    })
  }
  if (comparison !== undefined) {
    const limit = numberOf(expected, comparison)
    return any((own) => own.trim() !== '' && compare(Number(own), limit))
  }
  if (expected === null || expected === undefined) return isAbsent
  const own = text(expected)
  if (own === undefined) throw new MatchError('a value must be a text, a number, true, false or null')
  if (names.includes('re')) return expression(own, names)
  if (names.includes('cidr')) return network(own)
  const affix = names.find((name) => affixes.includes(name)) as Affix | undefined // these names only
  const cased = names.includes('cased')
  if (names.includes('fieldref')) return reference(context.getter(own), affix, cased)
  if (
    names.includes('base64') ||
    names.includes('base64offset') ||
    names.some((one) => textEncodings.includes(one))
  ) {
    const literal = literalOf(own)
    if (literal === undefined) throw new MatchError('a wildcard cannot be encoded')
    const inside = names.includes('base64offset') ? 'contains' : affix
    const tests = encoded(literal, names).map((one) =>
      wildcardMatcher(one.replace(/[\\*?]/g, '\\$&'), { affix: inside, cased }),
    )
    return any((one) => tests.some((test) => test(one)))
  }
  if (typeof expected === 'number' && affix === undefined)
    return any((one) => one === own || (one.trim() !== '' && Number(one) === expected))
  const patterns = names.includes('expand') ? expanded(own, context) : [own]
  const tests = patterns.map((one) =>
    wildcardMatcher(one, { affix, cased, windash: names.includes('windash') }),
  )
  const [only] = tests
  return any(tests.length === 1 && only !== undefined ? only : (one) => tests.some((test) => test(one)))
}

/** Compares with another field of the same record. */
const reference = <S>(get: (subject: S) => unknown, affix: Affix | undefined, cased: boolean): Test<S> => {
  const fold = (one: string) => (cased ? one : one.toLowerCase())
  const fits = (own: string, other: string) =>
    affix === undefined
      ? own === other
      : affix === 'contains'
        ? own.includes(other)
        : affix === 'startswith'
          ? own.startsWith(other)
          : own.endsWith(other)
  return (value, subject) => {
    const other = get(subject)
    return any((own) => any((one) => fits(fold(own), fold(one)))(other, undefined))(value, undefined)
  }
}

/**
 * @param names the modifiers, in order
 * @param expected one value or a list: one of them must match, with `all` each of them
 * @throws MatchError
 */
export const compileMatch = <S = unknown>(
  names: readonly string[],
  expected: unknown,
  context: MatchContext<S> = alone,
): Test<S> => {
  check(names)
  if (names.includes('exists')) {
    if (typeof expected !== 'boolean') throw new MatchError('exists needs true or false')
    return expected ? (value) => !isAbsent(value) : isAbsent
  }
  const all: unknown[] = Array.isArray(expected) ? expected : [expected]
  const words = all.map((one) => (typeof one === 'string' ? literalOf(one)?.toLowerCase() : undefined))
  if (names.length === 0 && words.length > 1 && words.every((one) => one !== undefined)) {
    const known = new Set(words)
    return any((own) => known.has(own) || known.has(own.toLowerCase()))
  }
  const tests = all.map((one) => single(one, names, context))
  if (tests.length === 0) throw new MatchError('an empty list matches nothing')
  const [only] = tests
  const test: Test<S> =
    tests.length === 1 && only !== undefined
      ? only
      : names.includes('all')
        ? (value, subject) => tests.every((one) => one(value, subject))
        : (value, subject) => tests.some((one) => one(value, subject))
  return names.includes('neq') ? (value, subject) => !isAbsent(value) && !test(value, subject) : test
}
