/** Tells the same thing now and then only. */
import { printable } from '../normalize/text.ts'

/** The same trouble is told once in this time. */
const TELL_MS = 60_000
const MOST_TOLD = 1000

/** @returns what takes a text and what it is about */
export const patient = (onNotice: (text: string) => void) => {
  const told = new Map<string, number>()
  return (about: string, text: string) => {
    const now = performance.now()
    if (now - (told.get(about) ?? Number.NEGATIVE_INFINITY) < TELL_MS) return
    if (told.size > MOST_TOLD) told.clear()
    told.set(about, now)
    onNotice(printable(text))
  }
}
