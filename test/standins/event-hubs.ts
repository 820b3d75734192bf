/**
 * One Event Hubs namespace: AMQP 1.0 with the library that is under the vendor's client, the part of the service that
 * a reader, a writer and the management calls use. It can be as bad as the service: tokens end, partitions are
 * stolen, it is busy, sockets are cut or fall silent, a partition stalls, retention passes a reader.
 * Known lies: no redirect, no WebSockets, no offsets of geo-replication, texts of errors are partly ours, the hash of
 * a key is ours; with the same library at both ends it proves behavior, not the format on the wire.
 */
import type { AddressInfo, Server } from 'node:net'
import rhea from 'rhea'
import {
  type Hub,
  type HubSpec,
  type Message,
  makeHub,
  notFound,
  Partition,
  partitionOf,
  partitionOfKey,
  Refusal,
} from './event-hubs-log.ts'
import {
  answering,
  busy,
  type Connection,
  type Context,
  KEY,
  KEY_NAME,
  type Link,
  type Reader,
} from './event-hubs-wire.ts'

const { message: amqp, types } = rhea
const BATCH_FORMAT = 0x80013700

export interface EventHubsOptions {
  readonly hubs: readonly HubSpec[]
  readonly maxMessageBytes?: number
  /** With a key and a certificate it speaks TLS, as credentials of Entra need. */
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Seconds that a claim lasts; without it as long as its token. */
  readonly claimSeconds?: number
  /** Looks at a token of Entra: none when it is good, else what is wrong. */
  readonly refuseToken?: (token: string) => string | undefined
}

export interface EventHubs {
  readonly port: number
  readonly connectionString: string
  /** Counters for assertions. */
  readonly seen: {
    connections: number
    tokens: number
    attaches: number
    stolen: number
    sent: number
    busy: number
  }
  /** Whether the identity may listen. */
  mayListen: boolean
  /** Stores a body without a client. @returns its sequence number */
  put(hub: string, partition: number, body: string | Buffer): number
  /** Events of a partition are gone before this sequence number. */
  expire(hub: string, partition: number, before: number): void
  /** Deletes a hub and makes it anew. */
  recreate(hub: string): void
  grow(hub: string, partitions: number): void
  cutConnections(): number
  /** From now on nothing comes and nothing is answered on the connections that there are; they stay open. */
  silence(): number
  detach(hub: string, partition: number, condition: string, text?: string): number
  /** The readers of a partition that there are get nothing more; their links stay open. */
  stall(hub: string, partition: number): number
  /** Answers everything with server-busy for so long, milliseconds. */
  busyFor(ms: number): void
  readers(hub: string): { partition: string; group: string; epoch: number | undefined }[]
  end(hub: string, partition: number): number
  close(): Promise<void>
}

