/**
 * Generated rules and records, the same every time: what an independent engine says of them is checked in as
 * golden match sets (`pairs.<engine>.ndjson`) and asked anew by `npm run proof`.
 */

/** mulberry32: small, seeded, good enough to vary texts. */
export const randomOf = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}
export type Random = ReturnType<typeof randomOf>

export type Detection = Readonly<Record<string, unknown>>
export interface Family {
  readonly rules: readonly Detection[]
  readonly events: readonly Readonly<Record<string, unknown>>[]
}

/** Pairs in each family: 30 × 30. */
const RULES = 30
const EVENTS = 30

const among = <T>(random: Random, all: readonly T[]): T => all[random(all.length)] as T // below the length
const letters = ['a', 'b', 'A', 'B', 'ä', 'Ä', '-', '/', ' ', '*', '\\', '?', '1', '.']
const text = (random: Random, most: number, least = 1) =>
  Array.from({ length: least + random(most) }, () => among(random, letters)).join('')
const plain = (random: Random, most: number) =>
  Array.from({ length: 1 + random(most) }, () => among(random, ['a', 'b', 'A', '1'])).join('')
const quoted = (value: string) => value.replace(/[\\*?]/g, '\\$&')
const pattern = (random: Random) =>
  Array.from({ length: 1 + random(4) }, () =>
    among(random, ['*', '?', quoted(text(random, 2)), 'a', '\\*', '\\\\']),
  ).join('')

const one = (key: string, value: unknown): Detection => ({ s: { [key]: value }, condition: 's' })
const fielded = (
  modifiers: string,
  value: (random: Random) => unknown,
  event = (random: Random): unknown => text(random, 5),
) => ({
  rule: (random: Random) => one(`f${modifiers}`, value(random)),
  event: (random: Random) => ({ f: event(random) }),
})
const address = (random: Random) =>
  random(4) === 0
    ? `2001:db8:${random(3)}::${random(3)}`
    : `${among(random, [10, 192])}.${random(2)}.${random(3)}.${random(256)}`
const range = (random: Random) =>
  random(3) === 0
    ? among(random, ['2001:db8::/32', '2001:db8:1::/48', '::/0'])
    : `${among(random, ['10.0.0.0', '192.1.2.0', '192.0.0.0', '10.1.1.128'])}/${among(random, [8, 16, 24, 25, 30])}`
const number = (random: Random) => among(random, [0, 1, 2, 3, -1, 2.5, 10])
const scalar = (random: Random) =>
  among(random, [null, '', 'a', '1', 1, true, false, 'true', 0, undefined, [], ['a', null], { x: 'a' }])
const moment = (random: Random) =>
  `20${20 + random(8)}-${String(1 + random(12)).padStart(2, '0')}-${String(1 + random(28)).padStart(2, '0')}T${String(random(24)).padStart(2, '0')}:${String(random(60)).padStart(2, '0')}:00${among(random, ['Z', '+02:00', '-05:30'])}`
const parts: Readonly<Record<string, (random: Random) => number>> = {
  minute: (random) => random(60),
  hour: (random) => random(24),
  day: (random) => 1 + random(28),
  week: (random) => 1 + random(53),
  month: (random) => 1 + random(12),
  year: (random) => 2020 + random(8),
}
const expressions = [
  'a+b',
  '^a',
  'b$',
  '[ab]{2}',
  '(a|1)+',
  'a.b',
  '\\d',
  '^$',
  'A?b*1',
  '(?i)ä',
  'a\\.b',
  '^b',
]
const lines = (random: Random) =>
  among(random, ['a', 'b', 'ab', 'a\nb', 'A\nb1', 'aab', '1', 'b.a', 'a.b', '', 'B1', 'x\nb'])
const encoded = (random: Random, encoding: BufferEncoding = 'utf8') =>
  Buffer.from(
    `${'xy'.slice(0, random(3))}${plain(random, 3)}${'xyz'.slice(0, random(4))}`,
    encoding,
  ).toString('base64')
const nested = (random: Random): unknown =>
  among(random, [
    plain(random, 3),
    [plain(random, 2), plain(random, 2)],
    { b: plain(random, 2) },
    [{ b: plain(random, 1) }, { b: plain(random, 1) }],
    { b: [plain(random, 1)] },
  ])
const selections = (random: Random) => ({
  sel_a: { f: plain(random, 1) },
  sel_b: { g: plain(random, 1) },
  other: [{ f: plain(random, 1) }, { g: null }],
})
const conditions = [
  'sel_a and sel_b',
  'sel_a or not sel_b',
  'not (sel_a or other)',
  '1 of sel_*',
  'all of sel_*',
  '1 of them',
  'all of them',
  'other and not 1 of sel_*',
  'sel_a or sel_b and other',
]

