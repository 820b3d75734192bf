/** Country and network of a public address, by the files that the operator keeps. */
import type { KeyEvent } from '../model/event.ts'

export interface Origin {
  /** ISO 3166 code. */
  readonly country?: string | undefined
  /** Number of the autonomous system. */
  readonly asn?: number | undefined
}

/** @param ip an address in its usual text form @returns what the files say of it */
export type Locate = (ip: string) => Origin

export const nowhere: Locate = () => ({})

/** @returns the network part with what is known; the same when nothing is */
export const located = (network: KeyEvent['network'], locate: Locate): KeyEvent['network'] => {
  if (network.source_class !== 'public' || network.source_ip === undefined) return network
  const { country, asn } = locate(network.source_ip)
  if (country === undefined && asn === undefined) return network
  return {
    ...network,
    geo: network.geo ?? (country === undefined ? undefined : { country }),
    asn: network.asn ?? asn,
  }
}
