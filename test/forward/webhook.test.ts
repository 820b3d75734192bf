/** The webhook sink against receivers that read with the libraries of both standards, and misbehave when told to. */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CloudEvent, HTTP } from 'cloudevents'
import { Webhook } from 'standardwebhooks'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type WebhookOptions, webhookAnswers, webhookSink } from '../../src/forward/webhook.ts'
import { type Sink, SinkFault } from '../../src/pipeline/ports.ts'
import { renderings } from '../../src/render/renderings.ts'
import { alertOf, eventOf } from '../support/deliveries.ts'

interface Taken {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

let signal: AbortSignal
beforeEach(() => {
  signal = AbortSignal.timeout(10_000)
})
const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

const listen = async (server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(async () => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

type Answer = (taken: Taken) => { readonly status: number; readonly headers?: Record<string, string> }

/** @param answer to what is posted */
const serve = async (answer: Answer = () => ({ status: 204 })) => {
  const posted: Taken[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      const taken = { method: `${request.method}`, path: `${request.url}`, headers: request.headers, body }
      if (request.method === 'POST') posted.push(taken)
      const { status, headers = {} } = answer(taken)
      response.writeHead(status, headers).end()
    })
  })
  return { posted, url: `http://127.0.0.1:${await listen(server)}/hook` }
}

const keys = [randomBytes(32), randomBytes(32)].map((key) => `whsec_${key.toString('base64')}`)
const [newKey = '', oldKey = ''] = keys

const sinkTo = (url: string, more: Partial<WebhookOptions> = {}): Sink => {
  const sink = webhookSink({
    name: 'hook',
    url,
    keys,
    mode: 'batch',
    source: 'urn:keytrail',
    allow: ['127.0.0.0/8'],
    in_flight: 1,
    rendering: renderings.native,
    secretOf: (name) => name,
    clock: Date.now,
    ...more,
  })
  ends.push(() => sink.close())
  return sink
}

/** As a receiver would. @throws when the signature does not fit */
const verified = ({ body, headers }: Taken, key = newKey) =>
  new Webhook(key).verify(body, headers as Record<string, string>)

/** Read and validated by the SDK of CloudEvents. @throws when one is not valid */
const eventsIn = ({ body, headers }: Taken): CloudEvent<unknown>[] =>
  [HTTP.toEvent({ headers, body })].flat().map((one) => {
    const event = new CloudEvent(one)
    event.validate()
    return event
  })

const delivery = { events: [eventOf(1), eventOf(2)], alerts: [alertOf(3, { revision: 2 })] }

describe.each(['single', 'batch'] as const)('%s', (mode) => {
  test('arrives as CloudEvents that both libraries accept, with the records as they are', async () => {
    const { posted, url } = await serve()
    const done = await sinkTo(url, { mode }).send(delivery, signal)
    expect(done).toMatchObject({ refused: [], again: undefined })
    expect(posted).toHaveLength(mode === 'batch' ? 1 : 3)
    for (const one of posted) {
      verified(one)
      verified(one, oldKey)
      expect(one.headers['content-type']).toBe(
        `application/cloudevents${mode === 'batch' ? '-batch' : ''}+json; charset=utf-8`,
      )
    }
    const events = posted.flatMap(eventsIn)
    expect(events.map(({ data }) => data)).toEqual([
      ...delivery.events.map((json) => JSON.parse(json) as unknown),
      ...delivery.alerts,
    ])
    expect(events.map(({ id, type, source, subject }) => [id, type, source, subject])).toEqual([
      ['1'.padStart(32, '0'), 'kms.event.v1', 'urn:keytrail', 'arn:aws:kms:eu-west-1:111122223333:key/k'],
      ['2'.padStart(32, '0'), 'kms.event.v1', 'urn:keytrail', 'arn:aws:kms:eu-west-1:111122223333:key/k'],
      [
        `${'3'.padStart(32, '0')}:2`,
        'kms.alert.v1',
        'urn:keytrail',
        'arn:aws:kms:eu-west-1:111122223333:key/k',
      ],
    ])
    expect(events[0]?.time).toContain('2026-03-02T09:00:00.123')
  })
})

test('another format is other data in the same event', async () => {
  const { posted, url } = await serve()
  await sinkTo(url, { rendering: renderings.ocsf }).send(delivery, signal)
  const all = posted.flatMap(eventsIn)
  expect(all.map(({ data }) => (data as { class_uid: number }).class_uid)).toEqual([6003, 6003, 2004])
  expect(all[2]?.id).toBe(`${'3'.padStart(32, '0')}:2`)
})

