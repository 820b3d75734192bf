/** Compiles a Sigma rule into a test on one event, and finds the operations it can match at all. */
import type { KeyEvent } from '../model/event.ts'
import { operationNames } from '../model/operations.ts'
import { type Condition, ConditionError, parseCondition } from './condition.ts'
import { eventFields, fieldInfo, getter, nearest } from './fields.ts'
import { compileMatch, MatchError } from './match.ts'
import { literalOf, wildcardMatcher } from './wildcard.ts'

export type Predicate = (event: KeyEvent) => boolean

export interface CompiledRule {
  readonly matches: Predicate
  /** Operations it can match; `undefined` when it may match any. */
  readonly operations: ReadonlySet<string> | undefined
}

/** A rule that cannot be compiled: where in the document, why, and the name that may be meant. */
export class RuleError extends Error {
  readonly path: readonly (string | number)[]

  constructor(path: readonly (string | number)[], message: string) {
    super(message)
    this.path = path
  }
}

interface Selection {
  readonly test: Predicate
  readonly operations: ReadonlySet<string> | undefined
}

const values = (expected: unknown): unknown[] => (Array.isArray(expected) ? expected : [expected])

/** Values outside a closed set can never match: that is a mistake, not a rule. */
const checkValues = (
  path: readonly (string | number)[],
  field: string,
  names: readonly string[],
  expected: unknown,
) => {
  const closed = fieldInfo(field)?.values
  if (closed === undefined || names.length > 0) return
  values(expected).forEach((one, index) => {
    if (typeof one !== 'string') return
    const matches = wildcardMatcher(one, false)
    if (closed.some(matches)) return
    const hint = nearest(one, closed)
    const where = Array.isArray(expected) ? [...path, index] : path
    throw new RuleError(
      where,
      `"${one}" is not a value of ${field}${hint === undefined ? '' : `; did you mean "${hint}"?`}`,
    )
  })
}

const operationsOf = (expected: unknown): ReadonlySet<string> | undefined => {
  const found = new Set<string>()
  for (const one of values(expected)) {
    if (typeof one !== 'string') return undefined
    const matches = wildcardMatcher(one, false)
    for (const name of literalOf(one) === undefined ? operationNames.filter(matches) : [one.toLowerCase()])
      found.add(name)
  }
  return found
}

const intersect = (a: ReadonlySet<string> | undefined, b: ReadonlySet<string> | undefined) =>
  a === undefined ? b : b === undefined ? a : new Set([...a].filter((name) => b.has(name)))

const unite = (all: readonly (ReadonlySet<string> | undefined)[]): ReadonlySet<string> | undefined => {
  const found = new Set<string>()
  for (const one of all) {
    if (one === undefined) return undefined
    for (const name of one) found.add(name)
  }
  return found
}

const fieldTest = (path: readonly (string | number)[], key: string, expected: unknown): Selection => {
  const [field = '', ...names] = key.split('|')
  if (fieldInfo(field) === undefined) {
    const hint = nearest(field, eventFields.keys())
    throw new RuleError(
      path,
      `unknown field "${field}"${hint === undefined ? '' : `; did you mean "${hint}"?`}`,
    )
  }
  checkValues(path, field, names, expected)
  try {
    const test = compileMatch(names, expected)
    const get = getter(field)
    const operations = field === 'operation' && names.length === 0 ? operationsOf(expected) : undefined
    return { test: (event) => test(get(event)), operations }
  } catch (cause) {
    if (cause instanceof MatchError) throw new RuleError(path, cause.message)
    throw cause
  }
}

/** A map of fields: all must match. A list of maps: one must. */
const selection = (path: readonly (string | number)[], body: unknown): Selection => {
  if (Array.isArray(body)) {
    const all = body.map((one, index) => selection([...path, index], one))
    if (all.length === 0) throw new RuleError(path, 'an empty selection matches nothing')
    return {
      test: (event) => all.some((one) => one.test(event)),
      operations: unite(all.map((one) => one.operations)),
    }
  }
  if (typeof body !== 'object' || body === null)
    throw new RuleError(
      path,
      'a selection is a map of fields or a list of such maps; keywords are not supported',
    )
  const all = Object.entries(body).map(([key, expected]) => fieldTest([...path, key], key, expected))
  if (all.length === 0) throw new RuleError(path, 'an empty selection matches everything')
  const operations = all.map((one) => one.operations).reduce(intersect, undefined)
  return { test: (event) => all.every((one) => one.test(event)), operations }
}

const compile = (condition: Condition, selections: ReadonlyMap<string, Selection>): Selection => {
  switch (condition.kind) {
    case 'selection':
      return selections.get(condition.name) ?? { test: () => false, operations: new Set() }
    case 'not': {
      const { test } = compile(condition.part, selections)
      return { test: (event) => !test(event), operations: undefined }
    }
    case 'and': {
      const all = condition.parts.map((part) => compile(part, selections))
      return {
        test: (event) => all.every((one) => one.test(event)),
        operations: all.map((one) => one.operations).reduce(intersect, undefined),
      }
    }
    case 'or': {
      const all = condition.parts.map((part) => compile(part, selections))
      return {
        test: (event) => all.some((one) => one.test(event)),
        operations: unite(all.map((one) => one.operations)),
      }
    }
  }
}

/**
 * @param detection the `detection` part of a Sigma rule
 * @throws RuleError
 */
export const compileRule = (detection: Readonly<Record<string, unknown>>): CompiledRule => {
  const names = Object.keys(detection).filter((name) => name !== 'condition' && name !== 'timeframe')
  const selections = new Map(names.map((name) => [name, selection(['detection', name], detection[name])]))
  const text = Array.isArray(detection['condition']) ? detection['condition'][0] : detection['condition']
  try {
    const { test, operations } = compile(parseCondition(String(text), names), selections)
    return { matches: test, operations }
  } catch (cause) {
    if (cause instanceof ConditionError) throw new RuleError(['detection', 'condition'], cause.message)
    throw cause
  }
}
