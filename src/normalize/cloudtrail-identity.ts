/**
 * Who called, who stands behind it, and what the record proves about MFA.
 * Shapes of `userIdentity`: CloudTrail user guide, "CloudTrail userIdentity element".
 */
import type { KeyEvent } from '../model/event.ts'
import { wildcardMatch } from '../model/wildcard.ts'
import { type Json, object, string } from './json.ts'
import { type Cuts, field, utc } from './text.ts'

type Actor = KeyEvent['actor']
type Auth = KeyEvent['auth']

export interface Identity {
  readonly actor: Actor
  readonly auth: Auth
  readonly initiated_by: KeyEvent['initiated_by']
  /** The shape is one the user guide describes. */
  readonly known: boolean
}

const actorTypes: Readonly<Record<string, Actor['type']>> = {
  Root: 'root',
  IAMUser: 'user',
  AssumedRole: 'role_session',
  Role: 'role_session',
  FederatedUser: 'federated_user',
  Directory: 'user',
  AWSAccount: 'unknown',
  AWSService: 'cloud_service',
  IdentityCenterUser: 'user',
  SAMLUser: 'federated_user',
  WebIdentityUser: 'workload_identity',
  Unknown: 'unknown',
}

/** Web identity providers that people sign in with; the others stand for workloads. */
const consumerProviders = /cognito-identity|accounts\.google\.com|graph\.facebook\.com|www\.amazon\.com/
const SSO_ROLE = /:role\/(?:.*\/)?AWSReservedSSO_/
const ASSUMED_ROLE = /^arn:([^:]+):sts::(\d{12}):assumed-role\/([^/]+)\/(.+)$/
const INSTANCE_SESSION = /^i-[0-9a-f]{8,17}$/

/** The role behind a session, and the session's name. */
const roleAndSession = (
  arn: string | undefined,
  issuer: string | undefined,
  principalId: string | undefined,
) => {
  const session = arn === undefined ? null : ASSUMED_ROLE.exec(arn)
  if (session !== null)
    return { role: issuer ?? `arn:${session[1]}:iam::${session[2]}:role/${session[3]}`, session: session[4] }
  const colon = principalId?.indexOf(':') ?? -1
  return { role: issuer ?? arn, session: colon > 0 ? principalId?.slice(colon + 1) : undefined }
}

const credentialType = (accessKey: string | undefined, type: string | undefined, console: boolean) => {
  if (console) return 'console'
  if (accessKey?.startsWith('AKIA')) return 'long_term_key'
  if (accessKey?.startsWith('ASIA')) return 'temporary'
  if (type === 'SAMLUser' || type === 'WebIdentityUser') return 'token'
  if (type === 'AWSService' || type === undefined) return 'none'
  return 'unknown'
}

/** Is one of our people or one of our programs behind it? First match wins (see docs/fields.md, initiated_by). */
const initiator = (facts: {
  readonly type: string | undefined
  readonly serviceEvent: boolean
  readonly invokedBy: string | undefined
  readonly human: boolean
}): KeyEvent['initiated_by'] => {
  const { type, serviceEvent, invokedBy, human } = facts
  if (serviceEvent || (type === undefined && invokedBy === 'AWS Internal')) return 'cloud_internal'
  if (type === 'AWSService' || (invokedBy !== undefined && !human)) return 'cloud_service'
  if (human) return 'human'
  if (type === 'AssumedRole' || type === 'Role' || type === 'WebIdentityUser') return 'workload'
  return 'unknown'
}

type Mfa = Pick<Auth, 'mfa' | 'mfa_source'>
const mfa = (value: Auth['mfa'], source: Auth['mfa_source'] = 'none'): Mfa => ({
  mfa: value,
  mfa_source: source,
})

interface Session {
  readonly type: string | undefined
  readonly invokedBy: string | undefined
  readonly initiatedBy: KeyEvent['initiated_by']
  readonly attribute: string | undefined
  readonly longTermKey: boolean
  readonly principal: string | undefined
  readonly workload: boolean
  readonly trustedRoles: readonly string[]
}

/**
 * Four values. `not_used` only where the record itself shows it: AWS writes "false" also into sessions whose
 * identity provider did check a second factor, so for federated sessions "false" says nothing.
 */
const sessionMfa = (session: Session): Mfa => {
  const { type, attribute, principal } = session
  if (session.initiatedBy === 'cloud_internal' || session.initiatedBy === 'cloud_service')
    return mfa('not_applicable')
  if (session.invokedBy !== undefined) return mfa('not_applicable')
  if (attribute === 'true') return mfa('verified', 'session_attribute')
  if (session.workload) return mfa('not_applicable')
  if (principal !== undefined && session.trustedRoles.some((role) => wildcardMatch(role, principal)))
    return mfa('verified', 'derived_rule')
  if (type !== 'Root' && type !== 'IAMUser') return mfa('unknown')
  if (attribute === 'false') return mfa('not_used', 'session_attribute')
  return session.longTermKey ? mfa('not_used', 'derived_rule') : mfa('unknown')
}

/** Sign-in records say themselves whether a second factor was used; for federated sign-ins "No" says nothing. */
const signinMfa = (record: Json, type: string | undefined): Mfa | undefined => {
  const used = object(record['additionalEventData'])['MFAUsed']
  if (used === 'Yes') return mfa('verified', 'event_claim')
  if (used === 'No')
    return type === 'IAMUser' || type === 'Root' ? mfa('not_used', 'event_claim') : mfa('unknown')
  return object(record['responseElements'])['CheckMfa'] === 'Success'
    ? mfa('verified', 'event_claim')
    : undefined
}

