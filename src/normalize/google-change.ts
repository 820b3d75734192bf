/**
 * What a Google Cloud record changes: keys and their versions, IAM policies and audit configurations, log sinks.
 * Names are plain (see `fold`). Shapes: google.cloud.kms.v1, google.iam.v1.logging.AuditData, google.logging.v2.
 */
import type { ChangeFlag, KeyEvent } from '../model/event.ts'
import { bindingsOf, type Change, changed, settingsOf } from './azure-change.ts'
import { canonical, integer, isObject, list, string, strings } from './json.ts'
import { as, type Mapping } from './mapping.ts'
import { dig, fold, type Members, scalar } from './members.ts'
import { type Cuts, field, sha256, utc } from './text.ts'

export interface Told {
  readonly mapping: Mapping
  readonly change?: Change | undefined
  readonly state?: KeyEvent['target']['new_state']
  readonly crypto?: KeyEvent['crypto']
}

const SECONDS_A_DAY = 86_400

/** Whole days of a protobuf duration, `7776000s`. */
const daysOf = (duration: unknown): number | undefined => {
  const seconds = integer(string(duration)?.replace(/(\.\d+)?s$/, ''))
  return seconds === undefined ? undefined : Math.round(seconds / SECONDS_A_DAY)
}

/** The paths of a field mask, in plain names: a text with commas, or `{ paths }`. */
const maskOf = (mask: unknown): string[] => {
  const paths = typeof mask === 'string' ? mask.split(',') : strings(fold(mask).at('paths'))
  return paths.map((path) => path.trim().replaceAll('_', '').toLowerCase())
}

const cryptoOf = (key: Members, response: Members, cuts: Cuts): KeyEvent['crypto'] => {
  const template = (name: string) => dig(key, 'versiontemplate', name)
  const crypto: KeyEvent['crypto'] = {
    algorithm: field(template('algorithm') ?? response.at('algorithm'), 64, 'crypto.algorithm', cuts),
    key_usage: field(key.at('purpose') ?? response.at('purpose'), 64, 'crypto.key_usage', cuts),
    protection_level: field(
      template('protectionlevel') ?? response.at('protectionlevel'),
      64,
      'crypto.protection_level',
      cuts,
    ),
  }
  return Object.values(crypto).some((one) => one !== undefined) ? crypto : undefined
}

/** The mask says what is written: rotation weighs more than labels, labels more than the rest. */
const keyUpdate = (mapping: Mapping, request: Members, key: Members): Mapping => {
  const mask = maskOf(request.at('updatemask'))
  if (mask.includes('rotationperiod'))
    return as('rotation_policy_change', 'key', {
      effect: string(key.at('rotationperiod')) === undefined ? 'weaken' : 'strengthen',
    })
  if (mask.includes('nextrotationtime'))
    return as('rotation_policy_change', 'key', {
      effect: string(key.at('nextrotationtime')) === undefined ? 'weaken' : 'neutral',
    })
  return mask.length > 0 && mask.every((path) => path.startsWith('labels')) ? as('tag', 'key') : mapping
}

const states: Readonly<Record<string, KeyEvent['target']['new_state']>> = {
  ENABLED: 'enabled',
  DISABLED: 'disabled',
  DESTROYED: 'destroyed',
  DESTROY_SCHEDULED: 'pending_deletion',
  PENDING_IMPORT: 'pending_import',
}
export const stateOf = (value: unknown) => {
  const name = string(value)
  return name !== undefined && Object.hasOwn(states, name) ? states[name] : undefined
}

const keyTold = (mapping: Mapping, method: string, request: Members, response: Members, cuts: Cuts): Told => {
  const version = fold(request.at('cryptokeyversion'))
  const key = fold(request.at('cryptokey'))
  const mask = maskOf(request.at('updatemask'))
  const named = mask.length === 0 || mask.includes('state') // what a mask does not name is not written
  const asked = named ? stateOf(version.at('state')) : undefined
  const state = stateOf(response.at('state')) ?? asked
  const switched =
    method === 'updatecryptokeyversion' && (asked === 'enabled' || asked === 'disabled')
      ? as(asked === 'enabled' ? 'enable' : 'disable', 'key_version', { criticality: 'high' })
      : method === 'updatecryptokey'
        ? keyUpdate(mapping, request, key)
        : mapping
  const imported = mapping.operation === 'import' ? { origin: 'IMPORTED' } : undefined
  const crypto = cryptoOf(key, response, cuts)
  return {
    mapping: switched,
    state,
    crypto: imported === undefined ? crypto : { ...crypto, ...imported },
    change: changed({
      rotation_days: daysOf(key.at('rotationperiod')),
      window_days: daysOf(key.at('destroyscheduledduration')),
      effective_at: utc(response.at('destroytime')),
      settings: settingsOf(
        [['access_justification', canonicalOf(key.at('keyaccessjustificationspolicy'))]],
        cuts,
      ),
    }),
  }
}

const canonicalOf = (value: unknown) => (isObject(value) ? canonical(value) : undefined)

const KEY_SERVICES = new Set(['cloudkms.googleapis.com', 'allservices'])
const everyone = (member: unknown) => /^(allUsers|allAuthenticatedUsers)$/i.test(string(member) ?? '')

