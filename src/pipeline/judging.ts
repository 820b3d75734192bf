/**
 * The judge's core: events in journal order, state in the journal, time as a watermark. The same for `run` and for
 * judging a journal again: nothing but the journal's own content decides.
 */
import type { Detector, DetectorFacts } from '../detect/definition.ts'
import { type Engine, engine, MAX_FAULTS, type Spent } from '../detect/engine.ts'
import { noteOf } from '../detect/evidence.ts'
import { alertOf, begin, witness } from '../detect/opened.ts'
import { signalId } from '../detect/signal.ts'
import type { Alert } from '../model/alert.ts'
import { messageOf } from '../model/error.ts'
import type { KeyEvent } from '../model/event.ts'
import { printable, sha256 } from '../normalize/text.ts'
import {
  COVERAGE,
  type Coverage,
  type FeedBeat,
  judgeSilence,
  LAST_EVENTS,
  type LastEvents,
  listen,
  noCoverage,
} from './coverage.ts'
import { type IntegrityCheck, integrityAlert } from './integrity.ts'
import type { Journal } from './ports.ts'
import { sessions } from './sessions.ts'
import { CachedState, type StateChanges } from './state-cache.ts'

const MINUTE_MS = 60_000
/** How long events of a provider are expected to come (detection-science.md section 4). */
const LATENESS_MS: Readonly<Record<string, number>> = {
  aws: 15 * MINUTE_MS,
  azure: 15 * MINUTE_MS,
  gcp: 5 * MINUTE_MS,
}
export const MAX_LATENESS_MS = 15 * MINUTE_MS
const MIN_LATENESS_MS = 5 * MINUTE_MS
/** A record from the future moves the watermark no further than this beyond its receipt. */
const CLOCK_TOLERANCE_MS = 5 * MINUTE_MS
/** A bucket may change for so long behind its end. */
const FINALIZE_MS = 24 * 60 * MINUTE_MS
const FOR_EVER = Number.MAX_SAFE_INTEGER

/** A detector of our own: what it says of another one. */
const disabledFacts: DetectorFacts = {
  id: 'detector-disabled',
  version: 1,
  content_hash: sha256('detector-disabled 1'),
  title: 'Detector disabled after repeated faults',
  description: 'A rule threw again and again. The others go on; what it would have found is not found.',
  severity: 'high',
  raise: [],
  experimental: false,
  author: undefined,
  license: undefined,
  reference: undefined,
  tags: [],
  controls: ['SI-4', 'AU-5'],
  explanation: undefined,
  triage: [
    'Which detector is it, and when was it changed last? `keytrail validate` checks it.',
    'What does it guard, and which other detector covers that meanwhile?',
    'Correct or remove its file and restart; then scan the time in between with `keytrail scan`.',
  ],
  falsepositives: [],
  path: '',
}

export interface Entry {
  readonly feed: string
  readonly event: KeyEvent
  /** Time of the event, milliseconds since 1970. */
  readonly at: number
  /** The record as its provider wrote it, parsed; needed when the engine reads it. */
  readonly raw?: unknown
}

export interface Heartbeat {
  /** Milliseconds since 1970. */
  readonly at: number
  /** Feeds whose sources have nothing unread. */
  readonly caughtUp: readonly string[]
  /** What every feed did; absent in older journals. */
  readonly feeds?: Readonly<Record<string, FeedBeat>>
  /** Those are all feeds: of others nothing is expected any more. */
  readonly isAll?: boolean
}

export interface Disabled {
  readonly detector: string
  readonly version: number
  readonly reason: string
}

/** What judging changed since the last time it was asked. */
export interface Changes extends StateChanges {
  readonly alerts: readonly Alert[]
  readonly signals: readonly Alert[]
}

