/** What a CloudTrail record changes: policies, grants, bindings, schedules, settings, and flags that the record itself shows. */
import type { ChangeFlag, KeyEvent } from '../model/event.ts'
import { sourceName } from './aws-operations.ts'
import { storageKey } from './cloudtrail-target.ts'
import { canonical, integer, isObject, type Json, list, object, requestOf, string, strings } from './json.ts'
import { backupActions, evaluatePolicy, isForeign, MAX_POLICY_CHARS, readPolicy } from './key-policy.ts'
import { type Cuts, field, sha256, utc, utcFromMillis } from './text.ts'
import { selectorFlags } from './trail-selectors.ts'

type Change = NonNullable<KeyEvent['change']>
type Binding = NonNullable<Change['bindings']>[number]

const DAY_MS = 86_400_000

const policyOf = (source: string, eventName: string, request: Json): unknown => {
  if (source === 'kms' && /^(PutKeyPolicy|CreateKey|ReplicateKey)$/.test(eventName)) return request['policy']
  if (source === 'cloudhsm' && eventName === 'PutResourcePolicy') return request['policy']
  if (source === 'iam') return request['policyDocument']
  if (source === 'organizations') return request['content']
  return eventName === 'PutBucketPolicy' ? request['bucketPolicy'] : undefined
}

interface PolicyChange {
  readonly text: string | undefined
  readonly hash: string | undefined
  readonly flags: readonly ChangeFlag[]
  readonly readable: boolean
}

/** The new policy in canonical form, and what it opens. Identity policies have no principal, so nothing opens there. */
const policyChange = (
  source: string,
  eventName: string,
  request: Json,
  owner: string | undefined,
  cuts: Cuts,
): PolicyChange => {
  const given = policyOf(source, eventName, request)
  const flags: ChangeFlag[] = []
  if (request['bypassPolicyLockoutSafetyCheck'] === true) flags.push('bypass_lockout_check')
  if (given === undefined || given === null) {
    if (eventName === 'PutKeyPolicy' && request['keyId'] !== undefined) flags.push('policy_omitted')
    return { text: undefined, hash: undefined, flags, readable: true }
  }
  const policy = readPolicy(given)
  const whole = policy === undefined ? undefined : canonical(policy)
  const text = whole !== undefined && whole.length <= MAX_POLICY_CHARS ? whole : undefined
  if (policy === undefined || text === undefined)
    return { text: undefined, hash: undefined, flags: [...flags, 'policy_omitted'], readable: false }
  if (source === 'kms' || source === 'cloudhsm') {
    const verdict =
      source === 'kms' ? evaluatePolicy(policy, owner) : evaluatePolicy(policy, owner, backupActions)
    if (verdict.public) flags.push('public_principal')
    if (verdict.wildcard) flags.push('wildcard_principal')
    if (verdict.external) flags.push('external_account')
  }
  return { text: field(text, 32_768, 'change.policy', cuts), hash: sha256(text), flags, readable: true }
}

const grantOf = (record: Json, eventName: string, cuts: Cuts): Change['grant'] => {
  if (!/^(CreateGrant|RevokeGrant|RetireGrant)$/.test(eventName)) return undefined
  const request = requestOf(record)
  const id =
    object(record['responseElements'])['grantId'] ??
    request['grantId'] ??
    object(record['additionalEventData'])['grantId']
  const operations = strings(request['operations'] ?? []).slice(0, 32)
  const constraints = isObject(request['constraints']) ? canonical(request['constraints']) : undefined
  const grant = {
    id: field(id, 256, 'change.grant.id', cuts),
    grantee: field(request['granteePrincipal'], 512, 'change.grant.grantee', cuts),
    retiring: field(request['retiringPrincipal'], 512, 'change.grant.retiring', cuts),
    operations:
      operations.length === 0
        ? undefined
        : operations.flatMap((one) => field(one, 128, 'change.grant.operations', cuts) ?? []),
    constraints: field(constraints, 8192, 'change.grant.constraints', cuts),
  }
  return Object.values(grant).some((one) => one !== undefined) ? grant : undefined
}

const members = (container: unknown, action: string): Binding[] => {
  const items = list(object(container)['items'])
  return items.map((one) => ({
    action,
    member: string(object(one)['userId']) ?? string(object(one)['group']),
  }))
}

/** Attached policies, and the accounts that a snapshot or image is shared with. */
const bindingsOf = (source: string, eventName: string, request: Json, cuts: Cuts): Change['bindings'] => {
  const raw: Binding[] = []
  if (source === 'iam' && /^(Attach|Detach)(User|Role)Policy$/.test(eventName)) {
    raw.push({
      action: eventName.startsWith('Attach') ? 'add' : 'remove',
      role: string(request['policyArn']),
      member: string(request['userName']) ?? string(request['roleName']),
    })
  }
  const permission = object(request['createVolumePermission'] ?? request['launchPermission'])
  raw.push(...members(permission['add'], 'add'), ...members(permission['remove'], 'remove'))
  if (source === 'rds' && eventName === 'ModifyDBSnapshotAttribute') {
    raw.push(...strings(request['valuesToAdd'] ?? []).map((member) => ({ action: 'add', member })))
    raw.push(...strings(request['valuesToRemove'] ?? []).map((member) => ({ action: 'remove', member })))
  }
  if (raw.length > 64) cuts.push('change.bindings')
  const bindings = raw.slice(0, 64).map(({ action, role, member }) => ({
    action,
    role: field(role, 512, 'change.bindings.role', cuts),
    member: field(member, 512, 'change.bindings.member', cuts),
  }))
  return bindings.length > 0 ? bindings : undefined
}

