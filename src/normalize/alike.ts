/**
 * Records that are written like one before them: the same bytes but for some values. A feed has few such forms and
 * millions of records, and comparing bytes with a form is twice as fast as finding the end of a record and parsing it.
 * What a record shares with its form is not made again: equal parts of their values are the same objects, which
 * nobody changes.
 */
import { inspect, isObject, type Json } from './json.ts'
import { containers } from './scanner.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const COMMA = 0x2c
const SPACE = 0x20
const TILDE = 0x7e
const ZERO = 0x30
const NINE = 0x39

type Container = Record<string | number, unknown>

/** An object or array in the value of a form, and where it hangs. */
interface Holder {
  readonly value: Json | readonly unknown[]
  readonly owner: number
  readonly key: string | number
}

/** A value that may differ: a text without escapes, or a whole number. Its place in the bytes of the form, and in a holder. */
interface Leaf {
  readonly start: number
  readonly end: number
  readonly isText: boolean
  readonly owner: number
  readonly key: string | number
}

interface Form {
  readonly bytes: Buffer
  /** The same bytes, to be compared four at a time. */
  readonly words: DataView<ArrayBufferLike>
  readonly holders: readonly Holder[]
  readonly leaves: readonly Leaf[]
  readonly members: number
}

/** A record that was read by its form. */
export interface Read {
  readonly value: unknown
  readonly end: number
  /** Members in the text, as the scanner counts them. */
  readonly members: number
}

const MAX_FORMS = 16
const MAX_BYTES = 16 * 1024
const MAX_DIGITS = 15
/** Learning costs as much as reading a few records: a feed in which nothing repeats soon learns little. */
const LEARNING_COST = 4
const MAX_CREDIT = 64
const CREDIT_FOR_A_MISS = 1 / 16

/** Where a text of plain ASCII ends; -1 for any other. */
const textEnd = (bytes: Buffer, from: number): number => {
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at] as number // below the length
    if (byte === QUOTE) return at
    if (byte < SPACE || byte > TILDE || byte === BACKSLASH) return -1
  }
  return -1
}

/** Where a whole number ends; -1 for none, and for one that may lose digits. */
const numberEnd = (bytes: Buffer, from: number): number => {
  let at = from
  for (; at < bytes.length; at++) {
    const byte = bytes[at] as number // below the length
    if (byte < ZERO || byte > NINE) break
  }
  const digits = at - from
  return digits === 0 || digits > MAX_DIGITS || (digits > 1 && bytes[from] === ZERO) ? -1 : at
}

/** Takes a text apart that is known to be JSON, along its value. @returns nothing for one with odd names */
const formOf = (text: Buffer, value: Json, members: number): Form | undefined => {
  const bytes = Buffer.from(text)
  const holders: Holder[] = []
  const leaves: Leaf[] = []
  let at = 0
  let odd = false

  const space = () => {
    while ((bytes[at] ?? 0) <= SPACE) at++
  }
  /** Goes behind a text. @returns where its closing quote is */
  const passText = (): number => {
    for (at++; bytes[at] !== QUOTE; at++) if (bytes[at] === BACKSLASH) at++
    return at++
  }
  /** Goes behind a number, `true`, `false` or `null`. */
  const passWord = (): number => {
    while (/[\w.+-]/.test(String.fromCharCode(bytes[at] ?? 0))) at++
    return at
  }
  const name = (): string => {
    const start = at + 1
    const end = passText()
    const written = bytes.toString('latin1', start, end)
    if (textEnd(bytes, start) !== end || written === '__proto__') odd = true
    space()
    at++ // the colon
    return written
  }
  const inside = (one: Container, isObject: boolean) => {
    const holder = holders.length - 1
    at++
    space()
    for (let index = 0; !odd && bytes[at] !== CLOSE_OBJECT && bytes[at] !== CLOSE_ARRAY; index++) {
      const key = isObject ? name() : index
      walk(one[key], holder, key)
      space()
      if (bytes[at] === COMMA) at++
      space()
    }
    at++
  }
  const walk = (one: unknown, owner: number, key: string | number) => {
    space()
    const first = bytes[at]
    if (first === OPEN_OBJECT || first === OPEN_ARRAY) {
      const value = one as Json // what this text was parsed to: an object or array
      holders.push({ value, owner, key })
      return inside(value, first === OPEN_OBJECT)
    }
    const isText = first === QUOTE
    const start = isText ? at + 1 : at
    const end = isText ? passText() : passWord()
    const whole = (isText ? textEnd(bytes, start) : numberEnd(bytes, start)) === end
    if (whole) leaves.push({ start, end, isText, owner, key })
  }
  walk(value, 0, '')
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return odd ? undefined : { bytes, words, holders, leaves, members }
}

