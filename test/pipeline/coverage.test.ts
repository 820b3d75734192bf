import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { statusOf } from '../../src/commands/status.ts'
import { mustHaveCome } from '../../src/ingest/canary.ts'
import { journaled, rejudge } from '../../src/journal/rejudge.ts'
import { sqliteJournal } from '../../src/journal/sqlite.ts'
import { Store } from '../../src/journal/store.ts'
import { type Alert, alert as alertSchema } from '../../src/model/alert.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { type FeedBeat, judgeSilence, listen, noCoverage } from '../../src/pipeline/coverage.ts'
import { liveJudge } from '../../src/pipeline/live-judge.ts'
import { runLoop } from '../../src/pipeline/loop.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import type { Piece, Source } from '../../src/pipeline/ports.ts'
import { record } from '../support/cloudtrail.ts'
import { alertOf } from '../support/deliveries.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const LAST = { trail: { id: '0'.repeat(32), provider: 'aws', account: '123456789012' } } as const
const T0 = Date.UTC(2026, 2, 2)

/** A feed that is heard as `says` tells, tick by tick. */
const live = (coverage = noCoverage()) => {
  const told: (readonly [minute: number, alert: Alert])[] = []
  let heard: number | undefined
  return {
    coverage,
    told: () =>
      told.map(([at, { labels, revision, status }]) => [at, labels['reason'], revision, status].join(' ')),
    alerts: () => told.map(([, alert]) => alert),
    /** @param every so often a record comes; none: never @param step of the ticks */
    pass(from: number, to: number, every: number | undefined, beat: FeedBeat = {}, step = 10 * SECOND) {
      for (let at = from; at < to; at += step) {
        if (every !== undefined && (at - from) % every < step) heard = at
        const one = { ...(heard !== undefined && { heard }), ...beat }
        for (const alert of judgeSilence(coverage, at, { trail: one }, LAST))
          told.push([(at - T0) / MINUTE, alert])
      }
    },
  }
}

const after = 3 * DAY
const silent = (T0 + after) as number

describe('a feed with a canary key', () => {
  const EVERY = 5 * MINUTE
  /** Beats of one day after its start, with calls that go well but for those that `fails` names. */
  const day = (heardUntil: number, fails: (at: number) => boolean = () => false) => {
    const feed = live()
    let calls: number[] = []
    for (let at = T0; at < T0 + DAY; at += MINUTE) {
      if ((at - T0) % EVERY === 0) calls = fails(at) ? [] : [...calls, at]
      const called = mustHaveCome(calls, at)
      const isHeard = at <= heardUntil && (at - T0) % EVERY === 0
      feed.pass(at, at + MINUTE, isHeard ? HOUR : undefined, called === undefined ? {} : { called }, MINUTE)
    }
    return feed
  }

  test('is silent from its first day on, when three calls in a row did not come', () => {
    const last = T0 + 6 * HOUR
    const feed = day(last)
    // The first call that is missing is made five minutes later; the third has a quarter of an hour to come.
    const due = (6 * HOUR + EVERY + 2 * EVERY + 15 * MINUTE) / MINUTE
    expect(feed.told()).toEqual([`${due} unknown 1 new`])
    expect(feed.alerts()[0]?.explanation).toContain('The canary key was called since 2026-03-02T06:05:00Z')
  })

  test('is judged by habit alone while the key cannot be called, and not at all in its first day', () => {
    expect(day(T0 + 6 * HOUR, (at) => at > T0 + 6 * HOUR).told()).toEqual([])
    expect(day(T0 + 6 * HOUR, (at) => at % (10 * MINUTE) === 0).told()).toEqual([])
    expect(day(T0 + DAY).told()).toEqual([])
  })
})

