/** One POST or GET to a sink: bounded in time and size, with an answer for every end it can take. */

import { readFileSync } from 'node:fs'
import { Agent as HttpAgent, type IncomingMessage, request as plainRequest } from 'node:http'
import { Agent, request } from 'node:https'
import type { LookupFunction } from 'node:net'
import { rootCertificates } from 'node:tls'
import { KeytrailError, messageOf } from '../model/error.ts'
import { SinkFault } from '../pipeline/ports.ts'
import type { Retry } from './parts.ts'

export interface Answer {
  readonly status: number
  readonly text: string
  /** Milliseconds that the other side asks to wait. */
  readonly afterMs: number | undefined
  readonly cookies: readonly string[]
}

/** It ended without an answer. Whatever of the body had left may have been taken. */
export class NoAnswer extends Error {}

/** @returns that it is tried again @throws when the signal came, and what nobody planned */
export const unanswered = (cause: unknown, signal: AbortSignal): Retry => {
  signal.throwIfAborted()
  if (cause instanceof NoAnswer || cause instanceof SinkFault)
    return { kind: 'again', reason: cause.message, fault: cause instanceof SinkFault }
  throw cause
}

export interface Post {
  readonly method?: 'POST' | 'GET' | 'OPTIONS'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer
}

export interface HttpClient {
  /** @throws NoAnswer */
  send(url: URL, post: Post, signal: AbortSignal): Promise<Answer>
  close(): void
}

const TIMEOUT_MS = 60_000
/** An answer is a line or two; a server that talks on is not listened to. */
const MAX_ANSWER_BYTES = 64 * 1024

/** Seconds or a date (RFC 9110, 10.2.3); what is neither is passed over. @returns milliseconds */
export const retryAfter = (text: string | undefined, now: number): number | undefined => {
  if (text === undefined) return undefined
  if (/^\d{1,9}$/.test(text.trim())) return Number(text) * 1000
  const at = /^[A-Z][a-z]{2}, /.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}

/** How a connection fails, in words that name what is wrong. */
export const explained = (cause: unknown, url: Pick<URL, 'host' | 'hostname'>): string => {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `the address is wrong: there is no host ${url.hostname}`
  if (code === 'ECONNREFUSED')
    return `the address is wrong or nothing listens: ${url.host} refuses connections`
  if (/CERT|SELF_SIGNED|ISSUER|ALTNAME/.test(code))
    return `the certificate of ${url.host} is not trusted (${code}): name its authority with ca_file`
  if (code === 'EPROTO' || code.startsWith('ERR_SSL'))
    return `${url.host} does not speak TLS (${code}): http or https?`
  return `${url.host} gives no answer: ${messageOf(cause)}`
}

const caOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new KeytrailError('config.invalid', `cannot read ca_file ${path}: ${messageOf(cause)}`, { cause })
  }
}

/** An answer is told to people: what it repeats of the secret that was sent is cut out. */
const withoutSecret = (text: string, { authorization }: Readonly<Record<string, string>>): string => {
  const secret = authorization?.split(' ').at(-1)
  return secret ? text.replaceAll(secret, '[secret]') : text
}

const read = async (response: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) throw new Error('its answer is larger than 64 KiB')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

export interface Route {
  /** Variables that name proxies. */
  readonly proxyEnv?: NodeJS.ProcessEnv
  /** Resolves a name for a connection. */
  readonly lookup?: LookupFunction
}

/**
 * Keeps connections open, follows no redirects. Proxies are taken from HTTPS_PROXY and NO_PROXY, as other programs do.
 * @param caFile PEM of an authority that is trusted beside the usual ones
 * @param timeoutMs silence after which an attempt ends
 */
export const httpClient = (
  caFile: string | undefined,
  connections: number,
  timeoutMs = TIMEOUT_MS,
  route: Route = { proxyEnv: process.env },
): HttpClient => {
  const options = { keepAlive: true, maxSockets: connections, ...route }
  const secure = new Agent({
    ...options,
    minVersion: 'TLSv1.2',
    ...(caFile !== undefined && { ca: [...rootCertificates, caOf(caFile)] }),
  })
  const plain = new HttpAgent(options)
  return {
    send: (url, { method = 'POST', headers = {}, body }, signal) =>
      new Promise((resolve, reject) => {
        const fail = (cause: unknown) => reject(new NoAnswer(explained(cause, url), { cause }))
        const common = { method, signal }
        const call =
          url.protocol === 'https:'
            ? request(url, { ...common, agent: secure })
            : plainRequest(url, { ...common, agent: plain })
        // Not among the options: a socket that is kept open keeps those of its first request.
        for (const [name, value] of Object.entries(headers)) call.setHeader(name, value)
        if (body) call.setHeader('content-length', body.length)
        call.setTimeout(timeoutMs, () => call.destroy(new Error(`nothing within ${timeoutMs / 1000} s`)))
        call.on('error', fail)
        call.on('response', (response) => {
          read(response).then(
            (text) =>
              resolve({
                status: response.statusCode ?? 0,
                text: withoutSecret(text, headers),
                afterMs: retryAfter(response.headers['retry-after'], Date.now()),
                cookies: (response.headers['set-cookie'] ?? []).map((one) => one.split(';')[0] ?? ''),
              }),
            (cause) => {
              call.destroy()
              fail(cause)
            },
          )
        })
        call.end(body)
      }),
    close() {
      secure.destroy()
      plain.destroy()
    },
  }
}
