/**
 * Sigma conditions: `selection and not (filter or 1 of other_*)`. Parsed once into a small tree that is
 * interpreted; nothing is ever evaluated as code.
 */
import { wildcardMatch } from '../model/wildcard.ts'

export type Condition =
  | { readonly kind: 'selection'; readonly name: string }
  | { readonly kind: 'not'; readonly part: Condition }
  | { readonly kind: 'and' | 'or'; readonly parts: readonly Condition[] }
  | { readonly kind: 'some'; readonly least: number; readonly parts: readonly Condition[] }

/** A condition that cannot be read; `message` says why. */
export class ConditionError extends Error {}

const TOKEN = /\s*(\(|\)|[^\s()]+)/y
const MAX_TOKENS = 1000
const QUANTIFIER = /^(any|all|[1-9]\d?)$/

const tokens = (text: string): string[] => {
  if (text.includes('|'))
    throw new ConditionError(
      'aggregation behind "|" is no part of Sigma any more: write a correlation instead',
    )
  const found: string[] = []
  TOKEN.lastIndex = 0
  for (let match = TOKEN.exec(text); match !== null; match = TOKEN.exec(text)) {
    found.push(match[1] ?? '')
    if (found.length > MAX_TOKENS) throw new ConditionError(`condition has more than ${MAX_TOKENS} words`)
  }
  return found
}

/**
 * @param selections names defined beside the condition
 * @throws ConditionError with the reason, naming the word that does not fit
 */
export const parseCondition = (text: string, selections: readonly string[]): Condition => {
  const words = tokens(text)
  let at = 0
  const peek = () => words[at]?.toLowerCase()

  const quantified = (quantifier: string): Condition => {
    at += 2
    const pattern = words[at++]
    if (pattern === undefined)
      throw new ConditionError(`"${quantifier} of" must name selections, such as filter_*`)
    const them = pattern.toLowerCase() === 'them'
    const names = selections.filter((name) => (them ? !name.startsWith('_') : wildcardMatch(pattern, name)))
    if (names.length === 0) throw new ConditionError(`no selection is called "${pattern}"`)
    const parts = names.map((name): Condition => ({ kind: 'selection', name }))
    const least = Number(quantifier)
    if (least > names.length) throw new ConditionError(`"${pattern}" are only ${names.length} selections`)
    if (least > 1) return { kind: 'some', least, parts }
    return { kind: quantifier === 'all' ? 'and' : 'or', parts }
  }

  const primary = (): Condition => {
    const word = words[at]
    if (word === undefined) throw new ConditionError('condition ends where a selection is expected')
    if (word === '(') {
      at++
      const inner = or()
      if (words[at] !== ')') throw new ConditionError('a ")" is missing')
      at++
      return inner
    }
    const lower = word.toLowerCase()
    if (QUANTIFIER.test(lower) && words[at + 1]?.toLowerCase() === 'of') return quantified(lower)
    if (!selections.includes(word))
      throw new ConditionError(`"${word}" is not a selection; there are ${selections.join(', ')}`)
    at++
    return { kind: 'selection', name: word }
  }

  const not = (): Condition => {
    if (peek() !== 'not') return primary()
    at++
    return { kind: 'not', part: not() }
  }

  const joined = (kind: 'and' | 'or', next: () => Condition): Condition => {
    const parts = [next()]
    while (peek() === kind) {
      at++
      parts.push(next())
    }
    const [only] = parts
    return parts.length === 1 && only !== undefined ? only : { kind, parts }
  }

  const and = (): Condition => joined('and', not)
  const or = (): Condition => joined('or', and)

  const condition = or()
  if (at < words.length) throw new ConditionError(`"${words[at]}" does not fit after "${words[at - 1]}"`)
  return condition
}
