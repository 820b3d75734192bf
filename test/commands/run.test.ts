import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { root } from '../support/scan.ts'
import { type RunUnderTest, type Service, service } from '../support/service.ts'

const examples = join(root, 'examples/aws')
const program = join(root, 'src/main.ts')
const folders: string[] = []
const scratch = () => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  folders.push(folder)
  return folder
}
const started: Service[] = []
const serve = (paths: readonly string[], more?: object) => {
  const one = service(paths, more)
  started.push(one)
  return one
}
afterEach(() => {
  for (const one of started.splice(0)) one.remove()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

const keytrail = (args: readonly string[], cwd = root) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    cwd,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

/** Waits for a line of the log, then goes on. */
const when =
  (
    text: string,
    then: (stop: (signal: NodeJS.Signals) => void) => void,
  ): NonNullable<RunUnderTest['onStart']> =>
  (stop, log) => {
    const timer = setInterval(() => {
      if (!log().includes(text)) return
      clearInterval(timer)
      then(stop)
    }, 20)
  }

const exampleFiles = readdirSync(examples, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.json.gz'))
  .sort()
  .map((name) => join(examples, name))

const ids = (one: Service) => [...new Set(one.lines('alerts').map((alert) => alert['alert_id']))].sort()

describe('run', () => {
  test('gives the alerts and the events that a scan of the same files gives', async () => {
    const folder = scratch()
    const scanned = keytrail([
      'scan',
      examples,
      '--json',
      '--no-save',
      '--alerts',
      join(folder, 'a'),
      '--events',
      join(folder, 'e'),
    ])
    const one = serve([examples])
    const { code, log } = await one.run()
    expect(code, log).toBe(0)
    const read = (name: string) =>
      readFileSync(join(folder, name), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    expect(ids(one)).toEqual(
      read('a')
        .map((alert) => alert.alert_id)
        .sort(),
    )
    expect(
      one
        .lines('events')
        .map((event) => event['event_id'])
        .sort(),
    ).toEqual(
      read('e')
        .map((event) => event.event_id)
        .sort(),
    )
    const { records } = JSON.parse(scanned.stdout)
    const status = JSON.parse(keytrail(['status', '--json', '--data', one.data]).stdout)
    expect(status.feeds[0]).toMatchObject(records)
    expect(status.laws).toEqual({ records: true, alerts: true })
  })

  test('reads nothing twice when it starts again, and what is new', async () => {
    const folder = scratch()
    const [first = '', second = ''] = exampleFiles
    copyFileSync(first, join(folder, 'a.json.gz'))
    const one = serve([folder])
    await one.run()
    const before = one.lines('events').length
    expect(before).toBeGreaterThan(0)
    await one.run()
    expect(one.lines('events')).toHaveLength(before)
    copyFileSync(second, join(folder, 'b.json.gz'))
    await one.run()
    expect(one.lines('events').length).toBeGreaterThan(before)
  })

  test('the same records in another file are duplicates, and one with a borrowed id is kept', async () => {
    const folder = scratch()
    const { Records } = JSON.parse(gunzipSync(readFileSync(exampleFiles[0] ?? '')).toString())
    const about = Records.filter((one: { eventSource: string }) => one.eventSource === 'kms.amazonaws.com')
    writeFileSync(join(folder, 'a.json'), JSON.stringify({ Records: about }))
    const one = serve([folder])
    await one.run()
    writeFileSync(
      join(folder, 'b.json'),
      JSON.stringify(
        { Records: about.map((record: object) => Object.fromEntries(Object.entries(record).reverse())) },
        null,
        1,
      ),
    )
    writeFileSync(
      join(folder, 'c.json'),
      JSON.stringify({
        Records: [
          { ...about[0], userAgent: 'forged' },
          { ...about[0], userAgent: 'forged' },
        ],
      }),
    )
    await one.run()
    const { feeds } = JSON.parse(keytrail(['status', '--json', '--data', one.data]).stdout)
    expect(feeds[0]).toMatchObject({
      received: about.length * 2 + 2,
      kept: about.length + 1,
      duplicate: about.length + 1,
    })
    const events = one.lines('events')
    expect(events.at(-1)).toMatchObject({ parse_warnings: ['id_conflict'] })
    expect(new Set(events.map((event) => event['event_id'])).size).toBe(events.length)
  })

  test('follows a file that grows: half a line waits for its end', { timeout: 30_000 }, async () => {
    const folder = scratch()
    const path = join(folder, 'log.ndjson')
    const { Records } = JSON.parse(gunzipSync(readFileSync(exampleFiles[0] ?? '')).toString())
    const lines = Records.map((record: object) => `${JSON.stringify(record)}\n`)
    const text = lines.join('')
    writeFileSync(path, text.slice(0, text.length / 3))
    const one = serve([folder])
    const { code, log } = await one.run({
      once: false,
      onStart: when('keytrail 0', (stop) => {
        setTimeout(() => appendFileSync(path, text.slice(text.length / 3, -30)), 1500)
        setTimeout(() => appendFileSync(path, text.slice(-30)), 3500)
        setTimeout(() => stop('SIGTERM'), 6000)
      }),
    })
    expect(code, log).toBe(0)
    const { feeds } = JSON.parse(keytrail(['status', '--json', '--data', one.data]).stdout)
    expect(feeds[0]).toMatchObject({ received: Records.length, rejected: 0, duplicate: 0 })
  })

  test('what cannot be read is rejected, kept and counted, and its neighbors go on', async () => {
    const folder = scratch()
    const { Records } = JSON.parse(gunzipSync(readFileSync(exampleFiles[0] ?? '')).toString())
    writeFileSync(
      join(folder, 'a.ndjson'),
      `${JSON.stringify(Records[0])}\n{"eventSource": broken}\n{"some":"thing"}\n${JSON.stringify(Records[1])}\n`,
    )
    const one = serve([folder])
    await one.run()
    const { feeds, laws } = JSON.parse(keytrail(['status', '--json', '--data', one.data]).stdout)
    expect(feeds[0]).toMatchObject({ received: 4, rejected: 2 })
    expect(laws.records).toBe(true)
    const store = one.store()
    const kept = store.rejections(10).map((text) => JSON.parse(text))
    store.close()
    expect(
      kept.map(({ reason, raw }) => [reason, Buffer.from(raw, 'base64').toString().slice(0, 8)]).sort(),
    ).toEqual([
      ['broken_json', '{"eventS'],
      ['unknown_format', '{"some":'],
    ])
    expect(kept.every(({ position }) => position.startsWith(join(folder, 'a.ndjson:')))).toBe(true)
  })

  test('one process judges per data directory', { timeout: 30_000 }, async () => {
    const one = serve([examples])
    let second: Promise<{ code: number | string; log: string }> | undefined
    const { code } = await one.run({
      once: false,
      onStart: when('keytrail 0', (stop) => {
        second = one.run()
        void second.then(() => stop('SIGTERM'))
      }),
    })
    expect(code).toBe(0)
    expect(await second).toMatchObject({
      code: 2,
      log: expect.stringContaining('another keytrail is running'),
    })
  })

  test('tells over HTTP that it lives and is ready, and the status only to whom it may', {
    timeout: 30_000,
  }, async () => {
    const port = 20_000 + (process.pid % 20_000)
    const one = serve([examples], {
      http: { listen: `127.0.0.1:${port}`, token: '\u0024{env:STATUS_TOKEN}' },
    })
    const seen: Record<string, number> = {}
    const { code, log } = await one.run({
      once: false,
      env: { STATUS_TOKEN: 'open sesame' },
      onStart: when('keytrail 0', async (stop) => {
        for (const path of ['healthz', 'readyz', 'status', 'nothing'])
          seen[path] = (await fetch(`http://127.0.0.1:${port}/${path}`)).status
        seen['with token'] = (
          await fetch(`http://127.0.0.1:${port}/status`, { headers: { authorization: 'Bearer open sesame' } })
        ).status
        seen['post'] = (await fetch(`http://127.0.0.1:${port}/healthz`, { method: 'POST' })).status
        stop('SIGTERM')
      }),
    })
    expect(code, log).toBe(0)
    expect(seen).toEqual({
      healthz: 200,
      readyz: 200,
      status: 401,
      nothing: 404,
      'with token': 200,
      post: 405,
    })
    expect(log).not.toContain('open sesame')
  })

  test('a configuration with typical mistakes gets a message for each, with the place and the way out', () => {
    const folder = scratch()
    writeFileSync(
      join(folder, 'bad.yml'),
      `sorces: {}
sources:
  logs: { type: files, paths: [/nowhere/at/all], start: beginning }
journal: { keep_days: seven }
http: { listen: "127.0.0.1:9470", token: "\${env:KEYTRAIL_NOT_SET}" }
detectors: { disable: [burst-decrpyt] }
`,
    )
    const { status, stderr } = keytrail(['run', '--config', 'bad.yml'], folder)
    expect(status).toBe(2)
    expect(stderr.split('\n').slice(0, 6)).toEqual([
      'keytrail: bad.yml:1:1: unknown name "sorces"; did you mean "sources"?',
      expect.stringMatching(
        /^bad\.yml:3:32: cannot read \/nowhere\/at\/all: .*; correct the path, or create it/,
      ),
      expect.stringMatching(/^bad\.yml:4:12: journal\.keep_days: .*expected number, received string/),
      expect.stringMatching(
        /^bad\.yml:5:35: http\.token: the environment variable KEYTRAIL_NOT_SET is not set; export it/,
      ),
      'bad.yml:6:24: there is no detector "burst-decrpyt"; did you mean "burst-decrypt"?',
      'Correct the configuration at the place named above.',
    ])
  })

  test('init writes a configuration that runs, and never over another', () => {
    const folder = scratch()
    expect(keytrail(['init', '--logs', examples], folder)).toMatchObject({ status: 0 })
    expect(keytrail(['init', '--logs', examples], folder)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('exists already'),
    })
    expect(keytrail(['run', '--once'], folder)).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('Decrypt burst'),
    })
    expect(keytrail(['init', '--config', 'b.yml', '--logs', '/nowhere'], folder)).toMatchObject({ status: 2 })
    expect(readdirSync(folder)).not.toContain('b.yml')
  })
})

describe('the commands of the analyst', () => {
  test('list, explain, close and tail', async () => {
    const one = serve([examples])
    await one.run()
    const where = ['--data', one.data]
    const listed = keytrail(['alerts', 'list', '--severity', 'critical', ...where])
    expect(listed.stdout).toContain('Key policy open to everybody')
    expect(listed.stdout).toContain('1 alert\n')
    const [burst] = JSON.parse(
      `[${keytrail(['alerts', 'list', '--json', '--entity', 'mallory', ...where])
        .stdout.trim()
        .split('\n')
        .join(',')}]`,
    )
    const id = String(burst.alert_id)

    const told = JSON.parse(keytrail(['explain', id.slice(0, 10), '--json', ...where]).stdout)
    expect(told.context.rule.text).toContain(`name: ${told.detector.id}`)
    expect(told.context.records.length).toBeGreaterThan(0)
    for (const { raw, event } of told.context.records)
      expect(JSON.parse(raw).eventID).toBe(event.source.native_id)
    expect(told.context.principal.calls).toHaveProperty(['Decrypt success'])

    expect(
      keytrail(['alerts', 'close', id, '--as', 'benign', '--reason', 'a drill', '--author', 'ana', ...where]),
    ).toMatchObject({ status: 0 })
    expect(
      keytrail(['alerts', 'list', '--open', '--entity', 'mallory', '--json', ...where]).stdout,
    ).not.toContain(id)
    expect(keytrail(['alerts', 'list', '--entity', 'mallory', ...where]).stdout).toContain(
      'closed as benign by ana: a drill',
    )
    expect(
      keytrail(['alerts', 'close', 'ffffffff', '--as', 'benign', '--reason', 'x', ...where]),
    ).toMatchObject({ status: 2 })

    const tailed = keytrail(['tail', 'feed', '--json', '--operation', 'policy_change', ...where])
      .stdout.trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(tailed.map((event) => event.operation)).toEqual(['policy_change', 'policy_change'])
    expect(keytrail(['tail', 'nothing', ...where])).toMatchObject({ status: 2 })
    expect(keytrail(['journal', 'check', ...where])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('byte for byte'),
    })
  })

  test('a journal that is not there is said so', () => {
    const folder = scratch()
    for (const args of [
      ['status'],
      ['tail'],
      ['alerts', 'list'],
      ['dead-letters', 'list'],
      ['journal', 'info'],
    ])
      expect(keytrail([...args, '--data', folder], folder)).toMatchObject({
        status: 2,
        stderr: expect.stringContaining('there is no journal'),
      })
  })
})
