/**
 * What one event may cost one rule: counted in steps, never in time, so that every machine comes to the same verdict
 * and a journal that is judged again, too. A step is a character that is looked at.
 */

/** 60 comparisons with the longest text that an event holds (32,768 characters): about 2 ms. */
export const MAX_STEPS = 2_000_000

let left = Number.POSITIVE_INFINITY

/** A rule begins with an event. */
export const begin = (): void => {
  left = MAX_STEPS
}

/** It is done: what runs outside of a rule is not counted. */
export const end = (): void => {
  left = Number.POSITIVE_INFINITY
}

/** Takes steps from the rule that is running. @throws Error when it has none left */
export const spend = (steps: number): void => {
  left -= steps
  if (left < 0) throw new Error(`it takes more than ${MAX_STEPS.toLocaleString('en')} steps for one event`)
}
