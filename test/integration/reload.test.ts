import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { startHec } from '../standins/hec.ts'
import { delivery, record } from '../support/cloudtrail.ts'
import { type Left, leftBy, random } from '../support/kills.ts'
import { keytrail, root } from '../support/scan.ts'
import { type Service, service } from '../support/service.ts'

const execute = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'keytrail-reload-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** `RELOADS` gives another dose; the seed is in the name. */
const reloads = Number(process.env['RELOADS'] ?? 200)
const seed = Number(process.env['SEED'] ?? 1)
const FILES = 100
const PER_FILE = 100
const inFolder = (...names: string[]) => join(folder, ...names)

const next = random(seed)
const pick = (n: number) => Math.floor(next() * n)

/** The last ten minutes: whenever a tick comes, none of it is late. */
const now = Date.now()
let made = 0
const batch = (count: number, file: number, team = 'u'): Buffer =>
  delivery(
    Array.from({ length: count }, () =>
      record({
        eventID: `00000000-0000-4000-8000-${String(++made).padStart(12, '0')}`,
        eventTime: `${new Date(now - 600_000 + file * 5000 + pick(9000)).toISOString().slice(0, 19)}Z`,
        userIdentity: {
          type: 'IAMUser',
          arn: `arn:aws:iam::123456789012:user/${team}${pick(30)}`,
          accountId: '123456789012',
        },
        sourceIPAddress: `203.0.113.${pick(200)}`,
      }),
    ),
  )

const rule = (version: number) => `title: Calls of one user
name: toggled
logsource: { product: keytrail, category: key_usage }
detection: { one: { actor.principal|endswith: user/u1 }, condition: one }
level: low
keytrail: { version: ${version}, explanation: "{actor.principal} called" }
`

/** What stays through all reloads. */
const base = (one: Service) => ({
  data: one.data,
  log: 'info',
  detectors: { default: false, folders: [inFolder('rules')] },
  http: { listen: '127.0.0.1:0' },
})

type Body = Record<string, unknown>

/** Configurations that hold, each another way, over the same records. */
const valid = (one: Service, n: number): Body => {
  const at = (name: string) => join(one.folder, name)
  const side = pick(2) === 0 ? 'a' : 'b'
  writeFileSync(
    inFolder('known.yml'),
    `labels:\n  - { kind: key, match: "alias/none-${pick(3)}", labels: { team: t${n} } }\n`,
  )
  const folders = [inFolder('rules')]
  if (pick(2) === 0) {
    writeFileSync(inFolder('more-rules', 'toggled.yml'), rule(1 + pick(4)))
    folders.push(inFolder('more-rules'))
  }
  return {
    ...base(one),
    detectors: { default: false, folders },
    knowledge: pick(2) === 0 ? [inFolder('known.yml')] : [],
    sources: {
      logs: {
        type: 'files',
        paths: pick(3) === 0 ? [inFolder('logs'), inFolder('empty')] : [inFolder('logs')],
        start: 'beginning',
      },
      ...(pick(2) === 0 && { other: { type: 'files', paths: [inFolder('other')], start: 'beginning' } }),
    },
    sinks: {
      out: { type: 'ndjson', events: at(`events-${side}.ndjson`), alerts: at(`alerts-${side}.ndjson`) },
      ...(pick(2) === 0 && { extra: { type: 'ndjson', alerts: at(`extra-${n}.ndjson`) } }),
    },
  }
}

/** Each with what must be said of it. */
const wrong: readonly ((config: Body) => readonly [text: string, reason: RegExp])[] = [
  (config) => [`${JSON.stringify(config).slice(0, -20)}`, /:1:\d+: /],
  (config) => [
    JSON.stringify({ ...config, snks: {} }),
    /:1:\d+: unknown name "snks"; did you mean "sinks"\?/,
  ],
  (config) => [
    JSON.stringify({ ...config, detectors: { default: false, folders: [inFolder('bad-rules')] } }),
    /:1:\d+: .*bad\.yml:\d+:\d+: /,
  ],
  (config) => [
    JSON.stringify({
      ...config,
      sources: { logs: { type: 'files', paths: [inFolder('gone')], start: 'end' } },
    }),
    /:1:\d+: cannot read .*gone/,
  ],
  (config) => [
    JSON.stringify({
      ...config,
      sinks: {
        s: { type: 'splunk', url: 'https://splunk.example.com', token: '\u0024{env:NOT_THERE}', feed: {} },
      },
    }),
    /:1:\d+: sinks\.s\.token: the environment variable NOT_THERE is not set/,
  ],
  (config) => [JSON.stringify({ ...config, sources: {} }), /there is nothing to read/],
]
const conflicting: typeof wrong = [
  (config) => [
    JSON.stringify({ ...config, data: inFolder('elsewhere') }),
    /:1:\d+: data cannot change while/,
  ],
  (config) => [JSON.stringify({ ...config, http: { listen: '127.0.0.1:1' } }), /:1:\d+: http cannot change/],
  (config) => [JSON.stringify({ ...config, journal: { keep_days: 1 } }), /:1:\d+: journal cannot change/],
  (config) => [
    JSON.stringify({
      ...config,
      sinks: {
        a: { type: 'ndjson', events: inFolder('same') },
        b: { type: 'ndjson', alerts: inFolder('same') },
      },
    }),
    /:1:\d+: sinks\.b\.alerts: a\.events writes this file already/,
  ],
]

