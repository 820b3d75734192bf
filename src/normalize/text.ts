/**
 * Text from outside becomes text inside: bounded, well-formed, without control characters.
 * Everything in a log record is chosen by whoever called the cloud.
 */
import { hash } from 'node:crypto'
import { clip } from '../model/clip.ts'

/**
 * A backslash before u, so that a written escape and a made one differ; control characters, line and paragraph separators, bidirectional and zero-width characters, BOM.
 */
const unsafe =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\\(?=u)/
const unsafeAll = new RegExp(unsafe, 'g')
const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`

const DIGEST_MARK = '~sha256:'
const DIGEST_LENGTH = 32

/** SHA-256 as 64 hex digits, over UTF-8 text or bytes. */
export const sha256 = (data: string | Uint8Array): string => hash('sha256', data, 'hex')

/** The short form used for ids: the first 32 hex digits of SHA-256. */
export const shortId = (text: string): string => sha256(text).slice(0, 32)

/** Most text: printable ASCII without a backslash, in which nothing can be unsafe. */
const beyondPlain = /[^ -[\]-~]/

/** Makes text safe to show: control and direction characters become `\uXXXX`, lone surrogates U+FFFD. */
export const printable = (text: string): string => {
  if (!beyondPlain.test(text)) return text
  const formed = text.isWellFormed() ? text : text.toWellFormed()
  return unsafe.test(formed) ? formed.replace(unsafeAll, escaped) : formed
}

/** Collects the paths of fields that were cut. */
export type Cuts = string[]

/**
 * A text field of at most `max` characters, or `undefined` when the value is absent, empty or no scalar.
 * A longer one is cut; from 40 characters on the rest is replaced by its digest, so that two long values
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
  if (max < 40) return clip(text, max)
  if (max < 128) return `${clip(text, max - 17)}~${shortId(value).slice(0, 16)}`
  const kept = max - DIGEST_MARK.length - DIGEST_LENGTH
  return clip(text, kept) + DIGEST_MARK + shortId(value)
}

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?\d*\s*(Z|z|[+-]\d\d:?\d\d)?$/

const daysIn = (year: number, month: number): number => {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

const read = (value: string): string | undefined => {
  const parts = RFC3339.exec(value)
  if (parts === null) return undefined
  const [, year = '', month = '', day = '', hour = '', minute = '', second = '', fraction = '', zone = 'Z'] =
    parts
  const inYear =
    Number(month) >= 1 &&
    Number(month) <= 12 &&
    Number(day) >= 1 &&
    Number(day) <= daysIn(Number(year), Number(month))
  if (!inYear || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined
  const plain = `${year}-${month}-${day}T${hour}:${minute}:${second}`
  if (zone === 'Z' || zone === 'z') return `${plain}${fraction}Z`
  const at = Date.parse(`${plain}${zone.slice(0, 3)}:${zone.slice(-2)}`)
  if (Number.isNaN(at)) return undefined
  const moved = new Date(at).toISOString()
  return moved.length === 24 ? `${moved.slice(0, 19)}${fraction}Z` : undefined // else outside the years 0000 to 9999
}

const digits = (text: string, at: number): number =>
  (text.charCodeAt(at) - 0x30) * 10 + text.charCodeAt(at + 1) - 0x30
const DIGITS = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]

const FRACTION = 20
const MAX_FRACTION_DIGITS = 9

/** `2026-03-02T09:00:00Z`, also with a fraction: the forms most records have, without a regular expression. */
const isPlainUtc = (text: string): boolean => {
  const last = text.length - 1
  if (last < 19 || text.charCodeAt(last) !== 0x5a || text.charCodeAt(10) !== 0x54) return false
  if (last > 19) {
    if (last === FRACTION || last > FRACTION + MAX_FRACTION_DIGITS || text.charCodeAt(19) !== 0x2e)
      return false
    for (let at = FRACTION; at < last; at++)
      if (text.charCodeAt(at) < 0x30 || text.charCodeAt(at) > 0x39) return false
  }
  if (
    text.charCodeAt(4) !== 0x2d ||
    text.charCodeAt(7) !== 0x2d ||
    text.charCodeAt(13) !== 0x3a ||
    text.charCodeAt(16) !== 0x3a
  )
    return false
  for (const at of DIGITS) {
    const char = text.charCodeAt(at)
    if (char < 0x30 || char > 0x39) return false
  }
  const month = digits(text, 5)
  const day = digits(text, 8)
  if (month < 1 || month > 12 || day < 1 || day > daysIn(digits(text, 0) * 100 + digits(text, 2), month))
    return false
  return digits(text, 11) < 24 && digits(text, 14) < 60 && digits(text, 17) < 60
}

/**
 * RFC 3339 in UTC with the precision of the source; also with a blank for T and without a zone (= UTC).
 * @returns `undefined` for anything else, including dates that do not exist.
 */
export const utc = (value: unknown): string | undefined => {
  if (typeof value !== 'string' || value.length > 64) return undefined
  return isPlainUtc(value) ? value : read(value)
}

/** Text form of milliseconds since 1970, `undefined` outside the years 1970 to 9999. */
export const utcFromMillis = (value: unknown): string | undefined =>
  typeof value === 'number' && value >= 0 && value < 253402300800000
    ? new Date(Math.floor(value)).toISOString()
    : undefined
