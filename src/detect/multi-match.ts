/**
 * Looks for many texts at once (Aho and Corasick, 1975): time grows with what is searched, not with how many texts
 * there are. Upper and lower case of ASCII letters are one.
 */
export interface MultiMatch {
  /** Is one of the texts in these bytes? */
  inBytes(bytes: Uint8Array, start: number, end: number): boolean
  /** Numbers of the texts that are in a text. */
  collect(text: string, into: Set<number>): void
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

  return {
    inBytes(bytes, start, end) {
      let state = 0
      for (let at = start; at < end; at++) {
        state = next[state * width + (classes[bytes[at] as number] as number)] as number // all within their arrays
        if (isEnd[state] === 1) return true
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
