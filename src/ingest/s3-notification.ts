/**
 * What a message of a queue announces: objects of buckets, told by S3 itself, by CloudTrail, or by EventBridge, each
 * directly or through SNS.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
 * https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html
 */
import { isObject, type Json, object, parse, string } from '../normalize/json.ts'

export interface Announced {
  readonly bucket: string
  readonly key: string
  /** Entity tag; empty where the message names none. */
  readonly version: string
}

export type Announcement =
  | { readonly kind: 'objects'; readonly objects: readonly Announced[] }
  /** Of no object that came: a test, or one that was removed. */
  | { readonly kind: 'nothing' }
  /** S3 has no such names. */
  | { readonly kind: 'invalid' }
  /** It may carry log records itself. */
  | { readonly kind: 'other' }

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and object-keys.html */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/
const MAX_KEY_BYTES = 1024
/** S3 announces one object in a message, CloudTrail a handful. */
const MAX_OBJECTS = 1000
/** SNS in EventBridge in SNS is three. */
const MAX_ENVELOPES = 4
/** SNS sends it when a trail is told to use a topic. */
const TRAIL_TEST = 'CloudTrail validation message.'

/** In S3's own messages keys are form-encoded. */
const decoded = (key: string): string => {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '))
  } catch {
    return key
  }
}

const ofS3 = (record: unknown): Announced[] => {
  const { eventName, s3 } = object(record)
  const bucket = string(object(object(s3)['bucket'])['name'])
  const { key, eTag } = object(object(s3)['object'])
  // `s3:ObjectCreated:` in configurations is `ObjectCreated:` in messages
  const created = typeof eventName === 'string' && /^(s3:)?ObjectCreated:/.test(eventName)
  return bucket === undefined || typeof key !== 'string' || !created
    ? []
    : [{ bucket, key: decoded(key), version: string(eTag) ?? '' }]
}

const ofTrail = (value: Json): Announced[] => {
  const bucket = string(value['s3Bucket'])
  const keys = [value['s3ObjectKey']].flat()
  return bucket === undefined
    ? []
    : keys.flatMap((key) => (typeof key === 'string' ? [{ bucket, key, version: '' }] : []))
}

const ofEventBridge = (value: Json): Announced[] => {
  const detail = object(value['detail'])
  const bucket = string(object(detail['bucket'])['name'])
  const { key, etag } = object(detail['object'])
  return bucket === undefined || typeof key !== 'string' || value['detail-type'] !== 'Object Created'
    ? []
    : [{ bucket, key, version: string(etag) ?? '' }]
}

const announced = (objects: readonly Announced[]): Announcement => {
  if (objects.length === 0) return { kind: 'nothing' }
  const valid = objects.every(
    ({ bucket, key }) => BUCKET.test(bucket) && key !== '' && Buffer.byteLength(key) <= MAX_KEY_BYTES,
  )
  return valid && objects.length <= MAX_OBJECTS ? { kind: 'objects', objects } : { kind: 'invalid' }
}

/** @param body of the message */
export const announcementIn = (body: string, depth = 0): Announcement => {
  if (body.trim() === TRAIL_TEST) return { kind: 'nothing' }
  const value = parse(body)
  if (!isObject(value)) return { kind: 'other' }
  if (value['Event'] === 's3:TestEvent') return { kind: 'nothing' }
  if (value['Type'] === 'Notification' && typeof value['Message'] === 'string' && depth < MAX_ENVELOPES)
    return announcementIn(value['Message'], depth + 1)
  if (value['s3Bucket'] !== undefined && value['s3ObjectKey'] !== undefined) return announced(ofTrail(value))
  if (value['source'] === 'aws.s3') return announced(ofEventBridge(value))
  const records = value['Records']
  if (Array.isArray(records) && records.some((one) => object(one)['s3'] !== undefined))
    return announced(records.flatMap(ofS3))
  return { kind: 'other' }
}
