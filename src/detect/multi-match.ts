/**
 * Looks for many texts at once (Aho and Corasick, 1975): time grows with what is searched, not with how many texts
 * there are. Where all texts are long, most bytes are not even looked at (Wu and Manber, 1994). Upper and lower case
 * of ASCII letters are one.
 */
export interface MultiMatch {
  /** Is one of the texts in these bytes? */
  inBytes(bytes: Uint8Array, start: number, end: number): boolean
  /** Numbers of the texts that are in a text. */
  collect(text: string, into: Set<number>): void
}

/** Shorter texts than this leave little to jump over. */
const LEAST_TO_JUMP = 5
const HASHES = 65_536
const hashOf = (a: number, b: number, c: number) => ((a << 10) ^ (b << 5) ^ c) & (HASHES - 1)
const cases = (letter = '') => [letter.charCodeAt(0), letter.toUpperCase().charCodeAt(0)]

/** By the three bytes read last: how far behind them no text can have its first `shortest` letters. */
const jumpsOf = (texts: readonly string[], shortest: number): Uint8Array => {
  const jumps = new Uint8Array(HASHES).fill(Math.min(shortest - 2, 255))
  for (const text of texts)
    for (let at = 2; at < shortest; at++)
      for (const a of cases(text[at - 2]))
        for (const b of cases(text[at - 1]))
          for (const c of cases(text[at])) {
            const hash = hashOf(a, b, c)
            jumps[hash] = Math.min(jumps[hash] as number, shortest - 1 - at)
          }
  return jumps
}

/** @param wanted not empty, printable ASCII */
export const multiMatch = (wanted: readonly string[]): MultiMatch => {
  const texts = wanted.map((one) => one.toLowerCase())
  const letters = [...new Set(texts.join(''))]
  const width = letters.length + 1
  /** Number of each character; 0 = occurs in no text. */
  const classes = new Uint8Array(256)
  letters.forEach((letter, index) => {
    classes[letter.charCodeAt(0)] = index + 1
    classes[letter.toUpperCase().charCodeAt(0)] = index + 1
  })
  const most = texts.reduce((sum, { length }) => sum + length, 1)
  const next = new Int32Array(most * width)
  const ends: number[][] = [[]]
  texts.forEach((text, number) => {
    let state = 0
    for (let at = 0; at < text.length; at++) {
      const place = state * width + (classes[text.charCodeAt(at)] ?? 0)
      if (next[place] === 0) {
        next[place] = ends.length
        ends.push([])
      }
      state = next[place] ?? 0
    }
    ends[state]?.push(number)
  })
  const fail = new Int32Array(ends.length)
  for (let queue = [0]; queue.length > 0; ) {
    const deeper: number[] = []
    for (const state of queue)
      for (let letter = 1; letter < width; letter++) {
        const place = state * width + letter
        const child = next[place] ?? 0
        const back = state === 0 ? 0 : (next[(fail[state] ?? 0) * width + letter] ?? 0)
        if (child === 0) next[place] = back
        else {
          fail[child] = back
          ends[child]?.push(...(ends[back] ?? []))
          deeper.push(child)
        }
      }
    queue = deeper
  }
  const isEnd = Uint8Array.from(ends, (one) => (one.length > 0 ? 1 : 0))

  const shortest = Math.min(...texts.map(({ length }) => length))
  const jumps = shortest >= LEAST_TO_JUMP ? jumpsOf(texts, shortest) : undefined
  /** @param alone ends where no text goes on that began at `start` */
  const walk = (bytes: Uint8Array, start: number, end: number, alone: boolean): boolean => {
    let state = 0
    for (let at = start; at < end; at++) {
      state = next[state * width + (classes[bytes[at] as number] as number)] as number // all within their arrays
      if (isEnd[state] === 1) return true
      if (alone && state === 0) return false
    }
    return false
  }

  return {
    inBytes(bytes, start, end) {
      if (jumps === undefined) return walk(bytes, start, end, false)
      for (let at = start + shortest - 1; at < end; ) {
        const jump = jumps[
          hashOf(bytes[at - 2] as number, bytes[at - 1] as number, bytes[at] as number)
        ] as number // as above
        if (jump === 0 && walk(bytes, at - shortest + 1, end, true)) return true
        at += jump || 1
      }
      return false
    },
    collect(text, into) {
      let state = 0
      for (let at = 0; at < text.length; at++) {
        const code = text.charCodeAt(at)
        state = next[state * width + (code > 255 ? 0 : (classes[code] as number))] as number // likewise
        if (isEnd[state] === 1) for (const number of ends[state] ?? []) into.add(number)
      }
    },
  }
}
