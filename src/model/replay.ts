/** What a replay of history reports. */
import type { Alert } from './alert.ts'

/** An event that a corrected replay knows and `run` did not know in time. */
export interface LateEvent {
  readonly id: string
  readonly time: string
  /** Milliseconds since 1970: when it was received. */
  readonly kept: number
  readonly feed: string
  readonly operation: string
  readonly key: string
  readonly principal: string
  /** It came by `backfill --into history`: `run` never saw it. */
  readonly imported: boolean
}

/** Why an alert is otherwise than it was sent. */
export const whys = {
  late_event: 'an event came late',
  late_event_near: 'a late event of the same key or caller lies before or within it',
  detector: 'its detector was not in force then, or is another one now',
  unknown:
    'no late event and no detector explains it: what is known of keys and callers, or how records are read, has changed since',
} as const
export type Why = keyof typeof whys

export type Measures = Pick<Alert, 'severity' | 'observed' | 'time'> & { readonly events: number }

export interface AlertChange {
  readonly what: 'added' | 'withdrawn' | 'changed'
  readonly alert_id: string
  readonly detector: string
  readonly title: string
  readonly entity: Alert['entity']
  readonly sent?: Measures | undefined
  readonly now?: Measures | undefined
  readonly why: Why
  readonly events: readonly LateEvent[]
}

export interface ReplayDifference {
  readonly sent: number
  readonly now: number
  readonly same: number
  /** The same alerts, whose counts hang on the order in which events came within the lateness that is usual. */
  readonly recounted: number
  readonly changes: readonly AlertChange[]
  /** Alerts that `run` has not decided yet: their day was not final when history ends. */
  readonly open: number
  /** Alerts about Keytrail itself: they hang on when records were received, and stay as they were sent. */
  readonly apart: number
}

export interface ReplayReport {
  readonly replay_run_id: string
  readonly mode: 'as_seen' | 'corrected'
  readonly from: string
  readonly to: string
  readonly history: {
    readonly address: string
    readonly records: number
    readonly root: string
    /** Of its first and last event or alert; absent when it has none. */
    readonly from?: string | undefined
    readonly to?: string | undefined
  }
  /** Records that history does not hold any more, of those it had: what was before them is not known. */
  readonly expired: number
  readonly events: number
  readonly alerts: number
  /** As seen: commits whose alerts come out otherwise than they were sent. */
  readonly differing?: readonly number[]
  readonly difference?: ReplayDifference
  /** Of detectors that were tried: how often they would have told, and about whom. */
  readonly tried?: {
    readonly alerts: number
    readonly by_day: Readonly<Record<string, number>>
    readonly by_severity: Readonly<Record<string, number>>
    readonly top: readonly { readonly entity: string; readonly alerts: number }[]
  }
  readonly sink?: { readonly name: string; readonly delivered: number; readonly refused: number }
}
