/** What `status` says of objects of buckets: how many were read, and which are missing from the feed. */
import type { FateCount, Missing } from '../journal/ledger.ts'
import type { Store } from '../journal/store.ts'
import type { IntegrityVerdict } from '../model/integrity.ts'
import { objectReasons } from '../model/outcome.ts'
import { entry } from '../normalize/json.ts'
import { printable } from '../normalize/text.ts'

export interface ObjectStatus {
  readonly counts: readonly FateCount[]
  /** The newest of them. */
  readonly missing: readonly Missing[]
  /** Objects by what their digests say of them. */
  readonly verdicts: Partial<Record<IntegrityVerdict, number>>
}

const MAX_MISSING = 5

export const objectsOf = ({ ledger }: Store): ObjectStatus => ({
  counts: ledger.counts(),
  missing: ledger.missing(MAX_MISSING),
  verdicts: ledger.verdicts(),
})

const n = (value: number) => value.toLocaleString('en')
const outcomes = ['read', 'skipped', 'failed', 'waiting'] as const

/** @returns lines; none when there is no object */
export const renderObjects = ({ counts, missing, verdicts }: ObjectStatus): string[] => {
  const feeds = [...new Set(counts.map(({ feed }) => feed))].sort()
  const shown = missing.length
  const total = counts
    .filter(({ outcome }) => outcome === 'failed' || outcome === 'waiting')
    .reduce((sum, { objects }) => sum + objects, 0)
  const judged = Object.entries(verdicts).map(([verdict, objects]) => `${n(objects)} ${verdict}`)
  return [
    ...feeds.map((feed) => {
      const parts = outcomes.flatMap((outcome) => {
        const own = counts.filter((one) => one.feed === feed && one.outcome === outcome)
        if (own.length === 0) return []
        const sum = own.reduce((all, { objects }) => all + objects, 0)
        const why = own.flatMap(({ reason, objects }) =>
          reason === undefined ? [] : [`${reason} ${n(objects)}`],
        )
        return [`${n(sum)} ${outcome}${why.length === 0 ? '' : ` (${why.join(', ')})`}`]
      })
      return `  ${feed}: objects ${parts.join(', ')}`
    }),
    ...(judged.length === 0 ? [] : [`  digests of CloudTrail: objects ${judged.join(', ')}`]),
    ...missing.map(
      ({ feed, place, outcome, reason, detail, at }) =>
        `  GAP ${feed}: ${printable(place)} ${outcome === 'waiting' ? 'waits' : 'is lost'} since ${new Date(at).toISOString().slice(0, 19)}Z: ${entry(objectReasons, reason) ?? reason}${detail === '' ? '' : ` (${printable(detail)})`}`,
    ),
    ...(total > shown ? [`  and ${n(total - shown)} more objects are missing`] : []),
  ]
}
