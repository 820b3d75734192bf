/** Writes one JSON object a line to a file: at once for `scan`, as a sink that survives a kill for `run`. */
import { closeSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { KeytrailError } from '../model/error.ts'
import type { Position, Sink } from '../pipeline/ports.ts'
import type { Rendering } from '../render/renderings.ts'

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

/** A file that ends where the last settled delivery ended. @param ino of the file that it ended in */
const settledFile = async (path: string, settled?: Position[string], ino?: Position[string]) => {
  mkdirSync(dirname(path), { recursive: true })
  const file = await open(path, 'a', 0o600)
  const { size, ino: own } = await file.stat()
  const isKnown = typeof settled === 'number' && settled <= size && (ino ?? own) === own
  const end = isKnown ? settled : size // moved away or cut: go on at its end
  if (end < size) await file.truncate(end)
  return { file, end, ino: own }
}

/** The file under the name that a rotation left to us: moved away, it is begun anew; emptied, it goes on at its end. */
const rotated = async (path: string, one: Awaited<ReturnType<typeof settledFile>>) => {
  const [there, ours] = [statSync(path, { throwIfNoEntry: false }), await one.file.stat()]
  if (there?.ino === ours.ino && there.dev === ours.dev) return { ...one, end: Math.min(one.end, ours.size) }
  await one.file.close()
  return settledFile(path)
}

/**
 * A sink of two files, for whatever forwards files. What was written but not settled is cut off when it opens again, so
 * that a kill between the two repeats nothing. A file may be rotated at any time, without a signal.
 */
export const ndjsonSink = (
  name: string,
  paths: { readonly events?: string; readonly alerts?: string },
  rendering: Rendering,
): Sink => {
  const files = new Map<'events' | 'alerts', Awaited<ReturnType<typeof settledFile>>>()
  const append = async (stream: 'events' | 'alerts', lines: readonly string[]) => {
    const [path, before] = [paths[stream], files.get(stream)]
    if (path === undefined || before === undefined || lines.length === 0) return
    const bytes = Buffer.from(`${lines.join('\n')}\n`)
    let one = before
    try {
      one = await rotated(path, before)
      files.set(stream, one)
      await one.file.truncate(one.end) // of an attempt that failed half-way
      await one.file.appendFile(bytes)
      await one.file.datasync()
    } catch (cause) {
      throw unwritable(path, cause)
    }
    one.end += bytes.length
  }
  const ends = () =>
    Object.fromEntries(
      [...files].flatMap(([stream, { end, ino }]) => [
        [stream, end],
        [`${stream}.ino`, ino],
      ]),
    )
  return {
    name,
    async open(memo) {
      for (const stream of ['events', 'alerts'] as const) {
        const path = paths[stream]
        if (path !== undefined && !files.has(stream))
          files.set(stream, await settledFile(path, memo[stream], memo[`${stream}.ino`]))
      }
      return ends()
    },
    async send({ events, alerts }) {
      await append(
        'events',
        events.map((json) => rendering.event(json)),
      )
      await append('alerts', alerts.map(rendering.alert))
      return { memo: ends(), refused: [] }
    },
    async close() {
      for (const { file } of files.values()) await file.close()
      files.clear()
    },
  }
}