const lasting = ({ alerts }: Left, store: ReturnType<Service['store']>) => {
  const toggled = new Set(
    store
      .alerts(0, 1_000_000)
      .filter(({ alert }) => alert.detector.id === 'toggled')
      .map(({ alert }) => alert.alert_id),
  )
  store.close()
  return { alerts: alerts.filter((line) => !toggled.has(line.split(' ')[0] ?? '')), toggled }
}

test(`${reloads} reloads under load lose nothing and double nothing (seed ${seed})`, {
  timeout: 600_000,
}, async () => {
  for (const name of ['logs', 'other', 'empty', 'rules', 'more-rules', 'bad-rules', 'calm'])
    mkdirSync(inFolder(name))
  for (const id of ['burst-decrypt', 'burst-decrypt-contexts', 'caller-new-for-key'])
    cpSync(join(root, 'detectors', id), inFolder('rules', id), { recursive: true })
  writeFileSync(
    inFolder('bad-rules', 'bad.yml'),
    'title: x\nlogsource: { product: keytrail }\ndetection: 3\n',
  )
  writeFileSync(inFolder('other', 'x.json'), batch(200, 3, 'v'))
  const files = Array.from({ length: FILES }, (_, file) => batch(PER_FILE, file))

  // What an undisturbed run gives: both feeds, from the start.
  const calm = service([inFolder('calm')], {
    detectors: { default: false, folders: [inFolder('rules')] },
    sources: {
      logs: { type: 'files', paths: [inFolder('calm')], start: 'beginning' },
      other: { type: 'files', paths: [inFolder('other')], start: 'beginning' },
    },
  })
  /** A file is there at once, and whole. */
  const arrive = (where: string, at: number) => {
    writeFileSync(inFolder('arriving'), files[at] ?? '')
    renameSync(inFolder('arriving'), inFolder(where, `${String(at).padStart(3, '0')}.json`))
  }
  for (const at of files.keys()) arrive('calm', at)
  const undisturbed = await calm.run()
  expect(undisturbed.code, undisturbed.log).toBe(0)
  const expected = leftBy(calm)
  expect(expected.alerts.length).toBeGreaterThan(20)
  expect(expected.feed).toHaveLength(FILES * PER_FILE + 200)

  const one = service([])
  const config = join(one.folder, 'keytrail.json')
  let held = valid(one, 0)
  writeFileSync(config, JSON.stringify(held))
  const tally = { taken: 0, refused: 0, replaced: 0 }
  const disturb = async (stop: (signal: NodeJS.Signals) => void, log: () => string) => {
    while (!log().includes('keytrail 0')) await sleep(20)
    const store = one.store()
    for (let n = 1, told = 0; n <= reloads; n++) {
      const due = Math.floor((n / reloads) * FILES)
      for (const at of files.keys())
        if (at < due && at >= Math.floor(((n - 1) / reloads) * FILES)) arrive('logs', at)
      const dice = pick(3)
      const change =
        dice === 0
          ? undefined
          : dice === 1
            ? wrong[pick(wrong.length)]
            : conflicting[pick(conflicting.length)]
      if (change === undefined) held = valid(one, n)
      const [text, reason] = change?.(held) ?? [JSON.stringify(held), undefined]
      writeFileSync(config, text)
      stop('SIGHUP')
      const until = Date.now() + 30_000
      let records = [...store.controls('reload')]
      for (; records.length === told; records = [...store.controls('reload')]) {
        if (Date.now() > until) throw new Error(`reload ${n} has no outcome: ${log().slice(-2000)}`)
        await sleep(10)
      }
      told = records.length
      const outcome = JSON.parse(records.at(-1)?.body ?? '') as {
        taken: boolean
        reason?: string
        sinks?: string[]
        sources?: string[]
      }
      if (reason === undefined) {
        expect(outcome).toMatchObject({ taken: true })
        tally.taken++
        tally.replaced += (outcome.sinks?.length ?? 0) + (outcome.sources?.length ?? 0)
      } else {
        expect(outcome).toMatchObject({ taken: false, reason: expect.stringMatching(reason) })
        tally.refused++
      }
    }
    store.close()
  }
  let failure: unknown
  const first = await one.run({
    once: false,
    onStart: (stop, log) =>
      void disturb(stop, log)
        .catch((cause) => {
          failure = cause
        })
        .finally(() => stop('SIGTERM')),
  })
  if (failure !== undefined) throw failure
  expect(first.code, first.log.slice(-2000)).toBe(0)
  const at = (name: string) => join(one.folder, name)
  const last = {
    ...valid(one, 0),
    sources: {
      logs: { type: 'files', paths: [inFolder('logs')], start: 'beginning' },
      other: { type: 'files', paths: [inFolder('other')], start: 'beginning' },
    },
  }
  writeFileSync(
    config,
    JSON.stringify({
      ...last,
      detectors: base(one).detectors,
      sinks: { out: { type: 'ndjson', events: at('events-a.ndjson'), alerts: at('alerts-a.ndjson') } },
    }),
  )
  expect((await one.run()).code).toBe(0)
  console.info(JSON.stringify(tally))

  // Both sides of the sink together, as if it had been one.
  for (const name of ['events', 'alerts'])
    writeFileSync(
      at(`${name}.ndjson`),
      ['a', 'b'].map((side) => readFileSync(at(`${name}-${side}.ndjson`), 'utf8')).join(''),
    )
  const left = leftBy(one)
  const { alerts, toggled } = lasting(left, one.store())
  const sorted = (lines: readonly string[]) =>
    lines.map((line) => line.replace(inFolder('calm'), inFolder('logs'))).sort()
  expect(left.counters).toEqual(expected.counters)
  expect(sorted(left.journaled)).toEqual(sorted(expected.journaled))
  expect(sorted(left.feed)).toEqual(sorted(expected.feed))
  expect(alerts).toEqual(expected.alerts)
  expect(sorted(left.delivered.filter((line) => !toggled.has(line.split(' ')[0] ?? '')))).toEqual(
    sorted(expected.delivered),
  )
  expect(new Set(left.delivered).size).toBe(left.delivered.length)
  expect(toggled.size).toBeGreaterThan(0)
  expect(tally.taken).toBeGreaterThan(reloads / 5)
  expect(tally.replaced).toBeGreaterThan(reloads / 5)
  expect(keytrail(['journal', 'check', '--data', one.data]).status).toBe(0)
  calm.remove()
  one.remove()
})

