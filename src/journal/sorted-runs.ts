/**
 * Sorts more events than memory holds: sorted runs on disk, merged while they are read.
 *
 * Frame of a run file: u32 length of the event, u32 length of the raw bytes, u32 length of the order key
 * (little endian), then the three texts.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KeytrailError } from '../model/error.ts'
import type { Kept } from '../pipeline/intake.ts'
import { compareKept, type Ordered, orderOf } from '../pipeline/order.ts'

/** Raw bytes held before a run is written. An event takes about three times its raw bytes in memory. */
export const RUN_BYTES = 24 * 1024 * 1024
const WRITE_BYTES = 1024 * 1024
const READ_BYTES = 256 * 1024
const HEADER = 12

/** A temporary folder that is removed at the end. */
export const temporaryFolder = (parent = tmpdir()): { readonly path: string; remove(): void } => {
  const path = mkdtempSync(join(parent, 'keytrail-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

export interface Sorter {
  kept(kept: Kept): void
  /** Writes what is in memory, too. @returns the run files */
  spillAll(): string[]
  /** Sorted sequences of everything added. */
  runs(): Iterator<Ordered>[]
}

export const sorter = (folder: () => string, name: string, runBytes = RUN_BYTES): Sorter => {
  const files: string[] = []
  let held: Ordered[] = []
  let bytes = 0

  const spill = () => {
    if (held.length === 0) return
    held.sort(compareKept)
    const path = join(folder(), `${name}-${files.length}.run`)
    writeRun(path, held)
    files.push(path)
    held = []
    bytes = 0
  }

  return {
    kept(kept) {
      held.push({ event: kept.event, raw: kept.raw, order: orderOf(kept) })
      bytes += kept.raw.length
      if (bytes >= runBytes) spill()
    },
    spillAll() {
      spill()
      return files
    },
    runs() {
      held.sort(compareKept)
      return [...files.map(readRun), held[Symbol.iterator]()]
    },
  }
}

const writeRun = (path: string, run: readonly Ordered[]): void => {
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
    for (const { event, raw, order } of run) {
      const text = Buffer.from(JSON.stringify(event))
      const key = Buffer.from(order)
      const header = Buffer.allocUnsafe(HEADER)
      header.writeUInt32LE(text.length, 0)
      header.writeUInt32LE(raw.length, 4)
      header.writeUInt32LE(key.length, 8)
      parts.push(header, text, raw, key)
      size += HEADER + text.length + raw.length + key.length
      if (size >= WRITE_BYTES) flush()
    }
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
export function* readRun(path: string): Generator<Ordered> {
  const file = openSync(path, 'r')
  try {
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
      const text = buffer.readUInt32LE(at)
      const raw = buffer.readUInt32LE(at + 4)
      const key = buffer.readUInt32LE(at + 8)
      if (!need(HEADER + text + raw + key))
        throw new KeytrailError('internal.fault', `temporary file ${path} ends early`)
      const from = at + HEADER
      yield {
        event: JSON.parse(buffer.toString('utf8', from, from + text)),
        raw: buffer.subarray(from + text, from + text + raw),
        order: buffer.toString('latin1', from + text + raw, from + text + raw + key),
      }
      at = from + text + raw + key
    }
  } finally {
    closeSync(file)
  }
}
