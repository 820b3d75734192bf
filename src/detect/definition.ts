/**
 * From documents to detectors: compiles rules and correlations, brings them together by their names, and says for
 * every mistake where it stands.
 */
import { hash } from 'node:crypto'
import { parseDocument } from 'yaml'
import { placeholders as placeholdersSchema, type RuleDocument } from '../model/detector.ts'
import type { Criticality } from '../model/operations.ts'
import {
  type CountDetector,
  type Detector,
  type DetectorFacts,
  type DetectorSet,
  milliseconds,
  type Side,
} from './detectors.ts'
import {
  type DetectorFile,
  type ParsedDocument,
  type Problem,
  problemAt,
  readDocuments,
} from './documents.ts'
import { nearest } from './nearest.ts'
import { type CompiledRule, type Getter, recordRule } from './record-rule.ts'
import { RuleError } from './rule.ts'

export type * from './detectors.ts'
export { milliseconds } from './detectors.ts'
export type { DetectorFile, Problem } from './documents.ts'

const DEFAULT_BUCKET_MS = 3_600_000
const DAY_MS = 86_400_000
/** Contracts of novelty: a fortnight before a verdict, a month in which a pair must not have been seen. */
const DEFAULT_LEARN = '14d'
const DEFAULT_MEMORY = '30d'

type Of<K extends ParsedDocument['kind']> = Extract<ParsedDocument, { readonly kind: K }>
interface Rule extends Of<'rule'> {
  readonly compiled: CompiledRule
  readonly raise: DetectorFacts['raise']
  /** Compiles another condition over the same selections. */
  where(condition: string): CompiledRule
  /** Filters that restrict it: part of its content. */
  readonly filters: readonly Of<'filter'>[]
}
type Known = Rule | Of<'correlation'>

const list = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value

const idOf = (one: ParsedDocument): string => one.doc.name ?? one.doc.id ?? one.place.stem
const severityOf = (level: RuleDocument['level']): Criticality => (level === 'informational' ? 'info' : level)

