/** Order, lateness and duplicates (R8, R9), clocks (R7), and rules that fault (R16), on the live judge and a journal in memory. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadDetectors } from '../../src/config/detectors.ts'
import { type Detector, defineDetectors } from '../../src/detect/definition.ts'
import { memoryJournal } from '../../src/journal/sqlite.ts'
import type { Alert } from '../../src/model/alert.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { intake, type Kept } from '../../src/pipeline/intake.ts'
import { judge } from '../../src/pipeline/judge.ts'
import { emptyBatch, liveJudge } from '../../src/pipeline/live-judge.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import type { Commit } from '../../src/pipeline/ports.ts'
import { type CloudTrailRecord, delivery, record } from '../support/cloudtrail.ts'

const KEEP = { days: 7, bytes: 1e9 }
const START = Date.parse('2026-03-02T09:00:00Z')
const DAY = 86_400_000
const iso = (at: number) => new Date(at).toISOString().replace('.000Z', 'Z')

const keptOf = (records: readonly CloudTrailRecord[], feed = 'logs', place = 'a.json'): Kept[] => {
  const kept: Kept[] = []
  const reader = intake(
    {
      feed_id: feed,
      transport: 'file',
      place,
      received: () => '2026-03-02T12:00:00Z',
      settings: defaultConfig,
      strict: false,
    },
    { kept: (one) => kept.push(one) },
  )
  reader.push(delivery(records))
  reader.end()
  return kept
}

const own = loadDetectors([], true).detectors

interface Judged {
  readonly alerts: readonly Alert[]
  readonly counters: ReadonlyMap<string, number>
  readonly notices: readonly string[]
  readonly commits: readonly Commit[]
}

/** Judges records in batches of these sizes, with a closing tick far behind. */
const judgeAll = async (
  kept: readonly Kept[],
  sizes: readonly number[],
  {
    detectors = own as readonly Detector[],
    receivedAt = START + DAY,
    closing = START + 40 * DAY,
    clock = (_turn: number) => receivedAt,
  } = {},
): Promise<Judged> => {
  const journal = memoryJournal(KEEP)
  const notices: string[] = []
  const judge = liveJudge(journal, recordNormalizer(defaultConfig, undefined), detectors, (text) =>
    notices.push(text),
  )
  const commits: Commit[] = []
  const counters = new Map<string, number>()
  const commit = async (one: Commit) => {
    for (const [name, value] of one.counters) counters.set(name, (counters.get(name) ?? 0) + value)
    commits.push(one)
    await journal.commit(one)
  }
  for (let at = 0, turn = 0; at < kept.length; turn++) {
    const batch = emptyBatch()
    batch.kept.push(...kept.slice(at, at + (sizes[turn % sizes.length] ?? 1)))
    at += batch.kept.length
    await commit(await judge.judge(batch, clock(turn)))
  }
  await commit(await judge.tick({ at: closing, caughtUp: ['logs', 'other'] }))
  const alerts = (await journal.alerts(0, 100_000)).map(({ alert }) => alert)
  await journal.close()
  return { alerts, counters, notices, commits }
}

const idsOf = ({ alerts }: Judged) => [...new Set(alerts.map((alert) => alert.alert_id))].sort()
const last = ({ alerts }: Judged) => new Map(alerts.map((alert) => [alert.alert_id, alert]))

/** Bursts of Decrypt and single calls by few roles on few keys, over three hours. */
const role = (n: number): CloudTrailRecord => ({
  userIdentity: {
    type: 'IAMUser',
    arn: `arn:aws:iam::123456789012:user/u${n}`,
    accountId: '123456789012',
    userName: `u${n}`,
    accessKeyId: 'AKIAEXAMPLE',
  },
})
const calmUser = (n: number): CloudTrailRecord => ({
  userIdentity: {
    type: 'IAMUser',
    arn: `arn:aws:iam::123456789012:user/calm${n}`,
    accountId: '123456789012',
  },
})
const burst = fc
  .record({ user: fc.nat(1), start: fc.nat(9000), count: fc.integer({ min: 30, max: 90 }), gap: fc.nat(15) })
  .map(({ user, start, count, gap }) =>
    Array.from({ length: count }, (_, n) => ({
      ...role(user),
      eventTime: iso(START + (start + n * gap) * 1000),
    })),
  )
const history = fc
  .array(burst, { minLength: 1, maxLength: 3 })
  .map((bursts) => bursts.flat().map((change) => record(change)))

