/**
 * From detector files to checked documents, and for every mistake where it stands and what may be meant. YAML with
 * the core schema only: no custom tags, no merge keys, aliases capped.
 */
import { type Document, isMap, LineCounter, parseAllDocuments } from 'yaml'
import type { z } from 'zod'
import {
  type CorrelationDocument,
  correlationDocument,
  type FilterDocument,
  filterDocument,
  type RuleDocument,
  ruleDocument,
} from '../model/detector.ts'

export interface DetectorFile {
  /** Path as shown to people. */
  readonly path: string
  readonly text: string
}

/** A mistake in a file; line and column count from 1. */
export interface Problem {
  readonly path: string
  readonly line: number
  readonly column: number
  readonly message: string
  /** The document itself is in order; what it needs of others is not. */
  readonly inSet?: true
}

export interface Place {
  readonly path: string
  readonly node: Document.Parsed
  readonly lines: LineCounter
  /** File name without ending. */
  readonly stem: string
}

export type ParsedDocument =
  | { readonly kind: 'rule'; readonly doc: RuleDocument; readonly place: Place }
  | { readonly kind: 'correlation'; readonly doc: CorrelationDocument; readonly place: Place }
  | { readonly kind: 'filter'; readonly doc: FilterDocument; readonly place: Place }

/** The position of a value in its document; of the nearest part that exists. */
export const problemAt = (place: Place, path: readonly PropertyKey[], message: string): Problem => {
  let offset = place.node.range[0]
  for (let depth = path.length; depth > 0; depth--) {
    const key = path.slice(0, depth)
    const parent = place.node.getIn(key.slice(0, -1), true) ?? place.node.contents
    const pair = isMap(parent)
      ? parent.items.find((item) => String(item.key) === String(key.at(-1)))
      : undefined
    const found = pair?.key ?? place.node.getIn(key, true)
    const range =
      typeof found === 'object' && found !== null && 'range' in found
        ? (found.range as readonly number[] | undefined)
        : undefined
    if (range?.[0] !== undefined) {
      offset = range[0]
      break
    }
  }
  const { line, col } = place.lines.linePos(offset)
  return { path: place.path, line, column: col, message }
}

const issueText = (issue: z.core.$ZodIssue): string => {
  if (issue.code === 'unrecognized_keys') return `unknown name "${issue.keys.join('", "')}"`
  const path = issue.path.join('.')
  return path === '' ? issue.message : `${path}: ${issue.message}`
}

const issuePath = (issue: z.core.$ZodIssue): readonly PropertyKey[] =>
  issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path

type Json = Readonly<Record<string, unknown>>
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What a later document says goes before what a global one says. */
const merged = (global: Json, own: Json): Json => {
  const result: Record<string, unknown> = { ...global }
  for (const [name, value] of Object.entries(own)) {
    const known = result[name]
    result[name] = isObject(known) && isObject(value) ? merged(known, value) : value
  }
  return result
}

const without = ({ action: _, ...rest }: Json): Json => rest

const schemas = { rule: ruleDocument, correlation: correlationDocument, filter: filterDocument }

const checked = (body: unknown, place: Place, problems: Problem[]): ParsedDocument | undefined => {
  const kind =
    isObject(body) && 'correlation' in body
      ? 'correlation'
      : isObject(body) && 'filter' in body
        ? 'filter'
        : 'rule'
  const result = schemas[kind].safeParse(body)
  if (result.success) return { kind, doc: result.data, place } as ParsedDocument // kind chose the schema
  problems.push(...result.error.issues.map((issue) => problemAt(place, issuePath(issue), issueText(issue))))
  return undefined
}

const MAX_ALIASES = 100

/** The documents of a file, `action: global`, `reset` and `repeat` applied; none when one has a mistake. */
export const readDocuments = (file: DetectorFile, problems: Problem[]): readonly ParsedDocument[] => {
  const lines = new LineCounter()
  const documents = parseAllDocuments(file.text, {
    schema: 'core',
    merge: false,
    uniqueKeys: true,
    lineCounter: lines,
    customTags: [],
  })
  const before = problems.length
  if (!Array.isArray(documents) || documents.length === 0) {
    problems.push({ path: file.path, line: 1, column: 1, message: 'the file holds no document' })
    return []
  }
  const stem = file.path.replace(/^.*\//, '').replace(/\.ya?ml$/, '')
  let global: Json = {}
  let previous: Json = {}
  const found = documents.flatMap((node) => {
    const place = { path: file.path, node, lines, stem }
    const [error] = [...node.errors, ...node.warnings] // a warning is a tag that nobody knows
    if (error !== undefined) {
      const { line, col } = lines.linePos(error.pos[0])
      problems.push({
        path: file.path,
        line,
        column: col,
        message: error.message.split(' at line')[0] ?? error.message,
      })
      return []
    }
    let body: unknown
    try {
      body = node.toJS({ maxAliasCount: MAX_ALIASES })
    } catch (cause) {
      problems.push(
        problemAt(place, [], cause instanceof Error ? cause.message : 'the document cannot be read'),
      )
      return []
    }
    if (body === null && documents.length > 1) return [] // a separator with nothing behind it
    if (!isObject(body)) return checked(body, place, problems) ?? []
    switch (body['action']) {
      case 'global':
        global = merged(global, without(body))
        return []
      case 'reset':
        global = {}
        break
      case 'repeat':
        body = merged(previous, without(body))
        break
    }
    const own = merged(global, without(body as Json)) // an object in each branch
    previous = own
    return checked(own, place, problems) ?? []
  })
  return problems.length === before ? found : []
}