const factsOf = (one: Known, content_hash: string): DetectorFacts => {
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

const bucketOf = ({ keytrail }: Known['doc']): number => {
  const dedup = keytrail?.dedup
  return dedup === undefined ? DEFAULT_BUCKET_MS : dedup === 0 ? 0 : milliseconds(dedup)
}

const meant = (hint: string | undefined) => (hint === undefined ? '' : `; did you mean "${hint}"?`)

/** Where a rule finds some fields. @throws RuleError naming the one it does not have */
const gettersOf = (
  rule: CompiledRule,
  fields: readonly string[],
  path: readonly (string | number)[],
): Getter[] =>
  fields.map((field) => {
    const get = rule.getter(field)
    if (get !== undefined) return get
    throw new RuleError(path, `unknown field "${field}"${meant(rule.nearest(field))}`)
  })

/** Does a filter belong to a rule? By name, and by the log source where it names one. */
const concerns = ({ doc }: Of<'filter'>, rule: Of<'rule'>): boolean => {
  const { logsource = {}, filter } = doc
  const names = list(filter.rules)
  const named =
    names.includes('any') ||
    [rule.doc.name, rule.doc.id, rule.doc.title].some((one) => one !== undefined && names.includes(one))
  const same = (['product', 'category', 'service'] as const).every(
    (part) => logsource[part] === undefined || logsource[part] === rule.doc.logsource[part],
  )
  return named && same
}

const PLACEHOLDERS = /(^|\/)placeholders\.ya?ml$/

/** Values of `%name%`, from files of that name. */
const readPlaceholders = (
  files: readonly DetectorFile[],
  problems: Problem[],
): ReadonlyMap<string, readonly string[]> => {
  const found = new Map<string, readonly string[]>()
  for (const { path, text } of files) {
    const checked = placeholdersSchema.safeParse(
      parseDocument(text, { schema: 'core' }).toJS({ maxAliasCount: 0 }),
    )
    if (checked.success) for (const [name, values] of Object.entries(checked.data)) found.set(name, values)
    else
      problems.push({
        path,
        line: 1,
        column: 1,
        message: `a map of names to lists of texts is expected: ${checked.error.issues[0]?.path.join('.')}`,
      })
  }
  return found
}

/** Compiles files into a set. A file with a mistake is left out whole, its mistakes are listed. */
export const defineDetectors = (files: readonly DetectorFile[]): DetectorSet => {
  const problems: Problem[] = []
  const given = readPlaceholders(
    files.filter(({ path }) => PLACEHOLDERS.test(path)),
    problems,
  )
  const read = files
    .filter(({ path }) => !PLACEHOLDERS.test(path))
    .map((file) => readDocuments(file, problems))
  const filters = read.flat().filter((one) => one.kind === 'filter')

  /** @returns what `make` returns; a mistake becomes a problem */
  const attempt = <T>(one: ParsedDocument, make: () => T): T | undefined => {
    try {
      return make()
    } catch (cause) {
      if (!(cause instanceof RuleError)) throw cause
      problems.push(problemAt(one.place, cause.path, cause.message))
      return undefined
    }
  }

  const compile = (one: Of<'rule'>): Rule => {
    const { logsource, detection, keytrail } = one.doc
    const own = filters.filter((filter) => concerns(filter, one))
    const rule = (body: typeof detection) =>
      recordRule(
        logsource,
        body,
        own.map(({ doc }) => restrictionOf(doc)),
        (name) => given.get(name),
      )
    const where = (condition: string) => rule({ ...detection, condition })
    const raise = keytrail?.raise
    return {
      ...one,
      filters: own,
      compiled: rule(detection),
      where,
      raise: (Array.isArray(raise) ? raise : raise === undefined ? [] : [raise]).map(({ when, level }) => ({
        matches: where(when).matches,
        severity: severityOf(level),
      })),
    }
  }

  const parsed = read.flatMap((documents): Known[] => {
    const compiled = documents.map((one) => {
      if (one.kind !== 'rule') return one
      return attempt(one, () => compile(one))
    })
    if (compiled.includes(undefined)) return []
    return compiled.filter((one) => one !== undefined && one.kind !== 'filter')
  })

  const byName = new Map<string, Known>()
  const accepted: Known[] = []
  for (const one of parsed) {
    const id = idOf(one)
    const earlier = byName.get(id)
    if (earlier !== undefined) {
      const field = one.doc.name === undefined ? 'id' : 'name'
      problems.push({
        ...problemAt(one.place, [field], `"${id}" is already defined in ${earlier.place.path}`),
        inSet: true,
      })
      continue
    }
    accepted.push(one)
    byName.set(id, one)
    if (one.doc.id !== undefined) byName.set(one.doc.id, one)
  }

  const silent = new Set<Known>()
  const detectors: Detector[] = []

  /** The rules a correlation names; `undefined` when one is missing. */
  const named = (one: Of<'correlation'>): Rule[] | undefined => {
    const rules: Rule[] = []
    const before = problems.length
    for (const name of list(one.doc.correlation.rules)) {
      const rule = byName.get(name)
      if (rule?.kind === 'rule') rules.push(rule)
      else
        problems.push({
          ...problemAt(
            one.place,
            ['correlation', 'rules'],
            `there is no rule "${name}"${meant(nearest(name, byName.keys()))}`,
          ),
          inSet: true,
        })
    }
    return problems.length === before ? rules : undefined
  }

  const countOf = (one: Of<'correlation'>, rules: readonly Rule[]): CountDetector => {
    const { correlation } = one.doc
    const groupBy = list(correlation['group-by'])
    const { field, gte, gt } = correlation.condition ?? {}
    if (correlation.type !== 'event_count' && correlation.type !== 'value_count')
      throw new RuleError(['correlation', 'type'], `${correlation.type} is not supported yet`)
    if (gte === undefined && gt === undefined)
      throw new RuleError(['correlation', 'condition'], 'only gte and gt are supported yet')
    if (correlation.type === 'value_count' && field === undefined)
      throw new RuleError(['correlation', 'condition'], 'value_count needs a field in its condition')
    const counted = correlation.type === 'value_count' ? list(field) : []
    const sides = rules.map(
      ({ compiled }): Side => ({
        rule: compiled,
        group: gettersOf(compiled, groupBy, ['correlation', 'group-by']),
        value: gettersOf(compiled, counted, ['correlation', 'condition'])[0],
      }),
    )
    return {
      kind: 'count',
      facts: factsOf(one, contentHash([one.doc, ...rules.flatMap(contentOf)])),
      sides,
      groupBy,
      timespanMs: milliseconds(correlation.timespan),
      timespan: correlation.timespan,
      threshold: gte ?? (gt ?? 0) + 1,
      bucketMs: bucketOf(one.doc),
    }
  }

  for (const one of accepted) {
    if (one.kind !== 'correlation') continue
    const rules = named(one)
    if (rules === undefined) continue
    const detector = attempt(one, () => countOf(one, rules))
    if (detector === undefined) continue
    detectors.push(detector)
    if (!one.doc.correlation.generate && one.doc.generate !== true) for (const rule of rules) silent.add(rule)
  }

  const ruleDetector = (one: Rule): Detector => {
    const { by, kind, pair, learn_on, learn, memory, unless, certain } = one.doc.keytrail ?? {}
    const facts = factsOf(one, contentHash(contentOf(one)))
    const read = (name: string, fields: readonly string[]) =>
      gettersOf(one.compiled, fields, ['keytrail', name])
    if (kind !== 'novelty')
      return {
        kind: 'single',
        facts,
        rule: one.compiled,
        group: by && { by, getters: read('by', by), bucketMs: bucketOf(one.doc) },
        unless: unless && {
          rule: one.where(unless.before),
          withinMs: milliseconds(unless.within),
          by: read('unless', unless.by),
          applies: unless.when === undefined ? () => true : one.where(unless.when).matches,
        },
      }
    if (pair === undefined || learn_on === undefined)
      throw new RuleError(['keytrail', 'kind'], 'novelty needs pair and learn_on')
    return {
      kind,
      facts,
      rule: one.compiled,
      pair,
      pairGetters: read('pair', pair),
      learnOn: read('learn_on', list(learn_on)),
      learnDays: Math.ceil(milliseconds(learn ?? DEFAULT_LEARN) / DAY_MS),
      memoryDays: Math.ceil(milliseconds(memory ?? DEFAULT_MEMORY) / DAY_MS),
      certain: certain === undefined ? undefined : one.where(certain).matches,
    }
  }
  for (const one of accepted) {
    if (one.kind !== 'rule' || silent.has(one)) continue
    const detector = attempt(one, () => ruleDetector(one))
    if (detector !== undefined) detectors.push(detector)
  }
  detectors.sort((a, b) => (a.facts.id < b.facts.id ? -1 : 1))
  problems.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1))
  return { detectors, problems, documents: [...parsed, ...filters] }
}

const restrictionOf = ({ filter: { rules: _, ...detection } }: Of<'filter'>['doc']) => detection

const contentOf = (rule: Rule): ParsedDocument['doc'][] => [rule.doc, ...rule.filters.map(({ doc }) => doc)]

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
const contentHash = (docs: readonly ParsedDocument['doc'][]): string => {
  const content = docs.map((doc) => ({
    ...doc,
    keytrail: doc.keytrail === undefined ? undefined : { ...doc.keytrail, version: undefined },
  }))
  return hash('sha256', JSON.stringify(ordered(content)), 'hex')
}
