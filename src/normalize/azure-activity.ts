/**
 * The Azure Activity log: what was done to vaults, HSMs, roles, guardrails, diagnostic settings and to the keys
 * behind storage and databases. Also the home of all other Azure Monitor records: those are out of scope.
 * Record fields: Azure Monitor, "Azure Activity log event schema".
 */
import type { KeyEvent } from '../model/event.ts'
import { wildcardMatch } from '../model/wildcard.ts'
import {
  type Change,
  changed,
  diagnosticChange,
  encryptionChange,
  encryptionOf,
  roleChange,
  vaultChange,
} from './azure-change.ts'
import { assemble, keyOf, networkOf, timeOf } from './azure-event.ts'
import { claimsOf, crossesTenants, identify } from './azure-identity.ts'
import { type ActivityRow, actionOf, activityRow } from './azure-operations.ts'
import { activityOutcome } from './azure-outcome.ts'
import { objectOf, operationOf, resourceOf, subscriptionOf, type View, view } from './azure-record.ts'
import { type Format, rejected, skipped } from './format.ts'
import { isObject, string } from './json.ts'
import { as, byRule, type Mapping } from './mapping.ts'
import { embedded, fold, type Members, scalar } from './members.ts'
import { type Cuts, field } from './text.ts'

const ACTION = /^[a-z0-9.]+\/.*\/(write|delete|action|read)$/i

/** Any Azure Monitor record: a resource and a time, with a category, a metric or an operation. */
const recognizes = (value: unknown): boolean => {
  if (!isObject(value)) return false
  const { top } = view(value)
  const timed = top.at('time') ?? top.at('timegenerated') ?? top.at('eventtimestamp')
  const name = operationOf(top)
  if (name === undefined) return timed !== undefined && resourceOf(top) !== '' && isResourceLog(top)
  return ACTION.test(name) || (timed !== undefined && resourceOf(top) !== '')
}

const isResourceLog = (top: Members) =>
  string(top.at('category')) !== undefined ||
  string(top.at('metricname')) !== undefined ||
  string(top.at('type')) !== undefined

/** The category says that it is a resource log: its operation is not one of the Activity log. */
const ACTIVITY_CATEGORIES =
  /^(administrative|write|delete|action|security|policy|alert|recommendation|servicehealth|resourcehealth|autoscale)$/i

const isActivity = (top: Members): boolean => {
  const category = string(top.at('categoryvalue')) ?? string(top.at('category'))
  return category === undefined || ACTIVITY_CATEGORIES.test(category)
}

/** The resource an extension resource (a role assignment, a lock) belongs to; everything above it is ''. */
const scopeOf = (resource: string, action: string): string => {
  const [provider = ''] = action.split('/')
  const at = `${resource}/`.lastIndexOf(`/providers/${provider}/`)
  return at < 0 || provider === 'microsoft.keyvault' ? resource : resource.slice(0, at)
}

/** Vaults and HSMs, what is in them, and what they are in. */
const nearKeys = (scope: string): boolean => {
  const provider = /\/providers\/([^/]+)\//.exec(`${scope}/`)?.[1]
  return (
    provider === undefined ||
    provider === 'microsoft.keyvault' ||
    provider === 'microsoft.management' ||
    provider === 'microsoft.authorization' ||
    provider === 'microsoft.aadiam'
  )
}

const onFeed = (resource: string, paths: readonly string[]): boolean =>
  paths.some((one) => {
    const path = one.toLowerCase()
    return (
      resource === path ||
      resource.startsWith(`${path}/`) ||
      path.startsWith(`${resource}/`) ||
      resource.split('/').includes(path) ||
      wildcardMatch(path, resource)
    )
  })

/** What stands under `properties`. */
const propertiesOf = (whole: Members): Members =>
  isObject(embedded(whole.at('properties'))) ? fold(whole.at('properties')) : whole

/** The request, or the answer when the request is not in the record. */
const bodyOf = (all: Members): Members => {
  const request = fold(all.at('requestbody'))
  return propertiesOf(request.names.length > 0 ? request : fold(all.at('responsebody')))
}

