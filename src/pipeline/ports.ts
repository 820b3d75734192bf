/**
 * The three ports of the pipeline: where records come from, where they are kept, where they go.
 * Each has one contract suite in `test/contract` that every implementation passes.
 */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { IntegrityVerdict, ObjectVerdict } from '../model/integrity.ts'
import type { ObjectReason, Rejection } from '../model/outcome.ts'

/** Where a source goes on after a restart: opaque to everybody but the source. */
export type Position = Readonly<Record<string, string | number | boolean>>

/** Bytes of one place (a file, an object, a message), in order. */
export interface Piece {
  /** As shown to people; the position is kept under it unless `keep` names another. */
  readonly place: string
  /** Where many places share one position: a partition of which each message is a place. */
  readonly keep?: string
  /** Set on the first piece of a place that is read: where its bytes begin. */
  readonly begins?: Begin
  /** None: all that is there for now has been handed over. */
  readonly bytes: Buffer
  /** Why nothing can be read now; `idle` says that it is over. */
  readonly trouble?: string
  /** Nothing more belongs to the place. */
  readonly ends: boolean
  /** @param read how far the records of the place are complete @returns what to keep, if anything */
  position(read: ReadSoFar): Position | undefined
  /**
   * The commit that holds it is durable: acknowledge it where it came from. Called in the order the pieces were
   * taken. A failure loses nothing: it is told, the piece comes again, and its records are duplicates. Without a
   * commit there is no call: the loop ends, and the source leaves unacknowledged what was not settled.
   */
  settle?(): Promise<void>
  /** What became of the object that the place is: kept in the ledger by the same commit. */
  readonly fate?: Fate
}

/** An object was read whole, left out, is lost for good, or waits to be offered again. */
export interface Fate {
  readonly outcome: 'read' | 'skipped' | 'failed' | 'waiting'
  /** Why, from `objectReasons`; none when it was read. */
  readonly reason: ObjectReason | undefined
  /** What exactly was wrong. */
  readonly detail: string
  /** Entity tag: another object may come under the same name. */
  readonly version: string
}

/** One line of the ledger; a newer one takes the place of an older one. */
export interface LedgerEntry extends Fate {
  readonly feed: string
  readonly place: string
  readonly records: number
}

/** A digest that a source met. */
export interface KnownDigest {
  readonly place: string
  /** When it came, milliseconds since 1970. */
  readonly at: number
  /** Once it was verified. */
  readonly verdict: IntegrityVerdict | undefined
  /** It is told already that none follows it. */
  readonly isLast: boolean
}

/** Under this name the verdict is kept that no digest follows one. */
export const afterDigest = (place: string) => `after ${place}`

export interface Begin {
  /** Records of the place before these bytes. */
  readonly number: number
  /** Records at the beginning of these bytes that are journaled already. */
  readonly skip: number
}

export interface ReadSoFar {
  /** Bytes of the place since it began here, up to the end of its last complete top-level value. */
  readonly offset: number
  /** Records up to there. */
  readonly number: number
  /** Records behind it that are complete, too. */
  readonly since: number
}

export interface Source {
  readonly feed_id: string
  readonly transport: KeyEvent['ingest']['transport']
  /**
   * Hands over pieces as they come, and `idle` each time when nothing is unread. Ends when there is nothing more
   * to come, or on the signal.
   * @param known the position kept for a place, if any
   * @param take resolves when more may come
   * @param fate what the ledger says of an object
   */
  read(
    known: (place: string) => Position | undefined,
    take: (piece: Piece | 'idle') => Promise<void>,
    signal: AbortSignal,
    fate: (place: string) => Promise<Fate | undefined>,
  ): Promise<void>
  /** When it caused a record that must have come by now, milliseconds since 1970; every one since was caused, too. */
  called?(now: number): number | undefined
  /** What `doctor` asks: step by step what works, and which permission or setting is missing. */
  check?(signal: AbortSignal): Promise<readonly Check[]>
  /** Everything that will be settled has been. */
  close?(): Promise<void>
}

export interface Check {
  readonly step: string
  readonly ok: boolean
  /** What was found, or what is missing and how to get it. */
  readonly detail: string
}

