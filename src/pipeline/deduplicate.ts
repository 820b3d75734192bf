/**
 * A record that is delivered again is a duplicate; a record that borrows the id of another is not: it is
 * kept under an id of its own, so that a forged record cannot erase a real one.
 *
 * Works on events in judge order. A repeat has the same time as its original, so it stands next to it;
 * only a borrowed id can stand far away, and for that all ids are remembered.
 */
import { canonical } from '../normalize/json.ts'
import { sha256, shortId } from '../normalize/text.ts'
import { IdSet } from './id-set.ts'
import type { Kept } from './intake.ts'

/** Hash of the content whatever its layout. */
const contentHash = (raw: Buffer): string => {
  const text = canonical(JSON.parse(raw.toString('utf8')))
  return sha256(text ?? raw)
}

export type Verdict =
  | { readonly kind: 'first' }
  | { readonly kind: 'duplicate' }
  /** The id belongs to another record; `content` makes a new one. */
  | { readonly kind: 'conflict'; readonly content: string }

const first: Verdict = { kind: 'first' }
const duplicate: Verdict = { kind: 'duplicate' }

/** The id of a record that borrowed one. */
export const conflictId = (eventId: string, content: string): string => shortId(`${eventId}:${content}`)

export const deduplicator = (): ((kept: Kept) => Verdict) => {
  const ids = new IdSet()
  let order = ''
  let original: Buffer = Buffer.alloc(0)
  /** Digests of all records at this place in the order, made when a second one appears. */
  let digests: Set<string> | undefined
  let contents: Set<string> | undefined

  return ({ order: own, raw: { bytes } }) => {
    const again = own === order
    if (again && bytes.equals(original)) return duplicate
    if (!again) {
      order = own
      original = bytes
      digests = undefined
      contents = undefined
      if (ids.add(own.slice(-32))) return first
    }
    const digest = sha256(bytes)
    digests ??= new Set()
    if (digests.has(digest)) return duplicate
    digests.add(digest)
    contents ??= new Set(again ? [contentHash(original)] : [])
    const content = contentHash(bytes)
    if (contents.has(content)) return duplicate
    contents.add(content)
    ids.add(conflictId(own.slice(-32), content))
    return { kind: 'conflict', content }
  }
}
