/**
 * Reads the configuration file. Every mistake is reported with line, column and the nearest valid name, all of them
 * at once: what the schema refuses, secrets that are not there, paths that cannot be read, unknown detectors.
 */
import { accessSync, constants, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { isCollection, isMap, isNode, LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { nearest } from '../detect/nearest.ts'
import { type Config, config, defaultConfig } from '../model/config.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { SECRET } from '../model/setting.ts'
import { canonical, isObject, list, object } from '../normalize/json.ts'
import { loadDetectors } from './detectors.ts'
import { loadGeo } from './geo.ts'
import { loadKnowledge } from './knowledge.ts'
import { readSecret } from './secrets.ts'

interface Mistake {
  readonly path: readonly PropertyKey[]
  readonly message: string
}

interface Schema {
  readonly secret?: boolean
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
}

const published = z.toJSONSchema(config, { target: 'draft-2020-12', io: 'input' }) as Schema // ours: this much of its shape is known

/** The schemas that may hold at a path: several where a `type` chooses. */
const schemasAt = (path: readonly PropertyKey[]): readonly Schema[] => {
  let all: readonly Schema[] = [published]
  for (const key of path)
    all = all.flatMap((one) => {
      const below = one.properties?.[String(key)] ?? one.items ?? one.additionalProperties
      return typeof below === 'object' ? (below.oneOf ?? below.anyOf ?? [below]) : []
    })
  return all
}

const ofSchema = (issue: z.core.$ZodIssue): Mistake[] => {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((name) => {
      const hint = nearest(
        name,
        schemasAt(issue.path).flatMap((one) => Object.keys(one.properties ?? {})),
      )
      return {
        path: [...issue.path, name],
        message: `unknown name "${name}"${hint ? `; did you mean "${hint}"?` : ''}`,
      }
    })
  return [{ path: issue.path, message: `${issue.path.join('.')}: ${issue.message}` }]
}

/** Every text in the file, with its path. */
function* textsIn(
  value: unknown,
  path: readonly PropertyKey[] = [],
): Generator<readonly [readonly PropertyKey[], string]> {
  if (typeof value === 'string') yield [path, value]
  else if (Array.isArray(value)) for (const [at, one] of value.entries()) yield* textsIn(one, [...path, at])
  else if (isObject(value))
    for (const [name, one] of Object.entries(value)) yield* textsIn(one, [...path, name])
}

const ofSecrets = (body: unknown): Mistake[] =>
  [...textsIn(body)].flatMap(([path, text]) => {
    const isSecret = schemasAt(path).some((one) => one.secret)
    if (!SECRET.test(text)) return []
    if (!isSecret)
      return [
        { path, message: `${path.join('.')}: only a secret may be taken from the environment or a file` },
      ]
    const read = readSecret(text)
    return 'missing' in read ? [{ path, message: `${path.join('.')}: ${read.missing}` }] : []
  })

const ofPaths = (body: unknown): Mistake[] =>
  Object.entries(object(object(body)['sources'])).flatMap(([name, source]) =>
    list(object(source)['paths']).flatMap((path, at) => {
      if (typeof path !== 'string' || /[*?[{]/.test(path)) return []
      try {
        accessSync(path, constants.R_OK)
        return []
      } catch (cause) {
        return [
          {
            path: ['sources', name, 'paths', at],
            message: `cannot read ${path}: ${messageOf(cause)}; correct the path, or create it and allow reading`,
          },
        ]
      }
    }),
  )

const ofDetectors = (body: unknown): Mistake[] => {
  const chosen = object(object(body)['detectors'])
  const folders = list(chosen['folders']).filter((one) => typeof one === 'string')
  const ids = new Set<string>()
  const mistakes: Mistake[] = []
  try {
    const { detectors, problems } = loadDetectors(folders, chosen['default'] !== false)
    for (const { facts } of detectors) ids.add(facts.id)
    for (const one of problems)
      mistakes.push({
        path: ['detectors', 'folders'],
        message: `${one.path}:${one.line}:${one.column}: ${one.message}`,
      })
  } catch (cause) {
    return [{ path: ['detectors', 'folders'], message: messageOf(cause) }]
  }
  for (const [at, id] of list(chosen['disable']).entries()) {
    if (typeof id !== 'string' || ids.has(id)) continue
    const hint = nearest(id, ids)
    mistakes.push({
      path: ['detectors', 'disable', at],
      message: `there is no detector "${id}"${hint ? `; did you mean "${hint}"?` : ''}`,
    })
  }
  return mistakes
}

const ofKnowledge = (body: unknown): Mistake[] =>
  Object.entries({ knowledge: loadKnowledge, geo: loadGeo }).flatMap(([name, load]) =>
    list(object(body)[name]).flatMap((path, at) => {
      if (typeof path !== 'string') return []
      try {
        load([path])
        return []
      } catch (cause) {
        return [{ path: [name, at], message: messageOf(cause) }]
      }
    }),
  )

/** Two sinks that write one file would cut off each other's lines. */
const ofFiles = (body: unknown): Mistake[] => {
  const taken = new Map<string, string>()
  return Object.entries(object(object(body)['sinks'])).flatMap(([name, sink]) =>
    ['events', 'alerts'].flatMap((stream) => {
      const file = object(sink)[stream]
      if (object(sink)['type'] !== 'ndjson' || typeof file !== 'string') return []
      const other = taken.get(resolve(file))
      taken.set(resolve(file), `${name}.${stream}`)
      const message = `sinks.${name}.${stream}: ${other} writes this file already; name another one`
      return other === undefined ? [] : [{ path: ['sinks', name, stream], message }]
    }),
  )
}

/** What is fixed from start to end; everything else may change while Keytrail runs. */
const FIXED = ['data', 'journal', 'history', 'http', 'log'] as const

const ofFixed = (next: Config, running: Config): Mistake[] =>
  FIXED.filter((name) => canonical(next[name]) !== canonical(running[name])).map((name) => ({
    path: [name],
    message: `${name} cannot change while Keytrail runs: restart it, or put back what was there`,
  }))

/**
 * @param whole also look for secrets, paths and detectors, as `run` needs them
 * @param running what is in force: what cannot take its place is a mistake
 * @throws KeytrailError `config.invalid`, with all mistakes in its message
 */
export const loadConfig = (path: string | undefined, whole = false, running?: Config): Config => {
  if (path === undefined) return defaultConfig
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new KeytrailError('config.invalid', `cannot read ${path}: ${messageOf(cause)}`, { cause })
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
    throw new KeytrailError('config.invalid', `${path}: ${messageOf(cause)}`, { cause })
  }
  const checked = config.safeParse(body)
  const mistakes = [
    ...(checked.success ? [] : checked.error.issues.flatMap(ofSchema)),
    ...(checked.success && running !== undefined ? ofFixed(checked.data, running) : []),
    ...ofFiles(body),
    ...(whole ? [...ofSecrets(body), ...ofPaths(body), ...ofDetectors(body), ...ofKnowledge(body)] : []),
  ]
  if (checked.success && mistakes.length === 0) return checked.data
  const placed = mistakes.map((one) => ({
    offset: offsetOf(document.contents, one.path),
    message: one.message,
  }))
  placed.sort((a, b) => a.offset - b.offset)
  throw new KeytrailError(
    'config.invalid',
    placed.map((one) => `${at(one.offset)}: ${one.message}`).join('\n'),
  )
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
