/**
 * Alerts or the feed to Microsoft Sentinel through the Logs Ingestion API. A row counts as delivered when the
 * service answers 204; it has no idempotency key, so what was ambiguous may be there twice, with the same AlertId.
 * https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
 */
import { randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip as gzipCallback } from 'node:zlib'
import type { KeyEvent } from '../model/event.ts'
import { type Sink, SinkFault } from '../pipeline/ports.ts'
import type { Rendering } from '../render/renderings.ts'
import type { AzureToken } from './azure-token.ts'
import { type Answer, httpClient, unanswered } from './http.ts'
import { pace } from './pace.ts'
import { deliverParts, type Encoder, jsonArray, type Outcome, type Outgoing } from './parts.ts'
import { shortened } from './shorten.ts'

export interface SentinelOptions {
  readonly name: string
  /** Of the data collection rule or of a data collection endpoint. */
  readonly endpoint: string
  /** Immutable id of the data collection rule. */
  readonly rule: string
  /** As the rule declares it. */
  readonly stream: string
  readonly rendering: Rendering
  readonly token: AzureToken
  readonly caFile?: string | undefined
  readonly inFlight: number
  /** Milliseconds since 1970. */
  readonly clock: () => number
}

/** The service takes 1,000,000 bytes, compressed and not; what it counts besides the body is not written anywhere. */
const TARGET_BYTES = 900_000
/** Rows a request: a bound for what one answer decides about. */
const MAX_ITEMS = 5000
/** A longer value is cut by the service without a word. */
const MAX_FIELD_BYTES = 64 * 1024
/** https://learn.microsoft.com/azure/azure-monitor/fundamentals/service-limits: for one rule, a minute. */
const RATE = { requests: 12_000, bytes: 2_000_000_000 }

const gzip = promisify(gzipCallback)
const compress = (bytes: Buffer) => gzip(bytes, { level: 1 })

const bytesOf = (text: string): Buffer => {
  if (text.length * 3 <= MAX_FIELD_BYTES || Buffer.byteLength(text) <= MAX_FIELD_BYTES)
    return Buffer.from(text)
  const row = JSON.parse(text) as object
  return Buffer.from(
    JSON.stringify(
      Object.fromEntries(
        Object.entries(row).map(([name, value]) => [name, shortened(value, MAX_FIELD_BYTES)]),
      ),
    ),
  )
}

export const sentinelEncoder = (rendering: Rendering): Encoder => ({
  event(json) {
    const event = JSON.parse(json) as KeyEvent // journaled: it follows the schema
    return { stream: 'feed', id: event.event_id, event: json, bytes: bytesOf(rendering.event(json, event)) }
  },
  alert: (alert) => ({
    stream: 'alerts',
    id: alert.alert_id,
    alert,
    bytes: bytesOf(rendering.alert(alert)),
  }),
})

interface Problem {
  readonly code: string
  readonly message: string
}

const problemOf = ({ text }: Answer): Problem => {
  try {
    const { error } = JSON.parse(text) as { error?: Partial<Problem> }
    return { code: String(error?.code ?? ''), message: String(error?.message ?? '') }
  } catch {
    return { code: '', message: text.slice(0, 80) } // a proxy speaks: its words are all there is
  }
}

/** Of a 400: the rows are meant, not the rule or the address. */
const aboutRows = /payload|json|content|record|body/i

/** What each answer means; without a row: 4xx is held, all else is sent again. */
export const dcrAnswers: Readonly<Record<number, readonly [Outcome['kind'] | 'fault', hint: string]>> = {
  204: ['accepted', ''],
  400: ['fault', 'the stream is not declared in the rule, or the request is not understood'],
  401: ['fault', 'the token is not accepted'],
  403: [
    'fault',
    'the identity needs Monitoring Metrics Publisher on the rule; a new role takes up to 30 minutes',
  ],
  404: ['fault', 'there is no such rule at this endpoint: immutable id, region?'],
  408: ['again', ''],
  413: ['split', 'a single row is larger than the service takes'],
  415: ['fault', ''],
  429: ['again', 'the rule is over its limit'],
  500: ['again', ''],
  502: ['again', ''],
  503: ['again', ''],
  504: ['again', ''],
}

export const dcrMeaning = (answer: Answer): Outcome => {
  const { status, afterMs } = answer
  const { code, message } = problemOf(answer)
  const [meaning, hint] = dcrAnswers[status] ?? [status >= 500 || status < 400 ? 'again' : 'fault', '']
  const said = [code, message.replace(/\s+/g, ' ').slice(0, 200)].filter((text) => text !== '').join(': ')
  const reason = `Sentinel answers ${status}${said === '' ? '' : ` (${said})`}${hint === '' ? '' : `: ${hint}`}`
  if (meaning === 'accepted') return { kind: 'accepted' }
  if (meaning === 'split' || (status === 400 && aboutRows.test(code))) return { kind: 'split', reason }
  return { kind: 'again', reason, fault: meaning === 'fault', afterMs }
}

/** One stream of one data collection rule. */
export const sentinelSink = (options: SentinelOptions): Sink => {
  const { name, token, inFlight, clock } = options
  const encoder = sentinelEncoder(options.rendering)
  const http = httpClient(options.caFile, inFlight)
  const url = new URL(
    `${options.endpoint.replace(/\/+$/, '')}/dataCollectionRules/${encodeURIComponent(options.rule)}/streams/${encodeURIComponent(options.stream)}?api-version=2023-01-01`,
  )
  const paced = pace(RATE, clock)
  const memo = { delivery: 'stored by the service' }
  /** Requests at the same time: one after a failure, so that a busy service is asked once. */
  let width = inFlight

  const call = async (plain: Buffer, signal: AbortSignal): Promise<Answer> => {
    const body = await compress(plain)
    await paced(plain.length, signal)
    return http.send(
      url,
      {
        headers: {
          authorization: `Bearer ${await token.token(signal)}`,
          'content-type': 'application/json',
          'content-encoding': 'gzip',
          'x-ms-client-request-id': randomUUID(),
        },
        body,
      },
      signal,
    )
  }

  const post = async (items: readonly Outgoing[], signal: AbortSignal): Promise<Outcome> => {
    try {
      const answer = await call(jsonArray(items), signal)
      if (answer.status === 401) token.renew()
      return dcrMeaning(answer)
    } catch (cause) {
      return unanswered(cause, signal)
    }
  }

  return {
    name,
    /** No rows: address, certificate, token, rule and stream are looked at, nothing is written. */
    async open(_, signal) {
      token.renew()
      const answer = await call(Buffer.from('[]'), signal)
      const found = dcrMeaning(answer)
      if (found.kind === 'again') throw found.fault ? new SinkFault(found.reason) : new Error(found.reason)
      return memo
    },
    async send(delivery, signal) {
      const limits = { bytes: TARGET_BYTES, items: MAX_ITEMS, inFlight: width }
      const done = await deliverParts(delivery, encoder, limits, 1, (part) => post(part, signal))
      width = done.again === undefined ? inFlight : 1
      return { ...done, memo }
    },
    async close() {
      http.close()
    },
  }
}
