/** What a log format is: it recognizes its records and turns each into one outcome. */
import type { KeyEvent } from '../model/event.ts'
import type { Normalized, RejectReason, SkipReason } from '../model/outcome.ts'
import type { Scanner } from './scanner.ts'

/** Where a record came from, and its bytes as the provider wrote them. */
export interface RawRecord {
  readonly feed_id: string
  readonly transport: KeyEvent['ingest']['transport']
  /** Place in the feed, without the record number. */
  readonly place: string
  /** Number of the record in its place, from 1. */
  readonly number: number
  readonly bytes: Buffer
  /** Members in the text; more than in the parsed value means that a name came twice. */
  readonly members: number | undefined
  /** Time named by the envelope, for records without one. */
  readonly envelopeTime: string | undefined
  /** When Keytrail received it, RFC 3339. */
  readonly received: string
  /** SHA-256 of the bytes, when it was made before. */
  readonly sha256?: string
  /** The event id, when it was made before. */
  readonly eventId?: string
  /** A rule on raw records matched: it is kept though it is out of scope. */
  readonly matched?: boolean
}

/** What the operator says about the logs; see the configuration schema. */
export interface NormalizeSettings {
  readonly ingest_path: readonly string[]
  readonly trusted_roles: readonly string[]
  readonly encryption_context: 'keep' | 'hash' | 'drop'
}

/** What the scanned bytes alone tell about a record: out of scope, or kept, with what its order depends on. */
export type Glance =
  | { readonly kind: 'skipped' }
  | { readonly kind: 'kept'; readonly time: string; readonly eventId: string }

export interface Format {
  /** Is the value a record of this format? */
  recognizes(value: unknown): boolean
  /** @param value one that this format recognizes */
  normalize(value: unknown, raw: RawRecord, settings: NormalizeSettings): Normalized
  /** Decides from the scanned bytes what `normalize` would; `undefined` means: parse it and see. */
  glance(bytes: Buffer, scanner: Scanner): Glance | undefined
}

export const skipped = (reason: SkipReason): Normalized => ({ kind: 'skipped', reason })
export const rejected = (reason: RejectReason, detail: string): Normalized => ({
  kind: 'rejected',
  reason,
  detail,
})
