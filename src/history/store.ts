/** Where a history lies: a folder, or a bucket. Small objects, never changed but for checkpoints and partial tiles. */
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { S3Client } from '@aws-sdk/client-s3'

export interface HistoryStore {
  /** Shown to people. */
  readonly address: string
  get(path: string): Promise<Buffer | undefined>
  /** Durable when it returns; each whole or not at all. */
  put(...objects: readonly (readonly [path: string, bytes: Uint8Array])[]): Promise<void>
  /** As `put`, for a name that must not exist. @returns whether it did not */
  add(path: string, bytes: Uint8Array): Promise<boolean>
  /** Takes a file over: it is gone where it was. */
  take(path: string, file: string): Promise<void>
  remove(path: string): Promise<void>
  /** Paths below a folder, ended by a slash. */
  list(folder: string): Promise<string[]>
  /** A file on this machine with the content of an object that never changes. */
  local(path: string): Promise<string>
  /** SHA-256 of an object as it is now, nothing when it is not there. */
  sha256(path: string): Promise<string | undefined>
  /** A folder on this machine for files that `take` gets. */
  readonly scratch: string
}

const isCode = (cause: unknown, ...codes: readonly string[]) =>
  cause instanceof Error && 'code' in cause && codes.includes(String(cause.code))

const flush = (path: string) => {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

const CHUNK_BYTES = 1024 * 1024

/** SHA-256 of a file; nothing when it is not there. */
export const fileSha256 = (path: string): string | undefined => {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return undefined
    throw cause
  }
  const digest = createHash('sha256')
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  for (let count = readSync(file, chunk); count > 0; count = readSync(file, chunk))
    digest.update(chunk.subarray(0, count))
  closeSync(file)
  return digest.digest('hex')
}

const removeFile = (path: string) => {
  try {
    unlinkSync(path)
  } catch (cause) {
    if (!isCode(cause, 'ENOENT')) throw cause
  }
}

const filesBelow = (folder: string, prefix: string): string[] => {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((one) =>
      one.isDirectory()
        ? filesBelow(join(folder, one.name), `${prefix}${one.name}/`)
        : [`${prefix}${one.name}`],
    )
  } catch (cause) {
    if (isCode(cause, 'ENOENT', 'ENOTDIR')) return []
    throw cause
  }
}

const AT_ONCE = 16
const beside = async <T>(all: readonly T[], work: (one: T, at: number) => Promise<void>): Promise<void> => {
  for (let from = 0; from < all.length; from += AT_ONCE)
    await Promise.all(all.slice(from, from + AT_ONCE).map((one, at) => work(one, from + at)))
}

export const folderStore = (folder: string): HistoryStore => {
  const scratch = join(folder, 'tmp')
  const made = new Set<string>()
  const place = (path: string): string => {
    mkdirSync(scratch, { recursive: true }) // when something is written: it may be a copy that nobody can change
    const target = join(folder, path)
    const parent = dirname(target)
    if (!made.has(parent)) {
      const first = mkdirSync(parent, { recursive: true })
      for (let one = parent; first !== undefined && one.length >= dirname(first).length; one = dirname(one))
        flush(one)
      made.add(parent)
    }
    return target
  }
  return {
    address: folder,
    scratch,
    async get(path) {
      try {
        return await readFile(join(folder, path))
      } catch (cause) {
        if (isCode(cause, 'ENOENT', 'ENOTDIR', 'EISDIR')) return undefined
        throw cause
      }
    },
    async put(...objects) {
      const folders = new Set<string>()
      await beside(objects, async ([path, bytes], at) => {
        const target = place(path)
        folders.add(dirname(target))
        const part = join(scratch, `${process.pid}-${at}.part`)
        await writeFile(part, bytes, { flush: true })
        await rename(part, target)
      })
      for (const one of folders) flush(one)
    },
    async add(path, bytes) {
      const target = place(path)
      const part = join(scratch, `${process.pid}.part`)
      writeFileSync(part, bytes, { flush: true })
      try {
        linkSync(part, target)
      } catch (cause) {
        if (isCode(cause, 'EEXIST')) return false
        throw cause
      } finally {
        unlinkSync(part)
      }
      flush(dirname(target))
      return true
    },
    async take(path, file) {
      const target = place(path)
      flush(file)
      renameSync(file, target)
      flush(dirname(target))
    },
    async remove(path) {
      removeFile(join(folder, path))
    },
    list: async (below) => filesBelow(join(folder, below), below),
    local: async (path) => join(folder, path),
    sha256: async (path) => fileSha256(join(folder, path)),
  }
}

/** @param scratch on this machine: what is written, and what was fetched to be read */
export const bucketStore = (
  client: S3Client,
  bucket: string,
  prefix: string,
  scratch: string,
): HistoryStore => {
  const sdk = import('@aws-sdk/client-s3')
  const at = (path: string) => ({ Bucket: bucket, Key: `${prefix}${path}` })
  const isNamed = (cause: unknown, ...names: readonly string[]) =>
    cause instanceof Error && names.includes(cause.name)
  const bodyOf = async (path: string) => {
    try {
      return (await client.send(new (await sdk).GetObjectCommand(at(path)))).Body
    } catch (cause) {
      if (isNamed(cause, 'NoSuchKey')) return undefined
      throw cause
    }
  }
  const store: HistoryStore = {
    address: `s3://${bucket}/${prefix}`,
    scratch,
    async get(path) {
      const body = await bodyOf(path)
      return body && Buffer.from(await body.transformToByteArray())
    },
    async put(...objects) {
      const { PutObjectCommand } = await sdk
      await beside(objects, async ([path, Body]) => {
        await client.send(new PutObjectCommand({ ...at(path), Body }))
      })
    },
    async add(path, bytes) {
      try {
        await client.send(new (await sdk).PutObjectCommand({ ...at(path), Body: bytes, IfNoneMatch: '*' }))
        return true
      } catch (cause) {
        if (isNamed(cause, 'PreconditionFailed', 'ConditionalRequestConflict')) return false
        throw cause
      }
    },
    async take(path, file) {
      await store.put([path, readFileSync(file)])
      rmSync(file)
    },
    async remove(path) {
      await client.send(new (await sdk).DeleteObjectCommand(at(path)))
    },
    async list(folder) {
      const { paginateListObjectsV2 } = await sdk
      const found: string[] = []
      for await (const { Contents } of paginateListObjectsV2(
        { client },
        { Bucket: bucket, Prefix: `${prefix}${folder}` },
      ))
        found.push(...(Contents ?? []).map(({ Key = '' }) => Key.slice(prefix.length)))
      return found
    },
    async local(path) {
      const target = join(scratch, 'read', path.replaceAll('/', '_'))
      if (existsSync(target)) return target
      const bytes = await store.get(path)
      if (bytes === undefined) return target // whoever opens it says that it is missing
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(`${target}.part`, bytes)
      renameSync(`${target}.part`, target)
      return target
    },
    async sha256(path) {
      const body = await bodyOf(path)
      if (body === undefined) return undefined
      const digest = createHash('sha256')
      for await (const chunk of body.transformToWebStream()) digest.update(chunk)
      return digest.digest('hex')
    },
  }
  return store
}
