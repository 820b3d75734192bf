import { describe, expect, test } from 'vitest'
import { defineDetectors } from '../../src/detect/definition.ts'

const rule = (detection: string, more = '') => `title: A rule
name: a-rule
logsource: { product: keytrail, category: key_usage }
detection:
${detection}
${more}`

const problems = (text: string) =>
  defineDetectors([{ path: 'd.yml', text }]).problems.map(
    ({ line, column, message }) => `${line}:${column} ${message}`,
  )

/** A mistake, and what the operator must read: place, reason and the name that may be meant. */
const mistakes: readonly (readonly [name: string, text: string, expected: RegExp])[] = [
  [
    'a field that does not exist',
    rule('  a: { operatoin: decrypt }\n  condition: a'),
    /^5:8 unknown field "operatoin"; did you mean "operation"\?/,
  ],
  [
    'a nested field',
    rule('  a: { actor.principle: x }\n  condition: a'),
    /^5:8 .*did you mean "actor.principal"/,
  ],
  [
    'a value outside a closed set',
    rule('  a: { operation: [encrypt, decrpyt] }\n  condition: a'),
    /"decrpyt" is not a value of operation; did you mean "decrypt"/,
  ],
  [
    'a selection that does not exist',
    rule('  a: { operation: decrypt }\n  condition: a and b'),
    /^6:3 "b" is not a selection; there are a/,
  ],
  ['an open bracket', rule('  a: { operation: decrypt }\n  condition: (a'), /a "\)" is missing/],
  [
    'an unknown modifier',
    rule('  a: { operation|regexp: decrypt }\n  condition: a'),
    /modifier "regexp" is not supported/,
  ],
  ['an empty selection', rule('  a: {}\n  condition: a'), /an empty selection matches everything/],
  [
    'a level that does not exist',
    rule('  a: { operation: decrypt }\n  condition: a', 'level: hihg'),
    /^7:1 level/,
  ],
  [
    'a name that keytrail does not have',
    rule('  a: { operation: decrypt }\n  condition: a', 'keytrail: { verison: 1 }'),
    /unknown name "verison"/,
  ],
  [
    'an aggregation of the old kind',
    rule('  a: { operation: decrypt }\n  condition: a | count() > 5'),
    /^6:3 aggregation behind "\|" is no part of Sigma any more/,
  ],
  [
    'an expression that cannot be linear in time',
    rule('  a: { "operation_native|re": "(a)\\\\1" }\n  condition: a'),
    /^5:8 regular expression: /,
  ],
  [
    'a network that is none',
    rule('  a: { "network.source_ip|cidr": 192.0.2.0/33 }\n  condition: a'),
    /is no network/,
  ],
  [
    'modifiers that contradict',
    rule('  a: { "operation|re|contains": x }\n  condition: a'),
    /contradict each other/,
  ],
  [
    'a duplicate key',
    rule('  a: { operation: decrypt }\n  a: { operation: encrypt }\n  condition: a'),
    /^6:3 Map keys must be unique/,
  ],
  ['a custom tag', rule('  a: !!js/function x\n  condition: a'), /^5:/],
  ['no YAML', 'title: [', /^\d+:\d+ /],
]

describe('a mistake in a detector file is told with its place', () => {
  test.each(mistakes)('%s', (_, text, expected) => expect(problems(text)[0]).toMatch(expected))

  test('a correlation that names no rule', () => {
    const text = `title: c\nname: c\ncorrelation:\n  type: event_count\n  rules: [decrypt-succes]\n  timespan: 10m\n  condition: { gte: 5 }\n---\n${rule(
      '  a: { operation: decrypt }\n  condition: a',
    ).replace('a-rule', 'decrypt-success')}`
    expect(problems(text)[0]).toMatch(/there is no rule "decrypt-succes"; did you mean "decrypt-success"/)
  })

  test('a file with a mistake is left out whole, the others stay', () => {
    const good = rule('  a: { operation: decrypt }\n  condition: a')
    const set = defineDetectors([
      { path: 'bad.yml', text: 'title: [' },
      { path: 'good.yml', text: good },
    ])
    expect(set.detectors.map((one) => one.facts.id)).toEqual(['a-rule'])
  })

  test('an id that comes twice', () => {
    const text = rule('  a: { operation: decrypt }\n  condition: a')
    const set = defineDetectors([
      { path: 'one.yml', text },
      { path: 'two.yml', text },
    ])
    expect(set.problems[0]?.message).toBe('"a-rule" is already defined in one.yml')
  })

  test('aliases that multiply are refused', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n`
    expect(problems(bomb)[0]).toMatch(/alias/i)
  })
})

test('the content hash is about the content, not about layout or version', () => {
  const hash = (text: string) => defineDetectors([{ path: 'd.yml', text }]).detectors[0]?.facts.content_hash
  const text = rule('  a: { operation: decrypt }\n  condition: a', 'level: high')
  expect(hash(text.replace('{ operation: decrypt }', '\n    operation:   decrypt'))).toBe(hash(text))
  expect(hash(`${text}\nkeytrail: { version: 2 }`)).toBe(hash(`${text}\nkeytrail: { version: 3 }`))
  expect(hash(text.replace('high', 'low'))).not.toBe(hash(text))
})