const shuffled = <T>(all: readonly T[], seeds: readonly number[], most: number): T[] =>
  all
    .map((one, index) => ({ one, rank: index + ((seeds[index % seeds.length] ?? 0) % most) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ one }) => one)

const byTime = (all: readonly CloudTrailRecord[]) =>
  [...all].sort((a, b) => (String(a['eventTime']) < String(b['eventTime']) ? -1 : 1))

describe('R8: order and batches', () => {
  test('change neither the set of alerts nor what was found to be observed when nothing is late', async () => {
    await fc.assert(
      fc.asyncProperty(
        history,
        fc.array(fc.nat(1000), { minLength: 5, maxLength: 40 }),
        fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 5 }),
        async (all, seeds, sizes) => {
          const ordered = await judgeAll(keptOf(byTime(all)), [500])
          const other = await judgeAll(keptOf(shuffled(byTime(all), seeds, 200)), sizes)
          expect(idsOf(other)).toEqual(idsOf(ordered))
          const batches = await judgeAll(keptOf(byTime(all)), sizes)
          const bodies = ({ alerts }: Judged) =>
            alerts
              .map((alert) => JSON.stringify({ ...alert, evidence: { ...alert.evidence, sample: [] } }))
              .sort()
          expect(bodies(batches)).toEqual(bodies(ordered))
        },
      ),
      { numRuns: 40 },
    )
  }, 120_000)

  test('an event that comes a day late makes a revision of the same alert, and is counted as late', async () => {
    const burst = Array.from({ length: 60 }, (_, n) =>
      record({ ...role(0), eventTime: iso(START + n * 1000) }),
    )
    const next = record({ ...role(1), eventTime: iso(START + 20 * 3_600_000) })
    const straggler = record({ ...role(0), eventTime: iso(START + 30_000) })
    const judged = await judgeAll(keptOf([...burst, next, straggler]), [1000])
    const bursts = judged.alerts.filter((alert) => alert.detector.id === 'burst-decrypt')
    expect(bursts.map(({ revision, evidence }) => [revision, evidence.total])).toEqual([
      [1, 50],
      [2, 61],
    ])
    expect(judged.counters.get('late|logs')).toBe(1)
    const last = judged.commits.flatMap(({ items }) => items).at(-1)?.event
    expect(JSON.parse(String(last)).time.late).toBe(true)
  })
})

/** mulberry32 */
const random = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

describe('R8: the doses', () => {
  const MINUTE = 60_000
  /** Twenty days: a burst by one of twenty users each hour or so, and calm calls by others. */
  const month = (next: () => number) => {
    const calls: { at: number; change: CloudTrailRecord }[] = []
    for (let hour = 0; hour < 480; hour++) {
      const user = Math.floor(next() * 20)
      const start = START + hour * 60 * MINUTE + Math.floor(next() * 40) * MINUTE
      const count = 30 + Math.floor(next() * 40)
      for (let n = 0; n < count; n++) calls.push({ at: start + n * 8000, change: role(user) })
      calls.push({ at: start, change: calmUser(hour) })
    }
    return calls.sort((a, b) => a.at - b.at)
  }
  /** Late by the watermark, worked out by hand: older than the newest event before it, less 15 minutes. */
  const lateIn = (times: readonly number[]) => {
    let newest = Number.NEGATIVE_INFINITY
    return times.filter((at) => {
      const late = at < newest - 15 * MINUTE
      newest = Math.max(newest, at)
      return late
    }).length
  }

  test('0 to 15 minutes for all, 24 hours for 1 %, 14 days for 0.01 %, quarters of an hour in reverse', {
    timeout: 120_000,
  }, async () => {
    const next = random(5)
    const calls = month(next).map(({ at, change }) => ({
      at,
      record: record({ ...change, eventTime: iso(at) }),
      calm: JSON.stringify(change).includes('user/calm'),
    }))
    const received = { receivedAt: START + 60 * DAY, closing: START + 90 * DAY }
    const ordered = await judgeAll(keptOf(calls.map((one) => one.record)), [700], received)
    let fortnight = 0
    const arriving = calls.map((one) => {
      const dice = next()
      const reversed = 15 * MINUTE - (one.at % (15 * MINUTE))
      if (one.calm && fortnight < 3 && dice < 0.02) {
        fortnight++
        return { ...one, arrives: one.at + 14 * DAY }
      }
      if (dice < 0.01) return { ...one, arrives: one.at + DAY }
      if (dice < 0.2) return { ...one, arrives: Math.floor(one.at / (15 * MINUTE)) * 15 * MINUTE + reversed }
      return { ...one, arrives: one.at + next() * 15 * MINUTE }
    })
    arriving.sort((a, b) => a.arrives - b.arrives)
    const other = await judgeAll(keptOf(arriving.map((one) => one.record)), [700], received)
    expect(fortnight).toBe(3)
    expect(ordered.alerts.length).toBeGreaterThan(100)
    expect(idsOf(other)).toEqual(idsOf(ordered))
    expect(other.counters.get('late|logs')).toBe(lateIn(arriving.map((one) => one.at)))
    for (const [id, alert] of last(other)) expect(alert.status, id).not.toBe('withdrawn')
  })
})

