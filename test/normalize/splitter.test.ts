/** Laws of the splitter: exactly these values in order, byte for byte, whatever the layout and the chunks. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RejectReason } from '../../src/model/outcome.ts'
import { splitter } from '../../src/normalize/splitter.ts'

interface Split {
  readonly values: string[]
  readonly broken: RejectReason[]
  readonly sawContainer: boolean
}

/** Splits bytes pushed in pieces of `chunk`; without it in one piece. */
const split = (text: string | Buffer, chunk?: number): Split => {
  const bytes = Buffer.from(text)
  const values: string[] = []
  const broken: RejectReason[] = []
  const reader = splitter({
    value: (lent, start, end) => void values.push(lent.toString('latin1', start, end)),
    broken: (reason) => void broken.push(reason),
  })
  const step = chunk ?? Math.max(bytes.length, 1)
  for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step))
  reader.end()
  return { values, broken, sawContainer: reader.sawContainer }
}

const chunks = [1, 7, 1000, undefined] as const

/** The same result for every chunk size. */
const expectSplit = (file: string | Buffer, expected: Partial<Split>, about: unknown = '') => {
  for (const chunk of chunks) {
    const at = { chunk, about }
    expect({ ...at, ...split(file, chunk) }).toMatchObject({ ...at, ...expected })
  }
}

/** Text as `split` gives it: one character a byte. */
const raw = (text: string) => Buffer.from(text).toString('latin1')
const min = (value: unknown) => JSON.stringify(value)
const pretty = (value: unknown) => JSON.stringify(value, null, 2)
const BOM = '\ufeff'

type Form = (value: unknown) => string
type Join = (texts: readonly string[]) => string
/** The elements of the whole text by JSON.parse, for layouts that are one JSON value. */
type Pick = (parsed: { Records: unknown[] } & unknown[]) => unknown[]

const lines: Join = (texts) => texts.map((one) => `${one}\n`).join('')
const inRecords: Pick = (parsed) => parsed.Records
const others = '"logs":[1,{"Records":[{"no":1}]}],"x":"Records","y":{"events":[{"no":2}]}'
const layouts: readonly [name: string, form: Form, join: Join, pick?: Pick][] = [
  ['JSON lines', min, lines],
  ['no last newline', min, (t) => t.join('\n')],
  ['CRLF', min, (t) => t.map((one) => `${one}\r\n`).join('')],
  ['blank lines', min, (t) => `\n \n${t.join('\n\n\t\r\n')}\n\n`],
  ['concatenated', min, (t) => t.join('')],
  ['pretty, one after another', pretty, (t) => t.join('\n')],
  ['array', min, (t) => `[${t.join(',')}]`, (parsed) => parsed],
  ['pretty array', pretty, (t) => `[\n  ${t.join(',\n  ')}\n]\n`, (parsed) => parsed],
  ['Records', min, (t) => `{"Records":[${t.join(',')}]}`, inRecords],
  ['pretty Records', pretty, (t) => `{ "Records" : [\n${t.join(' ,\n')}\n] }`, inRecords],
  ['members before', min, (t) => `{${others},"Records":[${t.join(',')}]}`, inRecords],
  ['members behind', min, (t) => `{"Records":[${t.join(',')}],${others}}`, inRecords],
  ['CRLF in Records', min, (t) => `{\r\n"Records":[\r\n${t.join(',\r\n')}]\r\n}`, inRecords],
  ['BOM, lines', min, (t) => BOM + lines(t)],
  ['BOM, Records', min, (t) => `${BOM}{"Records":[${t.join(',')}]}`],
]

const nasty = ['"', '\\', '\\"', '{"a":[', '}]},', '[', ']', '\n', '\u2028', '\u0000', 'ä€𝄞', '"Records":[']
const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 12 }), fc.constantFrom(...nasty))
const names = text.map((name) => `m${name}`)
const scalar = fc.constantFrom(null, true, false, 1e21)
const json = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, text, fc.double({ noNaN: true }), scalar, tie('array'), tie('object')),
  array: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(names, tie('value'), { maxKeys: 4 }),
}))
const objects = fc.array(json.object, { minLength: 1, maxLength: 8 })
const pieces = fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 3000 }))
const seeded = { seed: 20260302, numRuns: 60 }

