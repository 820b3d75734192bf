/** One parsed record becomes one outcome: format, normalizer, enrichment. The same in intake and when judged. */
import type { RawRules } from '../detect/raw-rules.ts'
import { assurance } from '../enrich/assurance.ts'
import { criticalityOf } from '../enrich/criticality.ts'
import { holdsAt } from '../enrich/effective.ts'
import { labeler } from '../enrich/labels.ts'
import { type Locate, located, nowhere } from '../enrich/origin.ts'
import { databaseUse } from '../enrich/used-for.ts'
import { type Knowledge, noKnowledge } from '../model/knowledge.ts'
import type { Normalized } from '../model/outcome.ts'
import {
  type Format,
  type Glance,
  type NormalizeSettings,
  type RawRecord,
  rejected,
} from '../normalize/format.ts'
import { type FormatName, formatNames, formats, providerOf } from '../normalize/index.ts'
import type { Scanner } from '../normalize/scanner.ts'

export interface RecordNormalizer {
  (value: unknown, raw: RawRecord): Normalized
  /** What the bytes alone tell, if they tell enough. */
  glance(bytes: Buffer, scanner: Scanner, start: number): Glance | undefined
}

export interface RecordSettings extends NormalizeSettings {
  /** Rules on raw records: what one of them matches is kept, whatever its scope. */
  readonly rules?: RawRules | undefined
  /** Accounts that a feed speaks for; without an entry, whatever its records say. */
  readonly accounts?: Readonly<Record<string, readonly string[] | undefined>> | undefined
}

/**
 * @param forced read every record as this format; absent = detect it for each record
 * @param known what the operator knows about keys, callers and accounts @param locate where addresses are
 */
export const recordNormalizer = (
  settings: RecordSettings,
  forced: FormatName | undefined,
  known: Knowledge = noKnowledge,
  locate: Locate = nowhere,
): RecordNormalizer => {
  const candidates = (forced === undefined ? formatNames : [forced]).map((name) => ({
    ...formats[name],
    provider: providerOf(name),
  }))
  const labelsOf = labeler(known)
  const isAssured = assurance(known.trusted_identity_providers)
  /** What carried our feed then, is known when the time of the event is. */
  const atItsTime = (format: Format, value: unknown, raw: RawRecord): Normalized => {
    const result = format.normalize(value, raw, settings)
    if (result.kind !== 'event' || known.ingest_path.length === 0) return result
    const { event } = result
    const over = known.ingest_path.filter((one) => !holdsAt(one, event.time.event)).map(({ match }) => match)
    if (over.length === 0) return result
    const ingest_path = settings.ingest_path.filter((one) => !over.includes(one))
    return format.normalize(value, raw, { ...settings, ingest_path })
  }
  const normalize = (value: unknown, raw: RawRecord): Normalized => {
    const format = candidates.find((one) => one.recognizes(value))
    if (format === undefined) return rejected('unknown_format', 'no known log format')
    const plain = atItsTime(format, value, raw)
    const matched = plain.kind === 'skipped' && settings.rules?.matches(format.provider, value)
    const result = matched ? format.normalize(value, { ...raw, matched }, settings) : plain
    if (result.kind !== 'event') return result
    const { event } = result
    const accounts = settings.accounts?.[event.ingest.feed_id]
    if (accounts !== undefined) {
      const own = [...new Set([event.target.account, event.actor.account])].filter((one) => one !== undefined)
      if (!own.some((one) => accounts.includes(one)))
        return rejected('foreign_account', `about ${own.join(' and ') || 'no account that is named'}`)
    }
    const labels = labelsOf(event)
    const use = databaseUse(event, labels)
    if (use !== undefined) event.crypto = { ...event.crypto, used_for: use.use }
    if (labels !== undefined || use !== undefined)
      event.labels = { ...labels, ...(use && { used_for_basis: use.basis }) }
    event.network = located(event.network, locate)
    if (isAssured(event)) event.auth = { ...event.auth, mfa: 'verified', mfa_source: 'derived_rule' }
    event.criticality = criticalityOf(event, event.criticality)
    return result
  }
  const mayMatch = (bytes: Buffer, { source, name, end }: Scanner, start: number): boolean =>
    settings.rules?.mayMatch(source.text(bytes), name.text(bytes), bytes, start, end) ?? false
  const glance: RecordNormalizer['glance'] = (bytes, scanner, start) => {
    for (const one of candidates) {
      const seen = one.glance(bytes, scanner)
      if (seen?.kind === 'skipped' && mayMatch(bytes, scanner, start)) return undefined
      if (seen !== undefined) return seen
    }
    return undefined
  }
  return Object.assign(normalize, { glance })
}
