/**
 * Sorts more records than memory holds: sorted runs on disk, merged while they are read.
 *
 * Frame of a run file, little endian: u32 length of the raw bytes, u32 length of the facts, the raw bytes, the
 * facts as JSON. The first frame has no raw bytes: its facts are what all records of the run have in common.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KeytrailError } from '../model/error.ts'
import type { RawRecord } from '../normalize/format.ts'
import type { Kept } from '../pipeline/intake.ts'
import { compareKept } from '../pipeline/order.ts'

/** Raw bytes held before a run is written. */
export const RUN_BYTES = 32 * 1024 * 1024
const WRITE_BYTES = 1024 * 1024
const READ_BYTES = 256 * 1024
const HEADER = 8

/** A temporary folder that is removed at the end. */
export const temporaryFolder = (parent = tmpdir()): { readonly path: string; remove(): void } => {
  const path = mkdtempSync(join(parent, 'keytrail-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** For records of one feed, received at one time. */
export interface Sorter {
  kept(kept: Kept): void
  /** Writes what is in memory, too. @returns the run files */
  spillAll(): string[]
  /** Sorted sequences of everything added. */
  runs(): Iterator<Kept>[]
}

export const sorter = (folder: () => string, name: string, runBytes = RUN_BYTES): Sorter => {
  const files: string[] = []
  let held: Kept[] = []
  let bytes = 0

  const spill = () => {
    const [first, ...others] = held.sort(compareKept)
    if (first === undefined) return
    const path = join(folder(), `${name}-${files.length}.run`)
    writeRun(path, [first, ...others])
    files.push(path)
    held = []
    bytes = 0
  }

  return {
    kept(kept) {
      held.push(kept)
      bytes += kept.raw.bytes.length
      if (bytes >= runBytes) spill()
    },
    spillAll() {
      spill()
      return files
    },
    runs() {
      if (files.length > 0) spill() // what is merged from disk need not stay in memory
      return [...files.map(readRun), held.sort(compareKept)[Symbol.iterator]()]
    },
  }
}

type Common = Pick<RawRecord, 'feed_id' | 'transport' | 'received'>
type Facts = readonly [order: string, number: number, members: number, envelopeTime: string, place: string]

/** No count: a value that the number of members never takes. */
const UNCOUNTED = -1

const writeRun = (path: string, run: readonly [Kept, ...Kept[]]): void => {
  let file: number | undefined
  try {
    file = openSync(path, 'wx', 0o600)
    let parts: Buffer[] = []
    let size = 0
    const flush = () => {
      const all = Buffer.concat(parts, size)
      for (let at = 0; at < all.length; ) at += writeSync(file ?? 0, all, at)
      parts = []
      size = 0
    }
    const frame = (bytes: Buffer, facts: Facts | Common) => {
      const text = Buffer.from(JSON.stringify(facts))
      const header = Buffer.allocUnsafe(HEADER)
      header.writeUInt32LE(bytes.length, 0)
      header.writeUInt32LE(text.length, 4)
      parts.push(header, bytes, text)
      size += HEADER + bytes.length + text.length
      if (size >= WRITE_BYTES) flush()
    }
    const [{ raw: one }] = run
    frame(Buffer.alloc(0), {
      feed_id: one.feed_id,
      transport: one.transport,
      received: one.received,
    } satisfies Common)
    for (const { order, raw } of run)
      frame(raw.bytes, [order, raw.number, raw.members ?? UNCOUNTED, raw.envelopeTime ?? '', raw.place])
    flush()
  } catch (cause) {
    throw new KeytrailError(
      'output.unwritable',
      `cannot write temporary file ${path}: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    )
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** Reads a run file, frame by frame. */
export function* readRun(path: string): Generator<Kept> {
  const file = openSync(path, 'r')
  try {
    let common: Common | undefined
    let buffer: Buffer = Buffer.alloc(0)
    let at = 0
    const need = (count: number): boolean => {
      if (buffer.length - at >= count) return true
      const more = Buffer.allocUnsafe(Math.max(READ_BYTES, count))
      const read = readSync(file, more)
      buffer = Buffer.concat([buffer.subarray(at), more.subarray(0, read)])
      at = 0
      return buffer.length >= count || (read > 0 && need(count))
    }
    while (need(HEADER)) {
      const raw = buffer.readUInt32LE(at)
      const text = buffer.readUInt32LE(at + 4)
      if (!need(HEADER + raw + text))
        throw new KeytrailError('internal.fault', `temporary file ${path} ends early`)
      const from = at + HEADER
      const facts = buffer.toString('utf8', from + raw, from + raw + text)
      if (common === undefined)
        common = JSON.parse(facts) as Common // written by writeRun
      else {
        const [order, number, members, envelopeTime, place]: Facts = JSON.parse(facts)
        const bytes = buffer.subarray(from, from + raw)
        yield {
          order,
          raw: {
            ...common,
            place,
            number,
            bytes,
            members: members === UNCOUNTED ? undefined : members,
            envelopeTime: envelopeTime === '' ? undefined : envelopeTime,
          },
        }
      }
      at = from + raw + text
    }
  } finally {
    closeSync(file)
  }
}
