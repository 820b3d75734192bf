/** Compiles a Sigma rule into a test on one record, and finds the values that it requires. */
import { type Condition, ConditionError, parseCondition } from './condition.ts'
import { compileMatch, MatchError } from './match.ts'
import { nearest } from './nearest.ts'
import { eitherOf, type Needles, needlesOf } from './needles.ts'
import { literalOf, wildcardMatcher } from './wildcard.ts'

/** What the field names of a rule lead to, in records of one kind. */
export interface Vocabulary<S> {
  /** Reads a field: a scalar, a list of them, or nothing. `undefined` = there is no such field. */
  getter(name: string): ((subject: S) => unknown) | undefined
  /** Closed set of values, if the field has one. */
  values(name: string): readonly string[] | undefined
  /** The valid name that may be meant. */
  nearest(wrong: string): string | undefined
  /** Every text in the record, for keywords. */
  texts(subject: S): Iterable<string>
}

/** Fields that must have one of some values, in lower case, for a rule to match: what rules are indexed by. */
export type Anchors = ReadonlyMap<string, ReadonlySet<string>>

export interface Compiled<S> {
  readonly test: (subject: S) => boolean
  readonly anchors: Anchors
  /** What the text of the record must hold. */
  readonly needles: Needles
}

/** A rule that cannot be compiled: where in the document, why, and the name that may be meant. */
export class RuleError extends Error {
  readonly path: readonly (string | number)[]

  constructor(path: readonly (string | number)[], message: string) {
    super(message)
    this.path = path
  }
}

type Path = readonly (string | number)[]
const NONE: Anchors = new Map()

const values = (expected: unknown): unknown[] => (Array.isArray(expected) ? expected : [expected])

/** Both hold. */
const intersect = (a: Anchors, b: Anchors): Anchors => {
  const found = new Map(a)
  for (const [field, set] of b) {
    const own = found.get(field)
    found.set(field, own === undefined ? set : new Set([...own].filter((one) => set.has(one))))
  }
  return found
}

/** One of them holds: only what all require is required. */
const unite = (all: readonly Anchors[]): Anchors => {
  const [first = NONE, ...rest] = all
  const found = new Map<string, ReadonlySet<string>>()
  for (const [field, set] of first) {
    const others = rest.map((one) => one.get(field))
    if (others.every((one) => one !== undefined))
      found.set(field, new Set([set, ...others].flatMap((one) => [...(one ?? [])])))
  }
  return found
}

/** Asks one test after the other until one gives the answer that decides. */
const joined = <S>(all: readonly Compiled<S>[], decides: boolean): Compiled<S>['test'] => {
  const tests = all.map(({ test }) => test)
  const [only] = tests
  if (tests.length === 1 && only !== undefined) return only
  return (subject) => {
    for (const test of tests) if (test(subject) === decides) return decides
    return !decides
  }
}

const each = <S>(all: readonly Compiled<S>[]): Compiled<S> => ({
  test: joined(all, false),
  anchors: all.map((one) => one.anchors).reduce(intersect, NONE),
  needles: all.flatMap((one) => one.needles),
})

const either = <S>(all: readonly Compiled<S>[]): Compiled<S> => ({
  test: joined(all, true),
  anchors: unite(all.map((one) => one.anchors)),
  needles: eitherOf(all.map((one) => one.needles)),
})

const unknown = (path: Path, field: string, hint: string | undefined) =>
  new RuleError(path, `unknown field "${field}"${hint === undefined ? '' : `; did you mean "${hint}"?`}`)

export interface RuleContext<S> {
  readonly vocabulary: Vocabulary<S>
  /** Values of `%name%`, `undefined` when nobody gave any. */
  readonly placeholder?: (name: string) => readonly string[] | undefined
}