describe('a feed that was heard every ten minutes for three days', () => {
  const known = () => {
    const feed = live()
    feed.pass(T0, silent, 10 * MINUTE)
    expect(feed.told()).toEqual([])
    return feed
  }
  // Its last record came ten minutes before; twice its longest pause is less than an hour, which is the least.
  const tellAt = (after - 10 * MINUTE + HOUR) / MINUTE

  test('is silent: one alert, within a tick of the hour; when it speaks again, a revision', () => {
    const feed = known()
    feed.pass(silent, silent + 5 * HOUR, undefined)
    feed.pass(silent + 5 * HOUR, silent + 7 * HOUR, 10 * MINUTE)
    expect(feed.told()).toEqual([
      expect.stringMatching(/^\d+\.?\d* unknown 1 new$/),
      `${(after + 5 * HOUR) / MINUTE} unknown 2 updated`,
    ])
    const [first] = feed.told()
    expect(Number(first?.split(' ')[0])).toBeCloseTo(tellAt, 0)
    const [one, two] = feed.alerts()
    expect(one?.alert_id).toBe(two?.alert_id)
    expect(two?.window).toEqual({ start: '2026-03-04T23:50:00Z', end: '2026-03-05T05:00:00Z' })
  })

  test('whose source cannot read says so, and says when that changes', () => {
    const feed = known()
    feed.pass(silent, silent + 2 * HOUR, undefined, {
      trouble: 'the permission logs:FilterLogEvents is missing',
    })
    feed.pass(silent + 2 * HOUR, silent + 3 * HOUR, undefined)
    expect(feed.told().map((one) => one.split(' ').slice(1).join(' '))).toEqual([
      'source 1 new',
      'unknown 2 updated',
    ])
    expect(feed.alerts()[0]?.explanation).toContain(
      'Its source cannot read: the permission logs:FilterLogEvents is missing',
    )
  })

  test('after logging was switched off names the alert that told it', () => {
    const feed = known()
    const off = alertOf(7, {
      detector: { id: 'log-stopped', version: 1, content_hash: '0'.repeat(64) },
      title: 'CloudTrail stopped',
      time: { first_event: '2026-03-04T23:45:00Z', last_event: '2026-03-04T23:45:00Z' },
    })
    expect(listen(feed.coverage, [off])).toBe(true)
    feed.pass(silent, silent + 2 * HOUR, undefined)
    expect(feed.alerts().map(({ labels, account }) => [labels['reason'], account])).toEqual([
      ['logging_off', '123456789012'],
    ])
    expect(feed.alerts()[0]?.explanation).toContain(`CloudTrail stopped (alert ${off.alert_id})`)
  })

  test('is not blamed for an older alert about logging, nor for one of another provider', () => {
    const feed = known()
    const off = (provider: Alert['provider'], at: string) =>
      alertOf(7, {
        provider,
        detector: { id: 'log-stopped', version: 1, content_hash: '0'.repeat(64) },
        time: { first_event: at, last_event: at },
      })
    listen(feed.coverage, [off('aws', '2026-03-04T12:00:00Z'), off('azure', '2026-03-04T23:45:00Z')])
    feed.pass(silent, silent + 2 * HOUR, undefined)
    expect(feed.alerts().map(({ labels }) => labels['reason'])).toEqual(['unknown'])
  })

  test('is not blamed for the time in which Keytrail did not run', () => {
    const feed = known()
    feed.pass(silent + 12 * HOUR, silent + 12 * HOUR + 50 * MINUTE, undefined)
    feed.pass(silent + 12 * HOUR + 50 * MINUTE, silent + 14 * HOUR, 10 * MINUTE)
    expect(feed.told()).toEqual([])
  })
})

test('a feed that rests every night is not called silent at night', () => {
  const feed = live()
  for (let day = 0; day < 4; day++) {
    const noon = T0 + day * DAY
    feed.pass(noon, noon + 12 * HOUR, 10 * MINUTE, {}, MINUTE / 2)
    feed.pass(noon + 12 * HOUR, noon + DAY, undefined, {}, MINUTE / 2)
  }
  // The first two nights it is not known yet, or the first silence of its kind.
  expect(feed.alerts().filter(({ status }) => status === 'new').length).toBeLessThanOrEqual(1)
  const before = feed.alerts().length
  for (let day = 4; day < 8; day++) {
    const noon = T0 + day * DAY
    feed.pass(noon, noon + 12 * HOUR, 10 * MINUTE, {}, MINUTE / 2)
    feed.pass(noon + 12 * HOUR, noon + DAY, undefined, {}, MINUTE / 2)
  }
  expect(feed.alerts().length).toBe(before)
})

