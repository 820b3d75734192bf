/**
 * Alerts or the feed to a syslog receiver over TLS: RFC 5424 messages, counted in octets as RFC 5425 asks. Syslog knows
 * no acknowledgement, but the end of a connection is one: each delivery has a connection of its own, which we close
 * when all is written, and the receiver has read it all when it closes its side, too (RFC 5425, 4.4). When it does not,
 * all of it is sent again under the same ids.
 */
import { once } from 'node:events'
import { isIP } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect } from 'node:tls'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { Criticality } from '../model/operations.ts'
import type { Sink } from '../pipeline/ports.ts'
import type { Rendering } from '../render/renderings.ts'
import { type Enveloped, enveloped, type Facts } from './envelope.ts'
import { explained } from './http.ts'
import { deliverParts, type Outcome } from './parts.ts'
import { shortened } from './shorten.ts'

/** As in the configuration. */
export interface MessageFormat {
  readonly facility: number
  readonly hostname: string
  readonly enterprise: number
  readonly max_bytes: number
}

export interface SyslogOptions extends MessageFormat {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly rendering: Rendering
  /** @throws KeytrailError when a file cannot be read */
  readonly tls: () => ConnectionOptions | undefined
}

const LIMITS = { bytes: 1024 * 1024, items: 5000, inFlight: 1 }
const TIMEOUT_MS = 30_000
const MAX_ENTITY_CHARS = 256

/** RFC 5424, 6.2.1. */
const severities: Readonly<Record<Criticality, number>> = { critical: 2, high: 3, medium: 4, low: 5, info: 6 }

const printable = (text: string, max: number) => text.replace(/[^\x21-\x7e]/g, '').slice(0, max) || '-'
const parameter = (name: string, value: string) => `${name}="${value.replace(/["\\\]]/g, '\\$&')}"`

/** JSON in ASCII: without it RFC 5424 wants a mark in front (6.4) that readers of JSON do not expect. */
const ascii = (json: string) =>
  json.replace(/[\x7f-\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** @param body JSON @returns one message, without its length in front */
export const syslogMessage = (
  { facility, hostname, enterprise, max_bytes }: MessageFormat,
  { id, type, time, entity, severity }: Facts,
  body: string,
): string => {
  const priority = facility * 8 + severities[severity]
  const at = time.replace(/(\.\d{6})\d+/, '$1') // TIME-SECFRAC has six digits at most
  const data = [
    parameter('id', id),
    parameter('severity', severity),
    parameter('entity', entity.slice(0, MAX_ENTITY_CHARS).toWellFormed()),
  ].join(' ')
  const head = `<${priority}>1 ${at} ${printable(hostname, 255)} keytrail - ${printable(type, 32)} [keytrail@${enterprise} ${data}] `
  const left = max_bytes - Buffer.byteLength(head)
  const text = ascii(body)
  if (text.length <= left) return head + text
  const sizeOf = (value: unknown) => ascii(JSON.stringify(value)).length
  return head + ascii(JSON.stringify(shortened(JSON.parse(body), left, sizeOf)))
}

export const syslogSink = (options: SyslogOptions): Sink => {
  const { name, host, port, tls } = options
  const where = { host: `${host}:${port}`, hostname: host }
  const memo = { delivery: 'the receiver has read it to the end' }
  const encoder = enveloped(options.rendering, (facts, body) => {
    const message = syslogMessage(options, facts, body)
    return `${Buffer.byteLength(message)} ${message}`
  })

  /** A connection that carries some messages, from its beginning to the end of both sides. @throws when that fails */
  const carry = async (bytes: Buffer, stop: AbortSignal): Promise<void> => {
    const late = AbortSignal.timeout(TIMEOUT_MS)
    const signal = AbortSignal.any([stop, late])
    const began = performance.now()
    const socket = connect({ host, port, ...(isIP(host) === 0 && { servername: host }), ...tls() })
    socket.on('error', () => {}) // whoever waits for it has it
    try {
      await once(socket, 'secureConnect', { signal })
      const roundTripMs = performance.now() - began // one at least
      const closed = once(socket, 'close', { signal })
      let isWhole = false
      socket.resume().on('end', () => {
        if (!isWhole) socket.destroy(new Error('it closed the connection before it had everything'))
      })
      const written = new Promise<void>((resolve) => socket.write(bytes, () => resolve()))
      await Promise.race([written, closed])
      // what it said before it had the messages is here after that: a later end comes after it read them
      await Promise.race([sleep(roundTripMs, undefined, { signal }), closed])
      isWhole = true
      socket.end()
      await closed
    } catch (cause) {
      stop.throwIfAborted()
      if (late.aborted)
        throw new Error(`${where.host} does not read to the end and close within ${TIMEOUT_MS / 1000} s`)
      throw new Error(explained(cause, where), { cause })
    } finally {
      socket.destroy()
    }
  }

  const send = async (items: readonly Enveloped[], signal: AbortSignal): Promise<Outcome> => {
    try {
      await carry(Buffer.concat(items.map(({ bytes }) => bytes)), signal)
      return { kind: 'accepted' }
    } catch (cause) {
      signal.throwIfAborted()
      return { kind: 'again', reason: messageOf(cause), fault: cause instanceof KeytrailError }
    }
  }

  return {
    name,
    /** Nothing is sent: address, certificate and the end of a connection are looked at. */
    async open(_, signal) {
      await carry(Buffer.alloc(0), signal)
      return memo
    },
    async send(delivery, signal) {
      const done = await deliverParts(delivery, encoder, LIMITS, 0, (items) => send(items, signal))
      return { ...done, memo }
    },
    async close() {},
  }
}
