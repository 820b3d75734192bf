/** The report of a replay as text. */
import { type AlertChange, type LateEvent, type Measures, type ReplayReport, whys } from '../model/replay.ts'
import { visible } from './escape.ts'

const count = (value: number) => value.toLocaleString('en')

const span = (ms: number): string => {
  const minutes = Math.round(ms / 60_000)
  if (minutes < 120) return `${minutes} min`
  return minutes < 2880 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`
}

const late = ({ id, time, kept, operation, principal, feed, imported }: LateEvent): string =>
  `${operation} by ${principal || 'unknown'} at ${time}, ${imported ? 'imported' : `received ${span(kept - Date.parse(time))} later`} from ${feed} (${id})`

const measures = (one: Measures | undefined): string =>
  one === undefined ? '' : `${one.severity}, observed ${one.observed}, ${one.events} events`

const changeLines = ({ what, alert_id, detector, title, entity, sent, now, why, events }: AlertChange) => [
  `${what.toUpperCase().padEnd(10)} ${(now ?? sent)?.time.first_event}  ${detector}  ${alert_id}`,
  `           ${title}: ${[entity.principal, entity.key_id, entity.account].filter((one) => one !== undefined).join(' ')}`,
  `           ${[sent && `sent: ${measures(sent)}`, now && `now: ${measures(now)}`].filter(Boolean).join('; ')}`,
  `           ${whys[why]}`,
  ...events.map((one) => `             ${late(one)}`),
]

export const renderReplay = (report: ReplayReport, limit = 100): string => {
  const { mode, history, difference, differing, tried, sink } = report
  const lines = [
    `Replay ${report.replay_run_id}, ${mode === 'as_seen' ? 'as seen' : 'corrected'}: ${report.from} to ${report.to}`,
    `  history    ${history.address}: ${count(history.records)} records, root ${history.root.slice(0, 16)}`,
    `  judged     ${count(report.events)} events, from the first one that is kept`,
  ]
  const [begins, ends] = [history.from, history.to].map((time) =>
    time === undefined ? Number.NaN : Date.parse(time),
  )
  if (!(Date.parse(report.from) >= (begins ?? 0) && Date.parse(report.to) <= (ends ?? 0)))
    lines.push(
      `  known      history holds records of ${history.from ?? 'no time'} to ${history.to ?? 'none'}: nothing is known of the rest of the window`,
    )
  if (report.expired > 0)
    lines.push(
      `  INCOMPLETE ${count(report.expired)} records are not kept any more: what detectors had learned from them is not known`,
    )
  if (differing !== undefined)
    lines.push(
      differing.length === 0
        ? `  as sent    ${count(report.alerts)} alert revisions, byte for byte`
        : `  DIFFERS    alerts of ${count(differing.length)} commits are not those that were sent, the first is commit ${differing[0]}${report.expired > 0 ? '; what is not kept any more may be why' : ''}`,
    )
  if (tried !== undefined) {
    const days = Object.entries(tried.by_day).map(([day, alerts]) => `${day} ${alerts}`)
    lines.push(`  tried      ${count(tried.alerts)} alerts${days.length > 0 ? `: ${days.join(', ')}` : ''}`)
    for (const { entity, alerts } of tried.top) lines.push(`             ${count(alerts)} about ${entity}`)
  }
  if (difference !== undefined) {
    const { changes, same, recounted, open, apart } = difference
    const many = (what: AlertChange['what']) => changes.filter((one) => one.what === what).length
    lines.push(
      `  sent       ${count(difference.sent)} alerts; ${count(difference.now)} now: ${count(same)} the same, ${many('added')} added, ${many('withdrawn')} withdrawn, ${many('changed')} changed`,
    )
    if (recounted > 0)
      lines.push(`  recounted  ${count(recounted)} that only count otherwise in the order of what happened`)
    if (open > 0) lines.push(`  open       ${count(open)} that run had not decided when history ends`)
    if (apart > 0)
      lines.push(
        `  apart      ${count(apart)} about Keytrail itself: they hang on when records were received`,
      )
    for (const change of changes.slice(0, limit)) lines.push(...changeLines(change))
    if (changes.length > limit) lines.push(`… ${count(changes.length - limit)} more: see --json`)
  }
  if (sink !== undefined)
    lines.push(
      `  to sink    ${sink.name}: ${count(sink.delivered)} delivered, ${count(sink.refused)} refused`,
    )
  return `${lines.map(visible).join('\n')}\n`
}
