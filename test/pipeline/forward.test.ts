/** The forward loop with a journal, the Splunk sink and a collector that throttles; time passes as the test says. */
import { afterEach, describe, expect, test } from 'vitest'
import { splunkSink } from '../../src/forward/splunk.ts'
import { memoryJournal } from '../../src/journal/sqlite.ts'
import { type ForwardOptions, forward } from '../../src/pipeline/forward.ts'
import { emptyCommit } from '../../src/pipeline/live-judge.ts'
import type { Commit } from '../../src/pipeline/ports.ts'
import { renderings } from '../../src/render/renderings.ts'
import { type Hec, type HecOptions, type Misbehavior, startHec } from '../standins/hec.ts'
import { alertOf, eventOf } from '../support/deliveries.ts'

const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

const commit = (seq: number, change: Partial<Commit>): Commit => ({ ...emptyCommit, seq, at: 1, ...change })

interface Setup {
  readonly alerts?: number
  readonly events?: number
  readonly server?: HecOptions
  readonly behave?: Hec['behave']
  readonly options?: Partial<ForwardOptions>
}

/** Forwards what a journal holds to the end. */
const drained = async ({ alerts = 0, events = 0, server, behave, options }: Setup) => {
  const hec = await startHec(server)
  if (behave !== undefined) hec.behave = behave
  const journal = memoryJournal({ days: 7, bytes: 1e9 })
  await journal.commit(
    commit(1, {
      items: Array.from({ length: events }, (_, n) => ({
        raw: Buffer.from(`${n}`),
        event: Buffer.from(eventOf(n + 1)),
      })),
      alerts: Array.from({ length: alerts }, (_, n) => alertOf(n + 1)),
    }),
  )
  const notices: string[] = []
  const slept: number[] = []
  const closing = new AbortController()
  closing.abort()
  const all = { wantsAlert: () => true, wantsEvent: () => true }
  await forward(
    {
      sink: splunkSink({
        name: 'splunk',
        url: hec.url,
        token: () => 'the-token',
        ack: 'preferred',
        ackMs: 300_000,
        gzip: true,
        rendering: renderings.cim,
        sourcetype: 'kms:alert',
        inFlight: 2,
        onNotice: (text) => notices.push(text),
      }),
      journal,
      selection: { feed: events > 0, alerts: alerts > 0, ...all },
      news: async () => {},
      random: () => 0.5,
      clock: () => 0,
      sleep: async (ms) => {
        slept.push(ms)
      },
      onNotice: (text) => notices.push(text),
      closing: closing.signal,
      ...options,
    },
    AbortSignal.timeout(50_000),
  )
  const cursor = await journal.cursor('splunk')
  ends.push(
    () => hec.close(),
    () => journal.close(),
  )
  return { hec, journal, cursor, notices, slept }
}

const busy: Misbehavior = { status: 429, body: { text: 'HEC queue is at capacity', code: 26 } }
const until =
  (requests: number, bad: Misbehavior): Hec['behave'] =>
  (kind, number) =>
    kind === 'event' && number > 0 && number <= requests ? bad : undefined // the first is the probe

describe('throttling', () => {
  test.each([
    ['seconds', '1', 1000, 1250],
    ['a minute', '60', 60_000, 66_250],
    ['an hour, cut to five minutes', '3600', 300_000, 330_250],
    ['nonsense', 'soon', 0, 250],
    ['a negative number', '-5', 0, 250],
    ['a date', new Date(Date.now() + 30_000).toUTCString(), 27_000, 34_000],
    ['a date that has passed', new Date(Date.now() - 30_000).toUTCString(), 0, 250],
  ])('Retry-After as %s (%s) is waited for', async (_, value, least, most) => {
    const { hec, slept, cursor } = await drained({
      alerts: 3,
      behave: until(1, { ...busy, headers: { 'retry-after': value } }),
    })
    expect(slept).toHaveLength(1)
    expect(slept[0]).toBeGreaterThanOrEqual(least)
    expect(slept[0]).toBeLessThanOrEqual(most)
    expect(hec.indexed).toHaveLength(3)
    expect(cursor.alerts).toBe(3)
  })

  test('without it the distance doubles up to the longest, spread by chance', async () => {
    const { slept } = await drained({ alerts: 1, behave: until(10, busy) })
    expect(slept).toEqual([125, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  })

  test('a server that takes 20 requests at a time gets at most a fifth more than it needs', async () => {
    let left = 20
    let passes = 0
    const { hec, slept } = await drained({
      alerts: 50_000,
      behave: (kind) =>
        kind === 'event' && --left < 0 ? { ...busy, headers: { 'retry-after': '1' } } : undefined,
      options: {
        sleep: async (ms) => {
          left = 20
          passes += ms >= 1000 ? 1 : 0
        },
      },
    })
    expect(slept).toEqual([])
    expect(passes).toBeGreaterThanOrEqual(4)
    expect(new Set(hec.indexed.map(({ fields }) => fields?.['alert_id'])).size).toBe(50_000)
    expect(hec.requests.length).toBeLessThanOrEqual(1.2 * 100)
  })
})

describe('faults of configuration', () => {
  test('are tried at the longest distance, told once, kept for readers, and nothing is lost', async () => {
    const disabled: Misbehavior = { status: 403, body: { text: 'Token disabled', code: 1 } }
    const { hec, journal, slept, notices } = await drained({ alerts: 2, behave: until(30, disabled) })
    expect(slept).toEqual(Array.from({ length: 30 }, () => 45_000))
    expect(notices).toEqual([
      'splunk: Splunk answers 403, code 1: the token is disabled; it holds until this is corrected, nothing is lost',
      'splunk works again after 0 s',
    ])
    expect(hec.indexed).toHaveLength(2)
    expect(await journal.again('splunk')).toEqual([])
  })
})

test('refused ones become dead letters, their neighbors are delivered', async () => {
  const { hec, cursor, notices } = await drained({
    alerts: 5,
    behave: until(1, {
      status: 400,
      takes: 2,
      body: { text: 'Event field is required', code: 12, 'invalid-event-number': 2 },
    }),
  })
  expect(hec.indexed.map(({ fields }) => fields?.['alert_id'])).toEqual(
    [1, 2, 4, 5].map((n) => alertOf(n).alert_id),
  )
  expect(notices).toEqual([
    `splunk refuses ${alertOf(3).alert_id}: Splunk answers 400, code 12: the event field is required; it is kept as a dead letter`,
  ])
  expect(cursor.alerts).toBe(5)
})

test('what is not selected is passed, and counted', async () => {
  const { hec, cursor } = await drained({
    alerts: 5,
    options: {
      selection: {
        feed: false,
        alerts: true,
        wantsAlert: ({ alert_id }) => alert_id.endsWith('3'),
        wantsEvent: () => true,
      },
    },
  })
  expect(hec.indexed).toHaveLength(1)
  expect(cursor).toMatchObject({ alerts: 5, passed: 4, feed: Number.MAX_SAFE_INTEGER })
})
