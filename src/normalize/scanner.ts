/**
 * Finds the end of one JSON value in bytes, without decoding it: aware of strings, escapes and depth.
 *
 * On the way it notes what decides the fate of a CloudTrail record (service, name, version and time at its
 * top level), so that a record outside the scope is never decoded, and counts members, so that a name that
 * comes twice shows after the parse.
 */
import { MAX_DEPTH } from './json.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const SPACE = 0x20
const NEWLINE = 0x0a

/**
 * Members whose arrays hold records: CloudTrail and Lambda, CloudWatch Logs, LookupEvents, SQS; `records` of
 * Event Hubs, `value` of Azure's REST answers, `receivedMessages` of Pub/Sub, `entries` of Cloud Logging.
 */
export const containers: readonly string[] = [
  'Records',
  'records',
  'logEvents',
  'receivedMessages',
  'entries',
  'events',
  'Events',
  'Messages',
  'value',
]

/** Place of a text in the scanned bytes; `start` 0 = not seen. */
export class Peek {
  start = 0
  end = 0

  text(bytes: Buffer): string {
    return bytes.toString('latin1', this.start, this.end)
  }
}

export type ScanStatus =
  /** `end` is behind the value. */
  | 'done'
  /** The bytes end inside the value. */
  | 'incomplete'
  /** A line ends inside a text, or an object begins where none can: cut off. `end` is the byte that does not fit. */
  | 'broken'
  /** Nested deeper than the limit, at `end`. */
  | 'deep'
  /** A member that holds records begins; `end` is behind its `[`. */
  | 'array'

/** The first byte from `at` that ends plain text: a quote, a backslash or a line end; `limit` if none. */
const stopIn = (bytes: Uint8Array, at: number, limit: number): number => {
  let place = at
  while (place < limit) {
    const byte = bytes[place] as number // below `limit`
    if (byte > QUOTE ? byte === BACKSLASH : byte === QUOTE || byte === NEWLINE) break
    place++
  }
  return place
}

/** Reused from value to value: nothing is allocated for a record that is skipped. */
export class Scanner {
  end = 0
  /** Members seen, nested ones included. */
  members = 0
  /** No escapes in the texts at the top level, so that the peeks below can be trusted. */
  plain = true
  readonly version = new Peek()
  readonly source = new Peek()
  readonly name = new Peek()
  readonly time = new Peek()
  readonly id = new Peek()
  readonly recipient = new Peek()
  readonly #open = new Uint8Array(MAX_DEPTH + 1)

