/** What lasts is told again and again, but seldom. */
const MAX_TEXTS = 100

/** @param ms between two times that the same text is told */
export const seldom = (ms: number) => {
  const told = new Map<string, number>()
  return (tell: (text: string) => void, text: string): void => {
    if (Date.now() - (told.get(text) ?? 0) < ms) return
    if (told.size >= MAX_TEXTS) told.clear()
    told.set(text, Date.now())
    tell(text)
  }
}
