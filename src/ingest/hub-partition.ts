/** What an Event Hubs source knows about one partition: where it goes on, and what is gone. */
import type { EventPosition, PartitionProperties } from '@azure/event-hubs'
import type { Position } from '../pipeline/ports.ts'
import { type Gap, removed } from './gap.ts'

export interface HubPartition {
  readonly hub: string
  readonly id: string
  /** The position is kept under it, and people read it: `hub/number`. */
  readonly keep: string
  /** Sequence number that comes next; unknown until it is placed. */
  next: number | undefined
  /** Offset of the event before it, opaque; without one the sequence number says where to go on. */
  offset: string | undefined
  /** Sequence number behind the last event that the service has. */
  end: number
  /** `end` when the partition was opened first. */
  until: number | undefined
  /** When `end` was learned, milliseconds of a steady clock. */
  looked: number
  /** Something came, or nothing was to come: milliseconds of a steady clock. */
  moved: number
  /** Events are being handed over. */
  busy: boolean
  /** How often in a row an event came that does not follow. */
  jumps: number
  /** Sequence number of the last one. */
  jumpedTo: number
  /** Why it is not read on. */
  stopped: string | undefined
  /** Bytes of an event, at most, of late. */
  largest: number
}

/** An event is taken to be at least that large, bytes: credit that was given for small ones is not taken back. */
const LIKELY_BYTES = 64 * 1024
/** How fast a large event is forgotten. */
const DECAY = 0.99

export const newHubPartition = (hub: string, id: string): HubPartition => ({
  hub,
  id,
  keep: `${hub}/${id}`,
  next: undefined,
  offset: undefined,
  end: 0,
  until: undefined,
  looked: Number.NEGATIVE_INFINITY,
  moved: 0,
  busy: false,
  jumps: 0,
  jumpedTo: 0,
  stopped: undefined,
  largest: LIKELY_BYTES,
})

/** What an offset is that stands before the first event there is (the vendor's `earliestEventPosition`). */
export const BEFORE_ALL = '-1'

export const positionOf = (sequence: number, offset: string | undefined): Position => ({
  sequence,
  ...(offset !== undefined && { offset }),
})

/** Takes over what the journal keeps. */
export const restore = (one: HubPartition, position: Position) => {
  const offset = position['offset']
  one.next = Number(position['sequence']) + 1
  one.offset = offset === undefined ? undefined : String(offset)
}

/**
 * Places a partition that the journal does not know.
 * @returns whether the place is certain already; with a time it is where the first event is that comes
 */
export const begin = (one: HubPartition, start: string, there: PartitionProperties): boolean => {
  if (start === 'earliest') {
    one.next = Math.max(there.beginningSequenceNumber, 0)
    one.offset = BEFORE_ALL
  } else if (start === 'latest') {
    one.next = there.lastEnqueuedSequenceNumber + 1
    one.offset = there.lastEnqueuedOffset
  } else return false
  return true
}

/** Where the client is told to go on. */
export const startOf = ({ next, offset }: HubPartition, start: string): EventPosition => {
  if (offset !== undefined) return { offset }
  if (next !== undefined) return { sequenceNumber: next - 1, isInclusive: false }
  return { enqueuedOn: Date.parse(start) - 1 } // what was enqueued at that time belongs to it
}

/** Whether what comes next is gone: by retention, or because the hub is another one now. */
export const gapOf = (one: HubPartition, there: PartitionProperties): Gap<number> | undefined => {
  const { keep, next, jumps, jumpedTo } = one
  if (next === undefined) return undefined
  const first = there.beginningSequenceNumber
  const end = there.lastEnqueuedSequenceNumber + 1
  if (next > end)
    return {
      text: `${keep}: was read up to ${next - 1}, and the hub has ${first}..${end - 1}: it was made anew, or another region lacks the last ones; what stood between is unknown`,
      at: first,
    }
  const at = next < first ? first : jumps > 1 ? jumpedTo : next
  return at > next ? removed(keep, ['sequence numbers', 'event'], next, at) : undefined
}

/** Goes on behind a gap. */
export const pass = (one: HubPartition, { at }: Gap<number>, there: PartitionProperties) => {
  one.next = at
  one.offset = at === there.beginningSequenceNumber ? BEFORE_ALL : undefined
  one.jumps = 0
}

/** Remembers how large events are. */
export const weigh = (one: HubPartition, bytes: number) => {
  one.largest = Math.max(bytes, one.largest * DECAY, LIKELY_BYTES)
}

/** Nothing is unread. */
export const isRead = ({ next, end, busy, stopped }: HubPartition, upTo = end): boolean =>
  stopped === undefined && !busy && next !== undefined && next >= upTo