const settingFields: readonly (readonly [request: string, setting: string])[] = [
  ['retentionInDays', 'retention_days'],
  ['isMultiRegionTrail', 'multi_region'],
  ['multiRegion', 'multi_region'],
  ['isOrganizationTrail', 'organization'],
  ['enableLogFileValidation', 'log_validation'],
  ['s3BucketName', 'destination'],
  ['cloudWatchLogsLogGroupArn', 'destination'],
  ['description', 'description'],
]

/** Configuration values under their closed names, tags as `tag.<name>`. */
const settingsOf = (request: Json, cuts: Cuts): Change['settings'] => {
  const settings: Record<string, string> = Object.create(null)
  const put = (name: string, value: unknown) => {
    const text = value === '' ? '' : field(value, 1024, 'change.settings', cuts)
    if (text !== undefined && Object.keys(settings).length < 32) settings[name] = text
  }
  for (const [from, to] of settingFields) put(to, request[from])
  put('kms_key_id', storageKey(request))
  const types = list(request['eventSelectors']).map((one) => string(object(one)['readWriteType']) ?? 'All')
  if (types.length > 0) put('read_write_type', [...new Set(types)].sort().join(','))
  for (const one of [...list(request['tags']), ...list(request['tagList'])]) {
    const tag = object(one)
    const name = field(tag['tagKey'] ?? tag['key'] ?? tag['Key'], 60, 'change.settings', cuts)
    if (name !== undefined) put(`tag.${name}`, tag['tagValue'] ?? tag['value'] ?? tag['Value'] ?? '')
  }
  for (const name of strings(request['tagKeys'] ?? request['tagKeyList'] ?? []))
    put(`tag.${field(name, 60, 'change.settings', cuts) ?? ''}`, '')
  return Object.keys(settings).length > 0 ? settings : undefined
}

const trailFlags = (eventName: string, request: Json): ChangeFlag[] => {
  if (eventName === 'PutEventSelectors') return selectorFlags(request)
  if (eventName !== 'UpdateTrail') return []
  const flags: ChangeFlag[] = []
  if (request['enableLogFileValidation'] === false) flags.push('integrity_off')
  if (request['isMultiRegionTrail'] === false || request['includeGlobalServiceEvents'] === false)
    flags.push('logging_reduced')
  return flags
}

export interface ChangeFacts {
  readonly eventSource: string
  readonly eventName: string
  readonly time: string
  readonly owner: string | undefined
}

/** @returns the change, and whether everything in it could be read. */
export const changeOf = (
  record: Json,
  facts: ChangeFacts,
  cuts: Cuts,
): { readonly change: KeyEvent['change']; readonly readable: boolean } => {
  const request = requestOf(record)
  const { eventName, owner } = facts
  const source = sourceName(facts.eventSource)
  const policy = policyChange(source, eventName, request, owner, cuts)
  const grant = grantOf(record, eventName, cuts)
  const bindings = bindingsOf(source, eventName, request, cuts)
  const days =
    eventName === 'ScheduleKeyDeletion'
      ? (integer(request['pendingWindowInDays']) ??
        integer(object(record['responseElements'])['pendingWindowInDays']))
      : undefined
  const flags = [...policy.flags, ...trailFlags(eventName, request)]
  if (grant?.grantee !== undefined && isForeign(grant.grantee, owner)) flags.push('external_account')
  if (bindings?.some((one) => one.action === 'add' && one.member === 'all')) flags.push('public_principal')
  if (
    bindings?.some((one) => one.action === 'add' && one.member !== undefined && isForeign(one.member, owner))
  )
    flags.push('external_account')
  const change: Change = {
    policy: policy.text,
    old_policy_hash: undefined,
    new_policy_hash: policy.hash,
    bindings,
    grant,
    window_days: days,
    effective_at:
      days === undefined || days < 0 ? undefined : utcFromMillis(Date.parse(facts.time) + days * DAY_MS),
    rotation_days: eventName === 'EnableKeyRotation' ? integer(request['rotationPeriodInDays']) : undefined,
    expires_at: utc(request['validTo']),
    settings: settingsOf(request, cuts),
    flags: flags.length > 0 ? [...new Set(flags)] : undefined,
  }
  const some = Object.values(change).some((one) => one !== undefined)
  return { change: some ? change : undefined, readable: policy.readable }
}
