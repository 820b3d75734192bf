/** Network addresses as log records name them. */
import { isIP } from 'node:net'

/** RFC 1918, 6598, 3927, 4193, 4291: addresses that say nothing about a place on the internet. */
const PRIVATE =
  /^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|0\.)|^(::1?$|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/

/** The address in lower case, `undefined` for any other text; without a zone, which is free text. */
export const addressOf = (text: string | undefined): string | undefined =>
  text !== undefined && isIP(text) !== 0 && !text.includes('%') ? text.toLowerCase() : undefined

export const addressClass = (address: string): 'public' | 'private' =>
  PRIVATE.test(address) ? 'private' : 'public'
