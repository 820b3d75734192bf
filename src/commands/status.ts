/** `keytrail status`: how a journal is doing, as it is or again and again. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Store } from '../journal/store.ts'
import { printable } from '../normalize/text.ts'
import {
  COVERAGE,
  type Coverage,
  type FeedCoverage,
  LAST_EVENTS,
  type LastEvents,
  noCoverage,
  patienceWith,
} from '../pipeline/coverage.ts'
import { HISTORIES, type Histories } from '../pipeline/judging.ts'
import { NOT_TAKEN, type Trouble } from '../pipeline/ports.ts'
import { type ObjectStatus, objectsOf, renderObjects } from './status-objects.ts'
import { dataFolder, type Where } from './where.ts'

export interface StatusOptions extends Where {
  readonly json: boolean
  readonly watch: boolean
}

const WATCH_MS = 2000
const RATE_MS = 60_000
const DAY_MS = 86_400_000

interface Feed {
  readonly name: string
  readonly received: number
  readonly kept: number
  readonly duplicate: number
  readonly skipped: number
  readonly rejected: number
  readonly late: number
  /** Time of its newest event, and how long that is ago, in seconds. */
  readonly last: string | undefined
  readonly lag: number | undefined
  /** Longest pause between two records in the last days, in seconds; from the second day on. */
  readonly pause: number | undefined
  /** Why its source cannot read now. */
  readonly trouble: string | undefined
  /** Silences that were told, with their reason; the last one may go on. */
  readonly gaps: FeedCoverage['gaps']
}

export interface Status {
  readonly folder: string
  readonly running: boolean
  readonly feeds: readonly Feed[]
  readonly sinks: readonly {
    readonly name: string
    readonly events: number
    /** None: it takes no alerts. */
    readonly alerts?:
      | {
          readonly delivered: number
          readonly pending: number
          readonly dead: number
          readonly unselected: number
        }
      | undefined
    /** When something counts as delivered. */
    readonly delivery?: string | undefined
    /** What keeps it from taking more. */
    readonly trouble?: Trouble | undefined
    readonly bytes: number
    readonly oldest: number | undefined
  }[]
  readonly objects: ObjectStatus
  readonly alerts: number
  readonly rate: number
  readonly laws: { readonly records: boolean; readonly alerts: boolean }
  readonly learning: readonly {
    readonly detector: string
    readonly needDays: number
    readonly haveDays: number
  }[]
}

const outcomes = ['received', 'kept', 'duplicate', 'skipped', 'rejected', 'late'] as const

export const statusOf = (store: Store, folder: string, now: number): Status => {
  const counters = store.counters()
  const last = (store.value(LAST_EVENTS) ?? {}) as LastEvents // kept by the judge
  const { feeds: covered } = (store.value(COVERAGE) ?? noCoverage()) as Coverage // kept by the judge
  const counted = [...counters.keys()].map((name) => name.split('|')[1] ?? '')
  const names = [...new Set([...counted, ...Object.keys(covered)])].sort()
  const feeds = names.map((name): Feed => {
    const sums = Object.fromEntries(
      outcomes.map((outcome) => [
        outcome,
        [...counters]
          .filter(([key]) => key === `${outcome}|${name}` || key.startsWith(`${outcome}|${name}|`))
          .reduce((sum, [, value]) => sum + value, 0),
      ]),
    ) as Record<(typeof outcomes)[number], number> // made from that list
    const newest = last[name]?.newest
    const cover = covered[name]
    const { pauses = [], trouble, gaps = [] } = cover ?? {}
    const isKnown = cover !== undefined && patienceWith(cover) !== undefined
    return {
      name,
      ...sums,
      last: newest === undefined ? undefined : new Date(newest).toISOString(),
      lag: newest === undefined ? undefined : Math.round((now - newest) / 1000),
      pause: !isKnown ? undefined : Math.round(Math.max(...pauses.map(([, ms]) => ms)) / 1000),
      trouble,
      gaps,
    }
  })
  const total = store.alertCount()
  const letters = store.deadCounts()
  const troubles = store.troubles()
  const sinks = [...store.cursors()].map(([name, cursor]) => {
    const { events, alerts, bytes, oldest } = store.behind(cursor)
    const dead = letters.find((one) => one.sink === name && one.stream === 'alerts')?.count ?? 0
    return {
      name,
      events,
      alerts:
        cursor.alerts === NOT_TAKEN
          ? undefined
          : {
              delivered: total - alerts - dead - cursor.passed,
              pending: alerts,
              dead,
              unselected: cursor.passed,
            },
      delivery: typeof cursor.memo['delivery'] === 'string' ? cursor.memo['delivery'] : undefined,
      trouble: troubles.get(name),
      bytes,
      oldest: oldest === undefined ? undefined : Math.round((now - oldest) / 1000),
    }
  })
  const histories = Object.entries((store.value(HISTORIES) ?? {}) as Histories) // kept by the judge
  return {
    folder,
    running: store.isLocked(),
    feeds,
    sinks,
    objects: objectsOf(store),
    alerts: total,
    rate: Math.round(store.eventsSince(now - RATE_MS) / (RATE_MS / 1000)),
    laws: {
      records: feeds.every((one) => one.received === one.kept + one.duplicate + one.skipped + one.rejected),
      alerts: sinks.every(({ alerts }) => alerts === undefined || alerts.delivered >= 0),
    },
    learning: histories
      .filter(([, { needMs, haveMs }]) => haveMs < needMs)
      .map(([detector, { needMs, haveMs }]) => ({
        detector,
        needDays: needMs / DAY_MS,
        haveDays: Math.floor((haveMs / DAY_MS) * 10) / 10,
      })),
  }
}

