/**
 * A Splunk HTTP Event Collector as its documentation and its observers describe it, and as bad as it can get: it
 * takes prefixes, loses acknowledgements, cuts connections and answers rubbish when told to.
 * Known lies: one indexer, no default index, nothing survives it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

export interface Indexed {
  readonly time: string
  readonly sourcetype?: string
  readonly index?: string
  readonly source?: string
  readonly host?: string
  readonly fields?: Readonly<Record<string, unknown>>
  readonly event: Readonly<Record<string, unknown>>
}

export interface Misbehavior {
  /** Where the connection ends. */
  readonly cut?: 'at once' | 'in body' | 'before taking' | 'after taking' | 'in head' | 'in answer'
  readonly status?: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Objects that are indexed all the same; without it none. */
  readonly takes?: number
  readonly waitMs?: number
}

export interface HecOptions {
  readonly token?: string
  readonly ack?: boolean
  readonly indexes?: readonly string[]
  readonly maxBytes?: number
  /** How long indexers need. */
  readonly ackMs?: number
  /** Keep nothing but counts and ids, for long runs. */
  readonly onIndexed?: (one: Indexed) => void
}

export interface Hec {
  readonly url: string
  readonly indexed: Indexed[]
  /** Bodies of event requests that arrived whole. */
  readonly requests: { readonly at: number; readonly objects: number; readonly bytes: number }[]
  readonly polls: number[]
  readonly headers: IncomingMessage['headers'][]
  token: string
  ack: boolean
  /** Decides how a request is treated; none: as it should be. */
  behave: (kind: 'event' | 'ack', number: number) => Misbehavior | undefined
  close(): Promise<void>
}

const KEYS = new Set(['time', 'host', 'source', 'sourcetype', 'index', 'fields', 'event'])

/** Top-level JSON texts one after the other. */
export const objectsIn = (text: string): string[] => {
  const found: string[] = []
  let depth = 0
  let quoted = false
  let from = 0
  for (let at = 0; at < text.length; at++) {
    const c = text[at]
    if (quoted) {
      if (c === '\\') at++
      else if (c === '"') quoted = false
    } else if (c === '"') quoted = true
    else if (c === '{' || c === '[') {
      if (depth++ === 0) from = at
    } else if ((c === '}' || c === ']') && --depth === 0) found.push(text.slice(from, at + 1))
  }
  if (depth > 0) found.push(text.slice(from))
  return found
}

/** @returns the code an object is refused with, or the object; `undefined`: it is passed over in silence */
const judged = (text: string, indexes: readonly string[] | undefined): number | Indexed => {
  let one: Record<string, unknown>
  try {
    one = JSON.parse(text) as Record<string, unknown>
  } catch {
    return 6
  }
  const { event, fields, index } = one
  if (typeof index === 'string' && indexes !== undefined && !indexes.includes(index)) return 7
  if (event === undefined) return 12
  if (event === null || event === '') return 13
  if (typeof fields === 'object' && fields !== null)
    for (const value of Object.values(fields)) if (typeof value === 'object') return 15
  const time = /^\{"time":(-?\d+(?:\.\d+)?)[,}]/.exec(text)?.[1] ?? ''
  return { ...one, time } as unknown as Indexed
}

const codeTexts: Readonly<Record<number, readonly [status: number, text: string]>> = {
  0: [200, 'Success'],
  2: [401, 'Token is required'],
  4: [403, 'Invalid token'],
  5: [400, 'No data'],
  6: [400, 'Invalid data format'],
  7: [400, 'Incorrect index'],
  10: [400, 'Data channel is missing'],
  12: [400, 'Event field is required'],
  13: [400, 'Event field cannot be blank'],
  14: [400, 'ACK is disabled'],
  15: [400, 'Error in handling indexed fields'],
}

