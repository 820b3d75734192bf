/**
 * The service Pub/Sub as its reference describes it, for what Google's test server cannot do: batches of messages at the rate
 * of a real one, streams that are refused or end with any status, flow control, acknowledgements that are confirmed (exactly
 * once), permissions, a backlog of any size. https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1
 * Known lies: one node, no order by key, no topics; nothing is kept longer than its subscription; leases lapse to the tenth of a second.
 */
import { protos } from '@google-cloud/pubsub'
import {
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
} from '@grpc/grpc-js'
import protobuf from 'protobufjs'

const { pubsub } = protos.google
type Request = protos.google.pubsub.v1.StreamingPullRequest
type Response = protos.google.pubsub.v1.IStreamingPullResponse
type Stream = ServerDuplexStream<Request, Response>

const { root: own } = protobuf.parse(`syntax = "proto3";
  message AskPermissions { string resource = 1; repeated string permissions = 2; }
  message Permissions { repeated string permissions = 1; }
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }`)

interface Coder {
  encode(value: never): { finish(): Uint8Array }
  decode(bytes: Uint8Array): unknown
}
const coded = (path: string, request: Coder, answer: Coder, streams = false) => ({
  path,
  requestStream: streams,
  responseStream: streams,
  requestSerialize: (value: never) => Buffer.from(request.encode(value).finish()),
  requestDeserialize: (bytes: Buffer) => request.decode(bytes),
  responseSerialize: (value: never) => Buffer.from(answer.encode(value).finish()),
  responseDeserialize: (bytes: Buffer) => answer.decode(bytes),
})
const v1 = pubsub.v1
const of = (name: string) => `/google.pubsub.v1.Subscriber/${name}`
const service = {
  pull: coded(of('StreamingPull'), v1.StreamingPullRequest, v1.StreamingPullResponse, true),
  acknowledge: coded(of('Acknowledge'), v1.AcknowledgeRequest, protos.google.protobuf.Empty),
  modify: coded(of('ModifyAckDeadline'), v1.ModifyAckDeadlineRequest, protos.google.protobuf.Empty),
  publish: coded('/google.pubsub.v1.Publisher/Publish', v1.PublishRequest, v1.PublishResponse),
  get: coded(of('GetSubscription'), v1.GetSubscriptionRequest, v1.Subscription),
  may: coded(
    '/google.iam.v1.IAMPolicy/TestIamPermissions',
    own.lookupType('AskPermissions'),
    own.lookupType('Permissions'),
  ),
}

interface Delivery {
  readonly n: number
  readonly to: Stream
  readonly bytes: number
  /** Milliseconds since 1970. */
  due: number
}

export interface PubSubServiceOptions {
  /** As `GetSubscription` gives it. */
  readonly subscription?: protos.google.pubsub.v1.ISubscription
  /** Messages, and the bytes of each by its number; asked again when it is delivered again. */
  readonly backlog?: number
  readonly bytesOf?: (n: number) => Buffer
}

export interface PubSubService {
  readonly project: string
  readonly name: string
  readonly endpoint: string
  /** Messages that are acknowledged. */
  readonly acknowledged: number
  readonly deliveries: number
  /** Streams that are open. */
  readonly open: number
  readonly seen: { streams: number; acks: number; modifications: number; nacks: number; refused: number }
  /** What the caller may. */
  readonly permissions: Set<string>
  publish(...all: (string | Buffer)[]): void
  /** Ends all streams with a status. @returns how many there were */
  endStreams(code: number, details?: string): number
  /** The next streams or calls end with a status. */
  refuse(method: 'pull' | 'acknowledge' | 'modify', code: number, times: number): void
  /** All leases lapse. */
  lapse(): void
  /** Delivers messages again that are acknowledged. */
  again(...numbers: number[]): void
  stop(): Promise<void>
}

const BATCH_MESSAGES = 100
const BATCH_BYTES = 1024 ** 2
const SWEEP_MS = 100
const PROJECT = 'acme-payments'

const failure = (code: number, details = 'as the test wants it', metadata?: Metadata) =>
  Object.assign(new Error(details), { code, details, ...(metadata && { metadata }) })

