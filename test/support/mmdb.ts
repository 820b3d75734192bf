/** Writes MaxMind DB files: a binary tree over the bits of addresses (https://maxmind.github.io/MaxMind-DB/). */

type Value = string | number | { readonly [name: string]: Value }

/** One byte of type and size, or two for large types; texts under 29 bytes, as all here are. */
const control = (type: number, size: number): Buffer =>
  type > 7 ? Buffer.from([size, type - 7]) : Buffer.from([(type << 5) | size])

const encode = (value: Value): Buffer => {
  if (typeof value === 'string') return Buffer.concat([control(2, value.length), Buffer.from(value)])
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return Buffer.concat([control(6, 4), bytes])
  }
  const members = Object.entries(value).flatMap(([name, one]) => [encode(name), encode(one)])
  return Buffer.concat([control(7, members.length / 2), ...members])
}

const bitsOf = (address: string): number[] =>
  address.split('.').flatMap((part) => [...Number(part).toString(2).padStart(8, '0')].map(Number))

/** @param networks IPv4 networks that do not overlap, each with what is known of it */
export const mmdb = (networks: Readonly<Record<string, Value>>): Buffer => {
  const nodes: (number | { readonly data: number } | undefined)[][] = [[undefined, undefined]]
  const data: Buffer[] = []
  let size = 0
  for (const [network, value] of Object.entries(networks)) {
    const [address = '', length = '32'] = network.split('/')
    const bits = bitsOf(address).slice(0, Number(length))
    let node = 0
    bits.forEach((bit, index) => {
      const pair = nodes[node] ?? []
      if (index === bits.length - 1) pair[bit] = { data: size }
      else {
        if (typeof pair[bit] !== 'number') pair[bit] = nodes.push([undefined, undefined]) - 1
        node = Number(pair[bit])
      }
    })
    const bytes = encode(value)
    data.push(bytes)
    size += bytes.length
  }
  const tree = Buffer.alloc(nodes.length * 6)
  nodes.forEach((pair, index) => {
    pair.forEach((one, side) => {
      const record =
        one === undefined ? nodes.length : typeof one === 'number' ? one : nodes.length + 16 + one.data
      tree.writeUIntBE(record, index * 6 + side * 3, 3)
    })
  })
  const metadata = encode({
    node_count: nodes.length,
    record_size: 24,
    ip_version: 4,
    database_type: 'test',
    binary_format_major_version: 2,
    binary_format_minor_version: 0,
  })
  const marker = Buffer.from([0xab, 0xcd, 0xef, ...Buffer.from('MaxMind.com')])
  return Buffer.concat([tree, Buffer.alloc(16), ...data, marker, metadata])
}
