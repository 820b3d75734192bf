/**
 * Objects of buckets: fetched beside each other, handed over one after the other, and what becomes of each. What may
 * be read later waits; what never can is lost for good, and is said to be.
 */
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { S3Client } from '@aws-sdk/client-s3'
import { messageOf } from '../model/error.ts'
import type { S3Config } from '../model/sources.ts'
import { printable } from '../normalize/text.ts'
import type { Fate, Piece } from '../pipeline/ports.ts'
import { awsClient, isDenied, isNamed } from './aws.ts'
import { readStream, unpackBeside } from './files.ts'
import { emptyPiece } from './piece.ts'
import type { Announced } from './s3-notification.ts'

export type Take = (piece: Piece) => Promise<void>
export type Access = Pick<S3Config, 'region' | 'role' | 'buckets' | 'endpoints'>

/** Objects up to this size are fetched whole; CloudTrail's own are smaller. */
const WHOLE_BYTES = 4 * 1024 * 1024
/** What comes out of them beside the main thread, at most; more is decompressed in its turn. */
const UNPACKED_BYTES = 4 * 1024 * 1024
const PIECE_BYTES = 256 * 1024
/** A fetch that takes longer has stalled: a modest line brings 4 MiB in ten seconds. */
const FETCH_MS = 120_000
const MAX_DETAIL = 300

export const placeOf = ({ bucket, key }: Pick<Announced, 'bucket' | 'key'>) => `s3://${bucket}/${key}`

/** Whether the name alone says that there are no records in it. */
export const skippedByName = (key: string): Fate['reason'] => {
  if (/(^|\/)CloudTrail-Digest\//.test(key)) return 'digest'
  return /(^|\/)AWSLogs\/(o-[a-z0-9]+\/)?\d{12}\/Config\//.test(key) ||
    key.endsWith('ConfigWritabilityCheckFile')
    ? 'configuration'
    : undefined
}

/** Whether the ledger knows what became of it, for good. */
export const isDecided = (fate: Fate | undefined, version: string): boolean =>
  fate !== undefined &&
  fate.outcome !== 'waiting' &&
  (version === '' || fate.version === '' || fate.version === version)

/** https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
const fateOfFailure = (cause: unknown, version: string): Fate => {
  const name = cause instanceof Error ? cause.name : 'failure'
  const fate = (outcome: Fate['outcome'], reason: Fate['reason'], hint = ''): Fate => ({
    outcome,
    reason,
    detail: printable(`${name}: ${messageOf(cause)}${hint}`).slice(0, MAX_DETAIL),
    version,
  })
  if (isNamed(cause, 'NoSuchKey', 'NoSuchVersion', 'NotFound', 'MethodNotAllowed'))
    return fate('failed', 'deleted')
  if (isDenied(cause))
    return fate('waiting', 'denied', ' (without s3:ListBucket a deleted object looks the same)')
  return name.startsWith('KMS.') ? fate('waiting', 'denied') : fate('waiting', 'unreachable')
}

export type Fetched =
  | {
      readonly kind: 'whole'
      readonly bytes: Buffer
      readonly unpacked: Buffer | undefined
      readonly version: string
    }
  | { readonly kind: 'stream'; readonly body: Readable; readonly version: string }
  | { readonly kind: 'not'; readonly fate: Fate }

export interface Buckets {
  /** The client that reads a bucket; none when the configuration does not name it. */
  client(bucket: string): Promise<S3Client | undefined>
  /** Never rejects but on the signal. */
  fetch(object: Announced, signal: AbortSignal): Promise<Fetched>
  close(): void
}

