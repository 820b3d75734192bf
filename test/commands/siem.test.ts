/** The examples of both SIEMs as they are, and the commands around them, against servers of our own. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { root } from '../support/scan.ts'
import { type Siem, startSiem } from '../support/siem.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-siem-'))
let siem: Siem
beforeAll(async () => {
  siem = await startSiem({ indexes: ['main'] })
})
afterAll(async () => {
  await siem.close()
  rmSync(folder, { recursive: true, force: true })
})

const secrets = { SPLUNK_HEC_TOKEN: 'the-token', KEYTRAIL_CLIENT_SECRET: 'the-secret' }

const keytrail = (args: readonly string[], env: object = {}) =>
  new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'src/main.ts'), ...args], {
      cwd: root,
      env: { ...process.env, ...siem.env, ...secrets, ...env },
    })
    let out = ''
    let err = ''
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk
    })
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, err }))
  })

const example = (name: string) => join(root, 'examples', name, 'keytrail.yml')

/** An example as it is, but for where the servers are and where the journal lives. */
const local = (name: 'splunk' | 'sentinel', change: object = {}): string => {
  const config = parse(readFileSync(example(name), 'utf8')) as {
    sinks: Record<string, object>
  } & Record<string, unknown>
  const where =
    name === 'splunk'
      ? { url: siem.hec.url }
      : {
          endpoint: siem.ingestion.url,
          authority: siem.ingestion.url,
          rule: 'dcr-1',
          ca_file: siem.env['NODE_EXTRA_CA_CERTS'],
        }
  const path = join(folder, `${name}-${Object.keys(change).join('-')}.yml`)
  writeFileSync(
    path,
    stringify({
      ...config,
      data: join(folder, `${name}-${Object.keys(change).join('-')}`),
      sinks: { [name]: { ...config.sinks[name], ...where, max_wait_seconds: 1, ...change } },
    }),
  )
  return path
}

describe.each(['splunk', 'sentinel'] as const)('the example for %s', (name) => {
  test('is valid', async () => {
    const { code, err } = await keytrail(['validate', '--config', example(name)])
    expect(code, err).toBe(0)
  })

  test('without its secret is refused with place and remedy', async () => {
    const { code, err } = await keytrail(['validate', '--config', example(name)], {
      SPLUNK_HEC_TOKEN: '',
      KEYTRAIL_CLIENT_SECRET: '',
    })
    expect(code).toBe(2)
    expect(err).toMatch(/keytrail\.yml:\d+:\d+: .*(token|secret): the environment variable \w+ is not set/)
  })

  test('runs: what the scan finds arrives', async () => {
    const { code, err } = await keytrail(['run', '--once', '--config', local(name)])
    expect(code, err).toBe(0)
    const scanned = await keytrail(['scan', 'examples/aws', '--json', '--no-save', '--quiet'])
    const summary = JSON.parse(scanned.out) as { alerts: { total: number } }
    expect(summary.alerts.total).toBeGreaterThan(0)
    const ids = siem.arrived(name, 'alerts').map((one) => one['alert_id'])
    expect(new Set(ids).size).toBe(summary.alerts.total)
    expect(siem.arrived(name, 'feed').length).toBeGreaterThan(0)
    expect([...siem.ingestion.droppedColumns]).toEqual([])
    const status = await keytrail(['status', '--config', local(name)])
    expect(status.out).toMatch(/alerts = delivered \+ pending \+ dead \+ unselected holds/)
    expect(status.out).toMatch(
      name === 'splunk' ? /splunk: delivered means acknowledged by the indexers/ : /stored by the service/,
    )
  })

  test('doctor puts a test alert through, and says so', async () => {
    const before = siem.arrived(name, 'alerts').length
    const { code, out, err } = await keytrail(['doctor', '--send', '--config', local(name)])
    expect(code, out + err).toBe(0)
    expect(out).toMatch(new RegExp(`ok {4} ${name} {2}send: test alert [0-9a-f]{8} is there after`))
    const sent = siem.arrived(name, 'alerts').slice(before)
    expect(sent).toMatchObject([{ title: 'Test alert', severity: 'info' }])
  })

  test('estimate says what a day costs, from the journal', async () => {
    const { code, out, err } = await keytrail(['estimate', '--json', '--config', local(name)])
    expect(code, err).toBe(0)
    const { sinks } = JSON.parse(out) as {
      sinks: { sink: string; stream: string; taken: number; per_day: number }[]
    }
    const taken = (stream: string) => sinks.find((one) => one.stream === stream)?.taken
    // the test alert of doctor is in no journal
    expect(taken('alerts')).toBe(
      siem.arrived(name, 'alerts').filter((one) => one['title'] !== 'Test alert').length,
    )
    expect(taken('feed')).toBe(siem.arrived(name, 'feed').length)
  })

  test('a window is sent again under the same ids', async () => {
    const before = siem.arrived(name, 'alerts').filter((one) => one['title'] !== 'Test alert')
    const config = local(name)
    const wrong = await keytrail(['resend', 'other', '--since', '1d', '--reason', 'x', '--config', config])
    expect(wrong.code).toBe(2)
    expect(wrong.err).toContain(`no sink "other" has run here; there are: ${name}, ${name}.feed`)
    const { code, out, err } = await keytrail([
      'resend',
      name,
      '--since',
      '2020-01-01T00:00:00Z',
      '--reason',
      'index was emptied',
      '--config',
      config,
    ])
    expect(code, err).toBe(0)
    expect(out).toContain(`${before.length} of 2020-01-01T00:00:00.000Z`)
    expect((await keytrail(['run', '--once', '--config', config])).code).toBe(0)
    const after = siem.arrived(name, 'alerts').filter((one) => one['title'] !== 'Test alert')
    expect(after.length).toBe(2 * before.length)
    expect(after.slice(before.length)).toEqual(before)
  })
})