/** What else has to hold, and what the content of the request makes of the row. */
const applied = (row: ActivityRow, resource: string, scope: string, body: Members): Mapping | undefined => {
  const { mapping, only } = row
  if (only === 'key_scope' && !nearKeys(scope)) return undefined
  if (only === 'encryption') {
    const { source, uri } = encryptionOf(body)
    return source === undefined && uri === undefined ? undefined : mapping
  }
  if (only === 'vault_plan') {
    if (!resource.endsWith('/pricings/keyvaults')) return undefined
    const tier = scalar(body.at('pricingtier')).toLowerCase()
    return tier === 'free' ? mapping : as('logging_change', 'security_service')
  }
  const managed = scalar(body.at('serverkeytype')).toLowerCase() === 'servicemanaged'
  return managed ? { ...mapping, criticality: 'critical' } : mapping
}

interface Facts {
  readonly action: string
  readonly resource: string
  readonly mapping: Mapping
  readonly body: Members
  readonly all: Members
  /** Tenant of the subscription: an access policy alone does not name the one of its vault. */
  readonly owner: string | undefined
}

interface Told {
  readonly change?: Change | undefined
  readonly effect?: KeyEvent['operation_effect']
  readonly key?: ReturnType<typeof objectOf>
}

const POLICY_CALL = /\/accesspolicies\/(add|remove|replace)$/

const toldBy = ({ action, resource, mapping, body, all, owner }: Facts, cuts: Cuts): Told => {
  switch (mapping.object) {
    case 'vault':
    case 'hsm':
      return {
        change: vaultChange(
          body,
          POLICY_CALL.exec(resource)?.[1] ?? 'add',
          body.at('tenantid') ?? owner,
          cuts,
        ),
      }
    case 'role_assignment':
      return { change: roleChange(body, mapping.operation === 'role_assign' ? 'add' : 'remove', cuts) }
    case 'storage': {
      const asked = encryptionOf(body)
      // a protector is asked for by the name the server has for the key; only the answer has its URL
      const uri = asked.uri ?? string(propertiesOf(fold(all.at('responsebody'))).at('uri'))
      const encryption = { ...asked, uri }
      return { change: encryptionChange(encryption, cuts), key: objectOf(encryption.uri) }
    }
    case 'diagnostic_setting':
      return action.endsWith('/write')
        ? diagnosticChange(body, resource.includes('/providers/microsoft.keyvault/'), cuts)
        : {}
    case 'key':
    case 'secret':
    case 'certificate':
      return { key: keyByPath(resource) }
    default:
      return {}
  }
}

/** The Activity log names objects by resource; the data plane by URL, which follows from it in the public cloud. */
const keyByPath = (resource: string): ReturnType<typeof objectOf> => {
  const parts =
    /\/microsoft\.keyvault\/(vaults|managedhsms)\/([^/]+)\/(keys|secrets|certificates)\/([^/]+)/.exec(
      resource,
    )
  if (parts === null) return undefined
  const host = parts[1] === 'vaults' ? 'vault' : 'managedhsm'
  return objectOf(`https://${parts[2]}.${host}.azure.net/${parts[3]}/${parts[4]}`)
}

const VAULT = /^.*?\/providers\/microsoft\.keyvault\/(?:vaults|managedhsms)\/[^/]+/

/** For a role the scope; for an object its vault; for what is changed inside a vault the vault; else the resource. */
const containerOf = (mapping: Mapping, resource: string, scope: string): string => {
  if (mapping.object === 'role_assignment') return scope === '' ? '/' : scope
  const inside = /^(vault|hsm|key|secret|certificate)$/.test(mapping.object)
  return (inside ? VAULT.exec(resource)?.[0] : undefined) ?? resource
}

const statusesOf = ({ top, all }: View) => [
  all.at('httpstatuscode'),
  all.at('statuscode'),
  top.at('activitysubstatusvalue'),
  top.at('substatus'),
  top.at('resultsignature'),
]

/** Names that stand for no action but an event of a service. */
const eventNames = /make(managed)?(database|db)(in)?accessible$/i

