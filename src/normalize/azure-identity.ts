/**
 * Who called Azure, by the claims of the token that the record repeats, and what they prove about MFA.
 * Claims: Microsoft identity platform, "Access token claims reference".
 */
import type { KeyEvent } from '../model/event.ts'
import { memoText } from '../model/memo.ts'
import { fieldsOf } from './azure-record.ts'
import { isObject, type Json, string, strings } from './json.ts'
import { embedded, fold, type Members } from './members.ts'
import { type Cuts, field, utcFromMillis } from './text.ts'

type Actor = KeyEvent['actor']
type Auth = KeyEvent['auth']

export interface Caller {
  readonly actor: Actor
  readonly auth: Auth
  readonly initiated_by: KeyEvent['initiated_by']
  /** The claims name somebody, or there are none. */
  readonly known: boolean
  /** The workload behind a managed identity, lower-cased. */
  readonly workload: string | undefined
}

/** Services of Microsoft that call vaults for themselves, by application id. */
const firstParty = new Set([
  '509e4652-da8d-478d-a730-e9d4a1996ca4', // Azure Resource Graph
  '8cae6e77-e04e-42ce-b5cb-50d82bce26b1', // Policy Insights
  '022907d3-0f1b-48f7-badc-1ba6abab6d66', // Azure SQL Database
  '262044b1-e2ce-469f-a196-69ab7ada62d3', // Backup Management Service
  'abfa0a7c-a6b6-4736-8310-5855508787cd', // App Service
  'e406a681-f3d4-42a8-90b6-c2b029497af1', // Azure Storage
])
export const isFirstParty = (appid: string | undefined): boolean =>
  appid !== undefined && firstParty.has(appid.toLowerCase())

const MAX_CLAIM_DEPTH = 4
/** Tokens have a few dozen; what hostile records bring beyond is forgotten. */
const MAX_CLAIM_NAMES = 1000

/** `http://…/claims/upn`, `http_…_claims_upn` and `upn` are one claim; Managed HSM nests them further. */
const claimName = memoText(
  (name: string): string =>
    (name.split(/[/.]/).at(-1) ?? '')
      .replaceAll('_', '')
      .toLowerCase()
      .replace(/^http.*claims/, ''),
  MAX_CLAIM_NAMES,
)

const collect = (from: Json, into: Json, depth: number) => {
  for (const name of Object.keys(from)) {
    const value = from[name]
    if (isObject(value) && depth < MAX_CLAIM_DEPTH) collect(value, into, depth + 1)
    else if (typeof value === 'string' || typeof value === 'number') into[claimName(name)] ??= value
    else if (Array.isArray(value)) into[claimName(name)] ??= strings(value).join(',').slice(0, 4096)
  }
}

/** Managed HSM writes a text as identity, which may hold the claims themselves. */
const bare = (identity: Members): Json => {
  const members: Json = Object.create(null)
  for (const name of identity.names) if (name !== 'authorization') members[name] = identity.at(name)
  return members
}

/** Without members of its own: an object made of it is as safe as one without prototype, and faster. */
const noMembers: Json = Object.freeze(Object.create(null))

/** The claims under their short names. */
export const claimsOf = (top: Members): Json => {
  const claims: Json = Object.create(noMembers)
  const identity = fold(top.at('identity'))
  const given = embedded(identity.at('claim') ?? identity.at('claims') ?? top.at('claims') ?? bare(identity))
  if (isObject(given)) collect(given, claims, 0)
  for (const name of top.names) // columns of AzureDiagnostics
    if (name.startsWith('identityclaim') && typeof top.at(name) === 'string')
      claims[claimName(name.slice('identityclaim'.length))] ??= top.at(name)
  return claims
}

interface MfaFacts {
  /** As `methodsOf` gives them. */
  readonly methods: string
  readonly initiatedBy: KeyEvent['initiated_by']
  /** The Activity log keeps the whole list of methods; vault records keep only the first. */
  readonly wholeList: boolean
}

/** Four values: a vault record that says only `pwd` proves nothing, a management record with exactly `pwd` does. */
const mfaOf = ({ methods: said, initiatedBy, wholeList }: MfaFacts): Pick<Auth, 'mfa' | 'mfa_source'> => {
  if (initiatedBy !== 'human' && initiatedBy !== 'unknown')
    return { mfa: 'not_applicable', mfa_source: 'none' }
  const methods = said.split(/[\s,]+/)
  if (methods.includes('mfa') || methods.includes('ngcmfa'))
    return { mfa: 'verified', mfa_source: 'event_claim' }
  return wholeList && methods.length === 1 && methods[0] === 'pwd'
    ? { mfa: 'not_used', mfa_source: 'event_claim' }
    : { mfa: 'unknown', mfa_source: 'none' }
}

