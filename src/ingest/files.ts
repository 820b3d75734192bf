/**
 * Files as a source: paths, folders, globs and standard input; plain, gzip and zstd, told by their first
 * bytes. Memory does not grow with the file, and a decompression bomb is stopped on the way.
 */
import {
  closeSync,
  createReadStream,
  globSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable, type Transform } from 'node:stream'
import { promisify } from 'node:util'
import {
  constants,
  createGunzip,
  createZstdDecompress,
  gunzip,
  type ZlibOptions,
  zstdDecompressSync,
} from 'node:zlib'
import type { FileFailReason } from '../model/outcome.ts'

export interface InputFile {
  /** As shown to people and written into events; `-` is standard input. */
  readonly path: string
  /** Named on the command line: then it must be readable. */
  readonly named: boolean
  readonly bytes: number
  /** Why it cannot be read, when that is known already. */
  readonly failure?: string
}

const isGlob = (path: string) => /[*?[{]/.test(path)
const messageOf = (cause: unknown) =>
  cause instanceof Error ? cause.message.replace(/^[A-Z]+: /, '') : String(cause)
const byPath = (a: InputFile, b: InputFile) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0)

/**
 * Turns what the operator named into files, in order of path, each once. Folders are read recursively;
 * sockets and devices inside them are left out.
 */
export const findFiles = (paths: readonly string[]): InputFile[] => {
  const found = new Map<string, InputFile>()
  const folders = new Set<string>()
  const take = (path: string, named: boolean) => {
    try {
      const stat = statSync(path)
      if (!stat.isDirectory()) {
        if (named || stat.isFile())
          found.set(path, { path, named: named || (found.get(path)?.named ?? false), bytes: stat.size })
        return
      }
      const real = realpathSync(path)
      if (folders.has(real)) return
      folders.add(real)
      for (const name of readdirSync(path).sort()) take(join(path, name), false)
    } catch (cause) {
      found.set(path, { path, named, bytes: 0, failure: messageOf(cause) })
    }
  }
  for (const path of paths) {
    if (path === '-') {
      found.set(path, { path, named: true, bytes: 0 })
      continue
    }
    const matches =
      isGlob(path) && statSync(path, { throwIfNoEntry: false }) === undefined ? globSync(path) : [path]
    if (matches.length === 0)
      found.set(path, { path, named: true, bytes: 0, failure: 'no file matches this pattern' })
    for (const match of matches) take(match, true)
  }
  return [...found.values()].sort(byPath)
}

export interface ReadFailure {
  readonly reason: Extract<FileFailReason, 'unreadable' | 'truncated' | 'corrupt' | 'bomb'>
  readonly detail: string
}

/** Files up to this size are read and decompressed at once. */
const SMALL_BYTES = 1024 * 1024
const SMALL_OUTPUT_BYTES = 32 * 1024 * 1024
const SMALL_LIMIT = { maxOutputLength: SMALL_OUTPUT_BYTES }
const CHUNK_BYTES = 256 * 1024
/** More than 200 to 1 across 16 MiB is a bomb; CloudTrail compresses about 10 to 1. */
const BOMB_RATIO = 200
const BOMB_BYTES = 16 * 1024 * 1024
/** A gzip member ends with 8 bytes of checksum and length. */
const TAIL_BYTES = 16

type Packing = 'plain' | 'gzip' | 'zstd'

const packingOf = (head: Buffer): Packing => {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip'
  return head.length >= 4 && head.readUInt32LE(0) === 0xfd2fb528 ? 'zstd' : 'plain'
}

/** Whether a file is compressed, by its first bytes. */
export const isPacked = (path: string): boolean => {
  const file = openSync(path, 'r')
  try {
    const head = Buffer.alloc(4)
    return packingOf(head.subarray(0, readSync(file, head))) !== 'plain'
  } finally {
    closeSync(file)
  }
}

/** What the end of a gzip file says of its size: decompressing into one buffer of that size saves a copy. */
const sizeHint = (bytes: Buffer): number =>
  Math.min(
    Math.max(bytes.length < 18 ? 0 : bytes.readUInt32LE(bytes.length - 4) + 1, CHUNK_BYTES),
    SMALL_OUTPUT_BYTES,
  )

/** In a thread of Node's own: `run` judges in the meantime. */
const unzip = promisify<Buffer, ZlibOptions, Buffer>(gunzip)

const readSmall = async (path: string): Promise<Buffer | undefined> => {
  const bytes = readFileSync(path)
  const packing = packingOf(bytes)
  if (packing === 'plain') return bytes
  try {
    const out =
      packing === 'gzip'
        ? await unzip(bytes, { ...SMALL_LIMIT, chunkSize: sizeHint(bytes) })
        : unpackFrames(bytes)
    return out.length >= BOMB_BYTES && out.length > BOMB_RATIO * bytes.length ? undefined : out
  } catch {
    return undefined // damaged or large: the streaming path reads what can be read, and says what is wrong
  }
}

/**
 * Decompresses a small gzip file beside the main thread. @param limit bytes that may come out of it
 * @returns none when it is of another kind, larger or damaged: then `readStream` says what is wrong
 */
export const unpackBeside = async (bytes: Buffer, limit: number): Promise<Buffer | undefined> => {
  if (packingOf(bytes) !== 'gzip') return undefined
  try {
    const chunkSize = Math.min(sizeHint(bytes), limit)
    return await unzip(bytes, { maxOutputLength: limit, chunkSize })
  } catch {
    return undefined
  }
}

/** zstd files may hold several frames; Node decodes one at a time. */
const unpackFrames = (bytes: Buffer): Buffer => {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const { buffer, engine } = zstdDecompressSync(bytes.subarray(at), {
      ...SMALL_LIMIT,
      info: true,
    }) as unknown as WithInfo
    if (engine.bytesWritten === 0) break
    parts.push(buffer)
    at += engine.bytesWritten
  }
  return Buffer.concat(parts)
}

