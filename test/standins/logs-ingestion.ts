/**
 * The Logs Ingestion API of one data collection rule with the token endpoint of its tenant, as documented, and as
 * bad as it can get: it throttles by the minute, stores and then cuts, drops unknown columns, and forgets identities.
 * Known lies: error codes and texts of refusals are from memory; no transform, no bytes a minute.
 */
import { createSign, createVerify, generateKeyPairSync, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'
import { generate } from 'selfsigned'

export interface LogsIngestionOptions {
  readonly rule: string
  /** Columns by stream. */
  readonly streams: Readonly<Record<string, readonly string[]>>
  readonly requestsPerMinute?: number
  readonly tokenSeconds?: number
}

export interface Misbehavior {
  readonly cut?: 'at once' | 'before storing' | 'after storing' | 'in head'
  readonly status?: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Rows are stored although the answer says otherwise. */
  readonly stores?: boolean
}

type Row = Readonly<Record<string, unknown>>

export interface LogsIngestion {
  readonly url: string
  /** PEM of the certificate, to be trusted. */
  readonly certificate: string
  readonly rows: Map<string, Row[]>
  readonly requests: {
    readonly at: number
    readonly bytes: number
    readonly rows: number
    readonly status: number
  }[]
  readonly droppedColumns: Set<string>
  cutFields: number
  tokens: number
  secret: string
  /** Whether the identity has its role on the rule. */
  hasRole: boolean
  behave: (number: number) => Misbehavior | undefined
  close(): Promise<void>
}

export const TENANT = '00000000-0000-0000-0000-00000000000a'
export const CLIENT = '00000000-0000-0000-0000-00000000000b'
const LIMIT = 1_000_000
const FIELD = 64 * 1024
const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

class Refusal extends Error {
  readonly status: number
  readonly code: string
  readonly headers: Readonly<Record<string, string>>
  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message)
    this.status = status
    this.code = code
    this.headers = headers
  }
}

const tokens = (seconds: number) => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'RS256' },
    issue(audience: string, issuer: string) {
      const now = Math.floor(Date.now() / 1000)
      const claims = { aud: audience, iss: issuer, iat: now, nbf: now, exp: now + seconds, jti: randomUUID() }
      const head = `${b64({ alg: 'RS256', typ: 'JWT', kid: 'one' })}.${b64(claims)}`
      return `${head}.${createSign('RSA-SHA256').update(head).sign(privateKey, 'base64url')}`
    },
    isGood(authorization: string | undefined): boolean {
      const [head, payload, signature] = (authorization ?? '').replace(/^Bearer /, '').split('.')
      if (head === undefined || payload === undefined || signature === undefined) return false
      if (!createVerify('RSA-SHA256').update(`${head}.${payload}`).verify(publicKey, signature, 'base64url'))
        return false
      const { exp, aud } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as {
        exp: number
        aud: string
      }
      return exp * 1000 > Date.now() && aud === 'https://monitor.azure.com'
    },
  }
}

const bodyOf = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const json = (response: ServerResponse, status: number, value: unknown, headers: object = {}) =>
  void response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
    .end(typeof value === 'string' ? value : JSON.stringify(value))

