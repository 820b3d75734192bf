/**
 * docs/mapping.md: where each of our fields goes in each standard, and what is lost on the way. Nothing is told twice:
 * the rows of src/render are asked what they read, and a word is lost when another word gives the same document.
 */
import type { Alert } from '../src/model/alert.ts'
import type { KeyEvent } from '../src/model/event.ts'
import { operations } from '../src/model/operations.ts'
import type { Format } from '../src/model/setting.ts'
import { alertColumns, eventColumns } from '../src/render/asim.ts'
import { cimAlertRows, cimEventRows } from '../src/render/cim.ts'
import { ecsAlertRows, ecsEventRows } from '../src/render/ecs.ts'
import { ocsfAlertRows, ocsfEventRows, ocsfSignInRows } from '../src/render/ocsf.ts'
import { renderings } from '../src/render/renderings.ts'
import type { Row } from '../src/render/standards.ts'

export interface Schema {
  readonly type?: string
  readonly format?: string
  readonly pattern?: string
  readonly const?: string
  readonly enum?: readonly string[]
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | false
  readonly items?: Schema
  readonly maxLength?: number
  readonly minLength?: number
  readonly minItems?: number
  readonly minimum?: number
}

type Doc = Record<string, unknown>
export interface Leaf {
  readonly path: string
  readonly required: boolean
  readonly words: readonly string[] | undefined
}

export const leavesOf = (schema: Schema, path = '', required = true): Leaf[] => {
  const item = schema.type === 'array' ? schema.items : undefined
  const properties = schema.properties ?? item?.properties
  if (properties === undefined) return [{ path, required, words: schema.enum ?? item?.enum }]
  const below = item === undefined ? path : `${path}[]`
  return Object.entries(properties).flatMap(([name, one]) =>
    leavesOf(
      one,
      below === '' ? name : `${below}.${name}`,
      required && ((item ?? schema).required?.includes(name) ?? false),
    ),
  )
}

/** Values that a text of no particular kind cannot stand for. */
const examples: Readonly<Record<string, unknown>> = {
  'network.source_ip': '198.51.100.7',
  'network.geo.country': 'NL',
  'actor.name': 'alice@example.com',
  'actor.type': 'role_session',
  'attack[].v18': 'T1562.008',
  'attack[].v19': 'T1685.008',
  'change.settings': { endpoint: 'other' },
  alert_id: '0123456789abcdef0123456789abcdef',
}

/** @returns a document with every field of the schema */
export const fullDocument = (schema: Schema, path = ''): unknown => {
  const example = examples[path]
  if (example !== undefined) return example
  if (schema.const !== undefined) return schema.const
  if (schema.enum !== undefined) return schema.enum[0]
  if (schema.properties !== undefined)
    return Object.fromEntries(
      Object.entries(schema.properties).map(([name, one]) => [
        name,
        fullDocument(one, path === '' ? name : `${path}.${name}`),
      ]),
    )
  if (schema.type === 'array')
    return Array.from({ length: schema.minItems ?? 1 }, () => fullDocument(schema.items ?? {}, `${path}[]`))
  if (schema.type === 'object') return { name: 'value' }
  if (schema.type === 'boolean') return true
  if (schema.type === 'string')
    return schema.format === 'date-time'
      ? '2026-03-02T09:00:00.123456Z'
      : path.slice(-(schema.maxLength ?? 64)).padEnd(schema.minLength ?? 0, '0')
  return Math.max(schema.minimum ?? 0, 7)
}

/** Notes which leaves are read; those that are `gone` look absent. */
const spied = (
  value: object,
  path: string,
  leaves: ReadonlySet<string>,
  seen: Set<string>,
  gone: Set<string>,
): object =>
  new Proxy(value, {
    get(target, name) {
      const found: unknown = Reflect.get(target, name)
      if (typeof name === 'symbol' || typeof found === 'function' || name === 'length') return found
      const below = Array.isArray(target) ? path : path === '' ? name : `${path}.${name}`
      if (leaves.has(below)) {
        if (gone.has(below)) return undefined
        seen.add(below)
        return found
      }
      if (typeof found !== 'object' || found === null) return found
      return spied(found, Array.isArray(found) ? `${below}[]` : below, leaves, seen, gone)
    },
  })

interface Places {
  /** Standard's paths that take the field, and those that take it when nothing better is there. */
  readonly first: string[]
  readonly else: string[]
}

