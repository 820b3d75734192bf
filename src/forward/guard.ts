/**
 * Where a webhook may not lead: into our own network or to the metadata service of a cloud, whatever its name says. A
 * name is resolved once for each connection, every address it has is looked at, and the connection goes to those very
 * addresses: a name that resolves to another one a moment later changes nothing.
 */
import { type LookupAddress, lookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { SinkFault } from '../pipeline/ports.ts'

const familyOf = (address: string) => (isIP(address) === 6 ? 'ipv6' : 'ipv4')

const networks = (all: readonly string[]): BlockList => {
  const list = new BlockList()
  for (const one of all) {
    const [address = '', bits] = one.split('/')
    if (bits === undefined) list.addAddress(address, familyOf(address))
    else list.addSubnet(address, Number(bits), familyOf(address))
  }
  return list
}
/** They give out credentials, or let machines be configured; nobody lists them by a wide range unawares. */
const metadata = networks([
  '169.254.169.254', // AWS, Azure, Google Cloud and others
  '169.254.170.2', // Amazon ECS
  '169.254.170.23', // Amazon EKS
  '168.63.129.16', // Azure
  '100.100.100.200', // Alibaba Cloud
  '192.0.0.192', // Oracle Cloud
  'fd00:ec2::254', // AWS
  'fd00:ec2::23', // Amazon EKS
  'fd20:ce::254', // Google Cloud
])

/** Not globally reachable by iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry; multicast. */
const notTheInternet = {
  ipv4: networks([
    ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
    ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15'],
    ...['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/3'],
  ]),
  ipv6: networks([
    ...['::/3', '4000::/2', '8000::/1'], // all but global unicast, 2000::/3 (RFC 4291)
    ...['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'],
  ]),
}

export interface Guard {
  /** Of an address that is written in the URL: it is never resolved. @throws SinkFault */
  check(url: URL): void
  readonly lookup: LookupFunction
}

type Resolve = (
  host: string,
  options: { readonly all: true },
  done: (failure: NodeJS.ErrnoException | null, all: LookupAddress[]) => void,
) => void

/** @param allow networks that may be reached although they are not the internet */
export const guard = (allow: readonly string[], resolve: Resolve = lookup): Guard => {
  const allowed = networks(allow)
  const refusal = (host: string, address: string): SinkFault | undefined => {
    const family = familyOf(address)
    const isMetadata = metadata.check(address, family)
    const isFine = !notTheInternet[family].check(address, family) || allowed.check(address, family)
    if (!isMetadata && isFine) return undefined
    const what = host === address ? host : `${host} is ${address}, which`
    return new SinkFault(
      isMetadata
        ? `${what} is a metadata service: it is never called`
        : `${what} is no address of the internet: it is not called; if it is meant, name its network under allow`,
    )
  }
  return {
    check({ hostname }) {
      const host = hostname.replace(/^\[|\]$/g, '')
      const refused = isIP(host) === 0 ? undefined : refusal(host, host)
      if (refused !== undefined) throw refused
    },
    lookup(host, options, done) {
      resolve(host, { all: true }, (failure, all) => {
        const refused = all?.map(({ address }) => refusal(host, address)).find((one) => one !== undefined)
        const [first] = all ?? []
        if (failure !== null || refused !== undefined || first === undefined)
          done(failure ?? refused ?? new Error(`${host} has no address`), '')
        else if (options.all) done(null, all)
        else done(null, first.address, first.family)
      })
    },
  }
}