describe('any layout, any chunk size', () => {
  it.each(layouts)('%s', (_, form, join, pick) => {
    fc.assert(
      fc.property(objects, pieces, (values, chunk) => {
        const texts = values.map(form)
        const file = join(texts)
        if (pick !== undefined) expect(texts.map((one) => JSON.parse(one))).toEqual(pick(JSON.parse(file)))
        for (const one of [chunk, undefined])
          expect(split(file, one)).toMatchObject({ values: texts.map(raw), broken: [] })
      }),
      seeded,
    )
  })
})

const ok = '{"ok":1}'

describe('containers and scalars', () => {
  const control = '{"b":"x\u0001y","z":1}'
  const two = '{"Records":[{"a":1}],"z":0,"events":[{"b":2}]}'
  const none: RejectReason[] = []
  const unknown: RejectReason[] = ['unknown_format']
  const scalars =
    'null|true|-1.5e+10|"text"|"say \\"hi\\""|""|"a , comma"|"a ] bracket"|"a { brace"|"[{"'.split('|')
  type Case = [name: string, text: string, values: string[], broken: RejectReason[]]
  const cases: Case[] = [
    ['an empty container', '{"Records":[]}', [], none],
    ['two containers', two, ['{"a":1}', '{"b":2}'], none],
    ['Records that is no array', '{"Records":{"a":[1]}}', ['{"Records":{"a":[1]}}'], none],
    ['an array as element', '[[1,2],{"a":1}]', ['[1,2]', '{"a":1}'], none],
    ...scalars.map((one): Case => [`element ${one}`, `[${one},${ok}]`, [ok], unknown]),
    ['an element of 200,000 letters', `["${'x'.repeat(200_000)}",${ok}]`, [ok], unknown],
    // A control character is for the parser to refuse: the value comes out whole, and its neighbors with it.
    ['a control character in a record', `{"Records":[${control},${ok}]}`, [control, ok], none],
    ['a line that is null', `null\n${ok}\n`, [ok], unknown],
    ['a line that is no JSON', `hello {world}\n${ok}\n`, [ok], ['broken_json']],
  ]
  it.each(cases)('%s', (_, file, values, broken) => expectSplit(file, { values, broken }))

  it('an empty container is seen, an object is none', () =>
    expect(['{"Records":[]}', '[]', ok].map((file) => split(file).sawContainer)).toEqual([true, true, false]))
})

