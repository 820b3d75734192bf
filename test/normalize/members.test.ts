import { describe, expect, test } from 'vitest'
import { dig, fold, over } from '../../src/normalize/members.ts'

describe('members under their plain names', () => {
  test.each([
    ['httpStatusCode', { httpStatusCode: 1 }],
    ['a column of Log Analytics', { httpStatusCode_d: 1 }],
    ['snake case', { http_status_code: 1 }],
    [
      'the first spelling that says something',
      { httpStatusCode: null, HttpStatusCode: 1, http_status_code: 2 },
    ],
    ['an object in a text', '{"httpStatusCode":1}'],
    ['a localized value', { httpStatusCode: { value: 1, localizedValue: 'one' } }],
  ])('%s', (_, value) => {
    expect(fold(value).at('httpstatuscode')).toBe(1)
  })

  test('what nobody wrote is not there', () => {
    for (const value of [{}, { a: 1 }, '', '{', 7, null, undefined, ['constructor']])
      for (const name of ['constructor', '__proto__', 'tostring', 'toString'])
        expect(fold(value).at(name)).toBeUndefined()
    expect(fold(JSON.parse('{"__proto__":"x"}')).at('proto')).toBe('x')
  })

  test('two objects with the same names in another order are read each by its own', () => {
    expect(fold({ a: 1, b: 2 }).at('b')).toBe(2)
    expect(fold({ b: 3, a: 4 }).at('b')).toBe(3)
    expect(fold({ a: 1, b: 2, c: 3 }).at('c')).toBe(3)
    expect(fold({ a: 1, b: 2 }).at('c')).toBeUndefined()
  })

  test('of both the second counts; null is not said', () => {
    const both = over(fold({ a: 1, b: 2, c: null }), fold({ b: 3, a: null, d: null }))
    expect(['a', 'b', 'c', 'd', 'e'].map((name) => both.at(name))).toEqual([1, 3, null, null, undefined])
    expect(both.names).toEqual(['a', 'b', 'c', 'd'])
  })

  test('a member of a member, nested or as columns', () => {
    expect(
      dig(
        fold({ keyProperties: { attributes: { enabled: false } } }),
        'keyproperties',
        'attributes',
        'enabled',
      ),
    ).toBe(false)
    expect(
      dig(fold({ keyProperties_attributes_enabled_b: true }), 'keyproperties', 'attributes', 'enabled'),
    ).toBe(true)
    expect(dig(fold({ networkAcls: '{"bypass":"None"}' }), 'networkacls', 'bypass')).toBe('None')
  })

  test('many spellings of one name take no time', () => {
    const hostile = Object.fromEntries(Array.from({ length: 50_000 }, (_, at) => [spelling(at), at]))
    const began = performance.now()
    expect(fold(hostile).at('abcdefghijklmnop')).toBe(0)
    expect(performance.now() - began).toBeLessThan(1000)
  })
})

/** One of 65,536 spellings of a name of 16 letters. */
const spelling = (number: number): string =>
  [...'abcdefghijklmnop'].map((letter, at) => ((number >> at) & 1 ? letter.toUpperCase() : letter)).join('')
