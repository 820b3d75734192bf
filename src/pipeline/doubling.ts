/** Waits after failures, milliseconds: each twice as long as the one before, up to `most`. */
export const doubling = (first: number, most: number) => {
  let next = first
  return {
    /** @param least the wait is at least that long, and so are those that follow */
    next(least = first): number {
      const wait = Math.max(next, least)
      next = Math.min(wait * 2, most)
      return wait
    },
    reset() {
      next = first
    },
  }
}