describe('doctor names what is wrong', () => {
  test.each([
    [
      'the token',
      { token: '\u0024{env:OTHER}' },
      /FAILS {2}splunk {2}open: Splunk answers 403, code 4: the token is invalid/,
    ],
    [
      'the address',
      { url: 'http://127.0.0.1:1' },
      /FAILS {2}splunk {2}open: the address is wrong or nothing listens/,
    ],
    ['the host', { url: 'https://no-such-host.invalid:8088' }, /there is no host no-such-host\.invalid/],
    ['the index', { alerts: { index: 'secret' } }, /code 7: the token may not write to this index/],
  ] as const)('%s', async (_, change, expected) => {
    const { code, out } = await keytrail(['doctor', '--send', '--config', local('splunk', change)], {
      OTHER: 'wrong',
    })
    expect(code).toBe(1)
    expect(out).toMatch(expected)
    expect(out).toMatch(/steps? fail/)
  })

  test('a certificate that nobody signed', async () => {
    const { code, out } = await keytrail(
      ['doctor', '--config', local('splunk', { url: siem.ingestion.url })],
      {
        NODE_EXTRA_CA_CERTS: '',
      },
    )
    expect(code).toBe(1)
    expect(out).toMatch(
      /the certificate of localhost:\d+ is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\): name its authority with ca_file/,
    )
  })
})

test('Splunk in OCSF: the same envelope, another event', async () => {
  const before = siem.hec.indexed.length
  const { code, err } = await keytrail([
    'run',
    '--once',
    '--config',
    local('splunk', {
      format: 'ocsf',
      alerts: { sourcetype: 'ocsf:finding' },
      feed: { sourcetype: 'ocsf:event' },
    }),
  ])
  expect(code, err).toBe(0)
  const classes = siem.hec.indexed
    .slice(before)
    .map(({ sourcetype, event }) => `${sourcetype} ${event['class_uid']}`)
  expect(new Set(classes)).toEqual(new Set(['ocsf:finding 2004', 'ocsf:event 6003', 'ocsf:event 3002']))
})

test('estimate from what scan wrote', async () => {
  const [events, alerts] = [join(folder, 'e.ndjson'), join(folder, 'a.ndjson')]
  await keytrail(['scan', 'examples/aws', '--events', events, '--alerts', alerts, '--no-save', '--quiet'])
  const { code, out, err } = await keytrail([
    'estimate',
    '--events',
    events,
    '--alerts',
    alerts,
    '--config',
    example('splunk'),
  ])
  expect(code, err).toBe(0)
  expect(out).toMatch(
    /splunk\.feed {2}feed: [\d,]+ a day, [\d.e-]+ GB a day \([\d,]+ seen\); cryptographic \d+ %/,
  )
})

test('the template is JSON with the outputs that the configuration asks for', async () => {
  const { code, out } = await keytrail(['sentinel', 'template'])
  expect(code).toBe(0)
  expect(Object.keys((JSON.parse(out) as { outputs: object }).outputs)).toEqual(['rule', 'endpoint'])
})