export interface Judging {
  /**
   * Judges the events of one commit in order; sets `time.late`. A chunk is judged when the next one is asked for.
   * @param newest milliseconds since 1970: no event is later
   * @param receivedAt milliseconds since 1970, when they were received
   */
  events(
    chunks: Iterable<readonly Entry[]> | AsyncIterable<readonly Entry[]>,
    newest: number,
    receivedAt: number,
  ): Promise<void>
  /** Time passes. @returns the watermark, `undefined` before the first event */
  tick(beat: Heartbeat): Promise<number | undefined>
  /** Logs are not what was delivered. */
  integrity(check: IntegrityCheck): void
  /** Another set of detectors, from here on. */
  use(detectors: readonly Detector[]): void
  /** Detectors that threw too often since the last time it was asked. */
  faulty(): Disabled[]
  /** Takes a detector out; `event` is the last one judged. */
  disable(one: Disabled, event: KeyEvent): void
  changes(): Changes
  readonly engine: Engine
}

const NOTHING: readonly never[] = []

/** Milliseconds since 1970 before which no event of a feed is expected any more. */
type Marks = Record<string, number>
const MARKS = 'marks|'
/** How long the histories are that detectors learn from. */
export const HISTORIES = 'histories|'
export type Histories = Record<string, { readonly needMs: number; readonly haveMs: number }>

