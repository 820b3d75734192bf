/** What `run` tells Prometheus: the sums that must hold, what is behind, what was left out and why, what it costs. */
import { extname } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getHeapSpaceStatistics } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { Counter, Gauge, Registry } from 'prom-client'
import { packageVersion } from '../config/paths.ts'
import type { Store } from '../journal/store.ts'
import type { Status } from './status.ts'

interface Found {
  readonly status: Status
  /** `outcome|feed`, `outcome|feed|reason` */
  readonly counters: readonly (readonly [name: string, value: number])[]
  readonly dead: ReturnType<Store['deadCounts']>
  readonly bytes: number
  readonly sizes: ReturnType<Store['stateSizes']>
}

export type StatusReply =
  | ({ readonly kind: 'found' } & Found)
  | { readonly kind: 'failed'; readonly reason: string }

/** What only the running process knows. */
export interface Live {
  /** Milliseconds that detectors took. */
  readonly spent: ReadonlyMap<string, number>
  /** Ids of the detectors in force. */
  readonly detectors: readonly string[]
  /** Feeds that are read. */
  readonly feeds: readonly string[]
  readonly budget: number
  readonly isHeld: boolean
  readonly reloads: { readonly taken: number; readonly refused: number; readonly isLastTaken: boolean }
}

type Sample = readonly [value: number | undefined, ...labels: readonly string[]]

interface Metric {
  readonly kind: 'counter' | 'gauge'
  readonly help: string
  readonly labels: readonly string[]
  samples(found: Found, live: Live): readonly Sample[]
}

const metric =
  (kind: Metric['kind']) =>
  (help: string, labels: string, samples: Metric['samples']): Metric => ({
    kind,
    help,
    labels: labels === '' ? [] : labels.split(' '),
    samples,
  })
const [counter, gauge] = [metric('counter'), metric('gauge')]

type Feed = Status['feeds'][number]
type SinkStatus = Status['sinks'][number]

const outcomes = ['kept', 'duplicate', 'skipped', 'rejected']
const counted = ({ counters }: Found, names: readonly string[]): Sample[] =>
  counters.flatMap(([name, value]) => {
    const [outcome = '', feed = '', reason = ''] = name.split('|')
    return names.includes(outcome) ? [[value, feed, outcome, reason] as const] : []
  })
const ofFeeds = (value: (feed: Feed) => number | undefined) => (found: Found) =>
  found.status.feeds.map((feed): Sample => [value(feed), feed.name])
/** Only of those that are read: one that was taken out is not late. */
const ofRead = (value: (feed: Feed) => number | undefined) => (found: Found, live: Live) =>
  ofFeeds(value)(found).filter(([, feed]) => live.feeds.includes(feed ?? ''))
const ofSinks = (value: (sink: SinkStatus) => number | undefined) => (found: Found) =>
  found.status.sinks.map((sink): Sample => [value(sink), sink.name])
const ofState = (value: (size: Found['sizes'][number]) => number) => (found: Found, live: Live) =>
  found.sizes
    .filter(({ detector }) => live.detectors.includes(detector))
    .map((size): Sample => [value(size), size.detector])

const delay = monitorEventLoopDelay({ resolution: 20 })

const lastOf = ({ last }: Feed) => (last === undefined ? undefined : Date.parse(last) / 1000)
const isReadable = ({ trouble }: Feed) => Number(trouble === undefined)
const isSilent = ({ gaps }: Feed) => Number(gaps.length > 0 && gaps.at(-1)?.to === undefined)
const ageOf = ({ oldest }: SinkStatus) => oldest ?? 0
const failureOf = ({ trouble }: SinkStatus) => (trouble === undefined ? 0 : trouble.fault ? 2 : 1)

