/** What a Kafka source knows about one partition, and where it goes on. */
import type { Position } from '../pipeline/ports.ts'
import { type Gap, removed } from './gap.ts'

export interface Partition {
  readonly topic: string
  readonly number: number
  /** The position is kept under it, and people read it: `topic/number`. */
  readonly keep: string
  /** Offset behind the last message that was handed over; unknown until it is first placed. */
  next: bigint | undefined
  /** The client reads it from `next` on. */
  placed: boolean
  /** The client is not told to pause it; unknown to a client that is new. */
  flowing: boolean | undefined
  /** How often in a row the client read from another place than it was told, and from which. */
  strayed: number
  strayedTo: string | undefined
  /** Behind records that nobody is shown (aborted, or marks of transactions), which follow a place that strayed. */
  hidden: bigint | undefined
  /** Batches that were opened while one is searched that cannot be. */
  opened: number
  /** `next` when retention was first seen to have passed it. */
  passed: bigint | undefined
  /** End of the partition when it was looked at. */
  high: bigint
  /** End of the partition when it was placed first. */
  until: bigint | undefined
  /** Why it is not read on. */
  stopped: string | undefined
}

export const newPartition = (topic: string, number: number): Partition => ({
  topic,
  number,
  keep: `${topic}/${number}`,
  next: undefined,
  placed: false,
  flowing: undefined,
  strayed: 0,
  strayedTo: undefined,
  hidden: undefined,
  opened: 0,
  passed: undefined,
  high: 0n,
  until: undefined,
  stopped: undefined,
})

/** First offset that is there, and the one that the next record takes. */
export interface Range {
  readonly low: bigint
  readonly high: bigint
}

export const positionAt = (next: bigint): Position => ({ offset: String(next) })

/** @throws SyntaxError when it is not what this source kept */
export const journaledAt = (position: Position | undefined): bigint | undefined =>
  position === undefined ? undefined : BigInt(String(position['offset']))

export interface Beginning {
  readonly journaled: bigint | undefined
  /** What the group has acknowledged, here or in another process. */
  readonly committed: bigint | undefined
  /** The journal knows another partition of the topic: this one was added since. */
  readonly added: boolean
  readonly start: string
  /** First record at or behind the time that `start` names. */
  readonly atTime: bigint | undefined
}

/** The journal is the truth; the group's offset and the setting are for what it does not know (contracts.md 7). */
export const beginningOf = (known: Beginning, { low, high }: Range): bigint => {
  if (known.journaled !== undefined) return known.journaled
  if (known.committed !== undefined) return known.committed
  if (known.added || known.start === 'earliest') return low
  return known.start === 'latest' ? high : (known.atTime ?? high)
}

/**
 * Whether what comes next is gone. A client that strays twice to one place was told by the broker that the place does not exist:
 * when nothing was removed before it, the partition ends before it, or did.
 */
export const gapOf = (
  { keep, next, placed, strayed, passed }: Partition,
  range: Range,
): Gap<bigint> | undefined => {
  if (next === undefined) return undefined
  if (next < range.low)
    return placed && passed !== next // what is on its way may still arrive
      ? undefined
      : removed(keep, ['offsets', 'record'], next, range.low)
  if (placed || strayed < 2) return undefined
  return {
    text: `${keep}: was read up to ${next}, and the broker has ${range.low}..${range.high - 1n}: the topic was made anew or cut off; what stood between is unknown`,
    at: range.low,
  }
}
