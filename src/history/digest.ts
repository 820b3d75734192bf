/**
 * One CloudTrail digest file: what it says, who signed it, and whether the files it names are what it says.
 * After AWS, "CloudTrail digest file structure" and "Custom implementations of CloudTrail log file integrity
 * validation": https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-custom-validation.html
 *
 * All hashes are SHA-256 over uncompressed content. Values in, verdicts out; who reads and when is left to the caller.
 */
import { constants, createPublicKey, hash, type KeyObject, verify } from 'node:crypto'
import { z } from 'zod'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { Finding, IntegrityVerdict, ObjectRead } from '../model/integrity.ts'

const sha256Hex = z
  .string()
  .regex(/^[0-9a-f]{64}$/i)
  .toLowerCase()
const time = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  .refine((text) => !Number.isNaN(Date.parse(text)), 'no time')
const name = z.string().min(1).max(1024)
const sha256Name = z.literal('SHA-256')

const digestFile = z.object({
  digestStartTime: time,
  digestEndTime: time,
  digestS3Bucket: name,
  digestS3Object: name,
  digestPublicKeyFingerprint: z.string().min(1).max(128),
  digestSignatureAlgorithm: z.literal('SHA256withRSA'),
  previousDigestS3Bucket: name.nullish(),
  previousDigestS3Object: name.nullish(),
  previousDigestHashValue: sha256Hex.nullish(),
  previousDigestHashAlgorithm: sha256Name.nullish(),
  previousDigestSignature: z.string().min(1).max(4096).nullish(),
  logFiles: z.array(
    z.object({ s3Bucket: name, s3Object: name, hashValue: sha256Hex, hashAlgorithm: sha256Name }),
  ),
})
export type Digest = z.infer<typeof digestFile>

/** Public keys by fingerprint. */
export type KeyRing = ReadonlyMap<string, KeyObject>

const publicKey = z.object({ Value: z.string().max(8192), Fingerprint: z.string().min(1).max(128) })
/** The command prints `PublicKeyList`; an older sample of the page writes `publicKeyList`. */
const keyList = z.union([
  z.object({ PublicKeyList: z.array(publicKey) }).transform((one) => one.PublicKeyList),
  z.object({ publicKeyList: z.array(publicKey) }).transform((one) => one.publicKeyList),
])

/** AWS documents PKCS #1, and shows a key in SubjectPublicKeyInfo beside it: both are read. */
const readKey = (der: Buffer): KeyObject => {
  try {
    return createPublicKey({ key: der, format: 'der', type: 'pkcs1' })
  } catch {
    return createPublicKey({ key: der, format: 'der', type: 'spki' })
  }
}

/**
 * Reads what `aws cloudtrail list-public-keys` prints, or an answer of ListPublicKeys with base64 values.
 * @param where named in errors
 */
export const publicKeys = (value: unknown, where: string): [fingerprint: string, key: KeyObject][] => {
  const list = keyList.safeParse(value)
  if (!list.success)
    throw new KeytrailError('verify.keys', `${where} is not a list of public keys as ListPublicKeys gives it`)
  return list.data.map(({ Value, Fingerprint }) => {
    try {
      return [Fingerprint, readKey(Buffer.from(Value, 'base64'))]
    } catch (cause) {
      throw new KeytrailError(
        'verify.keys',
        `${where}: key ${Fingerprint} cannot be read: ${messageOf(cause)}`,
      )
    }
  })
}

/** What the name of a digest file tells. */
export interface DigestPlace {
  readonly name: string
  readonly account: string
  readonly region: string
  readonly trail: string
  readonly homeRegion: string
  /** Milliseconds since 1970. */
  readonly end: number
  readonly backfill: boolean
}

const DIGEST_NAME =
  /(?:^|\/)CloudTrail-Digest\/[^/]+\/\d{4}\/\d\d\/\d\d\/(\d{12})_CloudTrail-Digest_([a-z0-9-]+)_(.+)_([a-z0-9-]+)_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z(_backfill)?\.json\.gz$/

/** @returns `undefined` for what is not the name of a digest file */
export const digestPlace = (name: string): DigestPlace | undefined => {
  const [whole, account = '', region = '', trail = '', homeRegion = '', ...rest] =
    DIGEST_NAME.exec(name) ?? []
  const [year, month, day, hour, minute, second, backfill] = rest
  const end = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  if (whole === undefined || Number.isNaN(end)) return undefined
  return { name, account, region, trail, homeRegion, end, backfill: backfill !== undefined }
}

/** What the following digest says of this one. */
export interface Successor {
  readonly name: string
  readonly verdict: IntegrityVerdict
  readonly hash: string
  readonly signature: string
}

export type DigestRead =
  | Exclude<ObjectRead, { kind: 'read' }>
  | {
      readonly kind: 'read'
      readonly content: Buffer
      readonly metadata?: Readonly<Record<string, string>> | undefined
    }

export interface JudgedDigest {
  readonly verdict: IntegrityVerdict
  readonly findings: readonly Finding[]
  /** What it says, also when it failed; absent when it cannot be read. */
  readonly digest?: Digest | undefined
}

