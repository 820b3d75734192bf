/** A source under test without the loop: what it hands over, one piece after the other, as fast as the test lets it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Piece, Position, Source } from '../../src/pipeline/ports.ts'

export interface Reading {
  /** In the order they were handed over. */
  readonly pieces: readonly Piece[]
  /** Texts that were handed over, of all places or of those that are kept under one name. */
  texts(keep?: string): string[]
  idle(): number
  /** What the journal would hold. */
  readonly positions: ReadonlyMap<string, Position>
  /** From now on nothing is taken, as when the journal is full. */
  hold(): void
  release(): void
  stop(): Promise<void>
  readonly ended: Promise<void>
}

export const eventually = async (what: string, holds: () => boolean | Promise<boolean>, ms = 40_000) => {
  const end = performance.now() + ms
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await sleep(20)
  }
}

/** @param known positions of an earlier reading */
export const reading = (source: Source, known: ReadonlyMap<string, Position> = new Map()): Reading => {
  const stopping = new AbortController()
  const pieces: Piece[] = []
  const positions = new Map(known)
  let idle = 0
  let open = () => {}
  let gate = Promise.resolve()
  const take = async (piece: Piece | 'idle') => {
    await gate
    if (piece === 'idle') return void idle++
    pieces.push(piece)
    const { keep = piece.place } = piece
    const read = { offset: piece.bytes.length, number: 1, since: 0 }
    const position = piece.position(read)
    if (position !== undefined) positions.set(keep, position)
    await piece.settle?.()
  }
  const ended = source
    .read(
      (place) => known.get(place),
      take,
      stopping.signal,
      async () => undefined,
    )
    .finally(() => source.close?.())
  ended.catch(() => {}) // the test awaits it
  return {
    pieces,
    texts: (keep) =>
      pieces
        .filter((piece) => piece.bytes.length > 0 && (keep === undefined || piece.keep === keep))
        .map(({ bytes }) => bytes.toString()),
    idle: () => idle,
    positions,
    hold() {
      gate = new Promise((resolve) => {
        open = resolve
      })
    },
    release: () => open(),
    async stop() {
      open()
      stopping.abort()
      await ended
    },
    ended,
  }
}