export const judging = (
  journal: Pick<Journal, 'load' | 'due' | 'unmerged'>,
  detectors: readonly Detector[],
  onNotice: (text: string) => void,
  spent?: Spent,
  state = new CachedState(),
): Judging => {
  const signIns = sessions(state)
  const faults = new Map<string, number>()
  const disabled = new Set<string>()
  let current = detectors
  let experimental = new Set<string>()
  let alerts: Alert[] = []
  let signals: Alert[] = []
  let broken: Disabled[] = []

  const build = (): Engine => {
    experimental = new Set(current.filter(({ facts }) => facts.experimental).map(({ facts }) => facts.id))
    return engine(
      current.filter(({ facts }) => !disabled.has(facts.id)),
      {
        state,
        finalizeMs: FINALIZE_MS,
        revisions: 'all',
        spent,
        onAlert: (alert) => (experimental.has(alert.detector.id) ? signals : alerts).push(alert),
        onFault({ id, version }, cause) {
          const count = (faults.get(id) ?? 0) + 1
          faults.set(id, count)
          const reason = printable(messageOf(cause)).slice(0, 256)
          onNotice(`detector ${id} failed on an event: ${reason}`)
          if (count === MAX_FAULTS) broken.push({ detector: id, version, reason })
        },
      },
    )
  }
  let detecting = build()

  let isRecovered = false
  const fetchMissing = async () => {
    if (!isRecovered) state.recover(await journal.unmerged())
    isRecovered = true
    const missing = state.missing()
    if (missing !== undefined) state.load(await journal.load(missing))
  }
  const marks = () => (state.get(MARKS) ?? {}) as Marks // only these are kept under this key
  const watermarkOf = (all: Marks) => Math.min(Number.POSITIVE_INFINITY, ...Object.values(all))

  /** A copy: what is in the state changes by `put` alone. */
  const coverage = () => structuredClone((state.get(COVERAGE) ?? noCoverage()) as Coverage) // only this is kept under this key

  const lastEvents = () => (state.get(LAST_EVENTS) ?? {}) as LastEvents // likewise

  const keepHistories = () => {
    const kept: Histories = { ...(state.get(HISTORIES) as Histories | undefined) } // only these are kept under this key
    for (const [id, { needMs, haveMs }] of detecting.context.histories)
      kept[id] = { needMs, haveMs: Math.max(haveMs, kept[id]?.haveMs ?? 0) }
    state.put(HISTORIES, kept, FOR_EVER)
  }

  /** Decides what is due. */
  const pass = (watermark: number) => {
    if (Number.isFinite(watermark)) detecting.tick(watermark, state.due(watermark))
  }

  const lastOf = ({ event, at }: Entry, before: LastEvents[string] | undefined): LastEvents[string] => ({
    id: event.event_id,
    provider: event.source.provider,
    account: event.target.account ?? event.actor.account ?? '',
    newest: Math.max(at, before?.newest ?? 0),
  })

  /** Time goes on with an event: it may be late, others may be due. */
  const advance = ({ feed, event, at }: Entry, all: Marks, receivedAt: number) => {
    const before = all[feed] ?? Number.NEGATIVE_INFINITY
    if (at < before) event.time.late = true
    const lateness = LATENESS_MS[event.source.provider] ?? MAX_LATENESS_MS
    const mark = Math.min(at, receivedAt + CLOCK_TOLERANCE_MS) - lateness
    if (mark <= before) return
    all[feed] = mark
    pass(watermarkOf(all))
  }

  return {
    get engine() {
      return detecting
    },
    async events(chunks, newest, receivedAt) {
      let due: ReturnType<typeof journal.due> | undefined
      let all: Marks | undefined
      let last: LastEvents = {}
      for await (const entries of chunks) {
        if (entries.length === 0) continue
        if (due === undefined) {
          due = journal.due(Math.min(newest, receivedAt + CLOCK_TOLERANCE_MS) - MIN_LATENESS_MS)
          due.catch(() => {}) // awaited below, unless the journal fails before that
          for (const key of [MARKS, COVERAGE, LAST_EVENTS]) state.wants.value(key)
        }
        for (const { event } of entries) signIns.needs(event, state.wants)
        await fetchMissing()
        for (const { event, at } of entries) signIns.fold(event, at)
        const plans = entries.map(({ event, at, raw }) => {
          const found = detecting.match(event, at, raw)
          for (const plan of found) plan.needs(state.wants)
          return found
        })
        await fetchMissing()
        if (all === undefined) {
          state.loadTimed(await due)
          all = { ...marks() }
          last = { ...lastEvents() }
          pass(watermarkOf(all))
        }
        for (const [index, entry] of entries.entries()) {
          advance(entry, all, receivedAt)
          for (const plan of plans[index] ?? NOTHING) detecting.fold(plan)
          last[entry.feed] = lastOf(entry, last[entry.feed])
        }
      }
      if (all === undefined) return
      state.put(MARKS, all, FOR_EVER)
      state.put(LAST_EVENTS, last, FOR_EVER)
      const known = coverage()
      if (listen(known, alerts)) state.put(COVERAGE, known, FOR_EVER)
    },
    async tick({ at, caughtUp, feeds, isAll = false }) {
      state.wants.value(COVERAGE)
      state.wants.value(LAST_EVENTS)
      state.wants.value(MARKS)
      state.wants.value(HISTORIES)
      await fetchMissing()
      const all = { ...marks() }
      for (const feed of caughtUp) all[feed] = Math.max(all[feed] ?? 0, at - MAX_LATENESS_MS)
      // A feed that is read no more holds the others back no longer.
      if (isAll) for (const feed in all) if (!Object.hasOwn(feeds ?? {}, feed)) delete all[feed]
      state.put(MARKS, all, FOR_EVER)
      const watermark = watermarkOf(all)
      keepHistories()
      if (feeds !== undefined) {
        const known = coverage()
        alerts.push(...judgeSilence(known, at, feeds, lastEvents()))
        state.put(COVERAGE, known, FOR_EVER)
      }
      for (const id of detecting.context.full)
        onNotice(`detector ${id}: a group had more events than are held, it has no verdict on them`)
      detecting.context.full.clear()
      if (!Number.isFinite(watermark)) return undefined
      state.loadTimed(await journal.due(watermark))
      pass(watermark)
      state.forget(watermark, FINALIZE_MS)
      return watermark
    },
    integrity: (check) => void alerts.push(integrityAlert(check)),
    use(next) {
      current = next
      disabled.clear()
      faults.clear()
      detecting = build()
    },
    faulty() {
      const found = broken
      broken = []
      return found
    },
    disable(one, event) {
      disabled.add(one.detector)
      detecting = build()
      const explanation = `Detector ${one.detector} failed ${MAX_FAULTS} times and is disabled: ${one.reason.replace(/[{}]/g, '')}`
      const opened = begin({ ...disabledFacts, explanation }, event, {
        alertId: signalId(disabledFacts, [one.detector, one.version, event.event_id]),
        severity: disabledFacts.severity,
        threshold: MAX_FAULTS,
        timespan: '0s',
        entity: {},
      })
      opened.draft.observed = MAX_FAULTS
      witness(opened, event.event_id, event.time.event, noteOf(event))
      alerts.push(alertOf(opened))
    },
    changes() {
      const made = { alerts, signals, ...state.changes() }
      alerts = []
      signals = []
      return made
    },
  }
}