interface Maker {
  rule(random: Random): Detection
  event(random: Random): Readonly<Record<string, unknown>>
}
const makers: Readonly<Record<string, Maker>> = {
  wildcards: fielded('', pattern),
  cased: fielded('|cased', pattern),
  contains: fielded('|contains', (random) => quoted(text(random, 2))),
  startswith: fielded('|startswith', (random) => quoted(text(random, 2))),
  endswith: fielded('|endswith', (random) => quoted(text(random, 2))),
  all: fielded(
    '|contains|all',
    (random) => [quoted(text(random, 1)), quoted(text(random, 2))],
    (random) => text(random, 8),
  ),
  lists: fielded(
    '',
    (random) => [quoted(text(random, 1)), quoted(text(random, 2)), pattern(random)],
    (random) => [text(random, 2), text(random, 3)],
  ),
  cidr: fielded('|cidr', range, address),
  exists: fielded('|exists', (random) => random(2) === 0, scalar),
  values: fielded('', (random) => among(random, [null, '', 'a', 1, true, false, '1', 'true', 0]), scalar),
  neq: fielded(
    '|neq',
    (random) => among(random, ['a', ['a', 'b'], 1, 'a*']),
    (random) => among(random, ['a', 'b', 'c', 1, 2, undefined, 'ab']),
  ),
  gt: fielded('|gt', number, number),
  gte: fielded('|gte', number, (random) => among(random, [number(random), String(number(random)), 'x'])),
  lt: fielded('|lt', number, number),
  lte: fielded('|lte', number, (random) => among(random, [number(random), String(number(random)), 'x'])),
  re: fielded('|re', (random) => among(random, expressions), lines),
  re_i: fielded('|re|i', (random) => among(random, expressions), lines),
  re_m: fielded('|re|m', (random) => among(random, expressions), lines),
  re_s: fielded('|re|s', (random) => among(random, expressions), lines),
  base64: fielded(
    '|base64',
    (random) => plain(random, 3),
    (random) => encoded(random),
  ),
  base64offset: fielded(
    '|base64offset|contains',
    (random) => `${plain(random, 1)}${plain(random, 2)}`,
    (random) => encoded(random),
  ),
  wide: fielded(
    '|wide|base64offset|contains',
    (random) => plain(random, 1),
    (random) => encoded(random, 'utf16le'),
  ),
  utf16be: fielded(
    '|utf16be|base64',
    (random) => plain(random, 1),
    (random) => Buffer.from(plain(random, 1), 'utf16le').swap16().toString('base64'),
  ),
  utf16: fielded(
    '|utf16|base64',
    (random) => plain(random, 1),
    (random) => Buffer.from(`\ufeff${plain(random, 1)}`, 'utf16le').toString('base64'),
  ),
  windash: fielded(
    '|windash|contains',
    (random) => among(random, [' -a', '-', 'a-b', ' -a -b', '-1']),
    (random) =>
      Array.from({ length: 4 }, () =>
        among(random, [' -a', ' /a', '\u2013', 'a\u2014b', 'a-b', ' /a -b', '1']),
      ).join(''),
  ),
  fieldref: {
    rule: (random) => one(`f|fieldref${among(random, ['', '|contains', '|startswith', '|endswith'])}`, 'g'),
    event: (random) => ({ f: plain(random, 3), ...(random(4) > 0 && { g: plain(random, 2) }) }),
  },
  time: {
    rule: (random) => {
      const name = among(random, Object.keys(parts))
      return one(`f|${name}`, parts[name]?.(random))
    },
    event: (random) => ({ f: moment(random) }),
  },
  nested: { rule: (random) => one('a.b', plain(random, 1)), event: (random) => ({ a: nested(random) }) },
  keywords: {
    rule: (random) => ({ s: [plain(random, 2), plain(random, 3)], condition: 's' }),
    event: (random) => ({ a: nested(random), c: plain(random, 3) }),
  },
  conditions: {
    rule: (random) => ({ ...selections(random), condition: among(random, conditions) }),
    event: (random) => ({ f: plain(random, 1), ...(random(2) === 0 && { g: plain(random, 1) }) }),
  },
}

export const families: ReadonlyMap<string, Family> = new Map(
  Object.entries(makers).map(([name, { rule, event }], index) => {
    const random = randomOf(900 + index)
    const rules = Array.from({ length: RULES }, () => rule(random))
    const events = Array.from({ length: EVENTS }, () => JSON.parse(JSON.stringify(event(random))))
    return [name, { rules, events }]
  }),
)

/** For each rule the numbers of the records that match; null when the engine does not support the rule. */
export type Answer = readonly (readonly number[] | null)[]

/** A line of `pairs.<engine>.ndjson`: what the engine said of a family. */
export interface Golden {
  readonly engine: string
  readonly family: string
  readonly matches: Answer
}
