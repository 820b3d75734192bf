/**
 * Text from outside becomes text inside: bounded, well-formed, without control characters.
 * Everything in a log record is chosen by whoever called the cloud.
 */
import { hash } from 'node:crypto'

/** Control characters, line and paragraph separators, bidirectional and zero-width characters, BOM. */
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/
const unsafeAll = new RegExp(unsafe, 'g')
const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`

const DIGEST_MARK = '~sha256:'
const DIGEST_LENGTH = 32

/** SHA-256 as 64 hex digits, over UTF-8 text or bytes. */
export const sha256 = (data: string | Uint8Array): string => hash('sha256', data, 'hex')

/** The short form used for ids: the first 32 hex digits of SHA-256. */
export const shortId = (text: string): string => sha256(text).slice(0, 32)

/** Makes text safe to show: control and direction characters become `\uXXXX`, lone surrogates U+FFFD. */
export const printable = (text: string): string => {
  const formed = text.isWellFormed() ? text : text.toWellFormed()
  return unsafe.test(formed) ? formed.replace(unsafeAll, escaped) : formed
}

/** Collects the paths of fields that were cut. */
export type Cuts = string[]

/**
 * A text field of at most `max` characters, or `undefined` when the value is absent, empty or no scalar.
 * A longer one is cut; from 128 characters on the rest is replaced by its digest, so that two long values
 * with one beginning stay two.
 */
export const field = (value: unknown, max: number, path: string, cuts: Cuts): string | undefined => {
  if (typeof value !== 'string') {
    if (typeof value !== 'number' && typeof value !== 'boolean') return undefined
    return String(value)
  }
  if (value === '') return undefined
  const text = printable(value)
  if (text.length <= max) return text
  if (!cuts.includes(path)) cuts.push(path)
  if (max < 128) return text.slice(0, max).toWellFormed()
  const kept = max - DIGEST_MARK.length - DIGEST_LENGTH
  return text.slice(0, kept).toWellFormed() + DIGEST_MARK + shortId(value)
}

const RFC3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?\d*\s*(Z|z|[+-]\d\d:?\d\d)?$/

/**
 * RFC 3339 in UTC with the precision of the source; also with a blank for T and without a zone (= UTC).
 * @returns `undefined` for anything else, including dates that do not exist.
 */
export const utc = (value: unknown): string | undefined => {
  if (typeof value !== 'string' || value.length > 64) return undefined
  const parts = RFC3339.exec(value)
  if (parts === null) return undefined
  const [, day, clock, fraction = '', zone = 'Z'] = parts
  const plain = `${day}T${clock}`
  const offset = zone === 'Z' || zone === 'z' ? 'Z' : `${zone.slice(0, 3)}:${zone.slice(-2)}`
  const at = Date.parse(`${plain}${offset}`)
  if (Number.isNaN(at)) return undefined
  const wall = Date.parse(`${plain}Z`)
  if (new Date(wall).toISOString().slice(0, 19) !== plain) return undefined
  return `${new Date(at).toISOString().slice(0, 19)}${fraction}Z`
}

/** Text form of milliseconds since 1970, `undefined` outside the years 1970 to 9999. */
export const utcFromMillis = (value: unknown): string | undefined =>
  typeof value === 'number' && value >= 0 && value < 253402300800000
    ? new Date(Math.floor(value)).toISOString()
    : undefined
