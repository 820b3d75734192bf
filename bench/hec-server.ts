/**
 * A collector that counts, as a process of its own: ids and times of arrival go to the parent on request. Acknowledges
 * at once. `down` makes it answer 503 until `up`.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

const ids = new Map<string, number>()
let objects = 0
let requests = 0
let refused = 0
let bytes = 0
let first = 0
let last = 0
let down = false
let next = 0
const unread = new Set<number>()
/** Milliseconds from the event of an alert to its arrival. */
const waits: number[] = []

/** Each object begins with its time, its id stands in the record, which comes last. */
const count = (text: string) => {
  const now = Date.now()
  for (let at = text.indexOf('{"time":'); at >= 0; ) {
    const end = text.indexOf('{"time":', at + 8)
    const one = text.slice(at, end < 0 ? undefined : end)
    const hex = /"(?:alert_id|event_id)":"([0-9a-f]{32})"/.exec(one)?.[1] ?? ''
    const id = Buffer.from(hex, 'hex').toString('latin1') // a copy: a part of a text would keep all of it
    if (!ids.has(id)) {
      ids.set(id, now)
      const time = /^\{"time":([\d.]+)/.exec(one)?.[1]
      if (one.includes('"kms:alert"')) waits.push(now - Number(time) * 1000)
    }
    objects++
    at = end
  }
  if (first === 0) first = now
  last = now
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks)
    const plain = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
    const answer = (status: number, value: object) => response.writeHead(status).end(JSON.stringify(value))
    if (request.url?.endsWith('/ack')) {
      const { acks } = JSON.parse(plain.toString()) as { acks: number[] }
      return void answer(200, { acks: Object.fromEntries(acks.map((id) => [id, unread.delete(id)])) })
    }
    if (down) {
      refused++
      return void answer(503, { text: 'Server is busy', code: 9 })
    }
    if (plain.includes('"event":""'))
      return void answer(400, { text: 'Event field cannot be blank', code: 13 })
    requests++
    bytes += plain.length
    count(plain.toString())
    unread.add(next)
    answer(200, { text: 'Success', code: 0, ackId: next++ })
  })
})
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))
process.on('message', (message: string) => {
  if (message === 'down') down = true
  if (message === 'up') {
    down = false
    first = 0
    objects = 0
  }
  if (message === 'ids')
    return void process.send?.({
      ids: [...ids.keys()].map((id) => Buffer.from(id, 'latin1').toString('hex')),
    })
  if (message === 'forget') waits.length = 0
  process.send?.({ objects, requests, refused, bytes, first, last, distinct: ids.size, waits })
})
