/** MaxMind DB files: https://maxmind.github.io/MaxMind-DB/. Country and network of an address. */
import { readFileSync } from 'node:fs'
import { Reader } from 'mmdb-lib'
import type { Locate, Origin } from '../enrich/origin.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { integer, object, string } from '../normalize/json.ts'
import { sha256 } from '../normalize/text.ts'

/** Addresses that are remembered: callers come from few. */
const MAX_REMEMBERED = 10_000

const open = (path: string) => {
  try {
    const bytes = readFileSync(path)
    return { reader: new Reader<never>(bytes), file: { path, sha256: sha256(bytes) } }
  } catch (cause) {
    throw new KeytrailError('config.invalid', `${path}: no MaxMind DB file: ${messageOf(cause)}`, { cause })
  }
}

const originOf = (found: unknown): Origin => {
  const all = object(found)
  return {
    country: string(object(all['country'])['iso_code'])?.slice(0, 2),
    asn: integer(all['autonomous_system_number']),
  }
}

/**
 * Files in order: the first that knows a country or a network counts.
 * @throws KeytrailError `config.invalid`
 */
export const loadGeo = (paths: readonly string[]) => {
  const all = paths.map(open)
  const remembered = new Map<string, Origin>()
  const locate: Locate = (ip) => {
    const known = remembered.get(ip)
    if (known !== undefined) return known
    const found = all.map(({ reader }) => originOf(reader.get(ip)))
    const origin = {
      country: found.find(({ country }) => country !== undefined)?.country,
      asn: found.find(({ asn }) => asn !== undefined)?.asn,
    }
    if (remembered.size >= MAX_REMEMBERED) remembered.clear()
    remembered.set(ip, origin)
    return origin
  }
  return { locate, files: all.map(({ file }) => file) }
}
