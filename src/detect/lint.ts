/** What is valid in a detector, and yet most likely not meant. */
import { wildcardMatch } from '../model/wildcard.ts'
import { type Detector, type DetectorSet, rulesOf } from './detectors.ts'
import { type ParsedDocument, type Problem, problemAt } from './documents.ts'
import { idOf } from './known.ts'
import { feedsOf } from './raw-fields.ts'
import { isNormalized } from './record-rule.ts'

/** Where the records of a rule would have to come from, when Keytrail reads none of them. */
export const missingFeed = (one: ParsedDocument): string | undefined => {
  if (one.kind !== 'rule' || isNormalized(one.doc.logsource) || feedsOf(one.doc.logsource).length > 0)
    return undefined
  const { product, category, service } = one.doc.logsource
  return [product, category, service].filter((part) => part !== undefined).join(' / ')
}

/** Selections that no condition of a rule asks. */
const unused = (one: ParsedDocument): string[] => {
  if (one.kind !== 'rule') return []
  const { condition, timeframe: _, ...selections } = one.doc.detection
  const { raise, unless, certain, chains, expect, sooner } = one.doc.keytrail ?? {}
  const asked =
    JSON.stringify([condition, raise, unless, certain, chains, expect, sooner]).match(/[\w*?.-]+/g) ?? []
  return Object.keys(selections).filter(
    (name) => !asked.some((word) => word === 'them' || wildcardMatch(word, name)),
  )
}

const ofDetector = (detector: Detector): string[] => {
  const rules = rulesOf(detector)
  const notes: string[] = []
  if (rules.some(({ raw, operations }) => raw === undefined && operations === undefined))
    notes.push('no operation is required: the rule is asked for every event')
  if (rules.some(({ operations }) => operations?.size === 0))
    notes.push('the rule contradicts itself: no operation fits, it can never match')
  if (rules.some(({ raw }) => raw !== undefined && [...raw.anchors.values()].some(({ size }) => size === 0)))
    notes.push('the rule contradicts itself: no value fits, it can never match')
  if (rules.some(({ raw }) => raw?.feeds.has('aws') && raw.anchors.size === 0 && raw.needles.length === 0))
    notes.push('nothing in the text of a record is required: every CloudTrail record is parsed for this rule')
  return notes
}

/** Notes on a set, in order of file and line. */
export const lint = ({ detectors, documents }: DetectorSet): Problem[] => {
  const notes: Problem[] = []
  const byId = new Map(detectors.map((one) => [one.facts.id, one]))
  const bodies = new Map<string, string>()
  for (const one of documents) {
    const note = (path: readonly string[], message: string) => notes.push(problemAt(one.place, path, message))
    for (const name of unused(one)) note(['detection', name], `"${name}" is never asked by the condition`)
    const feed = missingFeed(one)
    if (feed !== undefined)
      note(['logsource'], `Keytrail reads no records of ${feed}: the rule waits for a source`)
    if (one.kind !== 'rule') continue
    const detector = byId.get(idOf(one))
    if (detector === undefined) continue
    for (const message of ofDetector(detector)) note(['detection', 'condition'], message)
    if (isNormalized(one.doc.logsource) && one.doc.keytrail?.triage === undefined)
      note(['title'], 'no triage under keytrail: people get general questions instead')
    const body = JSON.stringify([one.doc.logsource, one.doc.detection, one.doc.keytrail?.kind])
    const same = bodies.get(body)
    if (same !== undefined) note(['detection'], `finds what "${same}" finds`)
    else bodies.set(body, idOf(one))
  }
  return notes.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1))
}
