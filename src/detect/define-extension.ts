/** Kinds that Sigma has no word for, from document to detector. */
import { type DetectorFacts, milliseconds, type OwedDetector, type SequenceDetector } from './detectors.ts'
import { bucketOf, gettersOf, type Rule, severityOf } from './known.ts'
import { RuleError } from './rule.ts'
import type { Chain, SequenceStep } from './sequence.ts'

type Extension = NonNullable<Rule['doc']['keytrail']>
type ChainDocument = NonNullable<Extension['chains']>[number]

const chainOf = (
  one: Rule,
  { within, level, steps }: ChainDocument,
  number: number,
  facts: DetectorFacts,
): Chain => {
  const names = steps.map(({ name }) => name)
  return {
    withinMs: milliseconds(within),
    severity: level === undefined ? facts.severity : severityOf(level),
    steps: steps.map((step, index): SequenceStep => {
      const after = (step.after ?? []).map((name) => {
        const before = names.indexOf(name)
        if (before < 0 || before >= index)
          throw new RuleError(
            ['keytrail', 'chains', number, 'steps', index],
            `"${name}" is no step before this one`,
          )
        return before
      })
      if (step.without !== undefined && after.length === 0)
        throw new RuleError(
          ['keytrail', 'chains', number, 'steps', index],
          'without needs after: since when?',
        )
      return {
        matches: one.where(step.when).matches,
        after,
        count: step.count ?? 1,
        without: step.without === undefined ? undefined : one.where(step.without).matches,
      }
    }),
  }
}

/** @throws RuleError */
export const extensionDetector = (
  one: Rule,
  kind: 'sequence' | 'overdue' | 'silence',
  facts: DetectorFacts,
): SequenceDetector | OwedDetector => {
  const { by, chains, expect, due, sooner } = one.doc.keytrail ?? {}
  if (by === undefined)
    throw new RuleError(['keytrail', 'kind'], `${kind} needs by: whose events belong together`)
  const common = {
    facts,
    rule: one.compiled,
    by,
    group: gettersOf(one.compiled, by, ['keytrail', 'by']),
    bucketMs: bucketOf(one.doc),
  }
  if (kind === 'sequence') {
    if (chains === undefined) throw new RuleError(['keytrail', 'kind'], 'sequence needs chains')
    return { ...common, kind, chains: chains.map((chain, number) => chainOf(one, chain, number, facts)) }
  }
  if (due === undefined || (kind === 'overdue') !== (expect !== undefined))
    throw new RuleError(
      ['keytrail', 'kind'],
      kind === 'overdue' ? 'overdue needs due and expect' : 'silence needs due, and no expect',
    )
  const term = (text: string) => ({ ms: milliseconds(text), text })
  return {
    ...common,
    kind,
    expect: expect === undefined ? undefined : one.where(expect),
    due: term(due),
    sooner: sooner && { matches: one.where(sooner.when).matches, due: term(sooner.due) },
  }
}
