/** One parsed record becomes one outcome: format, normalizer, enrichment. The same in intake and when judged. */
import { criticalityOf } from '../enrich/criticality.ts'
import { labeler } from '../enrich/labels.ts'
import { type Knowledge, noKnowledge } from '../model/knowledge.ts'
import type { Normalized } from '../model/outcome.ts'
import {
  type Format,
  type Glance,
  type NormalizeSettings,
  type RawRecord,
  rejected,
} from '../normalize/format.ts'
import { type FormatName, formats } from '../normalize/index.ts'
import type { Scanner } from '../normalize/scanner.ts'

export interface RecordNormalizer {
  (value: unknown, raw: RawRecord): Normalized
  /** What the bytes alone tell, if they tell enough. */
  glance(bytes: Buffer, scanner: Scanner): Glance | undefined
}

/**
 * @param forced read every record as this format; absent = detect it for each record
 * @param known what the operator knows about keys, callers and accounts
 */
export const recordNormalizer = (
  settings: NormalizeSettings,
  forced: FormatName | undefined,
  known: Knowledge = noKnowledge,
): RecordNormalizer => {
  const candidates: readonly Format[] = forced === undefined ? Object.values(formats) : [formats[forced]]
  const labelsOf = labeler(known)
  const normalize = (value: unknown, raw: RawRecord): Normalized => {
    const format = candidates.find((one) => one.recognizes(value))
    if (format === undefined) return rejected('unknown_format', 'no known log format')
    const result = format.normalize(value, raw, settings)
    if (result.kind !== 'event') return result
    const { event } = result
    const labels = labelsOf(event)
    if (labels !== undefined) event.labels = labels
    event.criticality = criticalityOf(event, event.criticality)
    return result
  }
  const glance = (bytes: Buffer, scanner: Scanner): Glance | undefined => {
    for (const one of candidates) {
      const seen = one.glance(bytes, scanner)
      if (seen !== undefined) return seen
    }
    return undefined
  }
  return Object.assign(normalize, { glance })
}
