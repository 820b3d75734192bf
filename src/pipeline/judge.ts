/** The judge: records in order, without duplicates, become events; detectors see them; everything is counted. */
import type { Detector } from '../detect/definition.ts'
import { type Engine, engine, MAX_FAULTS } from '../detect/engine.ts'
import { MemoryState } from '../detect/state.ts'
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { RejectReason, SkipReason } from '../model/outcome.ts'
import { parse } from '../normalize/json.ts'
import { countUp } from './count.ts'
import { conflictId, deduplicator } from './deduplicate.ts'
import type { Kept } from './intake.ts'
import type { RecordNormalizer } from './normalize-record.ts'
import { sessions } from './sessions.ts'

export interface JudgeTally {
  kept: number
  duplicate: number
  /** Found only when the record was parsed: intake decides most records by their bytes. */
  readonly rejected: Map<RejectReason, { count: number; readonly example: string }>
  readonly skipped: Map<SkipReason, number>
  readonly services: Map<string, number>
  readonly operations: Map<string, number>
  readonly outcomes: Map<string, number>
  readonly mfa: Map<string, number>
  first: string | undefined
  last: string | undefined
}

export interface Judge {
  accept(kept: Kept): void
  /** @param until milliseconds since 1970: terms that end later are not over; the last event unless said */
  finish(until?: number): void
  readonly tally: JudgeTally
  readonly engine: Engine
  /** Groups forgotten because there were too many at a time. */
  readonly forgotten: number
}

/** Groups that fell silent are forgotten after as many events. */
const SWEEP_EVENTS = 65_536

/** A rule faulted: `last` says that it is asked no more. */
export type OnFault = (detector: string, cause: unknown, last: boolean) => void

const rethrow: OnFault = (_, cause) => {
  throw cause
}

export const judge = (
  normalize: RecordNormalizer,
  detectors: readonly Detector[],
  onAlert: (alert: Alert) => void,
  onEvent: (event: KeyEvent, at: number) => void,
  onFault = rethrow,
): Judge => {
  const faults = new Map<string, number>()
  const state = new MemoryState()
  const signIns = sessions(state)
  const detecting = engine(
    detectors.filter(({ facts }) => !facts.experimental),
    {
      state,
      finalizeMs: 0,
      revisions: 'last',
      onAlert,
      onFault({ id }, cause) {
        const last = (countUp(faults, id).get(id) ?? 0) >= MAX_FAULTS
        if (last) detecting.stop(id)
        onFault(id, cause, last)
      },
    },
  )
  let judged = 0
  const verdictOf = deduplicator()
  const tally: JudgeTally = {
    kept: 0,
    duplicate: 0,
    rejected: new Map(),
    skipped: new Map(),
    services: new Map(),
    operations: new Map(),
    outcomes: new Map(),
    mfa: new Map(),
    first: undefined,
    last: undefined,
  }

  const reject = (reason: RejectReason, { raw }: Kept) => {
    const known = tally.rejected.get(reason)
    if (known === undefined) tally.rejected.set(reason, { count: 1, example: `${raw.place}:${raw.number}` })
    else known.count++
  }

  const count = (event: KeyEvent) => {
    tally.kept++
    countUp(tally.services, event.source.service)
    countUp(tally.operations, event.operation)
    countUp(tally.outcomes, event.outcome)
    countUp(tally.mfa, event.auth.mfa)
    tally.first ??= event.time.event
    tally.last = event.time.event
  }

  return {
    accept(kept) {
      const value = parse(kept.raw.bytes.toString('utf8'))
      if (value === undefined) return reject('broken_json', kept)
      const result = normalize(value, { ...kept.raw, eventId: kept.order.slice(-32) })
      if (result.kind === 'rejected') return reject(result.reason, kept)
      if (result.kind === 'skipped') return void countUp(tally.skipped, result.reason)
      const verdict = verdictOf(kept, result.event.parse_warnings?.includes('time_fallback') ?? false)
      if (verdict.kind === 'duplicate') {
        tally.duplicate++
        return
      }
      const { event } = result
      if (verdict.kind === 'conflict') {
        event.event_id = event.action_id = conflictId(event.event_id, verdict.content)
        event.parse_warnings = [...(event.parse_warnings ?? []), 'id_conflict']
      }
      const at = Date.parse(event.time.event)
      signIns.fold(event, at)
      count(event)
      detecting.tick(at, state.due(at))
      for (const plan of detecting.match(event, at, value)) detecting.fold(plan)
      if (++judged % SWEEP_EVENTS === 0) state.sweep(at)
      onEvent(event, at)
    },
    finish(until = tally.last === undefined ? 0 : Date.parse(tally.last)) {
      detecting.context.clock = until
      detecting.tick(Number.POSITIVE_INFINITY, state.due(Number.POSITIVE_INFINITY))
    },
    tally,
    engine: detecting,
    get forgotten() {
      return state.forgotten
    },
  }
}
