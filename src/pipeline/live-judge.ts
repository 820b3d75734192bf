/**
 * The judge of `run`: a batch of records in journal order becomes one commit. Repeats are known by the ids of the
 * journal; what remains becomes events, and they are judged.
 */
import type { Detector } from '../detect/definition.ts'
import type { Spent } from '../detect/engine.ts'
import type { KeyEvent } from '../model/event.ts'
import type { ObjectVerdict } from '../model/integrity.ts'
import { REJECTION_SCHEMA_VERSION, type Rejection, type RejectReason } from '../model/outcome.ts'
import { parse } from '../normalize/json.ts'
import { printable, sha256 } from '../normalize/text.ts'
import { contentHash } from './content.ts'
import { countUp } from './count.ts'
import { conflictId } from './deduplicate.ts'
import type { Kept } from './intake.ts'
import type { IntegrityCheck } from './integrity.ts'
import { type Entry, type Heartbeat, type Judging, judging } from './judging.ts'
import type { RecordNormalizer } from './normalize-record.ts'
import { endOf } from './order.ts'
import type { Commit, Control, ItemBytes, Journal, KnownId, LedgerEntry, Piece, Position } from './ports.ts'
import { bytesOf } from './slab.ts'

/** What intake brings: everything that one commit will hold. */
export interface Batch {
  readonly kept: Kept[]
  readonly rejected: Rejection[]
  readonly ledger: LedgerEntry[]
  /** `outcome|feed` or `outcome|feed|reason`. */
  readonly counters: Map<string, number>
  /** By feed, then place. */
  readonly positions: Map<string, Map<string, Position>>
  /** To be called when the commit is durable, those of one feed in order. */
  readonly settles: { readonly feed: string; readonly settle: NonNullable<Piece['settle']> }[]
  bytes: number
  pieces: number
}

export const emptyBatch = (): Batch => ({
  kept: [],
  rejected: [],
  ledger: [],
  counters: new Map(),
  positions: new Map(),
  settles: [],
  bytes: 0,
  pieces: 0,
})

/** A commit that changes nothing. */
export const emptyCommit: Omit<Commit, 'seq' | 'at'> = {
  items: [],
  span: [0, 0],
  control: [],
  positions: new Map(),
  alerts: [],
  signals: [],
  rejected: [],
  ledger: [],
  ids: [],
  forget: undefined,
  values: [],
  lists: [],
  unmerged: undefined,
  merged: false,
  counters: new Map(),
}

/** Commits that may be made between an early question and its use: batches that wait, and one that is judged. */
const RECENT = 6
/** Events that are judged together: what they need is fetched at once. */
export const CHUNK = 250
const MAX_REJECTED_BYTES = 64 * 1024

export const rejectionOf = (
  feed_id: string,
  position: string,
  reason: RejectReason,
  detail: string,
  raw: Buffer,
  received: string,
): Rejection => ({
  schema_version: REJECTION_SCHEMA_VERSION,
  feed_id,
  position,
  reason,
  detail: printable(detail).slice(0, 1024),
  raw_sha256: sha256(raw),
  raw: raw.toString('base64', 0, MAX_REJECTED_BYTES),
  received,
})

export interface LiveJudge {
  /** Asks the journal early which ids of a batch it knows: the answer is there when the batch is judged. */
  prepare(batch: Batch): void
  judge(batch: Batch, receivedAt: number): Promise<Commit>
  /** Time passes: windows close, verdicts become due. */
  tick(beat: Heartbeat): Promise<Commit>
  /** A commit that holds acts; another set of detectors holds from there on. */
  record(at: number, control: readonly Control[], detectors?: readonly Detector[]): Commit
  /** Verdicts on objects, and what was found wrong. */
  verified(at: number, integrity: readonly ObjectVerdict[], check: IntegrityCheck | undefined): Commit
  readonly judging: Judging
}

/** What identifies a record: its id, and whether that id belongs to another one. */
interface Identity {
  readonly id: string
  readonly digest: string
  readonly borrowed: boolean
}

/** Records of a batch, by id. */
type Seen = Map<string, { readonly digest: string; readonly bytes: Buffer }>

/** An event on its way through the judge. */
interface Found extends Entry {
  readonly bytes: Buffer
  readonly identity: Identity
}

