/** What orchestrators and people ask over HTTP: is it alive, is it ready, how is it going. */
import { timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { KeytrailError, messageOf } from '../model/error.ts'

export interface HealthOptions {
  /** `address:port`, an IPv6 address in brackets. */
  readonly listen: string
  /** What /status asks for; without it /status answers on loopback only. */
  readonly token: string | undefined
  /** Why it is not ready; empty when it is. */
  ready(): readonly string[]
  status(): object
}

const isLoopback = (address = ''): boolean => /^(127\.|::1$|::ffff:127\.)/.test(address)

const isAllowed = ({ headers, socket }: IncomingMessage, token: string | undefined): boolean => {
  if (token === undefined) return isLoopback(socket.remoteAddress)
  const given = Buffer.from(headers.authorization ?? '')
  const wanted = Buffer.from(`Bearer ${token}`)
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}

/** @throws KeytrailError `http.listen` */
export const serveHealth = async ({ listen, token, ready, status }: HealthOptions): Promise<Server> => {
  const server = createServer((request, response) => {
    const answer = (code: number, body: object) => {
      response.writeHead(code, {
        'content-type': 'application/json',
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      })
      response.end(`${JSON.stringify(body)}\n`)
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, { error: 'use GET' })
    switch (request.url?.split('?')[0]) {
      case '/healthz':
        return answer(200, { alive: true })
      case '/readyz': {
        const reasons = ready()
        return answer(reasons.length === 0 ? 200 : 503, { ready: reasons.length === 0, reasons })
      }
      case '/status':
        return isAllowed(request, token)
          ? answer(200, status())
          : answer(401, { error: 'a bearer token is needed' })
      default:
        return answer(404, { error: 'there is /healthz, /readyz and /status' })
    }
  })
  server.headersTimeout = 5000
  server.requestTimeout = 5000
  const at = listen.lastIndexOf(':')
  const host = listen.slice(0, at).replace(/^\[|\]$/g, '')
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new KeytrailError('http.listen', `cannot listen on ${listen}: ${messageOf(cause)}`, { cause })),
    )
    server.listen(Number(listen.slice(at + 1)), host, resolve)
  })
  return server
}
