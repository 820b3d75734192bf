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
import type { Commit, Control, Item, Journal, KnownId, LedgerEntry, Piece, Position } from './ports.ts'

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

/** Becomes text only when it is packed: a thousand texts at once would outlive every collection of garbage. */
class JudgedItem implements Item {
  readonly raw: Buffer
  readonly #event: KeyEvent

  constructor(raw: Buffer, event: KeyEvent) {
    this.raw = raw
    this.#event = event
  }

  get event(): string {
    return JSON.stringify(this.#event)
  }
}

/** What identifies a record: its id, and whether that id belongs to another one. */
interface Identity {
  readonly id: string
  readonly digest: string
  readonly borrowed: boolean
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

  /** Under which id a record is kept. @returns `undefined` for a repeat */
  const identify = async (
    { order, raw: { bytes } }: Kept,
    whole: string,
    seen: ReadonlyMap<string, { readonly digest: string; readonly bytes: Buffer }>,
    known: ReadonlyMap<string, KnownId>,
  ): Promise<Identity | undefined> => {
    const own = order.slice(-32)
    const digest = whole.slice(0, 16)
    const here = seen.get(own)
    const before = known.get(own) ?? recent.get(own)
    if (here === undefined && before === undefined) return { id: own, digest, borrowed: false }
    if (here !== undefined && (here.digest === digest || contentHash(here.bytes) === contentHash(bytes)))
      return undefined
    if (before !== undefined && (await isRepeat(before, digest, bytes))) return undefined
    const id = conflictId(own, contentHash(bytes))
    const isKnown = seen.has(id) || recent.has(id) || (await journal.known([id])).has(id)
    return isKnown ? undefined : { id, digest, borrowed: true }
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
      const received = new Date(receivedAt).toISOString()
      const seen = new Map<string, { digest: string; bytes: Buffer }>()
      const entries: Entry[] = []
      const raws: Buffer[] = []
      const ids: Commit['ids'][number][] = []
      for (const kept of batch.kept) {
        const { raw } = kept
        const feed = raw.feed_id
        const whole = sha256(raw.bytes)
        const identity = await identify(kept, whole, seen, known)
        if (identity === undefined) {
          countUp(batch.counters, `duplicate|${feed}`)
          continue
        }
        const value = parse(raw.bytes.toString('utf8'))
        const result = normalize(value, {
          ...raw,
          sha256: whole,
          eventId: kept.order.slice(-32),
        })
        if (result.kind === 'skipped') countUp(batch.counters, `skipped|${feed}|${result.reason}`)
        if (result.kind === 'rejected') {
          countUp(batch.counters, `rejected|${feed}|${result.reason}`)
          const place = `${raw.place}:${raw.number}`
          batch.rejected.push(rejectionOf(feed, place, result.reason, result.detail, raw.bytes, received))
        }
        if (result.kind !== 'event') continue
        const { event } = result
        const index = entries.length
        event.raw_ref = `${seq}:${index}`
        if (identity.borrowed) {
          event.event_id = event.action_id = identity.id
          event.parse_warnings = [...(event.parse_warnings ?? []), 'id_conflict']
        }
        seen.set(identity.id, { digest: identity.digest, bytes: raw.bytes })
        ids.push({ id: identity.id, digest: identity.digest })
        raws.push(raw.bytes)
        entries.push({
          feed,
          event,
          at: Date.parse(event.time.event),
          raw: core.engine.readsRaw ? value : undefined,
        })
        countUp(batch.counters, `kept|${feed}`)
      }

      remember(seq, ids)
      await core.events(entries, receivedAt)
      const control: Control[] = []
      const last = entries.at(-1)?.event
      if (last !== undefined)
        for (const one of core.faulty()) {
          core.disable(one, last)
          control.push({ kind: 'disabled', ordered: true, who: 'keytrail', body: JSON.stringify(one) })
        }
      for (const { feed, event } of entries) if (event.time.late) countUp(batch.counters, `late|${feed}`)
      const times = entries.map(({ at }) => at)
      return commitOf(receivedAt, {
        items: entries.map(({ event }, index) => new JudgedItem(raws[index] ?? NOTHING, event)),
        span: [Math.min(...times), Math.max(...times)],
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

const NOTHING = Buffer.alloc(0)
