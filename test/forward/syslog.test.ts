/** The syslog sink against a receiver over TLS that reads by the grammar of RFC 5424 and the framing of RFC 5425. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type TLSSocket } from 'node:tls'
import { generate } from 'selfsigned'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { sinksOf } from '../../src/commands/sinks.ts'
import { syslogMessage } from '../../src/forward/syslog.ts'
import { config } from '../../src/model/config.ts'
import type { Sink } from '../../src/pipeline/ports.ts'
import { alertOf, eventOf } from '../support/deliveries.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-syslog-'))
let server: { readonly cert: string; readonly private: string }
let client: { readonly cert: string; readonly private: string }
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
beforeAll(async () => {
  const ip = { name: 'subjectAltName' as const, altNames: [{ type: 7 as const, ip: '127.0.0.1' }] }
  server = await generate([{ name: 'commonName', value: 'receiver' }], { extensions: [ip] })
  client = await generate([{ name: 'commonName', value: 'sender' }])
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let signal: AbortSignal
beforeEach(() => {
  signal = AbortSignal.timeout(10_000)
})
const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

interface Message {
  readonly facility: number
  readonly severity: number
  readonly time: string
  readonly hostname: string
  readonly app: string
  readonly process: string
  readonly type: string
  readonly id: string
  readonly data: Readonly<Record<string, string>>
  readonly text: string
  readonly bytes: number
}

/** RFC 5424, section 6, in the order of its grammar. */
const grammar =
  /^<(\d{1,3})>1 (-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) ([\x21-\x7e]{1,255}) ([\x21-\x7e]{1,48}) ([\x21-\x7e]{1,128}) ([\x21-\x7e]{1,32}) \[([\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32})((?: [\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\] ([\x00-\x7f]*)$/su

const parsed = (bytes: Buffer): Message => {
  const found = grammar.exec(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  if (found === null) throw new Error(`no RFC 5424: ${bytes.subarray(0, 400)}`)
  const [
    ,
    priority,
    time = '',
    hostname = '',
    app = '',
    process = '',
    type = '',
    id = '',
    data = '',
    text = '',
  ] = found
  return {
    facility: Number(priority) >> 3,
    severity: Number(priority) & 7,
    time,
    hostname,
    app,
    process,
    type,
    id,
    data: Object.fromEntries(
      [...data.matchAll(/ ([^=]+)="((?:[^"\\\]]|\\["\\\]])*)"/gsu)].map(([, name, value]) => [
        name,
        value?.replace(/\\(["\\\]])/g, '$1'),
      ]),
    ),
    text,
    bytes: bytes.length,
  }
}

/** RFC 5425, 4.3: octets of the message, a space, the message. */
const framesOf = (bytes: Buffer): Message[] => {
  const all: Message[] = []
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const length = bytes.toString('ascii', at, space)
    if (!/^[1-9]\d*$/.test(length)) throw new Error(`no length: ${length}`)
    const end = space + 1 + Number(length)
    if (end > bytes.length) throw new Error('a frame is cut off')
    all.push(parsed(bytes.subarray(space + 1, end)))
    at = end
  }
  return all
}

/** @param behave decides about one connection; without it the receiver reads to the end and closes */
const receive = async (behave?: (socket: TLSSocket, n: number) => boolean, clientCa?: string) => {
  const taken: Buffer[] = []
  let connections = 0
  const listener = createServer(
    {
      cert: server.cert,
      key: server.private,
      ...(clientCa !== undefined && { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
    },
    (socket) => {
      socket.on('error', () => {})
      if (behave?.(socket, connections++)) return
      const chunks: Buffer[] = []
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.on('end', () => taken.push(Buffer.concat(chunks)))
    },
  )
  listener.on('tlsClientError', () => {})
  const sockets = new Set<{ destroy(): void }>()
  listener.on('connection', (socket) => sockets.add(socket))
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    listener.close()
    for (const socket of sockets) socket.destroy()
  })
  const { port } = listener.address() as AddressInfo
  return { port, messages: () => taken.flatMap(framesOf) }
}

/** As configured. */
const sinkTo = (port: number, more: object = {}): Sink => {
  const { sinks } = config.parse({
    sinks: {
      log: {
        type: 'syslog',
        host: '127.0.0.1',
        port,
        tls: { ca_file: file('ca.pem', server.cert) },
        hostname: 'keytrail-1',
        alerts: {},
        ...more,
      },
    },
  })
  const [one] = Object.entries(sinks).flatMap(([name, sink]) => sinksOf(name, sink, () => {}))
  if (one === undefined) throw new Error('there is no sink')
  return one.sink
}

const hostile = 'a "quoted" \\ back ] bracket, ключ 鍵 🔑'
const delivery = {
  events: [eventOf(1, { time: { event: '2026-03-02T09:00:00.123456789Z' } }), eventOf(2)],
  alerts: [alertOf(3, { severity: 'critical', title: hostile, entity: { principal: hostile } })],
}

test('messages follow the grammar, carry id and severity, and the record whole', async () => {
  const { port, messages } = await receive()
  const sink = sinkTo(port)
  expect(await sink.open({}, signal)).toEqual({ delivery: 'the receiver has read it to the end' })
  expect(await sink.send(delivery, signal)).toMatchObject({ refused: [], again: undefined })
  const all = messages()
  expect(all.map(({ text }) => JSON.parse(text) as unknown)).toEqual([
    ...delivery.events.map((json) => JSON.parse(json) as unknown),
    ...delivery.alerts,
  ])
  expect(all.map(({ facility, severity }) => [facility, severity])).toEqual([
    [13, 4],
    [13, 4],
    [13, 2],
  ])
  expect(all.map(({ time }) => time)).toEqual([
    '2026-03-02T09:00:00.123456Z',
    '2026-03-02T09:00:00.123456Z',
    '2026-03-02T09:01:00.250Z',
  ])
  expect(all[2]).toMatchObject({
    hostname: 'keytrail-1',
    app: 'keytrail',
    process: '-',
    type: 'kms.alert.v1',
    id: 'keytrail@32473',
    data: { id: `${'3'.padStart(32, '0')}:1`, severity: 'critical', entity: hostile },
  })
})

test('another format is another message in the same head', async () => {
  const { port, messages } = await receive()
  await sinkTo(port, { format: 'ocsf' }).send(delivery, signal)
  const all = messages()
  // OCSF: API Activity for events, Detection Finding for alerts
  expect(all.map(({ text }) => (JSON.parse(text) as { class_uid: number }).class_uid)).toEqual([
    6003, 6003, 2004,
  ])
  expect(all[2]?.data['id']).toBe(`${'3'.padStart(32, '0')}:1`)
})

describe('a record that is too long', () => {
  test.each([2048, 4096, 8192, 65_536])(
    'keeps to %s bytes, stays JSON and keeps its id',
    async (max_bytes) => {
      const { port, messages } = await receive()
      const long = [
        alertOf(1, { explanation: '鍵'.repeat(2048), entity: { principal: `${'"'.repeat(255)}🔑` } }),
        alertOf(2, { explanation: 'short' }),
        alertOf(3, {
          triage: ['a'.repeat(512), 'b'.repeat(512), '鍵'.repeat(512)],
          labels: { team: 'x'.repeat(256) },
        }),
      ]
      const policy = JSON.stringify({ Statement: 'p'.repeat(32_000) })
      const events = [eventOf(4, { change: { policy } })]
      await sinkTo(port, { max_bytes }).send({ events, alerts: long }, signal)
      const all = messages()
      expect(all.map(({ data }) => data['id'])).toEqual([
        '4'.padStart(32, '0'),
        ...[1, 2, 3].map((n) => `${String(n).padStart(32, '0')}:1`),
      ])
      for (const one of all) {
        expect(one.bytes).toBeLessThanOrEqual(max_bytes)
        expect(() => JSON.parse(one.text) as unknown).not.toThrow()
      }
      expect(JSON.parse(all[2]?.text ?? '')).toEqual(long[1])
      const cut = JSON.parse(all[0]?.text ?? '') as { event_id: string; change: { policy: string } }
      if (max_bytes === 65_536) expect(cut.change.policy).toBe(policy)
      if (max_bytes === 8192) {
        expect(cut).toMatchObject({ event_id: '4'.padStart(32, '0'), operation: 'decrypt' })
        expect(cut.change.policy).toMatch(/… cut: 32016 bytes, SHA-256 [0-9a-f]{64}$/)
      }
    },
  )

  test('a head of the longest texts leaves room', () => {
    const format = { facility: 23, hostname: 'h'.repeat(300), enterprise: 2 ** 31, max_bytes: 2048 }
    const facts = {
      id: `${'f'.repeat(64)}:9999`,
      type: 'kms.alert.v1',
      time: '2026-03-02T09:00:00.123456789Z',
      entity: '🔑'.repeat(256),
      severity: 'critical',
    } as const
    const bytes = Buffer.from(syslogMessage(format, facts, JSON.stringify({ text: '鍵'.repeat(5000) })))
    expect(bytes.length).toBeLessThanOrEqual(2048)
    expect(parsed(bytes)).toMatchObject({ facility: 23, severity: 2 })
  })
})

describe('what is not certain is sent again', () => {
  const misbehave: readonly (readonly [string, (socket: TLSSocket) => void])[] = [
    ['it hangs up at once', (socket) => socket.destroy()],
    ['it closes at once in good order', (socket) => socket.end()],
    ['it hangs up after the first bytes', (socket) => void socket.once('data', () => socket.destroy())],
    [
      'it reads nothing and hangs up a moment later',
      (socket) => void setTimeout(() => socket.destroy(), 100),
    ],
    [
      'it reads a part and closes in good order',
      (socket) => {
        socket.once('readable', () => {
          socket.read(10)
          socket.end()
        })
      },
    ],
  ]
  test.each(misbehave)('%s', async (_, act) => {
    const { port, messages } = await receive((socket, n) => {
      if (n === 0) act(socket)
      return n === 0
    })
    const sink = sinkTo(port)
    const long = { ...delivery, events: Array.from({ length: 300 }, (_, n) => eventOf(n + 10)) }
    const first = await sink.send(long, signal)
    expect(first.again).toMatchObject({ delivery: long, fault: false })
    const second = await sink.send(first.again?.delivery ?? delivery, signal)
    expect(second.again).toBeUndefined()
    expect(messages()).toHaveLength(301)
  })

  test('it takes all and does not close: the connection ends with the signal', async () => {
    const { port } = await receive((socket) => {
      socket.resume()
      socket.allowHalfOpen = true
      return true
    })
    const stop = new AbortController()
    setTimeout(() => stop.abort(), 300)
    await expect(sinkTo(port).send(delivery, stop.signal)).rejects.toThrow(/abort/)
  })
})

describe('opening names what is wrong', () => {
  test('nothing listens', async () => {
    await expect(sinkTo(1).open({}, signal)).rejects.toThrow(
      /nothing listens: 127\.0\.0\.1:1 refuses connections/,
    )
  })
  test('a certificate that nobody signed', async () => {
    const { port } = await receive()
    await expect(sinkTo(port, { tls: {} }).open({}, signal)).rejects.toThrow(
      /certificate of 127\.0\.0\.1:\d+ is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\): name its authority with ca_file/,
    )
  })
  test('no TLS', async () => {
    const plain = createTcpServer((socket) => socket.on('error', () => {}).end('hello\n'))
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve))
    ends.push(() => plain.close())
    await expect(sinkTo((plain.address() as AddressInfo).port).open({}, signal)).rejects.toThrow(
      /does not speak TLS/,
    )
  })
  test('a receiver that asks for a certificate', async () => {
    const { port, messages } = await receive(undefined, client.cert)
    await expect(sinkTo(port).open({}, signal)).rejects.toThrow(/certificate/)
    const tls = {
      ca_file: file('ca.pem', server.cert),
      cert_file: file('client.pem', client.cert),
      key_file: file('client.key', client.private),
    }
    await sinkTo(port, { tls }).send(delivery, signal)
    expect(messages()).toHaveLength(3)
  })
  test('a file that is not there', async () => {
    const { again } = await sinkTo(1, { tls: { ca_file: join(folder, 'none.pem') } }).send(delivery, signal)
    expect(again).toMatchObject({ fault: true })
    expect(again?.reason).toMatch(/cannot read ca_file/)
  })
})
