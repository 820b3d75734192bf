/** Reads what the operator knows: YAML with all of it, or CSV with labels. Every mistake ends with its place. */
import { readFileSync } from 'node:fs'
import { parse as parseCsv } from 'csv-parse/sync'
import { parse as parseYaml } from 'yaml'
import type { Locate } from '../enrich/origin.ts'
import type { Config } from '../model/config.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { type Knowledge, knowledge, noKnowledge } from '../model/knowledge.ts'
import { loadGeo } from './geo.ts'

export interface KnowledgeFile {
  readonly path: string
  readonly text: string
}

const invalid = (path: string, what: string, cause?: unknown) =>
  new KeytrailError('config.invalid', `${path}: ${what}`, { cause })

const OWN_COLUMNS = ['kind', 'match', 'from', 'until']

/** Columns: kind, match, from, until; every other one is a label, and an empty cell none. */
const ofCsv = (path: string, text: string): unknown => {
  let rows: Record<string, string>[]
  try {
    rows = parseCsv(text, { columns: true, trim: true, bom: true, skip_empty_lines: true }) as typeof rows // as `columns` says
  } catch (cause) {
    throw invalid(path, messageOf(cause), cause)
  }
  return {
    labels: rows.map((row) => {
      const { kind, match, from, until } = row
      const labels = Object.entries(row).filter(
        ([name, value]) => !OWN_COLUMNS.includes(name) && value !== '',
      )
      return {
        kind,
        match,
        labels: Object.fromEntries(labels),
        ...(from && { from }),
        ...(until && { until }),
      }
    }),
  }
}

const ofYaml = (path: string, text: string): unknown => {
  try {
    return parseYaml(text, { schema: 'core', merge: false, uniqueKeys: true }) ?? {}
  } catch (cause) {
    throw invalid(path, messageOf(cause), cause)
  }
}

const joined = (a: Knowledge, b: Knowledge): Knowledge => ({
  labels: [...a.labels, ...b.labels],
  own_accounts: [...a.own_accounts, ...b.own_accounts],
  partners: [...a.partners, ...b.partners],
  trusted_identity_providers: [...a.trusted_identity_providers, ...b.trusted_identity_providers],
  change_windows: [...a.change_windows, ...b.change_windows],
  ingest_path: [...a.ingest_path, ...b.ingest_path],
  databases: [...a.databases, ...b.databases],
})

/**
 * Later files add to earlier ones.
 * @throws KeytrailError `config.invalid`
 */
export const loadKnowledge = (
  paths: readonly string[],
): { readonly known: Knowledge; readonly files: readonly KnowledgeFile[] } => {
  const files = paths.map((path) => {
    try {
      return { path, text: readFileSync(path, 'utf8') }
    } catch (cause) {
      throw invalid(path, `cannot read it: ${messageOf(cause)}`, cause)
    }
  })
  const all = files.map(({ path, text }) => {
    const checked = knowledge.safeParse(path.endsWith('.csv') ? ofCsv(path, text) : ofYaml(path, text))
    if (checked.success) return checked.data
    const [issue] = checked.error.issues
    const row = path.endsWith('.csv') ? ` (row ${Number(issue?.path[1]) + 1})` : ''
    throw invalid(path, `${issue?.path.join('.')}${row}: ${issue?.message}`)
  })
  return { known: all.reduce(joined, noKnowledge), files }
}

/** What the operator knows, made ready: files of knowledge, MaxMind DB files, and settings that follow from them. */
export interface Learned {
  readonly known: Knowledge
  readonly locate: Locate
  /** As it is recorded: texts, and of a MaxMind DB file its hash. */
  readonly files: readonly (KnowledgeFile | { readonly path: string; readonly sha256: string })[]
  /** Every resource that carries our feed, at whatever time. */
  readonly ingest_path: readonly string[]
}

/** @throws KeytrailError `config.invalid` */
export const learn = (config: Pick<Config, 'knowledge' | 'geo' | 'ingest_path'>): Learned => {
  const { known, files } = loadKnowledge(config.knowledge)
  const geo = loadGeo(config.geo)
  return {
    known,
    locate: geo.locate,
    files: [...files, ...geo.files],
    ingest_path: [...config.ingest_path, ...known.ingest_path.map(({ match }) => match)],
  }
}
