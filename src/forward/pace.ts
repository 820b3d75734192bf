/** Keeps requests below a rate that a service sets: so many, and so many bytes, a minute. */
import { setTimeout as sleep } from 'node:timers/promises'

export interface Rate {
  readonly requests: number
  readonly bytes: number
}

const MINUTE_MS = 60_000

/** Counts by the minute of the clock, as the service does. @returns waits until a request may go out */
export const pace = (rate: Rate, clock: () => number) => {
  let minute = 0
  let requests = 0
  let bytes = 0
  return async (size: number, signal: AbortSignal): Promise<void> => {
    for (;;) {
      const now = Math.floor(clock() / MINUTE_MS)
      if (now !== minute) {
        minute = now
        requests = 0
        bytes = 0
      }
      if (requests < rate.requests && (bytes === 0 || bytes + size <= rate.bytes)) break
      await sleep(MINUTE_MS - (clock() % MINUTE_MS), undefined, { signal })
    }
    requests++
    bytes += size
  }
}