export const startLogsIngestion = async (options: LogsIngestionOptions): Promise<LogsIngestion> => {
  const { rule, streams, requestsPerMinute = 12_000, tokenSeconds = 3599 } = options
  const pems = await generate([{ name: 'commonName', value: 'localhost' }], {
    keySize: 2048,
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] },
    ],
  })
  const issued = tokens(tokenSeconds)
  let minute = { at: 0, requests: 0 }
  let number = 0

  const entra = (path: string, body: Buffer, response: ServerResponse) => {
    const base = `${server.url}/${TENANT}`
    if (path.endsWith('/.well-known/openid-configuration'))
      return json(response, 200, {
        issuer: `${base}/v2.0`,
        token_endpoint: `${base}/oauth2/v2.0/token`,
        authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
        jwks_uri: `${base}/discovery/v2.0/keys`,
      })
    if (path.endsWith('/keys')) return json(response, 200, { keys: [issued.jwk] })
    const form = new URLSearchParams(body.toString())
    if (form.get('client_id') !== CLIENT || form.get('client_secret') !== server.secret)
      return json(response, 401, {
        error: 'invalid_client',
        error_description: 'AADSTS7000215: Invalid client secret provided.',
        error_codes: [7000215],
      })
    const scope = form
      .get('scope')
      ?.split(' ')
      .find((one) => one.endsWith('/.default'))
    if (scope === undefined) return json(response, 400, { error: 'invalid_scope' })
    server.tokens++
    const access_token = issued.issue(scope.slice(0, -'/.default'.length), `${base}/v2.0`)
    json(response, 200, {
      token_type: 'Bearer',
      expires_in: tokenSeconds,
      ext_expires_in: tokenSeconds,
      access_token,
    })
  }

  const shaped = (row: Row, columns: readonly string[]): Row =>
    Object.fromEntries(
      Object.entries(row).flatMap(([name, value]) => {
        if (!columns.includes(name)) {
          server.droppedColumns.add(name)
          return []
        }
        const text = typeof value === 'string' ? value : JSON.stringify(value)
        if (Buffer.byteLength(text) <= FIELD) return [[name, value]]
        server.cutFields++
        return [[name, Buffer.from(text).subarray(0, FIELD).toString()]]
      }),
    )

  /** @returns the rows of a request that is in order */
  const checked = (request: IncomingMessage, url: URL, body: Buffer) => {
    if (!issued.isGood(request.headers.authorization))
      throw new Refusal(401, 'InvalidToken', 'The token is invalid.')
    if (!server.hasRole) throw new Refusal(403, 'OperationFailed', 'The authentication token has no access.')
    const now = Math.floor(Date.now() / 60_000)
    if (minute.at !== now) minute = { at: now, requests: 0 }
    if (++minute.requests > requestsPerMinute)
      throw new Refusal(429, 'TooManyRequests', 'The rule is over its limit.', { 'retry-after': '1' })
    const [, named, stream = ''] =
      /^\/dataCollectionRules\/([^/]+)\/streams\/([^/]+)$/.exec(url.pathname) ?? []
    if (named !== rule) throw new Refusal(404, 'NotFound', `Data collection rule '${named}' not found.`)
    const columns = streams[stream]
    if (columns === undefined)
      throw new Refusal(400, 'InvalidStream', `The stream ${stream} was not configured.`)
    if (url.searchParams.get('api-version') !== '2023-01-01')
      throw new Refusal(400, 'InvalidApiVersion', 'api-version')
    const coding = request.headers['content-encoding']
    if (coding !== undefined && coding !== 'gzip')
      throw new Refusal(415, 'UnsupportedMediaType', 'Content-Encoding')
    const plain = coding === 'gzip' ? gunzipSync(body) : body
    if (body.length > LIMIT || plain.length > LIMIT)
      throw new Refusal(413, 'ContentLengthLimitExceeded', `Maximum allowed content length: ${LIMIT}.`)
    const rows: unknown = JSON.parse(plain.toString())
    if (!Array.isArray(rows)) throw new Refusal(400, 'InvalidRequestPayload', 'The body must be an array.')
    return { rows: rows as Row[], stream, columns, bytes: plain.length }
  }

  const ingest = (request: IncomingMessage, response: ServerResponse, url: URL, body: Buffer) => {
    const bad = server.behave(number++)
    const { socket } = request
    if (bad?.cut === 'at once' || bad?.cut === 'before storing') return void socket.destroy()
    const { rows, stream, columns, bytes } = checked(request, url, body)
    const answers = (status: number) =>
      server.requests.push({ at: Date.now(), bytes, rows: rows.length, status })
    if (bad?.status === undefined || bad.stores === true)
      server.rows.set(stream, [
        ...(server.rows.get(stream) ?? []),
        ...rows.map((row) => shaped(row, columns)),
      ])
    answers(bad?.status ?? (bad?.cut === undefined ? 204 : 0))
    if (bad?.status !== undefined) return json(response, bad.status, bad.body ?? '', bad.headers)
    if (bad?.cut === 'after storing') return void socket.destroy()
    if (bad?.cut === 'in head') return void socket.end('HTTP/1.1 204 No Con', 'latin1')
    response.writeHead(204).end()
  }

  const http = createServer({ key: pems.private, cert: pems.cert }, (request, response) => {
    const url = new URL(request.url ?? '/', server.url)
    bodyOf(request)
      .then((body) =>
        url.pathname.startsWith(`/${TENANT}/`)
          ? entra(url.pathname, body, response)
          : ingest(request, response, url, body),
      )
      .catch((cause) => {
        if (!(cause instanceof Refusal)) return void request.socket.destroy() // the other side was killed
        server.requests.push({ at: Date.now(), bytes: 0, rows: 0, status: cause.status })
        json(response, cause.status, { error: { code: cause.code, message: cause.message } }, cause.headers)
      })
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const server: LogsIngestion = {
    url: `https://localhost:${(http.address() as AddressInfo).port}`,
    certificate: pems.cert,
    rows: new Map(),
    requests: [],
    droppedColumns: new Set(),
    cutFields: 0,
    tokens: 0,
    secret: 'the-secret',
    hasRole: true,
    behave: () => undefined,
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve())
        http.closeAllConnections()
      }),
  }
  return server
}
