/**
 * Alerts or the feed to a Splunk HTTP Event Collector. An object counts as delivered when the indexers acknowledge
 * it, or, where acknowledgement is off, when the collector has taken it.
 * https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzip as gzipCallback } from 'node:zlib'
import type { Alert } from '../model/alert.ts'
import { messageOf } from '../model/error.ts'
import type { KeyEvent } from '../model/event.ts'
import { type Sink, SinkFault } from '../pipeline/ports.ts'
import type { Rendering } from '../render/renderings.ts'
import { type HecMeaning, hecCodes } from './hec-codes.ts'
import { type Answer, type HttpClient, httpClient, NoAnswer, unanswered } from './http.ts'
import {
  type Confirmation,
  deliverParts,
  type Encoder,
  type Outcome,
  type Outgoing,
  type Retry,
} from './parts.ts'

export interface SplunkOptions {
  readonly name: string
  /** Scheme, host and port; a path in front of `/services` is kept. */
  readonly url: string
  /** Reads the token, each time it is sent. @throws SinkFault when there is none */
  readonly token: () => string
  readonly caFile?: string | undefined
  readonly ack: 'preferred' | 'required' | 'off'
  readonly gzip: boolean
  readonly index?: string | undefined
  readonly sourcetype: string
  readonly rendering: Rendering
  readonly inFlight: number
  /** How long an acknowledgement is waited for before the same is sent again. */
  readonly ackMs: number
  onNotice(text: string): void
}

/** Splunk Cloud refuses larger bodies, counted before compression. */
const MAX_BYTES = 1024 * 1024
const MAX_ITEMS = 500
const FIRST_POLL_MS = 200
const MAX_POLL_MS = 10_000
/** After "approaching its limit". */
const SLOW_MS = 1000
/** A body of this size is split first when its first object is called bad: Splunk Cloud says so of large bodies. */
const SUSPECT_BYTES = MAX_BYTES / 2

const gzip = promisify(gzipCallback)
/** The quickest level: bytes of logs shrink to an eighth, too, at a third of the time. */
const compress = (bytes: Buffer) => gzip(bytes, { level: 1 })

/** `2026-03-02T09:00:00.123456Z` → `1772442000.123456`: as text, because a double has too few digits. */
export const epochText = (time: string): string => {
  const [, whole = time, fraction = ''] = /^([^.]+)(\.\d+)?Z$/.exec(time) ?? []
  return `${Date.parse(`${whole}Z`) / 1000}${fraction}`
}

/** Indexed fields: few, because each costs storage on every event. */
const fieldsOf = (fields: Readonly<Record<string, string | undefined>>) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== ''))

type Envelope = Pick<SplunkOptions, 'sourcetype' | 'index' | 'rendering'>

const HOST = hostname()

const objectOf = (
  { sourcetype, index }: Envelope,
  time: string,
  source: string,
  fields: object,
  event: string,
): Buffer => {
  const rest = JSON.stringify({
    host: HOST,
    source: `keytrail:${source}`,
    sourcetype,
    ...(index !== undefined && { index }),
    fields,
  })
  return Buffer.from(`{"time":${epochText(time)},${rest.slice(1, -1)},"event":${event}}`)
}

/** An event in the collector's envelope; nothing but these keys, because Splunk stops reading at an unknown one. */
const hecEvent = (envelope: Envelope, json: string): Outgoing => {
  const event = JSON.parse(json) as KeyEvent // journaled: it follows the schema
  const fields = fieldsOf({
    severity: event.criticality,
    provider: event.source.provider,
    account: event.target.account,
    key_id: event.target.key_id,
    schema_version: event.schema_version,
  })
  const body = envelope.rendering.event(json, event)
  const bytes = objectOf(envelope, event.time.event, event.ingest.feed_id, fields, body)
  return { stream: 'feed', id: event.event_id, event: json, bytes }
}

const hecAlert = (envelope: Envelope, alert: Alert): Outgoing => {
  const fields = fieldsOf({
    alert_id: alert.alert_id,
    detector_id: alert.detector.id,
    severity: alert.severity,
    provider: alert.provider,
    account: alert.account,
    key_id: alert.entity.key_id,
    schema_version: alert.schema_version,
  })
  const body = envelope.rendering.alert(alert)
  const bytes = objectOf(envelope, alert.time.last_event, alert.detector.id, fields, body)
  return { stream: 'alerts', id: alert.alert_id, alert, bytes }
}

export const hecEncoder = (envelope: Envelope): Encoder => ({
  event: (json) => hecEvent(envelope, json),
  alert: (alert) => hecAlert(envelope, alert),
})

interface HecAnswer {
  readonly code?: number
  readonly ackId?: number
  readonly 'invalid-event-number'?: number
  readonly acks?: Readonly<Record<string, boolean>>
}

