/** The examples of docs/sinks.md as they are, and those without a broker together against receivers of our own. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTls } from 'node:tls'
import { generate } from 'selfsigned'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../src/config/config.ts'
import { root } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-sinks-'))
const KEY = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
Object.assign(process.env, { WEBHOOK_KEY: KEY, KAFKA_PASSWORD: 'the-password' })

const path = (name: string) => join(root, 'examples/sinks', `${name}.yml`)
const sinksOf = (name: string) =>
  (parse(readFileSync(path(name), 'utf8')) as { sinks: Record<string, object> }).sinks

test.each(['kafka', 'webhook', 'syslog', 'files'])('the example for %s is valid', (name) => {
  expect(Object.keys(loadConfig(path(name), true).sinks)).toHaveLength(1)
})

const hooked: string[] = []
const logged: string[] = []
const config = join(folder, 'keytrail.json') // JSON is YAML
const ends: (() => void)[] = []
beforeAll(async () => {
  const ip = { name: 'subjectAltName' as const, altNames: [{ type: 7 as const, ip: '127.0.0.1' }] }
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'receiver' }], {
    extensions: [ip],
  })
  const ca = join(folder, 'ca.pem')
  writeFileSync(ca, cert)
  const hook = createHttp((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      if (request.method === 'POST') {
        new Webhook(KEY).verify(body, request.headers as Record<string, string>)
        hooked.push((JSON.parse(body) as { id: string }).id)
      }
      response.writeHead(204).end()
    })
  })
  const log = createTls({ cert, key }, (socket) => {
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    socket.on('end', () =>
      logged.push(...[...text.matchAll(/\[keytrail@32473 id="([^"]+)"/g)].map(([, id = '']) => id)),
    )
  })
  const [hookPort, logPort] = await Promise.all(
    [hook, log].map(
      (server) =>
        new Promise<number>((resolve) =>
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
        ),
    ),
  )
  ends.push(
    () => void hook.close(),
    () => void log.close(),
  )
  writeFileSync(
    config,
    JSON.stringify({
      data: join(folder, 'data'),
      sources: { trail: { type: 'files', paths: [join(root, 'examples/aws')], start: 'beginning' } },
      sinks: {
        hook: {
          ...sinksOf('webhook')['hook'],
          url: `http://127.0.0.1:${hookPort}/keytrail`,
          allow: ['127.0.0.0/8'],
        },
        log: { ...sinksOf('syslog')['log'], host: '127.0.0.1', port: logPort, tls: { ca_file: ca } },
        files: { type: 'ndjson', alerts: join(folder, 'alerts.ndjson') },
      },
    }),
  )
})
afterAll(() => {
  for (const end of ends) end()
  rmSync(folder, { recursive: true, force: true })
})

const keytrail = (...args: string[]) =>
  new Promise<{ code: number | null; out: string }>((resolve, reject) => {
    const env = { ...process.env, WEBHOOK_KEY: KEY } // what this process read is out of its environment
    const child = spawn(process.execPath, [join(root, 'src/main.ts'), ...args, '--config', config], { env })
    let out = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        out += chunk
      })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out }))
  })

test('doctor puts a test alert through, and run delivers what the files hold', async () => {
  const doctor = await keytrail('doctor', '--send')
  expect(doctor.code, doctor.out).toBe(0)
  for (const name of ['hook', 'log'])
    expect(doctor.out).toMatch(new RegExp(`ok {4} ${name} {2}send: test alert [0-9a-f]{8} is there after`))
  expect([hooked.length, logged.length]).toEqual([1, 1])
  expect(hooked.splice(0)).toEqual(logged.splice(0))
  // the test alert of doctor is in no journal
  rmSync(join(folder, 'alerts.ndjson'))
  const { code, out } = await keytrail('run', '--once')
  expect(code, out).toBe(0)
  const expected = readFileSync(join(folder, 'alerts.ndjson'), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { alert_id: string; revision: number; severity: string })
    .filter(({ severity }) => ['medium', 'high', 'critical'].includes(severity))
    .map(({ alert_id, revision }) => `${alert_id}:${revision}`)
    .sort()
  expect(expected.length).toBeGreaterThan(2)
  expect(hooked.toSorted()).toEqual(expected)
  expect(logged.toSorted()).toEqual(expected)
})
