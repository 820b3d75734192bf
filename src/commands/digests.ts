/**
 * CloudTrail digests that a source of `run` meets. Each is verified some time after it came, beside the reading: what
 * does not fit becomes an alert, what cannot be looked at now waits. That digests stay away is looked for every hour.
 */
import { type DigestPlace, digestPlace, type KeyRing, publicKeys } from '../history/digest.ts'
import { chainOf, GRACE_MS, HOUR_MS } from '../history/digest-chain.ts'
import { type VerifiedDigest, verifyDigest } from '../history/verify.ts'
import { openBuckets } from '../ingest/s3-objects.ts'
import { listPublicKeys, namedObjects } from '../ingest/trail-bucket.ts'
import type { Config } from '../model/config.ts'
import { messageOf } from '../model/error.ts'
import type { Finding, ObjectVerdict } from '../model/integrity.ts'
import type { S3Config } from '../model/sources.ts'
import { canonical } from '../normalize/json.ts'
import { type IntegrityCheck, MAX_FINDINGS } from '../pipeline/integrity.ts'
import { afterDigest, type Journal, type KnownDigest } from '../pipeline/ports.ts'
import { rest } from '../pipeline/waiting.ts'
import { seldom } from '../telemetry/seldom.ts'
import { keysIn } from './verify.ts'

/** The files of an hour and their digest come in any order. */
const SETTLE_MS = 20 * 60_000
/** Between two attempts at a digest that cannot be looked at. */
const AGAIN_MS = 10 * 60_000
/** What cannot be read for so long is told: nothing is known of it. */
const UNREADABLE_MS = 24 * HOUR_MS
/** How far back is looked, but for the first time, when it is as far as the ledger remembers. */
const RECENT_MS = 48 * HOUR_MS
/** Between two looks. */
const LOOK_MS = 5 * 60_000

interface DigestWatch {
  readonly feed: string
  readonly source: S3Config
  readonly journal: Pick<Journal, 'digests'>
  /** Nothing that was announced is unread. */
  isCaughtUp(): boolean
  onNotice(text: string): void
  /** Ends what is under way. */
  readonly signal: AbortSignal
}

/** What one commit will hold. */
export interface Verified {
  readonly objects: readonly ObjectVerdict[]
  readonly check: IntegrityCheck | undefined
}

type Watch = ReturnType<typeof digestWatch>

