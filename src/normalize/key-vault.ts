/**
 * Audit logs of Azure Key Vault, Managed HSM and Cloud HSM. Record fields: Key Vault logging, Managed HSM
 * logging, and the columns of AZKVAuditLogs.
 */
import type { KeyEvent } from '../model/event.ts'
import { memoText } from '../model/memo.ts'
import { type Change, changed, settingsOf, vaultChange } from './azure-change.ts'
import { assemble, keyOf, networkOf, timeOf } from './azure-event.ts'
import { type Caller, claimsOf, crossesTenants, identify } from './azure-identity.ts'
import { type Found, vaultMapping } from './azure-operations.ts'
import { auditOutcome } from './azure-outcome.ts'
import { objectOf, operationOf, resourceOf, subscriptionOf, view } from './azure-record.ts'
import { type Format, rejected } from './format.ts'
import { integer, isObject, string } from './json.ts'
import { as, categoryOf, type Mapping } from './mapping.ts'
import { dig, fold, type Members, over, scalar } from './members.ts'
import { type Cuts, field, utcFromMillis } from './text.ts'

const RESOURCE =
  /\/providers\/microsoft\.(keyvault\/vaults|keyvault\/managedhsms|hardwaresecuritymodules\/cloudhsmclusters)\/[^/]+$/
const CATEGORIES = /^(auditevent|azurepolicyevaluationdetails|hsmserviceoperations)$/i
const TABLES = /^(azkvauditlogs|azkvpolicyevaluationdetailslogs|cloudhsmserviceoperationauditlogs)$/i

const MAX_VAULTS = 4000

/** Which service a resource belongs to; `null` = none of these. */
const serviceOf = memoText((resource) => {
  if (!RESOURCE.test(resource)) return null
  if (resource.includes('/managedhsms/')) return 'azure_managed_hsm'
  return resource.includes('/cloudhsmclusters/') ? 'azure_cloud_hsm' : 'azure_key_vault'
}, MAX_VAULTS)

const recognizes = (value: unknown): boolean => {
  if (!isObject(value)) return false
  const { top } = view(value)
  const name = operationOf(top)
  if (name === undefined || serviceOf(resourceOf(top)) === null) return false
  return CATEGORIES.test(string(top.at('category')) ?? '') || TABLES.test(string(top.at('type')) ?? '')
}

/** Written by the service about itself, without a caller. */
const isInternal = (native: string) => native.endsWith('EventGridNotification') || native === 'KeyRotateIfDue'

const checks = ['isAccessPolicyMatch', 'isRbacAuthorized', 'isAddressAuthorized', 'appliedAssignmentId'].map(
  (name) => [name, name.toLowerCase()] as const,
)

/** What the decision rests on, as far as the record says. */
const basisOf = (all: Members, cuts: Cuts): KeyEvent['auth']['basis'] => {
  const basis: string[] = []
  for (const [name, member] of checks) {
    const said = scalar(all.at(member))
    const text = said === '' ? undefined : field(`${name}=${said}`, 256, 'auth.basis', cuts)
    if (text !== undefined) basis.push(text)
  }
  return basis.length > 0 ? basis : undefined
}

/** A key that was switched on or off tells so in its attributes only. */
const switched = (found: Found, native: string, all: Members): Mapping => {
  if (native !== 'KeyUpdate') return found.mapping
  const enabled = scalar(dig(all, 'keyproperties', 'attributes', 'enabled'))
  if (enabled === 'false') return as('disable', 'key')
  return enabled === 'true' ? as('enable', 'key') : found.mapping
}

const stateAfter: Readonly<Partial<Record<Mapping['operation'], KeyEvent['target']['new_state']>>> = {
  enable: 'enabled',
  disable: 'disabled',
  schedule_deletion: 'pending_deletion',
  destroy: 'destroyed',
}

const DAYS = /^P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?/

/** Days of an ISO 8601 duration as rotation policies have it, years as 365 and months as 30 days. */
const daysOf = (period: unknown): number | undefined => {
  const [, years = 0, months = 0, days = 0] = DAYS.exec(string(period) ?? '') ?? []
  return Number(years) * 365 + Number(months) * 30 + Number(days) || undefined
}

/** The period after which a rotation policy rotates; without one the policy does not rotate. */
const rotationOf = (all: Members) => {
  const policy = fold(
    all.at('keyrotationpolicy') ?? all.at('rotationpolicy') ?? all.at('keyrotationpolicyproperties'),
  )
  const actions = policy.at('lifetimeactions')
  if (!Array.isArray(actions)) return undefined
  const rotate = actions
    .map(fold)
    .find((one) => scalar(dig(one, 'action', 'type')).toLowerCase() === 'rotate')
  return { rotates: rotate !== undefined, days: daysOf(rotate && dig(rotate, 'trigger', 'timeaftercreate')) }
}

const kinds = ['keyproperties', 'secretproperties', 'certificateproperties'] as const