const sample = '{"t":"a\\"b\\\\","n":{"l":[1,{"d":[2,3]},"x"],"s":"{[,:"},"e":{},"u":"\\u00e4ä"}'
/** Where a line was torn, by the brackets and the text that its beginning leaves open. */
const cutClass = (start: string) => {
  const plain = start.replaceAll(/\\./g, '').replaceAll(/"[^"]*"/g, '')
  if (plain.includes('"')) return plain.endsWith('\\') ? 'in an escape' : 'in a text'
  if (plain.endsWith(':')) return 'after a colon'
  let open = plain.replaceAll(/[^[\]{}]/g, '')
  while (/\[]|{}/.test(open)) open = open.replaceAll(/\[]|{}/g, '')
  return open.endsWith('[') && /[[,]$/.test(plain) ? 'in an array' : 'elsewhere'
}

describe('a torn line costs itself only', () => {
  const cuts = Array.from(sample, (_, at) => sample.slice(0, at)).slice(1)
  it.each(['elsewhere', 'in a text', 'in an escape', 'after a colon', 'in an array'])('cut %s', (kind) => {
    const starts = cuts.filter((start) => cutClass(start) === kind)
    expect(starts.length).toBeGreaterThan(0)
    const values = ['{"a":1}', '{"b":{"c":[1]}}', '{"d":4}']
    for (const start of starts)
      expectSplit(
        `${values[0]}\n${start}\n${values[1]}\n${values[2]}\n`,
        { values, broken: ['broken_json'] },
        start,
      )
  })

  it('a line break inside a text costs its record, not the next', () =>
    expectSplit(`{"Records":[{"b":"x\ny","z":1},${ok}]}`, { values: [ok] }))

  it('of files written one after another, the torn one', () =>
    expectSplit('{"Records":[{"a":1},{"b":"cut\n{"Records":[{"c":1},{"d":1}]}\n{"Records":[{"e":1}]}\n', {
      values: ['{"a":1}', '{"c":1}', '{"d":1}', '{"e":1}'],
      broken: ['broken_json'],
    }))
})

describe('cut off at the end: one broken', () => {
  const texts = [sample, '{"b":[]}', '{"c":{"d":"}"}}']
  const whole = layouts.filter(([name]) => /^(array|Records|members .*)$/.test(name))
  it.each(whole)('%s', (_, _form, join) => {
    const file = Buffer.from(join(texts))
    const ends = texts.map((one) => file.indexOf(one) + Buffer.byteLength(one))
    for (let cut = 1; cut < file.length; cut++) {
      const values = texts.filter((_, at) => (ends[at] ?? 0) <= cut).map(raw)
      expectSplit(file.subarray(0, cut), { values, broken: ['broken_json'] }, cut)
    }
  })
})

describe('depth and size', () => {
  const shapes: [string, (levels: number) => string][] = [
    ['arrays', (levels) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`],
    ['objects', (levels) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`],
  ]
  const around: [string, (value: string) => string][] = [
    ['lines', (value) => `${value}\n${ok}\n`],
    ['array', (value) => `[${value},${ok}]`],
    ['Records', (value) => `{"Records":[${value},${ok}]}`],
  ]
  const cases = shapes.flatMap(([shape, make]) => around.map(([name, wrap]) => ({ shape, make, name, wrap })))
  it.each(cases)('$shape in $name', ({ make, wrap }) => {
    for (const chunk of [1, 4096, undefined]) {
      const fits = make(64)
      expect(split(wrap(fits), chunk)).toMatchObject({ values: [fits, ok], broken: [] })
      for (const levels of [65, 10_000, 1_000_000])
        if (chunk !== 1 || levels < 1_000_000)
          expect(split(wrap(make(levels)), chunk)).toMatchObject({ values: [ok], broken: ['too_deep'] })
    }
  })

  it('a deep value among many lines is passed in any chunks', () => {
    const lines = Array.from({ length: 40 }, (_, n) => `{"n":${n},"pad":"${'x'.repeat(n)}"}`)
    const file = lines.toSpliced(20, 0, `${'{"a":'.repeat(300)}1${'}'.repeat(300)}`).join('\n')
    for (let chunk = 1; chunk < 900; chunk += 7)
      expect({ chunk, ...split(file, chunk) }).toMatchObject({ chunk, values: lines, broken: ['too_deep'] })
  })

  it('a deep member behind the records costs no value after it', () => {
    const file = `{"Records":[{"a":1}],"z":${'['.repeat(100)}${']'.repeat(100)}}\n${ok}\n`
    expectSplit(file, { values: ['{"a":1}', ok] })
  })

  it.each(['', '[', '{"Records":['])('deep and never closed behind "%s": one broken', (head) => {
    for (const levels of [70, 500])
      for (const chunk of [...chunks, 200]) {
        const { values, broken } = split(`${head}${'{"a":'.repeat(levels)}`, chunk)
        const at = { levels, chunk, values }
        expect({ ...at, count: broken.length }).toEqual({ ...at, values: [], count: 1 })
      }
  })

  it.each(around)('over 16 MiB in %s', (_, wrap) => {
    const large = (bytes: number) => `{"a":"${'x'.repeat(bytes - 8)}"}`
    const fits = large(16 * 1024 * 1024)
    const result = split(wrap(fits), 64 * 1024)
    expect([result.values.map((one) => one.length), result.broken]).toEqual([[fits.length, ok.length], []])
    for (const chunk of [64 * 1024, 5_000_000, undefined]) {
      const { values, broken } = split(wrap(large(17 * 1024 * 1024)), chunk)
      expect({ chunk, sizes: values.map((one) => one.length), broken }).toEqual({
        chunk,
        sizes: [ok.length],
        broken: ['too_large'],
      })
    }
  })
})

it('damaged bytes give the same values and the same refusals whatever the chunks', () => {
  const change = fc.tuple(fc.nat(), fc.constantFrom(...Array.from('{}[]",:\\\n \u0000x1')))
  const withoutBom = fc.constantFrom(...layouts.filter(([name]) => !name.startsWith('BOM')))
  fc.assert(
    fc.property(
      objects,
      withoutBom,
      fc.array(change, { maxLength: 6 }),
      pieces,
      (values, layout, changes, chunk) => {
        const [, form, join] = layout
        const bytes = Buffer.from(join(values.map(form)))
        for (const [at, char] of changes) bytes[at % bytes.length] = char.charCodeAt(0)
        expect(split(bytes, chunk)).toEqual(split(bytes))
      },
    ),
    { seed: 20260302, numRuns: 2000 },
  )
})
