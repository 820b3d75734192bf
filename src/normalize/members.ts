/**
 * Objects under one spelling of their names: `httpStatusCode_d`, `event_data_id` and `CallerIpAddress` come in three.
 * Nothing is copied: most objects of a feed have the same names in the same order, so what a name means is worked
 * out once for such a shape, and reading a member is a look-up.
 */
import { isObject, type Json, parse } from './json.ts'

export interface Members {
  /** The member under its plain name: small letters, no underscores, no suffix for its type. */
  at(name: string): unknown
  readonly names: readonly string[]
}

interface Shape {
  readonly written: readonly string[]
  readonly names: readonly string[]
  /** As it is written; several where one name is spelled in several ways. */
  readonly spelled: ReadonlyMap<string, string | readonly string[]>
}

const plain = (name: string): string =>
  name
    .replace(/_[sdbgt]$/, '')
    .replaceAll('_', '')
    .toLowerCase()

const shapeFor = (written: readonly string[]): Shape => {
  const spelled = new Map<string, string | string[]>()
  for (const one of written) {
    const name = plain(one)
    const before = spelled.get(name)
    if (Array.isArray(before)) before.push(one)
    else spelled.set(name, before === undefined ? one : [before, one])
  }
  return { written, names: [...spelled.keys()], spelled }
}

/** Shapes by their number of members. What hostile records bring beyond is forgotten, and with it the others of its size. */
const shapes = new Map<number, Shape[]>()
const MAX_SHAPES = 16
const MAX_MEMBERS = 64
const MAX_NAME_CHARS = 4096

const shapeOf = (from: Json): Shape => {
  const written = Object.keys(from)
  const count = written.length
  const known = shapes.get(count) ?? []
  for (const shape of known) {
    let at = 0
    while (at < count && shape.written[at] === written[at]) at++
    if (at === count) return shape
  }
  const made = shapeFor(written)
  if (count <= MAX_MEMBERS && written.join('').length <= MAX_NAME_CHARS)
    shapes.set(count, [...(known.length < MAX_SHAPES ? known : []), made])
  return made
}

const localized = (value: unknown): unknown =>
  isObject(value) && ('localizedValue' in value || 'localized_value' in value) ? value['value'] : value

class Folded implements Members {
  readonly #from: Json
  readonly #shape: Shape

  constructor(from: Json) {
    this.#from = from
    this.#shape = shapeOf(from)
  }

  at(name: string): unknown {
    const spelled = this.#shape.spelled.get(name)
    if (spelled === undefined) return undefined
    if (typeof spelled === 'string') return localized(this.#from[spelled])
    return spelled.reduce<unknown>((value, one) => value ?? localized(this.#from[one]), undefined)
  }

  get names() {
    return this.#shape.names
  }
}

/** An object, also one that is written as JSON in a text. */
export const embedded = (value: unknown): unknown =>
  typeof value === 'string' && (value.startsWith('{') || value.startsWith('[')) ? parse(value) : value

const nothing: Members = { at: () => undefined, names: [] }

/** The members of an object, also of one in a text; anything else has none. */
export const fold = (value: unknown): Members => {
  const from = embedded(value)
  return isObject(from) ? new Folded(from) : nothing
}

/** A member of a member: nested, or joined to one name as the columns of Log Analytics are. */
export const dig = (from: Members, first: string, second: string, third?: string): unknown => {
  const inner = fold(from.at(first)).at(second)
  if (third === undefined) return inner ?? from.at(first + second)
  return fold(inner).at(third) ?? from.at(first + second + third)
}

class Over implements Members {
  readonly #below: Members
  readonly #above: Members

  constructor(below: Members, above: Members) {
    this.#below = below
    this.#above = above
  }

  at(name: string): unknown {
    const own = this.#above.at(name)
    if (own !== undefined && own !== null) return own
    const under = this.#below.at(name)
    return under === undefined && this.#above.names.includes(name) ? null : under
  }

  get names() {
    return [...new Set([...this.#below.names, ...this.#above.names])]
  }
}

/** The members of both; the second counts where both have one. */
export const over = (below: Members, above: Members): Members => new Over(below, above)

/** A text, number or switch as text; anything else as no text. Texts from outside may hide objects that have none. */
export const scalar = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''
