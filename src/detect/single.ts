/** Detectors that decide from one event: one alert per action, or one per group and bucket of time. */
import type { SingleDetector } from './definition.ts'
import type { Context, Plan, Step } from './engine.ts'
import { noteOf } from './evidence.ts'
import { begin, type Opened, raise, witness } from './opened.ts'
import { entityOf, readGroup, severityOf, signalId } from './signal.ts'
import { unlessStep } from './unless.ts'

export const singleStep = (detector: SingleDetector, context: Context): Step => {
  const { facts, rule, group, unless } = detector
  const { state } = context
  const about = { threshold: 1, timespan: '0s' }
  const exception = unless && unlessStep(detector, unless, context)
  return (event, at, raw): Plan | undefined => {
    const excuse = exception?.excuse(event, at, raw)
    if (excuse !== undefined || !rule.matches(event, raw)) return excuse
    const values = readGroup(group?.getters ?? [], event, raw)
    if (values === undefined) {
      context.ungrouped++
      return undefined
    }
    if (group === undefined || group.bucketMs === 0) {
      const alertId = signalId(facts, [event.action_id])
      const shared = event.action_id === event.event_id ? undefined : `told|${alertId}`
      /** @returns nothing when a copy of the action has made it before */
      const open = (): Opened | undefined => {
        if (shared !== undefined) {
          if (state.get(shared) !== undefined) return undefined
          state.put(shared, { at }, at + context.finalizeMs)
        }
        const { key_id, account } = event.target
        const entity = { key_id, principal: event.actor.principal, account: account ?? event.actor.account }
        const opened = begin(facts, event, {
          ...about,
          severity: severityOf(facts, event, raw),
          alertId,
          entity,
        })
        opened.draft.observed = 1
        witness(opened, event.event_id, event.time.event, noteOf(event))
        return opened
      }
      const plan: Plan = {
        facts,
        needs(wants) {
          if (shared !== undefined) wants.value(shared)
        },
        fold() {
          const opened = open()
          if (opened !== undefined) context.tellOnce(opened)
        },
      }
      return exception?.guarded(event, at, raw, plan, open) ?? plan
    }
    const bucket = Math.floor(at / group.bucketMs) * group.bucketMs
    const due = bucket + group.bucketMs + context.finalizeMs
    const key = `open|${facts.id}|${facts.version}|${values.join('|')}|${bucket}`
    return {
      facts,
      needs: (wants) => wants.value(key),
      fold() {
        const known = state.get(key) as Opened | undefined // only these are kept under this key
        const opened =
          known ??
          begin(facts, event, {
            ...about,
            severity: severityOf(facts, event, raw),
            alertId: signalId(facts, [...values, bucket]),
            entity: entityOf(group.by, values),
          })
        witness(opened, event.event_id, event.time.event, noteOf(event))
        if (known === undefined) {
          opened.draft.observed = 1
          opened.next = 10
          context.tell(opened)
        } else if (
          raise(
            opened,
            opened.draft.evidence.total,
            Date.parse(opened.draft.window.start),
            at,
            severityOf(facts, event, raw),
          )
        )
          context.tell(opened)
        state.put(key, opened, due)
      },
    }
  }
}
