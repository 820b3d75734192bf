/** Settings that several parts of the configuration share. */
import { z } from 'zod'

export const pattern = (about: string) => z.string().min(1).max(2048).describe(about)
export const path = (about: string) => z.string().min(1).max(4096).describe(about)

/** Texts that are never written in the file itself; the schema tells editors how. */
export const SECRET = /^\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)\}$/
export const secret = (about: string) =>
  z
    .string()
    .regex(SECRET, 'a secret is named, not written: \u0024{env:NAME} or \u0024{file:path}')
    .describe(about)
    .meta({ secret: true })

/** Plain HTTP would show tokens to everybody on the way: to this machine alone. */
export const address = (about: string) =>
  z
    .string()
    .regex(
      /^(https:\/\/|http:\/\/(127\.0\.0\.1|\[::1\]|localhost)[:/])\S+$/,
      'an https:// address (http:// only to this machine)',
    )
    .describe(about)

export const id = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,63}$/)
  .describe('name: small letters, digits, hyphens')
