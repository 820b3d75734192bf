/** What was fetched and waits to be taken, in order and bounded by bytes: the group is served meanwhile. */
import type { Piece } from '../pipeline/ports.ts'

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

/** Eight fetches of a full partition: enough to read while a batch is judged. */
const MAX_BYTES = 8 * 1024 * 1024

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