const changeOf = (
  native: string,
  all: Members,
  owner: string | undefined,
  mapping: Mapping,
  cuts: Cuts,
): Change | undefined => {
  if (/^Vault(Put|Patch)$/.test(native)) {
    const nested = over(fold(all.at('vaultproperties')), fold(all.at('properties')))
    return changed(vaultChange(over(all, nested), 'add', nested.at('tenantid') ?? owner, cuts))
  }
  if (categoryOf(mapping) !== 'lifecycle' && categoryOf(mapping) !== 'metadata') return undefined
  const attribute = (name: string) =>
    kinds.map((kind) => dig(all, kind, 'attributes', name)).find((one) => one !== undefined)
  const expires = integer(attribute('exp'))
  return changed({
    rotation_days: native === 'KeyRotationPolicySet' ? rotationOf(all)?.days : undefined,
    expires_at: expires === undefined ? undefined : utcFromMillis(expires * 1000),
    settings: settingsOf([['exportable', attribute('exportable')]], cuts),
  })
}

const cryptoOf = (all: Members, caller: Caller, mapping: Mapping, cuts: Cuts): KeyEvent['crypto'] => {
  const type = string(dig(all, 'keyproperties', 'type')) ?? string(dig(all, 'keyproperties', 'kty'))
  const size = () => scalar(dig(all, 'keyproperties', 'size') ?? dig(all, 'keyproperties', 'curve'))
  const spec = type === undefined ? undefined : [type, size()].filter((one) => one !== '').join('-')
  const level = type === undefined ? undefined : /-HSM$/i.test(type) ? 'HSM' : 'SOFTWARE'
  const sql = mapping.object === 'key' && (caller.workload?.includes('/providers/microsoft.sql/') ?? false)
  const crypto: KeyEvent['crypto'] = {
    algorithm: field(all.at('algorithm') ?? spec, 64, 'crypto.algorithm', cuts),
    key_spec: field(spec, 64, 'crypto.key_spec', cuts),
    protection_level: level,
    used_for: sql ? 'sql' : undefined,
  }
  return Object.values(crypto).some((one) => one !== undefined) ? crypto : undefined
}

const normalize: Format['normalize'] = (value, raw) => {
  if (!isObject(value)) return rejected('unknown_format', 'no vault or HSM audit record')
  const { top, all, columns } = view(value)
  const time = timeOf(raw, top.at('time'), top.at('timegenerated'))
  if (time === undefined) return rejected('bad_time', 'time is missing or not RFC 3339')
  const native = operationOf(top) ?? ''
  const resource = resourceOf(top)
  const service = serviceOf(resource) ?? 'azure_key_vault'
  const uri = string(all.at('requesturi'))
  const found = vaultMapping(native, service !== 'azure_key_vault', uri)
  const cuts: Cuts = []
  const internal = isInternal(native)
  const claims = claimsOf(top)
  const caller = identify({ claims, internal, wholeList: false, basis: basisOf(all, cuts) }, cuts)
  const result = auditOutcome(
    {
      status: all.at('httpstatuscode'),
      signature: top.at('resultsignature'),
      description: top.at('resultdescription'),
      authentication: native === 'Authentication',
      notification: native.endsWith('EventGridNotification'),
    },
    cuts,
  )
  const mapping = switched(found, native, all)
  const container = mapping.object === 'vault' || mapping.object === 'hsm'
  const object = container ? undefined : (objectOf(all.at('id')) ?? objectOf(uri))
  const owner = columns ? undefined : string(top.at('tenantid'))?.toLowerCase()
  const rotation = native === 'KeyRotationPolicySet' ? rotationOf(all) : undefined
  return assemble(
    value,
    raw,
    {
      service,
      logType: internal ? 'system_event' : container ? 'management' : 'data_access',
      native,
      mapping,
      ...(rotation === undefined ? {} : { effect: rotation.rotates ? 'strengthen' : 'weaken' }),
      result,
      key: keyOf(
        time.time,
        resource,
        native,
        top.at('correlationid'),
        top.at('calleripaddress'),
        claims['oid'] ?? claims['objectidentifier'] ?? claims['appid'],
        uri,
        all.at('httpstatuscode'),
        integer(top.at('durationms')),
      ),
      version: top.at('operationversion'),
      nativeId: top.at('correlationid'),
      correlationId: top.at('correlationid'),
      time,
      warnings: [!found.listed && 'unknown_operation', !caller.known && 'unknown_identity_shape'],
      parts: {
        initiated_by: caller.initiated_by,
        duration_ms: integer(top.at('durationms')),
        actor: caller.actor,
        auth: caller.auth,
        network: networkOf(
          {
            ip: top.at('calleripaddress'),
            agent: all.at('clientinfo'),
            tls: all.at('tlsversion'),
            endpoint: all.at('subnetid'),
          },
          caller.initiated_by,
          cuts,
        ),
        target: {
          key_id: field(object?.id, 512, 'target.key_id', cuts),
          key_version: object?.version,
          container: field(resource, 512, 'target.container', cuts),
          object_type: mapping.object,
          account: field(subscriptionOf(resource), 128, 'target.account', cuts),
          region: field(top.at('location') ?? top.at('resourcelocation'), 64, 'target.region', cuts),
          cross_account: crossesTenants(caller, owner),
          new_state: result.outcome === 'success' ? stateAfter[mapping.operation] : undefined,
        },
        crypto: cryptoOf(all, caller, mapping, cuts),
        change: changeOf(native, all, owner, mapping, cuts),
      },
    },
    cuts,
  )
}

export const keyVault: Format = { recognizes, normalize, glance: () => undefined }
