/**
 * An Azure Monitor record under one spelling of its names, whatever form it came in: Event Hubs and storage
 * (`camelCase`, details in `properties`), Log Analytics (`AzureDiagnostics` columns with a suffix for their
 * type, or tables of their own), the Activity log of REST (`{ value, localizedValue }`) and of the SDK
 * (`snake_case`). Shapes: Azure Monitor, "Common and service-specific schemas for Azure resource logs".
 */
import { isObject, type Json, list, parse, string } from './json.ts'
import { type Cuts, field } from './text.ts'

const plainNames = new Map<string, string>()
/** Providers use a few hundred names; what hostile records bring beyond is not remembered. */
const MAX_NAMES = 4096

/** `httpStatusCode_d`, `event_data_id` and `CallerIpAddress` are one name in three spellings. */
const plain = (name: string): string => {
  const known = plainNames.get(name)
  if (known !== undefined) return known
  const made = name
    .replace(/_[sdbgt]$/, '')
    .replaceAll('_', '')
    .toLowerCase()
  if (plainNames.size < MAX_NAMES && name.length <= 128) plainNames.set(name, made)
  return made
}

const localized = (value: unknown): unknown =>
  isObject(value) && ('localizedValue' in value || 'localized_value' in value) ? value['value'] : value

/** An object, also one that is written as JSON in a text. */
export const embedded = (value: unknown): unknown =>
  typeof value === 'string' && (value.startsWith('{') || value.startsWith('[')) ? parse(value) : value

/** The members under their plain names; without prototype, because names come from outside. */
export const fold = (value: unknown): Json => {
  const folded: Json = Object.create(null)
  const from = embedded(value)
  if (!isObject(from)) return folded
  for (const name of Object.keys(from)) {
    folded[plain(name)] ??= localized(from[name])
  }
  return folded
}

/** A member of a member: nested, or joined to one name as the columns of Log Analytics are. */
export const dig = (from: Json, ...path: readonly string[]): unknown => {
  const [first = '', ...rest] = path
  return rest.reduce<unknown>((at, name) => fold(at)[name], from[first]) ?? from[path.join('')]
}

/** A text, number or switch as text; anything else as no text. Texts from outside may hide objects that have none. */
export const scalar = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''

/** The members of both; the second counts where both have one. */
export const over = (below: Json, above: Json): Json => {
  const both: Json = Object.assign(Object.create(null), below)
  for (const name of Object.keys(above)) both[name] = above[name] ?? both[name] ?? null
  return both
}

export interface View {
  /** The header. */
  readonly top: Json
  /** The header and, over it, the details. */
  readonly all: Json
  /** Columns of a Log Analytics table: there `TenantId` is the workspace. */
  readonly columns: boolean
}

const seen = new WeakMap<Json, View>()

/** The view of a record; several formats look at one record, so it is remembered as long as the record is. */
export const view = (record: Json): View => {
  const known = seen.get(record)
  if (known !== undefined) return known
  const top = fold(record)
  const made: View = {
    top,
    all: over(top, fold(top['properties'])),
    columns: top['timegenerated'] !== undefined,
  }
  seen.set(record, made)
  return made
}

/** The operation as the record writes it; the activity table has the display name beside it. */
export const operationOf = (top: Json): string | undefined =>
  string(top['operationnamevalue']) ?? string(top['operationname'])

export const resourceOf = (top: Json): string =>
  (string(top['resourceid']) ?? string(top['resourceuri']) ?? '').toLowerCase().replace(/\/+$/, '')

const SUBSCRIPTION = /^\/subscriptions\/([^/]+)/
export const subscriptionOf = (resource: string): string | undefined => SUBSCRIPTION.exec(resource)?.[1]

export interface ObjectUri {
  readonly id: string
  readonly version: string | undefined
}

const OBJECT_URI =
  /^https:\/\/([a-z0-9.-]{1,253})(?::\d{1,5})?\/(?:deleted)?(keys|secrets|certificates)\/([^/?#]+)(?:\/([^/?#]+))?/
/** What stands in the place of a name and is none. */
const noName = new Set(['restore', 'issuers', 'contacts'])

/** Key, secret or certificate behind a URL of a vault or Managed HSM: lower-cased, without version. */
export const objectOf = (uri: unknown): ObjectUri | undefined => {
  const found = typeof uri === 'string' ? OBJECT_URI.exec(uri.toLowerCase()) : null
  if (found === null || noName.has(found[3] ?? '')) return undefined
  const version = found[4]
  return {
    id: `https://${found[1]}/${found[2]}/${found[3]}`,
    version: version !== undefined && /^[0-9a-f]{32}$/.test(version) ? version : undefined,
  }
}

/** Values of a list or of a text with commas, as fields. */
export const fieldsOf = (value: unknown, max: number, most: number, path: string, cuts: Cuts) => {
  const from = embedded(value)
  const values = typeof from === 'string' ? from.split(',') : list(from)
  if (values.length > most) cuts.push(path)
  const kept = values.slice(0, most).flatMap((one) => {
    return field(typeof one === 'string' ? one.trim() : one, max, path, cuts) ?? []
  })
  return kept.length > 0 ? kept : undefined
}
