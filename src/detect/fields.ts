/** The fields of `kms.event.v1` as rules name them: dotted names, their closed values, and fast access. */
import { z } from 'zod'
import { type KeyEvent, keyEvent } from '../model/event.ts'
import { derivedFields } from './derived.ts'
import { nearest } from './nearest.ts'
import type { Vocabulary } from './rule.ts'

interface FieldInfo {
  /** Closed set of values, if the field has one. */
  readonly values?: readonly string[]
  /** A map: what follows the name is the key. */
  readonly map?: true
}

interface Schema {
  readonly type?: string
  readonly enum?: readonly string[]
  readonly const?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | false
  readonly items?: Schema
}

const walk = (schema: Schema, path: string, into: Map<string, FieldInfo>): void => {
  if (schema.properties !== undefined) {
    if (path !== '') into.set(path, {}) // for tests whether it is there at all
    for (const [name, one] of Object.entries(schema.properties))
      walk(one, path === '' ? name : `${path}.${name}`, into)
  } else if (schema.items !== undefined) walk(schema.items, path, into)
  else if (typeof schema.additionalProperties === 'object') into.set(path, { map: true })
  else into.set(path, schema.enum === undefined ? {} : { values: schema.enum })
}

const build = (): ReadonlyMap<string, FieldInfo> => {
  const fields = new Map<string, FieldInfo>()
  walk(z.toJSONSchema(keyEvent, { target: 'draft-2020-12' }) as Schema, '', fields) // the schema is ours: this much of its shape is known
  return fields
}

/** Every field a rule on the normalized event may name. */
export const eventFields = build()

const mapOf = (name: string): string | undefined => {
  for (let dot = name.lastIndexOf('.'); dot > 0; dot = name.lastIndexOf('.', dot - 1)) {
    const head = name.slice(0, dot)
    if (eventFields.get(head)?.map) return head
  }
  return undefined
}

export const fieldInfo = (name: string): FieldInfo | undefined => {
  const info = eventFields.get(name)
  if (info !== undefined) return info
  if (derivedFields.has(name)) return {}
  return mapOf(name) === undefined ? undefined : {}
}

type Getter = (event: KeyEvent) => unknown

/** Follows a path; through a list it follows every element. `undefined` when nothing is there. */
export const readPath = (value: unknown, path: readonly string[], from = 0): unknown => {
  let current = value
  for (let at = from; at < path.length; at++) {
    if (Array.isArray(current)) {
      const found = current.map((one) => readPath(one, path, at)).filter((one) => one !== undefined)
      return found.length > 0 ? found : undefined
    }
    const name = path[at] ?? ''
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, name)) return undefined
    current = (current as Record<string, unknown>)[name] // an object that has it
  }
  return current
}

/** Reads a field: a scalar, a list of them, or `undefined` when it is absent. */
export const getter = (name: string): Getter => {
  const derived = derivedFields.get(name)
  if (derived !== undefined) return derived
  const map = eventFields.has(name) ? undefined : mapOf(name)
  const path = map === undefined ? name.split('.') : [...map.split('.'), name.slice(map.length + 1)]
  const [a = '', b = ''] = path
  if (path.length === 1) return (event) => (event as Record<string, unknown>)[a]
  if (path.length === 2)
    return (event) => {
      const outer = (event as Record<string, unknown>)[a]
      return typeof outer === 'object' && outer !== null && !Array.isArray(outer)
        ? (outer as Record<string, unknown>)[b]
        : undefined
    }
  return (event) => readPath(event, path)
}

/** Every text in a record, however deep. */
export const texts = function* (value: unknown): Generator<string> {
  if (typeof value === 'string') yield value
  else if (typeof value === 'object' && value !== null)
    for (const one of Object.values(value)) yield* texts(one)
}

/** Rules on the normalized event: names are checked, values of closed sets too. */
export const eventVocabulary: Vocabulary<KeyEvent> = {
  getter: (name) => (fieldInfo(name) === undefined ? undefined : getter(name)),
  values: (name) => fieldInfo(name)?.values,
  nearest: (wrong) => nearest(wrong, eventFields.keys()),
  texts,
}
