/** What a journal adds to an alert: the rule as it was, the records behind it, and what else happened around it. */
import { type DetectorFile, defineDetectors } from '../detect/definition.ts'
import type { RecordedDetectors } from '../journal/rejudge.ts'
import { type Store, unpacked } from '../journal/store.ts'
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import { countUp } from '../pipeline/count.ts'

const HOUR_MS = 3_600_000

export interface Around {
  /** Calls by `operation outcome`, most frequent first. */
  readonly calls: Readonly<Record<string, number>>
  /** Keys of the principal, or callers of the key. */
  readonly others: number
}

export interface AlertContext {
  /** The rule's file in the version that was in force. */
  readonly rule: DetectorFile | undefined
  readonly records: readonly { readonly raw_ref: string; readonly raw: string; readonly event: KeyEvent }[]
  /** Within an hour before and after. */
  readonly principal: Around | undefined
  readonly key: Around | undefined
  readonly disposition: object | undefined
}

const ruleAt = (store: Store, seq: number, id: string): DetectorFile | undefined => {
  const recorded = [...store.controls('detectors')].findLast((one) => one.seq !== undefined && one.seq <= seq)
  if (recorded === undefined) return undefined
  const { files } = JSON.parse(recorded.body) as RecordedDetectors // written by run
  const path = defineDetectors(files).detectors.find(({ facts }) => facts.id === id)?.facts.path
  return files.find((file) => file.path === path)
}

const recordsOf = (store: Store, alert: Alert): AlertContext['records'] =>
  alert.evidence.sample.flatMap(({ raw_ref }) => {
    const [seq = '', index = ''] = raw_ref.split(':')
    const block = /^\d+$/.test(seq) ? store.block(Number(seq)) : undefined
    const item = block && unpacked(block).items[Number(index)]
    return item === undefined
      ? []
      : [{ raw_ref, raw: item.raw.toString('utf8'), event: JSON.parse(item.event) as KeyEvent }] // written by commit
  })

const tally = () => ({ calls: new Map<string, number>(), others: new Set<string>() })
const told = ({ calls, others }: ReturnType<typeof tally>): Around => ({
  calls: Object.fromEntries([...calls].sort((a, b) => b[1] - a[1])),
  others: others.size,
})

export const contextOf = (
  store: Store,
  { alert, seq }: { readonly alert: Alert; readonly seq: number },
  disposition: object | undefined,
): AlertContext => {
  const { key_id, principal } = alert.entity
  const byPrincipal = tally()
  const byKey = tally()
  const from = Date.parse(alert.time.first_event) - HOUR_MS
  const to = Date.parse(alert.time.last_event) + HOUR_MS
  for (const { items } of store.blocksBetween(from, to))
    for (const item of items) {
      const event = JSON.parse(item.event) as KeyEvent // written by commit
      const at = Date.parse(event.time.event)
      if (at < from || at > to) continue
      const call = `${event.operation_native} ${event.outcome}`
      if (principal !== undefined && (event.actor.principal === principal || event.actor.id === principal)) {
        countUp(byPrincipal.calls, call)
        if (event.target.key_id !== undefined) byPrincipal.others.add(event.target.key_id)
      }
      if (key_id !== undefined && event.target.key_id === key_id) {
        countUp(byKey.calls, call)
        if (event.actor.principal !== undefined) byKey.others.add(event.actor.principal)
      }
    }
  return {
    rule: ruleAt(store, seq, alert.detector.id),
    records: recordsOf(store, alert),
    principal: principal === undefined ? undefined : told(byPrincipal),
    key: key_id === undefined ? undefined : told(byKey),
    disposition,
  }
}

const MAX_CALLS = 6
const MAX_RAW = 700

const aroundText = (who: string, others: string, { calls, others: count }: Around): string => {
  const all = Object.entries(calls)
  const shown = all.slice(0, MAX_CALLS).map(([call, times]) => `${call} ${times.toLocaleString('en')}`)
  const more = all.length > MAX_CALLS ? `, and ${all.length - MAX_CALLS} more kinds` : ''
  return `  ${who.padEnd(10)} ${shown.join(', ')}${more}; ${count} ${others}\n`
}

/** @param visible makes text from outside safe to show */
export const renderContext = (context: AlertContext, visible: (text: string) => string): string => {
  const out: string[] = ['\nWithin an hour before and after\n']
  if (context.principal) out.push(aroundText('principal', 'keys', context.principal))
  if (context.key) out.push(aroundText('key', 'callers', context.key))
  if (context.records.length > 0) out.push('\nRecords (all fields with --json)\n')
  for (const { raw_ref, raw } of context.records)
    out.push(`  ${raw_ref}  ${visible(raw.slice(0, MAX_RAW))}${raw.length > MAX_RAW ? ' …' : ''}\n`)
  if (context.rule !== undefined)
    out.push(`\nRule as it was (${context.rule.path})\n${context.rule.text.replace(/^(?=.)/gm, '  ')}`)
  return out.join('')
}
