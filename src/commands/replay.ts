/** `keytrail replay`: a window of history judged again, as it was seen then or with all that is known now. */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { rawRules } from '../detect/raw-rules.ts'
import { ndjsonFile } from '../forward/ndjson.ts'
import { openState } from '../history/manifest.ts'
import type { SealedPast } from '../history/past.ts'
import { type RecordedDetectors, recordedDetectors, rejudge } from '../journal/rejudge.ts'
import { RUN_BYTES, sorter, temporaryFolder } from '../journal/sorted-runs.ts'
import { memoryJournal } from '../journal/sqlite.ts'
import type { Alert } from '../model/alert.ts'
import { type Config, defaultConfig } from '../model/config.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { ReplayDifference, ReplayReport } from '../model/replay.ts'
import { parse } from '../normalize/json.ts'
import { Scanner } from '../normalize/scanner.ts'
import { printable, sha256 } from '../normalize/text.ts'
import { type Brief, briefOf, compare } from '../pipeline/difference.ts'
import { forward } from '../pipeline/forward.ts'
import type { Kept } from '../pipeline/intake.ts'
import { judge } from '../pipeline/judge.ts'
import { emptyCommit } from '../pipeline/live-judge.ts'
import { merge, orderOf } from '../pipeline/order.ts'
import { renderReplay } from '../render/replay.ts'
import { type Progress, progress } from '../telemetry/progress.ts'
import { summaryOf } from './backtest.ts'
import { findHistory, type WhichHistory } from './history-where.ts'
import { build, type InForce, normalizer } from './in-force.ts'
import { SMALL_NURSERY } from './run.ts'
import { sinksOf } from './sinks.ts'
import { momentOf } from './where.ts'

export interface ReplayOptions extends WhichHistory {
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly asSeen: boolean
  readonly detectors: readonly string[]
  readonly alerts?: string | undefined
  readonly toSink?: string | undefined
  readonly workers?: number | undefined
  readonly json: boolean
  readonly quiet: boolean
}

/** Events judged between two looks at the signal. */
const SLICE = 2000
const MAX_LATE = 100_000

const warn = (text: string) => void process.stderr.write(`keytrail: ${printable(text)}\n`)

interface Replay {
  readonly past: SealedPast
  readonly meter: Progress
  readonly signal: AbortSignal
  readonly from: string
  readonly to: string
  /** Whether an alert, or a revision of it, belongs to the window: some of its events lie in it. */
  belongs(time: Alert['time']): boolean
  tell(alert: Alert, line: string): Promise<void>
}

const asSeen = async ({ past, meter, signal, from, to, belongs, tell }: Replay) => {
  const withRaw = past.detectors.some((body) => rawRules(recordedDetectors(body)) !== undefined)
  let events = 0
  let revisions = 0
  const chosen: { alert: Alert; line: string }[] = []
  const commits = async function* () {
    for await (const commit of past.commits(withRaw, await past.lastOf(from, to))) {
      signal.throwIfAborted()
      yield commit
      for (const { alert, line } of chosen.splice(0)) await tell(alert, line)
    }
  }
  const found = await rejudge(commits(), ({ items }, judged) => {
    events += items.length
    for (const line of judged) {
      const alert = JSON.parse(line) as Alert // written by the judge
      if (!belongs(alert.time)) continue
      revisions++
      chosen.push({ alert, line })
    }
    meter.update(() => `judged ${events.toLocaleString('en')} of ${past.events.toLocaleString('en')} events`)
  })
  return { events, alerts: revisions, differing: found.differences.map(({ seq }) => seq) }
}

