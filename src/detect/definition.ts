/**
 * From documents to detectors: compiles rules and correlations, brings them together by their names, and says for
 * every mistake where it stands.
 */
import { parseDocument } from 'yaml'
import { placeholders as placeholdersSchema } from '../model/detector.ts'
import { correlationDetector } from './define-correlation.ts'
import { extensionDetector } from './define-extension.ts'
import { type Detector, type DetectorSet, milliseconds } from './detectors.ts'
import {
  type DetectorFile,
  type ParsedDocument,
  type Problem,
  problemAt,
  readDocuments,
} from './documents.ts'
import {
  bucketOf,
  contentHash,
  contentOf,
  factsOf,
  gettersOf,
  idOf,
  type Known,
  list,
  meant,
  type Of,
  type Rule,
  severityOf,
} from './known.ts'
import { nearest } from './nearest.ts'
import { recordRule } from './record-rule.ts'
import { RuleError } from './rule.ts'

export type * from './detectors.ts'
export { milliseconds } from './detectors.ts'
export type { DetectorFile, Problem } from './documents.ts'

const DAY_MS = 86_400_000
/** Contracts of novelty: a fortnight before a verdict, a month in which a pair must not have been seen. */
const DEFAULT_LEARN = '14d'
const DEFAULT_MEMORY = '30d'

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

  for (const one of accepted) {
    if (one.kind !== 'correlation') continue
    const missing = list(one.doc.correlation.rules).filter((name) => !byName.has(name))
    for (const name of missing)
      problems.push({
        ...problemAt(
          one.place,
          ['correlation', 'rules'],
          `there is no rule "${name}"${meant(nearest(name, byName.keys()))}`,
        ),
        inSet: true,
      })
    if (missing.length > 0) continue
    const detector = attempt(one, () => correlationDetector(one, byName))
    if (detector === undefined) continue
    detectors.push(detector)
    if (!one.doc.correlation.generate && one.doc.generate !== true)
      for (const name of list(one.doc.correlation.rules)) {
        const referred = byName.get(name)
        if (referred !== undefined) silent.add(referred)
      }
  }

  const ruleDetector = (one: Rule): Detector => {
    const { by, kind, pair, learn_on, learn, memory, unless, certain } = one.doc.keytrail ?? {}
    const facts = factsOf(one, contentHash(contentOf(one)))
    const read = (name: string, fields: readonly string[]) =>
      gettersOf(one.compiled, fields, ['keytrail', name])
    if (kind === 'sequence' || kind === 'overdue' || kind === 'silence')
      return extensionDetector(one, kind, facts)
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
  const quiet = new Set([...silent].filter((one) => one.kind === 'correlation').map(idOf))
  const loud = detectors.filter(({ facts }) => !quiet.has(facts.id))
  loud.sort((a, b) => (a.facts.id < b.facts.id ? -1 : 1))
  problems.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1))
  return { detectors: loud, problems, documents: [...parsed, ...filters] }
}

const restrictionOf = ({ filter: { rules: _, ...detection } }: Of<'filter'>['doc']) => detection
