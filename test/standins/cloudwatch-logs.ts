/**
 * Amazon CloudWatch Logs as its API model describes it, in the AWS JSON 1.1 protocol, with AssumeRole of STS; and as
 * bad as it can get: events come late, pages are empty or short and have a token, tokens come again or expire, calls
 * are throttled, fail, and are cut off, when told to or by seed.
 * Known lies: filter patterns are texts to be found, signatures are not checked, nothing survives it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { random } from '../support/kills.ts'

export interface LogEvent {
  /** Milliseconds since 1970. */
  readonly timestamp: number
  readonly message: string
  /** When it was sent; without it, now. */
  readonly at?: number
  /** When it can be found; without it, when it was sent. */
  readonly found?: number
  readonly stream?: string
}

interface Stored {
  readonly timestamp: number
  readonly ingestionTime: number
  readonly found: number
  /** Order among those of one time. */
  readonly n: number
  readonly message: string
  readonly stream: string
  readonly eventId: string
}

export type Misbehavior =
  | { readonly kind: 'empty' | 'short' | 'again' | 'expired' | 'throttled' | 'unavailable' }
  | { readonly kind: 'cut'; readonly where: 'at once' | 'in answer' }

export interface Call {
  readonly action: string
  readonly startTime?: number
  readonly endTime?: number
  readonly nextToken?: string
  readonly filterPattern?: string
  /** Access key of the caller. */
  readonly key: string
  /** Events in the answer, if it was one. */
  events?: number
}

export interface CloudWatchLogs {
  readonly url: string
  readonly calls: Call[]
  /** Page limits; the service's own are 10,000 events and 1 MB. */
  readonly limits: { events: number; bytes: number }
  /** Milliseconds since 1970; tokens expire by it, and events become visible. */
  clock: () => number
  /** Decides how a FilterLogEvents call is treated; none: as it should be. */
  behave: (number: number) => Misbehavior | undefined
  /** Actions that are refused. */
  readonly denied: Set<string>
  /** Who may assume which role: external id by role ARN, and the access key that the role has. */
  readonly roles: Map<string, { readonly externalId?: string; readonly key: string }>
  /** Groups; `key`: the access key that sees it, anybody without. */
  group(name: string, more?: { readonly retentionInDays?: number; readonly key?: string }): void
  put(group: string, events: readonly LogEvent[]): void
  close(): Promise<void>
}

const TOKEN_MS = 86_400_000
/** Beside its message, an event counts for so many bytes. */
const EVENT_BYTES = 26

/** Faults by seed: each kind with the same share of the calls. */
export const adversity = (seed: number, share: number): CloudWatchLogs['behave'] => {
  const next = random(seed)
  const kinds: Misbehavior[] = [
    { kind: 'empty' },
    { kind: 'short' },
    { kind: 'again' },
    { kind: 'expired' },
    { kind: 'throttled' },
    { kind: 'unavailable' },
    { kind: 'cut', where: 'at once' },
    { kind: 'cut', where: 'in answer' },
  ]
  return () => (next() < share ? kinds[Math.floor(next() * kinds.length)] : undefined)
}

interface Group {
  readonly events: Stored[]
  readonly retentionInDays?: number
  readonly key?: string
}

interface Token {
  readonly after: readonly [timestamp: number, ingestionTime: number, n: number]
  readonly asked: string
  readonly at: number
}

const byPlace = (a: Stored, b: Stored) =>
  a.timestamp - b.timestamp || a.ingestionTime - b.ingestionTime || a.n - b.n

/** Index of the first event that is not before. */
const lowerBound = (events: readonly Stored[], isBefore: (one: Stored) => boolean): number => {
  let low = 0
  let high = events.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const one = events[middle]
    if (one !== undefined && isBefore(one)) low = middle + 1
    else high = middle
  }
  return low
}

