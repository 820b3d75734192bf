/** H15: what is secret appears nowhere but where it is sent. */

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { root } from '../support/scan.ts'
import { service } from '../support/service.ts'

const execute = promisify(execFile)
const canaryOf = (name: string) => `canary-${name}-${randomBytes(12).toString('hex')}`
/** As it is, and as headers and addresses write it. */
const formsOf = (secret: string) => [
  secret,
  ...[0, 1, 2].map((shift) =>
    Buffer.from(`${'x'.repeat(shift)}${secret}`)
      .toString('base64')
      .slice(4, 4 + 24),
  ),
  encodeURIComponent(secret),
  Buffer.from(secret).toString('hex'),
]

/** A collector that repeats what it was sent, as gateways do. */
const echo = async () => {
  const seen: string[] = []
  let count = 0
  const state = { well: false }
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      const authorization = request.headers.authorization ?? body
      if (!seen.includes(authorization)) seen.push(authorization)
      const number = ++count
      const [code, answer] =
        !state.well && number < 3
          ? [403, { text: `Invalid token ${authorization}`, code: 4 }]
          : !state.well && number % 3 === 0
            ? [
                400,
                { text: `Incorrect data, sent with ${authorization}`, code: 6, 'invalid-event-number': 0 },
              ]
            : [200, { text: 'Success', code: 0 }]
      response.writeHead(code, { 'content-type': 'application/json', 'x-echo': authorization.slice(0, 200) })
      response.end(JSON.stringify(answer))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, seen, state, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('no log, metric, dead letter, report, error, heap or crash shows a secret', {
  timeout: 90_000,
}, async () => {
  const secrets = Object.fromEntries(
    ['hec', 'hec2', 'http', 'hook', 'key', 'entra', 'kafka', 'hub'].map((name) => [name, canaryOf(name)]),
  ) as Record<'hec' | 'hec2' | 'http' | 'hook' | 'key' | 'entra' | 'kafka' | 'hub', string>
  const { server, seen, state, url } = await echo()
  const port = 20_000 + (process.pid % 20_000)
  const one = service([])
  const at = (name: string) => join(one.folder, name)
  mkdirSync(at('secret'))
  mkdirSync(at('told'))
  writeFileSync(at('secret/hec'), `${secrets.hec}\n`)
  writeFileSync(
    at('fail.mjs'),
    `process.on('SIGWINCH', () => {
       const request = { headers: { authorization: process.env.STATUS_TOKEN } }
       throw Object.assign(new Error('a library fails'), { request, cause: request })
     })`,
  )
  const config = {
    data: one.data,
    sources: {
      logs: { type: 'files', paths: [join(root, 'examples/aws')], start: 'beginning' },
      bus: {
        type: 'kafka',
        brokers: ['127.0.0.1:1'],
        topics: ['t'],
        group: 'g',
        start: 'earliest',
        sasl: { mechanism: 'plain', username: 'u', password: '\u0024{env:KAFKA_SECRET}' },
      },
      hub: {
        type: 'event_hubs',
        hubs: ['h'],
        connection_string: '\u0024{env:HUB_SECRET}',
        consumer_group: '$Default',
        start: 'earliest',
      },
    },
    sinks: {
      out: { type: 'ndjson', events: at('told/events.ndjson'), alerts: at('told/alerts.ndjson') },
      splunk: {
        type: 'splunk',
        url,
        token: `\u0024{file:${at('secret/hec')}}`,
        ack: 'off',
        max_wait_seconds: 1,
        alerts: {},
        feed: {},
      },
      hook: {
        type: 'webhook',
        url,
        keys: ['\u0024{env:HOOK_KEY}'],
        token: '\u0024{env:HOOK_TOKEN}',
        allow: ['127.0.0.0/8'],
        max_wait_seconds: 1,
        alerts: {},
      },
      sentinel: {
        type: 'sentinel',
        endpoint: url,
        rule: 'dcr-1',
        credential: {
          type: 'client_secret',
          tenant: 'common',
          client: 'c',
          secret: '\u0024{env:ENTRA_SECRET}',
        },
        authority: url,
        max_wait_seconds: 1,
        alerts: {},
      },
    },
    http: { listen: `127.0.0.1:${port}`, token: '\u0024{env:STATUS_TOKEN}' },
    log: 'debug',
  }
  writeFileSync(at('keytrail.json'), JSON.stringify(config))
  const env = {
    STATUS_TOKEN: secrets.http,
    ENTRA_SECRET: secrets.entra,
    KAFKA_SECRET: secrets.kafka,
    HOOK_KEY: secrets.key,
    HOOK_TOKEN: secrets.hook,
    HUB_SECRET: `Endpoint=sb://127.0.0.1/;SharedAccessKeyName=k;SharedAccessKey=${secrets.hub}`,
    AZURE_LOG_LEVEL: 'verbose',
  }
  const told: Record<string, string> = {}
  const cli = async (...args: string[]) => {
    const { stdout, stderr } = await execute(process.execPath, [join(root, 'src/main.ts'), ...args], {
      env: { ...process.env, ...env },
      timeout: 40_000,
    }).catch((cause: { stdout: string; stderr: string }) => cause)
    told[args.join(' ')] = stdout + stderr
  }
  const use = async (stop: (signal: NodeJS.Signals) => void, log: () => string) => {
    while (!log().includes('keytrail 0')) await sleep(20)
    await sleep(4000)
    writeFileSync(at('secret/hec'), `${secrets.hec2}\n`)
    for (const path of ['metrics', 'status', 'readyz', 'nothing'])
      for (const token of [secrets.http, 'wrong'])
        told[`GET /${path} ${token === 'wrong'}`] = await (
          await fetch(`http://127.0.0.1:${port}/${path}`, { headers: { authorization: `Bearer ${token}` } })
        ).text()
    await cli('status', '--json', '--data', one.data)
    await cli('dead-letters', 'list', '--json', '--data', one.data)
    await cli('dead-letters', 'show', '1', '--json', '--data', one.data)
    const doctor = cli('doctor', '--config', at('keytrail.json'), '--send')
    await cli('validate', '--config', at('keytrail.json'))
    await cli('scan', join(root, 'examples/aws'), '--no-save', '--report', at('told/report.html'))
    writeFileSync(at('keytrail.json'), JSON.stringify({ ...config, journal: { keep_days: 1 } }))
    await cli('reload', '--data', one.data)
    await cli('backup', at('told/copy'), '--data', one.data)
    await doctor
    // What is being sent is in memory meanwhile: the heap is looked at when all of it has been.
    state.well = true
    for (let n = 0; n < 100; n++) {
      await cli('status', '--json', '--data', one.data)
      const { sinks } = JSON.parse(told[`status --json --data ${one.data}`] ?? '') as {
        sinks: { name: string; events: number; alerts?: { pending: number } }[]
      }
      if (
        sinks.every(
          ({ name, events, alerts }) => name === 'sentinel' || events + (alerts?.pending ?? 0) === 0,
        )
      )
        break
      await sleep(100)
    }
    for (const signal of ['SIGUSR2', 'SIGCONT'] as const) {
      stop(signal)
      const end = signal === 'SIGUSR2' ? '.heapsnapshot' : '.json'
      for (let n = 0; n < 300 && !readdirSync(at('told')).some((name) => name.endsWith(end)); n++)
        await sleep(50)
      await sleep(2000)
    }
    stop('SIGWINCH')
  }
  let failure: unknown
  const { code, log } = await one.run({
    once: false,
    env: {
      ...env,
      NODE_OPTIONS: `--heapsnapshot-signal=SIGUSR2 --report-on-signal --report-signal=SIGCONT --diagnostic-dir=${at('told')} --report-directory=${at('told')}`,
    },
    preload: [at('fail.mjs')],
    onStart: (stop, log) =>
      void use(stop, log).catch((cause) => {
        failure = cause
        stop('SIGKILL')
      }),
  })
  server.close()
  if (failure !== undefined) throw failure
  expect(code, log.slice(-2000)).toBe(1)
  told['log'] = log
  for (const where of ['told', 'data'])
    for (const name of readdirSync(at(where), { recursive: true, encoding: 'utf8' }))
      if (/\.\w+$/.test(name)) told[`${where}/${name}`] = readFileSync(at(`${where}/${name}`), 'latin1')

  // They were used: the server had them, and what was told is there to be searched.
  expect(seen).toContain(`Splunk ${secrets.hec}`)
  expect(seen).toContain(`Splunk ${secrets.hec2}`)
  expect(seen).toContain(`Bearer ${secrets.hook}`)
  const names = Object.keys(told)
  expect(names.filter((name) => name.endsWith('.heapsnapshot'))).toHaveLength(1)
  expect(names.some((name) => /report\..*\.json$/.test(name))).toBe(true)
  expect(told['GET /metrics false']).toContain('keytrail_records_total')
  expect(told['GET /metrics true']).toContain('a bearer token is needed')
  expect(told['log']).toContain('a library fails')
  expect(told[`dead-letters list --json --data ${one.data}`]).toContain('Splunk answers 400')
  expect(told[`reload --data ${one.data}`]).toContain('journal cannot change')
  expect(formsOf(secrets.hec).some((form) => readFileSync(at('keytrail.json'), 'utf8').includes(form))).toBe(
    false,
  )

  /** What the clients of Azure and of Kafka sign in with, they hold themselves as long as they live. */
  const theirs = ['entra', 'kafka', 'hub']
  const hits = names.flatMap((name) =>
    Object.entries(secrets)
      .filter(([secret]) => !(name.endsWith('.heapsnapshot') && theirs.includes(secret)))
      .filter(([, secret]) => formsOf(secret).some((form) => told[name]?.includes(form)))
      .map(([secret]) => `${secret} in ${name}`),
  )
  console.info(
    `${names.length} texts, ${names.reduce((sum, name) => sum + (told[name]?.length ?? 0), 0)} bytes searched`,
  )
  expect(hits).toEqual([])
  one.remove()
})
