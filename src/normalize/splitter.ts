/**
 * The streaming record splitter: bytes in, one JSON value at a time out.
 *
 * Accepts what log files hold: one object or array, JSON lines, several values after one another, and
 * objects with a member that holds records (`Records`, `logEvents`, …), whose elements come one by one, so
 * that a file of any size needs the memory of its largest record. A value that is cut off costs itself only.
 */
import type { RejectReason } from '../model/outcome.ts'
import { parse } from './json.ts'
import { Scanner } from './scanner.ts'

/** A value larger than this is not held: it is passed over and rejected. */
export const MAX_VALUE_BYTES = 16 * 1024 * 1024
const MAX_LINE_BYTES = 64 * 1024

export interface Listener {
  /** A whole value. The bytes are only lent: copy what must last. */
  value(bytes: Buffer, start: number, end: number, scanner: Scanner): void
  /** Something that is no value, or one over a limit; the bytes are what was held of it, lent. */
  broken(reason: RejectReason, bytes: Buffer): void
  /** Everything before this place is complete: reading may begin again here. */
  boundary?(offset: number): void
}

export interface Splitter {
  push(chunk: Buffer): void
  /** Gives out every value that is complete, though more bytes may come. */
  drain(): void
  /** No more bytes come: what is unfinished is broken. */
  end(): void
  /** Saw an array or object that may hold records, also an empty one. */
  readonly sawContainer: boolean
  /** The first byte that is no white space begins an object or array. */
  readonly startsAsJson: boolean
}

const NEWLINE = 0x0a
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const COMMA = 0x2c
const SPACE = 0x20
const QUOTE = 0x22
const BACKSLASH = 0x5c

const NOTHING = Buffer.alloc(0)
/** Bytes kept of a value that is passed over. */
const HEAD_BYTES = 64 * 1024

type Mode =
  /** between values */
  | 'top'
  /** in an array of records; `inObject` tells whether an object goes on behind it */
  | 'elements'
  /** in an object, behind an array of records */
  | 'rest'
  /** passing a value that is not held */
  | 'discard'
  /** passing text that is no JSON, to the end of the line */
  | 'garbage'
  /** passing an element that is no object, to the next comma or bracket */
  | 'scalar'
  /** passing the rest of an element that is cut off, to where another may begin */
  | 'lost'

