/**
 * What Kafka compresses with, opened without trust: a batch of a megabyte may claim to be gigabytes. gzip and zstd
 * come with Node, snappy and LZ4 from packages. Compressing is for producers: tests and benchmarks.
 */
import { promisify } from 'node:util'
import { gunzip, gzip, zstdCompress, zstdDecompress } from 'node:zlib'
import { messageOf } from '../model/error.ts'

export interface Codec {
  compress(bytes: Buffer): Promise<Buffer>
  /** @throws when it would become larger than a batch may be */
  decompress(bytes: Buffer): Promise<Buffer>
}

/** As for every payload inside another (contracts.md section 1). A broker takes batches of 1 MiB by default. */
const MAX_BATCH_BYTES = 64 * 1024 * 1024

const TOO_LARGE = `it becomes more than ${MAX_BATCH_BYTES} bytes`

/** A batch that is broken, or that is not opened because of its size. */
export class BatchUnreadable extends Error {
  override readonly name = 'KafkaJSNotImplemented' // the one failure of a fetch that kafkajs does not try again
}

const guarded = (name: string, codec: Codec): Codec => ({
  compress: codec.compress,
  async decompress(bytes) {
    try {
      return await codec.decompress(bytes)
    } catch (cause) {
      const isLarge = cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE'
      throw new BatchUnreadable(`${name}: ${isLarge ? TOO_LARGE : messageOf(cause)}`)
    }
  },
})

/** Kafka's Java clients put snappy in the framing of snappy-java: 16 bytes of head, then length and block, repeated. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
const XERIAL_HEAD_BYTES = 16

const snappyBlocks = (bytes: Buffer): Buffer[] => {
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) return [bytes]
  const blocks: Buffer[] = []
  for (let at = XERIAL_HEAD_BYTES; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) throw new Error('a snappy batch is cut off')
    blocks.push(bytes.subarray(at + 4, end))
    at = end
  }
  return blocks
}

/** Length of the opened block: a varint in front of it (format_description.txt of snappy). */
const snappyLength = (block: Buffer): number => {
  let length = 0
  for (const [place, byte] of block.subarray(0, 5).entries()) {
    length += (byte & 0x7f) * 2 ** (7 * place)
    if (byte < 0x80) return length
  }
  throw new Error('a snappy batch has no length')
}

/** Most that an LZ4 frame can become: its blocks, each as large as its head allows (lz4_Frame_format.md). */
export const lz4Bound = (frame: Buffer): number => {
  if (frame.length < 7 || frame.readUInt32LE(0) !== 0x184d2204) throw new Error('a batch is no LZ4 frame')
  const flags = frame.readUInt8(4)
  const blockBytes = 2 ** (8 + 2 * ((frame.readUInt8(5) >> 4) & 7))
  let at = 7 + (flags & 0x08 ? 8 : 0) + (flags & 0x01 ? 4 : 0)
  let bound = 0
  while (at + 4 <= frame.length) {
    const size = frame.readUInt32LE(at)
    if (size === 0) break
    const stored = size >= 2 ** 31
    bound += stored ? size - 2 ** 31 : blockBytes
    at += 4 + (size % 2 ** 31) + (flags & 0x10 ? 4 : 0)
  }
  return bound
}

const bounded = { maxOutputLength: MAX_BATCH_BYTES }

const gzipCodec: Codec = {
  compress: promisify<Buffer, Buffer>(gzip),
  decompress: (bytes) => promisify(gunzip)(bytes, bounded),
}

const zstdCodec: Codec = {
  compress: promisify<Buffer, Buffer>(zstdCompress),
  decompress: (bytes) => promisify(zstdDecompress)(bytes, bounded),
}

/** Native code that comes prebuilt for each platform: loaded when a source opens. */
export const loadCodecs = async () => {
  const snappy = await import('snappy')
  const lz4 = await import('lz4-napi')
  return {
    gzip: guarded('gzip', gzipCodec),
    zstd: guarded('zstd', zstdCodec),
    snappy: guarded('snappy', {
      compress: (bytes) => snappy.compress(bytes),
      async decompress(bytes) {
        const blocks = snappyBlocks(bytes)
        const length = blocks.reduce((sum, block) => sum + snappyLength(block), 0)
        if (length > MAX_BATCH_BYTES) throw new Error(TOO_LARGE)
        return Buffer.concat(
          await Promise.all(blocks.map(async (block) => Buffer.from(await snappy.uncompress(block)))),
        )
      },
    }),
    lz4: guarded('lz4', {
      compress: (bytes) => lz4.compressFrame(bytes),
      async decompress(bytes) {
        const bound = lz4Bound(bytes)
        if (bound > MAX_BATCH_BYTES) throw new Error(TOO_LARGE)
        return lz4.decompressFrame(bytes)
      },
    }),
  } as const satisfies Readonly<Record<string, Codec>>
}
