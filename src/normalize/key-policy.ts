/**
 * Who may use the key? Evaluates a key policy for a stranger: a principal of another organization.
 *
 * A stranger holds an action when an Allow statement with a wildcard principal gives it without a condition
 * that ties it to known principals, accounts, organizations or networks, and no Deny statement takes it
 * back from strangers. What counts as tying follows the list AWS gives for "public" bucket policies
 * (Amazon S3 user guide, "The meaning of public"), with the KMS condition key kms:CallerAccount.
 */

import { wildcardMatch } from '../model/wildcard.ts'
import { awsSources } from './aws-operations.ts'
import { isObject, type Json, strings } from './json.ts'

export interface PolicyVerdict {
  /** A stranger can use or change the key. */
  readonly public: boolean
  /** A "*" principal occurs in an Allow statement, conditions or not. */
  readonly wildcard: boolean
  /** An Allow statement names an account other than the owner's. */
  readonly external: boolean
}

const harmless = new Set([
  'verify',
  'mac_verify',
  'generate_random',
  'read_metadata',
  'read_policy',
  'read_public_key',
  'list',
])

/** Permissions that let somebody use, change or destroy a key. Reading about it is not among them. */
export const sensitiveActions: readonly string[] = [
  ...Object.entries(awsSources['kms']?.names ?? {})
    .filter(([name, mapping]) => !harmless.has(mapping.operation) && name !== 'ReEncrypt')
    .map(([name]) => `kms:${name.toLowerCase()}`),
  'kms:reencryptfrom',
  'kms:reencryptto',
]

const covered = (patterns: readonly string[], action: string) =>
  patterns.some((pattern) => wildcardMatch(pattern.toLowerCase(), action))

/** The sensitive actions of a statement: those `Action` names, or those `NotAction` leaves. */
const actionsOf = (statement: Json, actions: readonly string[]): string[] =>
  'NotAction' in statement
    ? actions.filter((action) => !covered(strings(statement['NotAction']), action))
    : actions.filter((action) => covered(strings(statement['Action']), action))

const awsPrincipals = (principal: unknown): string[] =>
  typeof principal === 'string' ? [principal] : isObject(principal) ? strings(principal['AWS']) : []

const isWildcard = (principal: unknown): boolean => awsPrincipals(principal).includes('*')

/** Condition keys that AWS sets for every authenticated call: `...IfExists` on them is as good as without. */
const alwaysPresent = new Set([
  'aws:principalarn',
  'aws:principalaccount',
  'aws:userid',
  'kms:calleraccount',
  'aws:sourceip',
])

const accountKeys = new Set([
  'aws:principalorgid',
  'aws:principalaccount',
  'aws:sourceaccount',
  'aws:sourceorgid',
  'aws:sourceowner',
  'aws:sourcevpc',
  'aws:sourcevpce',
  'aws:userid',
  'kms:calleraccount',
])
const arnKeys = new Set(['aws:principalarn', 'aws:sourcearn'])
const orgPathKeys = new Set(['aws:principalorgpaths', 'aws:sourceorgpaths'])

/** Is this value of the condition key narrow enough to keep strangers out? */
const tying = (key: string, value: string, pattern: boolean): boolean => {
  if (value.includes('${')) return false
  if (key === 'aws:sourceip') {
    const [address = '', bits] = value.split('/')
    return bits === undefined || Number(bits) >= (address.includes(':') ? 32 : 8)
  }
  if (arnKeys.has(key)) return !pattern || !/[*?]/.test(value.split(':')[4] ?? '*')
  if (orgPathKeys.has(key)) return /^o-[a-z0-9]+\//.test(value)
  if (key === 'aws:userid') return !pattern || /^[A-Z0-9]{16,}/.test(value)
  return accountKeys.has(key) && (!pattern || !/[*?]/.test(value))
}

const positive = new Set([
  'stringequals',
  'stringequalsignorecase',
  'stringlike',
  'arnequals',
  'arnlike',
  'ipaddress',
])
const negative = new Set([
  'stringnotequals',
  'stringnotequalsignorecase',
  'stringnotlike',
  'arnnotequals',
  'arnnotlike',
  'notipaddress',
])