const compiler = <S>({ vocabulary, placeholder = () => undefined }: RuleContext<S>) => {
  const context = {
    placeholder,
    getter(field: string) {
      const get = vocabulary.getter(field)
      if (get !== undefined) return get
      const hint = vocabulary.nearest(field)
      throw new MatchError(`unknown field "${field}"${hint === undefined ? '' : `; did you mean "${hint}"?`}`)
    },
  }

  /** Values outside a closed set can never match: that is a mistake, not a rule. */
  const checkValues = (path: Path, field: string, expected: unknown) => {
    const closed = vocabulary.values(field)
    if (closed === undefined) return
    values(expected).forEach((one, index) => {
      if (typeof one !== 'string' || closed.some(wildcardMatcher(one))) return
      const hint = nearest(one, closed)
      const where = Array.isArray(expected) ? [...path, index] : path
      throw new RuleError(
        where,
        `"${one}" is not a value of ${field}${hint === undefined ? '' : `; did you mean "${hint}"?`}`,
      )
    })
  }

  const anchorsOf = (field: string, expected: unknown): Anchors => {
    const found = new Set<string>()
    for (const one of values(expected)) {
      if (typeof one !== 'string') return NONE
      const literal = literalOf(one)
      const closed = vocabulary.values(field)
      if (literal !== undefined) found.add(literal.toLowerCase())
      else if (closed === undefined) return NONE
      else for (const name of closed.filter(wildcardMatcher(one))) found.add(name)
    }
    return new Map([[field, found]])
  }

  const compileTest = (path: Path, names: readonly string[], expected: unknown) => {
    try {
      return compileMatch<S>(names, expected, context)
    } catch (cause) {
      if (cause instanceof MatchError) throw new RuleError(path, cause.message)
      throw cause
    }
  }

  /** Words anywhere in the record: one of them, or with `all` each of them. */
  const keywords = (path: Path, names: readonly string[], expected: unknown): Compiled<S> => {
    const every = names.includes('all')
    const inside = names.some((name) => ['contains', 'startswith', 'endswith', 're'].includes(name))
    const rest = [...names.filter((name) => name !== 'all'), ...(inside ? [] : ['contains'])]
    const tests = values(expected).map((one) => compileTest(path, rest, one))
    if (tests.length === 0) throw new RuleError(path, 'an empty list matches nothing')
    const holds = (subject: S) => (test: (typeof tests)[number]) => {
      for (const text of vocabulary.texts(subject)) if (test(text, subject)) return true
      return false
    }
    return {
      test: every ? (subject) => tests.every(holds(subject)) : (subject) => tests.some(holds(subject)),
      anchors: NONE,
      needles: needlesOf(every ? [...rest, 'all'] : rest, values(expected)),
    }
  }

  const fieldTest = (path: Path, key: string, expected: unknown): Compiled<S> => {
    const [field = '', ...names] = key.split('|')
    if (field === '') return keywords(path, names, expected)
    const get = vocabulary.getter(field)
    if (get === undefined) throw unknown(path, field, vocabulary.nearest(field))
    if (names.length === 0) checkValues(path, field, expected)
    const test = compileTest(path, names, expected)
    const exact = names.every((name) => name === 'cased')
    return {
      test: (subject) => test(get(subject), subject),
      anchors: exact ? anchorsOf(field, expected) : NONE,
      needles: needlesOf(names, values(expected)),
    }
  }

  /** A map of fields: all must match. A list of maps: one must. A list of words: keywords. */
  const selection = (path: Path, body: unknown): Compiled<S> => {
    if (Array.isArray(body)) {
      if (body.length === 0) throw new RuleError(path, 'an empty selection matches nothing')
      const words = body.filter((one) => typeof one !== 'object')
      const all = [
        ...(words.length > 0 ? [keywords(path, [], words)] : []),
        ...body.flatMap((one, index) => (typeof one === 'object' ? [selection([...path, index], one)] : [])),
      ]
      return either(all)
    }
    if (typeof body === 'string' || typeof body === 'number') return keywords(path, [], body)
    if (typeof body !== 'object' || body === null)
      throw new RuleError(path, 'a selection is a map of fields, a list of such maps, or a list of keywords')
    const all = Object.entries(body).map(([key, expected]) => fieldTest([...path, key], key, expected))
    if (all.length === 0) throw new RuleError(path, 'an empty selection matches everything')
    return each(all)
  }

  const join = (condition: Condition, selections: ReadonlyMap<string, Compiled<S>>): Compiled<S> => {
    switch (condition.kind) {
      case 'selection':
        return selections.get(condition.name) ?? { test: () => false, anchors: NONE, needles: [] }
      case 'not': {
        const { test } = join(condition.part, selections)
        return { test: (subject) => !test(subject), anchors: NONE, needles: [] }
      }
      case 'and':
        return each(condition.parts.map((part) => join(part, selections)))
      case 'or':
        return either(condition.parts.map((part) => join(part, selections)))
      case 'some': {
        const all = condition.parts.map((part) => join(part, selections))
        const { least } = condition
        const test = (subject: S) => all.filter((one) => one.test(subject)).length >= least
        return { test, anchors: NONE, needles: [] }
      }
    }
  }
  return { selection, join }
}

const isSelection = (name: string) => name !== 'condition' && name !== 'timeframe'

/**
 * @param detection named selections and a condition; of several conditions one must hold
 * @param part where it stands in the document
 * @throws RuleError
 */
export const compileRule = <S>(
  detection: Readonly<Record<string, unknown>>,
  context: RuleContext<S>,
  part = 'detection',
): Compiled<S> => {
  const { selection, join } = compiler(context)
  const names = Object.keys(detection).filter(isSelection)
  const selections = new Map(names.map((name) => [name, selection([part, name], detection[name])]))
  const all = values(detection['condition']).map((text) => {
    try {
      return join(parseCondition(String(text), names), selections)
    } catch (cause) {
      if (cause instanceof ConditionError) throw new RuleError([part, 'condition'], cause.message)
      throw cause
    }
  })
  const [only] = all
  return all.length === 1 && only !== undefined ? only : either(all)
}