const bodyOf = ({ text }: Answer): HecAnswer => {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null ? body : {} // every member is checked where it is used
  } catch {
    return {} // rubbish: the status alone decides
  }
}

/** What a status means that comes without a code. */
const plainMeaning = (status: number): HecMeaning | 'large' => {
  if (status === 413) return 'large'
  if (status === 400 || status === 408 || status === 429 || status >= 500 || status === 200)
    return 'ambiguous'
  return 'fault'
}

const explain = ({ status, text }: Answer, code: number | undefined): string => {
  const known = code === undefined ? undefined : hecCodes[code]
  if (known !== undefined) return `Splunk answers ${status}, code ${code}: ${known[1]}`
  const start = text.replace(/\s+/g, ' ').trim().slice(0, 80)
  return `the collector answers ${status} without a code that is known${start === '' ? '' : ` (${start})`}`
}

const again = (reason: string, fault = false, afterMs?: number): Retry => ({
  kind: 'again',
  reason,
  fault,
  afterMs,
})

const failure = ({ reason, fault }: Retry): Error => (fault ? new SinkFault(reason) : new Error(reason))

/** What an answer means for the objects of one request. `accepted` still waits for its acknowledgement. */
export const meaningOf = (
  answer: Answer,
  items: number,
  bytes: number,
): Outcome | { readonly kind: 'slow' | 'ack_off' } => {
  const { code, 'invalid-event-number': number } = bodyOf(answer)
  const meaning = (typeof code === 'number' && hecCodes[code]?.[0]) || plainMeaning(answer.status)
  const reason = explain(answer, code)
  switch (meaning) {
    case 'accepted':
      return answer.status === 200 ? { kind: 'accepted' } : again(reason)
    case 'accepted_slow':
      return { kind: 'slow' }
    case 'ack_off':
      return { kind: 'ack_off' }
    case 'large':
      return { kind: 'split', reason }
    case 'later':
    case 'ambiguous':
      return again(reason, false, answer.afterMs)
    case 'fault':
      return again(reason, true, answer.afterMs)
    case 'item': {
      const named = Number.isInteger(number) && Number(number) >= 0 && Number(number) < items
      if (!named || (number === 0 && items > 1 && bytes >= SUSPECT_BYTES)) return { kind: 'split', reason }
      return { kind: 'refused', at: Number(number), reason }
    }
    case 'own':
      return { kind: 'split', reason }
  }
}

type Call = (path: string, body: Buffer | undefined, signal: AbortSignal) => Promise<Answer>

/** Calls of one channel: its token, its cookies (a load balancer keeps us at one indexer by them). */
const callsOf = (options: SplunkOptions, http: HttpClient): Call => {
  const channel = randomUUID()
  const base = options.url.replace(/\/+$/, '')
  const cookies = new Map<string, string>()
  return async (path, body, signal) => {
    const zipped = body !== undefined && options.gzip && body.length > 1024
    const answer = await http.send(
      new URL(`${base}/services/collector${path}`),
      {
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          authorization: `Splunk ${options.token()}`,
          'x-splunk-request-channel': channel,
          ...(body && { 'content-type': 'application/json' }),
          ...(zipped && { 'content-encoding': 'gzip' }),
          ...(cookies.size > 0 && { cookie: [...cookies.values()].join('; ') }),
        },
        ...(body && { body: zipped ? await compress(body) : body }),
      },
      signal,
    )
    for (const cookie of answer.cookies) cookies.set(cookie.split('=')[0] ?? '', cookie)
    return answer
  }
}

interface Pending {
  readonly until: number
  settle(end: Confirmation): void
}

