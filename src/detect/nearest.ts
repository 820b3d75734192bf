/** Which valid name a wrong one may mean. */

const distance = (a: string, b: string): number => {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(change, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}

/** The valid name that is nearest to a wrong one, if one is near enough to be meant. */
export const nearest = (wrong: string, valid: Iterable<string>): string | undefined => {
  let best: string | undefined
  let least = Math.max(2, Math.floor(wrong.length / 3)) + 1
  for (const name of valid) {
    const tail = name.slice(name.lastIndexOf('.') + 1)
    const d = Math.min(
      distance(wrong.toLowerCase(), name.toLowerCase()),
      distance(wrong.toLowerCase(), tail) + 1,
    )
    if (d < least) {
      least = d
      best = name
    }
  }
  return best
}
