/**
 * The 31 cases on which rsigma 0.23.0 and this project's reading of the Sigma specification agree, and the decisions
 * where the specification is silent (validators.md section 3.3). Each: a detection, and records with the answer.
 */
export type SigmaCase = readonly [
  name: string,
  detection: Readonly<Record<string, unknown>>,
  records: readonly (readonly [record: unknown, matches: boolean])[],
]

const one = (fields: unknown) => ({ s: fields, condition: 's' })

export const sigmaCases: readonly SigmaCase[] = [
  [
    'case does not matter',
    one({ f: 'AbC' }),
    [
      [{ f: 'aBc' }, true],
      [{ f: 'ab' }, false],
    ],
  ],
  [
    'cased',
    one({ 'f|cased': 'AbC' }),
    [
      [{ f: 'AbC' }, true],
      [{ f: 'abc' }, false],
    ],
  ],
  [
    'contains|all',
    one({ 'f|contains|all': ['a', 'b'] }),
    [
      [{ f: 'xbxa' }, true],
      [{ f: 'xa' }, false],
    ],
  ],
  [
    'a star',
    one({ f: 'a*c' }),
    [
      [{ f: 'abbc' }, true],
      [{ f: 'abb' }, false],
    ],
  ],
  [
    'a question mark',
    one({ f: 'a?c' }),
    [
      [{ f: 'abc' }, true],
      [{ f: 'ac' }, false],
      [{ f: 'abbc' }, false],
    ],
  ],
  [
    'an escaped star',
    one({ f: 'a\\*c' }),
    [
      [{ f: 'a*c' }, true],
      [{ f: 'abc' }, false],
    ],
  ],
  [
    'a backslash at the end',
    one({ 'f|startswith': 'C:\\' }),
    [
      [{ f: 'c:\\x' }, true],
      [{ f: 'd:\\x' }, false],
    ],
  ],
  [
    'cidr, version 4',
    one({ 'f|cidr': '192.0.2.0/24' }),
    [
      [{ f: '192.0.2.9' }, true],
      [{ f: '192.0.3.9' }, false],
      [{ f: 'x' }, false],
    ],
  ],
  [
    'cidr, version 6',
    one({ 'f|cidr': '2001:db8::/32' }),
    [
      [{ f: '2001:db8::1' }, true],
      [{ f: '2001:db9::1' }, false],
    ],
  ],
  [
    '1 of, by name',
    { sel_a: { f: 'a' }, sel_b: { f: 'b' }, other: { f: 'c' }, condition: '1 of sel*' },
    [
      [{ f: 'b' }, true],
      [{ f: 'c' }, false],
    ],
  ],
  [
    'all of, by name',
    { sel_a: { f: 'a' }, sel_b: { g: 'b' }, condition: 'all of sel_*' },
    [
      [{ f: 'a', g: 'b' }, true],
      [{ f: 'a' }, false],
    ],
  ],
  [
    'not, on a missing field',
    { s: { f: 'a' }, n: { g: 'x' }, condition: 's and not n' },
    [
      [{ f: 'a' }, true],
      [{ f: 'a', g: 'x' }, false],
    ],
  ],
  [
    'and before or',
    { a: { f: 1 }, b: { g: 1 }, c: { h: 1 }, condition: 'a or b and c' },
    [
      [{ f: 1 }, true],
      [{ g: 1 }, false],
      [{ g: 1, h: 1 }, true],
    ],
  ],
  [
    'windash',
    one({ 'f|windash|contains': ' -enc' }),
    [
      [{ f: 'x /enc y' }, true],
      [{ f: 'x \u2013enc' }, true],
      [{ f: 'x enc' }, false],
    ],
  ],
  [
    'base64offset',
    one({ 'f|base64offset|contains': 'foo' }),
    [
      [{ f: 'Zm9v' }, true],
      [{ f: 'YmFy' }, false],
    ],
  ],
  [
    'a list of maps',
    one([{ f: 'a' }, { g: 'b' }]),
    [
      [{ g: 'b' }, true],
      [{ f: 'b' }, false],
    ],
  ],
  [
    'startswith',
    one({ 'f|startswith': 'ab' }),
    [
      [{ f: 'ABc' }, true],
      [{ f: 'xab' }, false],
    ],
  ],
  [
    'endswith',
    one({ 'f|endswith': 'bc' }),
    [
      [{ f: 'aBC' }, true],
      [{ f: 'bcx' }, false],
    ],
  ],
  [
    'letters beyond ASCII',
    one({ f: 'ÄÖ' }),
    [
      [{ f: 'äö' }, true],
      [{ f: 'ao' }, false],
    ],
  ],
  [
    'null, field missing',
    one({ f: null }),
    [
      [{}, true],
      [{ f: null }, true],
      [{ f: '' }, false],
      [{ f: 0 }, false],
    ],
  ],
  [
    'the empty text',
    one({ f: '' }),
    [
      [{ f: '' }, true],
      [{}, false],
      [{ f: 'x' }, false],
    ],
  ],
  [
    'exists, value null',
    one({ 'f|exists': true }),
    [
      [{ f: 'x' }, true],
      [{ f: null }, false],
      [{}, false],
    ],
  ],
  [
    'a number against a text',
    one({ f: 5 }),
    [
      [{ f: '5' }, true],
      [{ f: 5 }, true],
      [{ f: 6 }, false],
    ],
  ],
  [
    'true against a text',
    one({ f: true }),
    [
      [{ f: 'true' }, true],
      [{ f: true }, true],
      [{ f: false }, false],
    ],
  ],
  [
    'gt against a text',
    one({ 'f|gt': 5 }),
    [
      [{ f: '6' }, true],
      [{ f: 5 }, false],
      [{ f: 'x' }, false],
    ],
  ],
  [
    're, unanchored',
    one({ 'f|re': 'b+' }),
    [
      [{ f: 'abbc' }, true],
      [{ f: 'aBc' }, false],
    ],
  ],
  [
    're|i',
    one({ 'f|re|i': '^b' }),
    [
      [{ f: 'Bc' }, true],
      [{ f: 'ab' }, false],
    ],
  ],
  [
    'fieldref',
    one({ 'f|fieldref': 'g' }),
    [
      [{ f: 'a', g: 'A' }, true],
      [{ f: 'a', g: 'b' }, false],
      [{ f: 'a' }, false],
    ],
  ],
  [
    'neq',
    one({ 'f|neq': 'a' }),
    [
      [{ f: 'b' }, true],
      [{ f: 'A' }, false],
    ],
  ],
  [
    'a name with dots',
    one({ 'a.b': 'x' }),
    [
      [{ a: { b: 'x' } }, true],
      [{ 'a.b': 'x' }, true],
      [{ a: 'x' }, false],
    ],
  ],
  [
    'any element of a list',
    one({ 'a.b|contains': 'x' }),
    [
      [{ a: [{ b: 'y' }, { b: 'wxy' }] }, true],
      [{ a: { b: ['x'] } }, true],
      [{ a: [{ b: 'y' }] }, false],
    ],
  ],
  [
    'a keyword inside a longer, nested value',
    { s: ['needle'], condition: 's' },
    [
      [{ a: { b: ['hay Needle hay'] } }, true],
      [{ needle: 'hay' }, false],
    ],
  ],
]
