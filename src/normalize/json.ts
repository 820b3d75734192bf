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

/** A list of texts: also when there is only one, as policies allow. */
export const strings = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((one): one is string => typeof one === 'string')

export const integer = (value: unknown): number | undefined => {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : undefined
}

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
    for (const name of Object.keys(value).sort()) {
      const text = canonical(value[name], depth + 1)
      if (text === undefined) return undefined
      parts.push(`${JSON.stringify(name)}:${text}`)
    }
    return `{${parts.join(',')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

/** Number of members in a value, nested ones included. With fewer members than the text has, a name came twice. */
export const memberCount = (value: unknown): number => {
  if (typeof value !== 'object' || value === null) return 0
  let count = 0
  if (Array.isArray(value)) {
    for (const one of value) if (typeof one === 'object') count += memberCount(one)
    return count
  }
  for (const name in value) {
    const one = (value as Json)[name]
    count += typeof one === 'object' ? 1 + memberCount(one) : 1
  }
  return count
}

/** Parses JSON text; `undefined` stands for text that is not JSON (JSON itself has no undefined). */
export const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
