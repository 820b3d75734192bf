/**
 * From detector files to detectors: parses the YAML, checks it, compiles it, and says for every mistake
 * where it stands and what may be meant. YAML with the core schema only: no custom tags, no merge keys,
 * aliases capped.
 */
import { hash } from 'node:crypto'
import { type Document, isMap, LineCounter, parseAllDocuments } from 'yaml'
import type { z } from 'zod'
import {
  type CorrelationDocument,
  correlationDocument,
  type RuleDocument,
  ruleDocument,
} from '../model/detector.ts'
import type { Criticality } from '../model/operations.ts'
import { eventFields, fieldInfo, nearest } from './fields.ts'
import { type CompiledRule, compileRule, type Predicate, RuleError } from './rule.ts'

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
}

/** What every detector carries into its alerts. */
export interface DetectorFacts {
  readonly id: string
  readonly version: number
  readonly content_hash: string
  readonly title: string
  readonly description: string
  readonly severity: Criticality
  /** Another severity for some of the events: the first that matches. */
  readonly raise: readonly { readonly matches: Predicate; readonly severity: Criticality }[]
  readonly experimental: boolean
  readonly author: string | undefined
  readonly license: string | undefined
  readonly reference: string | undefined
  readonly tags: readonly string[]
  readonly controls: readonly string[]
  readonly explanation: string | undefined
  readonly triage: readonly string[] | undefined
  readonly falsepositives: readonly string[]
  readonly path: string
}

export interface SingleDetector {
  readonly kind: 'single'
  readonly facts: DetectorFacts
  readonly rule: CompiledRule
  /** Group events into one alert per bucket; absent = one alert per action. */
  readonly group: { readonly by: readonly string[]; readonly bucketMs: number } | undefined
  /** No alert when such an event of the same group came at most so long before. */
  readonly unless:
    | {
        readonly rule: CompiledRule
        readonly withinMs: number
        readonly by: readonly string[]
        /** To which alerts. */
        readonly applies: Predicate
      }
    | undefined
}

export interface CountDetector {
  readonly kind: 'count'
  readonly facts: DetectorFacts
  readonly rules: readonly CompiledRule[]
  readonly groupBy: readonly string[]
  /** Field whose distinct values count; absent = distinct actions. */
  readonly field: string | undefined
  readonly timespanMs: number
  readonly threshold: number
  readonly bucketMs: number
  readonly timespan: string
}

export interface NoveltyDetector {
  readonly kind: 'novelty'
  readonly facts: DetectorFacts
  readonly rule: CompiledRule
  /** Fields whose combination is new, or not. */
  readonly pair: readonly string[]
  /** The first of these that is there must have been seen for `learnDays` before a verdict. */
  readonly learnOn: readonly string[]
  readonly learnDays: number
  /** Days before that a pair must not have been seen. */
  readonly memoryDays: number
  /** Events that need no history: the operator has said what is usual. */
  readonly certain: Predicate | undefined
}

export type Detector = SingleDetector | CountDetector | NoveltyDetector