describe('the signature', () => {
  const one = async (more: Partial<WebhookOptions> = {}) => {
    const { posted, url } = await serve()
    await sinkTo(url, more).send(delivery, signal)
    const [taken] = posted
    if (taken === undefined) throw new Error('nothing was posted')
    return taken
  }
  test('does not fit another body, another id, another key', async () => {
    const taken = await one()
    expect(() => verified({ ...taken, body: taken.body.replace('high', 'info') })).toThrow(/signature/)
    const headers = { ...taken.headers, 'webhook-id': 'msg_other' }
    expect(() => verified({ ...taken, headers })).toThrow(/signature/)
    expect(() => verified(taken, `whsec_${randomBytes(32).toString('base64')}`)).toThrow(/signature/)
  })
  test('is too old ten minutes later, and a later time does not fit it', async () => {
    const then = Date.now() - 600_000
    const taken = await one({ clock: () => then })
    expect(() => verified(taken)).toThrow(/too old/)
    const headers = { ...taken.headers, 'webhook-timestamp': String(Math.floor(Date.now() / 1000)) }
    expect(() => verified({ ...taken, headers })).toThrow(/signature/)
  })
  test('while a key is changed, the old one and the new one fit', async () => {
    const { posted, url } = await serve()
    for (const now of [[oldKey], [newKey, oldKey], [newKey]])
      await sinkTo(url, { keys: now }).send(delivery, signal)
    const fits = (key: string) =>
      posted.map((taken) => {
        try {
          return verified(taken, key) !== undefined
        } catch {
          return false
        }
      })
    expect(fits(oldKey)).toEqual([true, true, false])
    expect(fits(newKey)).toEqual([false, true, true])
  })
  test('a key in a file that changes signs the next request', async () => {
    const { posted, url } = await serve()
    let file = oldKey
    const sink = sinkTo(url, { keys: ['\u0024{file:key}'], secretOf: () => file })
    await sink.send(delivery, signal)
    file = newKey
    await sink.send(delivery, signal)
    posted.forEach((taken, n) => {
      verified(taken, n === 0 ? oldKey : newKey)
    })
    expect(posted).toHaveLength(2)
  })
  test('a repeat has the same id, with a time of its own', async () => {
    let times = 0
    const { posted, url } = await serve(() => ({ status: ++times === 1 ? 503 : 204 }))
    let now = Date.now() - 60_000
    const sink = sinkTo(url, { clock: () => now })
    const first = await sink.send(delivery, signal)
    now += 30_000
    await sink.send(first.again?.delivery ?? { events: [], alerts: [] }, signal)
    const [a, b] = posted.map(({ headers }) => headers)
    expect(b?.['webhook-id']).toBe(a?.['webhook-id'])
    expect(Number(b?.['webhook-timestamp']) - Number(a?.['webhook-timestamp'])).toBe(30)
    expect(first.again?.delivery).toEqual(delivery)
  })
  test('a text that is no base64 signs as it is; a short one is refused before anything is sent', async () => {
    const key = 'a text of more than twenty-four bytes'
    const taken = await one({ keys: [key] })
    new Webhook(key, { format: 'raw' }).verify(taken.body, taken.headers as Record<string, string>)
    const { posted, url } = await serve()
    const sink = sinkTo(url, { keys: ['too short'] })
    await expect(sink.open({}, signal)).rejects.toThrow(SinkFault)
    expect((await sink.send(delivery, signal)).again).toMatchObject({
      fault: true,
      reason: 'a key that signs has 9 bytes: use 24 or more, at random',
    })
    expect(posted).toEqual([])
  })
  test('a bearer token goes along', async () => {
    const { headers } = await one({ token: 's3cret' })
    expect(headers.authorization).toBe('Bearer s3cret')
  })
})

