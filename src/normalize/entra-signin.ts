/** Sign-ins of people, service principals and managed identities. Shape: Microsoft Graph, signIn resource. */
import type { KeyEvent } from '../model/event.ts'
import { isFirstParty } from './azure-identity.ts'
import { signIn } from './azure-operations.ts'
import { type Result, resultOf, type Verdict } from './azure-outcome.ts'
import { fieldsOf, type View } from './azure-record.ts'
import type { Party, Told } from './entra-told.ts'
import { list, string } from './json.ts'
import { embedded, fold, type Members, scalar } from './members.ts'
import { type Cuts, field } from './text.ts'

type Auth = KeyEvent['auth']

/** Interrupts: a further step is asked of the person (Entra error codes, AADSTS). */
const interrupts = new Set([50072, 50074, 50076, 50079, 50140])
/** Refused by policy, not by a wrong secret. */
const refusals = new Set([50057, 50105, 53000, 53001, 53002, 53003, 53004, 530032])

const verdictOf = (code: number | undefined): Verdict => {
  if (code === undefined) return 'unknown'
  if (code === 0) return 'success'
  return interrupts.has(code) ? 'challenge' : refusals.has(code) ? 'denied' : 'failure'
}

/** Here `resultType` is the error code. */
const outcomeOf = ({ top, all }: View, cuts: Cuts): Result => {
  const status = fold(all.at('status'))
  const given = scalar(status.at('errorcode')) || scalar(all.at('resulttype'))
  const code = /^\d{1,9}$/.test(given) ? Number(given) : undefined
  const message = status.at('failurereason') ?? top.at('resultdescription')
  return resultOf({ outcome: verdictOf(code), status: undefined, conflict: false, code, message }, cuts)
}

/** First factors: with nothing but these, a sign-in that needed one factor had one. */
const FIRST_FACTOR = /^(password|previously satisfied|password hash sync|pass-through authentication)?$/i

/**
 * What was required and fulfilled. One factor that is no password (a passkey, a certificate) may well be two:
 * that stays unknown.
 */
const mfaOf = (
  all: Members,
  steps: readonly Members[],
  outcome: Verdict,
): Pick<Auth, 'mfa' | 'mfa_source'> => {
  const required = outcome === 'success' ? scalar(all.at('authenticationrequirement')).toLowerCase() : ''
  if (required === 'multifactorauthentication') {
    const detail = steps.map((one) => scalar(one.at('authenticationstepresultdetail'))).join()
    const earlier = /claim in the token/i.test(detail)
    return { mfa: 'verified', mfa_source: earlier ? 'session_attribute' : 'event_claim' }
  }
  const single = steps.every((one) => FIRST_FACTOR.test(scalar(one.at('authenticationmethod'))))
  return required === 'singlefactorauthentication' && single
    ? { mfa: 'not_used', mfa_source: 'event_claim' }
    : { mfa: 'unknown', mfa_source: 'none' }
}

const credentialType = (all: Members, person: boolean): KeyEvent['actor']['credential_type'] => {
  const kind = scalar(all.at('clientcredentialtype')).toLowerCase()
  if (kind.includes('secret')) return 'service_key'
  const thumbprint = string(all.at('serviceprincipalcredentialthumbprint'))
  if (kind.includes('certificate') || thumbprint !== undefined) return 'certificate'
  return person ? undefined : 'unknown'
}

export type SignInKind = 'person' | 'service_principal' | 'managed_identity'

export const signedIn = (seen: View, kind: SignInKind, cuts: Cuts): Told => {
  const { top, all } = seen
  const person = kind === 'person'
  const appid = string(all.at('appid'))
  const party: Party = person
    ? {
        id: string(all.at('userid')),
        name: string(all.at('userprincipalname')),
        appid,
        type: 'user',
        by: 'human',
      }
    : {
        id: string(all.at('serviceprincipalid')),
        name: string(all.at('serviceprincipalname')),
        appid,
        type: kind,
        by: isFirstParty(appid) ? 'cloud_service' : 'workload',
      }
  const result = outcomeOf(seen, cuts)
  const steps = list(embedded(all.at('authenticationdetails'))).map(fold)
  const methods = new Set(steps.map((one) => scalar(one.at('authenticationmethod'))))
  const blocked = scalar(all.at('conditionalaccessstatus')).toLowerCase() === 'failure'
  const credential =
    string(all.at('serviceprincipalcredentialkeyid')) ?? all.at('serviceprincipalcredentialthumbprint')
  return {
    native: string(top.at('operationname')) ?? 'Sign-in activity',
    mapping: signIn,
    result,
    party,
    actor: {
      session: field(all.at('uniquetokenidentifier'), 256, 'actor.session', cuts),
      credential_id: field(credential, 128, 'actor.credential_id', cuts),
      credential_type: credentialType(all, person),
    },
    auth: {
      ...(person ? mfaOf(all, steps, result.outcome) : { mfa: 'not_applicable', mfa_source: 'none' }),
      mfa_methods: fieldsOf([...methods], 256, 16, 'auth.mfa_methods', cuts),
      policy_decision: blocked ? 'deny' : undefined,
    },
    ip: all.at('ipaddress'),
    agent: all.at('useragent'),
    container: all.at('resourceidentity') ?? all.at('resourcedisplayname'),
  }
}
