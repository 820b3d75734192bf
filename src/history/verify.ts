/** Reads digests and logs from where they are, and has them judged: whole trails, or one digest as it arrives. */
import { createHash } from 'node:crypto'
import type {
  Finding,
  IntegrityReport,
  IntegrityVerdict,
  ObjectVerdict,
  TrailObjects,
  TrailReport,
} from '../model/integrity.ts'
import {
  type DigestPlace,
  type DigestRead,
  digestPlace,
  type FileRead,
  judgeDigest,
  judgeFile,
  type KeyRing,
} from './digest.ts'
import { digestOrder, type FileToJudge, GRACE_MS, judgeRegion, type Range } from './digest-chain.ts'

/** Objects that are read by name alone. */
type NamedObjects = Pick<TrailObjects, 'nameOf' | 'read'>

/** A digest names some hundred bytes for each file of one hour; this is room for 100,000 files. */
const MAX_DIGEST_BYTES = 64 * 1024 * 1024
/** Objects read at once: a bucket answers in tens of milliseconds. */
const READERS = 16

const readDigest = async (objects: NamedObjects, name: string): Promise<DigestRead> => {
  const chunks: Buffer[] = []
  let bytes = 0
  const read = await objects.read(name, (chunk) => {
    bytes += chunk.length
    if (bytes <= MAX_DIGEST_BYTES) chunks.push(Buffer.from(chunk))
  })
  if (read.kind !== 'read') return read
  if (bytes > MAX_DIGEST_BYTES) return { kind: 'damaged', detail: `longer than ${MAX_DIGEST_BYTES} bytes` }
  return { ...read, content: Buffer.concat(chunks) }
}

const readHash = async (objects: NamedObjects, name: string): Promise<FileRead> => {
  const sha256 = createHash('sha256')
  const read = await objects.read(name, (chunk) => {
    sha256.update(chunk)
  })
  return read.kind === 'read' ? { kind: 'read', sha256: sha256.digest('hex') } : read
}

/** Calls `work` for each, some at a time. */
const each = async <T>(items: Iterable<T>, work: (item: T) => Promise<void>) => {
  const queue = items[Symbol.iterator]()
  const reader = async () => {
    for (let next = queue.next(); !next.done; next = queue.next()) await work(next.value)
  }
  await Promise.all(Array.from({ length: READERS }, reader))
}

/** All places of digests, by account and region. */
export const findDigests = async (objects: TrailObjects): Promise<Map<string, DigestPlace[]>> => {
  const regions = new Map<string, DigestPlace[]>()
  for await (const name of objects.digests()) {
    const place = digestPlace(name)
    if (place === undefined) continue
    const region = `${place.account} ${place.region}`
    const known = regions.get(region)
    if (known === undefined) regions.set(region, [place])
    else known.push(place)
  }
  return new Map([...regions].sort(([a], [b]) => (a < b ? -1 : 1)))
}

export interface VerifyProgress {
  readonly digests: number
  readonly files: number
}

/**
 * Verifies digests and the logs they name.
 * @param keysFor public keys for the digests of a region, of which the oldest ends then (milliseconds)
 * @param range digests that end in it are judged, with those that come up to two hours later
 */
export const verifyTrails = async (
  objects: TrailObjects,
  regions: ReadonlyMap<string, readonly DigestPlace[]>,
  keysFor: (region: string, oldest: number) => Promise<KeyRing>,
  range: Range,
  signal: AbortSignal,
  onProgress: (progress: VerifyProgress) => void,
  onFile: (name: string, verdict: IntegrityVerdict) => void = () => {},
): Promise<IntegrityReport> => {
  const trails: TrailReport[] = []
  const findings: Finding[] = []
  let [uncovered, digests, files] = [0, 0, 0]
  const last = (range.to ?? Number.POSITIVE_INFINITY) + GRACE_MS
  for (const places of regions.values()) {
    const wanted = places.filter(({ end }) => end > (range.from ?? 0) && end <= last).toSorted(digestOrder)
    const [first] = wanted
    if (first === undefined) continue
    const keys = await keysFor(first.region, Math.min(...wanted.map(({ end }) => end)))
    const judge = judgeRegion(places, keys, objects.nameOf, range)
    for (const place of wanted) {
      signal.throwIfAborted()
      const named = judge.digest(place, await readDigest(objects, place.name))
      digests++
      await each(named, async (file: FileToJudge) => {
        signal.throwIfAborted()
        onFile(file.name, judge.file(file, await readHash(objects, file.name)))
        onProgress({ digests, files: ++files })
      })
      onProgress({ digests, files })
    }
    for await (const name of objects.logs(first.name)) judge.beside(name)
    const region = judge.end()
    trails.push(...region.trails)
    findings.push(...region.findings)
    uncovered += region.uncovered
  }
  findings.sort((a, b) => (a.object < b.object ? -1 : a.object > b.object ? 1 : 0))
  const proven = trails.some((trail) => trail.digests.verified > 0)
  return {
    verdict: findings.length > 0 ? 'failed' : proven ? 'verified' : 'unproven',
    trails,
    findings,
    uncovered,
  }
}

export interface VerifiedDigest {
  /** Of the digest itself and of each file it names. */
  readonly objects: readonly ObjectVerdict[]
  readonly findings: readonly Finding[]
}

/**
 * Verifies one digest by the signature in the metadata of its object, the files it names, and that the digest before
 * is still the one it names. What needs the following digest, such as a deleted newest one, is for who waits for it.
 */
export const verifyDigest = async (
  objects: NamedObjects,
  name: string,
  keys: KeyRing,
): Promise<VerifiedDigest> => {
  const judged = judgeDigest(name, await readDigest(objects, name), undefined, keys, objects.nameOf)
  const findings = [...judged.findings]
  const verdicts: ObjectVerdict[] = [{ object: name, verdict: judged.verdict }]
  const { digest, verdict } = judged
  if (digest === undefined || verdict === 'failed') return { objects: verdicts, findings }
  const {
    previousDigestS3Bucket: bucket,
    previousDigestS3Object: key,
    previousDigestHashValue: sha256,
  } = digest
  // A trail may move to another bucket: what it left there is not for who reads this one.
  if (bucket === digest.digestS3Bucket && key && sha256) {
    const previous = { name: objects.nameOf(bucket, key), sha256 }
    const finding = judgeFile(previous, await readHash(objects, previous.name))
    if (finding !== undefined) {
      findings.push(finding)
      verdicts.push({ object: previous.name, verdict: 'failed' })
    }
  }
  await each(digest.logFiles, async ({ s3Bucket, s3Object, hashValue }) => {
    const file = { name: objects.nameOf(s3Bucket, s3Object), sha256: hashValue }
    const finding = judgeFile(file, await readHash(objects, file.name))
    if (finding !== undefined) findings.push(finding)
    verdicts.push({ object: file.name, verdict: finding === undefined ? verdict : 'failed' })
  })
  return { objects: verdicts, findings }
}
