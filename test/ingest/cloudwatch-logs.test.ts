import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { cloudWatchLogs } from '../../src/ingest/cloudwatch-logs.ts'
import { sqliteJournal } from '../../src/journal/sqlite.ts'
import { Store, unpacked } from '../../src/journal/store.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { liveJudge } from '../../src/pipeline/live-judge.ts'
import { runLoop } from '../../src/pipeline/loop.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import type { Source } from '../../src/pipeline/ports.ts'
import {
  adversity,
  type CloudWatchLogs,
  type LogEvent,
  startCloudWatchLogs,
} from '../standins/cloudwatch-logs.ts'
import { record } from '../support/cloudtrail.ts'
import { random } from '../support/kills.ts'

process.env['AWS_ACCESS_KEY_ID'] = 'AKIAEXAMPLEEXAMPLE12'
process.env['AWS_SECRET_ACCESS_KEY'] = 'secret'
process.env['AWS_MAX_ATTEMPTS'] = '1' // what the SDK would bear is ours to bear

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const T0 = Date.UTC(2026, 2, 2, 9)

const servers: CloudWatchLogs[] = []
const folders: string[] = []
afterEach(async () => {
  for (const one of servers.splice(0)) await one.close()
  for (const one of folders.splice(0)) rmSync(one, { recursive: true, force: true })
})

/** A log group, a clock in the hand, and a journal. */
const setUp = async (groups: readonly string[] = ['trail']) => {
  const logs = await startCloudWatchLogs()
  servers.push(logs)
  for (const name of groups) logs.group(name)
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'keytrail-cloudwatch-'))
  folders.push(folder)
  let now = T0
  logs.clock = () => now
  const notices: string[] = []
  const config = (change: object) =>
    sourceConfig.parse({
      type: 'cloudwatch_logs',
      groups: groups.map((name) => ({ name, region: 'eu-central-1' })),
      start: 'beginning',
      poll_seconds: 60,
      requests_per_second: 1000,
      endpoint: logs.url,
      ...change,
    })
  /** Runs it until the clock stands there: waiting moves the clock. */
  const run = async (
    until: number,
    change: object = {},
    watch: (source: Source) => Source = (source) => source,
  ) => {
    const parsed = config(change)
    if (parsed.type !== 'cloudwatch_logs') throw new Error('another source')
    const stopping = new AbortController()
    const source = cloudWatchLogs({
      ...parsed,
      feed_id: 'logs',
      follow: true,
      onNotice: (text) => notices.push(text),
      clock: () => now,
      async sleep(ms, signal) {
        await setImmediate()
        signal.throwIfAborted()
        now += ms
        if (now >= until) stopping.abort()
      },
    })
    const journal = await sqliteJournal(folder, { days: 30, bytes: 1e9 }, () => {})
    try {
      await runLoop(
        {
          sources: [watch(source)],
          journal,
          judge: liveJudge(journal, recordNormalizer(defaultConfig, undefined), [], () => {}),
          settings: defaultConfig,
          budget: Number.MAX_SAFE_INTEGER,
          clock: () => now,
          onNotice: (text) => notices.push(text),
          onCommit: () => {},
        },
        stopping.signal,
      )
    } finally {
      await journal.close()
    }
  }
  /** Ids of the records that are kept, with repeats, and how many were read. */
  const left = () => {
    const store = new Store(folder, 'reader')
    try {
      const ids = store
        .blocks(0, Number.MAX_SAFE_INTEGER)
        .flatMap((block) => unpacked(block).items)
        .map(({ raw }) => String((JSON.parse(raw.toString()) as { eventID: string }).eventID))
      const counters = store.counters()
      const count = (outcome: string) => counters.get(`${outcome}|logs`) ?? 0
      expect(count('received')).toBe(count('kept') + count('duplicate'))
      return { ids: ids.sort(), received: count('received'), duplicate: count('duplicate') }
    } finally {
      store.close()
    }
  }
  const published: string[] = []
  const put = (event: Omit<LogEvent, 'message'>, group = groups[0] ?? '') => {
    const one = record()
    published.push(String(one['eventID']))
    logs.put(group, [{ ...event, message: JSON.stringify(one) }])
  }
  return {
    logs,
    put,
    run,
    left,
    notices,
    published: () => [...published].sort(),
    now: () => now,
    pass(ms: number) {
      now += ms
    },
  }
}

