/** When what the operator knows holds. */

export interface Effective {
  readonly from?: string | undefined
  readonly until?: string | undefined
}

/** Times are compared as texts of the same form: a day is its first moment. */
const instant = (text: string) => (text.length === 10 ? `${text}T00:00` : text.replace(/Z$/, ''))

/** @param time RFC 3339 in UTC */
export const holdsAt = ({ from, until }: Effective, time: string): boolean =>
  (from === undefined || time >= instant(from)) && (until === undefined || time < instant(until))