const placesOf = <T extends object>(
  rows: readonly Row<T>[],
  full: T,
  leaves: readonly Leaf[],
): Map<string, Places> => {
  const names = new Set(leaves.map(({ path }) => path))
  const optional = new Set(leaves.filter(({ required }) => !required).map(({ path }) => path))
  const places = new Map<string, Places>(leaves.map(({ path }) => [path, { first: [], else: [] }]))
  for (const [path, give] of rows) {
    const seen = new Set<string>()
    const gone = new Set<string>()
    for (let round = 'first' as keyof Places, size = -1; seen.size > size; round = 'else') {
      size = seen.size
      const before = new Set(seen)
      JSON.stringify(give(spied(full, '', names, seen, gone) as T) ?? null) // reads what it gives as a whole
      for (const one of seen) {
        if (!before.has(one)) places.get(one)?.[round].push(path)
        if (optional.has(one)) gone.add(one)
      }
    }
  }
  return places
}

interface Standard<T> {
  readonly name: string
  readonly format: Format
  readonly rows: readonly Row<T>[]
  /** Where the whole record stands beside the fields. */
  readonly whole?: string
}

const columnRows = <T>(columns: readonly (readonly [string, unknown, (of: T) => unknown])[]): Row<T>[] =>
  columns.filter(([name]) => name !== 'AdditionalFields').map(([name, , give]) => [name, give])
const withoutWhole = <T>(rows: readonly Row<T>[]) => rows.filter(([path]) => path !== 'event.original')

const forEvents: readonly Standard<KeyEvent>[] = [
  { name: 'OCSF', format: 'ocsf', rows: ocsfEventRows },
  { name: 'CIM', format: 'cim', rows: cimEventRows, whole: 'kms' },
  { name: 'ECS', format: 'ecs', rows: withoutWhole(ecsEventRows), whole: 'event.original' },
  { name: 'ASIM', format: 'asim', rows: columnRows(eventColumns), whole: 'AdditionalFields' },
]
const forAlerts: readonly Standard<Alert>[] = [
  { name: 'OCSF', format: 'ocsf', rows: ocsfAlertRows },
  { name: 'CIM', format: 'cim', rows: cimAlertRows, whole: 'kms' },
  { name: 'ECS', format: 'ecs', rows: withoutWhole(ecsAlertRows), whole: 'event.original' },
  { name: 'ASIM', format: 'asim', rows: columnRows(alertColumns), whole: 'AdditionalFields' },
]

export const memberOf = (doc: Doc, path: string): unknown =>
  path.split('.').reduce<unknown>((at, name) => (at as Doc | undefined)?.[name], doc)

const set = (doc: Doc, path: string, value: unknown): Doc => {
  const copy = structuredClone(doc)
  const names = path.split('.')
  const last = names.pop() ?? path
  const parent = (names.length === 0 ? copy : memberOf(copy, names.join('.'))) as Doc
  parent[last] = Array.isArray(parent[last]) ? [value] : value
  return copy
}

/** Words that give the same fields, each group as `a = b`. */
const merged = (rows: readonly Row<never>[], full: Doc, { path, words = [] }: Leaf): string[] => {
  const groups = new Map<string, string[]>()
  for (const word of words) {
    const of = set(full, path, word)
    const made = JSON.stringify(rows.map(([, give]) => give(of as never) ?? null))
    groups.set(made, [...(groups.get(made) ?? []), word])
  }
  return [...groups.values()].filter(({ length }) => length > 1).map((group) => group.join(' = '))
}

const code = (paths: readonly string[]) => paths.map((path) => `\`${path}\``).join(', ')
const cellOf = (places: Places | undefined, whole: string | undefined): string => {
  const { first = [], else: others = [] } = places ?? {}
  if (first.length + others.length === 0) return whole === undefined ? 'lost' : `\`${whole}\` only`
  return [code(first), others.length > 0 ? `else ${code(others)}` : '']
    .filter((part) => part !== '')
    .join(', ')
}

