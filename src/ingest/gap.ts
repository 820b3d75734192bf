/** Records of a partition that were gone before they were read: told alike for every service. */
export interface Gap<N extends number | bigint> {
  readonly text: string
  /** Where the records begin that are still there. */
  readonly at: N
}

/** @param numbers what the service calls them, and one record @param to where records begin that are still there */
export const removed = <N extends number | bigint>(
  keep: string,
  [numbers, record]: readonly [string, string],
  from: N,
  to: N,
): Gap<N> => {
  const count = BigInt(to) - BigInt(from)
  const many = count === 1n ? `one ${record}` : `${count} ${record}s`
  return {
    text: `${keep}: ${numbers} ${from}..${BigInt(to) - 1n} (${many}) were removed before they were read`,
    at: to,
  }
}

/** The partition is not read on before an operator decides. */
export const standing = ({ text }: Gap<number | bigint>): string =>
  `${text}; the partition stands: to accept the loss, set on_gap: continue and start again`

export const goingOn = ({ text, at }: Gap<number | bigint>): string => `${text}; it goes on at ${at}`