export const startEventHubs = async (options: EventHubsOptions): Promise<EventHubs> => {
  const { maxMessageBytes = 1024 * 1024, tls, claimSeconds, refuseToken } = options
  const hubs = new Map<string, Hub>(options.hubs.map((spec) => [spec.name, makeHub(spec)]))
  const readers = new Set<Reader>()
  const connections = new Set<Connection>()
  const silent = new Set<Connection>()
  const seen = { connections: 0, tokens: 0, attaches: 0, stolen: 0, sent: 0, busy: 0 }
  let busyUntil = 0

  const hubOf = (name: string): Hub => {
    const found = hubs.get(name)
    if (found === undefined) throw notFound(name)
    return found
  }
  const place = (hub: string, partition: string) => partitionOf(hubOf(hub), partition)
  const dropWhere = (isGone: (link: Link) => boolean) => {
    for (const one of readers) if (isGone(one.link)) readers.delete(one)
  }
  const gone = (connection: Connection) => {
    connections.delete(connection)
    silent.delete(connection)
    dropWhere((link) => link.connection === connection)
  }

  const authorize = ({ granted }: Connection, address: string, claim: string) => {
    const path = address.toLowerCase()
    const isGranted = [...(granted ?? [])].some(
      ([known, until]) => until > Date.now() && (path === known || path.startsWith(`${known}/`)),
    )
    if (isGranted && (claim !== 'Listen' || state.mayListen)) return
    throw new Refusal(
      'amqp:unauthorized-access',
      `Unauthorized access. '${claim}' claim(s) are required to perform this operation. Resource: 'sb://localhost/${path}'.`,
    )
  }

  const refuseWhenBusy = () => {
    if (Date.now() >= busyUntil) return
    seen.busy++
    throw busy()
  }
  const { putToken, manage, reply } = answering({
    claimSeconds,
    refuseToken,
    hubOf,
    place,
    authorize,
    refuseWhenBusy,
  })

  /** Sends what each reader has credit for. */
  const pump = (which: (reader: Reader) => boolean) => {
    for (const one of readers) {
      if (one.stalled || silent.has(one.link.connection) || !which(one)) continue
      const from = place(one.hub, one.partition)
      one.next = Math.max(one.next, from.base)
      const waiting = () => one.given - one.link.delivery_count
      while (one.next < from.end && waiting() < one.link.credit && one.link.sendable()) {
        const stored = from.log[one.next - from.base]
        const { last } = from
        if (stored === undefined || last === undefined) break
        one.next++
        seen.sent++
        one.given++
        one.link.send({
          ...stored.message,
          message_annotations: {
            ...stored.message.message_annotations,
            'x-opt-sequence-number': types.wrap_long(stored.sequence),
            'x-opt-offset': stored.offset,
            'x-opt-enqueued-time': types.wrap_timestamp(stored.at),
          },
          ...(one.metrics && {
            delivery_annotations: {
              last_enqueued_sequence_number: types.wrap_long(last.sequence),
              last_enqueued_offset: last.offset,
              last_enqueued_time_utc: types.wrap_timestamp(last.at),
              runtime_info_retrieval_time_utc: types.wrap_timestamp(Date.now()),
            },
          }),
        })
      }
    }
  }

  /** A reader takes over from one of a level that is not higher; without a level five may read. */
  const admit = ({ hub, group, partition, epoch }: Pick<Reader, 'hub' | 'group' | 'partition' | 'epoch'>) => {
    const rivals = [...readers].filter(
      (one) => one.hub === hub && one.group === group && one.partition === partition,
    )
    const top = Math.max(-1, ...rivals.map((one) => one.epoch ?? -1))
    if (top > (epoch ?? -1))
      throw new Refusal(
        'amqp:link:stolen',
        `A receiver with a higher epoch of '${top}' already exists. A new receiver with epoch of '${epoch ?? 0}' cannot be created.`,
      )
    if (epoch === undefined) {
      if (rivals.length >= 5)
        throw new Refusal(
          'amqp:resource-limit-exceeded',
          'Exceeded the maximum number of allowed receivers per partition in a consumer group which is 5.',
        )
      return
    }
    for (const one of rivals) {
      seen.stolen++
      readers.delete(one)
      one.link.close({
        condition: 'amqp:link:stolen',
        description: `New receiver with higher epoch of '${epoch}' is created hence current receiver with epoch '${one.epoch ?? 0}' is getting disconnected.`,
      })
    }
  }

  const openReader = ({ sender: link, connection }: Context) => {
    const address = link.source?.address ?? ''
    link.set_source({ address })
    link.set_target({ address: link.target?.address })
    if (address === '$cbs' || address === '$management') return
    const [, hub, group, partition] =
      /^(.+)\/ConsumerGroups\/([^/]+)\/Partitions\/([^/]+)$/i.exec(address) ?? []
    if (hub === undefined || group === undefined || partition === undefined) throw notFound(address)
    refuseWhenBusy()
    authorize(connection, address, 'Listen')
    const { spec } = hubOf(hub)
    if (group !== '$Default' && !spec.consumerGroups?.includes(group))
      throw notFound(`${hub}/consumergroups/${group}`)
    const { properties, desired_capabilities } = link.remote.attach
    const level = properties?.['com.microsoft:epoch']
    const epoch = level === undefined || level === null ? undefined : Number(level)
    const filter = link.source?.filter?.['apache.org:selector-filter:string']
    const next = place(hub, partition).start(filter && String(filter.value ?? filter))
    admit({ hub, group, partition, epoch })
    const metrics = [desired_capabilities]
      .flat()
      .map(String)
      .includes('com.microsoft:enable-receiver-runtime-metric')
    readers.add({
      link,
      hub,
      partition,
      group,
      epoch,
      next,
      metrics,
      stalled: false,
      given: link.delivery_count,
    })
  }

  const openWriter = ({ receiver: link, connection }: Context) => {
    const address = link.target?.address ?? ''
    link.set_target({ address })
    link.set_source({ address: link.source?.address })
    if (address === '$cbs' || address === '$management') return
    authorize(connection, address, 'Send')
    const [, hub = '', partition] = /^(.+?)(?:\/Partitions\/([^/]+))?$/i.exec(address) ?? []
    if (partition === undefined) hubOf(hub)
    else place(hub, partition)
    Object.assign(link, { hub, partition })
  }

  /** A refused attach is answered with an empty terminus, and then a detach with the error. */
  const guard = (link: Link, open: () => void) => {
    seen.attaches++
    try {
      open()
    } catch (cause) {
      const { condition, message: description } =
        cause instanceof Refusal ? cause : new Refusal('amqp:internal-error', String(cause))
      Object.assign(link.local.attach, { source: undefined, target: undefined })
      link.close({ condition, description })
    }
  }

  const store = ({ receiver, delivery, message, format }: Context) => {
    const isBatch = format === BATCH_FORMAT
    // A batch is left undecoded by the library.
    const raw = isBatch ? (message as unknown as Buffer) : amqp.encode(message as never)
    if (raw.length > maxMessageBytes) {
      const description = `The received message (size ${raw.length}) exceeds the limit.`
      return delivery.reject({ condition: 'amqp:link:message-size-exceeded', description })
    }
    const hub = hubOf(receiver.hub ?? '')
    const envelope = amqp.decode(raw) as Message
    const key = envelope.message_annotations?.['x-opt-partition-key']
    const partition =
      receiver.partition ??
      (key === undefined ? String(hub.turn++ % hub.partitions.length) : partitionOfKey(hub, String(key)))
    const parts = isBatch ? [(envelope.body as { content: Buffer | Buffer[] }).content].flat() : [raw]
    for (const bytes of parts) partitionOf(hub, partition).append(amqp.decode(bytes) as Message, bytes.length)
    delivery.accept()
    pump((one) => one.hub === receiver.hub && one.partition === partition)
  }
  const onMessage = (context: Context) => {
    if (silent.has(context.connection)) return
    const to = context.receiver.target?.address
    if (to !== '$cbs' && to !== '$management') return store(context)
    context.delivery.accept()
    if (to === '$cbs') seen.tokens++
    reply(context, to === '$cbs' ? putToken(context) : manage(context))
  }

  const box = rhea.create_container({
    receiver_options: { autoaccept: false, credit_window: 300, max_message_size: maxMessageBytes },
    max_frame_size: 65_536,
    channel_max: 4999,
    idle_time_out: 240_000,
  } as never) // options of the server that its typings leave out
  box.sasl_server_mechanisms.enable_anonymous()
  box.sasl_server_mechanisms.enable_plain(() => true)
  const on = (name: string, work: (context: Context) => void) =>
    box.on(name, (context: unknown) => work(context as Context)) // as the library documents its events
  for (const name of [
    'error',
    'disconnected',
    'connection_error',
    'session_error',
    'sender_error',
    'receiver_error',
    'protocol_error',
    'connection_close',
  ])
    on(
      name,
      ({ connection }) =>
        connection && name !== 'sender_error' && name !== 'receiver_error' && gone(connection),
    )
  on('connection_open', ({ connection }) => {
    seen.connections++
    connections.add(connection)
    connection.granted = new Map()
  })
  on('session_close', ({ session }) => dropWhere((link) => link.session === session))
  on('sender_close', ({ sender }) => dropWhere((link) => link === sender))
  on('receiver_close', ({ receiver }) => dropWhere((link) => link === receiver))
  on('sender_open', (context) => guard(context.sender, () => openReader(context)))
  on('receiver_open', (context) => guard(context.receiver, () => openWriter(context)))
  for (const name of ['sender_flow', 'sendable']) on(name, ({ sender }) => pump((one) => one.link === sender))
  on('message', onMessage)
  const server = box.listen({
    port: 0,
    host: '127.0.0.1',
    ...(tls && { transport: 'tls', ...tls }),
  } as never) as Server // the same
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
  })
  const { port } = server.address() as AddressInfo // it listens on TCP

  /** Links whose claim has ended are taken away. */
  const watch = setInterval(() => {
    for (const one of readers) {
      try {
        authorize(one.link.connection, one.link.source?.address ?? '', 'Listen')
      } catch {
        readers.delete(one)
        const description = 'ExpiredToken: The token is expired.'
        one.link.close({ condition: 'amqp:unauthorized-access', description })
      }
    }
  }, 100)

  const readersOf = (hub: string, partition: number) =>
    [...readers].filter((one) => one.hub === hub && one.partition === String(partition))
  const state: EventHubs = {
    port,
    connectionString: `Endpoint=sb://localhost:${port};SharedAccessKeyName=${KEY_NAME};SharedAccessKey=${KEY};UseDevelopmentEmulator=true`,
    seen,
    mayListen: true,
    put(hub, partition, body) {
      const bytes = Buffer.from(body)
      const { sequence } = place(hub, String(partition)).append(
        { body: amqp.data_section(bytes) },
        bytes.length,
      )
      pump((one) => one.hub === hub && one.partition === String(partition))
      return sequence
    },
    expire: (hub, partition, before) => place(hub, String(partition)).expire(before),
    recreate(name) {
      const { spec } = hubOf(name)
      for (const one of [...readers].filter(({ hub }) => hub === name)) {
        readers.delete(one)
        one.link.close({ condition: 'amqp:not-found', description: notFound(name).message })
      }
      hubs.set(name, makeHub(spec))
    },
    grow(name, partitions) {
      const { spec, ...hub } = hubOf(name)
      const more = Array.from({ length: partitions - hub.partitions.length }, () => new Partition())
      hubs.set(name, { ...hub, spec, partitions: [...hub.partitions, ...more] })
    },
    cutConnections() {
      const open = [...connections].filter(({ socket }) => socket?.destroyed === false)
      for (const { socket } of open) socket?.destroy()
      return open.length
    },
    silence() {
      for (const one of connections) silent.add(one)
      for (const { socket } of connections) socket?.pause()
      return silent.size
    },
    detach(hub, partition, condition, description = 'Injected.') {
      const hit = readersOf(hub, partition)
      for (const one of hit) {
        readers.delete(one)
        one.link.close({ condition, description })
      }
      return hit.length
    },
    stall(hub, partition) {
      const hit = readersOf(hub, partition)
      for (const one of hit) one.stalled = true
      return hit.length
    },
    busyFor(ms) {
      busyUntil = Date.now() + ms
      for (const one of readers) {
        readers.delete(one)
        one.link.close({ condition: busy().condition, description: busy().message })
      }
    },
    readers: (hub) =>
      [...readers]
        .filter((one) => one.hub === hub)
        .map(({ partition, group, epoch }) => ({ partition, group, epoch })),
    end: (hub, partition) => place(hub, String(partition)).end,
    async close() {
      clearInterval(watch)
      for (const { socket } of connections) socket?.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
  return state
}