const section = <T extends object>(
  title: string,
  schema: Schema,
  standards: readonly Standard<T>[],
): string => {
  const leaves = leavesOf(schema)
  const full = fullDocument(schema) as T
  const found = standards.map(({ rows }) => placesOf(rows, full, leaves))
  const table = leaves.map(({ path }) => {
    const cells = standards.map(({ whole }, at) => cellOf(found[at]?.get(path), whole))
    return `| \`${path}\` | ${cells.join(' | ')} |`
  })
  const lost = standards.map(({ name, rows, whole }, at) => {
    const homeless = leaves.filter(({ path }) => {
      const places = found[at]?.get(path)
      return places !== undefined && places.first.length + places.else.length === 0
    })
    const words = leaves
      .filter((leaf) => leaf.words !== undefined && !homeless.includes(leaf) && !leaf.path.includes('[]'))
      .flatMap((leaf) => merged(rows, full as Doc, leaf).map((group) => `\`${leaf.path}\`: ${group}`))
    const kept =
      whole === undefined ? 'Without a place, and lost' : `Without a place of their own, kept in \`${whole}\``
    return `### ${name}

${kept}: ${homeless.length === 0 ? 'nothing' : code(homeless.map(({ path }) => path))}.

Words that become the same: ${words.length === 0 ? 'none' : `\n\n${words.map((one) => `- ${one}`).join('\n')}`}
`
  })
  return `## ${title}

| field | ${standards.map(({ name }) => name).join(' | ')} |
|---|${standards.map(() => '---|').join('')}
${table.join('\n')}

${lost.join('\n')}`
}

const operationTable = (schema: Schema): string => {
  const full = fullDocument(schema) as Doc
  return Object.entries(operations)
    .map(([operation, [category]]) => {
      const json = JSON.stringify({ ...full, operation, operation_category: category })
      const as = (format: Format) => JSON.parse(renderings[format].event(json))
      const [ocsf, cim, ecs, asim] = [as('ocsf'), as('cim'), as('ecs'), as('asim')]
      const before = as('ecs_before_8_7').event.category[0]
      const category9 = ecs.event.category[0]
      return `| \`${operation}\` | ${ocsf.type_uid} ${ocsf.type_name} | ${cim.action ?? ''} | ${category9}${before === category9 ? '' : ` (${before})`}, ${ecs.event.type[0]} | ${asim.EventType} |`
    })
    .join('\n')
}

const signIns = (schema: Schema): string => {
  const leaves = leavesOf(schema)
  const full = fullDocument(schema) as KeyEvent
  const usual = placesOf(ocsfEventRows, full, leaves)
  return [...placesOf(ocsfSignInRows, full, leaves)]
    .filter(([path, places]) => cellOf(places, undefined) !== cellOf(usual.get(path), undefined))
    .map(([path, places]) => `| \`${path}\` | ${cellOf(places, undefined)} |`)
    .join('\n')
}

export const mappingPage = (
  event: Schema,
  alert: Schema,
): string => `<!-- Written by scripts/write-schemas.ts from src/render: change it there. -->
# Formats, and where each field goes

\`format\` of a sink says what it sends.

| format | events | alerts | the whole record stands in |
|---|---|---|---|
| \`native\` | [kms.event.v1](fields.md) | kms.alert.v1 | it is the record |
| \`cim\` | Splunk CIM: Change, Data Access, Authentication | Alerts, risk | \`kms\` |
| \`asim\` | Microsoft Sentinel ASIM: AuditEvent | AlertEvent | \`AdditionalFields\` |
| \`ocsf\` | OCSF 1.8.0: API Activity (6003), sign-ins Authentication (3002) | Detection Finding (2004); Compliance Finding (2003) when the only technique is T1600, Weaken Encryption | what has no attribute: \`unmapped\` |
| \`ecs\` | Elastic Common Schema 9.4, whose categories Elastic knows since 8.7 | the same | \`event.original\`, as text |
| \`ecs_before_8_7\` | the same with category \`configuration\` for \`api\`, which came with 8.7, and without \`entity\` | the same | \`event.original\`, as text |

\`a[].b\` is in the first of the list \`a\`. *else*: there when the field that is preferred for the place is absent. OCSF knows MFA as
yes or no: \`is_mfa\` is left out when the log does not say, and the word stands in \`unmapped.mfa\`. Labels of yours are
\`labels.<name>\` in ECS; one that is called like a label of this page gives way to it. The Splunk sink sends the time beside the
event, and indexed fields, in every format ([siem.md](siem.md)).

## Operations

In brackets the category of \`ecs_before_8_7\`.

| operation | OCSF | CIM action | ECS category, type | ASIM EventType |
|---|---|---|---|---|
${operationTable(event)}

${section('Events', event, forEvents)}
### Sign-ins in OCSF

Where the class Authentication differs from the table:

| field | OCSF |
|---|---|
${signIns(event)}

${section('Alerts', alert, forAlerts)}`
