import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { defineDetectors } from '../../src/detect/definition.ts'
import { rawVocabulary } from '../../src/detect/raw-fields.ts'
import { compileRule } from '../../src/detect/rule.ts'
import { sigmaCases } from './sigma-cases.ts'

const compile = (detection: Readonly<Record<string, unknown>>) =>
  compileRule(detection, { vocabulary: rawVocabulary('aws') })

describe('what the specification says, and what was decided where it is silent', () => {
  test.each(sigmaCases.map((one) => [one[0], one] as const))('%s', (_, [, detection, records]) => {
    const { test: matches } = compile(detection)
    expect(records.map(([record]) => matches(record))).toEqual(records.map(([, expected]) => expected))
  })
})

/** Values by the specification's modifier appendix; dates by the calendar. */
const more: readonly (readonly [field: string, expected: unknown, value: unknown, matches: boolean])[] = [
  ['f|base64', 'foo', 'Zm9v', true],
  // "foo" behind one and two other bytes
  ['f|base64offset|contains', 'foo', 'eGZvb3g=', true],
  ['f|base64offset|contains', 'foo', 'eHhmb294', true],
  ['f|base64offset|contains', 'foo', 'eHhmYm94', false],
  ['f|wide|base64', 'ab', 'YQBiAA==', true],
  ['f|utf16be|base64', 'ab', 'AGEAYg==', true],
  ['f|utf16|base64', 'ab', '//5hAGIA', true],
  ['f|re|s', 'a.b', 'a\nb', true],
  ['f|re', 'a.b', 'a\nb', false],
  ['f|re|m', '^b$', 'a\nb', true],
  ['f|neq', 'a', undefined, false],
  ['f|neq', ['a', 'b'], 'b', false],
  ['f|fieldref|startswith', 'g', 'xyz', true],
  ['f|minute', 59, '2026-03-01T23:59:00Z', true],
  ['f|hour|gte', 22, '2026-03-01T23:59:00Z', true],
  ['f|hour', 23, '2026-03-02T01:30:00+02:30', true],
  ['f|day', 1, '2026-03-01T23:59:00Z', true],
  ['f|week', 53, '2021-01-03T12:00:00Z', true],
  ['f|week', 1, '2024-12-30T00:00:00Z', true],
  ['f|month', 3, 1_772_409_540, true],
  ['f|year', 2026, 1_772_409_540_000, true],
]

test.each(more)('%s: %j against %j is %s', (field, expected, value, matches) =>
  expect(compile({ s: { [field]: expected }, condition: 's' }).test({ f: value, g: 'X' })).toBe(matches),
)

describe('conditions and documents', () => {
  const found = (texts: Readonly<Record<string, string>>, record: unknown): string[] =>
    defineDetectors(Object.entries(texts).map(([path, text]) => ({ path, text }))).detectors.flatMap((one) =>
      one.kind === 'single' && one.rule.raw?.test(record) ? [one.facts.id] : [],
    )
  const rule = (name: string, detection: unknown, more: object = {}) =>
    stringify({ title: name, name, logsource: { product: 'aws', service: 'cloudtrail' }, detection, ...more })

  test('two of three', () => {
    const text = rule('r', { a: { f: 1 }, b: { g: 1 }, c: { h: 1 }, condition: '2 of them' })
    expect(found({ 'r.yml': text }, { f: 1, h: 1 })).toEqual(['r'])
    expect(found({ 'r.yml': text }, { f: 1 })).toEqual([])
  })

  test('of several conditions one must hold', () => {
    const text = rule('r', { a: { f: 1 }, b: { g: 1 }, condition: ['a', 'b'] })
    expect(found({ 'r.yml': text }, { g: 1 })).toEqual(['r'])
  })

  test('all keywords', () => {
    const text = rule('r', { k: { '|all': ['one', 'two'] }, condition: 'k' })
    expect(found({ 'r.yml': text }, { f: 'one', g: ['TWO'] })).toEqual(['r'])
    expect(found({ 'r.yml': text }, { f: 'one' })).toEqual([])
  })

  test('a global document holds for those behind it, until reset', () => {
    const text = [
      'action: global\ntitle: t\nlogsource: {product: aws, service: cloudtrail}\ndetection: {s: {f: 1}, condition: s}',
      'name: first\ndetection: {s: {g: 1}}',
      'name: second',
      'action: reset\ntitle: t\nname: third\nlogsource: {product: aws}\ndetection: {s: {h: 1}, condition: s}',
    ].join('\n---\n')
    expect(found({ 'r.yml': text }, { f: 1 })).toEqual(['second'])
    expect(found({ 'r.yml': text }, { f: 1, g: 1 })).toEqual(['first', 'second'])
    expect(found({ 'r.yml': text }, { h: 1 })).toEqual(['third'])
  })

  test('a filter is one more condition, of the rules it names and of their log source', () => {
    const filter = (rules: unknown, product = 'aws') =>
      stringify({ title: 'f', logsource: { product }, filter: { rules, s: { g: 'x' }, condition: 'not s' } })
    const texts = { 'r.yml': rule('r', { s: { f: 1 }, condition: 's' }) }
    for (const [text, expected] of [
      [filter(['r']), []],
      [filter('any'), []],
      [filter(['other']), ['r']],
      [filter('any', 'gcp'), ['r']],
    ] as const) {
      expect(found({ ...texts, 'f.yml': text }, { f: 1, g: 'x' })).toEqual(expected)
      expect(found({ ...texts, 'f.yml': text }, { f: 1 })).toEqual(['r'])
    }
  })

  test('placeholders come from a file; without it they stand for themselves', () => {
    const texts = { 'r.yml': rule('r', { s: { 'f|expand': 'arn:%admins%' }, condition: 's' }) }
    const values = { 'placeholders.yml': 'admins: [alice, "bob*"]\n' }
    expect(found({ ...texts, ...values }, { f: 'arn:bobby' })).toEqual(['r'])
    expect(found({ ...texts, ...values }, { f: 'arn:carol' })).toEqual([])
    expect(found(texts, { f: 'arn:%admins%' })).toEqual(['r'])
  })
})

test('an expression made to be slow takes time that grows with the text only', () => {
  const { test: matches } = compile({ s: { 'f|re': '^(a+)+$' }, condition: 's' })
  const begun = performance.now()
  expect(matches({ f: `${'a'.repeat(20_000)}b` })).toBe(false)
  expect(performance.now() - begun).toBeLessThan(2000)
})
