/** The fields of `kms.event.v1` as rules name them: dotted names, their closed values, and fast access. */
import { z } from 'zod'
import { type KeyEvent, keyEvent } from '../model/event.ts'
import { derivedFields } from './derived.ts'

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

const distance = (a: string, b: string): number => {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(change, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}

/** The valid name that is nearest to a wrong one, if one is near enough to be meant. */
export const nearest = (wrong: string, valid: Iterable<string>): string | undefined => {
  let best: string | undefined
  let least = Math.max(2, Math.floor(wrong.length / 3)) + 1
  for (const name of valid) {
    const tail = name.slice(name.lastIndexOf('.') + 1)
    const d = Math.min(
      distance(wrong.toLowerCase(), name.toLowerCase()),
      distance(wrong.toLowerCase(), tail) + 1,
    )
    if (d < least) {
      least = d
      best = name
    }
  }
  return best
}

type Getter = (event: KeyEvent) => unknown

const step = (value: unknown, path: readonly string[], from: number): unknown => {
  let current = value
  for (let at = from; at < path.length; at++) {
    if (Array.isArray(current)) {
      const found = current.map((one) => step(one, path, at)).filter((one) => one !== undefined)
      return found.length > 0 ? found : undefined
    }
    if (typeof current !== 'object' || current === null) return undefined
    current = (current as Record<string, unknown>)[path[at] ?? '']
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
  return (event) => step(event, path, 0)
}