const digestWatch = ({ feed, source, journal, isCaughtUp, onNotice, signal }: DigestWatch) => {
  const { role, endpoints, public_keys } = source
  const buckets = openBuckets(source)
  const objects = namedObjects(buckets.client, signal)
  const given = public_keys && keysIn(public_keys)
  const listed = new Map<string, KeyRing>()
  const waiting = new Map<string, number>()
  const tell = seldom(HOUR_MS)
  let hourLooked: number | undefined

  const list = async (region: string, end: number, now: number) => {
    const access = { region, role, endpoint: endpoints?.cloudtrail }
    const answer = await listPublicKeys(access, end - GRACE_MS, now, signal)
    const keys = new Map(publicKeys(answer, `ListPublicKeys in ${region}`))
    listed.set(region, keys)
    return keys
  }
  /** Keys change now and then: one that is not known is asked for once more. */
  const verify = async ({ name, region, end }: DigestPlace, now: number): Promise<VerifiedDigest> => {
    const known = given ?? listed.get(region)
    const found = known && (await verifyDigest(objects, name, known))
    const isKnown = !found?.findings.some(({ kind }) => kind === 'unknown_key')
    if (found !== undefined && (isKnown || given !== undefined)) return found
    return verifyDigest(objects, name, await list(region, end, now))
  }

  const checkOf = (
    { account, end }: DigestPlace,
    about: string,
    to: number,
    all: readonly Finding[],
  ): IntegrityCheck | undefined => {
    const findings = all.toSorted((a, b) => (a.object < b.object ? -1 : 1)).slice(0, MAX_FINDINGS)
    const what = { feed, account, about, from: end - HOUR_MS, to, findings, total: all.length }
    return all.length === 0 ? undefined : what
  }

  /** @returns why it waits, when it does */
  const judge = async (place: DigestPlace, at: number, now: number): Promise<Verified | string> => {
    try {
      const { objects: judged, findings } = await verify(place, now)
      const [unread] = findings
      if (unread && now - at < UNREADABLE_MS && findings.every(({ kind }) => kind === 'unreadable'))
        return `${unread.object}: ${unread.found}`
      return { objects: judged, check: checkOf(place, place.name, place.end, findings) }
    } catch (cause) {
      return messageOf(cause)
    }
  }

  /** The newest digests of chains that do not go on. */
  const lastOnes = (known: readonly KnownDigest[], now: number): Verified | undefined => {
    const newest = new Map<string, { readonly place: DigestPlace; readonly isLast: boolean }>()
    for (const { place: name, isLast } of known) {
      const place = digestPlace(name)
      if (place === undefined || place.backfill) continue
      const before = newest.get(chainOf(place))
      if (before === undefined || before.place.end < place.end) newest.set(chainOf(place), { place, isLast })
    }
    const last = [...newest.values()].filter(
      ({ place, isLast }) => !isLast && place.end + HOUR_MS + GRACE_MS < now,
    )
    const [first] = last
    if (first === undefined) return undefined
    const gap = { kind: 'gap', expected: 'a digest after it, an hour later', found: 'none came' } as const
    const findings = last.map(({ place }): Finding => ({ ...gap, object: place.name }))
    return {
      objects: findings.map(({ object }) => ({ object: afterDigest(object), verdict: 'failed' })),
      check: checkOf(first.place, `digests ${Math.floor(now / HOUR_MS)}`, now, findings),
    }
  }

  return {
    /** What can be said now, one commit after the other. */
    async *due(now: number): AsyncGenerator<Verified> {
      const known = await journal.digests(feed, hourLooked === undefined ? 0 : now - RECENT_MS)
      for (const { place: name, at, verdict } of known) {
        if (signal.aborted) return
        const place = digestPlace(name)
        const from = Math.max(at + SETTLE_MS, waiting.get(name) ?? 0)
        if (verdict !== undefined || from > now || place === undefined) continue
        const verified = await judge(place, at, now)
        if (signal.aborted) return
        waiting.delete(name)
        if (typeof verified !== 'string') yield verified
        else {
          waiting.set(name, now + AGAIN_MS)
          tell(onNotice, `${name} is not verified, and tried again: ${verified}`, verified)
        }
      }
      const hour = Math.floor(now / HOUR_MS)
      if (hour === hourLooked || !isCaughtUp()) return
      hourLooked = hour
      const verified = lastOnes(known, now)
      if (verified !== undefined) yield verified
    },
    close: () => buckets.close(),
  }
}

export interface DigestsOptions extends Pick<DigestWatch, 'journal' | 'signal'> {
  isCaughtUp(feed: string): boolean
  onNotice(feed: string, text: string): void
}

/** The digests of all S3 sources that are read. */
export const digestWatches = ({ journal, signal, isCaughtUp, onNotice }: DigestsOptions) => {
  const watches = new Map<string, { readonly text: string | undefined; readonly watch: Watch }>()
  const due = async function* (now: number): AsyncGenerator<Verified> {
    for (const { watch } of [...watches.values()]) yield* watch.due(now)
  }
  return {
    /** From now on those of these sources: one that is unchanged goes on. */
    follow(sources: Config['sources']) {
      for (const [feed, { text, watch }] of watches)
        if (canonical(sources[feed]) !== text) {
          watch.close()
          watches.delete(feed)
        }
      for (const [feed, source] of Object.entries(sources))
        if (source.type === 's3' && !watches.has(feed))
          watches.set(feed, {
            text: canonical(source),
            watch: digestWatch({
              ...{ feed, source, journal, signal },
              isCaughtUp: () => isCaughtUp(feed),
              onNotice: (text) => onNotice(feed, text),
            }),
          })
    },
    due,
    /** Looks again and again until the signal comes. */
    async watch(onVerified: (verified: Verified) => Promise<void>): Promise<void> {
      while (!signal.aborted) {
        for await (const verified of due(Date.now())) await onVerified(verified)
        await rest(LOOK_MS, signal)
      }
    },
    close() {
      for (const { watch } of watches.values()) watch.close()
    },
  }
}
