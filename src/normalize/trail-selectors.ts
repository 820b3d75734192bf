/**
 * What a trail still records after PutEventSelectors: the union of all its selectors.
 * Selector members: CloudTrail API reference, EventSelector and AdvancedEventSelector.
 */
import type { ChangeFlag } from '../model/event.ts'
import { isObject, type Json, list, object, strings } from './json.ts'

/** What one selector lets through. */
interface Takes {
  readonly management: boolean
  readonly reads: boolean
  readonly writes: boolean
  readonly kms: boolean
}

const KMS = 'kms.amazonaws.com'

const basic = (selector: Json): Takes => {
  const type = typeof selector['readWriteType'] === 'string' ? selector['readWriteType'] : 'All'
  return {
    management:
      selector['includeManagementEvents'] !== false && selector['includeManagementEvents'] !== 'false',
    reads: type !== 'WriteOnly',
    writes: type !== 'ReadOnly',
    kms: !strings(selector['excludeManagementEventSources'] ?? []).includes(KMS),
  }
}

/** Does the condition on one field let the value through? All operators that are present must hold. */
const accepts = (condition: Json, value: string): boolean => {
  const values = (name: string) => strings(condition[name] ?? [])
  const some = (name: string, test: (one: string) => boolean) =>
    values(name).length === 0 || values(name).some(test)
  const none = (name: string, test: (one: string) => boolean) => !values(name).some(test)
  return (
    some('equals', (one) => one === value) &&
    some('startsWith', (one) => value.startsWith(one)) &&
    some('endsWith', (one) => value.endsWith(one)) &&
    none('notEquals', (one) => one === value) &&
    none('notStartsWith', (one) => value.startsWith(one)) &&
    none('notEndsWith', (one) => value.endsWith(one))
  )
}

const advanced = (selector: Json): Takes => {
  const conditions = list(selector['fieldSelectors']).filter(isObject)
  const passes = (name: string, value: string) =>
    conditions.filter((one) => one['field'] === name).every((one) => accepts(one, value))
  return {
    management: passes('eventCategory', 'Management'),
    reads: passes('readOnly', 'true'),
    writes: passes('readOnly', 'false'),
    kms: passes('eventSource', KMS),
  }
}

/** Flags of a PutEventSelectors request. None when it names no selectors. */
export const selectorFlags = (request: Json): ChangeFlag[] => {
  const selectors = [
    ...list(request['eventSelectors']).map((one) => basic(object(one))),
    ...list(request['advancedEventSelectors']).map((one) => advanced(object(one))),
  ]
  if (selectors.length === 0) return []
  const management = selectors.filter((one) => one.management)
  if (management.length === 0) return ['management_events_off']
  const flags: ChangeFlag[] = []
  if (!management.some((one) => one.reads)) flags.push('read_events_off')
  if (!management.some((one) => one.writes)) flags.push('logging_reduced')
  if (!management.some((one) => one.kms)) flags.push('kms_excluded')
  return flags
}
