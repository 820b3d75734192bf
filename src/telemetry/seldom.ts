/** What lasts is told again and again, but seldom. */
const MAX_TEXTS = 1000

/** @param ms between two times that the same thing is told */
export const seldom = (ms: number) => {
  const told = new Map<string, number>()
  return (tell: (text: string) => void, text: string, about = text): void => {
    const now = performance.now()
    if (now - (told.get(about) ?? Number.NEGATIVE_INFINITY) < ms) return
    if (told.size >= MAX_TEXTS) told.clear()
    told.set(about, now)
    tell(text)
  }
}
