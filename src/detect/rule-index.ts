/**
 * Rules on raw records by the values that they require, so that a record meets only those that could match: cost
 * grows with them, not with the rules loaded.
 */
import { type MultiMatch, multiMatch } from './multi-match.ts'
import { bestOf } from './needles.ts'
import { type Feed, rawVocabulary } from './raw-fields.ts'
import type { RawRule } from './record-rule.ts'
import type { Anchors } from './rule.ts'

export interface RuleIndex<T> {
  add(rule: RawRule, item: T): void
  /** Items of rules that could match a record; an item may come twice. */
  candidates(feed: Feed, raw: unknown): readonly T[]
  readonly size: number
}

/** Members that name what was done: they tell records apart better than any other. */
const names = new Set([
  'eventName',
  'operationName',
  'OperationName',
  'gcp.audit.method_name',
  'properties.message',
])

/** The one field to look a rule up by: a name if it requires one, else the field with the fewest values. */
const best = (anchors: Anchors): readonly [field: string, values: ReadonlySet<string>] | undefined =>
  [...anchors].sort(
    ([a, left], [b, right]) => Number(names.has(b)) - Number(names.has(a)) || left.size - right.size,
  )[0]

interface OfFeed<T> {
  /** Field, how it is read, and items by each of its values in lower case. */
  readonly fields: Map<string, { readonly get: (raw: unknown) => unknown; readonly items: Map<string, T[]> }>
  /** Rules that require no value. */
  readonly always: T[]
  /** Rules that require no value of a field, but texts: by each of them. */
  readonly byText: Map<string, T[]>
  search: { readonly match: MultiMatch; readonly items: readonly (readonly T[])[] } | undefined
}

/** All values of a record, one a line. */
const leaves = (value: unknown): string => {
  if (typeof value !== 'object' || value === null) return `"${String(value)}"\n`
  let all = ''
  for (const one of Object.values(value)) all += leaves(one)
  return all
}

const NOTHING: readonly never[] = []

export const ruleIndex = <T>(): RuleIndex<T> => {
  const feeds = new Map<Feed, OfFeed<T>>()
  let size = 0

  const addTo = (feed: Feed, { anchors, needles }: RawRule, item: T) => {
    const one: OfFeed<T> = feeds.get(feed) ?? {
      fields: new Map(),
      always: [],
      byText: new Map(),
      search: undefined,
    }
    feeds.set(feed, one)
    const [field, values] = best(anchors) ?? []
    if (field === undefined || values === undefined) {
      const texts = bestOf(needles)
      for (const text of texts ?? []) one.byText.set(text, [...(one.byText.get(text) ?? []), item])
      if (texts === undefined) one.always.push(item)
      one.search = undefined
      return
    }
    const get = rawVocabulary(feed.split('_')[0]).getter(field)
    if (get === undefined) return
    const known = one.fields.get(field) ?? { get, items: new Map<string, T[]>() }
    one.fields.set(field, known)
    for (const value of values) known.items.set(value, [...(known.items.get(value) ?? []), item])
  }

  /** What the text of a field must hold, some text of the record does. */
  const withText = (one: OfFeed<T>, raw: unknown): readonly T[] => {
    one.search ??= { match: multiMatch([...one.byText.keys()]), items: [...one.byText.values()] }
    const hits = new Set<number>()
    one.search.match.collect(leaves(raw), hits)
    return [...hits].flatMap((number) => one.search?.items[number] ?? [])
  }

  return {
    get size() {
      return size
    },
    add(rule, item) {
      if (rule.feeds.size > 0) size++
      for (const feed of rule.feeds) addTo(feed, rule, item)
    },
    candidates(feed, raw) {
      const one = feeds.get(feed)
      if (one === undefined) return NOTHING
      let found: readonly T[] = one.always
      const collect = (items: Map<string, T[]>, value: unknown): void => {
        if (Array.isArray(value)) for (const each of value) collect(items, each)
        else if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
          const hits = items.get(String(value).toLowerCase())
          if (hits !== undefined) found = found.length === 0 ? hits : [...found, ...hits]
        }
      }
      for (const { get, items } of one.fields.values()) collect(items, get(raw))
      if (one.byText.size > 0) found = [...found, ...withText(one, raw)]
      return found
    },
  }
}