export const splitter = (listener: Listener): Splitter => {
  const scanner = new Scanner()
  let mode: Mode = 'top'
  let resume: Mode = 'top'
  let inObject = false
  let carry: Buffer[] = []
  let carried = 0
  /** Bytes before what is carried. */
  let begin = 0
  let wanted = 0
  let discard: Discard | undefined
  let sawContainer = false
  let startsAsJson: boolean | undefined
  let finished = false
  /** The line of text that is being passed is counted. */
  let counted = false
  /** An array was given up in the middle: its closing bracket may still come. */
  let loose = false
  let inText = false
  let escaped = false
  /** The last byte of `},` that was seen while an element is lost. */
  let ending = 0

  const startDiscard = (reason: RejectReason, back: Mode, head: Buffer, depth = 0) => {
    discard = new Discard(reason, Buffer.from(head.subarray(0, HEAD_BYTES)), depth)
    resume = back
    mode = 'discard'
  }

  /**
   * A value that fails may be a line that was cut off and swallowed its successors: go on at the first line
   * inside it that begins with an object, as in a file of JSON lines.
   */
  const restart = (bytes: Buffer, from: number, to: number): number | undefined => {
    for (let at = bytes.indexOf(NEWLINE, from); at >= 0 && at < to; at = bytes.indexOf(NEWLINE, at + 1)) {
      if (bytes[at + 1] !== OPEN_OBJECT) continue
      listener.broken('broken_json', bytes.subarray(from, at))
      if (mode !== 'top') loose = true
      mode = 'top'
      return at + 1
    }
    return undefined
  }

  /** One value from `at`. @returns where to go on, or -1 when more bytes are needed. */
  const value = (bytes: Buffer, at: number): number => {
    startsAsJson ??= true
    const back = mode
    const status = scanner.scan(bytes, at, bytes.length, mode === 'top')
    switch (status) {
      case 'done':
        if (scanner.end - at > MAX_VALUE_BYTES) listener.broken('too_large', bytes.subarray(at, scanner.end))
        else listener.value(bytes, at, scanner.end, scanner)
        return scanner.end
      case 'array':
        sawContainer = true
        inObject = true
        mode = 'elements'
        return scanner.end
      case 'broken': {
        const next = restart(bytes, at, scanner.end + 1)
        if (next !== undefined) return next
        listener.broken('broken_json', bytes.subarray(at, scanner.end)) // cut off, or a control character in a text
        if (bytes[scanner.end] !== OPEN_OBJECT) {
          if (back === 'top') {
            mode = 'garbage'
            counted = true
          } else {
            mode = 'lost'
            ending = 0
          }
        }
        return scanner.end
      }
      case 'deep': {
        const next = restart(bytes, at, scanner.end)
        if (next !== undefined) return next
        startDiscard('too_deep', back, bytes.subarray(at))
        return at
      }
      case 'incomplete': {
        if (!finished && bytes.length - at <= MAX_VALUE_BYTES) return -1
        const next = restart(bytes, at, bytes.length)
        if (next !== undefined) return next
        if (!finished) {
          startDiscard('too_large', back, bytes.subarray(at))
          return at
        }
        listener.broken(bytes.length - at > MAX_VALUE_BYTES ? 'too_large' : 'broken_json', bytes.subarray(at))
        mode = 'top'
        return bytes.length
      }
    }
  }

  const top = (bytes: Buffer, at: number): number => {
    const byte = bytes[at] ?? 0
    if (byte <= SPACE || byte === COMMA) return at + 1
    if (byte === 0xef && startsAsJson === undefined) {
      if (bytes.length - at < 3 && !finished) return -1
      if (bytes[at + 1] === 0xbb && bytes[at + 2] === 0xbf) return at + 3 // byte order mark
    }
    if (byte === OPEN_OBJECT) return value(bytes, at)
    if (byte === OPEN_ARRAY) {
      startsAsJson ??= true
      sawContainer = true
      inObject = false
      mode = 'elements'
      return at + 1
    }
    if (loose && (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT)) return at + 1
    startsAsJson ??= false
    mode = 'garbage'
    return at
  }

  const elements = (bytes: Buffer, at: number): number => {
    const byte = bytes[at] ?? 0
    if (byte <= SPACE || byte === COMMA) return at + 1
    if (byte === CLOSE_ARRAY) {
      mode = inObject ? 'rest' : 'top'
      return at + 1
    }
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) return value(bytes, at)
    listener.broken('unknown_format', bytes.subarray(at, at + 1))
    mode = 'scalar'
    inText = escaped = false
    return at
  }

  const scalar = (bytes: Buffer, from: number): number => {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at]
      if (escaped) escaped = false
      else if (inText && byte === BACKSLASH) escaped = true
      else if (byte === QUOTE) inText = !inText
      else if (!inText && (byte === COMMA || byte === CLOSE_ARRAY || byte === OPEN_OBJECT)) {
        mode = 'elements'
        return at
      }
    }
    return bytes.length
  }

  /** `},{` or `}]`, white space aside, is where the next element or the end of the array is likely. */
  const lost = (bytes: Buffer, from: number): number => {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0
      if ((ending === CLOSE_OBJECT && byte === CLOSE_ARRAY) || (ending === COMMA && byte === OPEN_OBJECT)) {
        mode = 'elements'
        return at
      }
      if (byte === CLOSE_OBJECT || (ending === CLOSE_OBJECT && byte === COMMA)) ending = byte
      else if (byte > SPACE) ending = 0
    }
    return bytes.length
  }

  const rest = (bytes: Buffer, at: number): number => {
    const status = scanner.scan(bytes, at, bytes.length, true, 1)
    if (status === 'array') {
      mode = 'elements'
      return scanner.end
    }
    if (status === 'done') {
      mode = 'top'
      return scanner.end
    }
    if (status === 'incomplete' && !finished && bytes.length - at <= MAX_VALUE_BYTES) return -1
    const next = restart(bytes, at, status === 'broken' ? scanner.end + 1 : bytes.length)
    if (next !== undefined) return next
    if (status === 'broken' || finished) {
      listener.broken('broken_json', bytes.subarray(at)) // the object around the records is not closed
      mode = 'top'
      return status === 'broken' ? scanner.end : bytes.length
    }
    startDiscard(status === 'deep' ? 'too_deep' : 'too_large', 'top', bytes.subarray(at), 1)
    return at
  }

  const garbage = (bytes: Buffer, at: number): number => {
    const newline = bytes.indexOf(NEWLINE, at)
    const end = newline < 0 ? bytes.length : newline
    if (!counted) {
      if (newline < 0 && !finished && end - at < MAX_LINE_BYTES) return -1
      const line = bytes.subarray(at, end)
      listener.broken(parse(line.toString('utf8')) === undefined ? 'broken_json' : 'unknown_format', line)
      counted = true
    }
    if (newline >= 0) {
      mode = 'top'
      counted = false
    }
    return end
  }

  const pass = (bytes: Buffer, at: number): number => {
    if (discard === undefined) return at
    const end = discard.pass(bytes, at)
    if (!discard.done && !finished) return end
    listener.broken(discard.reason, discard.head)
    mode = discard.done ? resume : 'top'
    discard = undefined
    return end
  }

  const steps: Record<Mode, (bytes: Buffer, at: number) => number> = {
    top,
    elements,
    scalar,
    lost,
    rest,
    garbage,
    discard: pass,
  }

  const run = (bytes: Buffer) => {
    let at = 0
    while (at < bytes.length) {
      const next = steps[mode](bytes, at)
      if (next < 0) break
      at = next
      if (mode === 'top' && !counted) listener.boundary?.(begin + at)
    }
    begin += at
    carry = at < bytes.length ? [Buffer.from(bytes.subarray(at))] : []
    carried = bytes.length - at
    wanted = carried * 2
  }

  return {
    push(chunk) {
      if (chunk.length === 0) return
      carry.push(chunk)
      carried += chunk.length
      if (carried < wanted) return
      run(carry.length === 1 ? chunk : Buffer.concat(carry, carried))
    },
    drain() {
      if (carried > 0) run(Buffer.concat(carry, carried))
    },
    end() {
      finished = true
      if (carried > 0) run(Buffer.concat(carry, carried))
      if (discard !== undefined) listener.broken(discard.reason, discard.head)
      else if (mode === 'elements' || mode === 'scalar' || mode === 'rest')
        listener.broken('broken_json', NOTHING) // the array is not closed
      discard = undefined
    },
    get sawContainer() {
      return sawContainer
    },
    get startsAsJson() {
      return startsAsJson ?? false
    },
  }
}

/** Passes over one value in pieces of any size. */
class Discard {
  done = false
  readonly reason: RejectReason
  #depth: number
  #inString = false
  #escaped = false

  /** How it begins. */
  readonly head: Buffer

  /** @param depth levels that are open before the first byte */
  constructor(reason: RejectReason, head: Buffer, depth: number) {
    this.reason = reason
    this.head = head
    this.#depth = depth
  }

  /** @returns the place behind the value, or the end of the bytes */
  pass(bytes: Buffer, start: number): number {
    let at = start
    for (; at < bytes.length && !this.done; at++) this.#step(bytes[at] ?? 0)
    return at
  }

  #step(byte: number) {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false
      else if (byte === 0x5c) this.#escaped = true
      else if (byte === 0x22) this.#inString = false
    } else if (byte === 0x22) this.#inString = true
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#depth++
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) this.done = --this.#depth <= 0
  }
}
