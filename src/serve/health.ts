/** What orchestrators, Prometheus and people ask over HTTP: is it alive, is it ready, how is it going. */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { KeytrailError, messageOf } from '../model/error.ts'

export interface HealthOptions {
  /** `address:port`, an IPv6 address in brackets. */
  readonly listen: string
  /** Whether this is the token that /status and /metrics ask for; without one they answer on loopback only. */
  readonly isToken: ((given: string) => boolean) | undefined
  /** Why it is not ready; empty when it is. */
  ready(): readonly string[]
  status(): object
  readonly metrics: { readonly contentType: string; scrape(): Promise<string> }
}

const isLoopback = (address = ''): boolean => /^(127\.|::1$|::ffff:127\.)/.test(address)

const isAllowed = ({ headers, socket }: IncomingMessage, isToken: HealthOptions['isToken']): boolean =>
  isToken === undefined
    ? isLoopback(socket.remoteAddress)
    : isToken(/^Bearer (.*)$/.exec(headers.authorization ?? '')?.[1] ?? '')

/** @throws KeytrailError `http.listen` */
export const serveHealth = async (options: HealthOptions): Promise<Server> => {
  const { listen, isToken, ready, status, metrics } = options
  const server = createServer((request, response) => {
    const send = (code: number, type: string, text: string) => {
      response.writeHead(code, {
        'content-type': type,
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      })
      response.end(text)
    }
    const answer = (code: number, body: object) => send(code, 'application/json', `${JSON.stringify(body)}\n`)
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, { error: 'use GET' })
    const path = request.url?.split('?')[0]
    if ((path === '/status' || path === '/metrics') && !isAllowed(request, isToken))
      return answer(401, { error: 'a bearer token is needed' })
    switch (path) {
      case '/healthz':
        return answer(200, { alive: true })
      case '/readyz': {
        const reasons = ready()
        return answer(reasons.length === 0 ? 200 : 503, { ready: reasons.length === 0, reasons })
      }
      case '/status':
        return answer(200, status())
      case '/metrics':
        metrics.scrape().then(
          (text) => send(200, metrics.contentType, text),
          (cause) => answer(503, { error: messageOf(cause) }),
        )
        return
      default:
        return answer(404, { error: 'there is /healthz, /readyz, /status and /metrics' })
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