describe('every record exactly once', () => {
  test('that came in the millisecond of the last one (logstash-input-cloudwatch-logs #47)', async () => {
    const { put, run, left, published } = await setUp()
    for (let n = 0; n < 3; n++) put({ timestamp: T0 })
    await run(T0 + 5 * MINUTE)
    expect(left().ids).toEqual(published())
    for (let n = 0; n < 5; n++) put({ timestamp: T0, at: T0 + 5 * MINUTE })
    await run(T0 + 10 * MINUTE)
    expect(left().ids).toEqual(published())
  })

  test('of older streams, and those that a stream receives late (opentelemetry-collector-contrib #32231)', async () => {
    const { put, run, left, published, notices } = await setUp()
    for (let n = 0; n < 20; n++) put({ timestamp: T0 - n * MINUTE, stream: 'one' })
    await run(T0 + 5 * MINUTE)
    expect(left().ids).toEqual(published())
    const at = T0 + 5 * MINUTE
    for (const age of [10 * SECOND, 4 * MINUTE, 14 * MINUTE]) put({ timestamp: at - age, at, stream: 'one' })
    await run(at + 5 * MINUTE)
    expect(left().ids).toEqual(published())
    put({ timestamp: at - 20 * HOUR, at: at + 5 * MINUTE, stream: 'two' })
    await run(at + 2 * HOUR)
    expect(left().ids).toEqual(published())
    put({ timestamp: at - 13 * DAY, at: at + 2 * HOUR, stream: 'three' })
    await run(at + 30 * HOUR, { poll_seconds: 900 })
    expect(left().ids).toEqual(published())
    expect(notices).toEqual([
      expect.stringContaining('the day sweep found 1 events that came late'),
      expect.stringContaining('the fortnight sweep found 1 events that came late'),
    ])
  })

  test('around empty pages with a token (opentelemetry-collector-contrib #48577)', async () => {
    const { logs, put, run, left, published } = await setUp()
    logs.limits.events = 2
    logs.behave = (number) => (number % 2 === 1 ? { kind: 'empty' } : undefined)
    for (let n = 0; n < 15; n++) put({ timestamp: T0 + n, at: T0 + n })
    await run(T0 + 3 * MINUTE)
    expect(left().ids).toEqual(published())
    put({ timestamp: T0 + 15, at: T0 + 3 * MINUTE }) // behind the last one, before the end of the empty page
    await run(T0 + 6 * MINUTE)
    expect(left().ids).toEqual(published())
  })

  test('of 10,000 in one millisecond', async () => {
    const { logs, put, run, left, published } = await setUp()
    logs.limits.events = 1000
    for (let n = 0; n < 10_000; n++) put({ timestamp: T0 - 1 })
    await run(T0 + 5 * MINUTE)
    expect(left()).toMatchObject({ ids: published(), received: 10_000 })
  })

  test('that came while nobody read, as late as can be', async () => {
    const { put, run, left, published, pass } = await setUp()
    put({ timestamp: T0 - HOUR })
    await run(T0 + 5 * MINUTE)
    pass(20 * DAY)
    const at = T0 + 5 * MINUTE
    for (let days = 0; days < 13; days++) put({ timestamp: at - days * DAY + HOUR, at: at + 2 * HOUR })
    put({ timestamp: at + 10 * DAY, at: at + 11 * DAY })
    await run(at + 20 * DAY + 2 * HOUR, { poll_seconds: 900 })
    expect(left().ids).toEqual(published())
  })

  test('found long after it was sent', async () => {
    const { put, run, left, published } = await setUp()
    put({ timestamp: T0 })
    put({ timestamp: T0, at: T0, found: T0 + 20 * HOUR })
    await run(T0 + 26 * HOUR, { poll_seconds: 900 })
    expect(left().ids).toEqual(published())
  })
})

const seeds = (process.env['SEEDS'] ?? '1').split(',').map(Number)

