/**
 * Coverage: whether every feed still speaks. A feed that is silent for longer than it ever is raises one alert, with
 * the reason as far as it is known: its source cannot read, logging was switched off before, or nobody knows. Judged
 * on ticks alone, so that judging a journal again finds the same.
 */
import { timeText } from '../detect/evidence.ts'
import { signalId } from '../detect/signal.ts'
import { ALERT_SCHEMA_VERSION, type Alert } from '../model/alert.ts'
import { sha256 } from '../normalize/text.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** A feed is known when it was heard on this many days; then silence means something. */
const LEARN_DAYS = 2
/** Days of which the longest pause is remembered: a week has all its days in it. */
const PAUSE_DAYS = 8
/** So many times its longest pause a feed may be silent. */
const PATIENCE = 2
/** Deliveries of all three clouds stay away so long now and then (formats.md section 1.7: 15 minutes, and bursts). */
const SHORTEST_MS = HOUR_MS
/** Ticks come every 10 s: after so long without one, Keytrail did not run, and whose silence it was is not known. */
const AWAY_MS = 60_000
/** What switched logging off lies no longer before the silence than a delivery takes. */
const BEFORE_MS = HOUR_MS
const MAX_GAPS = 20

/** What a tick says of a feed. */
export interface FeedBeat {
  /** When its last record was received, milliseconds since 1970; absent before the first. */
  readonly heard?: number
  /** Why its source cannot read. */
  readonly trouble?: string
  /** When a call was made of which a record must have come by now, and of those after it. */
  readonly called?: number
}

export type SilenceReason = 'source' | 'logging_off' | 'unknown'

interface Gap {
  /** Last record before, milliseconds since 1970. */
  readonly from: number
  /** First record after, if there was one. */
  to?: number
  reason: SilenceReason
  detail: string
  revision: number
}

/** What is remembered of a feed. */
export interface FeedCoverage {
  heard: number
  /** Longest pause of each day since 1970, milliseconds; the last ones. */
  pauses: [day: number, ms: number][]
  trouble?: string | undefined
  /** Silences that were told, the last ones. */
  gaps: Gap[]
}

export interface Coverage {
  /** Of the last tick, milliseconds since 1970. */
  at: number
  feeds: Record<string, FeedCoverage>
  /** The last alert about logging, by provider. */
  off: Partial<
    Record<Alert['provider'], { readonly at: number; readonly alert: string; readonly title: string }>
  >
}

/** The last event of each feed. */
export type LastEvents = Record<
  string,
  {
    readonly id: string
    readonly provider: Alert['provider']
    readonly account: string
    /** Time of the newest one, milliseconds since 1970; absent in older journals. */
    readonly newest?: number
  }
>

export const COVERAGE = 'coverage|'
export const LAST_EVENTS = 'last-events|'
export const noCoverage = (): Coverage => ({ at: 0, feeds: {}, off: {} })

/** How long a feed may be silent, milliseconds; `undefined`: not known yet. */
export const patienceWith = ({ pauses }: FeedCoverage): number | undefined =>
  pauses.length < LEARN_DAYS
    ? undefined
    : Math.max(SHORTEST_MS, PATIENCE * Math.max(...pauses.map(([, ms]) => ms)))

const facts = {
  id: 'feed-silence',
  version: 1,
  content_hash: sha256('feed-silence 1'),
}

