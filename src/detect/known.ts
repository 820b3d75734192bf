/** What the documents of a set have in common once their rules are compiled. */
import { hash } from 'node:crypto'
import type { RuleDocument } from '../model/detector.ts'
import type { Criticality } from '../model/operations.ts'
import { type DetectorFacts, milliseconds } from './detectors.ts'
import type { ParsedDocument } from './documents.ts'
import type { CompiledRule, Getter } from './record-rule.ts'
import { RuleError } from './rule.ts'

/** One alert an hour per entity, unless the detector says otherwise. */
export const DEFAULT_BUCKET_MS = 3_600_000

export type Of<K extends ParsedDocument['kind']> = Extract<ParsedDocument, { readonly kind: K }>
export interface Rule extends Of<'rule'> {
  readonly compiled: CompiledRule
  readonly raise: DetectorFacts['raise']
  /** Compiles another condition over the same selections. */
  where(condition: string): CompiledRule
  /** Filters that restrict it: part of its content. */
  readonly filters: readonly Of<'filter'>[]
}
export type Known = Rule | Of<'correlation'>

export const list = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value

export const idOf = (one: ParsedDocument): string => one.doc.name ?? one.doc.id ?? one.place.stem
export const severityOf = (level: RuleDocument['level']): Criticality =>
  level === 'informational' ? 'info' : level

export const factsOf = (one: Known, content_hash: string): DetectorFacts => {
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

export const bucketOf = ({ keytrail }: Known['doc']): number => {
  const dedup = keytrail?.dedup
  return dedup === undefined ? DEFAULT_BUCKET_MS : dedup === 0 ? 0 : milliseconds(dedup)
}

export const meant = (hint: string | undefined) => (hint === undefined ? '' : `; did you mean "${hint}"?`)

/** Where a rule finds some fields. @throws RuleError naming the one it does not have */
export const gettersOf = (
  rule: CompiledRule,
  fields: readonly string[],
  path: readonly (string | number)[],
): Getter[] =>
  fields.map((field) => {
    const get = rule.getter(field)
    if (get !== undefined) return get
    throw new RuleError(path, `unknown field "${field}"${meant(rule.nearest(field))}`)
  })

export const contentOf = (rule: Rule): ParsedDocument['doc'][] => [
  rule.doc,
  ...rule.filters.map(({ doc }) => doc),
]

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
export const contentHash = (docs: readonly ParsedDocument['doc'][]): string => {
  const content = docs.map((doc) => ({
    ...doc,
    keytrail: doc.keytrail === undefined ? undefined : { ...doc.keytrail, version: undefined },
  }))
  return hash('sha256', JSON.stringify(ordered(content)), 'hex')
}
