import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formsSeen } from '../../src/normalize/alike.ts'
import { Scanner } from '../../src/normalize/scanner.ts'

const scanned = (text: string) => {
  const bytes = Buffer.from(text)
  const scanner = new Scanner()
  expect(scanner.scan(bytes, 0, bytes.length, true)).toBe('done')
  return { bytes, members: scanner.members }
}

/** JSON texts of a value, three kinds: those of one kind often differ in nothing but the value. */
const kinds = [
  [
    '""',
    '"a"',
    '"ab"',
    '"ba"',
    '"abcdefgh"',
    '"a:b,{[]}"',
    '"a\\"b"',
    '"a\\\\"',
    '"\\u0061"',
    '"é"',
    '"\u007f"',
  ],
  ['0', '1', '10', '12', '123456', '-1', '1.5', '2.5', '1e5', '1E-5', '1234567890123456', '9007199254740993'],
  ['true', 'false', 'null', '{}', '[]', '{"a":1}', '{"a":"b"}', '[1,"a"]', '[2,"b"]'],
].map((texts) => fc.constantFrom(...texts))
const rows = fc
  .tuple(fc.constantFrom(...kinds), fc.constantFrom(...kinds), fc.constantFrom(...kinds))
  .chain((three) => fc.array(fc.tuple(...three), { minLength: 2, maxLength: 16 }))
const texts = fc.constantFrom(
  (a: string, b: string, c: string) => `{"a":${a},"b":{"c":[${b},{"d":${c}}]}}`,
  (a: string, b: string, c: string) => `{ "a" : ${a} ,\n "b": [ ${b} , ${c} ] }`,
  (a: string, b: string, c: string) => `{"1":${a},"0":{"x":${b}},"y":${c},"é":1}`,
  (a: string, b: string, c: string) => `{"__proto__":${a},"b":{"constructor":${b}},"toString":${c}}`,
  (a: string, b: string, c: string) => `{"a":${a},"a":${b},"b":{"c":${c}}}`,
)

test('a record read by its form is what JSON.parse makes of it', () => {
  let read = 0
  fc.assert(
    fc.property(texts, rows, fc.nat(3), (make, all, offset) => {
      const forms = formsSeen()
      for (const row of all) {
        const text = make(...row)
        const { bytes, members } = scanned(text)
        const behind = Buffer.concat([Buffer.alloc(offset, 0x20), bytes, Buffer.from(',{"a":')])
        const found = forms.read(behind, offset)
        if (found === undefined) forms.learn(bytes, JSON.parse(text), members)
        else {
          read++
          expect(JSON.stringify(found.value)).toBe(JSON.stringify(JSON.parse(text)))
          expect(found.value).toEqual(JSON.parse(text))
          expect(found).toMatchObject({ end: offset + bytes.length, members })
        }
      }
    }),
    { numRuns: 3000 },
  )
  expect(read).toBeGreaterThan(100)
})

test('what is read leaves the form as it was', () => {
  const forms = formsSeen()
  const learned = Buffer.from('{"a":"x","b":{"c":[1,"y"]}}')
  forms.learn(learned, JSON.parse(learned.toString()), 3)
  const other = forms.read(Buffer.from('{"a":"longer","b":{"c":[22,"z"]}}'), 0)
  expect(other?.value).toEqual({ a: 'longer', b: { c: [22, 'z'] } })
  expect(forms.read(learned, 0)?.value).toEqual({ a: 'x', b: { c: [1, 'y'] } })
})

test.each([
  ['cut off', '{"a":"xy","b":'],
  ['cut off inside a text', '{"a":"xy'],
  ['a line end inside a text', '{"a":"x\ny","b":1}'],
  ['another name', '{"a":"x","c":1}'],
  ['one more member', '{"a":"x","b":1,"c":2}'],
  ['another kind of value', '{"a":1,"b":1}'],
  ['bytes that are no UTF-8', Buffer.from('{"a":"\xff","b":1}', 'latin1')],
])('not of the form: %s', (_, text) => {
  const forms = formsSeen()
  const learned = Buffer.from('{"a":"x","b":1}')
  forms.learn(learned, JSON.parse(learned.toString()), 2)
  expect(forms.read(Buffer.from('{"a":"y","b":2}'), 0)).toBeDefined()
  expect(forms.read(Buffer.from(text), 0)).toBeUndefined()
})

test('an object around records is no form: its records come one by one', () => {
  const forms = formsSeen()
  const learned = Buffer.from('{"records":[{"a":"x"}]}')
  forms.learn(learned, JSON.parse(learned.toString()), 2)
  expect(forms.read(learned, 0)).toBeUndefined()
})
