/**
 * Alerts or the feed to an address of HTTP, as CloudEvents 1.0 in JSON, one a request or many. Requests are signed as
 * Standard Webhooks describes it: HMAC-SHA-256 over id, time and body, with each of the keys, so that a key can be
 * changed without a pause. A record counts as delivered when the receiver answers 2xx.
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
import { createHash, createHmac } from 'node:crypto'
import { type Sink, SinkFault } from '../pipeline/ports.ts'
import type { Rendering } from '../render/renderings.ts'
import { enveloped, type Facts } from './envelope.ts'
import { guard } from './guard.ts'
import { type Answer, httpClient, NoAnswer, unanswered } from './http.ts'
import { deliverParts, jsonArray, type Outcome, type Outgoing } from './parts.ts'

/** As in the configuration. */
export interface WebhookOptions {
  readonly name: string
  readonly url: string
  readonly keys: readonly string[]
  readonly token?: string | undefined
  readonly mode: 'single' | 'batch'
  readonly source: string
  readonly allow: readonly string[]
  readonly proxy?: string | undefined
  readonly ca_file?: string | undefined
  readonly in_flight: number
  readonly rendering: Rendering
  /** Reads what `keys` and `token` name. @throws SinkFault */
  readonly secretOf: (name: string) => string
  /** Milliseconds since 1970. */
  readonly clock: () => number
}

const MAX_BYTES = 900_000
const MAX_ITEMS = 500
/** Standard Webhooks: 24 bytes to 64. */
const LEAST_KEY_BYTES = 24

/** @param text as the tools of Standard Webhooks write it, `whsec_` and base64, or any other text as it is */
const keyOf = (text: string): Buffer => {
  const key = text.startsWith('whsec_') ? Buffer.from(text.slice(6), 'base64') : Buffer.from(text)
  if (key.length >= LEAST_KEY_BYTES) return key
  throw new SinkFault(`a key that signs has ${key.length} bytes: use ${LEAST_KEY_BYTES} or more, at random`)
}

/** @param seconds since 1970 @returns the headers that a receiver checks */
export const signed = (body: Buffer, keys: readonly string[], seconds: number): Record<string, string> => {
  const id = `msg_${createHash('sha256').update(body).digest('hex').slice(0, 32)}`
  const sign = (key: string) =>
    createHmac('sha256', keyOf(key)).update(`${id}.${seconds}.`).update(body).digest('base64')
  return {
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': keys.map((key) => `v1,${sign(key)}`).join(' '),
  }
}

/** @param body JSON */
export const cloudEvent = (source: string, { id, type, time, entity }: Facts, body: string): string => {
  const attributes = { specversion: '1.0', id, source, type, time, subject: entity }
  const head = JSON.stringify({ ...attributes, datacontenttype: 'application/json' })
  return `${head.slice(0, -1)},"data":${body}}`
}

/** What each answer means; without a row: 2xx is taken, 4xx and redirects are held, all else is sent again. */
export const webhookAnswers: Readonly<Record<number, readonly [Outcome['kind'], hint: string]>> = {
  400: ['split', 'the receiver does not want it'],
  408: ['again', ''],
  413: ['split', 'a single record is larger than the receiver takes'],
  422: ['split', 'the receiver does not want it'],
  425: ['again', ''],
  429: ['again', ''],
}

export const webhookMeaning = ({ status, afterMs }: Answer): Outcome => {
  if (status >= 200 && status < 300) return { kind: 'accepted' }
  const redirected = status >= 300 && status < 400
  const [kind, told] = webhookAnswers[status] ?? ['again', '']
  const hint = redirected ? 'redirects are not followed: name the address that it leads to' : told
  const reason = `the receiver answers ${status}${hint === '' ? '' : `: ${hint}`}`
  if (kind === 'split') return { kind, reason }
  const fault = redirected || (status < 500 && status >= 400 && webhookAnswers[status] === undefined)
  return { kind: 'again', reason, fault, afterMs }
}

export const webhookSink = (options: WebhookOptions): Sink => {
  const { name, mode, source, proxy, in_flight: inFlight, secretOf, clock } = options
  const url = new URL(options.url)
  const { check, lookup } = guard(options.allow)
  const route = proxy === undefined ? { lookup } : { proxyEnv: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } }
  const http = httpClient(options.ca_file, inFlight, undefined, route)
  const encoder = enveloped(options.rendering, (facts, body) => cloudEvent(source, facts, body))
  const memo = { delivery: 'the receiver answers 2xx' }
  const contentType = `application/cloudevents${mode === 'batch' ? '-batch' : ''}+json; charset=utf-8`
  /** Requests at the same time: one after a failure, so that a busy receiver is asked once. */
  let width = inFlight

  /** @throws NoAnswer, SinkFault */
  const call = async (method: 'OPTIONS' | 'POST', body: Buffer, signal: AbortSignal): Promise<Answer> => {
    check(url)
    const headers = {
      ...signed(body, options.keys.map(secretOf), Math.floor(clock() / 1000)),
      ...(options.token !== undefined && { authorization: `Bearer ${secretOf(options.token)}` }),
      ...(method === 'POST' && { 'content-type': contentType }),
      ...(method === 'OPTIONS' && { 'webhook-request-origin': 'keytrail' }),
    }
    try {
      return await http.send(url, { method, headers, ...(method === 'POST' && { body }) }, signal)
    } catch (cause) {
      throw cause instanceof NoAnswer && cause.cause instanceof SinkFault ? cause.cause : cause
    }
  }

  const post = async (items: readonly Outgoing[], signal: AbortSignal): Promise<Outcome> => {
    const [only] = items
    const body = mode === 'single' && only !== undefined ? only.bytes : jsonArray(items)
    try {
      return webhookMeaning(await call('POST', body, signal))
    } catch (cause) {
      return unanswered(cause, signal)
    }
  }

  return {
    name,
    /** Asked as CloudEvents for webhooks begins. Many do not know that and refuse: they are there, which is enough. */
    async open(_, signal) {
      const answer = await call('OPTIONS', Buffer.alloc(0), signal)
      const { status } = answer
      const found = webhookMeaning(answer)
      if (found.kind !== 'again' || (status >= 400 && status < 500) || status === 501) return memo
      throw found.fault ? new SinkFault(found.reason) : new Error(found.reason)
    },
    async send(delivery, signal) {
      const limits = { bytes: MAX_BYTES, items: mode === 'batch' ? MAX_ITEMS : 1, inFlight: width }
      const done = await deliverParts(delivery, encoder, limits, 1, (part) => post(part, signal))
      width = done.again === undefined ? inFlight : 1
      return { ...done, memo }
    },
    async close() {
      http.close()
    },
  }
}
