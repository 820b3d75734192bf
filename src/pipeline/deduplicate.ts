/**
 * A record that is delivered again is a duplicate; a record that borrows the id of another is not: it is
 * kept under an id of its own, so that a forged record cannot erase a real one.
 *
 * Works on events in judge order. A repeat has the same time as its original, so it stands next to it;
 * only a borrowed id can stand far away, and for that all ids are remembered.
 */

import { sha256, shortId } from '../normalize/text.ts'
import { contentHash } from './content.ts'
import { IdSet } from './id-set.ts'
import type { Kept } from './intake.ts'

export type Verdict =
  | { readonly kind: 'first' }
  | { readonly kind: 'duplicate' }
  /** The id belongs to another record; `content` makes a new one. */
  | { readonly kind: 'conflict'; readonly content: string }

const first: Verdict = { kind: 'first' }
const duplicate: Verdict = { kind: 'duplicate' }

/** The id of a record that borrowed one. */
export const conflictId = (eventId: string, content: string): string => shortId(`${eventId}:${content}`)

/** `floating`: the time is not the record's own, so a repeat may stand at another time. */
export const deduplicator = (): ((kept: Kept, floating: boolean) => Verdict) => {
  const ids = new IdSet()
  const floats = new Set<string>()
  let order = ''
  let original: Buffer = Buffer.alloc(0)
  /** Digests of all records at this place in the order, made when a second one appears. */
  let digests: Set<string> | undefined
  let contents: Set<string> | undefined

  return ({ order: own, raw: { bytes } }, floating) => {
    if (floating) {
      const float = `${own.slice(-32)}:${contentHash(bytes)}`
      if (floats.has(float)) return duplicate
      floats.add(float)
    }
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
