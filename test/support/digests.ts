/**
 * Buckets as CloudTrail fills them: log files, an hourly digest, signatures in the metadata of objects. Written from
 * AWS's pages "CloudTrail digest file structure" and "Custom implementations of CloudTrail log file integrity
 * validation", and from nothing in src/.
 */
import { createHash, createSign, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { record } from './cloudtrail.ts'

export interface SigningKey {
  readonly fingerprint: string
  readonly secret: KeyObject
  /** As `aws cloudtrail list-public-keys` prints it. */
  readonly listed: Readonly<Record<string, string>>
}

/** @param form AWS documents PKCS #1, and shows SubjectPublicKeyInfo in a sample */
export const signingKey = (form: 'pkcs1' | 'spki' = 'pkcs1'): SigningKey => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const der = publicKey.export({ type: form, format: 'der' })
  const fingerprint = createHash('md5').update(der).digest('hex')
  const listed = {
    Value: der.toString('base64'),
    ValidityStartTime: '2026-02-20T00:00:00+00:00',
    ValidityEndTime: '2026-03-20T00:00:00+00:00',
    Fingerprint: fingerprint,
  }
  return { fingerprint, secret: privateKey, listed }
}

export const listedKeys = (...keys: readonly SigningKey[]) =>
  JSON.stringify({ PublicKeyList: keys.map(({ listed }) => listed) }, null, 2)

export interface S3Object {
  body: Buffer
  metadata: Record<string, string>
}
export type Bucket = Map<string, S3Object>

export interface TrailOptions {
  readonly account?: string
  readonly region?: string
  readonly home?: string
  readonly trail?: string
  readonly bucket?: string
  /** Before AWSLogs, with its slash. */
  readonly prefix?: string
  readonly organization?: string
  /** Its digests are backfilled ones, which form a chain of their own. */
  readonly backfill?: boolean
  readonly signer: SigningKey
}

export const HOUR_MS = 3_600_000
/** Digests end at this minute of the hour. */
export const START = Date.parse('2026-03-02T00:01:31Z')
/** Log files of hour n: none in hour 5. */
const filesOf = (hour: number) => (hour === 5 ? 0 : 1 + (hour % 3))

const extended = (time: number) => new Date(time).toISOString().replace(/\.\d+/, '')
const compact = (time: number) => extended(time).replace(/[-:]/g, '')
const folder = (time: number) => extended(time).slice(0, 10).replaceAll('-', '/')
const hex256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')

/** One trail in one region, which delivers into a bucket. */
export class Trail {
  /** Keys in the order of delivery. */
  readonly digests: string[] = []
  readonly logs: string[] = []
  signer: SigningKey
  readonly #objects: Bucket
  #place: Required<TrailOptions>
  #previous:
    | { readonly bucket: string; readonly key: string; readonly text: string; readonly signature: string }
    | undefined

  constructor(objects: Bucket, options: TrailOptions) {
    this.#objects = objects
    this.signer = options.signer
    this.#place = {
      account: '123456789012',
      region: 'eu-central-1',
      home: options.region ?? 'eu-central-1',
      trail: 'main_trail',
      bucket: 'example-trail',
      prefix: '',
      organization: '',
      backfill: false,
      ...options,
    }
  }

  #key(service: string, time: number, rest: string): string {
    const { prefix, organization, account, region } = this.#place
    const owner = organization === '' ? account : `${organization}/${account}`
    return `${prefix}AWSLogs/${owner}/${service}/${region}/${folder(time)}/${account}_${service}_${region}_${rest}`
  }

  /** Puts a log file into the bucket. @returns its key */
  log(time: number, mark: string): string {
    const key = this.#key('CloudTrail', time, `${compact(time).slice(0, 13)}Z_${mark}.json.gz`)
    const eventTime = extended(time - 240_000)
    const body = gzipSync(JSON.stringify({ Records: [record({ eventTime }), record({ eventTime })] }))
    this.#objects.set(key, { body, metadata: {} })
    this.logs.push(key)
    return key
  }

  /** The next digest starts a chain, as after validation was off. */
  restart(): void {
    this.#previous = undefined
  }

  /** Delivers into another bucket from now on; the chain goes on. */
  move(bucket: string): void {
    this.#place = { ...this.#place, bucket }
  }

  /** Delivers a digest of log files. @returns its key */
  digest(start: number, end: number, files: readonly string[]): string {
    const { account, trail, home, bucket, backfill } = this.#place
    const name = `${trail}_${home}_${compact(end)}${backfill ? '_backfill' : ''}.json.gz`
    const key = this.#key('CloudTrail-Digest', end, name)
    const previous = this.#previous
    const some = files.length > 0
    const text = JSON.stringify({
      awsAccountId: account,
      digestStartTime: extended(start),
      digestEndTime: extended(end),
      digestS3Bucket: bucket,
      digestS3Object: key,
      digestPublicKeyFingerprint: this.signer.fingerprint,
      digestSignatureAlgorithm: 'SHA256withRSA',
      newestEventTime: some ? extended(end) : null,
      oldestEventTime: some ? extended(start) : null,
      previousDigestS3Bucket: previous?.bucket ?? null,
      previousDigestS3Object: previous?.key ?? null,
      previousDigestHashValue: previous === undefined ? null : hex256(previous.text),
      previousDigestHashAlgorithm: previous === undefined ? null : 'SHA-256',
      previousDigestSignature: previous?.signature ?? null,
      logFiles: files.map((file) => ({
        s3Bucket: bucket,
        s3Object: file,
        hashValue: hex256(gunzipSync(this.#objects.get(file)?.body ?? '')),
        hashAlgorithm: 'SHA-256',
        newestEventTime: extended(end),
        oldestEventTime: extended(start),
      })),
    })
    const toSign = [extended(end), `${bucket}/${key}`, hex256(text), previous?.signature ?? 'null'].join('\n')
    const signature = createSign('RSA-SHA256').update(toSign).sign(this.signer.secret, 'hex')
    const metadata: Record<string, string> = { signature, 'signature-algorithm': 'SHA256withRSA' }
    if (backfill) metadata['backfill-generation-timestamp'] = extended(end)
    this.#objects.set(key, { body: gzipSync(text), metadata })
    this.#previous = { bucket, key, text, signature }
    this.digests.push(key)
    return key
  }

  /** Delivers whole hours, counted from START. */
  hours(count = 24, first = 0): this {
    for (let hour = first; hour < first + count; hour++) {
      const start = START + hour * HOUR_MS
      const mark = `${this.#place.trail.replaceAll('_', '')}${hour}`
      const files = Array.from({ length: filesOf(hour) }, (_, n) =>
        this.log(start + (5 + 10 * n) * 60_000, `${mark}x${n}`),
      )
      this.digest(start, start + HOUR_MS, files)
    }
    return this
  }
}

/** Writes a bucket to disk, as `aws s3 sync` does. @param signed which signatures are kept beside their objects */
export const copyTo = (root: string, objects: Bucket, signed: (key: string) => boolean): void => {
  for (const [key, { body, metadata }] of objects) {
    const path = join(root, key)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, body)
    if (metadata['signature'] !== undefined && signed(key))
      writeFileSync(
        `${path}.metadata.json`,
        JSON.stringify({ ContentLength: body.length, Metadata: metadata }),
      )
  }
}