/** Names of the process and of Node are those of the OpenTelemetry semantic conventions, as Prometheus writes them. */
const table: Readonly<Record<string, Metric>> = {
  target_info: gauge('Which program answers', 'service_name service_version', () => [
    [1, 'keytrail', packageVersion()],
  ]),
  keytrail_records_received_total: counter(
    'Records received',
    'feed',
    ofFeeds(({ received }) => received),
  ),
  keytrail_records_total: counter('Records by what became of them', 'feed outcome reason', (found) =>
    counted(found, outcomes),
  ),
  keytrail_records_late_total: counter(
    'Late events, judged all the same',
    'feed',
    ofFeeds(({ late }) => late),
  ),
  keytrail_feed_last_event_timestamp_seconds: gauge('Time of the newest event', 'feed', ofFeeds(lastOf)),
  keytrail_feed_lag_seconds: gauge(
    'Age of the newest event',
    'feed',
    ofRead(({ lag }) => lag),
  ),
  keytrail_feed_readable: gauge('0: its source cannot read', 'feed', ofRead(isReadable)),
  keytrail_feed_silent: gauge('1: silent for longer than it ever is', 'feed', ofRead(isSilent)),
  keytrail_objects: gauge('Objects of buckets by what became of them', 'feed outcome reason', ({ status }) =>
    status.objects.counts.map(({ feed, outcome, reason, objects }) => [objects, feed, outcome, reason ?? '']),
  ),
  keytrail_alert_revisions_total: counter('Revisions of alerts made', '', ({ status }) => [[status.alerts]]),
  keytrail_sink_alerts: gauge('Revisions of alerts by where they are', 'sink state', ({ status }) =>
    status.sinks.flatMap(({ name, alerts }) =>
      Object.entries(alerts ?? {}).map(([state, count]): Sample => [count, name, state]),
    ),
  ),
  keytrail_sink_oldest_pending_age_seconds: gauge('Age of the oldest unsettled', 'sink', ofSinks(ageOf)),
  keytrail_sink_pending_events: gauge(
    'Events not settled',
    'sink',
    ofSinks(({ events }) => events),
  ),
  keytrail_sink_pending_bytes: gauge(
    'Journal that waits for a sink',
    'sink',
    ofSinks(({ bytes }) => bytes),
  ),
  keytrail_sink_failing: gauge('1: tried again, 2: holds until somebody acts', 'sink', ofSinks(failureOf)),
  keytrail_dead_letters: gauge('Refused and not decided on', 'sink stream', ({ dead }) =>
    dead.map(({ sink, stream, count }) => [count, sink, stream]),
  ),
  keytrail_detector_seconds_total: counter('Time that a detector took', 'detector', (_, { spent }) =>
    [...spent].map(([id, ms]) => [ms / 1000, id]),
  ),
  keytrail_detector_state_entries: gauge(
    'Values it remembers',
    'detector',
    ofState(({ entries }) => entries),
  ),
  keytrail_detector_state_bytes: gauge(
    'Size of what it remembers',
    'detector',
    ofState(({ bytes }) => bytes),
  ),
  keytrail_detectors: gauge('Detectors in force', '', (_, { detectors }) => [[detectors.length]]),
  keytrail_journal_size_bytes: gauge('Size of the journal', '', ({ bytes }) => [[bytes]]),
  keytrail_journal_budget_bytes: gauge('A sink further behind stops the reading', '', (_, { budget }) => [
    [budget],
  ]),
  keytrail_journal_writable: gauge('0: the disk takes nothing', '', (_, { isHeld }) => [[Number(!isHeld)]]),
  keytrail_reloads_total: counter('Reloads of the configuration', 'outcome', (_, { reloads }) => [
    [reloads.taken, 'taken'],
    [reloads.refused, 'refused'],
  ]),
  keytrail_last_reload_taken: gauge('0: the last one was refused', '', (_, { reloads }) => [
    [Number(reloads.isLastTaken)],
  ]),
  process_cpu_time_seconds_total: counter('Processor time', 'cpu_mode', () =>
    Object.entries(process.cpuUsage()).map(([mode, microseconds]) => [microseconds / 1e6, mode]),
  ),
  process_memory_usage_bytes: gauge('Resident memory', '', () => [[process.memoryUsage.rss()]]),
  process_uptime_seconds: gauge('Time since the start', '', () => [[process.uptime()]]),
  nodejs_eventloop_delay_p99_seconds: gauge('Since the last scrape', '', () => {
    const p99 = delay.percentile(99) / 1e9
    delay.reset()
    return [[p99]]
  }),
  v8js_memory_heap_used_bytes: gauge('Heap in use', 'v8js_heap_space_name', () =>
    getHeapSpaceStatistics().map(({ space_name, space_used_size }) => [space_used_size, space_name]),
  ),
}

const MEMORY = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 }

export interface Metrics {
  readonly contentType: string
  /** @throws Error when the journal cannot be read */
  scrape(): Promise<string>
  close(): Promise<void>
}

/** @param folder the data directory */
export const metrics = (folder: string, live: () => Live): Metrics => {
  const registry = new Registry()
  const known = Object.entries(table).map(([name, { kind, help, labels, samples }]) => {
    const options = { name, help, labelNames: [...labels], registers: [registry] }
    return { metric: kind === 'counter' ? new Counter(options) : new Gauge(options), labels, samples }
  })
  let worker: Worker | undefined
  const ask = () =>
    new Promise<StatusReply>((resolve, reject) => {
      worker ??= new Worker(new URL(`./status-worker${extname(import.meta.url)}`, import.meta.url), {
        workerData: folder,
        resourceLimits: MEMORY,
      })
      const fail = (cause: unknown) => {
        worker = undefined
        reject(cause)
      }
      worker.once('error', fail)
      worker.once('message', (reply: StatusReply) => {
        worker?.off('error', fail)
        resolve(reply)
      })
      worker.postMessage(Date.now())
    })
  const scrape = async () => {
    delay.enable()
    const reply = await ask()
    if (reply.kind === 'failed') throw new Error(reply.reason)
    const now = live()
    for (const { metric, labels, samples } of known) {
      metric.reset()
      for (const [value, ...names] of samples(reply, now))
        if (value !== undefined)
          metric.inc(Object.fromEntries(labels.map((label, at) => [label, names[at] ?? ''])), value)
    }
    return registry.metrics()
  }
  let running: Promise<string> | undefined
  return {
    contentType: registry.contentType,
    /** Who asks while an answer is made, gets that one. */
    scrape() {
      running ??= scrape().finally(() => {
        running = undefined
      })
      return running
    },
    async close() {
      delay.disable()
      await worker?.terminate()
    },
  }
}
