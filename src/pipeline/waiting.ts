/** How those wait who read: for so long, for an end, longer and longer. */
import { setTimeout as sleep } from 'node:timers/promises'

/** Resolves when the time is over or the signal comes: loops look themselves whether they go on. */
export const rest = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => {})

/** Resolves when the work is done or the time is over. */
export const within = (ms: number, work: Promise<unknown>): Promise<unknown> =>
  Promise.race([work, sleep(ms, undefined, { ref: false })])

/** Rejects when the signal comes; whoever waits for it has it. */
export const aborted = (signal: AbortSignal): Promise<never> => {
  const { promise, reject } = Promise.withResolvers<never>()
  promise.catch(() => {})
  signal.addEventListener('abort', () => reject(signal.reason))
  return promise
}

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