const corrected = async (
  { past, meter, signal, belongs, tell }: Replay,
  today: InForce,
  only: boolean,
  folder: () => string,
): Promise<Pick<ReplayReport, 'events' | 'alerts' | 'tried'> & { difference: ReplayDifference }> => {
  const { normalize } = normalizer(today)
  const { detectors } = today
  const scanner = new Scanner()
  const sorters = new Map<string, ReturnType<typeof sorter>>()
  let read = 0
  for await (const { seq, item, leaf, kept, feed, time, raw: bytes } of past.records()) {
    const whole = scanner.scan(bytes, 0, bytes.length, false) === 'done'
    const [place, number] = seq > 0 ? [String(seq), item] : ['leaf', leaf]
    const raw = {
      feed_id: feed,
      transport: 'file' as const,
      place,
      number,
      bytes,
      members: whole ? scanner.members : undefined,
      envelopeTime: time,
      received: new Date(kept).toISOString(),
    }
    const seen = whole ? normalize.glance(bytes, scanner, 0) : undefined
    const result = seen === undefined ? normalize(parse(bytes.toString('utf8')), raw) : undefined
    const order =
      seen?.kind === 'kept'
        ? orderOf(seen.time, seen.eventId)
        : result?.kind === 'event' && orderOf(result.event.time.event, result.event.event_id)
    const name = `feed-${sorters.size}`
    const sorted = sorters.get(feed) ?? sorter(folder, name, RUN_BYTES)
    sorters.set(feed, sorted)
    if (order) sorted.kept({ order, raw })
    if (++read % SLICE === 0) {
      meter.update(() => `read ${read.toLocaleString('en')} of ${past.events.toLocaleString('en')} events`)
      signal.throwIfAborted()
    }
  }

  const now: Brief[] = []
  const alerts: Alert[] = []
  const judging = judge(
    normalize,
    detectors,
    (alert) => {
      now.push(briefOf(alert))
      if (belongs(alert.time)) alerts.push(alert)
    },
    () => {},
    (detector, cause, last) =>
      warn(
        `detector ${detector} failed on an event: ${messageOf(cause)}${last ? '; it is left out from here on' : ''}`,
      ),
  )
  let told = 0
  const tellAll = async () => {
    for (const alert of alerts.splice(0)) {
      await tell(alert, JSON.stringify(alert))
      told++
    }
  }
  let count = 0
  const runs: Iterator<Kept>[] = [...sorters.values()].flatMap((one) => one.runs())
  for (const one of merge(runs)) {
    judging.accept(one)
    if (++count % SLICE === 0) {
      meter.update(() => `judged ${count.toLocaleString('en')} of ${past.events.toLocaleString('en')} events`)
      await tellAll()
      signal.throwIfAborted()
    }
  }
  judging.finish(past.decided)
  await tellAll()
  if (judging.forgotten > 0)
    warn(
      `${judging.forgotten} groups were forgotten within their window: too many at a time to count them all`,
    )

  const sent: Brief[] = []
  for await (const body of past.sent()) sent.push(briefOf(JSON.parse(body) as Alert)) // written by run
  const late = await past.late(MAX_LATE)
  if (late.length === MAX_LATE)
    warn(`more than ${MAX_LATE} events came late: only the first of them are named as reasons`)
  const inForce = past.detectors.flatMap((body) => (JSON.parse(body) as RecordedDetectors).ids) // written by run
  const difference = compare({
    sent,
    now,
    detectors: new Map(detectors.map(({ facts }) => [facts.id, facts.content_hash])),
    only,
    inForce: new Set(inForce),
    late,
    decided: past.decided,
    belongs: ({ time }) => belongs(time),
  })
  const chosen = now.flatMap(({ entity, measures: { time, severity } }) =>
    belongs(time) ? [{ entity, time, severity }] : [],
  )
  return {
    events: judging.tally.kept,
    alerts: told,
    ...(only && { tried: summaryOf(chosen) }),
    difference,
  }
}

/** Sends alerts to a sink of the configuration, as `run` does. */
const sender = (config: Config | undefined, name: string) => {
  const setting = config?.sinks[name]
  if (setting === undefined)
    throw new KeytrailError(
      'usage.option',
      `there is no sink ${name}: ${Object.keys(config?.sinks ?? {}).join(', ') || 'the configuration names none'}`,
    )
  const found = sinksOf(name, setting, warn).find(({ selection }) => selection.alerts)
  if (found === undefined) throw new KeytrailError('usage.option', `sink ${name} takes no alerts`)
  const journal = memoryJournal({ days: 1, bytes: Number.MAX_SAFE_INTEGER })
  let sent = 0
  return {
    async add(alerts: readonly Alert[]) {
      sent += alerts.filter(found.selection.wantsAlert).length
      await journal.commit({ ...emptyCommit, seq: journal.next, at: 0, alerts })
    },
    async deliver(signal: AbortSignal) {
      let refused = 0
      const counting = {
        ...journal,
        settle: async (...[sink, cursor, dead]: Parameters<typeof journal.settle>) => {
          refused += dead.length
          await journal.settle(sink, cursor, dead)
        },
      }
      await forward(
        {
          ...found,
          selection: { ...found.selection, feed: false },
          journal: counting,
          news: () => Promise.resolve(),
          random: Math.random,
          clock: Date.now,
          onNotice: warn,
          closing: AbortSignal.abort(),
        },
        signal,
      )
      await journal.close()
      signal.throwIfAborted()
      return { name, delivered: sent - refused, refused }
    },
  }
}

