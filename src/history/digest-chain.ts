/**
 * The digests of one account and region, as chains: each trail has one, and one more for backfilled digests. Judged
 * from the newest to the oldest, because each digest holds the hash and the signature of the one before it.
 *
 * The caller reads in the given order and hands over what it read; nothing here reads.
 */
import type { Finding, IntegrityVerdict, TrailReport, VerdictCounts } from '../model/integrity.ts'
import {
  type Digest,
  type DigestPlace,
  type DigestRead,
  digestPlace,
  type FileRead,
  judgeDigest,
  judgeFile,
  type KeyRing,
  type NamedFile,
  type Successor,
} from './digest.ts'

/** Digests are delivered every hour. */
export const HOUR_MS = 3_600_000
/** How late a digest, or a file after the time in its name, may come before its absence says something. */
export const GRACE_MS = 2 * HOUR_MS
/** Hashes remembered for each region, to name what was exchanged with what. */
const MAX_REMEMBERED = 200_000

/** Milliseconds since 1970; the window must be covered when it is given. */
export interface Range {
  readonly from?: number | undefined
  readonly to?: number | undefined
}

/** A file to compare, with the verdict of the digest that names it. */
export interface FileToJudge extends NamedFile {
  readonly trail: TrailReport
  readonly by: IntegrityVerdict
}

type Span = readonly [start: number, end: number]

const iso = (time: number) => new Date(time).toISOString().replace('.000Z', 'Z')
const noCounts = (): VerdictCounts => ({ verified: 0, unverified: 0, failed: 0 })

/** Spans in order, with those joined that touch. */
const joined = (spans: readonly Span[]): Span[] => {
  const out: Span[] = []
  for (const [start, end] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = out.at(-1)
    if (last !== undefined && start <= last[1]) out[out.length - 1] = [last[0], Math.max(last[1], end)]
    else out.push([start, end])
  }
  return out
}

const LOG_NAME =
  /(?:^|\/)\d{12}_[A-Za-z-]+_[a-z0-9-]+_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)Z_[A-Za-z0-9]+\.json\.gz$/

