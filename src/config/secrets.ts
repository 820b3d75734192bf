/** Secrets are named in the configuration, `${env:NAME}` or `${file:path}`, and read each time they are needed. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { messageOf } from '../model/error.ts'

const SHOWN = '[secret]'
const ownKey = randomBytes(32)
const digest = (bytes: Buffer | string) => createHmac('sha256', ownKey).update(bytes).digest()

/**
 * A secret that no log, no error, no JSON and no heap snapshot shows: its bytes lie outside of the heap. Whoever needs
 * the text asks for it, uses it and keeps no copy.
 */
export class Secret {
  readonly #bytes: Buffer

  constructor(text: string) {
    this.#bytes = Buffer.from(text)
  }

  reveal(): string {
    return this.#bytes.toString()
  }

  /** Takes as long whatever was given, and whatever of it is right. */
  equals(given: string): boolean {
    return timingSafeEqual(digest(given), digest(this.#bytes))
  }

  toString(): string {
    return SHOWN
  }

  toJSON(): string {
    return SHOWN
  }

  [Symbol.toPrimitive](): string {
    return SHOWN
  }

  [inspect.custom](): string {
    return SHOWN
  }
}

/** What was taken out of the environment, where reports, threads and child processes would see it. */
const taken = new Map<string, Secret>()

/**
 * A file is read anew each time, so that one that was replaced counts at once.
 * @param name `${env:NAME}` or `${file:path}` @returns the secret, or why there is none
 */
export const readSecret = (name: string): Secret | { readonly missing: string } => {
  const [, kind, where = ''] = /^\$\{(env|file):(.+)\}$/.exec(name) ?? []
  if (kind === 'env') {
    const text = process.env[where]
    if (text) taken.set(where, new Secret(text))
    delete process.env[where]
    return (
      taken.get(where) ?? {
        missing: `the environment variable ${where} is not set; export it before the start, or name a file with \u0024{file:path}`,
      }
    )
  }
  try {
    const text = readFileSync(where, 'utf8').trimEnd()
    return text === '' ? { missing: `the file ${where} is empty` } : new Secret(text)
  } catch (cause) {
    return { missing: messageOf(cause) }
  }
}
