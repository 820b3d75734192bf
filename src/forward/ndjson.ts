/** Writes one JSON object a line to a file: at once for `scan`, as a sink that survives a kill for `run`. */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { KeytrailError } from '../model/error.ts'
import type { Position, Sink } from '../pipeline/ports.ts'

export interface LineWriter {
  /** @param line JSON text without a line end */
  write(line: string): void
  close(): void
}

const BUFFER_CHARS = 256 * 1024

const unwritable = (path: string, cause: unknown) =>
  new KeytrailError(
    'output.unwritable',
    `cannot write ${path}: ${cause instanceof Error ? cause.message : cause}`,
    { cause },
  )

/** Opens the file at once, so that a wrong path is known before the work begins. */
export const ndjsonFile = (path: string): LineWriter => {
  let file: number
  try {
    file = openSync(path, 'w', 0o600)
  } catch (cause) {
    throw unwritable(path, cause)
  }
  let pending = ''
  const flush = () => {
    try {
      const bytes = Buffer.from(pending)
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    } catch (cause) {
      throw unwritable(path, cause)
    }
    pending = ''
  }
  return {
    write(line) {
      pending += `${line}\n`
      if (pending.length >= BUFFER_CHARS) flush()
    },
    close() {
      flush()
      closeSync(file)
    },
  }
}

/** A file that ends where the last settled delivery ended. */
const settledFile = async (
  path: string,
  settled: Position[string] | undefined,
  of: Position[string] | undefined,
) => {
  mkdirSync(dirname(path), { recursive: true })
  const file = await open(path, 'a', 0o600)
  const { size } = await file.stat()
  const isKnown = typeof settled === 'number' && settled <= size && (of ?? path) === path
  const end = isKnown ? settled : size // moved away, cut, or another one: go on at its end
  if (end < size) await file.truncate(end)
  return { file, end }
}

/**
 * A sink of two files. What was written but not settled is cut off when it opens again, so that a kill between the
 * two repeats nothing.
 */
export const ndjsonSink = (
  name: string,
  paths: { readonly events?: string; readonly alerts?: string },
): Sink => {
  const files = new Map<'events' | 'alerts', { readonly file: FileHandle; end: number }>()
  const append = async (stream: 'events' | 'alerts', lines: readonly string[]) => {
    const one = files.get(stream)
    if (one === undefined || lines.length === 0) return
    const bytes = Buffer.from(`${lines.join('\n')}\n`)
    try {
      await one.file.truncate(one.end) // of an attempt that failed half-way
      await one.file.appendFile(bytes)
      await one.file.datasync()
    } catch (cause) {
      throw unwritable(paths[stream] ?? name, cause)
    }
    one.end += bytes.length
  }
  const ends = () =>
    Object.fromEntries(
      [...files].flatMap(([stream, { end }]) => [
        [stream, end],
        [`${stream}_file`, paths[stream] ?? ''],
      ]),
    )
  return {
    name,
    async open(memo) {
      for (const stream of ['events', 'alerts'] as const) {
        const path = paths[stream]
        if (path !== undefined && !files.has(stream))
          files.set(stream, await settledFile(path, memo[stream], memo[`${stream}_file`]))
      }
      return ends()
    },
    async send({ events, alerts }) {
      await append('events', events)
      await append(
        'alerts',
        alerts.map((alert) => JSON.stringify(alert)),
      )
      return { memo: ends(), refused: [] }
    },
    async close() {
      for (const { file } of files.values()) await file.close()
      files.clear()
    },
  }
}