/** Asks for acknowledgements as long as some are missing: soon at first, then less and less often. */
const ackPoller = (call: Call, options: SplunkOptions, onOff: () => Confirmation) => {
  const pending = new Map<number, Pending>()
  let running = false
  let wait = FIRST_POLL_MS

  const settleAll = (end: Confirmation) => {
    for (const one of pending.values()) one.settle(end)
    pending.clear()
  }
  const poll = async (signal: AbortSignal): Promise<void> => {
    const answer = await call('/ack', Buffer.from(JSON.stringify({ acks: [...pending.keys()] })), signal)
    const { acks, code } = bodyOf(answer)
    if (answer.status === 200 && typeof acks === 'object' && acks !== null) {
      for (const [id, done] of Object.entries(acks)) {
        const one = pending.get(Number(id))
        if (done !== true || one === undefined) continue
        one.settle({ kind: 'accepted' })
        pending.delete(Number(id))
        wait = FIRST_POLL_MS
      }
      return
    }
    const meaning = (typeof code === 'number' && hecCodes[code]?.[0]) || plainMeaning(answer.status)
    if (meaning === 'ack_off') settleAll(onOff())
    else if (meaning === 'fault') settleAll(again(explain(answer, code), true, answer.afterMs))
  }
  const supervise = async (signal: AbortSignal) => {
    running = true
    try {
      while (pending.size > 0) {
        await sleep(wait, undefined, { signal })
        wait = Math.min(wait * 1.5, MAX_POLL_MS)
        try {
          await poll(signal)
        } catch (cause) {
          if (!(cause instanceof NoAnswer)) throw cause // the next question may be answered
        }
        for (const [id, one] of pending)
          if (Date.now() >= one.until) {
            pending.delete(id)
            one.settle(again('the indexers do not acknowledge in time: the same is sent again'))
          }
      }
    } catch (cause) {
      settleAll(again(`acknowledgements are not known: ${messageOf(cause)}`))
    } finally {
      running = false
      wait = FIRST_POLL_MS
    }
  }
  return {
    /** Resolves when the indexers have it, or when it must be sent again. */
    confirmed: (id: number, signal: AbortSignal): Promise<Confirmation> =>
      new Promise((settle) => {
        pending.get(id)?.settle(again('the collector gave the same acknowledgement number twice'))
        pending.set(id, { until: Date.now() + options.ackMs, settle })
        if (!running) void supervise(signal)
      }),
  }
}

/** One stream to one collector. */
export const splunkSink = (options: SplunkOptions): Sink => {
  const { name, ack, onNotice, inFlight } = options
  const http = httpClient(options.caFile, inFlight + 1)
  const call = callsOf(options, http)
  let acknowledged = ack !== 'off'
  /** Requests at the same time: one after a failure, so that a busy server is asked once. */
  let width = inFlight

  const memo = () => ({ delivery: acknowledged ? 'acknowledged by the indexers' : 'taken by the collector' })
  const off = (): Retry | { readonly kind: 'accepted' } => {
    if (ack === 'required')
      return again('the token has no indexer acknowledgement, and ack: required asks for it', true)
    if (acknowledged)
      onNotice(
        `${name}: the token has no indexer acknowledgement: what the collector takes counts as delivered, and is lost if it stops before the indexers write it; enable useACK on the token`,
      )
    acknowledged = false
    return { kind: 'accepted' }
  }
  const encoder = hecEncoder(options)
  const poller = ackPoller(call, options, off)

  /** Blank events: nothing is written, but address, certificate, token and index are looked at. */
  const probe = async (signal: AbortSignal): Promise<void> => {
    const blank = JSON.stringify({
      ...(options.index !== undefined && { index: options.index }),
      sourcetype: options.sourcetype,
      event: '',
    })
    const answer = await call('/event', Buffer.from(blank), signal)
    const found = meaningOf(answer, 1, blank.length)
    if (found.kind === 'again') throw failure(found)
    if (!acknowledged) return
    const asked = await call('/ack', Buffer.from('{"acks":[0]}'), signal)
    const { code, acks } = bodyOf(asked)
    if (typeof acks === 'object') return
    const end =
      code === 14 || asked.status === 404
        ? off()
        : again(explain(asked, code), plainMeaning(asked.status) === 'fault')
    if (end.kind === 'again') throw failure(end)
  }

  const post = async (items: readonly Outgoing[], signal: AbortSignal): Promise<Outcome> => {
    const body = Buffer.concat(items.map(({ bytes }) => bytes))
    try {
      const answer = await call('/event', body, signal)
      const found = meaningOf(answer, items.length, body.length)
      const { ackId } = bodyOf(answer)
      const confirmed =
        acknowledged && Number.isInteger(ackId) ? poller.confirmed(Number(ackId), signal) : undefined
      switch (found.kind) {
        case 'slow':
          width = 1
          await sleep(SLOW_MS, undefined, { signal })
          return { kind: 'accepted', confirmed }
        case 'accepted':
          if (!acknowledged || confirmed !== undefined) return { kind: 'accepted', confirmed }
          return off()
        case 'ack_off':
          return off().kind === 'again' ? again(explain(answer, 14), true) : again(explain(answer, 14))
        case 'refused': {
          if (!acknowledged || confirmed !== undefined) return { ...found, confirmed }
          const unsure = Promise.resolve(again(`nothing acknowledges what stood before a bad object`))
          return { ...found, confirmed: unsure }
        }
        default:
          return found
      }
    } catch (cause) {
      return unanswered(cause, signal)
    }
  }

  return {
    name,
    async open(_, signal) {
      await probe(signal)
      return memo()
    },
    async send(delivery, signal) {
      const limits = { bytes: MAX_BYTES, items: MAX_ITEMS, inFlight: width }
      const done = await deliverParts(delivery, encoder, limits, 0, (part) => post(part, signal))
      width = done.again === undefined ? inFlight : 1
      return { ...done, memo: memo() }
    },
    async close() {
      http.close()
    },
  }
}
