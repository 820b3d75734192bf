/** Patterns as policies and people write them. */

/** `*` and `?` patterns without backtracking over more than one star. */
export const wildcardMatch = (pattern: string, text: string): boolean => {
  let p = 0
  let t = 0
  let star = -1
  let retry = 0
  while (t < text.length) {
    const c = pattern[p]
    if (c === '*') {
      star = p++
      retry = t
    } else if (c === '?' || c === text[t]) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++retry
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}
