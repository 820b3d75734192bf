/**
 * What can become of a record, and of a file. `received = rejected + skipped + duplicate + kept`, everywhere;
 * each outcome other than kept has a reason from a closed set.
 */
import { z } from 'zod'
import type { KeyEvent } from './event.ts'

export const rejectReasons = {
  unknown_format: 'valid JSON, but not a log record that Keytrail knows',
  broken_json: 'not valid JSON',
  too_large: 'over the size limit for one record',
  too_deep: 'nested deeper than the limit',
  bad_time: 'no readable time, neither in the record nor in its envelope',
  bad_payload: 'the payload inside an envelope could not be decoded',
  foreign_account: 'it is about an account that its source does not speak for',
} as const
export type RejectReason = keyof typeof rejectReasons

export const skipReasons = {
  out_of_scope: 'a valid record that does not concern keys',
  outside_ingest_path: 'log storage that is not listed under ingest_path in the configuration',
  insight: 'a CloudTrail Insight: a statistic, not a use of a key',
} as const
export type SkipReason = keyof typeof skipReasons

/** A value that is known not to be a record: it adds nothing to `received`. */
export const controlReasons = {
  digest: 'a CloudTrail digest file, left for verification',
  control_message: 'a CloudWatch Logs control message',
  notification: 'a notification that names objects, not a log',
  configuration: 'an AWS Config file',
} as const
export type ControlReason = keyof typeof controlReasons

export const fileSkipReasons = { ...controlReasons, not_json: 'no JSON in it' } as const
export type FileSkipReason = keyof typeof fileSkipReasons

export const fileFailReasons = {
  unreadable: 'could not be opened or read',
  truncated: 'the compressed data ends early',
  corrupt: 'the compressed data is damaged',
  bomb: 'expands more than 200 to 1: taken for a decompression bomb',
  no_records: 'no log record in it',
} as const
export type FileFailReason = keyof typeof fileFailReasons

/** Why an object of a bucket was not read, or not whole. */
export const objectReasons = {
  ...fileSkipReasons,
  ...fileFailReasons,
  before_start: 'it was announced before the start, which is set to `end`',
  deleted: 'it was deleted before it could be read',
  denied: 'a permission is missing',
  unreachable: 'the service does not give it out now',
  other_bucket: 'its bucket is not named in the configuration',
} as const
export type ObjectReason = keyof typeof objectReasons

export type Normalized =
  | { readonly kind: 'event'; readonly event: KeyEvent }
  | { readonly kind: 'skipped'; readonly reason: SkipReason }
  | { readonly kind: 'rejected'; readonly reason: RejectReason; readonly detail: string }

export const REJECTION_SCHEMA_VERSION = 'kms.rejection.v1'

export const rejection = z
  .strictObject({
    schema_version: z.literal(REJECTION_SCHEMA_VERSION).describe('name and version of this schema'),
    feed_id: z.string().min(1).max(128).describe('configured source'),
    position: z.string().min(1).max(4096).describe('place in the feed'),
    reason: z.enum(Object.keys(rejectReasons) as [RejectReason, ...RejectReason[]]).describe('why'),
    detail: z.string().max(1024).describe('what was wrong, and where'),
    raw_sha256: z.string().length(64).describe('SHA-256 of the raw bytes'),
    raw: z
      .string()
      .describe('the raw bytes, base64; the first 64 KiB when the record is over the size limit'),
    received: z.iso.datetime({ offset: false }).describe('when Keytrail received it'),
  })
  .describe('A record that could not be read, or that its source may not bring')
export type Rejection = z.infer<typeof rejection>