test('a feed that is hardly known is not judged', () => {
  const feed = live()
  feed.pass(T0, T0 + 20 * HOUR, 10 * MINUTE)
  feed.pass(T0 + 20 * HOUR, T0 + 4 * DAY, undefined)
  expect(feed.told()).toEqual([])
})

describe('in the journal', () => {
  const kept = (...pieces: readonly (Partial<Piece> | 'idle')[]): Source => ({
    feed_id: 'trail',
    transport: 'file',
    async read(_, take) {
      for (const one of pieces)
        await take(
          one === 'idle'
            ? 'idle'
            : { place: 'a', bytes: Buffer.alloc(0), ends: true, position: () => undefined, ...one },
        )
    },
  })
  const run = async (folder: string, source: Source, now: number) => {
    const journal = await sqliteJournal(folder, { days: 7, bytes: 1e9 }, () => {})
    const judge = liveJudge(journal, recordNormalizer(defaultConfig, undefined), [], () => {})
    try {
      await runLoop(
        {
          sources: [source],
          journal,
          judge,
          settings: defaultConfig,
          budget: Number.MAX_SAFE_INTEGER,
          clock: () => now,
          onNotice: () => {},
          onCommit: () => {},
        },
        new AbortController().signal,
      )
    } finally {
      await journal.close()
    }
  }
  const inFolder = async <T>(work: (folder: string) => Promise<T>): Promise<T> => {
    const folder = mkdtempSync(join(tmpdir(), 'keytrail-coverage-'))
    try {
      return await work(folder)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  const bytes = () => Buffer.from(`${JSON.stringify(record())}\n`)

  test('silence is told once, shown by status, and judged again as it was', () =>
    inFolder(async (folder) => {
      for (let day = 0; day < 3; day++) await run(folder, kept({ bytes: bytes() }, 'idle'), T0 + day * DAY)
      const late = T0 + 2 * DAY
      const journal = await sqliteJournal(folder, { days: 7, bytes: 1e9 }, () => {})
      const judge = liveJudge(journal, recordNormalizer(defaultConfig, undefined), [], () => {})
      // Ticks come so close that nobody takes the time for a stop.
      for (let at = late; at < late + 62 * MINUTE; at += MINUTE)
        await journal.commit(await judge.tick({ at, caughtUp: ['trail'], feeds: { trail: { heard: late } } }))
      await journal.close()
      const store = new Store(folder, 'reader')
      try {
        const told = store.alerts(0, 100).map(({ alert }) => alert)
        expect(told.map(({ detector, account, labels }) => [detector.id, account, labels])).toEqual([
          ['feed-silence', '123456789012', { feed: 'trail', reason: 'unknown' }],
        ])
        expect(alertSchema.safeParse(told[0]).error).toBeUndefined()
        const [feed] = statusOf(store, folder, late + HOUR).feeds
        expect(feed?.gaps).toMatchObject([{ from: late, reason: 'unknown' }])
        expect(feed?.pause).toBe(0)
        expect(await rejudge(journaled(store), () => {})).toMatchObject({ alerts: 1, differences: [] })
      } finally {
        store.close()
      }
    }))

  test('a source that cannot read is seen in status, until nothing is unread again', () =>
    inFolder(async (folder) => {
      const troubleAfter = async (...pieces: readonly (Partial<Piece> | 'idle')[]) => {
        await run(folder, kept(...pieces), T0)
        const store = new Store(folder, 'reader')
        const [feed] = statusOf(store, folder, T0).feeds
        store.close()
        return feed?.trouble
      }
      expect(await troubleAfter({ bytes: bytes() }, { trouble: 'no permission' })).toBe('no permission')
      expect(await troubleAfter({ trouble: 'no permission' }, { bytes: bytes() })).toBe('no permission')
      expect(await troubleAfter({ trouble: 'no permission' }, 'idle')).toBeUndefined()
    }))
})
