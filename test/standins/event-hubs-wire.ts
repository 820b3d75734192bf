/** How the stand-in of Event Hubs speaks: what it uses of the AMQP library, and how it answers requests. */
import { createHmac } from 'node:crypto'
import type { Socket } from 'node:net'
import rhea from 'rhea'
import { type Hub, type Message, type Partition, Refusal } from './event-hubs-log.ts'

const { types } = rhea
/** Time of the last event of a partition that never had one: the first of the year 1. */
const NEVER = new Date(Date.UTC(1, 0, 1)).setUTCFullYear(1)
export const KEY_NAME = 'RootManageSharedAccessKey'
export const KEY = 'SAS_KEY_VALUE'

// What is used of the library, whose own typings leave half of it out.
export interface Terminus {
  readonly address?: string
  readonly filter?: Readonly<Record<string, { readonly value?: unknown }>>
}
export interface Link {
  readonly name: string
  readonly session: unknown
  readonly connection: Connection
  readonly source?: Terminus
  readonly target?: Terminus
  readonly local: { attach: Record<string, unknown> }
  readonly remote: {
    attach: { properties?: Record<string, unknown>; desired_capabilities?: unknown }
  }
  hub?: string
  partition?: string | undefined
  set_source(terminus: object): void
  set_target(terminus: object): void
  readonly credit: number
  sendable(): boolean
  /** Messages that are on the wire. */
  readonly delivery_count: number
  send(message: object): void
  close(error?: object): void
}
export interface Connection {
  readonly socket?: Socket
  /** Until when each address may be used, milliseconds since 1970. */
  granted?: Map<string, number>
  find_sender(which: (link: Link) => boolean): Link | undefined
}
export interface Context {
  readonly connection: Connection
  readonly session: unknown
  readonly sender: Link
  readonly receiver: Link
  readonly delivery: { accept(): void; reject(error: object): void }
  /** Of the message, when it is not the usual one. */
  readonly format?: number
  readonly message: Message & {
    readonly message_id?: unknown
    readonly reply_to?: string
    readonly application_properties?: Readonly<Record<string, unknown>>
  }
}
export interface Reader {
  readonly link: Link
  readonly hub: string
  readonly partition: string
  readonly group: string
  readonly epoch: number | undefined
  readonly metrics: boolean
  next: number
  stalled: boolean
  /** Messages that the library has: it takes more than there is credit for. */
  given: number
}
export interface Answer {
  readonly status: number
  readonly text: string
  readonly condition?: string
  readonly body?: unknown
}

export const busy = () =>
  new Refusal('com.microsoft:server-busy', 'The server is busy. Please wait and try again.')

const sasIsGood = (token: string): boolean => {
  const fields = new URLSearchParams(token.replace(/^SharedAccessSignature /, '').replaceAll('+', '%2B'))
  const resource = /sr=([^&]*)/.exec(token)?.[1] ?? ''
  const want = createHmac('sha256', KEY)
    .update(`${resource}\n${fields.get('se')}`)
    .digest('base64')
  return fields.get('sig') === want && Number(fields.get('se')) * 1000 > Date.now()
}

const endOf = (token: string, isSas: boolean): number =>
  isSas
    ? Number(/se=(\d+)/.exec(token)?.[1]) * 1000
    : (JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp: number }).exp *
      1000

/** What requests are about. */
export interface Namespace {
  readonly claimSeconds: number | undefined
  /** Looks at a token of Entra: none when it is good, else what is wrong. */
  readonly refuseToken: ((token: string) => string | undefined) | undefined
  hubOf(name: string): Hub
  place(hub: string, partition: string): Partition
  authorize(connection: Connection, address: string, claim: string): void
  refuseWhenBusy(): void
}

/** Answers to tokens and to questions about hubs and partitions. */
export const answering = ({
  claimSeconds,
  refuseToken,
  hubOf,
  place,
  authorize,
  refuseWhenBusy,
}: Namespace) => {
  const putToken = ({ connection, message }: Context): Answer => {
    const properties = message.application_properties ?? {}
    const token = String(message.body)
    const isSas = properties['type'] === 'servicebus.windows.net:sastoken'
    const wrong = isSas
      ? sasIsGood(token)
        ? undefined
        : 'InvalidSignature: The token has an invalid signature.'
      : refuseToken?.(token)
    if (wrong !== undefined) return { status: 401, text: wrong, condition: 'amqp:unauthorized-access' }
    const until = Math.min(
      endOf(token, isSas),
      Date.now() + (claimSeconds ?? Number.POSITIVE_INFINITY) * 1000,
    )
    connection.granted?.set(new URL(String(properties['name'])).pathname.slice(1).toLowerCase(), until)
    return { status: 202, text: 'Accepted' }
  }

  const describeHub = (name: string): Answer => {
    const { created, partitions } = hubOf(name)
    const ids = partitions.map((_, number) => String(number))
    const body = {
      name,
      type: 'com.microsoft:eventhub',
      created_at: types.wrap_timestamp(created),
      partition_count: types.wrap_int(ids.length),
      partition_ids: types.wrap_array(ids, 0xa1, undefined),
      georeplication_factor: types.wrap_int(1),
    }
    return { status: 200, text: 'OK', body }
  }
  const describePartition = (name: string, partition: string): Answer => {
    const { base, end, last, log } = place(name, partition)
    const body = {
      name,
      type: 'com.microsoft:partition',
      partition,
      begin_sequence_number: types.wrap_long(base),
      last_enqueued_sequence_number: types.wrap_long(end - 1),
      last_enqueued_offset: last?.offset ?? '-1',
      last_enqueued_time_utc: types.wrap_timestamp(last?.at ?? NEVER),
      is_partition_empty: log.length === 0,
    }
    return { status: 200, text: 'OK', body }
  }
  const manage = ({ connection, message }: Context): Answer => {
    const { name, type, partition } = message.application_properties ?? {}
    try {
      refuseWhenBusy()
      authorize(connection, `${name}/$management`, 'Listen')
      return type === 'com.microsoft:eventhub'
        ? describeHub(String(name))
        : describePartition(String(name), String(partition))
    } catch (cause) {
      if (!(cause instanceof Refusal)) throw cause
      const { condition, message: text } = cause
      const statuses: Readonly<Record<string, number>> = {
        'amqp:not-found': 404,
        'amqp:unauthorized-access': 401,
        'com.microsoft:server-busy': 503,
      }
      return { status: statuses[condition] ?? 400, text, condition }
    }
  }
  const reply = ({ connection, message }: Context, { status, text, condition, body }: Answer) =>
    connection
      .find_sender((link) => link.name === message.reply_to || link.target?.address === message.reply_to)
      ?.send({
        correlation_id: message.message_id,
        application_properties: {
          'status-code': types.wrap_int(status),
          'status-description': text,
          ...(condition !== undefined && { 'error-condition': condition }),
        },
        body,
      })

  return { putToken, manage, reply }
}
