import { Recent } from './recent.ts'

/**
 * Remembers what was made of something, up to a number of times: making it again is no loss. The keys of a group's
 * state are long; made once, they are also hashed once, and every look-up with them is several times faster.
 */
export const memo = <K, V>(make: (of: K) => V, limit: number): ((of: K) => V) => {
  const made = new Recent<K, V>(limit)
  return (of) => {
    let value = made.get(of)
    if (value === undefined) {
      value = make(of)
      made.set(of, value)
    }
    return value
  }
}

const MAX_CHARS = 512

/** The same for texts from outside: long ones are not remembered. */
export const memoText = <V>(make: (of: string) => V, limit: number): ((of: string) => V) => {
  const remembered = memo(make, limit)
  return (of) => (of.length > MAX_CHARS ? make(of) : remembered(of))
}