/** Number, start and end of each leaf that differs, reused from record to record; `differing` of them are filled. */
const found = new Int32Array(2 * MAX_BYTES)
let differing = 0
let words: DataView<ArrayBufferLike> = new DataView(new ArrayBuffer(0))

/** @returns where the record ends, -1 when it is not of this form */
const compare = (form: Form, bytes: Buffer, from: number): number => {
  if (words.buffer !== bytes.buffer) words = new DataView(bytes.buffer)
  const { bytes: known, words: own, leaves } = form
  const base = bytes.byteOffset
  const length = known.length
  const limit = bytes.length
  let at = from
  let place = 0
  let number = 0
  differing = 0
  while (place < length) {
    while (place < length - 4 && at < limit - 4 && words.getInt32(base + at) === own.getInt32(place)) {
      at += 4
      place += 4
    }
    if (at >= limit) return -1
    if (bytes[at] === known[place]) {
      at++
      place++
      continue
    }
    let leaf = leaves[number]
    while (leaf !== undefined && leaf.end < place) leaf = leaves[++number]
    if (leaf === undefined || leaf.start > place) return -1
    const start = at - (place - leaf.start)
    at = leaf.isText ? textEnd(bytes, start) : numberEnd(bytes, start)
    if (at < 0) return -1
    found[differing++] = number++
    found[differing++] = start
    found[differing++] = at
    place = leaf.end
  }
  return at
}

/** The value of the record compared last: what differs is new, and so are the objects around it. */
const valueBy = ({ holders, leaves }: Form, bytes: Buffer): unknown => {
  const copies: Container[] = []
  const copyOf = (id: number): Container => {
    const made = copies[id]
    if (made !== undefined) return made
    const { value, owner, key } = holders[id] as Holder // ids are places in this list
    const copy = (Array.isArray(value) ? [...value] : { ...value }) as Container // both have members by key
    copies[id] = copy
    if (id > 0) copyOf(owner)[key] = copy
    return copy
  }
  for (let at = 0; at < differing; at += 3) {
    const { isText, owner, key } = leaves[found[at] as number] as Leaf // `compare` noted its number
    const text = bytes.toString('latin1', found[at + 1], found[at + 2])
    copyOf(owner)[key] = isText ? text : Number(text)
  }
  return copies[0] ?? holders[0]?.value
}

export interface Forms {
  /** The record that begins at `start`, when it is written like one before. */
  read(bytes: Buffer, start: number): Read | undefined
  /** @param value what the bytes were parsed to @param members as the scanner counts them */
  learn(bytes: Buffer, value: unknown, members: number): void
}

/** Remembers the newest forms of the records it learns. */
export const formsSeen = (): Forms => {
  const forms: Form[] = []
  let credit = MAX_CREDIT
  return {
    read(bytes, start) {
      for (let place = 0; place < forms.length; place++) {
        const form = forms[place] as Form // below the length
        const end = compare(form, bytes, start)
        if (end < 0) continue
        const before = forms[place - 1]
        if (before !== undefined) {
          forms[place - 1] = form // what is used often comes to the front
          forms[place] = before
        }
        credit = Math.min(credit + 1, MAX_CREDIT)
        return { value: valueBy(form, bytes), end, members: form.members }
      }
      return undefined
    },
    learn(bytes, value, members) {
      credit = Math.min(credit + CREDIT_FOR_A_MISS, MAX_CREDIT)
      if (credit < LEARNING_COST || bytes.length > MAX_BYTES || !isObject(value)) return
      credit -= LEARNING_COST
      if (inspect(value).members !== members || containers.some((name) => Array.isArray(value[name]))) return
      const form = formOf(bytes, value, members)
      if (form === undefined) return
      if (forms.length === MAX_FORMS) forms.pop()
      forms.push(form)
    },
  }
}