test('keytrail reload puts a sink right that could not deliver, says what it replaced, and what is refused', {
  timeout: 60_000,
}, async () => {
  const hec = await startHec()
  const one = service([join(root, 'examples/aws')])
  const path = join(one.folder, 'keytrail.json')
  const configured = JSON.parse(readFileSync(path, 'utf8')) as Body
  const withSplunk = (url: string, more: Body = {}) => ({
    ...configured,
    ...more,
    sinks: {
      ...(configured['sinks'] as Body),
      splunk: { type: 'splunk', url, token: '\u0024{env:HEC_TOKEN}', ack_seconds: 2, alerts: {}, feed: {} },
    },
  })
  const reload = async (config: Body) => {
    writeFileSync(path, JSON.stringify(config))
    const { stdout, stderr, code } = await execute(process.execPath, [
      join(root, 'src/main.ts'),
      'reload',
      '--data',
      one.data,
    ]).then(
      (done) => ({ ...done, code: 0 }),
      (cause: { stdout: string; stderr: string; code: number }) => cause,
    )
    return { said: stdout + stderr, code }
  }
  const seen: Awaited<ReturnType<typeof reload>>[] = []
  const use = async (log: () => string) => {
    while (!log().includes('splunk: the address is wrong')) await sleep(20)
    seen.push(await reload(withSplunk(hec.url, { journal: { keep_days: 3 } })))
    seen.push(await reload(withSplunk(hec.url)))
    seen.push(await reload(withSplunk(hec.url)))
    const store = one.store()
    const isBehind = () =>
      [...store.cursors().values()].some((cursor) => {
        const { events, alerts } = store.behind(cursor)
        return events + alerts > 0
      })
    while (hec.indexed.length === 0 || isBehind()) await sleep(50)
    store.close()
  }
  writeFileSync(path, JSON.stringify(withSplunk('http://127.0.0.1:1')))
  const { code, log } = await one.run({
    once: false,
    env: { HEC_TOKEN: hec.token },
    onStart: (stop, log) => void use(log).finally(() => stop('SIGTERM')),
  })
  expect(code, log).toBe(0)
  seen.push(await reload(withSplunk(hec.url)))
  expect(seen).toEqual([
    {
      code: 1,
      said: expect.stringMatching(
        /^REFUSED, the running configuration stays:\n.*json:1:\d+: journal cannot change/,
      ),
    },
    { code: 0, said: 'taken; replaced: splunk\n' },
    { code: 0, said: 'taken\n' },
    { code: 2, said: expect.stringContaining('no keytrail runs on') },
  ])
  const arrived = hec.indexed.map(({ event }) => JSON.stringify((event as { kms?: object }).kms ?? event))
  expect(new Set(arrived).size).toBe(arrived.length)
  expect(arrived.length).toBe(one.lines('events').length + one.lines('alerts').length)
  await hec.close()
  one.remove()
})
