/** Reads the configuration file; every mistake is reported with line, column and the nearest valid name. */
import { readFileSync } from 'node:fs'
import { isCollection, isMap, isNode, LineCounter, parseDocument } from 'yaml'
import { nearest } from '../detect/fields.ts'
import { type Config, config, defaultConfig } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'

/** @throws KeytrailError `config.invalid`, with all mistakes in its message */
export const loadConfig = (path: string | undefined): Config => {
  if (path === undefined) return defaultConfig
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new KeytrailError(
      'config.invalid',
      `cannot read ${path}: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    )
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { schema: 'core', merge: false, uniqueKeys: true, lineCounter: lines })
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${path}:${line}:${col}`
  }
  const [error] = document.errors
  if (error !== undefined)
    throw new KeytrailError('config.invalid', `${at(error.pos[0])}: ${error.message.split(' at line')[0]}`)
  let body: unknown
  try {
    body = document.toJS({ maxAliasCount: 100 }) ?? {}
  } catch (cause) {
    throw new KeytrailError('config.invalid', `${path}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    })
  }
  const checked = config.safeParse(body)
  if (checked.success) return checked.data
  const messages = checked.error.issues.map((issue) => {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined
    const hint = unknown === undefined ? undefined : nearest(unknown, Object.keys(config.shape))
    const text =
      unknown === undefined
        ? `${issue.path.join('.')}: ${issue.message}`
        : `unknown name "${unknown}"${hint === undefined ? '' : `; did you mean "${hint}"?`}`
    return `${at(offsetOf(document.contents, unknown === undefined ? issue.path : [...issue.path, unknown]))}: ${text}`
  })
  throw new KeytrailError('config.invalid', messages.join('\n'))
}

/** Where the name or element at `path` begins; the nearest part that exists. */
const offsetOf = (contents: unknown, path: readonly PropertyKey[]): number => {
  let node = contents
  let offset = 0
  for (const key of path) {
    const pair = isMap(node) ? node.items.find((one) => String(one.key) === String(key)) : undefined
    const next: unknown = pair?.value ?? (isCollection(node) ? node.get(key, true) : undefined)
    const marked: unknown = pair?.key ?? next
    if (!isNode(marked) || !marked.range) break
    offset = marked.range[0]
    node = next
  }
  return offset
}