  /**
   * @param bytes where to look; `start` is at `{` or `[`, or anywhere in an object when `depth` is 1
   * @param unwrap stop at a member that holds records
   */
  scan(bytes: Buffer, start: number, limit: number, unwrap: boolean, depth: 0 | 1 = 0): ScanStatus {
    const open = this.#open
    let at = start
    let level: number = depth
    let members = 0
    let wanted: Peek | undefined
    open[0] = OPEN_OBJECT
    this.plain = true
    this.version.start = this.source.start = this.name.start = this.time.start = 0
    this.id.start = this.recipient.start = 0
    while (at < limit) {
      const byte = bytes[at] as number // below `limit`, which is at most the length
      if (byte === QUOTE) {
        const from = at + 1
        let escaped = false
        at = stopIn(bytes, from, limit)
        while (at < limit && bytes[at] === BACKSLASH && at + 1 < limit && bytes[at + 1] !== NEWLINE) {
          escaped = true
          at = stopIn(bytes, at + 2, limit)
        }
        if (at >= limit || (at + 1 === limit && bytes[at] === BACKSLASH)) return 'incomplete'
        if (bytes[at] !== QUOTE) {
          this.end = bytes[at] === BACKSLASH ? at + 1 : at
          return 'broken'
        }
        if (level === 1 && open[0] === OPEN_OBJECT) {
          if (escaped) this.plain = false
          if (wanted !== undefined && before(bytes, from - 1, start) === COLON) {
            wanted.start = from
            wanted.end = at
            wanted = undefined
          } else {
            wanted = this.#member(bytes, from, at)
            if (wanted !== undefined) wanted.start = 0 // of a name that comes twice the last value counts
            if (unwrap && wanted === undefined && isContainer(bytes, from, at)) {
              const colon = skipSpace(bytes, at + 1, limit)
              const value = bytes[colon] === COLON ? skipSpace(bytes, colon + 1, limit) : colon
              if (value >= limit) return 'incomplete'
              if (bytes[colon] === COLON && bytes[value] === OPEN_ARRAY) {
                this.end = value + 1
                return 'array'
              }
            }
          }
        }
        at++
      } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        if (byte === OPEN_OBJECT && level > 0 && !fits(before(bytes, at, start), open[level - 1])) {
          this.end = at
          return 'broken'
        }
        if (level >= MAX_DEPTH) {
          this.end = at
          return 'deep'
        }
        open[level++] = byte
        at++
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
        at++
        if (--level === 0) {
          this.end = at
          this.members = members
          return 'done'
        }
      } else {
        if (byte === COLON) members++
        at++
      }
    }
    return 'incomplete'
  }

  /** The member to remember whose name stands between `from` and `to`. */
  #member(bytes: Buffer, from: number, to: number): Peek | undefined {
    const length = to - from
    if (length < 7 || length > 18) return undefined
    const first = bytes[from]
    if (first === LETTER_E) {
      if (length === 9 && bytes[from + 5] === 0x4e)
        return spells(bytes, from, 'eventName') ? this.name : undefined
      if (length === 9 && bytes[from + 6] === 0x69)
        return spells(bytes, from, 'eventTime') ? this.time : undefined
      if (length === 11) return spells(bytes, from, 'eventSource') ? this.source : undefined
      if (length === 12) return spells(bytes, from, 'eventVersion') ? this.version : undefined
      if (length === 7) return spells(bytes, from, 'eventID') ? this.id : undefined
    }
    return length === 18 && first === LETTER_R && spells(bytes, from, 'recipientAccountId')
      ? this.recipient
      : undefined
  }
}

const LETTER_E = 0x65
const LETTER_R = 0x72

const spells = (bytes: Buffer, from: number, name: string): boolean => {
  for (let at = 0; at < name.length; at++) if (bytes[from + at] !== name.charCodeAt(at)) return false
  return true
}

const isContainer = (bytes: Buffer, from: number, to: number) =>
  to - from >= 5 &&
  to - from <= 16 &&
  containers.some((name) => name.length === to - from && spells(bytes, from, name))

/** The last byte before `at` that is no white space; 0 when there is none after `start`. */
const before = (bytes: Buffer, at: number, start: number): number => {
  let back = at - 1
  while (back >= start && (bytes[back] ?? 0) <= SPACE) back--
  return back >= start ? (bytes[back] ?? 0) : 0
}

/** May an object begin after this byte? If not, the value before it was cut off and a new one begins here. */
const fits = (previous: number, container: number | undefined) =>
  container === OPEN_ARRAY ? previous === OPEN_ARRAY || previous === COMMA : previous === COLON

const skipSpace = (bytes: Buffer, at: number, limit: number): number => {
  while (at < limit && (bytes[at] ?? 0) <= SPACE) at++
  return at
}

/** Where the object stands that is the value of a top-level member, in a text that is known to be JSON. */
export const memberRange = (
  bytes: Buffer,
  member: string,
): readonly [start: number, end: number] | undefined => {
  const scanner = new Scanner()
  let found: readonly [number, number] | undefined
  let level = 0
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) level++
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) level--
    else if (byte === QUOTE) {
      const from = ++at
      for (; at < bytes.length && bytes[at] !== QUOTE; at++) if (bytes[at] === BACKSLASH) at++
      if (level !== 1 || at - from !== member.length || !spells(bytes, from, member)) continue
      const colon = skipSpace(bytes, at + 1, bytes.length)
      const value = skipSpace(bytes, colon + 1, bytes.length)
      if (bytes[colon] !== COLON || bytes[value] !== OPEN_OBJECT) continue
      if (scanner.scan(bytes, value, bytes.length, false) !== 'done') continue
      found = [value, scanner.end] // of a name that comes twice the last value counts
      at = scanner.end - 1
    }
  }
  return found
}