/** One record as it is journaled. */
export interface Item {
  readonly raw: Buffer
  /** The event as JSON. */
  readonly event: string
}

/** One record as bytes, as it is written. */
export interface ItemBytes {
  readonly raw: Buffer
  /** The event as JSON in UTF-8. */
  readonly event: Buffer
}

/** A commit of the past, as it was judged. */
export interface PastCommit {
  readonly seq: number
  /** Milliseconds since 1970: when it was made. */
  readonly at: number
  readonly items: readonly Item[]
  /** Ordered acts. */
  readonly control: readonly { readonly kind: string; readonly body: string }[]
  /** Its alerts and signals, as JSON. */
  readonly sent: readonly string[]
}

export interface KnownId {
  /** SHA-256 of the raw bytes, first 16 hex digits. */
  readonly digest: string
  readonly seq: number
  readonly index: number
}

export interface ValueChange {
  readonly key: string
  /** JSON; `undefined` removes it. */
  readonly value: string | undefined
  /** Event time until which it is needed, milliseconds since 1970. */
  readonly due: number
}

/** Entries that were added to one chunk of a series. */
export interface ListChange {
  readonly name: string
  readonly chunk: number
  /** JSON array of entries. */
  readonly entries: string
  readonly due: number
}

/** Something that Keytrail or its operator did. Those with `ordered` decide how later events are judged. */
export interface Control {
  readonly kind:
    | 'tick'
    | 'detectors'
    | 'knowledge'
    | 'disabled'
    | 'integrity'
    | 'start'
    | 'stop'
    | 'configuration'
    | 'reload'
    | 'disposition'
    | 'purge'
    | 'replay'
  readonly ordered: boolean
  readonly who: string
  /** JSON. */
  readonly body: string
}

/** What becomes durable together. Takes the next number of the log. */
export interface Commit {
  readonly seq: number
  /** Milliseconds since 1970: when it was made. */
  readonly at: number
  readonly items: readonly ItemBytes[]
  /** Times of the first and the last event, milliseconds since 1970. */
  readonly span: readonly [first: number, last: number]
  readonly control: readonly Control[]
  /** By feed, then place. */
  readonly positions: ReadonlyMap<string, ReadonlyMap<string, Position>>
  readonly alerts: readonly Alert[]
  readonly signals: readonly Alert[]
  readonly rejected: readonly Rejection[]
  readonly ledger: readonly LedgerEntry[]
  /** Verdicts on objects. */
  readonly integrity?: readonly ObjectVerdict[]
  /** Event ids of the items, with their digests, in order. */
  readonly ids: readonly { readonly id: string; readonly digest: string }[]
  /** State that was due before this watermark is not needed any more. */
  readonly forget: number | undefined
  readonly values: readonly ValueChange[]
  readonly lists: readonly ListChange[]
  /** Entries that are in no list yet, as JSON: kept until a commit has merged them. */
  readonly unmerged: string | undefined
  /** The lists hold all that was unmerged. */
  readonly merged: boolean
  /** Amounts to add. */
  readonly counters: ReadonlyMap<string, number>
}

export interface Wanted {
  /** No commit that may not be durable yet changes any of it: a reader beside the writer may answer. */
  readonly settled: boolean
  readonly values: readonly string[]
  readonly chunks: readonly (readonly [name: string, chunk: number])[]
}

export interface Loaded {
  /** JSON by key; what is missing does not exist. */
  readonly values: readonly (readonly [key: string, value: string, due: number])[]
  /** JSON arrays by series and chunk, in the order they were added. */
  readonly chunks: readonly (readonly [name: string, chunk: number, entries: string])[]
}

export interface StoredAlert {
  /** Place in the stream of alerts. */
  readonly n: number
  /** Commit that made it. */
  readonly seq: number
  readonly alert: Alert
}

export interface Block {
  readonly seq: number
  readonly at: number
  readonly items: readonly Item[]
}

/** The events of a block, as JSON. */
export interface EventBlock {
  readonly seq: number
  readonly events: readonly string[]
}

/** How far a sink has come. */
export interface Cursor {
  /** Number of the last block that is settled. */
  readonly feed: number
  /** Place of the last alert that is settled. */
  readonly alerts: number
  /** Alerts among them that its configuration does not select. */
  readonly passed: number
  /** What the sink itself wants to know after a restart. */
  readonly memo: Position
}

