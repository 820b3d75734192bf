/**
 * Files as a source of `run`: folders, patterns and files, looked at again and again. A plain file is read on from
 * where it was left, a compressed one is read again from its beginning and passes over what is known.
 *
 * What was read is kept per path with the inode: a file that shrank or was replaced is read again, and its records
 * are then duplicates. An unfinished last line waits for its end.
 */
import { statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Piece, Position, ReadSoFar, Source } from '../pipeline/ports.ts'
import { findFiles, type InputFile, isPacked, readFile } from './files.ts'

export interface FollowOptions {
  readonly feed_id: string
  readonly paths: readonly string[]
  /** Where a file begins that was never read before. */
  readonly start: 'beginning' | 'end'
  /** Go on looking; otherwise read what is there and end. */
  readonly follow: boolean
  /** A file that could not be read whole; told once for each of its sizes. */
  onFailure(path: string, reason: string): void
}

const POLL_MS = 500
/** Where something came, more will. */
const BUSY_POLL_MS = 100
/** Looking at very many files takes time: at most a fifth of it is spent on that. */
const REST = 4
/** Bytes handed over at once: small enough to commit in time. */
const PIECE_BYTES = 256 * 1024
const NOTHING = Buffer.alloc(0)

interface Place {
  readonly inode: number
  /** Of the file when it was read to its end; -1 before. */
  readonly size: number
  /** Place in the decompressed bytes where the last complete value ends, and records before it and since. */
  readonly offset: number
  readonly number: number
  readonly since: number
}

const placeOf = (position: Position | undefined): Place | undefined =>
  position === undefined
    ? undefined
    : {
        inode: Number(position['inode']),
        size: Number(position['size']),
        offset: Number(position['offset']),
        number: Number(position['number']),
        since: Number(position['since']),
      }

export const followFiles = (options: FollowOptions): Source => ({
  feed_id: options.feed_id,
  transport: 'file',
  async read(known, take, signal) {
    const places = new Map<string, Place>()
    const failed = new Map<string, number>()

    let isBusy = false
    /** Reads what is new in a file. */
    const readOn = async (file: InputFile): Promise<void> => {
      const stat = statSync(file.path, { throwIfNoEntry: false })
      if (stat === undefined || !stat.isFile()) return
      const before = places.get(file.path) ?? placeOf(known(file.path))
      const same = before !== undefined && before.inode === stat.ino && stat.size >= before.size
      if (same && stat.size === before.size) return void places.set(file.path, before)
      if (failed.get(file.path) === stat.size) return
      isBusy = true
      const packed = isPacked(file.path)
      const fresh: Place = { inode: stat.ino, size: -1, offset: 0, number: 0, since: 0 }
      if (!same && before === undefined && options.start === 'end') {
        const skipped = { ...fresh, size: stat.size, offset: packed ? 0 : stat.size }
        places.set(file.path, skipped)
        return take(pieceOf(file.path, NOTHING, false, () => ({ ...skipped })))
      }
      const from = same ? before : fresh
      const positionOf = (size: number) => (read: ReadSoFar) => {
        const place = { inode: stat.ino, size, ...read, offset: from.offset + read.offset }
        places.set(file.path, place)
        return place
      }
      const reading = positionOf(-1)
      let begins: Piece['begins'] | undefined = { number: from.number, skip: from.since }
      let pass = packed ? from.offset : 0
      const failure = await readFile(
        { ...file, bytes: stat.size },
        async (chunk) => {
          const own = pass >= chunk.length ? NOTHING : chunk.subarray(pass)
          pass = Math.max(pass - chunk.length, 0)
          for (let at = 0; at < own.length; at += PIECE_BYTES) {
            signal.throwIfAborted()
            await take({
              ...pieceOf(file.path, own.subarray(at, at + PIECE_BYTES), false, reading),
              ...(begins && { begins }),
            })
            begins = undefined
          }
        },
        packed ? 0 : from.offset,
      )
      signal.throwIfAborted()
      if (failure !== undefined) {
        failed.set(file.path, stat.size)
        return options.onFailure(file.path, `${failure.reason}: ${failure.detail}`)
      }
      await take({ ...pieceOf(file.path, NOTHING, packed, positionOf(stat.size)), ...(begins && { begins }) })
    }

    try {
      for (;;) {
        isBusy = false
        const began = performance.now()
        const files = findFiles(options.paths)
        const looking = performance.now() - began
        for (const file of files) {
          if (file.failure === undefined) await readOn(file)
          else if (!failed.has(file.path)) {
            failed.set(file.path, -1)
            options.onFailure(file.path, file.failure)
          }
        }
        await take('idle')
        if (!options.follow) return
        await sleep(Math.max(isBusy ? BUSY_POLL_MS : POLL_MS, looking * REST), undefined, { signal })
      }
    } catch (cause) {
      if (!signal.aborted) throw cause
    }
  },
})

const pieceOf = (place: string, bytes: Buffer, ends: boolean, position: Piece['position']): Piece => ({
  place,
  bytes,
  ends,
  position,
})
