/**
 * How much an event weighs: base value of its operation, then floors, caps, and at most one step up and one
 * step down. Judged after enrichment, from the event alone: never from counts of past events.
 */
import type { KeyEvent } from '../model/event.ts'
import { type Criticality, criticalities } from '../model/operations.ts'

const level = (name: Criticality) => criticalities.indexOf(name)

const criticalFlags = new Set([
  'bypass_lockout_check',
  'public_principal',
  'purge_protection_off',
  'logging_reduced',
])

/** Ends of a waiting period: nobody stands behind them, and they weigh as much as the deletion. */
const finalNames = new Set(['DeleteKey', 'DeleteExpiredKeyMaterial'])

const byService = new Set(['encrypt', 'decrypt', 'generate_data_key', 'wrap', 'unwrap', 'grant_create'])

const floorOf = (event: KeyEvent): Criticality => {
  if (event.change?.flags?.some((flag) => criticalFlags.has(flag))) return 'critical'
  if (event.actor.type === 'root') return 'high'
  if (event.operation === 'rotation_policy_change' && event.operation_effect === 'weaken') return 'high'
  return (event.change?.rotation_days ?? 0) > 365 ? 'high' : 'info'
}

const capOf = (event: KeyEvent): Criticality =>
  event.initiated_by === 'cloud_internal' && !finalNames.has(event.operation_native) ? 'medium' : 'critical'

/** Whether something about the call weighs more than its operation alone. */
export const stepsUp = ({
  outcome,
  operation_category,
  auth,
  initiated_by,
  target,
  labels,
}: KeyEvent): boolean =>
  (outcome === 'denied' && (operation_category === 'read' || operation_category === 'cryptographic')) ||
  (auth.mfa === 'not_used' &&
    initiated_by === 'human' &&
    (operation_category === 'access_control' || operation_category === 'lifecycle')) ||
  target.cross_account === true ||
  labels?.['criticality'] === 'crown-jewel'

/** @param base criticality of the native name, from the mapping table. */
export const criticalityOf = (event: KeyEvent, base: Criticality): Criticality => {
  const bounded = Math.min(Math.max(level(base), level(floorOf(event))), level(capOf(event)))
  const up = stepsUp(event) ? 1 : 0
  const down = event.initiated_by === 'cloud_service' && byService.has(event.operation) ? 1 : 0
  return criticalities[Math.min(Math.max(bounded + up - down, 0), 4)] ?? base
}