describe('answers', () => {
  test.each([
    [200, undefined],
    [202, undefined],
    [301, { fault: true, reason: /redirects are not followed/ }],
    [401, { fault: true, reason: /answers 401/ }],
    [403, { fault: true }],
    [404, { fault: true }],
    [410, { fault: true }],
    [408, { fault: false }],
    [425, { fault: false }],
    [429, { fault: false, afterMs: 7000 }],
    [500, { fault: false }],
    [503, { fault: false, afterMs: 7000 }],
  ] as const)('%s', async (status, expected) => {
    const { url } = await serve(() => ({ status, headers: { 'retry-after': '7' } }))
    const { again, refused } = await sinkTo(url).send(delivery, signal)
    expect(refused).toEqual([])
    if (expected === undefined) return expect(again).toBeUndefined()
    const { reason = /answers/, ...more } = expected as { reason?: RegExp }
    expect(again).toMatchObject({ delivery, ...more })
    expect(again?.reason).toMatch(reason)
  })

  test.each(Object.keys(webhookAnswers).filter((status) => webhookAnswers[Number(status)]?.[0] === 'split'))(
    '%s for one record costs that record only',
    async (status) => {
      const bad = eventOf(2)
      const { posted, url } = await serve(({ body }) => ({
        status: body.includes('2'.padStart(32, '0')) ? Number(status) : 204,
      }))
      const all = { events: [eventOf(1), bad, eventOf(3)], alerts: [alertOf(4)] }
      const { again, refused } = await sinkTo(url).send(all, signal)
      expect(again).toBeUndefined()
      expect(refused).toMatchObject([{ stream: 'feed', id: '2'.padStart(32, '0'), body: bad }])
      expect(refused[0]?.reason).toMatch(new RegExp(`^the receiver answers ${status}: `))
      const taken = posted.flatMap(eventsIn).map(({ id }) => id)
      for (const n of [1, 3]) expect(taken).toContain(String(n).padStart(32, '0'))
      expect(taken).toContain(`${'4'.padStart(32, '0')}:1`)
    },
  )
})

describe('opening', () => {
  test.each([200, 204, 400, 401, 404, 405, 501])(
    'a receiver that answers OPTIONS with %s is there',
    async (status) => {
      const { posted, url } = await serve(() => ({ status }))
      expect(await sinkTo(url).open({}, signal)).toEqual({ delivery: 'the receiver answers 2xx' })
      expect(posted).toEqual([])
    },
  )
  test('one that leads elsewhere is not', async () => {
    const { url } = await serve(() => ({ status: 302, headers: { location: 'https://other.example.com/' } }))
    await expect(sinkTo(url).open({}, signal)).rejects.toThrow(/redirects are not followed/)
  })
  test('one that is down is not', async () => {
    const { url } = await serve(() => ({ status: 503 }))
    await expect(sinkTo(url).open({}, signal)).rejects.toThrow(/answers 503/)
  })
})

describe('the guard', () => {
  test.each(['http://127.0.0.1', 'http://localhost'])(
    'holds %s when its network is not listed',
    async (base) => {
      const { posted, url } = await serve()
      const sink = sinkTo(`${base}:${new URL(url).port}/hook`, { allow: [] })
      await expect(sink.open({}, signal)).rejects.toThrow(SinkFault)
      const { again, refused } = await sink.send(delivery, signal)
      expect(refused).toEqual([])
      expect(again).toMatchObject({ fault: true, delivery })
      expect(again?.reason).toMatch(/is no address of the internet: .*name its network under allow/)
      expect(posted).toEqual([])
    },
  )

  test('a redirect to the inside is not followed', async () => {
    const inside = await serve()
    const { url } = await serve(() => ({ status: 307, headers: { location: inside.url } }))
    expect((await sinkTo(url).send(delivery, signal)).again).toMatchObject({ fault: true })
    expect(inside.posted).toEqual([])
  })

  test('proxies of the environment are not used; one that is named is', async () => {
    const asked: string[] = []
    const proxy = createServer()
    proxy.on('connect', (request, socket) => {
      asked.push(`${request.url}`)
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    })
    const address = `http://127.0.0.1:${await listen(proxy)}`
    const { posted, url } = await serve()
    const before = process.env['HTTP_PROXY']
    process.env['HTTP_PROXY'] = address
    try {
      await sinkTo(url).send(delivery, signal)
    } finally {
      if (before === undefined) delete process.env['HTTP_PROXY']
      else process.env['HTTP_PROXY'] = before
    }
    expect([posted.length, asked]).toEqual([1, []])
    const sink = sinkTo('https://hooks.example.com/', { proxy: address })
    expect((await sink.send(delivery, signal)).again).toMatchObject({ delivery })
    expect(asked).toEqual(['hooks.example.com:443'])
  })
})