/** Bindings that were added and removed; without deltas, those of the whole new policy. */
const policyTold = (mapping: Mapping, payload: Members, request: Members, cuts: Cuts): Told => {
  const data = [fold(payload.at('servicedata')), fold(payload.at('metadata'))]
  const deltas = data.map((one) => fold(one.at('policydelta')))
  const members = (name: string) => deltas.flatMap((one) => list(one.at(name))).map(fold)
  const told = members('bindingdeltas')
  const policy = request.at('policy')
  const body = fold(policy)
  const whole = list(body.at('bindings'))
    .map(fold)
    .flatMap((one) => strings(one.at('members')).map((member) => ({ one, member, action: undefined })))
  const changes = told.map((one) => ({ one, member: one.at('member'), action: one.at('action') }))
  const bindings = (told.length > 0 ? changes : whole).map(({ one, member, action }) => ({
    action: string(action)?.toLowerCase(),
    role: string(one.at('role')),
    member: string(member),
    condition: string(one.at('condition')) ?? string(dig(one, 'condition', 'expression')),
  }))
  const audits = members('auditconfigdeltas').filter((one) =>
    KEY_SERVICES.has(scalar(one.at('service')).toLowerCase()),
  )
  const exempt = (one: Members) => string(one.at('exemptedmember')) !== undefined
  const said = (one: Members, action: string) => scalar(one.at('action')).toUpperCase() === action
  const off = audits.some((one) => said(one, 'REMOVE') && !exempt(one))
  const exempted = audits.some((one) => said(one, 'ADD') && exempt(one))
  const open = bindings.some((one) => everyone(one.member) && one.action !== 'remove')
  const flags: ChangeFlag[] = [
    ...(open ? (['public_principal', 'wildcard_principal'] as const) : []),
    ...(off ? (['data_access_off'] as const) : []),
    ...(exempted ? (['principal_exempted'] as const) : []),
  ]
  const text = policy === undefined ? undefined : canonicalOf(policy)
  return {
    mapping: off
      ? as('logging_disable', 'audit_config', { effect: 'weaken' })
      : exempted
        ? as('logging_change', 'audit_config', { effect: 'weaken' })
        : audits.length > 0
          ? as('logging_change', 'audit_config', { effect: 'strengthen' })
          : mapping,
    change: changed({
      policy: field(text, 32768, 'change.policy', cuts),
      new_policy_hash: text === undefined ? undefined : sha256(text),
      bindings: bindingsOf(bindings, cuts),
      flags: flags.length > 0 ? flags : undefined,
    }),
  }
}

/** A sink that is off, or leaves Cloud KMS out, is as good as none. */
const loggingTold = (mapping: Mapping, request: Members, cuts: Cuts): Told => {
  const sink = fold(request.at('sink'))
  const bucket = fold(request.at('bucket'))
  const exclusion = fold(request.at('exclusion'))
  const excluded = [
    ...list(sink.at('exclusions')).map(fold),
    ...(exclusion.names.length > 0 ? [exclusion] : []),
  ].filter((one) => one.at('disabled') !== true)
  const blind = excluded.some((one) => /cloudkms|cloudaudit/i.test(scalar(one.at('filter'))))
  const off = sink.at('disabled') === true
  const flags: ChangeFlag[] = [
    ...(off || excluded.length > 0 ? (['logging_reduced'] as const) : []),
    ...(blind ? (['kms_excluded'] as const) : []),
  ]
  return {
    mapping: off || blind ? as('logging_disable', mapping.object, { effect: 'weaken' }) : mapping,
    change: changed({
      settings: settingsOf(
        [
          ['filter', sink.at('filter') ?? exclusion.at('filter')],
          ['destination', sink.at('destination')],
          ['retention_days', bucket.at('retentiondays')],
        ],
        cuts,
      ),
      flags: flags.length > 0 ? flags : undefined,
    }),
  }
}

const KEY_MEMBERS = new Set(['kmskeyname', 'defaultkmskeyname', 'kmskey'])
const MAX_DEPTH = 6

/** The Cloud KMS key that a storage request names, wherever it does. */
export const storageKeyOf = (members: Members, depth = 0): string | undefined => {
  if (depth > MAX_DEPTH) return undefined
  for (const name of members.names) {
    const member = members.at(name)
    const found = KEY_MEMBERS.has(name)
      ? string(member)
      : isObject(member)
        ? storageKeyOf(fold(member), depth + 1)
        : undefined
    if (found !== undefined) return found
  }
  return undefined
}

/** @param method last segment of the method, lower case */
export const googleTold = (mapping: Mapping, method: string, payload: Members, cuts: Cuts): Told => {
  const request = fold(payload.at('request'))
  const response = fold(payload.at('response'))
  if (mapping.operation === 'policy_change' && method === 'setiampolicy')
    return policyTold(mapping, payload, request, cuts)
  if (mapping.operation === 'logging_change' || mapping.operation === 'logging_disable')
    return loggingTold(mapping, request, cuts)
  if (mapping.object === 'key' || mapping.object === 'key_version')
    return keyTold(mapping, method, request, response, cuts)
  if (mapping.object === 'storage')
    return {
      mapping,
      change: changed({ settings: settingsOf([['kms_key_id', storageKeyOf(payload)]], cuts) }),
    }
  return { mapping }
}
