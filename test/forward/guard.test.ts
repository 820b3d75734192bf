/**
 * Where a webhook may not lead (reliability.md H13). What an address means is taken from the IANA registries of special
 * addresses (RFC 6890 and those that follow it) and from the pages of the clouds about their metadata services.
 */
import type { LookupAddress } from 'node:dns'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { guard } from '../../src/forward/guard.ts'
import { httpClient, NoAnswer } from '../../src/forward/http.ts'
import { config } from '../../src/model/config.ts'
import { SinkFault } from '../../src/pipeline/ports.ts'

const isIn = (allow: readonly string[], url: string) =>
  config.safeParse({
    sinks: { hook: { type: 'webhook', url, keys: ['\u0024{env:KEY}'], allow, alerts: {} } },
  })

/** What happens to a call: refused by the configuration, by the guard, or let through to these addresses. */
const fate = async (url: string, answers: readonly string[], allow: readonly string[]) => {
  if (!isIn(allow, url).success) return 'configuration'
  const addresses = answers.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  const { check, lookup } = guard(allow, (_, __, done) => done(null, addresses))
  const { hostname } = new URL(url)
  try {
    check(new URL(url))
  } catch (cause) {
    return cause instanceof SinkFault && /metadata/.test(cause.message) ? 'metadata' : 'special'
  }
  if (answers.length === 0) return 'through'
  return new Promise<string>((resolve) =>
    lookup(hostname, { all: true }, (failure, found) => {
      if (failure === null)
        resolve(JSON.stringify(found) === JSON.stringify(addresses) ? 'through' : 'changed')
      else resolve(failure instanceof SinkFault && /metadata/.test(failure.message) ? 'metadata' : 'special')
    }),
  )
}

/** URL, what its name resolves to, what is listed under `allow`. */
const table: Readonly<Record<string, readonly (readonly [string, string?, string?])[]>> = {
  configuration: [
    ['http://hooks.example.com/'],
    ['http://10.0.0.1/'],
    ['http://169.254.169.254/latest/meta-data/'],
    ['http://127.0.0.1.example.com/'],
    ['http://localhost.example.com/'],
    ['http://127.0.0.1@hooks.example.com/'],
    ['http://127.0.0.1:80@hooks.example.com/'],
    ['http://localhost:80@hooks.example.com/'],
    ['https://user:password@hooks.example.com/'],
    ['file:///etc/passwd'],
    ['gopher://127.0.0.1:70/_'],
    ['ftp://hooks.example.com/'],
    ['ldap://hooks.example.com/'],
    ['data:text/plain,x'],
    ['javascript:fetch(1)'],
    ['//hooks.example.com/'],
    ['HTTP://hooks.example.com/'],
  ],
  metadata: [
    ['https://169.254.169.254/latest/meta-data/'],
    ['https://2852039166/'],
    ['https://0xa9fea9fe/'],
    ['https://0251.0376.0251.0376/'],
    ['https://[::ffff:169.254.169.254]/'],
    ['https://[::ffff:a9fe:a9fe]/'],
    ['https://[fd00:ec2::254]/'],
    ['https://169.254.170.2/'],
    ['https://168.63.129.16/'],
    ['https://100.100.100.200/'],
    ['https://metadata.google.internal/', '169.254.169.254'],
    ['https://hooks.example.com/', '93.184.216.34 169.254.169.254'],
    ['https://169.254.169.254/', '', '169.254.0.0/16'],
    ['https://hooks.example.com/', 'fd00:ec2::254', 'fd00::/8'],
  ],
  special: [
    ['https://127.0.0.1/'],
    ['http://127.0.0.1:8080/'],
    ['https://127.1/'],
    ['https://2130706433/'],
    ['https://0x7f000001/'],
    ['https://0177.0.0.1/'],
    ['https://0/'],
    ['https://①②⑦.⓪.⓪.①/'],
    ['https://10.0.0.1/'],
    ['https://172.16.0.1/'],
    ['https://172.31.255.255/'],
    ['https://192.168.1.1/'],
    ['https://169.254.1.1/'],
    ['https://100.64.0.1/'],
    ['https://192.0.0.1/'],
    ['https://192.0.2.1/'],
    ['https://198.18.0.1/'],
    ['https://198.51.100.1/'],
    ['https://203.0.113.1/'],
    ['https://224.0.0.1/'],
    ['https://255.255.255.255/'],
    ['https://[::1]/'],
    ['https://[::]/'],
    ['https://[::127.0.0.1]/'],
    ['https://[::ffff:127.0.0.1]/'],
    ['https://[::ffff:10.0.0.1]/'],
    ['https://[64:ff9b::7f00:1]/'],
    ['https://[fe80::1]/'],
    ['https://[fec0::1]/'],
    ['https://[fc00::1]/'],
    ['https://[ff02::1]/'],
    ['https://[2001::1]/'],
    ['https://[2001:db8::1]/'],
    ['https://[2002:7f00:1::]/'],
    ['https://[3fff::1]/'],
    ['https://localhost/', '127.0.0.1'],
    ['https://localhost./', '::1'],
    ['https://hooks.example.com/', '10.1.2.3'],
    ['https://hooks.example.com/', '93.184.216.34 127.0.0.1'],
    ['https://hooks.example.com/', '2606:4700::1111 fd12::1'],
    ['https://hooks.example.com/', '::ffff:192.168.1.1'],
    ['https://10.1.3.1/', '', '10.1.2.0/24'],
    ['https://hooks.example.com/', '10.1.2.3 10.1.3.3', '10.1.2.0/24'],
  ],
  through: [
    ['https://hooks.example.com/', '93.184.216.34'],
    ['https://hooks.example.com/', '2606:4700::1111 93.184.216.34'],
    ['https://1.1.1.1/'],
    ['https://[2606:4700::1111]/'],
    ['https://172.32.0.1/'],
    ['https://100.128.0.1/'],
    ['https://192.0.1.1/'],
    ['https://223.255.255.255/'],
    ['https://10.1.2.3/', '', '10.1.2.0/24'],
    ['https://hooks.example.com/', '10.1.2.3', '10.1.2.0/24'],
    ['https://[::ffff:10.1.2.3]/', '', '10.1.2.0/24'],
    ['http://localhost:8080/', '127.0.0.1', '127.0.0.0/8'],
    ['https://[fd12::1]/', '', 'fd12::/16'],
  ],
}
const words = (text: string) => text.split(' ').filter((one) => one !== '')