describe('R9: duplicates', () => {
  test('every record three times, and once more by another feed: the same alerts, each record kept once', async () => {
    await fc.assert(
      fc.asyncProperty(
        history,
        fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 4 }),
        async (all, sizes) => {
          const once = await judgeAll(keptOf(byTime(all)), [500])
          const kept = keptOf(byTime(all))
          const many = await judgeAll(
            [...kept, ...keptOf(byTime(all), 'other', 'b.json'), ...kept, ...kept],
            sizes,
          )
          expect(idsOf(many)).toEqual(idsOf(once))
          for (const [id, alert] of last(once))
            expect(last(many).get(id)?.evidence.total).toBe(alert.evidence.total)
          expect(many.counters.get('kept|logs')).toBe(all.length)
          expect(many.counters.get('duplicate|logs')).toBe(2 * all.length)
          expect(many.counters.get('duplicate|other')).toBe(all.length)
        },
      ),
      { numRuns: 15 },
    )
  }, 120_000)
})

describe('R7: clocks', () => {
  test.each(['9999-01-01T00:00:00Z', '1970-01-01T00:00:00Z'])(
    'a record from %s does not make all others late',
    async (eventTime) => {
      const future = record({ ...role(1), eventTime })
      const burst = Array.from({ length: 60 }, (_, n) =>
        record({ ...role(0), eventTime: iso(START + n * 1000) }),
      )
      const judged = await judgeAll(keptOf([future, ...burst]), [10], { receivedAt: START + 120_000 })
      expect(judged.counters.get('late|logs')).toBeUndefined()
      expect(judged.alerts.some((alert) => alert.detector.id === 'burst-decrypt')).toBe(true)
    },
  )

  test.each<[name: string, clock: (turn: number) => number]>([
    ['a day forward in the middle', (turn) => START + (turn < 6 ? 120_000 : DAY)],
    ['a day back in the middle', (turn) => START + (turn < 6 ? 120_000 : -DAY)],
    ['ten minutes back, step by step', (turn) => START + 600_000 - turn * 50_000],
    ['trembling by half a second', (turn) => START + 120_000 + (turn % 2 === 0 ? 500 : -500)],
    ['a leap second twice', (turn) => START + 120_000 + (turn >> 1) * 1000],
    ['an hour behind the source', () => START - 3_600_000],
  ])('the clock goes %s while records come: the same alerts', async (_name, clock) => {
    const burst = Array.from({ length: 120 }, (_, n) =>
      record({ ...role(n % 2), eventTime: iso(START + n * 1000) }),
    )
    const plain = await judgeAll(keptOf(burst), [10])
    const other = await judgeAll(keptOf(burst), [10], { clock })
    expect(idsOf(plain).length).toBeGreaterThan(1)
    expect(idsOf(other)).toEqual(idsOf(plain))
    for (const { window } of other.alerts) expect(window.start <= window.end).toBe(true)
    expect(other.counters.get('late|logs')).toBeUndefined()
  })

  test('a receive clock that jumps back and forth changes no alert', async () => {
    const burst = Array.from({ length: 120 }, (_, n) =>
      record({ ...role(n % 2), eventTime: iso(START + n * 1000) }),
    )
    const plain = await judgeAll(keptOf(burst), [10])
    for (const receivedAt of [START - DAY, START + 7 * DAY])
      expect(idsOf(await judgeAll(keptOf(burst), [10], { receivedAt }))).toEqual(idsOf(plain))
  })
})

