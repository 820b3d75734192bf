/**
 * What was read of a log, minute by minute: how many events, and the sum of their hashes. Who reads it again sees by
 * that whether something came in between, whatever the order, and holds 8 bytes a minute.
 */

export const MINUTE_MS = 60_000
const HOUR_MINUTES = 60
const WORDS = 2 * HOUR_MINUTES

export class Minutes {
  readonly #hours = new Map<number, Uint32Array>()
  readonly #changed = new Set<number>()

  /** @param at milliseconds since 1970 @param hash of what identifies the event, 32 bits */
  add(at: number, hash: number): void {
    const minute = Math.floor(at / MINUTE_MS)
    const [count, sum] = this.#of(minute)
    this.#put(minute, count + 1, sum + hash)
  }

  /** Events of a minute. @param minute minutes since 1970 */
  count(minute: number): number {
    return this.#of(minute)[0]
  }

  /** Minutes of [from, to), milliseconds since 1970, in which the other one differs. */
  differing(other: Minutes, from: number, to: number): number[] {
    const found: number[] = []
    for (let minute = Math.floor(from / MINUTE_MS); minute * MINUTE_MS < to; minute++) {
      const [count, sum] = this.#of(minute)
      const [otherCount, otherSum] = other.#of(minute)
      if (count !== otherCount || sum !== otherSum) found.push(minute)
    }
    return found
  }

  /** Takes over what another one has of these minutes. */
  take(other: Minutes, minutes: readonly number[]): void {
    for (const minute of minutes) this.#put(minute, ...other.#of(minute))
  }

  /** Hours that changed since this was asked last, as texts to keep. @param oldest hours before are forgotten */
  changes(oldest: number): (readonly [hour: number, text: string])[] {
    for (const hour of this.#hours.keys()) if (hour < oldest) this.#hours.delete(hour)
    const texts = [...this.#changed].flatMap((hour): [number, string][] => {
      const words = this.#hours.get(hour)
      return words === undefined ? [] : [[hour, Buffer.from(words.buffer).toString('base64')]]
    })
    this.#changed.clear()
    return texts
  }

  /** Takes back an hour that was kept. */
  load(hour: number, text: string): void {
    const bytes = new Uint8Array(Buffer.from(text, 'base64'))
    if (bytes.length === WORDS * 4) this.#hours.set(hour, new Uint32Array(bytes.buffer))
  }

  #of(minute: number): readonly [count: number, sum: number] {
    const words = this.#hours.get(Math.floor(minute / HOUR_MINUTES))
    const at = 2 * (minute % HOUR_MINUTES)
    return [words?.[at] ?? 0, words?.[at + 1] ?? 0]
  }

  #put(minute: number, count: number, sum: number): void {
    const hour = Math.floor(minute / HOUR_MINUTES)
    const words = this.#hours.get(hour) ?? new Uint32Array(WORDS)
    this.#hours.set(hour, words)
    this.#changed.add(hour)
    const at = 2 * (minute % HOUR_MINUTES)
    words[at] = count
    words[at + 1] = sum // modulo 2^32
  }
}

/** 32 bits of a text, Fowler-Noll-Vo 1a. */
export const hashOf = (text: string): number => {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash >>> 0
}
