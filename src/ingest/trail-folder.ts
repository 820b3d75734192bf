/**
 * A copy of a CloudTrail bucket on disk, from `AWSLogs` on, as `aws s3 sync` makes it. What S3 keeps as metadata of an
 * object stands beside it in `<file>.metadata.json`, as `aws s3api head-object` prints it.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { TrailObjects } from '../model/integrity.ts'
import { findFiles, type InputFile, readFile } from './files.ts'

const SIDECAR = '.metadata.json'

const fromLogs = (path: string): string | undefined => /^(?:.*\/)?(AWSLogs\/.*)$/.exec(path)?.[1]

const metadataOf = (path: string): Readonly<Record<string, string>> => {
  try {
    const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'))
    const all = typeof parsed === 'object' && parsed !== null && 'Metadata' in parsed ? parsed.Metadata : {}
    const texts = Object.entries(all ?? {}).filter(([, value]) => typeof value === 'string')
    return Object.fromEntries(texts)
  } catch (cause) {
    throw new KeytrailError('usage.option', `${path} is not what head-object prints: ${messageOf(cause)}`)
  }
}

export const trailFolder = (paths: readonly string[]): TrailObjects => {
  const files = new Map<string, InputFile & { readonly place: string }>()
  for (const file of findFiles(paths)) {
    const place = fromLogs(resolve(file.path))
    // A second file of the same place keeps its own name, which no digest knows.
    if (place !== undefined) files.set(files.has(place) ? file.path : place, { ...file, place })
  }
  return {
    nameOf: (_bucket, key) => fromLogs(key) ?? key,
    async *digests() {
      for (const name of files.keys()) if (name.includes('/CloudTrail-Digest/')) yield name
    },
    async *logs(digest) {
      const [folder = ''] = /^.*\/CloudTrail-Digest\/[^/]+\//.exec(digest) ?? []
      const prefix = folder.replace('/CloudTrail-Digest/', '/CloudTrail/')
      for (const [name, { place }] of files)
        if (place.startsWith(prefix) && !/\/\.[^/]*$/.test(place)) yield name
    },
    async read(name, push) {
      const file = files.get(name)
      if (file === undefined) return { kind: 'missing' }
      const failure = await readFile(file, push)
      if (failure !== undefined)
        return { kind: failure.reason === 'unreadable' ? 'unreadable' : 'damaged', detail: failure.detail }
      const sidecar = files.get(name + SIDECAR)
      return { kind: 'read', metadata: sidecar === undefined ? undefined : metadataOf(sidecar.path) }
    },
  }
}