/** What zlib returns with `info: true`, which its types leave out. */
interface WithInfo {
  readonly buffer: Buffer
  readonly engine: { readonly bytesWritten: number }
}

const decompressor = (packing: Exclude<Packing, 'plain'>): Transform & { bytesWritten: number } =>
  packing === 'gzip'
    ? createGunzip({ chunkSize: CHUNK_BYTES, flush: constants.Z_SYNC_FLUSH })
    : createZstdDecompress({ chunkSize: CHUNK_BYTES })

/** Node decodes one frame; files up to 1 MiB are read frame by frame. */
const SEVERAL_FRAMES =
  'there are bytes behind the first zstd frame; unpack the file with zstd and scan the result'

class Bomb extends Error {}

const failureOf = (cause: unknown, packed: boolean): ReadFailure => {
  if (cause instanceof Bomb) return { reason: 'bomb', detail: cause.message }
  const message = messageOf(cause)
  if (packed && /unexpected end|buf error|Src size is incorrect/i.test(message))
    return { reason: 'truncated', detail: message }
  const zlib = cause instanceof Error && 'code' in cause && /^Z_|^ZSTD_|^ERR_/.test(String(cause.code))
  return { reason: zlib ? 'corrupt' : 'unreadable', detail: message }
}

/** May ask to wait before more comes. */
type Push = (chunk: Buffer) => void | Promise<void>

/** Decompresses what comes, with the checks of a file. @returns the failure, if there was one */
export const readStream = async (input: Readable, push: Push): Promise<ReadFailure | undefined> => {
  let packing: Packing = 'plain'
  try {
    const chunks = input[Symbol.asyncIterator]() as AsyncIterator<Buffer> // file streams without encoding give buffers
    let head: Buffer = Buffer.alloc(0)
    let ended = false
    while (head.length < 4 && !ended) {
      const { value, done } = await chunks.next()
      if (done) ended = true
      else head = Buffer.concat([head, value])
    }
    packing = packingOf(head)
    /** The last bytes come one by one: when the end is missing or wrong, all before it has been given out. */
    const rest = async function* () {
      let held: Buffer = Buffer.alloc(0)
      const add = (chunk: Buffer): Buffer => {
        const all = Buffer.concat([held, chunk])
        const cut = Math.max(all.length - TAIL_BYTES, 0)
        held = all.subarray(cut)
        return all.subarray(0, cut)
      }
      const first = add(head)
      if (first.length > 0) yield first
      for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
        const ready = add(next.value)
        if (ready.length > 0) yield ready
      }
      for (let at = 0; at < held.length; at++) yield held.subarray(at, at + 1)
    }
    if (packing === 'plain') {
      for await (const chunk of rest()) await push(chunk)
      return undefined
    }
    const unpack = decompressor(packing)
    const source = Readable.from(rest(), { objectMode: false })
    source.on('error', (cause) => unpack.destroy(cause))
    let fed = 0
    source.on('data', (chunk: Buffer) => {
      fed += chunk.length
    })
    let out = 0
    let outMark = 0
    let inMark = 0
    for await (const chunk of source.pipe(unpack) as AsyncIterable<Buffer>) {
      out += chunk.length
      if (out - outMark >= BOMB_BYTES) {
        if ((out - outMark) / Math.max(unpack.bytesWritten - inMark, 1) > BOMB_RATIO)
          throw new Bomb(`more than ${BOMB_RATIO} to 1 after ${out} bytes`)
        outMark = out
        inMark = unpack.bytesWritten
      }
      await push(chunk)
    }
    if (packing === 'zstd' && unpack.bytesWritten < fed) return { reason: 'corrupt', detail: SEVERAL_FRAMES }
    return undefined
  } catch (cause) {
    return failureOf(cause, packing !== 'plain')
  } finally {
    input.destroy()
  }
}

/**
 * Reads one file and pushes its decompressed bytes. What could be read before a failure has been pushed.
 * @param start place to begin at in a file that is not compressed
 * @returns the failure, if there was one
 */
export const readFile = async (file: InputFile, push: Push, start = 0): Promise<ReadFailure | undefined> => {
  if (file.failure !== undefined) return { reason: 'unreadable', detail: file.failure }
  if (file.path === '-') return readStream(process.stdin, push)
  try {
    if (start === 0 && file.bytes > 0 && file.bytes <= SMALL_BYTES) {
      const bytes = await readSmall(file.path)
      if (bytes !== undefined) {
        await push(bytes)
        return undefined
      }
    }
  } catch (cause) {
    return failureOf(cause, false)
  }
  const from = start > 0 ? { start } : {} // a pipe knows no places
  return readStream(createReadStream(file.path, { highWaterMark: CHUNK_BYTES, ...from }), push)
}
