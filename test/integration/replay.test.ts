import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { historyWriter } from '../../src/commands/history-where.ts'
import { pastOf } from '../../src/commands/history-worker.ts'
import { loadConfig } from '../../src/config/config.ts'
import { openState } from '../../src/history/manifest.ts'
import { openDuck } from '../../src/history/parquet.ts'
import { openPast } from '../../src/history/past.ts'
import { compact, expire } from '../../src/history/seal.ts'
import { folderStore } from '../../src/history/store.ts'
import type { ReplayReport } from '../../src/model/replay.ts'
import { called as calledAt, delivery } from '../support/cloudtrail.ts'
import { sealAll, writerOn } from '../support/history.ts'
import { random } from '../support/kills.ts'
import { root } from '../support/scan.ts'
import { service } from '../support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-replay-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const BURST = `title: Decrypts, reference
name: some-decrypts
logsource: { product: keytrail, category: key_usage }
detection: { decrypt: { operation: decrypt }, condition: decrypt }
---
title: Some decrypts
name: twenty-decrypts
correlation:
  type: event_count
  rules: [some-decrypts]
  group-by: [actor.principal]
  timespan: 10m
  condition: { gte: 20 }
level: low
keytrail: { version: 1, explanation: "{actor.principal} decrypted {observed} times" }
`

const called = (user: string, time: number) =>
  calledAt(user, new Date(time).toISOString().replace('.000Z', 'Z'))

/** A folder of logs, and a service on it that keeps history. */
const setUp = (name: string) => {
  const own = join(folder, name)
  const [logs, rules, history] = ['logs', 'rules', 'history'].map((one) => join(own, one)) as [
    string,
    string,
    string,
  ]
  for (const one of [logs, rules]) mkdirSync(one, { recursive: true })
  writeFileSync(join(rules, 'burst.yml'), BURST)
  const one = service([logs], {
    detectors: { folders: [rules] },
    history: { folder: history, origin: 'replay.test/history', seal_seconds: 1 },
  })
  return { ...one, logs, rules, history, config: join(one.folder, 'keytrail.json') }
}

const keytrail = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  spawnSync(process.execPath, [join(root, 'src/main.ts'), ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 64 * 1024 * 1024,
  })

const replayed = (args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
  const { status, stdout, stderr } = keytrail(['replay', ...args, '--json', '--quiet'], env)
  expect(stdout, stderr).not.toBe('')
  return { status, report: JSON.parse(stdout) as ReplayReport }
}

const everything = (path: string) =>
  readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(path, name)).isFile())
    .sort()
    .map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(path, name)))
        .digest('hex'),
    ])

/** Processes that write history for a data directory. */
const writersOf = (data: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      const command = /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : ''
      return command.includes('history-worker') && command.includes(data)
    } catch {
      return false // it has ended meanwhile
    }
  })

const DAY = 86_400_000
const START = Date.parse('2026-03-02T09:00:00Z')

test('R18: a month with kills, reloads and late events replayed as seen is what was sent, byte for byte', {
  timeout: 120_000,
}, async () => {
  const one = setUp('month')
  const next = random(29)
  const pick = (n: number) => Math.floor(next() * n)
  const samples = readdirSync(join(root, 'examples/aws'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json.gz'))
    .sort()
  const write = (day: number) => {
    const records = Array.from({ length: 130 + pick(60) }, () =>
      called(`u${pick(5)}`, START + day * DAY + pick(600) * 1000 - (pick(30) === 0 ? 2 * DAY : 0)),
    )
    writeFileSync(join(one.logs, `day-${String(day).padStart(2, '0')}.json`), delivery(records))
    const sample = samples[day % samples.length]
    if (day < samples.length && sample !== undefined)
      writeFileSync(
        join(one.logs, `day-${String(day).padStart(2, '0')}-sample.json`),
        gunzipSync(readFileSync(join(root, 'examples/aws', sample))),
      )
  }
  const feed = async (
    stop: (signal: NodeJS.Signals) => void,
    log: () => string,
    from: number,
    to: number,
    signal: NodeJS.Signals,
  ) => {
    while (!log().includes('keytrail 0')) await sleep(20)
    for (let day = from; day < to; day++) {
      write(day)
      if (day % 8 === 5) {
        writeFileSync(join(one.rules, 'burst.yml'), BURST.replace('gte: 20', `gte: ${20 + day}`))
        stop('SIGHUP')
      }
      await sleep(150)
    }
    await sleep(1000)
    stop(signal)
  }
  for (const [from, to, signal] of [
    [0, 10, 'SIGKILL'],
    [10, 20, 'SIGKILL'],
    [20, 30, 'SIGTERM'],
  ] as const)
    await one.run({ once: false, onStart: (stop, log) => void feed(stop, log, from, to, signal) })
  const last = await one.run()
  expect(last.code, last.log).toBe(0)
  for (let tries = 0; tries < 100 && writersOf(one.data).length > 0; tries++) await sleep(100)
  expect(
    writersOf(one.data),
    'who writes history ends with the service, also with one that was killed',
  ).toEqual([])
  const store = one.store()
  const judged = store.alerts(0, 100_000).filter(({ alert }) => alert.detector.id !== 'history-checkpoint')
  const sent = judged.map(({ alert }) => JSON.stringify(alert))
  const late = store.counters().get('late|logs') ?? 0
  const sets = [...store.controls('detectors')].length
  store.close()
  expect(late).toBeGreaterThan(5)
  expect(sets).toBeGreaterThanOrEqual(7)

  const asSent = (workers: string, env: NodeJS.ProcessEnv) => {
    const before = everything(one.history)
    const path = join(folder, 'seen.ndjson')
    const { status, report } = replayed(
      ['--as-seen', '--history', one.history, '--workers', workers, '--alerts', path],
      env,
    )
    expect(report.differing).toEqual([])
    expect(report.expired).toBe(0)
    expect(status).toBe(0)
    expect(readFileSync(path, 'utf8')).toBe(sent.map((line) => `${line}\n`).join(''))
    expect(everything(one.history)).toEqual(before) // a replay only reads
  }
  asSent('1', { TZ: 'UTC' })
  const { history: setting } = loadConfig(one.config)
  if (setting === undefined) throw new Error('it keeps history')
  const writer = await historyWriter(setting, one.data)
  const duck = await openDuck(join(folder, 'compact'))
  const many = (await openState(writer.store)).files.size
  for (let state = await openState(writer.store); ; ) {
    const merged = await compact(writer, duck, state, '2100-01-01')
    if (merged.number === state.number) break
    state = merged
  }
  duck.close()
  expect((await openState(writer.store)).files.size).toBeLessThan(many)
  asSent('2', { TZ: 'Asia/Kolkata', LANG: 'tr_TR.UTF-8' })
  console.info(`${sent.length} alert revisions, ${late} late events, ${sets} sets of detectors`)

  const window = ['--from', '2026-03-10T00:00:00Z', '--to', '2026-03-12T23:59:59Z']
  const path = join(folder, 'window.ndjson')
  const { report } = replayed(['--as-seen', '--history', one.history, ...window, '--alerts', path])
  expect(report.differing).toEqual([])
  const within = sent.filter((line) => {
    const { time } = JSON.parse(line)
    return time.last_event >= '2026-03-10' && time.first_event < '2026-03-13'
  })
  expect(within.length).toBeGreaterThan(0)
  expect(within.length).toBeLessThan(sent.length)
  expect(readFileSync(path, 'utf8')).toBe(within.map((line) => `${line}\n`).join(''))

  // Bit rot: whatever file it hits, replay names it and tells nothing (R6); the same for a lost file (R5).
  const history = folderStore(one.history)
  const state = await openState(history)
  const files = [...state.files.values()].filter(({ kind }) => kind !== 'rejections')
  for (let flips = 0; flips < 60; flips++) {
    const file = files[pick(files.length)]
    const victim = join(one.history, file?.path ?? '')
    const bytes = readFileSync(victim)
    const bad = Buffer.from(bytes)
    const at = pick(bad.length)
    bad[at] = (bad[at] ?? 0) ^ (1 << pick(8))
    writeFileSync(victim, flips % 10 === 9 ? bad.subarray(0, at) : bad)
    await expect(openPast(history, state, join(folder, 'scratch'), 1)).rejects.toThrow(file?.path)
    writeFileSync(victim, bytes)
  }
  rmSync(join(one.history, files[0]?.path ?? ''))
  const lost = keytrail(['replay', '--as-seen', '--history', one.history])
  expect(lost.status).toBe(1)
  expect(lost.stderr).toContain(`${files[0]?.path} is missing`)
  one.remove()
})

test('a late event changes only the corrected replay, which says so; sent to a sink only when it is named', {
  timeout: 60_000,
}, async () => {
  const one = setUp('late')
  const calls = (user: string, count: number) =>
    Array.from({ length: count }, (_, at) => called(user, START + at * 10_000))
  writeFileSync(
    join(one.logs, '1.json'),
    delivery([...calls('alice', 25), ...calls('bob', 19), called('carol', START + 3 * DAY)]),
  )
  expect((await one.run()).code).toBe(0)
  const asSeen = () => {
    const path = join(folder, 'late-seen.ndjson')
    const { report } = replayed([
      '--as-seen',
      '--history',
      one.history,
      '--to',
      '2026-03-03',
      '--alerts',
      path,
    ])
    expect(report.differing).toEqual([])
    return readFileSync(path, 'utf8')
  }
  const first = asSeen()
  const calm = replayed(['--config', one.config]).report.difference
  expect(calm?.changes).toEqual([])
  expect(calm?.same).toBeGreaterThan(0)

  const [late] = calls('bob', 1)
  writeFileSync(
    join(one.logs, '2.json'),
    delivery([{ ...late, eventID: 'aaaaaaaa-0000-4000-9000-000000000001' }]),
  )
  expect((await one.run()).code).toBe(0)
  expect(asSeen()).toBe(first)
  // It came to its end by itself, and the sink has the checkpoint of all that it sealed: proof against a rewriting.
  const checkpoints = one.lines('alerts').filter(({ title }) => title === 'Checkpoint of the history')
  expect(checkpoints).toHaveLength(2)
  const { tree } = await openState(folderStore(one.history))
  expect(checkpoints.at(-1)).toMatchObject({ observed: tree.size, labels: { root: tree.root } })
  const kept = ['--checkpoint', join(one.folder, 'alerts.ndjson')]
  const verified = keytrail(['verify', '--config', one.config, ...kept, '--quiet'])
  expect(verified.stdout + verified.stderr).toContain('What is here is as it was sealed.')
  const alerts = one.lines('alerts').length
  const { report } = replayed(['--config', one.config])
  expect(report.difference?.changes).toMatchObject([
    {
      what: 'added',
      detector: 'twenty-decrypts',
      entity: { principal: 'arn:aws:iam::123456789012:user/bob' },
      now: { observed: 20 },
      why: 'late_event',
      events: [
        {
          operation: 'decrypt',
          principal: 'arn:aws:iam::123456789012:user/bob',
          time: '2026-03-02T09:00:00Z',
        },
      ],
    },
  ])
  expect(one.lines('alerts')).toHaveLength(alerts)
  const text = keytrail(['replay', '--config', one.config, '--to-sink', 'out', '--quiet'])
  expect(text.status, text.stderr).toBe(0)
  expect(text.stdout).toMatch(/ADDED {6}2026-03-02T09:00:00Z {2}twenty-decrypts/)
  expect(text.stdout).toContain(
    'decrypt by arn:aws:iam::123456789012:user/bob at 2026-03-02T09:00:00Z, received',
  )
  const sent = one.lines('alerts').slice(alerts)
  expect(sent.length).toBe(report.alerts)
  expect(new Set(sent.map((alert) => alert['replay_run_id']))).toEqual(new Set([report.replay_run_id]))

  // Another detector is tried on the past: a backtest.
  const other = join(folder, 'other')
  mkdirSync(other)
  writeFileSync(
    join(other, 'burst.yml'),
    BURST.replace('gte: 20', 'gte: 25').replace('version: 1', 'version: 2'),
  )
  const tried = replayed(['--config', one.config, '--detectors', other]).report
  expect(tried.alerts).toBe(1)
  expect(tried.difference?.changes.map(({ what, why }) => `${what} ${why}`).sort()).toEqual([
    'added detector',
    'withdrawn detector',
  ])
  one.remove()
})

test('acts outlive retention: the days that are kept are judged with the detectors of then, and what is gone is told', {
  timeout: 30_000,
}, async () => {
  const [logs, rules] = ['retained/logs', 'retained/rules'].map((one) => join(folder, one)) as [
    string,
    string,
  ]
  for (const one of [logs, rules]) mkdirSync(one, { recursive: true })
  writeFileSync(join(rules, 'burst.yml'), BURST)
  const day = (at: number) =>
    Array.from({ length: 25 }, (_, n) => called('alice', START + at * DAY + n * 10_000))
  writeFileSync(join(logs, '1.json'), delivery([...day(0), ...day(10)]))
  const one = service([logs], { detectors: { folders: [rules] } })
  expect((await one.run()).code).toBe(0)
  const store = one.store()
  const past = pastOf(store)
  const sent = store.alerts(0, 1000).map(({ alert }) => alert)
  const address = join(folder, 'retained/history')
  const writer = writerOn(folderStore(address), join(folder, 'retained/key.pem'))
  const duck = await openDuck(join(folder, 'retained/duckdb'))
  // As if it had run when the first events happened.
  const state = await sealAll(writer, duck, {
    ...past,
    rows: (stream, ...more) =>
      past.rows(stream, ...more).map((row) => (stream === 'control' ? { ...row, kept: START } : row)),
  })
  store.close()
  duck.close()
  await expire(writer, state, '2026-03-10', { who: 'someone', reason: 'retention schedule' })

  const path = join(folder, 'retained/seen.ndjson')
  const { status, report } = replayed(['--as-seen', '--history', address, '--alerts', path])
  expect(status).toBe(3)
  expect(report).toMatchObject({ events: 25, from: '2026-03-12T09:00:00.000Z' })
  expect(report.expired).toBeGreaterThanOrEqual(25)
  const bursts = sent.filter(
    ({ detector, time }) => detector.id === 'twenty-decrypts' && time.last_event > '2026-03-12',
  )
  expect(bursts.length).toBeGreaterThan(0)
  for (const alert of bursts) expect(readFileSync(path, 'utf8')).toContain(`${JSON.stringify(alert)}\n`)
  const text = keytrail(['replay', '--as-seen', '--history', address, '--quiet']).stdout
  expect(text).toContain(`INCOMPLETE ${report.expired} records are not kept any more`)
  expect(text).not.toMatch(/DIFFERS.*commit \d+$/m) // never without saying what may be why
  one.remove()
})