/** Why an object that a digest names cannot be compared with it. */
const unread = (
  object: string,
  read: Exclude<ObjectRead, { kind: 'read' }>,
  expected: string,
): JudgedDigest => {
  const finding: Finding =
    read.kind === 'missing'
      ? { kind: 'deleted', object, expected, found: 'nothing' }
      : { kind: read.kind === 'damaged' ? 'changed' : 'unreadable', object, expected, found: read.detail }
  return { verdict: 'failed', findings: [finding] }
}

const parse = (content: Buffer): Digest | string => {
  try {
    const parsed = digestFile.safeParse(JSON.parse(content.toString('utf8')))
    if (parsed.success) return parsed.data
    const [issue] = parsed.error.issues
    return `no digest file: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`
  } catch {
    return 'no JSON'
  }
}

/** The text is `null` where there is no digest before, as AWS's own validator has it. */
const stringToSign = (digest: Digest, sha256: string): string =>
  [
    digest.digestEndTime,
    `${digest.digestS3Bucket}/${digest.digestS3Object}`,
    sha256,
    digest.previousDigestSignature ?? 'null',
  ].join('\n')

/**
 * Judges one digest file.
 * @param after what the digest that names this one as its previous says, when there is one: its hash of this one is
 *   as good as its own verdict, and a signature proves itself wherever it is kept
 */
export const judgeDigest = (
  name: string,
  read: DigestRead,
  after: Successor | undefined,
  keys: KeyRing,
  nameOf: (bucket: string, key: string) => string,
): JudgedDigest => {
  if (read.kind !== 'read')
    return unread(name, read, after === undefined ? 'a digest file' : `SHA-256 ${after.hash}`)
  const sha256 = hash('sha256', read.content)
  const digest = parse(read.content)
  const found = `SHA-256 ${sha256}`
  if (typeof digest === 'string')
    return unread(name, { kind: 'damaged', detail: `${digest}, ${found}` }, 'a digest file')
  const failed = (...findings: Finding[]): JudgedDigest => ({ verdict: 'failed', findings, digest })
  const own = nameOf(digest.digestS3Bucket, digest.digestS3Object)
  if (own !== name)
    return failed({ kind: 'reordered', object: name, expected: name, found: `the digest ${own}` })
  const attested = after?.verdict === 'verified'
  if (attested && after.hash !== sha256)
    return failed({ kind: 'changed', object: name, expected: `SHA-256 ${after.hash}`, found })

  const key = keys.get(digest.digestPublicKeyFingerprint)
  if (key === undefined) {
    const expected = `a public key with fingerprint ${digest.digestPublicKeyFingerprint}`
    const findings: Finding[] = [
      { kind: 'unknown_key', object: name, expected, found: `${keys.size} others` },
    ]
    return { verdict: attested ? 'verified' : 'failed', findings, digest }
  }
  const signed = Buffer.from(stringToSign(digest, sha256), 'utf8')
  const fits = (signature: string): boolean =>
    /^(?:[0-9a-f]{2})+$/i.test(signature) &&
    verify('RSA-SHA256', signed, { key, padding: constants.RSA_PKCS1_PADDING }, Buffer.from(signature, 'hex'))
  const ownSignature = read.metadata === undefined ? undefined : (read.metadata['signature'] ?? '')
  const ownFits = ownSignature !== undefined && fits(ownSignature)
  const afterFits = after !== undefined && fits(after.signature)
  const proven = ownFits || afterFits || attested
  const findings: Finding[] = []
  const signatureFinding = (where: string): Finding => ({
    kind: 'signature',
    object: name,
    expected: `a signature with key ${digest.digestPublicKeyFingerprint} over its time, place, hash and previous signature`,
    found: where,
  })
  if (ownSignature === '') findings.push(signatureFinding('none in the metadata of the object'))
  else if (ownSignature !== undefined && !ownFits)
    findings.push(signatureFinding('another one in the metadata of the object'))
  else if (after?.verdict === 'unverified' && !(afterFits && after.hash === sha256)) {
    // No signature says which of the two was changed, unless this one is proven.
    if (proven)
      findings.push({
        kind: 'link',
        object: after.name,
        expected: `${found} and the signature of ${name}`,
        found: `SHA-256 ${after.hash} and ${afterFits ? 'its' : 'another'} signature`,
      })
    else if (after.hash === sha256)
      findings.push(signatureFinding(`another one in ${after.name}, which nothing proves either`))
    else
      findings.push({
        kind: 'changed',
        object: name,
        expected: `SHA-256 ${after.hash}, says ${after.name}, which nothing proves either`,
        found,
      })
  }
  if (proven) return { verdict: 'verified', findings, digest }
  return { verdict: findings.length > 0 ? 'failed' : 'unverified', findings, digest }
}

/** A log file as a digest names it. */
export interface NamedFile {
  readonly name: string
  readonly sha256: string
}

export type FileRead =
  | Exclude<ObjectRead, { kind: 'read' }>
  | { readonly kind: 'read'; readonly sha256: string }

/** @returns what is wrong with a log file, if anything is */
export const judgeFile = (file: NamedFile, read: FileRead): Finding | undefined => {
  const expected = `SHA-256 ${file.sha256}`
  if (read.kind !== 'read') return unread(file.name, read, expected).findings[0]
  if (read.sha256 === file.sha256) return undefined
  return { kind: 'changed', object: file.name, expected, found: `SHA-256 ${read.sha256}` }
}