export const startCloudWatchLogs = async (): Promise<CloudWatchLogs> => {
  const groups = new Map<string, Group>()
  let number = 0
  let filtered = 0

  const answer = (response: ServerResponse, status: number, body: unknown, cut = false) => {
    const text = JSON.stringify(body)
    response.writeHead(status, {
      'content-type': 'application/x-amz-json-1.1',
      'content-length': String(Buffer.byteLength(text)),
    })
    if (!cut) return void response.end(text)
    response.write(text.slice(0, Math.floor(text.length / 2)))
    setTimeout(() => response.socket?.destroy(), 5)
  }
  const fail = (response: ServerResponse, status: number, type: string, message: string) =>
    answer(response, status, { __type: type, message })

  const filter = (request: Record<string, unknown>, group: Group, response: ServerResponse, call: Call) => {
    const bad = logs.behave(filtered++)
    const invalid = (message: string) => fail(response, 400, 'InvalidParameterException', message)
    if (bad?.kind === 'cut' && bad.where === 'at once') return void response.socket?.destroy()
    if (bad?.kind === 'throttled') return fail(response, 400, 'ThrottlingException', 'Rate exceeded')
    if (bad?.kind === 'unavailable')
      return fail(response, 503, 'ServiceUnavailableException', 'The service cannot complete the request.')
    const { nextToken, ...asked } = request
    const {
      startTime = 0,
      endTime = Number.MAX_SAFE_INTEGER,
      limit = 10_000,
      filterPattern,
    } = call as Call & {
      limit?: number
    }
    let token: Token | undefined
    if (typeof nextToken === 'string') {
      try {
        token = JSON.parse(Buffer.from(nextToken, 'base64').toString()) as Token
      } catch {
        return invalid('The specified nextToken is invalid.')
      }
      const isOld = logs.clock() - token.at > TOKEN_MS || bad?.kind === 'expired'
      if (isOld || token.asked !== JSON.stringify(asked))
        return invalid('The specified nextToken is invalid.')
    }
    const { events } = group
    const [timestamp, ingestionTime, n] = token?.after ?? [startTime, -1, -1]
    const after = { timestamp, ingestionTime, n } as Stored
    const most = Math.min(limit, logs.limits.events)
    const page: Stored[] = []
    let bytes = 0
    let more = false
    const now = logs.clock()
    for (let at = lowerBound(events, (one) => byPlace(one, after) <= 0); at < events.length; at++) {
      const one = events[at]
      if (one === undefined || one.timestamp > endTime) break
      if (one.found > now) continue // not there yet
      if (filterPattern !== undefined && !one.message.includes(filterPattern)) continue
      const full = page.length >= most || (page.length > 0 && bytes + one.message.length > logs.limits.bytes)
      if (full || bad?.kind === 'empty' || (bad?.kind === 'short' && page.length > 0)) {
        more = true
        break
      }
      page.push(one)
      bytes += one.message.length + EVENT_BYTES
    }
    const last = page.at(-1) ?? after
    const next: Token = {
      after: [last.timestamp, last.ingestionTime, last.n],
      asked: JSON.stringify(asked),
      at: logs.clock(),
    }
    const isEmptyEnd = bad?.kind === 'empty' && !more // an empty page with a token, and nothing behind it
    call.events = page.length
    const nextOne =
      bad?.kind === 'again' && typeof nextToken === 'string'
        ? nextToken
        : more || isEmptyEnd
          ? Buffer.from(JSON.stringify(next)).toString('base64')
          : undefined
    answer(
      response,
      200,
      {
        events: page.map(({ timestamp, ingestionTime, message, stream, eventId }) => ({
          logStreamName: stream,
          timestamp,
          message,
          ingestionTime,
          eventId,
        })),
        searchedLogStreams: [],
        ...(nextOne !== undefined && { nextToken: nextOne }),
      },
      bad?.kind === 'cut',
    )
  }

  const assumeRole = (form: URLSearchParams, response: ServerResponse) => {
    const role = logs.roles.get(form.get('RoleArn') ?? '')
    const isWrong = role === undefined || (form.get('ExternalId') ?? undefined) !== role.externalId
    const body = isWrong
      ? `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:aws:iam::111122223333:user/keytrail is not authorized to perform: sts:AssumeRole on resource: ${form.get('RoleArn')}</Message></Error></ErrorResponse>`
      : `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:keytrail</AssumedRoleId><Arn>${form.get('RoleArn')}</Arn></AssumedRoleUser><Credentials><AccessKeyId>${role.key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`
    response.writeHead(isWrong ? 403 : 200, { 'content-type': 'text/xml' })
    response.end(body)
  }

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    const target = request.headers['x-amz-target']
    if (target === undefined) {
      logs.calls.push({ action: 'AssumeRole', key: '' })
      return assumeRole(new URLSearchParams(text), response)
    }
    const action = String(target).split('.')[1] ?? ''
    const body = JSON.parse(text) as Record<string, unknown>
    const key = /Credential=([^/]+)/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    const call: Call = { ...body, action, key }
    logs.calls.push(call)
    if (logs.denied.has(action))
      return fail(
        response,
        400,
        'AccessDeniedException',
        `User: arn:aws:iam::123456789012:user/keytrail is not authorized to perform: logs:${action} because no identity-based policy allows the logs:${action} action`,
      )
    const name =
      String(body['logGroupName'] ?? body['logGroupIdentifier'])
        .split(':')
        .at(-1) ?? ''
    const group = groups.get(name)
    const isHidden = group?.key !== undefined && group.key !== key
    if (action === 'DescribeLogGroups') {
      const found = [...groups].filter(([one]) => one.startsWith(String(body['logGroupNamePrefix'] ?? '')))
      return answer(response, 200, {
        logGroups: found.map(([logGroupName, { retentionInDays }]) => ({ logGroupName, retentionInDays })),
      })
    }
    if (action === 'CreateLogGroup' || action === 'CreateLogStream' || action === 'PutRetentionPolicy') {
      const { retentionInDays } = body as { retentionInDays?: number }
      if (action === 'CreateLogGroup') logs.group(name)
      else if (retentionInDays !== undefined && group !== undefined)
        groups.set(name, { ...group, retentionInDays })
      return answer(response, 200, {})
    }
    if (action === 'PutLogEvents') {
      const { logEvents, logStreamName: stream } = body as { logEvents: LogEvent[]; logStreamName: string }
      logs.put(
        name,
        logEvents.map((one) => ({ ...one, stream })),
      )
      return answer(response, 200, { nextSequenceToken: '1' })
    }
    if (action !== 'FilterLogEvents') return fail(response, 400, 'UnknownOperationException', action)
    if (group === undefined || isHidden)
      return fail(response, 400, 'ResourceNotFoundException', 'The specified log group does not exist.')
    filter(body, group, response, call)
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => request.destroy()) // the other side was killed
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const logs: CloudWatchLogs = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: [],
    limits: { events: 10_000, bytes: 1_048_576 },
    clock: Date.now,
    behave: () => undefined,
    denied: new Set(),
    roles: new Map(),
    group: (name, more = {}) => void groups.set(name, { events: [], ...more }),
    put(name, all) {
      const events = groups.get(name)?.events
      if (events === undefined) throw new Error(`no group ${name}`)
      for (const { timestamp, message, at = logs.clock(), found = at, stream = 'stream' } of all) {
        const n = number++
        const eventId = `38${String(timestamp).padStart(16, '0')}${String(n).padStart(38, '0')}`
        const one: Stored = { timestamp, ingestionTime: at, found, n, message, stream, eventId }
        const last = events.at(-1)
        if (last === undefined || byPlace(last, one) < 0) events.push(one)
        else
          events.splice(
            lowerBound(events, (other) => byPlace(other, one) < 0),
            0,
            one,
          )
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return logs
}
