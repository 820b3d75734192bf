/** Whether logs are what CloudTrail delivered: what a check can find, and what it reports. */

/** Each failure with what it means to whoever reads it. */
export const findingKinds = {
  changed: 'the content is not what CloudTrail delivered',
  deleted: 'CloudTrail delivered it and it is not here: deleted, or not copied',
  added:
    'no digest names it: put there by someone else, by a trail without validation, or a late digest is still to come',
  reordered: 'it is genuine but stands in the place of another: names or contents were exchanged',
  signature: 'the signature does not fit: the digest file or the metadata of its object was changed',
  unknown_key:
    'no public key with this fingerprint was given: the keys of its region and time are needed to check it',
  link: 'this digest does not fit the one before it: one of the two was changed',
  gap: 'nothing proves this time: validation or logging was off, or digests are gone; look for StopLogging, UpdateTrail and DeleteTrail',
  unreadable: 'it could not be read, so nothing is known of it',
} as const
export type FindingKind = keyof typeof findingKinds

export interface Finding {
  readonly kind: FindingKind
  /** The object it is about: bucket and key, or the place in a local copy. */
  readonly object: string
  readonly expected: string
  readonly found: string
}

/**
 * `verified`: proven by a signature. `unverified`: nothing speaks against it, and the signature that would prove it is
 * not there. `failed`: there is a finding. As `ingest.integrity` of an event.
 */
export type IntegrityVerdict = 'verified' | 'unverified' | 'failed'
export type VerdictCounts = Record<IntegrityVerdict, number>

export interface ObjectVerdict {
  readonly object: string
  readonly verdict: IntegrityVerdict
}

/** One chain of digests. */
export interface TrailReport {
  readonly account: string
  readonly region: string
  readonly trail: string
  readonly home_region: string
  /** Digests for files that came too late for the hour they belong to; they form a chain of their own. */
  readonly backfill: boolean
  /** What the verified digests cover, RFC 3339; absent when there is none. */
  readonly from?: string | undefined
  readonly to?: string | undefined
  /** `middle`: the oldest digest here names an older one that is not here. */
  readonly begins: 'start' | 'middle'
  readonly digests: VerdictCounts
  readonly files: VerdictCounts
}

export interface IntegrityReport {
  readonly verdict: 'verified' | 'failed' | 'unproven'
  readonly trails: readonly TrailReport[]
  readonly findings: readonly Finding[]
  /** Log files of times that no digest here covers, such as the newest. */
  readonly uncovered: number
}

/** What became of reading an object. */
export type ObjectRead =
  | { readonly kind: 'missing' }
  /** Damaged is about its content, unreadable about the way to it. */
  | { readonly kind: 'damaged' | 'unreadable'; readonly detail: string }
  | {
      readonly kind: 'read'
      /** User metadata of the object; absent when it is not known here, as in a copy on disk. */
      readonly metadata?: Readonly<Record<string, string>> | undefined
    }

/** A place with digests and logs: a bucket, or a copy of one. Objects have a name that is unique there. */
export interface TrailObjects {
  /** The name here of what a digest calls by bucket and key. */
  nameOf(bucket: string, key: string): string
  /** Names of digest files. */
  digests(): AsyncIterable<string>
  /** Names of all files in the folder of logs that belongs to the account and region of a digest. */
  logs(digest: string): AsyncIterable<string>
  /** Pushes the decompressed content. */
  read(name: string, push: (chunk: Buffer) => void): Promise<ObjectRead>
}
