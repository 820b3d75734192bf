/** What a native name means: one row of a mapping table, whatever the cloud. */
import type { KeyEvent, ObjectType } from '../model/event.ts'
import { type Criticality, type Operation, type OperationCategory, operations } from '../model/operations.ts'

export interface Mapping {
  readonly operation: Operation
  readonly object: ObjectType
  readonly criticality: Criticality
  /** The group of this name, where it is not that of its operation. */
  readonly category?: OperationCategory
  readonly effect?: 'strengthen' | 'weaken' | 'neutral'
  readonly ingestPath?: true
}

type Extra = Partial<Pick<Mapping, 'criticality' | 'category' | 'effect' | 'ingestPath'>>

/** A row; the criticality is the one the operation starts from, unless the row names another. */
export const as = (operation: Operation, object: ObjectType, extra: Extra = {}): Mapping => ({
  operation,
  object,
  criticality: operations[operation][1],
  ...extra,
})

/** Of a record that is kept because a rule matched it: what it means for keys nobody says. */
export const byRule: Mapping = as('unknown', 'other')

export const categoryOf = (mapping: Mapping): OperationCategory =>
  mapping.category ?? operations[mapping.operation][0]

/** The controls an event is evidence for. */
export const controlsOf = (mapping: Mapping, attested: boolean): KeyEvent['compliance'] => {
  const category = categoryOf(mapping)
  if (category === 'cryptographic' || mapping.object === 'storage' || mapping.object === 'snapshot')
    return { controls: ['KMS-01', ...(attested ? (['SC-34'] as const) : []), 'SC-28', 'SC-28(1)'] }
  if (category === 'authentication' || category === 'unknown') return undefined
  return { controls: ['KMS-01', 'SC-12'] }
}