const methodsOf = (claims: Json): string => {
  const said = string(claims['authnmethodsreferences']) ?? string(claims['amr'])
  return said === undefined
    ? ''
    : said
        .replace(/[[\]"]/g, '')
        .toLowerCase()
        .trim()
}

const credentialOf = (claims: Json, human: boolean, managed: boolean): Actor['credential_type'] => {
  if (human || managed) return 'token'
  const kind = String(claims['appidacr'] ?? claims['azpacr'] ?? '')
  return kind === '1' ? 'service_key' : kind === '2' ? 'certificate' : 'unknown'
}

/** A caller of ours or a stranger's: is its tenant another than the owner's? */
export const crossesTenants = (caller: Caller, owner: string | undefined): boolean | undefined => {
  const { actor, initiated_by } = caller
  if (initiated_by !== 'human' && initiated_by !== 'workload') return undefined
  return owner === undefined || actor.account === undefined ? undefined : actor.account !== owner
}

export interface CallFacts {
  readonly claims: Json
  /** Who the header names, when there are no claims. */
  readonly caller?: string | undefined
  /** The provider speaks of itself: nobody called. */
  readonly internal: boolean
  readonly wholeList: boolean
  readonly basis?: Auth['basis']
}

/** Reads the claims; first match decides who stands behind the call (see docs/fields.md, initiated_by). */
export const identify = (facts: CallFacts, cuts: Cuts): Caller => {
  const { claims, internal } = facts
  const caller = facts.caller
  const oid = string(claims['oid']) ?? string(claims['objectidentifier'])
  const appid = string(claims['appid']) ?? string(claims['azp'])
  const upn = string(claims['upn']) ?? (caller?.includes('@') ? caller : undefined)
  const scope = string(claims['scp']) ?? string(claims['scope'])
  const workload = (string(claims['xmsmirid']) ?? string(claims['xmsazrid']))?.toLowerCase()
  const delegated = upn !== undefined || scope !== undefined
  const appOnly = !delegated && (appid !== undefined || oid !== undefined || caller !== undefined)
  const service =
    appOnly && (isFirstParty(appid) || (workload?.includes('/providers/microsoft.sql/') ?? false))
  const initiated_by = internal
    ? 'cloud_internal'
    : service
      ? 'cloud_service'
      : delegated
        ? 'human'
        : appOnly
          ? 'workload'
          : 'unknown'
  const managed = workload !== undefined && appOnly
  const nobody = Object.keys(claims).length === 0 && caller === undefined
  const type: Actor['type'] = delegated
    ? 'user'
    : managed
      ? 'managed_identity'
      : service || (internal && !appOnly)
        ? 'cloud_service'
        : appOnly
          ? 'service_principal'
          : nobody
            ? 'anonymous'
            : 'unknown'
  const name =
    upn ??
    string(claims['uniquename']) ??
    string(claims['emailaddress']) ??
    string(claims['name']) ??
    workload?.split('/').at(-1)
  const tenant =
    string(claims['tid']) ??
    string(claims['tenantid']) ??
    /^https:\/\/[^/]+\/([0-9a-f-]{36})(?:\/|$)/i.exec(string(claims['iss']) ?? '')?.[1]
  const iat = Number(claims['iat'])
  const methods = methodsOf(claims)
  return {
    known: nobody || delegated || appOnly,
    initiated_by,
    workload,
    actor: {
      id: field(oid ?? appid ?? upn ?? caller, 512, 'actor.id', cuts),
      principal: field(delegated ? (oid ?? upn) : (appid ?? oid ?? caller), 512, 'actor.principal', cuts),
      session: field(claims['uti'], 256, 'actor.session', cuts),
      name: field(name, 256, 'actor.name', cuts),
      type,
      account: field(tenant?.toLowerCase(), 128, 'actor.account', cuts),
      credential_type: delegated || appOnly ? credentialOf(claims, delegated, managed) : 'none',
      issuer: field(claims['identityprovider'] ?? claims['idp'] ?? claims['iss'], 256, 'actor.issuer', cuts),
      application: field(appid, 256, 'actor.application', cuts),
    },
    auth: {
      ...mfaOf({ methods, initiatedBy: initiated_by, wholeList: facts.wholeList }),
      mfa_methods: methods === '' ? undefined : fieldsOf(methods, 256, 16, 'auth.mfa_methods', cuts),
      session_created: iat > 0 ? utcFromMillis(iat * 1000) : undefined,
      basis: facts.basis,
    },
  }
}
