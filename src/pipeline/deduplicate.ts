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
import type { Ordered } from './order.ts'

/** Hash of the content whatever its layout. */
const contentHash = (raw: Buffer): string => {
  const text = canonical(JSON.parse(raw.toString('utf8')))
  return sha256(text ?? raw)
}

export const deduplicator = (): ((kept: Ordered) => 'kept' | 'duplicate') => {
  const ids = new IdSet()
  let order = ''
  let digests = new Set<string>()
  let contents: Set<string> | undefined
  let first: Buffer | undefined

  return (kept) => {
    const { event, raw } = kept
    const digest = event.ingest.raw_sha256
    const again = kept.order === order
    if (again && digests.has(digest)) return 'duplicate'
    if (!again) {
      order = kept.order
      digests = new Set([digest])
      contents = undefined
      first = raw
      if (ids.add(event.event_id)) return 'kept'
    }
    const content = contentHash(raw)
    contents ??= new Set(again && first !== undefined ? [contentHash(first)] : [])
    digests.add(digest)
    if (contents.has(content)) return 'duplicate'
    contents.add(content)
    const own = shortId(`${event.event_id}:${content}`)
    event.event_id = own
    event.action_id = own
    event.parse_warnings = [...(event.parse_warnings ?? []), 'id_conflict']
    ids.add(own)
    return 'kept'
  }
}