/** In a cursor: the sink does not take this stream, and holds nothing of it back. */
export const NOT_TAKEN = Number.MAX_SAFE_INTEGER

/** Why a sink does not take what is sent. */
export interface Trouble {
  /** Milliseconds since 1970. */
  readonly since: number
  readonly reason: string
  /** An operator must correct something: it is tried slowly, and nothing becomes a dead letter. */
  readonly fault: boolean
}

export interface DeadLetter {
  readonly stream: 'feed' | 'alerts'
  /** Event id or alert id. */
  readonly id: string
  readonly reason: string
  readonly body: string
}

export interface Journal {
  /** Number that the next commit takes. */
  readonly next: number
  /** Durable when it returns. Commits are made in the order they are given. */
  commit(commit: Commit): Promise<void>
  positions(feed: string): Promise<ReadonlyMap<string, Position>>
  /** What became of an object, as long as it is remembered. */
  fate(feed: string, place: string): Promise<Fate | undefined>
  /** Digests that came since a time, in that order. */
  digests(feed: string, since: number): Promise<readonly KnownDigest[]>
  /** A block by its number, as long as it is kept. */
  block(seq: number): Promise<Block | undefined>
  /** Which of these event ids are known. */
  known(ids: readonly string[]): Promise<ReadonlyMap<string, KnownId>>
  load(wanted: Wanted): Promise<Loaded>
  /** What commits kept as unmerged, in their order. */
  unmerged(): Promise<readonly string[]>
  /** Timed state whose time has come. */
  due(watermark: number): Promise<Loaded['values']>
  /** Events of the blocks behind a number: blocks of at most `bytes` together, at least one when there is one. */
  blocks(after: number, bytes: number): Promise<readonly EventBlock[]>
  alerts(after: number, limit: number): Promise<readonly StoredAlert[]>
  cursor(sink: string): Promise<Cursor>
  settle(sink: string, cursor: Cursor, dead: readonly DeadLetter[]): Promise<void>
  /** Keeps for whoever asks what troubles a sink; `undefined`: nothing. */
  trouble(sink: string, trouble: Trouble | undefined): Promise<void>
  /** Dead letters that an operator sends to a sink again. */
  again(sink: string): Promise<readonly DeadLetter[]>
  /** They were sent; what was refused once more is a dead letter again. */
  settleAgain(sink: string, count: number, dead: readonly DeadLetter[]): Promise<void>
  /** Removes the cursors of sinks that are no longer configured. */
  retire(sinks: readonly string[]): Promise<void>
  /** Bytes held for sinks that are behind. */
  backlog(): Promise<number>
  /** Removes what every sink has passed and retention allows. */
  trim(): Promise<void>
  close(): Promise<void>
}

/** What a sink receives: JSON texts, as they are journaled. */
export interface Delivery {
  readonly events: readonly string[]
  readonly alerts: readonly Alert[]
}

export interface Delivered {
  /** What to keep for a restart. */
  readonly memo: Position
  /** Items that will never be taken, with the reason. */
  readonly refused: readonly DeadLetter[]
  /** What was not taken and may be later. */
  readonly again?: Again | undefined
  /**
   * What was taken is certain when this resolves, but for what it says must be sent again. Others may be sent in
   * the meantime. Never rejects.
   */
  readonly confirmed?: Promise<Again | undefined> | undefined
}

export interface Again {
  readonly delivery: Delivery
  readonly reason: string
  /** An operator must correct something first. */
  readonly fault: boolean
  /** Milliseconds that the other side asks to wait. */
  readonly afterMs?: number | undefined
}

/** An operator must correct something at the sink: it is tried slowly, and nothing becomes a dead letter. */
export class SinkFault extends Error {}

export interface Sink {
  readonly name: string
  /**
   * @param memo what it gave back last @returns what to keep before the first delivery
   * @throws SinkFault
   */
  open(memo: Position, signal: AbortSignal): Promise<Position>
  /** Delivers in order, unless parts overlap. @throws when all of it should be tried again */
  send(delivery: Delivery, signal: AbortSignal): Promise<Delivered>
  close(): Promise<void>
}
