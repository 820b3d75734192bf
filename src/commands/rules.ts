/** `keytrail rules import`: which public rules load, which do not and why, and which wait for a source. */
import { copyFileSync, mkdirSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { loadDetectors } from '../config/detectors.ts'
import { missingFeed } from '../detect/lint.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { printable } from '../normalize/text.ts'

export interface ImportOptions {
  readonly json: boolean
  /** Folder to copy the usable files into. */
  readonly to?: string | undefined
}

const count = <T>(all: readonly T[], key: (one: T) => string): Record<string, number> => {
  const found: Record<string, number> = {}
  for (const name of all.map(key).sort()) found[name] = (found[name] ?? 0) + 1
  return found
}

/** @returns 0 when every file loads, 3 when some do not, 4 when none does */
export const importRules = (folder: string, options: ImportOptions): number => {
  const { files, documents, problems } = loadDetectors([folder], false)
  const refused = problems.filter(({ inSet }) => !inSet)
  const conflicts = problems.filter(({ inSet }) => inSet)
  const waiting = documents.filter((one) => missingFeed(one) !== undefined)
  const bad = new Set(problems.map(({ path }) => path))
  const idle = new Set(waiting.map(({ place }) => place.path))
  const usable = files.filter(({ path }) => !bad.has(path) && !idle.has(path))
  if (options.to !== undefined)
    try {
      for (const { path } of usable) {
        const target = join(options.to, relative(resolve(folder), resolve(path)))
        mkdirSync(join(target, '..'), { recursive: true })
        copyFileSync(path, target)
      }
    } catch (cause) {
      throw new KeytrailError('output.unwritable', `cannot write to ${options.to}: ${messageOf(cause)}`, {
        cause,
      })
    }
  const result = {
    files: files.length,
    documents: count(documents, ({ kind }) => kind),
    usable: usable.length,
    waiting: count(waiting, (one) => missingFeed(one) ?? ''),
    refused,
    conflicts,
  }
  if (options.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  else {
    const say = (text: string) => process.stdout.write(`${printable(text)}\n`)
    const place = ({ path, line, column, message }: (typeof problems)[number]) =>
      say(`  ${path}:${line}:${column}: ${message}`)
    say(
      `${files.length} files: ${Object.entries(result.documents)
        .map(([kind, number]) => `${number} ${kind}${number === 1 ? '' : 's'}`)
        .join(', ')} read, ${usable.length} files usable here`,
    )
    if (options.to !== undefined) say(`${usable.length} files copied to ${options.to}`)
    if (refused.length > 0) say(`${refused.length} refused:`)
    refused.forEach(place)
    if (conflicts.length > 0) say(`${conflicts.length} that do not fit the others:`)
    conflicts.forEach(place)
    if (waiting.length > 0) say(`${waiting.length} wait for a source that Keytrail does not have:`)
    for (const [feed, number] of Object.entries(result.waiting)) say(`  ${number} × ${feed}`)
  }
  return problems.length === 0 ? 0 : usable.length === 0 ? 4 : 3
}
