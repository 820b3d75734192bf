/**
 * Rules on the provider's own records: which records a log source names, and where its field names lead. Names are
 * those of the public rules, which were written for what shippers and log analytics make of the records.
 */
import type { Provider } from '../model/event.ts'
import { readPath, texts } from './fields.ts'
import type { Vocabulary } from './rule.ts'

/** Records that raw rules can read. */
export type Feed = 'aws' | 'gcp' | 'azure_activity' | 'azure_audit' | 'azure_signin' | 'azure_vault'

export interface Logsource {
  readonly product?: string | undefined
  readonly category?: string | undefined
  readonly service?: string | undefined
}

const azureServices: Readonly<Record<string, readonly Feed[]>> = {
  activitylogs: ['azure_activity'],
  azureactivity: ['azure_activity'],
  auditlogs: ['azure_audit'],
  signinlogs: ['azure_signin'],
  keyvault: ['azure_vault'],
}
const azureFeeds: readonly Feed[] = ['azure_activity', 'azure_audit', 'azure_signin', 'azure_vault']
const awsServices = ['cloudtrail', undefined]
const googleServices = ['gcp.audit', 'google_workspace.admin', 'google_workspace.login', undefined]

/** Feeds that a log source stands for; none when Keytrail has no source for it. */
export const feedsOf = ({ product, category, service }: Logsource): readonly Feed[] => {
  if (category !== undefined) return []
  switch (product) {
    case 'aws':
      return awsServices.includes(service) ? ['aws'] : []
    case 'gcp':
      return googleServices.includes(service) ? ['gcp'] : []
    case 'azure':
      return service === undefined ? azureFeeds : (azureServices[service] ?? [])
    default:
      return []
  }
}

/** Categories of Microsoft's own log schemas. */
const azureCategories: Readonly<Record<string, Feed>> = {
  auditlogs: 'azure_audit',
  signinlogs: 'azure_signin',
  noninteractiveusersigninlogs: 'azure_signin',
  serviceprincipalsigninlogs: 'azure_signin',
  managedidentitysigninlogs: 'azure_signin',
  adfssigninlogs: 'azure_signin',
  auditevent: 'azure_vault',
}

/** What kind of record of a provider this is. */
export const feedOf = (provider: Provider, raw: unknown): Feed => {
  if (provider !== 'azure') return provider
  const category = String(azure(['category'])(raw)).toLowerCase()
  return azureCategories[category] ?? 'azure_activity'
}

type Getter = (raw: unknown) => unknown

/** A name with dots is a path first, else a key. */
const plain = (name: string): Getter => {
  const path = name.split('.')
  if (path.length === 1) return (raw) => readPath(raw, path)
  return (raw) => readPath(raw, path) ?? readPath(raw, [name])
}

const firstOf =
  (getters: readonly Getter[]): Getter =>
  (raw) => {
    for (const get of getters) {
      const value = get(raw)
      if (value !== undefined) return value
    }
    return undefined
  }

const others =
  (table: Readonly<Record<string, readonly string[]>>) =>
  (name: string): Getter =>
    firstOf([name, ...(table[name] ?? [])].map(plain))

const google = others({
  'gcp.audit.method_name': ['protoPayload.methodName'],
  'data.protoPayload.authorizationInfo.granted': ['protoPayload.authorizationInfo.granted'],
  'data.protoPayload.authorizationInfo.permission': ['protoPayload.authorizationInfo.permission'],
  'data.protoPayload.logName': ['logName'],
  'data.protoPayload.methodName': ['protoPayload.methodName'],
  'data.protoPayload.resource.type': ['resource.type'],
  'data.protoPayload.serviceName': ['protoPayload.serviceName'],
  'protoPayload.Servicename': ['protoPayload.serviceName'],
  eventService: ['protoPayload.serviceName'],
  eventName: ['protoPayload.metadata.event.eventName'],
})

/** Microsoft writes the same member in several ways: at the top or below `properties`, in lower or upper case. */
const folded = (value: unknown, path: readonly string[], at = 0): unknown => {
  if (at === path.length) return value
  if (Array.isArray(value)) {
    const found = value.map((one) => folded(one, path, at)).filter((one) => one !== undefined)
    return found.length > 0 ? found.flat() : undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const wanted = path[at] ?? ''
  for (const [key, one] of Object.entries(value))
    if (key.length === wanted.length && key.toLowerCase() === wanted) return folded(one, path, at + 1)
  return undefined
}

const azureNames: Readonly<Record<string, readonly string[]>> = {
  'properties.message': ['properties.activitydisplayname', 'operationname'],
  operationnamevalue: ['operationname'],
  categoryvalue: ['category'],
  resourceprovidervalue: ['resourceprovidername'],
  activitydetails: ['operationname'],
  activitytype: ['operationtype', 'properties.operationtype'],
  username: ['userprincipalname', 'properties.userprincipalname'],
  target: ['targetresources', 'properties.targetresources'],
  clientapp: ['clientappused', 'properties.clientappused'],
}

/** An exported name is a text, or an object with the text as `value`. */
const unwrapped = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && 'value' in value
    ? value.value
    : value

const azure = (names: readonly string[]): Getter => {
  const paths = names.flatMap((name) => {
    const lower = name.toLowerCase()
    return [lower, `properties.${lower}`, ...(azureNames[lower] ?? [])].map((one) => one.split('.'))
  })
  return (raw) => {
    for (const path of paths) {
      const value = folded(raw, path)
      if (value !== undefined) return unwrapped(value)
    }
    return undefined
  }
}

const vocabulary = (getter: (name: string) => Getter): Vocabulary<unknown> => ({
  getter,
  values: () => undefined,
  nearest: () => undefined,
  texts,
})

/** Where names lead in records of a product. */
export const rawVocabulary = (product: string | undefined): Vocabulary<unknown> => {
  switch (product) {
    case 'gcp':
      return vocabulary(google)
    case 'azure':
      return vocabulary((name) => firstOf([plain(name), azure([name])]))
    default:
      return vocabulary(plain)
  }
}
