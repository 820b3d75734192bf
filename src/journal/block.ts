/**
 * The block: raw bytes and events of one commit, as one unit. One codec for every journal and for history.
 *
 * Layout before compression, little endian: `KTB1`, u32 number of items, then for each item u32 length of the raw
 * bytes, u32 length of the event, the raw bytes, the event as JSON. Compressed with zstd.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { KeytrailError } from '../model/error.ts'
import type { Item, ItemBytes } from '../pipeline/ports.ts'

const MAGIC = 0x3142544b
const HEADER = 8
const LENGTHS = 8
/** Level 1: the journal is short-lived, and its writer must keep up. */
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }

/** @returns the block before compression, in memory of its own */
export const packBlock = (items: readonly ItemBytes[]): Buffer => {
  const size = items.reduce((sum, { raw, event }) => sum + LENGTHS + raw.length + event.length, HEADER)
  const out = Buffer.allocUnsafeSlow(size)
  out.writeUInt32LE(MAGIC, 0)
  out.writeUInt32LE(items.length, 4)
  let at = HEADER
  for (const { raw, event } of items) {
    out.writeUInt32LE(raw.length, at)
    out.writeUInt32LE(event.length, at + 4)
    out.set(raw, at + LENGTHS)
    out.set(event, at + LENGTHS + raw.length)
    at += LENGTHS + raw.length + event.length
  }
  return out
}

const damaged = (why: string) =>
  new KeytrailError('journal.damaged', `a block of the journal is damaged: ${why}`)

/** @returns raw bytes and event of each item, where they lie @throws KeytrailError `journal.damaged` */
export const partsOf = (bytes: Uint8Array): ItemBytes[] => {
  const packed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (packed.length < HEADER || packed.readUInt32LE(0) !== MAGIC) throw damaged('it does not begin as one')
  const parts: ItemBytes[] = []
  let at = HEADER
  for (let left = packed.readUInt32LE(4); left > 0; left--) {
    if (at + LENGTHS > packed.length) throw damaged('it ends early')
    const raw = at + LENGTHS
    const event = raw + packed.readUInt32LE(at)
    at = event + packed.readUInt32LE(at + 4)
    if (at > packed.length) throw damaged('it ends early')
    parts.push({ raw: packed.subarray(raw, event), event: packed.subarray(event, at) })
  }
  if (at !== packed.length) throw damaged('it goes on behind its last item')
  return parts
}

/** @throws KeytrailError `journal.damaged` */
export const unpackBlock = (packed: Uint8Array): Item[] =>
  partsOf(packed).map(({ raw, event }) => ({ raw, event: event.toString() }))

/**
 * Gives back memory that nobody else uses: large pieces that live for a moment would otherwise wait for a collection of
 * garbage, which small heaps need seldom.
 */
export const release = ({ buffer }: Uint8Array): void => {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0)
}

export const compress = (packed: Uint8Array): Buffer => zstdCompressSync(packed, LEVEL)

/** @throws KeytrailError `journal.damaged` */
export const decompress = (bytes: Uint8Array): Buffer => {
  try {
    return zstdDecompressSync(bytes)
  } catch (cause) {
    throw new KeytrailError('journal.damaged', 'a block of the journal cannot be decompressed', { cause })
  }
}