test.each(seeds)(
  'whatever the service does: nothing lost, nothing twice (seed %i)',
  async (seed) => {
    const { logs, put, run, left, published, pass, now } = await setUp()
    const next = random(seed)
    logs.limits.events = 50
    const late = [5 * SECOND, 5 * MINUTE, 12 * HOUR, 13 * DAY]
    for (let n = 0; n < 3000; n++) {
      const timestamp = T0 + Math.floor(next() * 2 * HOUR)
      const most = late[Math.min(Math.floor(next() ** 2 * 5), 3)] ?? 0
      put({ timestamp, at: timestamp + Math.floor(next() * most), stream: `s${n % 7}` })
    }
    logs.behave = adversity(seed, 0.2)
    await run(T0 + HOUR)
    await run(T0 + 2 * HOUR + 20 * MINUTE)
    logs.behave = adversity(seed, 0.02)
    logs.limits.events = 1000
    await run(T0 + 2 * DAY, { poll_seconds: 900 })
    pass(3 * DAY)
    await run(now() + 11 * DAY, { poll_seconds: 900 })
    const { ids, received } = left()
    expect(ids).toEqual(published())
    expect(received).toBeLessThan(4 * 3000)
  },
  300_000,
)

test('sweeps that overlap hand over nothing twice', async () => {
  const { put, run, left } = await setUp()
  for (let n = 0; n < 3000; n++) put({ timestamp: T0 - 2 * HOUR + n * 4000, at: T0 - 2 * HOUR + n * 4000 })
  await run(T0 + 2 * DAY, { poll_seconds: 900 })
  expect(left().received).toBe(3000)
  await run(T0 + 3 * DAY, { poll_seconds: 900 })
  expect(left().received).toBe(3000)
})

test('of a minute that is older than what the journal knows, the new events alone are handed over', async () => {
  const { put, run, left, published } = await setUp()
  for (let n = 0; n < 50; n++) put({ timestamp: T0 - n })
  await run(T0 + 10 * DAY, { poll_seconds: 900 })
  put({ timestamp: T0 - 7, at: T0 + 10 * DAY })
  await run(T0 + 12 * DAY, { poll_seconds: 900 })
  expect(left()).toMatchObject({ ids: published(), received: 51 })
})

test('years of nothing and then very many pages cost few requests more than the pages', async () => {
  const { logs, put, run, left, published } = await setUp()
  logs.limits.events = 10
  for (let n = 0; n < 3000; n++) put({ timestamp: T0 - 30 * DAY - n * 1200 })
  await run(T0 + MINUTE)
  expect(left()).toMatchObject({ ids: published(), received: 3000 })
  expect(logs.calls.length).toBeLessThan(2.5 * 300)
})

describe('where it starts', () => {
  test.each([
    ['beginning', 3],
    ['end', 1],
    ['2026-03-02T09:30:00+01:00', 2],
  ])('%s', async (start, kept) => {
    const { put, run, left } = await setUp()
    put({ timestamp: T0 - 400 * DAY })
    put({ timestamp: T0 - 10 * MINUTE })
    put({ timestamp: T0 + MINUTE, at: T0 + MINUTE })
    put({ timestamp: T0 - 500 * DAY, at: T0 + 2 * MINUTE }) // too late for every sweep
    await run(T0 + 26 * HOUR, { start, poll_seconds: 900 })
    expect(left().received).toBe(kept)
  })
})

test('a group that cannot be read is not caught up, says why once, and goes on', async () => {
  const { logs, put, run, left, published, notices, now } = await setUp()
  const seen: string[] = []
  put({ timestamp: T0 })
  const watch = (source: Source): Source => ({
    ...source,
    read: (known, take, signal, fate) =>
      source.read(
        known,
        (piece) => {
          if (logs.denied.size > 0 && notices.length > 0)
            seen.push(piece === 'idle' ? 'idle' : String(piece.trouble?.split(' is missing')[0]))
          if (now() === T0 + 5 * MINUTE) logs.denied.add('FilterLogEvents')
          if (now() > T0 + 20 * MINUTE && logs.denied.delete('FilterLogEvents'))
            put({ timestamp: T0 + 10 * MINUTE, at: T0 + 10 * MINUTE })
          return take(piece)
        },
        signal,
        fate,
      ),
  })
  await run(T0 + 30 * MINUTE, {}, watch)
  expect(left().ids).toEqual(published())
  expect(new Set(seen)).toEqual(new Set(['eu-central-1/trail: the permission logs:FilterLogEvents on trail']))
  expect(notices).toEqual([
    expect.stringMatching(
      /^eu-central-1\/trail cannot be read, it is tried again: the permission logs:FilterLogEvents on trail is missing: User: arn:aws:iam::123456789012:user\/keytrail is not authorized/,
    ),
    expect.stringMatching(/cannot be read, it is tried again/),
    'eu-central-1/trail is read again',
  ])
})
