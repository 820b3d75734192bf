/** Records through the live judge on a journal in memory: in any order, in batches, with a restart after each. */
import type { Detector } from '../../src/detect/definition.ts'
import { rawRules } from '../../src/detect/raw-rules.ts'
import { memoryJournal } from '../../src/journal/sqlite.ts'
import type { Alert } from '../../src/model/alert.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { intake, type Kept } from '../../src/pipeline/intake.ts'
import { emptyBatch, liveJudge } from '../../src/pipeline/live-judge.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import { type CloudTrailRecord, delivery } from './cloudtrail.ts'

export interface Judging {
  readonly batch?: number
  /** A judge with nothing in memory takes over after each batch. */
  readonly restarts?: boolean
  readonly receivedAt: number
  /** Time of the last tick. */
  readonly closing: number
}

export const judged = async (
  records: readonly CloudTrailRecord[],
  detectors: readonly Detector[],
  { batch: size = 1000, restarts = false, receivedAt, closing }: Judging,
): Promise<Alert[]> => {
  const settings = { ...defaultConfig, rules: rawRules(detectors) }
  const kept: Kept[] = []
  const reader = intake(
    {
      feed_id: 'logs',
      transport: 'file',
      place: 'a.json',
      received: () => '2026-03-02T12:00:00Z',
      settings,
      strict: false,
    },
    { kept: (one) => kept.push(one) },
  )
  reader.push(delivery(records))
  reader.end()
  const journal = memoryJournal({ days: 7, bytes: 1e9 })
  const normalize = recordNormalizer(settings, undefined)
  const make = () => liveJudge(journal, normalize, detectors, () => {})
  let judge = make()
  for (let at = 0; at < kept.length; at += size) {
    const batch = emptyBatch()
    batch.kept.push(...kept.slice(at, at + size))
    await journal.commit(await judge.judge(batch, receivedAt))
    if (restarts) judge = make()
  }
  await journal.commit(await judge.tick({ at: closing, caughtUp: ['logs'] }))
  const alerts = (await journal.alerts(0, 100_000)).map(({ alert }) => alert)
  await journal.close()
  return alerts
}

export const alertIds = (alerts: readonly Alert[]): string[] =>
  [...new Set(alerts.filter(({ status }) => status !== 'withdrawn').map(({ alert_id }) => alert_id))].sort()
