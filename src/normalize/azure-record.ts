/**
 * An Azure Monitor record under one spelling of its names, whatever form it came in: Event Hubs and storage
 * (`camelCase`, details in `properties`), Log Analytics (`AzureDiagnostics` columns with a suffix for their
 * type, or tables of their own), the Activity log of REST (`{ value, localizedValue }`) and of the SDK
 * (`snake_case`). Shapes: Azure Monitor, "Common and service-specific schemas for Azure resource logs".
 */
import { memoText } from '../model/memo.ts'
import { type Json, list, string } from './json.ts'
import { embedded, fold, type Members, over } from './members.ts'
import { type Cuts, field } from './text.ts'

export interface View {
  /** The header. */
  readonly top: Members
  /** The header and, over it, the details. */
  readonly all: Members
  /** Columns of a Log Analytics table: there `TenantId` is the workspace. */
  readonly columns: boolean
}

let last: { readonly record: Json; readonly view: View } | undefined

/** The view of a record; several formats look at one record after the other, so that of the last one is remembered. */
export const view = (record: Json): View => {
  if (last?.record === record) return last.view
  const top = fold(record)
  const columns = top.at('timegenerated') !== undefined
  const made: View = { top, all: over(top, fold(top.at('properties'))), columns }
  last = { record, view: made }
  return made
}

/** The operation as the record writes it; the activity table has the display name beside it. */
export const operationOf = (top: Members): string | undefined =>
  string(top.at('operationnamevalue')) ?? string(top.at('operationname'))

const MAX_RESOURCES = 4000

/** One spelling of a resource. */
const canonicalResource = memoText((written) => written.toLowerCase().replace(/\/+$/, ''), MAX_RESOURCES)

export const resourceOf = (top: Members): string =>
  canonicalResource(string(top.at('resourceid')) ?? string(top.at('resourceuri')) ?? '')

export const subscriptionOf = memoText(
  (resource) => /^\/subscriptions\/([^/]+)/.exec(resource)?.[1],
  MAX_RESOURCES,
)

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