/** How the service tells which of many acknowledgements failed. */
const invalidIds = (ids: readonly string[]) => {
  const info = own.lookupType('ErrorInfo')
  const value = info
    .encode({
      reason: 'x',
      domain: 'pubsub.googleapis.com',
      metadata: Object.fromEntries(ids.map((id) => [id, 'PERMANENT_FAILURE_INVALID_ACK_ID'])),
    })
    .finish()
  const details = [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value }]
  const metadata = new Metadata()
  const text = 'Some acknowledgement ids in the request were invalid.'
  const status = own.lookupType('Status').encode({ code: 9, message: text, details }).finish()
  metadata.set('grpc-status-details-bin', Buffer.from(status))
  return failure(9, text, metadata)
}

export const startPubSubService = async (options: PubSubServiceOptions = {}): Promise<PubSubService> => {
  const { backlog = 0, bytesOf } = options
  const name = 'audit'
  const full = `projects/${PROJECT}/subscriptions/${name}`
  const exactlyOnce = options.subscription?.enableExactlyOnceDelivery === true
  const published: Buffer[] = []
  const bodyOf = (n: number) =>
    (n < backlog && bytesOf ? bytesOf(n) : published[n - backlog]) ?? Buffer.alloc(0)
  const count = () => backlog + published.length
  let fresh = 0
  const returned: number[] = []
  const done = new Set<number>()
  const under = new Map<string, Delivery>()
  let deliveries = 0
  const seen = { streams: 0, acks: 0, modifications: 0, nacks: 0, refused: 0 }
  const permissions = new Set(['pubsub.subscriptions.consume', 'pubsub.subscriptions.get'])
  const refusals = new Map<string, { code: number; times: number }>()
  const refused = (method: string) => {
    const one = refusals.get(method)
    if (one === undefined || one.times-- <= 0) return undefined
    seen.refused++
    return failure(one.code)
  }
  const streams = new Map<
    Stream,
    { readonly request: Request; messages: number; bytes: number; ready: boolean }
  >()

  const nextOne = (): number | undefined => {
    for (let n = returned.shift(); n !== undefined; n = returned.shift()) if (!done.has(n)) return n
    return fresh < count() ? fresh++ : undefined
  }
  const take = (id: string): Delivery | undefined => {
    const one = under.get(id)
    if (one === undefined) return undefined
    under.delete(id)
    const of = streams.get(one.to)
    if (of !== undefined) {
      of.messages--
      of.bytes -= one.bytes
    }
    return one
  }
  const serve = () => {
    for (const [stream, state] of streams) {
      const most = Number(state.request.maxOutstandingMessages) || Number.MAX_SAFE_INTEGER
      const mostBytes = Number(state.request.maxOutstandingBytes) || Number.MAX_SAFE_INTEGER
      while (state.ready && state.messages < most && state.bytes < mostBytes) {
        const receivedMessages: protos.google.pubsub.v1.IReceivedMessage[] = []
        const due = Date.now() + state.request.streamAckDeadlineSeconds * 1000
        let size = 0
        while (
          receivedMessages.length < BATCH_MESSAGES &&
          size < BATCH_BYTES &&
          state.messages < most &&
          state.bytes < mostBytes
        ) {
          const n = nextOne()
          if (n === undefined) break
          const data = bodyOf(n)
          const ackId = `${n}.${++deliveries}`
          under.set(ackId, { n, to: stream, bytes: data.length, due })
          state.messages++
          state.bytes += data.length
          size += data.length
          const publishTime = { seconds: Math.floor(Date.now() / 1000), nanos: 0 }
          receivedMessages.push({ ackId, message: { data, messageId: String(n), publishTime } })
        }
        if (receivedMessages.length === 0) break
        state.ready = stream.write({ receivedMessages })
        if (!state.ready)
          stream.once('drain', () => {
            state.ready = true
            serve()
          })
      }
    }
  }
  const giveUp = (ids: Iterable<string>) => {
    for (const id of ids) {
      const one = take(id)
      if (one !== undefined) returned.push(one.n)
    }
    serve()
  }
  const sweep = setInterval(() => {
    const now = Date.now()
    giveUp([...under].filter(([, { due }]) => due < now).map(([id]) => id))
  }, SWEEP_MS)

  const unary =
    <Q, A>(method: string, work: (request: Q) => A): handleUnaryCall<Q, A> =>
    ({ request }, callback) => {
      const no = refused(method)
      if (no !== undefined) return callback(no)
      try {
        callback(null, work(request))
      } catch (cause) {
        callback(cause as Error) // made by `failure`
      }
    }
  /** @throws which of them are unknown, if the subscription confirms */
  const each = (ids: readonly string[], work: (id: string) => boolean) => {
    const unknown = ids.filter((id) => !work(id))
    if (exactlyOnce && unknown.length > 0) throw invalidIds(unknown)
    return {}
  }
  const need = (permission: string) => {
    if (!permissions.has(permission))
      throw failure(7, `User not authorized to perform this action: ${permission} on ${full}`)
  }

  const server = new Server({ 'grpc.max_receive_message_length': -1 })
  server.addService(
    service as never,
    {
      pull(stream: Stream) {
        const no = refused('pull')
        seen.streams++
        if (no !== undefined) return void stream.emit('error', no)
        stream.once('data', (request: Request) => {
          if (request.subscription !== full)
            return void stream.emit(
              'error',
              failure(5, `Resource not found (resource=${request.subscription}).`),
            )
          if (!permissions.has('pubsub.subscriptions.consume'))
            return void stream.emit('error', failure(7, 'User not authorized to perform this action.'))
          streams.set(stream, { request, messages: 0, bytes: 0, ready: true })
          stream.write({
            subscriptionProperties: {
              exactlyOnceDeliveryEnabled: exactlyOnce,
              messageOrderingEnabled: false,
            },
          })
          serve()
          stream.on('data', () => {
            if (streams.has(stream)) stream.write({}) // answers to signs of life
          })
        })
        const gone = () => streams.delete(stream)
        stream.on('cancelled', gone)
        stream.on('error', gone)
        stream.on('end', gone)
      },
      acknowledge: unary('acknowledge', ({ ackIds }: protos.google.pubsub.v1.AcknowledgeRequest) => {
        need('pubsub.subscriptions.consume')
        seen.acks += ackIds.length
        const answer = each(ackIds, (id) => {
          const one = take(id)
          if (one !== undefined) done.add(one.n)
          return one !== undefined
        })
        serve()
        return answer
      }),
      modify: unary(
        'modify',
        ({ ackIds, ackDeadlineSeconds }: protos.google.pubsub.v1.ModifyAckDeadlineRequest) => {
          need('pubsub.subscriptions.consume')
          seen.modifications += ackIds.length
          if (ackDeadlineSeconds === 0) {
            seen.nacks += ackIds.length
            giveUp(ackIds)
            return {}
          }
          return each(ackIds, (id) => {
            const one = under.get(id)
            if (one !== undefined) one.due = Date.now() + ackDeadlineSeconds * 1000
            return one !== undefined
          })
        },
      ),
      publish: unary('publish', ({ messages }: protos.google.pubsub.v1.PublishRequest) => {
        const messageIds = messages.map((_, at) => String(count() + at))
        published.push(...messages.map(({ data }) => Buffer.from(data ?? '')))
        serve()
        return { messageIds }
      }),
      get: unary('get', ({ subscription }: protos.google.pubsub.v1.GetSubscriptionRequest) => {
        if (subscription !== full) throw failure(5, `Resource not found (resource=${subscription}).`)
        need('pubsub.subscriptions.get')
        return { name: full, topic: `projects/${PROJECT}/topics/audit`, ...options.subscription }
      }),
      may: unary('may', ({ resource, permissions: asked }: { resource: string; permissions: string[] }) => ({
        permissions: resource === full ? asked.filter((one) => permissions.has(one)) : [],
      })),
    } as never,
  )
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (cause, found) =>
      cause === null ? resolve(found) : reject(cause),
    ),
  )
  return {
    project: PROJECT,
    name,
    endpoint: `http://127.0.0.1:${port}`,
    get acknowledged() {
      return done.size
    },
    get deliveries() {
      return deliveries
    },
    get open() {
      return streams.size
    },
    seen,
    permissions,
    publish(...all) {
      published.push(...all.map((one) => Buffer.from(one)))
      serve()
    },
    endStreams(code, details) {
      const all = [...streams.keys()]
      streams.clear()
      for (const stream of all)
        if (code === 0) stream.end()
        else stream.emit('error', failure(code, details))
      return all.length
    },
    refuse: (method, code, times) => void refusals.set(method, { code, times }),
    lapse: () => giveUp([...under.keys()]),
    again(...numbers) {
      for (const n of numbers) if (done.delete(n)) returned.push(n)
      serve()
    },
    async stop() {
      clearInterval(sweep)
      server.forceShutdown()
    },
  }
}
