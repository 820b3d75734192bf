/** Secrets are named in the configuration, `${env:NAME}` or `${file:path}`, and read when they are needed. */
import { readFileSync } from 'node:fs'
import { messageOf } from '../model/error.ts'

/** A secret that no log, no error and no JSON shows. */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  reveal(): string {
    return this.#text
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }
}

/** @param name `${env:NAME}` or `${file:path}` @returns the secret, or why there is none */
export const readSecret = (name: string): Secret | { readonly missing: string } => {
  const [, kind, where = ''] = /^\$\{(env|file):(.+)\}$/.exec(name) ?? []
  if (kind === 'env') {
    const text = process.env[where]
    return text
      ? new Secret(text)
      : {
          missing: `the environment variable ${where} is not set; export it before the start, or name a file with \u0024{file:path}`,
        }
  }
  try {
    const text = readFileSync(where, 'utf8').trimEnd()
    return text === '' ? { missing: `the file ${where} is empty` } : new Secret(text)
  } catch (cause) {
    return { missing: messageOf(cause) }
  }
}