export interface DetectorSet {
  /** In order of id. */
  readonly detectors: readonly Detector[]
  readonly problems: readonly Problem[]
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of a timespan such as `10m`; a leading minus is allowed. */
export const milliseconds = (timespan: string): number =>
  Number(timespan.slice(0, -1)) * (UNITS[timespan.slice(-1)] ?? 0)

const DEFAULT_BUCKET_MS = 3_600_000
const DAY_MS = 86_400_000
/** Contracts of novelty: a fortnight before a verdict, a month in which a pair must not have been seen. */
const DEFAULT_LEARN = '14d'
const DEFAULT_MEMORY = '30d'

type Parsed =
  | {
      readonly kind: 'rule'
      readonly doc: RuleDocument
      readonly place: Place
      readonly compiled: CompiledRule
      readonly raise: DetectorFacts['raise']
      readonly unless: SingleDetector['unless']
      readonly certain: NoveltyDetector['certain']
    }
  | { readonly kind: 'correlation'; readonly doc: CorrelationDocument; readonly place: Place }

interface Place {
  readonly path: string
  readonly node: Document.Parsed
  readonly lines: LineCounter
  readonly stem: string
}

const list = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value

/** The position of a value in its document; of the nearest part that exists. */
const problemAt = (place: Place, path: readonly PropertyKey[], message: string): Problem => {
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

const readDocument = (place: Place, problems: Problem[]): Parsed | undefined => {
  let body: unknown
  try {
    body = place.node.toJS({ maxAliasCount: 100 })
  } catch (cause) {
    problems.push(
      problemAt(place, [], cause instanceof Error ? cause.message : 'the document cannot be read'),
    )
    return undefined
  }
  const correlation = typeof body === 'object' && body !== null && 'correlation' in body
  const checked = correlation ? correlationDocument.safeParse(body) : ruleDocument.safeParse(body)
  if (!checked.success) {
    problems.push(
      ...checked.error.issues.map((issue) => problemAt(place, issuePath(issue), issueText(issue))),
    )
    return undefined
  }
  if ('correlation' in checked.data && correlation)
    return { kind: 'correlation', doc: checked.data as CorrelationDocument, place } // chosen by the same test above
  const doc = checked.data as RuleDocument // the other branch
  const { product, category } = doc.logsource
  if (product !== 'keytrail' || category !== 'key_usage') {
    problems.push(
      problemAt(
        place,
        ['logsource'],
        'this version reads logsource product: keytrail, category: key_usage only',
      ),
    )
    return undefined
  }
  try {
    const { raise, unless, certain } = doc.keytrail ?? {}
    const where = (condition: string) => compileRule({ ...doc.detection, condition })
    return {
      kind: 'rule',
      doc,
      place,
      compiled: compileRule(doc.detection),
      raise: (Array.isArray(raise) ? raise : raise === undefined ? [] : [raise]).map((one) => ({
        matches: where(one.when).matches,
        severity: severityOf(one.level),
      })),
      unless: unless && {
        rule: where(unless.before),
        withinMs: milliseconds(unless.within),
        by: unless.by,
        applies: unless.when === undefined ? () => true : where(unless.when).matches,
      },
      certain: certain === undefined ? undefined : where(certain).matches,
    }
  } catch (cause) {
    if (!(cause instanceof RuleError)) throw cause
    problems.push(problemAt(place, cause.path, cause.message))
    return undefined
  }
}

const parseFile = (
  file: DetectorFile,
  problems: Problem[],
): { readonly parsed: Parsed[]; readonly whole: boolean } => {
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
    return { parsed: [], whole: false }
  }
  const stem = file.path.replace(/^.*\//, '').replace(/\.ya?ml$/, '')
  const parsed = documents.flatMap((node) => {
    const place = { path: file.path, node, lines, stem }
    const [error] = node.errors
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
    return readDocument(place, problems) ?? []
  })
  return { parsed, whole: problems.length === before }
}

const idOf = (one: Parsed): string => one.doc.name ?? one.doc.id ?? one.place.stem
const severityOf = (level: RuleDocument['level']): Criticality => (level === 'informational' ? 'info' : level)

const factsOf = (one: Parsed, content_hash: string): DetectorFacts => {
  const { doc } = one
  return {
    id: idOf(one),
    version: doc.keytrail?.version ?? 1,
    content_hash,
    title: doc.title,
    description: doc.description ?? '',
    severity: severityOf(doc.level),
    raise: one.kind === 'rule' ? one.raise : [],
    experimental:
      doc.status === 'experimental' || doc.status === 'unsupported' || doc.status === 'deprecated',
    author: doc.author || undefined,
    license: doc.license || undefined,
    reference: doc.references?.find((one) => one !== ''),
    tags: doc.tags,
    controls: doc.keytrail?.controls ?? [],
    explanation: doc.keytrail?.explanation,
    triage: doc.keytrail?.triage,
    falsepositives: doc.falsepositives ?? [],
    path: one.place.path,
  }
}

const bucketOf = (doc: RuleDocument | CorrelationDocument): number => {
  const dedup = doc.keytrail?.dedup
  return dedup === undefined ? DEFAULT_BUCKET_MS : dedup === 0 ? 0 : milliseconds(dedup)
}

const unknownFields = (names: readonly string[]): string | undefined => {
  const wrong = names.find((name) => fieldInfo(name) === undefined)
  if (wrong === undefined) return undefined
  const hint = nearest(wrong, eventFields.keys())
  return `unknown field "${wrong}"${hint === undefined ? '' : `; did you mean "${hint}"?`}`
}

/** Compiles files into a set. A file with a mistake is left out whole, its mistakes are listed. */
export const defineDetectors = (files: readonly DetectorFile[]): DetectorSet => {
  const problems: Problem[] = []
  const parsed = files.flatMap((file) => {
    const one = parseFile(file, problems)
    return one.whole ? one.parsed : []
  })
  const byName = new Map<string, Parsed>()
  const accepted: Parsed[] = []
  for (const one of parsed) {
    const id = idOf(one)
    const earlier = byName.get(id)
    if (earlier !== undefined) {
      problems.push(
        problemAt(
          one.place,
          [one.doc.name === undefined ? 'id' : 'name'],
          `"${id}" is already defined in ${earlier.place.path}`,
        ),
      )
      continue
    }
    accepted.push(one)
    byName.set(id, one)
    if (one.doc.id !== undefined) byName.set(one.doc.id, one)
  }

  const silent = new Set<Parsed>()
  const detectors: Detector[] = []
  for (const one of accepted) {
    if (one.kind !== 'correlation') continue
    const { correlation } = one.doc
    const rules: Extract<Parsed, { kind: 'rule' }>[] = []
    const before = problems.length
    for (const name of list(correlation.rules)) {
      const rule = byName.get(name)
      if (rule?.kind === 'rule') rules.push(rule)
      else {
        const hint = nearest(name, byName.keys())
        problems.push(
          problemAt(
            one.place,
            ['correlation', 'rules'],
            `there is no rule "${name}"${hint === undefined ? '' : `; did you mean "${hint}"?`}`,
          ),
        )
      }
    }
    const groupBy = list(correlation['group-by'])
    const { field, gte, gt } = correlation.condition
    const wrong = unknownFields([...groupBy, ...(field === undefined ? [] : [field])])
    if (wrong !== undefined) problems.push(problemAt(one.place, ['correlation'], wrong))
    if (correlation.type === 'value_count' && field === undefined)
      problems.push(
        problemAt(one.place, ['correlation', 'condition'], 'value_count needs a field in its condition'),
      )
    if (problems.length > before) continue
    if (!correlation.generate) for (const rule of rules) silent.add(rule)
    detectors.push({
      kind: 'count',
      facts: factsOf(one, contentHash([one.doc, ...rules.map((rule) => rule.doc)])),
      rules: rules.map((rule) => rule.compiled),
      groupBy,
      field: correlation.type === 'value_count' ? field : undefined,
      timespanMs: milliseconds(correlation.timespan),
      timespan: correlation.timespan,
      threshold: gte ?? (gt ?? 0) + 1,
      bucketMs: bucketOf(one.doc),
    })
  }
  for (const one of accepted) {
    if (one.kind !== 'rule' || silent.has(one)) continue
    const { by, kind, pair, learn_on, learn, memory, unless } = one.doc.keytrail ?? {}
    const named = Object.entries({ by, pair, learn_on: list(learn_on), unless: unless?.by })
    const [wrong] = named.flatMap(([name, fields]) => {
      const message = unknownFields(fields ?? [])
      return message === undefined ? [] : [{ name, message }]
    })
    if (wrong !== undefined) {
      problems.push(problemAt(one.place, ['keytrail', wrong.name], wrong.message))
      continue
    }
    if (kind === 'novelty') {
      if (pair === undefined || learn_on === undefined) {
        problems.push(problemAt(one.place, ['keytrail', 'kind'], 'novelty needs pair and learn_on'))
        continue
      }
      detectors.push({
        kind,
        facts: factsOf(one, contentHash([one.doc])),
        rule: one.compiled,
        pair,
        learnOn: list(learn_on),
        learnDays: Math.ceil(milliseconds(learn ?? DEFAULT_LEARN) / DAY_MS),
        memoryDays: Math.ceil(milliseconds(memory ?? DEFAULT_MEMORY) / DAY_MS),
        certain: one.certain,
      })
      continue
    }
    detectors.push({
      kind: 'single',
      facts: factsOf(one, contentHash([one.doc])),
      rule: one.compiled,
      group: by === undefined ? undefined : { by, bucketMs: bucketOf(one.doc) },
      unless: one.unless,
    })
  }
  detectors.sort((a, b) => (a.facts.id < b.facts.id ? -1 : 1))
  problems.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1))
  return { detectors, problems }
}

const ordered = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(ordered)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, one]) => [name, ordered(one)]),
  )
}

/** SHA-256 over the content of the documents, whatever their layout; the version is not part of it. */
const contentHash = (docs: readonly (RuleDocument | CorrelationDocument)[]): string => {
  const content = docs.map((doc) => ({
    ...doc,
    keytrail: doc.keytrail === undefined ? undefined : { ...doc.keytrail, version: undefined },
  }))
  return hash('sha256', JSON.stringify(ordered(content)), 'hex')
}
