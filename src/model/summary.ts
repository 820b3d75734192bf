/** What a scan found: the object that `scan --json` prints, and what the report shows beyond it. */
import type { Alert } from './alert.ts'
import type { Criticality, Operation } from './operations.ts'
import type { FileFailReason, FileSkipReason, RejectReason, SkipReason } from './outcome.ts'

export interface Summary {
  readonly alerts: { readonly by_detector: Readonly<Record<string, number>>; readonly total: number }
  readonly files: { readonly failed: number; readonly read: number; readonly skipped: number }
  readonly mfa: Readonly<Record<string, number>>
  readonly operations: Readonly<Record<string, number>>
  readonly outcomes: Readonly<Record<string, number>>
  readonly records: {
    readonly duplicate: number
    readonly kept: number
    readonly received: number
    readonly rejected: number
    readonly skipped: number
  }
  readonly rejections: readonly {
    readonly count: number
    readonly example: string
    readonly reason: RejectReason
  }[]
  readonly services: Readonly<Record<string, number>>
}

/** What became of one file. */
export interface FileResult {
  readonly path: string
  readonly status: 'read' | 'skipped' | 'failed'
  readonly reason?: FileSkipReason | FileFailReason | undefined
  readonly detail?: string | undefined
  readonly received: number
  readonly skipped: Readonly<Partial<Record<SkipReason, number>>>
  readonly rejected: readonly {
    readonly reason: RejectReason
    readonly count: number
    readonly example: string
  }[]
}

/** The life of one key in the scanned time. */
export interface KeyTimeline {
  readonly key: string
  readonly events: number
  readonly first: string
  readonly last: string
  readonly operations: Readonly<Partial<Record<Operation, number>>>
  readonly principals: number
  /** Events per slot of the whole span, for a small chart. */
  readonly slots: readonly number[]
  /** Changes, refusals and critical uses, in order; at most 50. */
  readonly notable: readonly {
    readonly time: string
    readonly criticality: Criticality
    readonly text: string
  }[]
}

/** Everything a person may want to see of a scan. */
export interface ScanReport {
  readonly summary: Summary
  readonly files: readonly FileResult[]
  readonly skipped: Readonly<Partial<Record<SkipReason, number>>>
  readonly alerts: readonly Alert[]
  /** Alerts that are not listed because there are too many. */
  readonly alertsNotListed: number
  readonly span: { readonly first: string; readonly last: string } | undefined
  readonly keys: readonly KeyTimeline[]
  readonly keysNotListed: number
  readonly detectors: number
  readonly problems: readonly string[]
  readonly ungrouped: number
  readonly paths: readonly string[]
}
