/** Values that are longer than a receiver keeps: what is cut leaves its beginning and its digest. */
import { createHash } from 'node:crypto'

const KEPT_CHARS = 1024

const digested = (text: string, kept: number): string =>
  `${text.slice(0, kept)}… cut: ${Buffer.byteLength(text)} bytes, SHA-256 ${createHash('sha256').update(text).digest('hex')}`

/** The same value with texts longer than `limit` replaced by their beginning and their digest. */
const cut = (value: unknown, limit: number, kept: number): unknown => {
  if (typeof value === 'string') return value.length > limit ? digested(value, kept) : value
  if (Array.isArray(value)) return value.map((one) => cut(one, limit, kept))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, cut(one, limit, kept)]))
}

const bytesOf = (value: unknown) =>
  Buffer.byteLength(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''))

/** A value that fits into `maxBytes`: its longest texts are cut, and shorter ones only when that is not enough. */
export const shortened = (value: unknown, maxBytes: number, sizeOf = bytesOf): unknown => {
  const keptChars = Math.min(KEPT_CHARS, Math.floor(maxBytes / 64))
  let kept = value
  for (let limit = maxBytes / 4; sizeOf(kept) > maxBytes && limit >= maxBytes / 256; limit /= 2)
    kept = cut(value, limit, keptChars)
  return sizeOf(kept) > maxBytes ? digested(JSON.stringify(value), keptChars) : kept
}
