/** Sessions from identity providers that ask everybody for a second factor, as the operator says. */
import type { KeyEvent } from '../model/event.ts'
import type { Knowledge } from '../model/knowledge.ts'
import { wildcardMatch } from '../model/wildcard.ts'
import { holdsAt } from './effective.ts'

/** @returns whether an event whose record says nothing of a second factor comes from such a session */
export const assurance = (
  providers: Knowledge['trusted_identity_providers'],
): ((event: KeyEvent) => boolean) => {
  if (providers.length === 0) return () => false
  return ({ auth, actor, initiated_by, time }) =>
    auth.mfa === 'unknown' &&
    initiated_by === 'human' &&
    providers.some(
      (one) =>
        holdsAt(one, time.event) &&
        [actor.issuer, actor.principal].some((id) => id !== undefined && wildcardMatch(one.match, id)),
    )
}