export const openBuckets = ({ region, role, buckets, endpoints }: Access): Buckets => {
  const clients = new Map<string, Promise<S3Client>>()
  const open = async (own: { region?: string | undefined; role?: S3Config['role'] }): Promise<S3Client> => {
    const { S3Client } = await import('@aws-sdk/client-s3')
    const endpoint = endpoints?.s3
    return new S3Client({
      ...(await awsClient({ region: own.region ?? region, role: own.role ?? role, endpoint })),
      followRegionRedirects: true,
      forcePathStyle: endpoint !== undefined,
    })
  }
  const client = async (bucket: string): Promise<S3Client | undefined> => {
    const own = buckets?.find(({ name }) => name === bucket)
    if (own === undefined && buckets !== undefined) return undefined
    const key = own === undefined ? '' : bucket
    const known = clients.get(key) ?? open(own ?? {})
    clients.set(key, known)
    return known
  }
  return {
    client,
    async fetch({ bucket, key, version }, signal) {
      let timer: NodeJS.Timeout | undefined
      try {
        const reader = await client(bucket)
        if (reader === undefined) {
          const detail = `the bucket ${bucket} is not among the buckets of the configuration`
          return { kind: 'not', fate: { outcome: 'waiting', reason: 'other_bucket', detail, version } }
        }
        const { GetObjectCommand } = await import('@aws-sdk/client-s3')
        const stalled = new AbortController()
        timer = setTimeout(() => stalled.abort(), FETCH_MS)
        const abortSignal = AbortSignal.any([signal, stalled.signal])
        const answer = await reader.send(new GetObjectCommand({ Bucket: bucket, Key: key }), { abortSignal })
        if (!(answer.Body instanceof Readable)) throw new Error('an answer without a body')
        const tag = (answer.ETag ?? version).replaceAll('"', '')
        if ((answer.ContentLength ?? Number.POSITIVE_INFINITY) > WHOLE_BYTES)
          return { kind: 'stream', body: answer.Body, version: tag }
        const bytes = await buffer(answer.Body)
        return { kind: 'whole', bytes, unpacked: await unpackBeside(bytes, UNPACKED_BYTES), version: tag }
      } catch (cause) {
        signal.throwIfAborted()
        return { kind: 'not', fate: fateOfFailure(cause, version) }
      } finally {
        clearTimeout(timer)
      }
    },
    close() {
      for (const one of clients.values()) void one.then((client) => client.destroy())
      clients.clear()
    },
  }
}

/** Hands an object over, whatever it is. @returns what became of it */
export const handOver = async (
  place: string,
  fetched: Fetched,
  take: Take,
  signal: AbortSignal,
): Promise<Fate> => {
  let begun = false
  let isLog = true
  const push = async (chunk: Buffer): Promise<undefined> => {
    isLog = begun || /^(\ufeff)?\s*([[{]|$)/.test(chunk.toString('utf8', 0, 64))
    if (!isLog) throw new Error('no JSON')
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      signal.throwIfAborted()
      const bytes = chunk.subarray(at, at + PIECE_BYTES)
      await take(emptyPiece(place, { bytes, ends: false, ...(!begun && { begins: { number: 0, skip: 0 } }) }))
      begun = true
    }
  }
  const pushed = async (): Promise<Fate> => {
    if (fetched.kind === 'not') return fetched.fate
    const { version } = fetched
    const bytes = fetched.kind === 'whole' ? fetched.unpacked : undefined
    const body = fetched.kind === 'whole' ? Readable.from([fetched.bytes]) : fetched.body
    const failure = await (bytes === undefined ? readStream(body, push) : push(bytes)).catch((cause) => {
      if (isLog) throw cause
      return undefined
    })
    signal.throwIfAborted()
    if (!isLog || (failure === undefined && !begun))
      return { outcome: 'skipped', reason: 'not_json', detail: '', version }
    if (failure === undefined) return { outcome: 'read', reason: undefined, detail: '', version }
    const { reason, detail } = failure
    return reason === 'unreadable'
      ? { outcome: 'waiting', reason: 'unreachable', detail, version }
      : { outcome: 'failed', reason, detail, version }
  }
  const fate = await pushed()
  // What was read of an object that waits is not its end: the rest of its last record comes when it is read again.
  await take(emptyPiece(place, { fate, ends: fate.outcome !== 'waiting' || !begun }))
  return fate
}
