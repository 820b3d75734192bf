/** How a request ends when the other side does not do its part. */
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { httpClient, NoAnswer, retryAfter } from '../../src/forward/http.ts'

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})
const served = async (listener: RequestListener): Promise<URL> => {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/x`)
}
const send = (url: URL, timeoutMs?: number) => {
  const client = httpClient(undefined, 1, timeoutMs)
  ends.push(() => client.close())
  return client.send(url, { body: Buffer.from('{}') }, AbortSignal.timeout(5000))
}

test('an answer comes with status, text, cookies and the wait it asks for', async () => {
  const url = await served((_, response) =>
    response.writeHead(429, { 'retry-after': '3', 'set-cookie': ['a=1; path=/', 'b=2'] }).end('later'),
  )
  expect(await send(url)).toEqual({ status: 429, text: 'later', afterMs: 3000, cookies: ['a=1', 'b=2'] })
})

test('an answer that repeats the secret it was sent comes without it', async () => {
  const url = await served(({ headers }, response) =>
    response.writeHead(403).end(`no: ${headers.authorization}, ${headers.authorization?.slice(7)}`),
  )
  const client = httpClient(undefined, 1)
  ends.push(() => client.close())
  const sent = { headers: { authorization: 'Splunk open-sesame' } }
  const { text } = await client.send(url, sent, AbortSignal.timeout(5000))
  expect(text).toBe('no: Splunk [secret], [secret]')
})

describe('no answer', () => {
  test('silence after the whole body', async () => {
    let whole = false
    const url = await served((request) => {
      request.resume().on('end', () => {
        whole = true
      })
    })
    await expect(send(url, 200)).rejects.toThrow(/gives no answer: nothing within 0\.2 s/)
    expect(whole).toBe(true)
  })

  test('silence in the middle of the answer', async () => {
    const url = await served(
      (_, response) => void response.writeHead(200, { 'content-length': '10' }).write('abc'),
    )
    await expect(send(url, 200)).rejects.toThrow(NoAnswer)
  })

  test('an answer without end', async () => {
    const url = await served((_, response) => {
      const timer = setInterval(() => response.write('x'.repeat(20_000)), 1)
      response.on('close', () => clearInterval(timer))
    })
    await expect(send(url)).rejects.toThrow(/its answer is larger than 64 KiB/)
  })

  test('something that is no HTTP', async () => {
    const server = createTcpServer((socket) => socket.on('error', () => {}).end('SSH-2.0-OpenSSH_9\r\n'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    ends.push(() => server.close())
    await expect(send(new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))).rejects.toThrow(
      NoAnswer,
    )
  })

  test('TLS asked of a server that speaks none', async () => {
    const url = await served((_, response) => response.end())
    url.protocol = 'https:'
    await expect(send(url)).rejects.toThrow(/does not speak TLS .*http or https\?/)
  })
})

test.each([
  ['120', 120_000],
  [' 7 ', 7000],
  ['Tue, 24 Nov 2026 10:00:30 GMT', 30_000],
  ['Tue, 24 Nov 2026 09:00:00 GMT', 0],
  ['-1', undefined],
  ['1.5', undefined],
  ['soon', undefined],
  ['2026-11-24T10:00:30Z', undefined],
  ['99999999999', undefined],
])('Retry-After: %s', (text, expected) => {
  expect(retryAfter(text, Date.parse('2026-11-24T10:00:00Z'))).toBe(expected)
})