const n = (value: number) => value.toLocaleString('en')

/** `3 s`, `5 min`, `2 h`, `8 d` */
const span = (seconds: number | undefined): string => {
  if (seconds === undefined) return '-'
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  )
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ')}`
  return [line(head), ...rows.map(line)].join('\n')
}

const GAPS_SHOWN = 3
const minute = (at: number) => new Date(at).toISOString().slice(0, 16).replace('T', ' ')

/** What is wrong with a feed, and when it was silent. */
const coverageOf = ({ name, trouble, gaps }: Feed): string[] => [
  ...(trouble === undefined ? [] : [`  ${name} CANNOT BE READ: ${printable(trouble)}`]),
  ...gaps
    .slice(-GAPS_SHOWN)
    .map(({ from, to, detail }) =>
      to === undefined
        ? `  ${name} IS SILENT since ${minute(from)} UTC. ${printable(detail)}`
        : `  ${name} was silent from ${minute(from)} to ${minute(to)} UTC. ${printable(detail)}`,
    ),
]

const render = (status: Status): string => {
  const { feeds, sinks, laws, learning } = status
  const feedRows = feeds.map((one) => [
    one.name,
    n(one.received),
    n(one.kept),
    n(one.duplicate),
    n(one.skipped),
    n(one.rejected),
    n(one.late),
    one.last?.slice(0, 19).replace('T', ' ') ?? '-',
    span(one.lag),
    span(one.pause),
  ])
  const sinkRows = sinks.map((one) => [
    one.name,
    ...[one.alerts?.delivered, one.alerts?.pending, one.alerts?.dead, one.alerts?.unselected].map((count) =>
      count === undefined ? '-' : n(count),
    ),
    n(one.events),
    n(one.bytes),
    span(one.oldest),
  ])
  const held = (law: boolean) => (law ? 'holds' : 'IS BROKEN: please report this')
  return [
    `${status.folder}: ${status.running ? 'running' : 'not running'}, ${n(status.rate)} events/s in the last minute, ${n(status.alerts)} alert revisions`,
    '',
    table(
      [
        'feed',
        'received',
        'kept',
        'duplicate',
        'skipped',
        'rejected',
        'late',
        'last event (UTC)',
        'ago',
        'longest pause',
      ],
      feedRows,
    ),
    ...renderObjects(status.objects),
    ...feeds.flatMap(coverageOf),
    '',
    table(
      ['sink', 'alerts delivered', 'pending', 'dead', 'unselected', 'events behind', 'bytes', 'oldest'],
      sinkRows,
    ),
    ...sinks.flatMap(({ name, delivery }) =>
      delivery === undefined ? [] : [`  ${name}: delivered means ${delivery}`],
    ),
    ...sinks.flatMap(({ name, trouble }) =>
      trouble === undefined
        ? []
        : [
            `  ${name} ${trouble.fault ? 'HOLDS' : 'is tried again'} since ${new Date(trouble.since).toISOString().slice(0, 19)}Z: ${printable(trouble.reason)}`,
          ],
    ),
    '',
    `received = kept + duplicate + skipped + rejected ${held(laws.records)}`,
    `alerts = delivered + pending + dead + unselected ${held(laws.alerts)}`,
    ...(learning.length === 0
      ? []
      : [
          `${learning.length} ${learning.length === 1 ? 'detector is' : 'detectors are'} still learning: ${learning
            .map((one) => `${one.detector} needs ${one.needDays} days, has ${one.haveDays}`)
            .join('; ')}`,
        ]),
    '',
  ].join('\n')
}

export const status = async (options: StatusOptions, signal: AbortSignal): Promise<number> => {
  const folder = dataFolder(options)
  const store = new Store(folder, 'reader')
  try {
    for (;;) {
      const found = statusOf(store, folder, Date.now())
      const text = options.json ? `${JSON.stringify(found)}\n` : render(found)
      const clear = options.watch && process.stdout.isTTY && !options.json ? '\x1b[2J\x1b[H' : ''
      process.stdout.write(clear + text)
      if (!options.watch || signal.aborted) return 0
      await sleep(WATCH_MS, undefined, { signal }).catch(() => {}) // the signal ends it
      if (signal.aborted) return 0
    }
  } finally {
    store.close()
  }
}