/** The time in the name of a log file; `undefined` when CloudTrail gives no such names. */
export const logTime = (name: string): number | undefined => {
  const [whole, year, month, day, hour, minute] = LOG_NAME.exec(name) ?? []
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:00Z`)
  return whole === undefined || Number.isNaN(time) ? undefined : time
}

/** Chains one after the other, each from its newest digest to its oldest. */
export const chainOf = (place: DigestPlace) =>
  [place.account, place.region, place.trail, place.homeRegion, place.backfill ? 'backfill' : ''].join(' ')
export const digestOrder = (a: DigestPlace, b: DigestPlace): number => {
  const [first, second] = [chainOf(a), chainOf(b)]
  if (first !== second) return first < second ? -1 : 1
  return b.end - a.end || (a.name < b.name ? -1 : 1)
}

interface Chain {
  readonly report: { -readonly [K in keyof TrailReport]: TrailReport[K] }
  /** Of the digests that are verified. */
  readonly proven: Span[]
  /** The digest handed over last; what it says only when it did not fail. */
  last?: { readonly name: string; readonly start: number; readonly digest: Digest | undefined }
}

export interface RegionJudge {
  /** In `digestOrder`. @returns the log files to compare */
  digest(place: DigestPlace, read: DigestRead): FileToJudge[]
  /** @returns its verdict */
  file(file: FileToJudge, read: FileRead): IntegrityVerdict
  /** A file that lies among the logs, after all digests were handed over. */
  beside(name: string): void
  end(): { trails: TrailReport[]; findings: Finding[]; uncovered: number }
}

/** @param places the digests that will be handed over, and others that are known to be there */
export const judgeRegion = (
  places: readonly DigestPlace[],
  keys: KeyRing,
  nameOf: (bucket: string, key: string) => string,
  range: Range,
): RegionJudge => {
  const present = new Set(places.map(({ name }) => name))
  const chains = new Map<string, Chain>()
  const successors = new Map<string, Successor>()
  const findings: Finding[] = []
  const named = new Set<string>()
  const byHash = new Map<string, string>()
  const changed: { finding: Finding; sha256: string }[] = []
  const good: Span[] = []
  const bad: Span[] = []
  let covered: Span[] | undefined
  let uncovered = 0

  const missingTime = (object: string, start: number, end: number, found: string) => {
    findings.push({ kind: 'gap', object, expected: `digests of ${iso(start)} to ${iso(end)}`, found })
    bad.push([start, end])
  }

  const previousOf = ({ previousDigestS3Bucket: bucket, previousDigestS3Object: key }: Digest) =>
    bucket && key ? nameOf(bucket, key) : undefined

  const begin = (place: DigestPlace): Chain => {
    const { account, region, trail, homeRegion, backfill } = place
    const counts = { digests: noCounts(), files: noCounts() }
    const report = {
      account,
      region,
      trail,
      home_region: homeRegion,
      backfill,
      begins: 'start' as const,
      ...counts,
    }
    const chain: Chain = { report, proven: [] }
    chains.set(chainOf(place), chain)
    if (!backfill && range.to !== undefined && place.end < range.to)
      missingTime(place.name, place.end, range.to, `the newest ends ${iso(place.end)}`)
    return chain
  }

  /** How the digest handed over before, which is newer, meets this one; or what lies before the oldest. */
  const meet = (chain: Chain, older: DigestPlace | undefined) => {
    const { last, report } = chain
    if (last === undefined) return
    const { name, digest, start } = last
    const previous = digest === undefined ? undefined : previousOf(digest)
    const missing = previous !== undefined && !present.has(previous)
    if (missing && older === undefined) report.begins = 'middle'
    // A trail may move to another bucket: what it left there is not missing here.
    const elsewhere = missing && digest?.previousDigestS3Bucket !== digest?.digestS3Bucket
    if (missing && !elsewhere) {
      const end = digestPlace(previous)?.end ?? start
      if (older !== undefined || (range.from !== undefined && end > range.from)) {
        const expected = `the digest before ${name}`
        findings.push({ kind: 'deleted', object: previous, expected, found: 'nothing' })
        bad.push([older?.end ?? Math.min(range.from ?? start, start - HOUR_MS), start])
      }
      return
    }
    const from = older?.end ?? range.from
    if (report.backfill || from === undefined || start <= from) return
    // A start of a chain may follow on anything; elsewhere only a missing hour says something.
    const begins = digest !== undefined && previous === undefined
    if (begins || elsewhere || older === undefined || start - from >= HOUR_MS)
      missingTime(name, from, start, `it begins ${iso(start)}`)
  }

  const link = (name: string, digest: Digest, verdict: IntegrityVerdict) => {
    const { previousDigestHashValue: hash, previousDigestSignature: signature } = digest
    const previous = previousOf(digest)
    if (previous === undefined || !hash || !signature) return
    if (verdict === 'verified' || !successors.has(previous))
      successors.set(previous, { name, verdict, hash, signature })
  }

  return {
    digest(place, read) {
      const chain = chains.get(chainOf(place)) ?? begin(place)
      meet(chain, place)
      const after = successors.get(place.name)
      const judged = judgeDigest(place.name, read, after, keys, nameOf)
      let { verdict } = judged
      findings.push(...judged.findings)
      const { digest } = judged
      const neighbor = chain.last?.digest
      const expected = neighbor === undefined ? undefined : previousOf(neighbor)
      if (
        verdict === 'unverified' &&
        after === undefined &&
        expected !== undefined &&
        present.has(expected)
      ) {
        verdict = 'failed'
        const [object, found] = [place.name, 'a digest beside the chain']
        findings.push({ kind: 'added', object, expected: `${expected} as the one before`, found })
      }
      chain.report.digests[verdict]++
      const sound = verdict === 'failed' ? undefined : digest
      const start = sound === undefined ? place.end - HOUR_MS : Date.parse(sound.digestStartTime)
      if (sound === undefined) bad.push([start, place.end])
      else {
        if (verdict === 'verified') chain.proven.push([start, place.end])
        else if (!place.backfill && range.to !== undefined && start < range.to)
          missingTime(place.name, start, place.end, 'its signature is not here, so it proves nothing')
        if (!place.backfill) good.push([start, place.end])
      }
      chain.last = { name: place.name, start, digest: sound }
      if (digest === undefined) return []
      link(place.name, digest, verdict)
      const files: FileToJudge[] = []
      for (const { s3Bucket, s3Object, hashValue } of digest.logFiles) {
        const name = nameOf(s3Bucket, s3Object)
        named.add(name)
        if (verdict === 'failed') chain.report.files.unverified++
        else files.push({ name, sha256: hashValue, trail: chain.report, by: verdict })
      }
      return files
    },

    file(file, read) {
      if (byHash.size < MAX_REMEMBERED) byHash.set(file.sha256, file.name)
      const finding = judgeFile(file, read)
      const verdict = finding === undefined ? file.by : 'failed'
      file.trail.files[verdict]++
      if (finding !== undefined && read.kind === 'read') changed.push({ finding, sha256: read.sha256 })
      else if (finding !== undefined) findings.push(finding)
      return verdict
    },

    beside(name) {
      if (named.has(name)) return
      const time = logTime(name)
      const outside =
        time !== undefined && (time < (range.from ?? time) || time > (range.to ?? Number.POSITIVE_INFINITY))
      if (outside) return
      covered ??= joined(good)
      const until = (time ?? 0) + GRACE_MS
      const due =
        time === undefined ||
        (covered.some(([start, end]) => start <= time && until <= end) &&
          !bad.some(([start, end]) => start < until && time < end))
      if (due)
        findings.push({ kind: 'added', object: name, expected: 'a digest that names it', found: 'none' })
      else uncovered++
    },

    end() {
      for (const chain of chains.values()) {
        meet(chain, undefined)
        const spans = joined(chain.proven)
        const [first, last] = [spans[0], spans.at(-1)]
        if (first !== undefined) chain.report.from = iso(first[0])
        if (last !== undefined) chain.report.to = iso(last[1])
      }
      for (const { finding, sha256 } of changed) {
        const genuine = byHash.get(sha256)
        const found = `the content of ${genuine}`
        findings.push(genuine === undefined ? finding : { ...finding, kind: 'reordered', found })
      }
      return { trails: [...chains.values()].map(({ report }) => report), findings, uncovered }
    },
  }
}
