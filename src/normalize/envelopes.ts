/**
 * Opens what records travel in: CloudWatch Logs events and subscription payloads, EventBridge, SNS, SQS,
 * LookupEvents, Kinesis, Event Hubs and Pub/Sub messages, answers of Azure's REST interfaces. What remains when all
 * envelopes are open is a record; some values are known to be no record at all.
 */
import { gunzipSync } from 'node:zlib'
import type { ControlReason } from '../model/outcome.ts'
import { isObject, type Json, object, string } from './json.ts'
import { containers, memberRange } from './scanner.ts'
import { utc, utcFromMillis } from './text.ts'

/** Largest payload inside an envelope, decompressed. */
export const MAX_PAYLOAD_BYTES = 64 * 1024 * 1024

export type Opened =
  /** A record, with its own bytes and the time its envelope names. */
  | {
      readonly kind: 'record'
      readonly value: unknown
      readonly bytes: Buffer
      readonly time: string | undefined
    }
  /** More bytes to split. */
  | { readonly kind: 'payload'; readonly bytes: Buffer; readonly time: string | undefined }
  | { readonly kind: 'control'; readonly reason: ControlReason }
  | { readonly kind: 'unreadable'; readonly detail: string }

const control = (reason: ControlReason): Opened => ({ kind: 'control', reason })
const text = (payload: string, time: string | undefined): Opened => ({
  kind: 'payload',
  bytes: Buffer.from(payload),
  time,
})

/** Base64, and gunzip when the gzip mark is there. */
const decode = (payload: string, time: string | undefined): Opened => {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(payload))
    return { kind: 'unreadable', detail: 'the payload is not base64' }
  const bytes = Buffer.from(payload, 'base64')
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return { kind: 'payload', bytes, time }
  try {
    return { kind: 'payload', bytes: gunzipSync(bytes, { maxOutputLength: MAX_PAYLOAD_BYTES }), time }
  } catch (cause) {
    return {
      kind: 'unreadable',
      detail: `the payload does not decompress: ${cause instanceof Error ? cause.message : 'unknown'}`,
    }
  }
}

/** A CloudWatch Logs event: the record is the text of `message`. */
const logEvent = (value: Json): Opened | undefined => {
  const message = value['message']
  if (typeof message !== 'string' || typeof value['timestamp'] !== 'number') return undefined
  return message.startsWith('CWL CONTROL MESSAGE')
    ? control('control_message')
    : text(message, utcFromMillis(value['timestamp']))
}

const isNotification = (value: Json): boolean =>
  (isObject(value['s3']) && isObject(object(value['s3'])['bucket'])) ||
  (typeof value['s3Bucket'] === 'string' && value['s3ObjectKey'] !== undefined) ||
  value['Event'] === 's3:TestEvent'

/**
 * Opens one envelope. A CloudTrail record is returned as it is.
 * @param value the parsed value
 * @param bytes its bytes
 * @param time time named by the envelope around it
 */
export const open = (value: unknown, bytes: Buffer, time: string | undefined): Opened => {
  const record: Opened = { kind: 'record', value, bytes, time }
  if (!isObject(value)) return record
  if (isNotification(value)) return control('notification')
  if (
    value['eventSource'] !== undefined &&
    value['eventName'] !== undefined &&
    value['body'] === undefined &&
    value['kinesis'] === undefined
  )
    return record
  if (value['messageType'] === 'CONTROL_MESSAGE') return control('control_message')
  if (containers.some((name) => Array.isArray(value[name]))) return { kind: 'payload', bytes, time }
  if (typeof value['digestS3Bucket'] === 'string') return control('digest')
  if (value['configurationItems'] !== undefined && value['fileVersion'] !== undefined)
    return control('configuration')
  if (isObject(value['detail']) && value['detail-type'] !== undefined) {
    const range = memberRange(bytes, 'detail')
    const own = range === undefined ? bytes : bytes.subarray(range[0], range[1])
    return { kind: 'record', value: value['detail'], bytes: own, time: utc(value['time']) }
  }
  const lookup = string(value['CloudTrailEvent'])
  if (lookup !== undefined) return text(lookup, utc(value['EventTime']))
  if (value['Type'] === 'Notification' && typeof value['Message'] === 'string')
    return text(value['Message'], utc(value['Timestamp']))
  const sns = object(value['Sns'])
  if (typeof sns['Message'] === 'string') return text(sns['Message'], utc(sns['Timestamp']))
  if (typeof value['Body'] === 'string' && value['MessageId'] !== undefined) return text(value['Body'], time)
  if (typeof value['body'] === 'string' && value['messageId'] !== undefined) return text(value['body'], time)
  const packed = string(object(value['awslogs'])['data']) ?? string(object(value['kinesis'])['data'])
  if (packed !== undefined) return decode(packed, time)
  const message = object(value['message'])
  if (typeof message['data'] === 'string' && (value['subscription'] ?? value['ackId']) !== undefined)
    return decode(message['data'], utc(message['publishTime']))
  return logEvent(value) ?? record
}