interface Clause {
  readonly operator: string
  readonly ifExists: boolean
  readonly key: string
  readonly values: readonly string[]
}

const clauses = (condition: unknown): Clause[] => {
  if (!isObject(condition)) return []
  return Object.entries(condition).flatMap(([name, keys]) => {
    const lower = name.toLowerCase()
    const ifExists = lower.endsWith('ifexists')
    const operator = (ifExists ? lower.slice(0, -8) : lower).replace(/^foranyvalue:/, '')
    if (!isObject(keys)) return []
    return Object.entries(keys).map(([key, value]) => ({
      operator,
      ifExists,
      key: key.toLowerCase(),
      values: strings(value),
    }))
  })
}

const ties = ({ operator, key, values }: Clause): boolean => {
  const pattern = operator.includes('like') || operator.startsWith('arn')
  return values.length > 0 && values.every((value) => tying(key, value, pattern))
}

/** One clause that ties is enough: all clauses of a condition must hold. */
const keepsStrangersOut = (condition: unknown): boolean =>
  clauses(condition).some(
    (clause) =>
      positive.has(clause.operator) && (!clause.ifExists || alwaysPresent.has(clause.key)) && ties(clause),
  )

/** A Deny reaches every stranger when it has no condition, or only ones that hold for all of them. */
const reachesStrangers = (condition: unknown): boolean =>
  clauses(condition).every((clause) => negative.has(clause.operator) && ties(clause)) &&
  (condition === undefined || isObject(condition))

/**
 * @param policy the policy document, parsed
 * @param owner account that owns the key, 12 digits, if known
 * @param actions the permissions that matter, lower case
 */
export const evaluatePolicy = (
  policy: unknown,
  owner: string | undefined,
  actions: readonly string[] = sensitiveActions,
): PolicyVerdict => {
  const body = isObject(policy) ? policy['Statement'] : undefined
  const statements = (Array.isArray(body) ? body : [body]).filter(isObject)
  const given = new Set<string>()
  const taken = new Set<string>()
  let wildcard = false
  let external = false
  for (const statement of statements) {
    const everyone = isWildcard(statement['Principal']) || 'NotPrincipal' in statement
    if (statement['Effect'] === 'Allow') {
      if (everyone) wildcard = true
      if (everyone && !keepsStrangersOut(statement['Condition']))
        for (const action of actionsOf(statement, actions)) given.add(action)
      if (awsPrincipals(statement['Principal']).some((principal) => isForeign(principal, owner)))
        external = true
    } else if (statement['Effect'] === 'Deny' && everyone && reachesStrangers(statement['Condition'])) {
      for (const action of actionsOf(statement, actions)) taken.add(action)
    }
  }
  return { public: [...given].some((action) => !taken.has(action)), wildcard, external }
}

/** Does the principal (ARN or account id) belong to another account than `owner`? Unknown is not foreign. */
export const isForeign = (principal: string, owner: string | undefined): boolean => {
  if (owner === undefined || !/^\d{12}$/.test(owner)) return false
  const account = principal.startsWith('arn:') ? principal.split(':')[4] : principal
  return account !== undefined && /^\d{12}$/.test(account) && account !== owner
}

/** A key policy has at most 32 KB (AWS KMS quotas); what is far over that is not evaluated. */
export const MAX_POLICY_CHARS = 131_072

/** Policies arrive as JSON text or as an object; `undefined` when the text is not a JSON object. */
export const readPolicy = (value: unknown): Json | undefined => {
  if (isObject(value)) return value
  if (typeof value !== 'string' || value.length > MAX_POLICY_CHARS) return undefined
  try {
    const parsed: unknown = JSON.parse(value)
    return isObject(parsed) ? parsed : undefined
  } catch {
    return undefined // an unreadable policy is reported as such by the caller, not judged
  }
}

/** Permissions shared by a CloudHSM backup's resource policy: restoring it is all there is. */
export const backupActions: readonly string[] = [
  'cloudhsm:createcluster',
  'cloudhsm:copybackuptoregion',
  'cloudhsm:describebackups',
]
