/** Cases of a detector: builds the records of each case from its base, and compares the alerts with what is expected. */
import type { Alert } from '../model/alert.ts'
import type { CasesDocument } from '../model/detector.ts'
import { milliseconds } from './definition.ts'

type Case = CasesDocument['cases'][number]

export interface CaseResult {
  readonly name: string
  readonly alerts: number
  /** What is wrong; absent when the case holds. */
  readonly failure?: string
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const numbered = (value: unknown, n: number): unknown => {
  if (typeof value === 'string') return value.replaceAll('{n}', String(n))
  if (Array.isArray(value)) return value.map((one) => numbered(one, n))
  return isMap(value)
    ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, numbered(one, n)]))
    : value
}

const merged = (base: unknown, change: unknown): unknown => {
  if (!isMap(base) || !isMap(change)) return change
  return {
    ...base,
    ...Object.fromEntries(Object.entries(change).map(([name, one]) => [name, merged(base[name], one)])),
  }
}

const without = (record: unknown, [first, ...rest]: readonly string[]): unknown => {
  if (!isMap(record) || first === undefined) return record
  const { [first]: inner, ...others } = record
  return rest.length === 0 || inner === undefined ? others : { ...record, [first]: without(inner, rest) }
}

/** The members of a record that hold its time and what tells it from its like. */
const members: Readonly<Record<CasesDocument['format'], readonly [time: string, id: string]>> = {
  cloudtrail: ['eventTime', 'eventID'],
  key_vault: ['time', 'correlationId'],
  azure_activity: ['time', 'correlationId'],
  entra: ['time', 'correlationId'],
  gcp_audit: ['timestamp', 'insertId'],
}

/** The records of a case, in the provider's own form. Without an id of its own each gets one. */
export const recordsOf = ({ format, base }: CasesDocument, one: Case): Record<string, unknown>[] => {
  const [timeName, idName] = members[format]
  const start = Date.parse(String(base[timeName]))
  return one.records.flatMap((step, index) =>
    Array.from({ length: step.repeat }, (_, repetition) => {
      const at = start + milliseconds(step.at ?? '0s') + repetition * milliseconds(step.every ?? '0s')
      const time = `${new Date(at).toISOString().slice(0, 19)}Z`
      const id = `00000000-0000-4000-8000-${String(index).padStart(4, '0')}${String(repetition).padStart(8, '0')}`
      const trimmed = (step.delete ?? []).reduce<unknown>(
        (record, path) => without(record, path.split('.')),
        { ...base, [timeName]: time, [idName]: id },
      )
      return merged(trimmed, numbered(step.set ?? {}, repetition + 1)) as Record<string, unknown> // merging two maps gives a map
    }),
  )
}

const failureOf = (expect: Case['expect'], alerts: readonly Alert[]): string | undefined => {
  const wanted = typeof expect === 'number' ? { alerts: expect } : expect
  if (alerts.length !== wanted.alerts) return `expected ${wanted.alerts} alerts, got ${alerts.length}`
  if ('severity' in wanted && wanted.severity !== undefined) {
    const other = alerts.find((alert) => alert.severity !== wanted.severity)
    if (other !== undefined) return `expected severity ${wanted.severity}, got ${other.severity}`
  }
  if ('observed' in wanted && wanted.observed !== undefined) {
    const observed = Math.max(0, ...alerts.map((alert) => alert.observed))
    if (observed !== wanted.observed) return `expected ${wanted.observed} observed, got ${observed}`
  }
  return undefined
}

/** @param alertsOf judges records with the detector under test */
export const runCases = (
  document: CasesDocument,
  alertsOf: (records: readonly unknown[]) => Alert[],
): CaseResult[] =>
  document.cases.map((one) => {
    const alerts = alertsOf(recordsOf(document, one))
    const failure = failureOf(one.expect, alerts)
    return { name: one.name, alerts: alerts.length, ...(failure === undefined ? {} : { failure }) }
  })
