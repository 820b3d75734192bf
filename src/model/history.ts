/** What a check of the history can find, and what it reports. */

/** The kinds of records that history keeps. */
export const kindNames = ['feed', 'alerts', 'signals', 'rejections', 'control'] as const
export type KindName = (typeof kindNames)[number]

/** What can be wrong, with what it means to whoever reads it. */
export const wrongs = {
  missing: 'it was deleted',
  changed: 'its content is not what was sealed',
  signature: 'the signature does not fit: the checkpoint was changed, or another key signed it',
  unknown_key: 'none of the given keys signed it, and no rotation leads from one of them to the key that did',
  expired_key: 'it was signed with a key that had been replaced',
  fork: 'another history was shown before: this one was rewritten, or set back',
  inconsistent: 'the manifest contradicts those before it',
} as const
export type Wrong = keyof typeof wrongs

export interface HistoryFinding {
  readonly kind: Wrong
  /** Path in the history. */
  readonly object: string
  /** First and last record that it may be about. */
  readonly leaf?: number | undefined
  readonly to?: number | undefined
  readonly detail: string
}

export interface Checkpoint {
  readonly origin: string
  /** Number of records. */
  readonly size: number
  /** Hexadecimal. */
  readonly root: string
  /** The newest manifest, so that the signature covers their chain. */
  readonly manifest: { readonly number: number; readonly sha256: string }
}

export interface HistoryReport {
  /** `incomplete`: nothing is wrong, and something is not there: see `gaps`. */
  readonly verdict: 'verified' | 'incomplete' | 'failed'
  readonly records: number
  readonly files: number
  readonly bytes: number
  readonly checkpoint: Checkpoint | undefined
  readonly findings: readonly HistoryFinding[]
  readonly gaps: readonly string[]
}
