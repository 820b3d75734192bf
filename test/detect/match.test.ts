import { describe, expect, test } from 'vitest'
import { parseCondition } from '../../src/detect/condition.ts'
import { compileMatch } from '../../src/detect/match.ts'

/** Expected answers: the Sigma specification 2.1, and for its silent edges the decisions of the project. */
const cases: readonly (readonly [field: string, expected: unknown, value: unknown, matches: boolean])[] = [
  ['f', 'abc', 'ABC', true],
  ['f|cased', 'abc', 'ABC', false],
  ['f', 'a*c', 'abbc', true],
  ['f', 'a?c', 'abbc', false],
  ['f', 'a?c', 'abc', true],
  ['f', 'a\\*c', 'a*c', true],
  ['f', 'a\\*c', 'abc', false],
  ['f', '*', '', true],
  ['f', '*a*b*', 'xxaxxbxx', true],
  ['f', '*a*b', 'xxaxxbx', false],
  ['f|contains', 'b', 'abc', true],
  ['f|startswith', 'b', 'abc', false],
  ['f|endswith', 'c', 'abc', true],
  ['f|contains|all', ['a', 'c'], 'abc', true],
  ['f|contains|all', ['a', 'd'], 'abc', false],
  ['f', ['x', 'abc'], 'abc', true],
  ['f', null, undefined, true],
  ['f', null, 'x', false],
  ['f', '', '', true],
  ['f', '', undefined, false],
  ['f|exists', true, null, false],
  ['f|exists', true, 'x', true],
  ['f|exists', false, undefined, true],
  ['f', 5, '5', true],
  ['f', true, 'true', true],
  ['f|gt', 5, '6', true],
  ['f|gt', 5, 5, false],
  ['f|gte', 5, 5, true],
  ['f|lt', 5, undefined, false],
  ['f|neq', 'a', 'b', true],
  ['f|neq', 'a', 'A', false],
  ['f', 'b', ['a', 'b'], true],
  ['f', 'ÄÖ', 'äö', true],
]

test.each(cases)('%s: %j against %j is %s', (field, expected, value, matches) => {
  expect(compileMatch(field.split('|').slice(1), expected)(value, undefined)).toBe(matches)
})

test('a pattern with many stars takes no exponential time', () => {
  const begun = performance.now()
  expect(compileMatch([], `${'a*'.repeat(30)}b`)('a'.repeat(5000), undefined)).toBe(false)
  expect(performance.now() - begun).toBeLessThan(1000)
})

describe('conditions', () => {
  const shape = (text: string, names = ['a', 'b', 'c', 'filter_x', 'filter_y', '_hidden']) => {
    const show = (one: ReturnType<typeof parseCondition>): string =>
      one.kind === 'selection'
        ? one.name
        : one.kind === 'not'
          ? `!${show(one.part)}`
          : `(${one.parts.map(show).join(one.kind === 'and' ? '&' : '|')})`
    return show(parseCondition(text, names))
  }
  test.each([
    ['a and b or c', '((a&b)|c)'],
    ['a and (b or c)', '(a&(b|c))'],
    ['not a and b', '(!a&b)'],
    ['a and not 1 of filter_*', '(a&!(filter_x|filter_y))'],
    ['all of filter_*', '(filter_x&filter_y)'],
    ['1 of them', '(a|b|c|filter_x|filter_y)'],
    ['a AND b', '(a&b)'],
  ])('%s', (text, expected) => expect(shape(text)).toBe(expected))

  test.each(['a b', '(a', 'a and', '1 of nothing_*', 'and a', ''])('"%s" is refused', (text) =>
    expect(() => shape(text)).toThrow(),
  )
})