/** @returns 0; 1 when an alert comes out otherwise than it was sent; 3 when history is incomplete or has nothing of the window, or a sink refused some */
export const replay = async (options: ReplayOptions, signal: AbortSignal): Promise<number> => {
  setFlagsFromString(SMALL_NURSERY)
  if (options.asSeen && options.detectors.length > 0)
    throw new KeytrailError(
      'usage.option',
      '--as-seen judges with the detectors of then: leave --detectors out',
    )
  const { store, found: config } = await findHistory(options)
  const state = await openState(store)
  const times = [...state.files.values()].flatMap(({ kind, time }) => (kind === 'feed' ? time : [])).sort() // an act, or a checkpoint, is of the day it was made
  const now = Date.now()
  const moment = (text: string | undefined, otherwise = new Date(now).toISOString()) =>
    new Date(text === undefined ? Date.parse(otherwise) : momentOf(text, now)).toISOString()
  const [from, to] = [moment(options.from, times[0]), moment(options.to, times.at(-1))]
  if (from > to) throw new KeytrailError('usage.option', '--from is later than --to')
  const sink = options.toSink === undefined ? undefined : sender(config, options.toSink)
  /** Detectors that are tried take the place of those in force: what waits for its trial is told, too. */
  const tried = options.detectors.length > 0
  const today = (): InForce => {
    const base = config ?? defaultConfig
    if (!tried) return build(base)
    const force = build({
      ...base,
      detectors: { ...base.detectors, folders: [...options.detectors], default: false, disable: [] },
    })
    return {
      ...force,
      detectors: force.detectors.map((one) => ({ ...one, facts: { ...one.facts, experimental: false } })),
    }
  }
  const mode = options.asSeen ? 'as_seen' : 'corrected'
  const judged = options.asSeen ? undefined : today()
  const hashes = judged?.detectors.map(({ facts }) => facts.content_hash)
  const id = `replay-${sha256(JSON.stringify([mode, from, to, state.tree.root, hashes])).slice(0, 16)}`
  const meter = progress(process.stderr, options.quiet)
  const { openPast } = await import('../history/past.ts')
  const temporary = temporaryFolder()
  let past: SealedPast | undefined
  try {
    past = await openPast(
      store,
      state,
      join(temporary.path, 'duckdb'),
      options.workers ?? availableParallelism(),
    )
    if (options.asSeen && past.events > past.imported && past.detectors.length === 0)
      throw new KeytrailError(
        'history.missing',
        'the record of the detectors that were in force is not kept any more: use --corrected',
      )
    const file = options.alerts === undefined ? undefined : ndjsonFile(options.alerts)
    const one: Replay = {
      past,
      meter,
      signal,
      from,
      to,
      belongs: ({ first_event, last_event }) =>
        Date.parse(last_event) >= Date.parse(from) && Date.parse(first_event) <= Date.parse(to),
      async tell(alert, line) {
        const tagged: Alert = { ...alert, replay_run_id: id }
        file?.write(options.asSeen ? line : JSON.stringify(tagged))
        await sink?.add([tagged])
      },
    }
    const result =
      judged === undefined ? await asSeen(one) : await corrected(one, judged, tried, () => temporary.path)
    file?.close()
    meter.done()
    const rows = [...state.files.values()].reduce((sum, each) => sum + each.rows, 0)
    const report: ReplayReport = {
      replay_run_id: id,
      mode,
      from,
      to,
      history: {
        address: store.address,
        records: state.tree.size,
        root: state.tree.root,
        from: times[0],
        to: times.at(-1),
      },
      expired: state.tree.size - rows,
      ...result,
      ...(sink && { sink: await sink.deliver(signal) }),
    }
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : renderReplay(report))
    if ((report.differing?.length ?? 0) > 0 && report.expired === 0) return 1
    const { from: begins = '', to: ends = '' } = report.history
    const isOutside = !(Date.parse(begins) <= Date.parse(to) && Date.parse(ends) >= Date.parse(from))
    return report.expired > 0 || (report.sink?.refused ?? 0) > 0 || isOutside ? 3 : 0
  } finally {
    meter.done()
    past?.close()
    temporary.remove()
  }
}