export const startHec = async (options: HecOptions = {}): Promise<Hec> => {
  const { maxBytes = 5_242_880, ackMs = 0, indexes } = options
  const channels = new Map<string, { next: number; readonly due: Map<number, number> }>()
  const numbers = { event: 0, ack: 0 }

  const bodyOf = async (request: IncomingMessage, stopAt?: number): Promise<Buffer> => {
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of request as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      size += chunk.length
      if (stopAt !== undefined && size >= stopAt) break
    }
    const all = Buffer.concat(chunks)
    return stopAt === undefined && request.headers['content-encoding'] === 'gzip' ? gunzipSync(all) : all
  }

  const answer = (response: ServerResponse, status: number, body: unknown, more: Misbehavior = {}) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    if (more.cut === 'in head') return void response.socket?.end('HTTP/1.1 200 OK\r\nContent-Ty', 'latin1')
    response.writeHead(status, {
      'content-type': 'application/json',
      'set-cookie': 'AWSELB=one; path=/',
      ...more.headers,
      ...(more.cut === 'in answer' && { 'content-length': String(text.length) }),
    })
    if (more.cut !== 'in answer') return void response.end(text)
    response.write(text.slice(0, 5))
    setTimeout(() => response.socket?.destroy(), 5)
  }
  const coded = (response: ServerResponse, code: number, more: object = {}, bad: Misbehavior = {}) => {
    const [status, text] = codeTexts[code] ?? [500, 'unknown']
    answer(response, status, { text, code, ...more }, bad)
  }

  const take = (one: Indexed) => {
    options.onIndexed?.(one)
    if (options.onIndexed === undefined) hec.indexed.push(one)
  }
  const ackOf = (channel: string | undefined): { readonly ackId?: number } => {
    if (!hec.ack || channel === undefined) return {}
    const state = channels.get(channel) ?? { next: 0, due: new Map() }
    channels.set(channel, state)
    state.due.set(state.next, Date.now() + ackMs)
    return { ackId: state.next++ }
  }

  const onEvent = async (request: IncomingMessage, response: ServerResponse, channel: string | undefined) => {
    const { socket } = request
    const bad = hec.behave('event', numbers.event++)
    if (bad?.cut === 'at once') return void socket.destroy()
    if (bad?.cut === 'in body') {
      await bodyOf(request, 1)
      return void socket.destroy()
    }
    const body = await bodyOf(request)
    const texts = objectsIn(body.toString())
    hec.requests.push({ at: Date.now(), objects: texts.length, bytes: body.length })
    if (bad?.waitMs !== undefined) await new Promise((resolve) => setTimeout(resolve, bad.waitMs))
    if (bad?.cut === 'before taking') return void socket.destroy()
    if (bad?.status !== undefined) {
      for (const text of texts.slice(0, bad.takes ?? 0)) {
        const one = judged(text, indexes)
        if (typeof one === 'object') take(one)
      }
      const taken = (bad.takes ?? 0) > 0 && typeof bad.body === 'object' ? ackOf(channel) : {}
      return answer(
        response,
        bad.status,
        typeof bad.body === 'object' ? { ...bad.body, ...taken } : bad.body,
        bad,
      )
    }
    if (body.length > maxBytes) return answer(response, 413, 'Request entity too large')
    if (texts.length === 0) return coded(response, 5)
    if (hec.ack && channel === undefined) return coded(response, 10)
    for (const [at, text] of texts.entries()) {
      const one = judged(text, indexes)
      if (typeof one === 'number')
        return coded(response, one, {
          'invalid-event-number': one === 7 ? at + 1 : at,
          ...(at > 0 && ackOf(channel)),
        })
      if (Object.keys(one).some((key) => !KEYS.has(key))) break // the rest is passed over in silence
      take(one)
    }
    if (bad?.cut === 'after taking') return void socket.destroy()
    coded(response, 0, ackOf(channel), bad ?? {})
  }

  const onAck = async (request: IncomingMessage, response: ServerResponse, channel: string | undefined) => {
    const { socket } = request
    const bad = hec.behave('ack', numbers.ack++)
    if (bad?.cut === 'at once') return void socket.destroy()
    const body = await bodyOf(request)
    hec.polls.push(Date.now())
    if (bad?.status !== undefined) return answer(response, bad.status, bad.body, bad)
    if (!hec.ack) return coded(response, 14)
    if (channel === undefined) return coded(response, 10)
    const { acks } = JSON.parse(body.toString()) as { acks: number[] }
    const { due } = channels.get(channel) ?? { due: new Map<number, number>() }
    const told = acks.map((id) => {
      const done = (due.get(id) ?? Number.POSITIVE_INFINITY) <= Date.now()
      if (done) due.delete(id)
      return [id, done]
    })
    if (bad?.cut === 'after taking') return void socket.destroy()
    answer(response, 200, { acks: Object.fromEntries(told) }, bad ?? {})
  }

  const server = createServer((request, response) => {
    hec.headers.push(request.headers)
    const { authorization, 'x-splunk-request-channel': channel } = request.headers
    const of = typeof channel === 'string' ? channel : undefined
    const path = request.url?.split('?')[0]
    const handle = async () => {
      if (path !== '/services/collector/event' && path !== '/services/collector/ack')
        return answer(response, 404, 'not found')
      if (authorization === undefined) return coded(response, 2)
      if (authorization !== `Splunk ${hec.token}`) {
        await bodyOf(request)
        return coded(response, 4)
      }
      return path.endsWith('/ack') ? onAck(request, response, of) : onEvent(request, response, of)
    }
    handle().catch(() => request.destroy()) // the other side was killed
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const hec: Hec = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    indexed: [],
    requests: [],
    polls: [],
    headers: [],
    token: options.token ?? 'the-token',
    ack: options.ack ?? true,
    behave: () => undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return hec
}
