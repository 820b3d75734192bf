/** Writes one JSON object a line to a file. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { KeytrailError } from '../model/error.ts'

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