const span = (ms: number) =>
  ms < 2 * HOUR_MS ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / HOUR_MS)} h`

const alertOf = (feed: string, gap: Gap, at: number, patience: number, last: LastEvents[string]): Alert => ({
  schema_version: ALERT_SCHEMA_VERSION,
  alert_id: signalId(facts, [feed, gap.from]),
  revision: gap.revision,
  kind: 'signal',
  status: gap.revision === 1 ? 'new' : 'updated',
  detector: { ...facts },
  severity: 'high',
  title: 'A feed is silent',
  explanation: `Feed ${feed} brought nothing from ${timeText(gap.from)} ${gap.to === undefined ? 'on' : `to ${timeText(gap.to)}`}; more than ${span(patience)} is not usual for it. ${gap.detail}`,
  entity: { account: last.account || undefined },
  provider: last.provider,
  account: last.account,
  window: { start: timeText(gap.from), end: timeText(gap.to ?? at) },
  time: { first_event: timeText(gap.from), last_event: timeText(gap.to ?? at) },
  observed: Math.round(((gap.to ?? at) - gap.from) / 1000),
  threshold: Math.round(patience / 1000),
  evidence: { event_ids: [last.id], total: 1, sample: [] },
  labels: { feed, reason: gap.reason },
  attack: [],
  controls: ['AU-5', 'SI-4'],
  triage: [
    'What does `keytrail doctor` say of this source, and `keytrail status` of the others?',
    'Is logging still switched on where the records come from: trail, diagnostic setting, audit configuration, subscription?',
    'What happened at that place since then? Read it there, and scan it when the feed is back.',
  ],
})

const reasonOf = (
  one: FeedCoverage,
  off: { readonly at: number; readonly alert: string; readonly title: string } | undefined,
  missed: number | undefined,
) => {
  if (one.trouble !== undefined)
    return { reason: 'source', detail: `Its source cannot read: ${one.trouble}` } as const
  if (off !== undefined && off.at >= one.heard - BEFORE_MS)
    return {
      reason: 'logging_off',
      detail: `Logging was switched off before, at ${timeText(off.at)}: ${off.title} (alert ${off.alert}).`,
    } as const
  const canary =
    missed === undefined ? '' : ` The canary key was called since ${timeText(missed)}, and no call came.`
  return {
    reason: 'unknown',
    detail: `Its source finds nothing new, and nothing says why.${canary}`,
  } as const
}

/** Learns from alerts what switched logging off. @returns whether that was news */
export const listen = (coverage: Coverage, alerts: readonly Alert[]): boolean => {
  const off = alerts.filter(({ detector }) => detector.id.startsWith('log-'))
  for (const { provider, time, alert_id, title } of off)
    coverage.off[provider] = { at: Date.parse(time.last_event), alert: alert_id, title }
  return off.length > 0
}

/**
 * A tick: what every feed did since the last one. @returns alerts about silence that begins, changes or ends; a feed
 * that never brought an event about keys is seen in `status` alone
 */
export const judgeSilence = (
  coverage: Coverage,
  at: number,
  feeds: Readonly<Record<string, FeedBeat>>,
  events: LastEvents,
): Alert[] => {
  const alerts: Alert[] = []
  const wasAway = at - coverage.at > AWAY_MS
  coverage.at = at
  for (const [feed, { heard, trouble, called }] of Object.entries(feeds)) {
    const one: FeedCoverage = coverage.feeds[feed] ?? { heard: 0, pauses: [], gaps: [] }
    coverage.feeds[feed] = one
    one.trouble = trouble
    const event = events[feed]
    const last = one.gaps.at(-1)
    const open = last !== undefined && last.to === undefined ? last : undefined
    const missed = called !== undefined && one.heard > 0 && one.heard < called ? called : undefined
    const patience = missed === undefined ? patienceWith(one) : at - missed
    const tell = (gap: Gap, limit: number) => {
      gap.revision++
      if (event !== undefined) alerts.push(alertOf(feed, gap, at, limit, event))
    }
    if (heard !== undefined && heard > one.heard) {
      if (open !== undefined) {
        open.to = heard
        tell(open, patience ?? SHORTEST_MS)
      }
      const pause =
        wasAway || one.heard === 0 || (open !== undefined && open.reason !== 'unknown')
          ? 0
          : heard - one.heard
      const day = Math.floor(heard / DAY_MS)
      const before = one.pauses.find(([known]) => known === day)
      if (before !== undefined) before[1] = Math.max(before[1], pause)
      else one.pauses = [...one.pauses, [day, pause] satisfies [number, number]].slice(-PAUSE_DAYS)
      one.heard = heard
    } else if (wasAway && one.heard > 0 && open === undefined) one.heard = at
    else if (patience !== undefined && at - one.heard > patience) {
      const found = reasonOf(one, event && coverage.off[event.provider], missed)
      if (open === undefined) {
        const gap: Gap = { from: one.heard, ...found, revision: 0 }
        one.gaps = [...one.gaps, gap].slice(-MAX_GAPS)
        tell(gap, patience)
      } else if (open.reason !== found.reason) tell(Object.assign(open, found), patience)
    }
  }
  return alerts
}