describe('R16: a rule that throws', () => {
  /** Throws on the events it matches, as a fault in a rule's code would. */
  const throwing = (): Detector => {
    const [detector] = defineDetectors([
      {
        path: 'bad.yml',
        text: 'title: Bad\nname: bad-rule\nlogsource: {product: keytrail, category: key_usage}\ndetection: {s: {operation: decrypt}, condition: s}\n',
      },
    ]).detectors
    if (detector?.kind !== 'single') throw new Error('a single-event rule was expected')
    const matches = () => {
      throw new Error('out of cheese')
    }
    return { ...detector, rule: { ...detector.rule, matches } }
  }

  test('costs only itself, and is disabled with an alert after five faults', async () => {
    const burst = Array.from({ length: 60 }, (_, n) =>
      record({ ...role(0), eventTime: iso(START + n * 1000) }),
    )
    const plain = await judgeAll(keptOf(burst), [3])
    const faulty = await judgeAll(keptOf(burst), [3], { detectors: [...own, throwing()] })
    const disabled = faulty.alerts.filter((alert) => alert.detector.id === 'detector-disabled')
    expect(disabled).toHaveLength(1)
    expect(disabled[0]?.explanation).toBe('Detector bad-rule failed 5 times and is disabled: out of cheese')
    expect(idsOf({ ...faulty, alerts: faulty.alerts.filter((one) => one !== disabled[0]) })).toEqual(
      idsOf(plain),
    )
    expect(faulty.notices).toHaveLength(6)
    expect(
      faulty.commits.flatMap(({ control }) => control).filter(({ kind }) => kind === 'disabled'),
    ).toHaveLength(1)
    expect(faulty.counters.get('kept|logs')).toBe(60)
  })
})

describe('R16: a rule that is slow', () => {
  /** Stars and a text that almost matches: each place of the text is tried, for each of many patterns. */
  const slow = (patterns: number): Detector[] => {
    const list = Array.from({ length: patterns }, (_, n) => `'*a*a*a*aaaaaaab${n}*'`).join(', ')
    const text = `title: Slow\nname: slow-rule\nlogsource: {product: keytrail, category: key_usage}\ndetection: {s: {change.policy: [${list}, '*end*']}, condition: s}\n`
    return [...defineDetectors([{ path: 'slow.yml', text }]).detectors]
  }
  const policy = JSON.stringify({
    Statement: [
      { Effect: 'Allow', Principal: '*', Action: 'kms:*', Resource: '*', Sid: `${'a'.repeat(20_000)}end` },
    ],
  })
  const changes = Array.from({ length: 8 }, (_, n) =>
    record({
      ...role(0),
      eventName: 'PutKeyPolicy',
      eventTime: iso(START + n * 1000),
      requestParameters: {
        keyId: 'arn:aws:kms:eu-central-1:123456789012:key/1',
        policyName: 'default',
        policy,
      },
    }),
  )

  test('within its steps it finds what it looks for', async () => {
    const { alerts } = await judgeAll(keptOf(changes), [3], { detectors: slow(1) })
    expect(alerts.map(({ detector }) => detector.id)).toEqual(changes.map(() => 'slow-rule'))
  })

  test('beyond them it costs only itself, whatever the batches, and is disabled after five faults', async () => {
    const plain = await judgeAll(keptOf(changes), [3])
    expect(plain.alerts.some(({ detector }) => detector.id === 'policy-public')).toBe(true)
    for (const size of [1, 3, 8]) {
      const faulty = await judgeAll(keptOf(changes), [size], { detectors: [...own, ...slow(200)] })
      const others = faulty.alerts.filter(({ detector }) => detector.id !== 'detector-disabled')
      expect(idsOf({ ...faulty, alerts: others })).toEqual(idsOf(plain))
      expect(
        faulty.alerts.flatMap(({ detector, explanation }) =>
          detector.id === 'detector-disabled' ? explanation : [],
        ),
      ).toEqual([
        'Detector slow-rule failed 5 times and is disabled: it takes more than 2,000,000 steps for one event',
      ])
      expect(faulty.counters.get('kept|logs')).toBe(changes.length)
    }
  })

  test('a scan goes on without it, too', () => {
    const scanned = (detectors: readonly Detector[]) => {
      const alerts: string[] = []
      const faults: boolean[] = []
      const judging = judge(
        recordNormalizer(defaultConfig, undefined),
        detectors,
        (alert) => alerts.push(alert.alert_id),
        () => {},
        (_, _cause, isLast) => faults.push(isLast),
      )
      for (const one of keptOf(changes)) judging.accept(one)
      judging.finish()
      return { alerts: alerts.sort(), faults }
    }
    const { alerts, faults } = scanned([...own, ...slow(200)])
    expect(alerts).toEqual(scanned(own).alerts)
    expect(faults).toEqual([false, false, false, false, true])
  })
})
