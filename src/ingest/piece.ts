/** Pieces that hold no records: they tell where a place stands, what became of it, or what troubles its source. */
import type { Piece } from '../pipeline/ports.ts'

export const NOTHING = Buffer.alloc(0)

export const emptyPiece = (place: string, more: Partial<Piece>): Piece => ({
  place,
  bytes: NOTHING,
  ends: true,
  position: () => undefined,
  ...more,
})