/** Reads `userIdentity` and everything in the record that speaks of who it was. */
export const identify = (record: Json, trustedRoles: readonly string[], cuts: Cuts): Identity => {
  const user = object(record['userIdentity'])
  const context = object(user['sessionContext'])
  const issuer = object(context['sessionIssuer'])
  const attributes = object(context['attributes'])
  const web = object(context['webIdFederationData'])
  const type = string(user['type'])
  const arn = string(user['arn'])
  const principalId = string(user['principalId'])
  const accessKey = string(user['accessKeyId'])
  const invokedBy = string(user['invokedBy'])
  const sourceIdentity = string(context['sourceIdentity'])
  const provider = string(web['federatedProvider']) ?? string(user['identityProvider'])
  const userName = string(user['userName'])
  const onBehalfOf = object(user['onBehalfOf'])
  const accountId =
    string(user['accountId']) ??
    (typeof user['accountId'] === 'number' ? String(user['accountId']) : undefined)
  const console =
    record['sessionCredentialFromConsole'] === 'true' || record['eventType'] === 'AwsConsoleSignIn'

  const role = type === 'AssumedRole' || type === 'Role' || type === 'FederatedUser'
  const split = role
    ? roleAndSession(arn, string(issuer['arn']), principalId)
    : { role: undefined, session: undefined }
  const principal =
    split.role ??
    arn ??
    string(onBehalfOf['userId']) ??
    (type === undefined || type === 'AWSService' ? invokedBy : undefined) ??
    principalId ??
    accountId

  const serviceEvent = record['eventType'] === 'AwsServiceEvent'
  const human =
    type === 'Root' ||
    type === 'IAMUser' ||
    type === 'IdentityCenterUser' ||
    type === 'SAMLUser' ||
    type === 'Directory' ||
    (principal !== undefined && SSO_ROLE.test(principal)) ||
    (console && type !== undefined) ||
    sourceIdentity !== undefined
  const initiated_by = initiator({ type, serviceEvent, invokedBy, human })
  const consumer = provider !== undefined && consumerProviders.test(provider)
  const anonymous =
    type === 'AWSAccount' && (principalId === 'ANONYMOUS_PRINCIPAL' || accountId === 'anonymous')

  const verdict =
    (record['eventSource'] === 'signin.amazonaws.com' ? signinMfa(record, type) : undefined) ??
    sessionMfa({
      type,
      invokedBy,
      initiatedBy: initiated_by,
      attribute: string(attributes['mfaAuthenticated']),
      longTermKey: accessKey?.startsWith('AKIA') ?? false,
      principal,
      workload:
        initiated_by === 'workload' &&
        (string(context['ec2RoleDelivery']) !== undefined ||
          INSTANCE_SESSION.test(split.session ?? '') ||
          (provider !== undefined && !consumer) ||
          (type === 'WebIdentityUser' && !consumer)),
      trustedRoles,
    })
  const method = field(object(record['additionalEventData'])['MFAIdentifier'], 256, 'auth.mfa_methods', cuts)

  return {
    known:
      (type !== undefined && Object.hasOwn(actorTypes, type)) ||
      (type === undefined && invokedBy !== undefined),
    initiated_by,
    actor: {
      id: field(
        split.session === undefined ? principal : `${principal}/${split.session}`,
        512,
        'actor.id',
        cuts,
      ),
      principal: field(principal, 512, 'actor.principal', cuts),
      session: field(split.session, 256, 'actor.session', cuts),
      name: field(userName ?? split.session ?? issuer['userName'], 256, 'actor.name', cuts),
      type: anonymous
        ? 'anonymous'
        : type === undefined
          ? invokedBy === undefined
            ? 'unknown'
            : 'cloud_service'
          : type === 'WebIdentityUser' && consumer
            ? 'federated_user'
            : Object.hasOwn(actorTypes, type)
              ? (actorTypes[type] ?? 'unknown')
              : 'unknown',
      account: field(accountId ?? arn?.split(':')[4], 128, 'actor.account', cuts),
      credential_id: field(accessKey, 128, 'actor.credential_id', cuts),
      credential_type: credentialType(accessKey, type, console),
      on_behalf_of: behalf(onBehalfOf, sourceIdentity, cuts),
      delegation: undefined,
      invoked_by: field(invokedBy, 128, 'actor.invoked_by', cuts),
      issuer: field(provider, 256, 'actor.issuer', cuts),
      application: undefined,
    },
    auth: {
      mfa: verdict.mfa,
      mfa_source: verdict.mfa_source,
      mfa_methods: method === undefined ? undefined : [method],
      session_created: utc(attributes['creationDate']),
      policy_decision: undefined,
      basis: undefined,
    },
  }
}

const behalf = (onBehalfOf: Json, sourceIdentity: string | undefined, cuts: Cuts): Actor['on_behalf_of'] => {
  const userId = field(onBehalfOf['userId'], 512, 'actor.on_behalf_of.id', cuts)
  if (userId !== undefined) return { id: userId, type: 'identity_center_user' }
  const source = field(sourceIdentity, 512, 'actor.on_behalf_of.id', cuts)
  return source === undefined ? undefined : { id: source, type: 'source_identity' }
}
