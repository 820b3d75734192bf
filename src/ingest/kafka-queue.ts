/** What was fetched and waits to be taken, in order and bounded by bytes: the group is served meanwhile. */
import type { KafkaMessage } from 'kafkajs'
import type { Piece } from '../pipeline/ports.ts'
import { positionAt } from './kafka-partition.ts'
import { emptyPiece, NOTHING } from './piece.ts'

export type Parcel = { readonly bytes: number; readonly pieces: Iterable<Piece> } | 'idle'

export interface ParcelQueue {
  put(parcel: Parcel): void
  /** No more should be fetched. */
  readonly full: boolean
  /** Nothing waits, and nothing is being taken. */
  readonly empty: boolean
  /** Hands over until the signal comes. */
  run(): Promise<void>
}

/** Four fetches of a full partition: enough to read while a batch is judged. */
const MAX_BYTES = 4 * 1024 * 1024

/** Of a message beside its own bytes, in memory: measured, about. */
const MESSAGE_BYTES = 600

/** Headers and keys are not read, but take memory as well. */
const sizeOf = ({ key, value, headers }: KafkaMessage): number =>
  Object.values(headers ?? {})
    .flat()
    .reduce((sum, one) => sum + (one?.length ?? 0), MESSAGE_BYTES + (key?.length ?? 0) + (value?.length ?? 0))

/**
 * @param keep name of the partition
 * @param next offset behind the messages, and behind what nobody is shown
 * @param onSettled the journal holds all of it
 */
export const parcelOf = (
  keep: string,
  messages: readonly KafkaMessage[],
  next: bigint,
  onSettled: () => void,
): Parcel => {
  const piece = (offset: bigint | string, bytes: Buffer | null, behind: bigint): Piece =>
    emptyPiece(`${keep}@${offset}`, {
      keep,
      bytes: bytes ?? NOTHING, // a tombstone, or a message that is empty, moves the position alone
      position: () => positionAt(behind),
      ...(behind === next && { settle: async () => onSettled() }),
    })
  function* pieces(): Generator<Piece> {
    const last = messages.at(-1)
    for (const one of messages)
      yield piece(one.offset, one.value, one === last ? next : BigInt(one.offset) + 1n)
    if (last === undefined) yield piece(next, NOTHING, next)
  }
  return { bytes: messages.reduce((sum, one) => sum + sizeOf(one), 0), pieces: pieces() }
}

/** @param onChange there is room again, or nothing waits any more */
export const parcelQueue = (
  take: (piece: Piece | 'idle') => Promise<void>,
  signal: AbortSignal,
  onChange: () => void,
): ParcelQueue => {
  const waiting: Parcel[] = []
  let bytes = 0
  let isTaking = false
  let wake = () => {}
  signal.addEventListener('abort', () => wake())
  const handOver = async (parcel: Parcel) => {
    if (parcel === 'idle') return take('idle')
    for (const piece of parcel.pieces) {
      if (signal.aborted) return
      await take(piece)
    }
    bytes -= parcel.bytes
  }
  return {
    put(parcel) {
      waiting.push(parcel)
      if (parcel !== 'idle') bytes += parcel.bytes
      wake()
    },
    get full() {
      return bytes >= MAX_BYTES
    },
    get empty() {
      return waiting.length === 0 && !isTaking
    },
    async run() {
      while (!signal.aborted) {
        const parcel = waiting.shift()
        if (parcel === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
          continue
        }
        isTaking = true
        await handOver(parcel)
        isTaking = false
        if (parcel !== 'idle') onChange()
      }
    },
  }
}
