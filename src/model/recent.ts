/**
 * A map that forgets what was not used lately, in two generations: what is used lives on in the young one, and a turn
 * forgets what was not used since the turn before. Use costs no more than a look-up: there is no order to keep.
 */
export class Recent<K, V> {
  #young = new Map<K, V>()
  #old = new Map<K, V>()
  readonly #limit: number
  readonly #onForgotten: ((value: V) => void) | undefined

  /** @param limit so many at most: it turns by itself when there are more; without it, only when told */
  constructor(limit = Number.POSITIVE_INFINITY, onForgotten?: (value: V) => void) {
    this.#limit = limit
    this.#onForgotten = onForgotten
  }

  get(key: K): V | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old === undefined) return undefined
    this.#old.delete(key)
    this.set(key, old)
    return old
  }

  set(key: K, value: V): void {
    if (this.#young.size >= this.#limit / 2 && !this.#young.has(key)) this.turn()
    this.#young.set(key, value)
  }

  delete(key: K): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  /** How many were used since the last turn. */
  get used(): number {
    return this.#young.size
  }

  turn(): void {
    if (this.#onForgotten !== undefined)
      for (const [key, value] of this.#old) if (!this.#young.has(key)) this.#onForgotten(value)
    this.#old = this.#young
    this.#young = new Map()
  }

  *[Symbol.iterator](): Generator<readonly [K, V]> {
    yield* this.#young
    for (const one of this.#old) if (!this.#young.has(one[0])) yield one
  }
}
