/** Which journal a command speaks of: `--data`, else the one of the configuration. */
import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { loadConfig } from '../config/config.ts'
import { defaultConfig } from '../model/config.ts'

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
