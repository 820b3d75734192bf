import { expect, test } from 'vitest'
import { Store } from '../../src/journal/store.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import { judging } from '../../src/pipeline/judging.ts'
import { eventOf } from '../support/deliveries.ts'

const HOUR = 3_600_000
const NOON = Date.parse('2026-03-02T12:00:00Z')

const core = () => {
  const store = new Store(undefined, 'judge')
  return judging(
    {
      load: async (wanted) => store.load(wanted),
      due: async (watermark) => store.due(watermark),
      unmerged: async () => store.unmerged(),
    },
    [],
    () => {},
  )
}
const entry = (feed: string, at: number) => ({
  feed,
  at,
  event: JSON.parse(eventOf(at, { time: { event: new Date(at).toISOString(), late: false } })) as KeyEvent,
})

/** Two feeds, one of them three hours behind. @returns where the watermark is then */
const after = async (beat: { feeds: Record<string, object>; isAll?: boolean }) => {
  const one = core()
  await one.events([[entry('slow', NOON - 3 * HOUR), entry('fast', NOON)]], NOON, NOON)
  return one.tick({ at: NOON, caughtUp: [], ...beat })
}

test('the watermark waits for the slowest feed, but not for one that is taken out', async () => {
  const lateness = HOUR / 4
  const slow = NOON - 3 * HOUR - lateness
  expect(await after({ feeds: { slow: {}, fast: {} }, isAll: true })).toBe(slow)
  expect(await after({ feeds: { fast: {} }, isAll: true })).toBe(NOON - lateness)
  // Another process reads it, as beside a backfill.
  expect(await after({ feeds: { fast: {} } })).toBe(slow)
})