describe.each(Object.entries(table))('%s', (expected, rows) => {
  test.each(rows.map(([url, answers = '', allow = '']) => [url, answers, allow] as const))(
    '%s %s %s',
    async (url, answers, allow) => {
      expect(await fate(url, words(answers), words(allow))).toBe(expected)
    },
  )
})

test('the table has more than sixty cases', () => {
  expect(Object.values(table).flat().length).toBeGreaterThan(60)
})

describe('a connection', () => {
  const servers: Server[] = []
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.close()
      server.closeAllConnections()
    }
  })
  /** The same port on several addresses of this machine. */
  const serve = async (host: string, port = 0) => {
    const paths: string[] = []
    const server = createServer((request, response) => {
      paths.push(String(request.url))
      response.writeHead(204, { connection: 'close' }).end()
    })
    await new Promise<void>((resolve) => server.listen(port, host, resolve))
    servers.push(server)
    return { paths, port: (server.address() as AddressInfo).port }
  }

  test('goes to the addresses that were looked at: a name that changes its mind is looked at again', async () => {
    const listed = await serve('127.0.0.2')
    const other = await serve('127.0.0.3', listed.port)
    const asked: string[] = []
    const answers: LookupAddress[] = [
      { address: '127.0.0.2', family: 4 },
      { address: '127.0.0.3', family: 4 },
    ]
    const { check, lookup } = guard(['127.0.0.2/32'], (host, _, done) => {
      asked.push(host)
      done(null, answers.splice(0, 1))
    })
    const client = httpClient(undefined, 1, 2000, { lookup })
    const call = (path: string) => {
      const url = new URL(`http://hooks.example.com:${listed.port}${path}`)
      check(url)
      return client.send(url, { body: Buffer.from('{}') }, AbortSignal.timeout(5000))
    }
    expect((await call('/first')).status).toBe(204)
    expect(asked).toEqual(['hooks.example.com'])
    const second = await call('/second').catch((cause: unknown) => cause)
    expect(second).toBeInstanceOf(NoAnswer)
    expect((second as NoAnswer).cause).toBeInstanceOf(SinkFault)
    expect((second as Error).message).toContain(
      'hooks.example.com is 127.0.0.3, which is no address of the internet',
    )
    expect(asked).toHaveLength(2)
    expect([listed.paths, other.paths]).toEqual([['/first'], []])
    client.close()
  })
})
