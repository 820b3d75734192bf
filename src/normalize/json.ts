/** Reading JSON values of unknown shape without trusting them. */

export type Json = Record<string, unknown>

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const nothing: Json = Object.freeze(Object.create(null))

/** The value as an object; anything else reads as an object without members. */
export const object = (value: unknown): Json => (isObject(value) ? value : nothing)

export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

export const string = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined

/** The parameters of an AWS call; newer EC2 calls wrap them once more, in `<Name>Request`. */
export const requestOf = (record: Json): Json => {
  const request = object(record['requestParameters'])
  const wrapped = request[`${String(record['eventName'])}Request`]
  return isObject(wrapped) ? wrapped : request
}

/** A list of texts: also when there is only one, as policies allow. */
export const strings = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((one): one is string => typeof one === 'string')

export const integer = (value: unknown): number | undefined => {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : undefined
}

/** The entry of a table under a name from outside: `constructor` is no entry. */
export const entry = <V>(table: Readonly<Record<string, V>>, name: string | undefined): V | undefined =>
  name !== undefined && Object.hasOwn(table, name) ? table[name] : undefined

export const MAX_DEPTH = 64

/**
 * Canonical JSON: members sorted by name, no white space. Two texts of one value give one result.
 * @returns `undefined` when the value is nested deeper than 64.
 */
export const canonical = (value: unknown, depth = 0): string | undefined => {
  if (depth > MAX_DEPTH) return undefined
  if (Array.isArray(value)) {
    const parts: string[] = []
    for (const one of value) {
      const text = canonical(one, depth + 1)
      if (text === undefined) return undefined
      parts.push(text)
    }
    return `[${parts.join(',')}]`
  }
  if (isObject(value)) {
    const parts: string[] = []
    const names = Object.keys(value)
    if (names.some((name, at) => at > 0 && name < (names[at - 1] ?? ''))) names.sort()
    for (const name of names) {
      const text = canonical(value[name], depth + 1)
      if (text === undefined) return undefined
      parts.push(`${JSON.stringify(name)}:${text}`)
    }
    return `{${parts.join(',')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

export interface Inspection {
  /** Members in the value, nested ones included. With fewer than the text has, a name came twice. */
  members: number
  /** A number lost digits when it was read. */
  inexact: boolean
}

/** Looks over a parsed value once. */
export const inspect = (value: unknown, into: Inspection = { members: 0, inexact: false }): Inspection => {
  if (typeof value === 'number') {
    if (Math.abs(value) > Number.MAX_SAFE_INTEGER) into.inexact = true
  } else if (Array.isArray(value)) {
    for (const one of value) if (typeof one !== 'string') inspect(one, into)
  } else if (typeof value === 'object' && value !== null) {
    for (const name in value) {
      into.members++
      const one = (value as Json)[name]
      if (typeof one !== 'string') inspect(one, into)
    }
  }
  return into
}

/** Parses JSON text; `undefined` stands for text that is not JSON (JSON itself has no undefined). */
export const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
