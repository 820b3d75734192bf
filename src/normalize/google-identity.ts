/**
 * Who called Google Cloud, by `authenticationInfo` of an audit record. The record has no word about a second
 * factor: of a person it is unknown, of a workload not applicable.
 * Fields: Cloud Audit Logs, google.cloud.audit.AuthenticationInfo.
 */
import type { KeyEvent } from '../model/event.ts'
import { memoText } from '../model/memo.ts'
import { list, string } from './json.ts'
import { dig, fold, type Members } from './members.ts'
import { type Cuts, field } from './text.ts'

type Actor = KeyEvent['actor']

interface Party {
  readonly id: string
  readonly email: string | undefined
  readonly type: Actor['type']
  readonly by: KeyEvent['initiated_by']
}

/** Agents by which a service of Google acts for itself in a project of the customer. */
const AGENT =
  /^service-\d+@.*gserviceaccount\.com$|@(gcp-sa-[a-z0-9-]+\.iam|cloudservices|system)\.gserviceaccount\.com$/
const ACCOUNT = /@([a-z0-9.:-]+)\.iam\.gserviceaccount\.com$/

const MAX_CALLERS = 4000
const subjectOf = memoText((subject) => {
  const [, kind = '', rest = ''] = /^(user|serviceAccount|serviceAgent):(.+)$/.exec(subject) ?? []
  return [kind, rest] as const
}, MAX_CALLERS)
const isAgent = memoText((id) => AGENT.test(id.toLowerCase()), MAX_CALLERS)
const accountOf = memoText((email) => ACCOUNT.exec(email.toLowerCase())?.[1] ?? '', MAX_CALLERS)

/** @param subject `user:…`, `serviceAccount:…`, `principal://…`; @param email as the record names it */
const partyOf = (subject: string | undefined, email: string | undefined): Party | undefined => {
  const [kind, rest] = subjectOf(subject ?? '')
  const mail = email ?? (rest.includes('@') ? rest : undefined)
  const id = mail ?? subject
  if (id === undefined) return undefined
  if (kind === 'serviceAgent' || isAgent(id))
    return { id, email: mail, type: 'cloud_service', by: 'cloud_service' }
  if (/gserviceaccount\.com$/i.test(id)) return { id, email: mail, type: 'service_account', by: 'workload' }
  const federated = subject ?? id
  if (federated.includes('/workforcePools/')) return { id, email: mail, type: 'federated_user', by: 'human' }
  if (/\/workloadIdentityPools\/|\.svc\.id\.goog/.test(federated))
    return { id, email: mail, type: 'workload_identity', by: 'workload' }
  return mail === undefined
    ? { id, email: mail, type: 'unknown', by: 'unknown' }
    : { id, email: mail, type: 'user', by: 'human' }
}

/** One step of a delegation: of Google's own kind, or told by claims of a stranger. */
const delegateOf = (one: Members): Party | undefined =>
  partyOf(string(one.at('principalsubject')), string(dig(one, 'firstpartyprincipal', 'principalemail')))

export interface GoogleCaller {
  readonly actor: Actor
  readonly auth: KeyEvent['auth']
  readonly initiated_by: KeyEvent['initiated_by']
  readonly known: boolean
}

const MAX_CHAIN = 16

/** @param internal the platform speaks of itself: nobody called */
export const googleCaller = (payload: Members, internal: boolean, cuts: Cuts): GoogleCaller => {
  const info = fold(payload.at('authenticationinfo'))
  const chain = list(info.at('serviceaccountdelegationinfo')).map((one) => delegateOf(fold(one)))
  const party = partyOf(string(info.at('principalsubject')), string(info.at('principalemail')))
  const first = chain[0]
  const initiated_by = internal ? 'cloud_internal' : (first?.by ?? party?.by ?? 'unknown')
  const keyName = string(info.at('serviceaccountkeyname'))
  const granted = list(payload.at('authorizationinfo')).map(fold)
  const refused = granted.some((one) => one.at('granted') === false)
  const basis = granted.slice(0, 32).flatMap((one) => {
    const permission = string(one.at('permission'))
    const verdict = one.at('granted') === true ? 'true' : one.at('granted') === false ? 'false' : 'unsaid'
    return permission === undefined
      ? []
      : (field(`${permission} granted=${verdict}`, 256, 'auth.basis', cuts) ?? [])
  })
  const delegation = chain.slice(0, MAX_CHAIN).flatMap((one) => {
    return field(one?.id, 512, 'actor.delegation', cuts) ?? []
  })
  if (chain.length > MAX_CHAIN) cuts.push('actor.delegation')
  const human = initiated_by === 'human' || initiated_by === 'unknown'
  return {
    initiated_by,
    known: party !== undefined || internal || info.names.length === 0,
    actor: {
      id: field(party?.id, 512, 'actor.id', cuts),
      principal: field(party?.id, 512, 'actor.principal', cuts),
      name: field(party?.email, 256, 'actor.name', cuts),
      type: party?.type ?? (internal ? 'cloud_service' : 'unknown'),
      account: field(accountOf(party?.email ?? ''), 128, 'actor.account', cuts),
      credential_id: field(keyName, 128, 'actor.credential_id', cuts),
      credential_type: keyName !== undefined ? 'service_key' : party === undefined ? 'none' : 'unknown',
      on_behalf_of:
        first === undefined ? undefined : { id: field(first.id, 512, 'actor.on_behalf_of', cuts) },
      delegation: delegation.length > 0 ? delegation : undefined,
      application: field(dig(info, 'oauthinfo', 'oauthclientid'), 256, 'actor.application', cuts),
    },
    auth: {
      mfa: human ? 'unknown' : 'not_applicable',
      mfa_source: 'none',
      policy_decision: refused
        ? 'deny'
        : granted.some((one) => one.at('granted') === true)
          ? 'allow'
          : undefined,
      basis: basis.length > 0 ? basis : undefined,
    },
  }
}
