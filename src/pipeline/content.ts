/** The content of a record whatever its layout: order of members and white space do not count. */
import { isUtf8 } from 'node:buffer'
import { canonical } from '../normalize/json.ts'
import { sha256 } from '../normalize/text.ts'

const known = new WeakMap<Buffer, string>()

/** Digits that a number keeps; of more, the text counts, lest two records seem one. */
const EXACT_DIGITS = 15

const exact = (_name: string, value: unknown, context: { readonly source?: string }): unknown => {
  if (typeof value !== 'number' || context.source === undefined) return value
  const digits = context.source.replace(/[eE].*$/, '').replace(/\D/g, '').length
  return digits > EXACT_DIGITS || !Number.isFinite(value) ? `number ${context.source}` : value
}

/** JSON.parse hands the source text of a number to its reviver, which the types do not know yet. */
const parseExact = JSON.parse as (text: string, reviver: typeof exact) => unknown

const contentOf = (bytes: Buffer): string | undefined => {
  if (!isUtf8(bytes)) return undefined
  try {
    return canonical(parseExact(bytes.toString('utf8'), exact))
  } catch {
    return undefined // no JSON: then its bytes are its content
  }
}

/** SHA-256 over the canonical JSON of the record; over the bytes when they are no JSON. Made once per record. */
export const contentHash = (bytes: Buffer): string => {
  const before = known.get(bytes)
  if (before !== undefined) return before
  const made = sha256(contentOf(bytes) ?? bytes)
  known.set(bytes, made)
  return made
}
