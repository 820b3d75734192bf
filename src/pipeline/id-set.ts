/** A set of ids of 32 hex digits, exact, in 16 bytes each: open addressing over one typed array. */

const WORDS = 4
const START_SLOTS = 1024

export class IdSet {
  size = 0
  #slots = START_SLOTS
  #words = new Uint32Array(START_SLOTS * WORDS)

  /** @returns `false` when the id was already in the set */
  add(id: string): boolean {
    if (this.size * 4 >= this.#slots * 3) this.#grow()
    const added = this.#put(
      Number.parseInt(id.slice(0, 8), 16),
      Number.parseInt(id.slice(8, 16), 16),
      Number.parseInt(id.slice(16, 24), 16),
      Number.parseInt(id.slice(24, 32), 16),
    )
    if (added) this.size++
    return added
  }

  /** All zero marks an empty slot: that id would need a preimage of zero, and counts as absent. */
  #put(a: number, b: number, c: number, d: number): boolean {
    const words = this.#words
    for (let slot = (a ^ d) >>> 0; ; slot++) {
      const at = (slot & (this.#slots - 1)) * WORDS
      const wa = words[at]
      const wb = words[at + 1]
      const wc = words[at + 2]
      const wd = words[at + 3]
      if (wa === a && wb === b && wc === c && wd === d) return false
      if (wa === 0 && wb === 0 && wc === 0 && wd === 0) {
        words[at] = a
        words[at + 1] = b
        words[at + 2] = c
        words[at + 3] = d
        return true
      }
    }
  }

  #grow(): void {
    const old = this.#words
    this.#slots *= 2
    this.#words = new Uint32Array(this.#slots * WORDS)
    for (let at = 0; at < old.length; at += WORDS) {
      const [a = 0, b = 0, c = 0, d = 0] = old.subarray(at, at + WORDS)
      if ((a | b | c | d) !== 0) this.#put(a, b, c, d)
    }
  }
}
