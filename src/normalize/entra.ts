/**
 * Entra ID: audit logs and the sign-in logs, as Azure Monitor, Log Analytics and Microsoft Graph deliver them.
 */
import { assemble, networkOf, timeOf } from './azure-event.ts'
import { activityOf, type EntraRow, entraRow } from './azure-operations.ts'
import { resourceOf, type View, view } from './azure-record.ts'
import { audited } from './entra-audit.ts'
import { type SignInKind, signedIn } from './entra-signin.ts'
import { type Format, rejected, skipped } from './format.ts'
import { isObject, string } from './json.ts'
import { byRule } from './mapping.ts'
import { type Cuts, field, sha256 } from './text.ts'

const SIGN_IN = /^(?:aad)?(noninteractiveuser|serviceprincipal|managedidentity|adfs)?signinlogs$/i
const AUDIT = /^auditlogs$/i

/** What kind of Entra record it is; tables are told by their name, Graph objects by their members. */
const kindOf = ({ top, all }: View): SignInKind | 'audit' | undefined => {
  const names = [string(top.at('type')) ?? '', string(top.at('category')) ?? '']
  const signed = names.map((name) => SIGN_IN.exec(name)).find((one) => one !== null)
  if (signed !== undefined) {
    const who = signed[1]?.toLowerCase()
    if (who === 'managedidentity') return 'managed_identity'
    return who === 'serviceprincipal' ? 'service_principal' : 'person'
  }
  const named = names.some((name) => AUDIT.test(name)) && resourceOf(top).includes('microsoft.aadiam')
  if (named || (all.at('activitydisplayname') !== undefined && all.at('targetresources') !== undefined))
    return 'audit'
  if (all.at('conditionalaccessstatus') === undefined || all.at('createddatetime') === undefined)
    return undefined
  return string(all.at('serviceprincipalid')) === undefined ? 'person' : 'service_principal'
}

const recognizes = (value: unknown): boolean => isObject(value) && kindOf(view(value)) !== undefined

const tenantOf = ({ top, all, columns }: View): string | undefined =>
  string(all.at('aadtenantid'))?.toLowerCase() ??
  /^\/tenants\/([^/]+)/.exec(resourceOf(top))?.[1] ??
  (columns ? undefined : string(all.at('tenantid'))?.toLowerCase())

const keptByRule: EntraRow = { test: /^/, mapping: byRule }

const normalize: Format['normalize'] = (value, raw) => {
  const seen = isObject(value) ? view(value) : undefined
  const kind = seen && kindOf(seen)
  if (!isObject(value) || seen === undefined || kind === undefined)
    return rejected('unknown_format', 'no Entra record')
  const { top, all } = seen
  const time = timeOf(
    raw,
    all.at('activitydatetime'),
    all.at('createddatetime'),
    top.at('time'),
    top.at('timegenerated'),
  )
  if (time === undefined) return rejected('bad_time', 'time is missing or not RFC 3339')
  const native = string(all.at('activitydisplayname')) ?? string(top.at('operationname')) ?? ''
  const activity = activityOf(native)
  const listed = kind === 'audit' ? (entraRow(activity) ?? undefined) : undefined
  const out = kind === 'audit' && listed === undefined
  if (out && !raw.matched) return skipped('out_of_scope')
  const row = out ? keptByRule : listed

  const cuts: Cuts = []
  const tenant = tenantOf(seen)
  const directory = resourceOf(top) || `/tenants/${tenant ?? ''}`
  const told =
    kind === 'audit' && row !== undefined
      ? audited(seen, native, activity, row, directory, cuts)
      : signedIn(seen, kind === 'audit' ? 'person' : kind, cuts)
  const { party, mapping } = told
  const id = string(all.at('id'))
  const principal = party.type === 'user' ? (party.id ?? party.name) : (party.appid ?? party.id ?? party.name)
  return assemble(
    value,
    raw,
    {
      service: out ? 'other' : 'entra',
      logType: kind === 'audit' ? 'management' : 'signin',
      native: told.native,
      mapping,
      effect: told.effect,
      result: told.result,
      key: `entra:${id ?? sha256(raw.bytes)}`,
      action: told.action,
      version: top.at('operationversion'),
      nativeId: id,
      correlationId: all.at('correlationid'),
      time,
      submitted: top.at('time') ?? top.at('timegenerated'),
      warnings: [out && 'rule_match', id === undefined && 'id_fallback'],
      parts: {
        initiated_by: party.by,
        actor: {
          id: field(party.id ?? party.appid ?? party.name, 512, 'actor.id', cuts),
          principal: field(principal, 512, 'actor.principal', cuts),
          name: field(party.name, 256, 'actor.name', cuts),
          type: party.type,
          account: field(tenant, 128, 'actor.account', cuts),
          application: field(party.appid, 256, 'actor.application', cuts),
          ...told.actor,
        },
        auth: told.auth,
        network: networkOf(
          { ip: string(told.ip) ?? top.at('calleripaddress'), agent: told.agent },
          party.by,
          cuts,
        ),
        target: {
          container: field(told.container, 512, 'target.container', cuts),
          object_type: mapping.object,
          account: field(tenant, 128, 'target.account', cuts),
          new_state: told.disabled && told.result.outcome === 'success' ? 'disabled' : undefined,
        },
        change: told.change,
      },
    },
    cuts,
  )
}

export const entra: Format = { recognizes, normalize, glance: () => undefined }