export const liveJudge = (
  journal: Pick<Journal, 'next' | 'known' | 'load' | 'due' | 'unmerged' | 'block'>,
  normalize: RecordNormalizer,
  detectors: readonly Detector[],
  onNotice: (text: string) => void,
  spent?: Spent,
): LiveJudge => {
  const core = judging(journal, detectors, onNotice, spent)

  const commitOf = (at: number, rest: Partial<Commit>): Commit => ({
    ...emptyCommit,
    seq: journal.next,
    at,
    ...core.changes(),
    ...rest,
  })

  const idsOf = (batch: Batch) => batch.kept.map(({ order }) => order.slice(-32))
  const prepared = new WeakMap<Batch, Promise<ReadonlyMap<string, KnownId>>>()
  /** Ids of the newest commits: those that an early answer may not know. */
  const recent = new Map<string, KnownId>()
  const rounds: Commit['ids'][] = []
  const remember = (seq: number, ids: Commit['ids']) => {
    for (const [index, { id, digest }] of ids.entries()) recent.set(id, { digest, seq, index })
    rounds.push(ids)
    if (rounds.length > RECENT) for (const { id } of rounds.shift() ?? []) recent.delete(id)
  }

  /** Whether what the journal has under an id is this record. */
  const isRepeat = async (known: KnownId, digest: string, bytes: Buffer): Promise<boolean> => {
    if (known.digest === digest) return true
    const original = (await journal.block(known.seq))?.items[known.index]
    return original !== undefined && contentHash(original.raw) === contentHash(bytes)
  }

  /** Under which id a record is kept whose own id is known. @returns `undefined` for a repeat */
  const identify = async (
    { order, raw: { bytes } }: Kept,
    whole: string,
    seen: Seen,
    known: ReadonlyMap<string, KnownId>,
  ): Promise<Identity | undefined> => {
    const own = order.slice(-32)
    const digest = whole.slice(0, 16)
    const here = seen.get(own)
    const before = known.get(own) ?? recent.get(own)
    if (here !== undefined && (here.digest === digest || contentHash(here.bytes) === contentHash(bytes)))
      return undefined
    if (before !== undefined && (await isRepeat(before, digest, bytes))) return undefined
    const id = conflictId(own, contentHash(bytes))
    const isKnown = seen.has(id) || recent.has(id) || (await journal.known([id])).has(id)
    return isKnown ? undefined : { id, digest, borrowed: true }
  }

  /** @returns the event that a record becomes; `undefined` = none, and why is counted */
  const eventOf = (
    { order, raw }: Kept,
    whole: string,
    identity: Identity,
    { counters, rejected }: Batch,
    receivedAt: number,
  ): Found | undefined => {
    const { feed_id: feed, bytes } = raw
    const value = parse(bytes.toString('utf8'))
    const result = normalize(value, { ...raw, sha256: whole, eventId: order.slice(-32) })
    if (result.kind === 'skipped') return void countUp(counters, `skipped|${feed}|${result.reason}`)
    if (result.kind === 'rejected') {
      const { reason, detail } = result
      const place = `${raw.place}:${raw.number}`
      countUp(counters, `rejected|${feed}|${reason}`)
      rejected.push(rejectionOf(feed, place, reason, detail, bytes, new Date(receivedAt).toISOString()))
      return undefined
    }
    const { event } = result
    if (identity.borrowed) {
      event.event_id = event.action_id = identity.id
      event.parse_warnings = [...(event.parse_warnings ?? []), 'id_conflict']
    }
    const at = Date.parse(event.time.event)
    return { feed, event, at, raw: core.engine.readsRaw ? value : undefined, bytes, identity }
  }

  return {
    judging: core,
    prepare(batch) {
      const asked = journal.known(idsOf(batch))
      asked.catch(() => {}) // whoever judges the batch has the failure
      prepared.set(batch, asked)
    },
    async judge(batch, receivedAt) {
      const seq = journal.next
      const known = await (prepared.get(batch) ?? journal.known(idsOf(batch)))
      const seen: Seen = new Map()
      const items: ItemBytes[] = []
      const ids: Commit['ids'][number][] = []
      const span: [first: number, last: number] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
      let last: KeyEvent | undefined
      /** What is judged becomes bytes at once: events that live as long as a batch outlive a collection of garbage. */
      async function* chunks() {
        for (let from = 0; from < batch.kept.length; from += CHUNK) {
          const found: Found[] = []
          for (const kept of batch.kept.slice(from, from + CHUNK)) {
            const whole = sha256(kept.raw.bytes)
            const own = kept.order.slice(-32)
            const isNew = !seen.has(own) && !known.has(own) && !recent.has(own)
            const identity = isNew
              ? { id: own, digest: whole.slice(0, 16), borrowed: false }
              : await identify(kept, whole, seen, known)
            if (identity === undefined) countUp(batch.counters, `duplicate|${kept.raw.feed_id}`)
            const one = identity && eventOf(kept, whole, identity, batch, receivedAt)
            if (one === undefined) continue
            seen.set(one.identity.id, { digest: one.identity.digest, bytes: one.bytes })
            one.event.raw_ref = `${seq}:${ids.length}`
            ids.push(one.identity)
            found.push(one)
          }
          yield found
          for (const { feed, event, at, bytes } of found) {
            countUp(batch.counters, `kept|${feed}`)
            if (event.time.late) countUp(batch.counters, `late|${feed}`)
            items.push({ raw: bytes, event: bytesOf(JSON.stringify(event)) })
            span[0] = Math.min(span[0], at)
            span[1] = Math.max(span[1], at)
            last = event
          }
        }
      }
      const newest = endOf(batch.kept.map(({ order }) => order))
      await core.events(chunks(), newest, receivedAt)
      remember(seq, ids)
      const control: Control[] = []
      if (last !== undefined)
        for (const one of core.faulty()) {
          core.disable(one, last)
          control.push({ kind: 'disabled', ordered: true, who: 'keytrail', body: JSON.stringify(one) })
        }
      return commitOf(receivedAt, {
        items,
        span,
        control,
        positions: batch.positions,
        rejected: batch.rejected,
        ledger: batch.ledger,
        ids,
        counters: batch.counters,
      })
    },
    async tick(beat) {
      const forget = await core.tick(beat)
      const control: Control = { kind: 'tick', ordered: true, who: 'keytrail', body: JSON.stringify(beat) }
      return commitOf(beat.at, { control: [control], forget })
    },
    record(at, control, next) {
      if (next !== undefined) core.use(next)
      return commitOf(at, { control })
    },
    verified(at, integrity, check) {
      if (check === undefined) return commitOf(at, { integrity })
      core.integrity(check)
      const control: Control = {
        kind: 'integrity',
        ordered: true,
        who: 'keytrail',
        body: JSON.stringify(check),
      }
      return commitOf(at, { integrity, control: [control] })
    },
  }
}
