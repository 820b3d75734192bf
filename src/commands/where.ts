/** Which journal a command speaks of: `--data`, else the one of the configuration; which time, and who. */
import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { loadConfig } from '../config/config.ts'
import { defaultConfig } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'

export interface Where {
  readonly data?: string | undefined
  readonly config?: string | undefined
}

export const DEFAULT_CONFIG = 'keytrail.yml'

export const dataFolder = ({ data, config }: Where): string => {
  if (data !== undefined) return data
  const path = config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined)
  return path === undefined ? defaultConfig.data : loadConfig(path).data
}

/** The name that acts are recorded under. */
export const operator = (): string => {
  try {
    return userInfo().username
  } catch {
    return 'unknown' // a container without a user database
  }
}

const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

/** @param text `24h` (ago), or a time @returns milliseconds since 1970 */
export const momentOf = (text: string, now: number): number => {
  const [, amount = '', unit = ''] = /^(\d{1,5})([mhd])$/.exec(text) ?? []
  const at = unit === '' ? Date.parse(text) : now - Number(amount) * (UNITS[unit] ?? 0)
  if (Number.isNaN(at))
    throw new KeytrailError('usage.option', `"${text}" is neither a time nor a span such as 30m, 24h or 7d`)
  return at
}