const normalize: Format['normalize'] = (value, raw, settings) => {
  if (!isObject(value)) return rejected('unknown_format', 'no Azure Monitor record')
  const seen = view(value)
  const { top, all } = seen
  const time = timeOf(raw, top.at('time'), top.at('timegenerated'), top.at('eventtimestamp'))
  if (time === undefined) return rejected('bad_time', 'time is missing or not RFC 3339')
  const event = string(top.at('eventname'))
  const native = event !== undefined && eventNames.test(event) ? event : (operationOf(top) ?? '')
  const action = actionOf(native)
  const listed = isActivity(top) ? (activityRow(action) ?? undefined) : undefined
  if (listed === undefined && !raw.matched) return skipped('out_of_scope')

  const authorization = fold(top.at('authorization') ?? fold(top.at('identity')).at('authorization'))
  const resource = resourceOf(top) || (string(authorization.at('scope')) ?? '').toLowerCase()
  const scope = scopeOf(resource, action)
  const outside = listed?.mapping.ingestPath && !onFeed(resource, settings.ingest_path)
  const body = bodyOf(all)
  const inScope = listed && !outside ? applied(listed, resource, scope, body) : undefined
  if (inScope === undefined && !raw.matched) return skipped(outside ? 'outside_ingest_path' : 'out_of_scope')
  const base = inScope ?? byRule

  const cuts: Cuts = []
  const claims = claimsOf(top)
  const internal = base.operation === 'key_access_lost' || base.operation === 'key_access_restored'
  const role = field(fold(authorization.at('evidence')).at('role'), 200, 'auth.basis', cuts)
  const caller = identify(
    {
      claims,
      caller: string(top.at('caller')),
      internal,
      wholeList: true,
      basis: role === undefined ? undefined : [`role=${role}`],
    },
    cuts,
  )
  const statuses = statusesOf(seen)
  const status =
    string(top.at('activitystatusvalue')) ?? string(top.at('status')) ?? string(top.at('resulttype'))
  const result = activityOutcome(
    {
      statuses,
      phase: status ?? string(top.at('resultsignature')),
      code:
        string(top.at('activitysubstatusvalue')) ?? string(top.at('substatus')) ?? top.at('resultsignature'),
      message: top.at('resultdescription') ?? all.at('statusmessage') ?? top.at('description'),
    },
    cuts,
  )
  const created = base.operation === 'container_update' && result.status === 201
  const mapping: Mapping = created ? { ...base, operation: 'container_create' } : base
  const owner = seen.columns ? undefined : string(top.at('tenantid'))?.toLowerCase()
  const told = toldBy({ action, resource, mapping, body, all, owner }, cuts)
  const correlation = string(top.at('correlationid'))
  const eventDataId = string(top.at('eventdataid'))
  return assemble(
    value,
    raw,
    {
      service: inScope === undefined ? 'other' : 'azure_activity',
      logType: 'activity',
      native,
      mapping,
      effect: told.effect,
      result,
      key: eventDataId?.toLowerCase() ?? keyOf(correlation, action, status, time.time, resource),
      action: correlation === undefined ? undefined : keyOf(correlation, action, resource),
      version: top.at('operationversion'),
      nativeId: eventDataId ?? correlation,
      requestId: top.at('operationid'),
      correlationId: correlation,
      time,
      submitted: top.at('submissiontimestamp') ?? top.at('eventsubmissiontimestamp'),
      warnings: [
        inScope === undefined && 'rule_match',
        listed?.listed === false && 'unknown_operation',
        !caller.known && 'unknown_identity_shape',
      ],
      parts: {
        initiated_by: caller.initiated_by,
        actor: caller.actor,
        auth: caller.auth,
        network: networkOf(
          { ip: top.at('calleripaddress') ?? fold(top.at('httprequest')).at('clientipaddress') },
          caller.initiated_by,
          cuts,
        ),
        target: {
          key_id: field(told.key?.id, 512, 'target.key_id', cuts),
          key_version: told.key?.version,
          container: field(containerOf(mapping, resource, scope), 512, 'target.container', cuts),
          object_type: mapping.object,
          account: field(subscriptionOf(resource) ?? top.at('subscriptionid'), 128, 'target.account', cuts),
          region: field(top.at('location'), 64, 'target.region', cuts),
          cross_account: crossesTenants(caller, owner),
        },
        change: told.change === undefined ? undefined : changed(told.change),
      },
    },
    cuts,
  )
}

export const azureActivity: Format = { recognizes, normalize, glance: () => undefined }
