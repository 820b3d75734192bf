/**
 * A scan as one HTML page to attach to a ticket: alerts first, then how the keys were used, then what could
 * not be read. It holds no script, loads nothing, links only within itself, and depends on its input alone.
 */
import type { Alert } from '../model/alert.ts'
import { type Criticality, criticalities } from '../model/operations.ts'
import {
  type FileFailReason,
  fileFailReasons,
  fileSkipReasons,
  rejectReasons,
  skipReasons,
} from '../model/outcome.ts'
import type { FileResult, KeyTimeline, ScanReport } from '../model/summary.ts'
import {
  between,
  byCount,
  code,
  codeOrNone,
  counts,
  facts,
  type Html,
  html,
  joined,
  listItems,
  markupOf,
  moment,
  number,
  plural,
  table,
  trusted,
  type Words,
  when,
  wordOf,
} from './escape.ts'
import { reportStyle, reportStyleHash, timeChart } from './report-style.ts'

/** Keys, failed files and skipped files shown, of each; the rest is counted. */
const MAX_SHOWN = 100
const MAX_PATHS = 10
/** Keys after these are folded: the first ones have the most notable events. */
const OPEN_KEYS = 5
/** Up to this many alerts need no table of contents. */
const FEW_ALERTS = 3

const badge = (level: Criticality) => html`<span class="badge ${level}">${level}</span>`

const verdict = ({ summary, alerts, alertsNotListed, detectors }: ScanReport): string => {
  const { kept } = summary.records
  if (summary.alerts.total === 0) {
    if (detectors === 0) return 'Nothing was judged: no detector was loaded.'
    if (kept === 0) return 'Nothing was judged: no event about a key was found.'
    return `No alerts. ${plural(detectors, 'detector')} looked at ${plural(kept, 'event')} and found nothing to report.`
  }
  const levels = criticalities.toReversed().flatMap((level) => {
    const count = alerts.filter(({ severity }) => severity === level).length
    return count === 0 ? [] : [`${number(count)} ${level}`]
  })
  if (alertsNotListed > 0) levels.push(`${number(alertsNotListed)} not listed here`)
  return `${plural(summary.alerts.total, 'alert')}: ${levels.join(', ')}.`
}

const header = (report: ScanReport): Html => {
  const { span, paths, problems } = report
  const { files, records } = report.summary
  const { kept, skipped, duplicate, rejected } = records
  const sum = kept + skipped + duplicate + rejected
  const parts = Object.entries({ kept, skipped, duplicate, rejected })
  const lost = `${plural(files.failed, 'file')} failed, ${plural(rejected, 'record')} rejected`
  const more = paths.length > MAX_PATHS ? ` and ${number(paths.length - MAX_PATHS)} more` : ''
  const warning = (isDue: boolean, text: Html) => (isDue ? html`<p class="warning">${text}</p>\n` : '')
  return html`<header>
<h1>Keytrail scan report</h1>
<p class="soft">${span ? `Key use from ${between(span.first, span.last)}` : 'No event was kept, so there is no time span.'}</p>
<p class="verdict"><strong>${verdict(report)}</strong></p>
${warning(files.failed + rejected > 0, html`Not everything could be read: ${lost}. <a href="#unread">What could not be read</a>`)}
${warning(problems.length > 0, html`Not every detector took part: ${plural(problems.length, 'problem')}. <a href="#not-listed">Details</a>`)}
<dl class="numbers">
<div><dt>Files read</dt><dd>${number(files.read)}</dd></div>
<div><dt>Files skipped</dt><dd>${number(files.skipped)}</dd></div>
<div><dt>Files failed</dt><dd>${number(files.failed)}</dd></div>
<div><dt>Records received</dt><dd>${number(records.received)}</dd></div>
</dl>
<p>Records: ${number(records.received)} received = ${parts.map(([name, count]) => `${number(count)} ${name}`).join(' + ')}.
<span class="soft">Kept records are about keys; the detectors judged them.</span></p>
${warning(sum !== records.received, html`The parts add up to ${number(sum)}: please report this fault of Keytrail.`)}
<p class="soft small">Scanned: ${joined(paths.slice(0, MAX_PATHS).map(code))}${more}</p>
</header>
`
}

const technique = ({ v18, v19 }: Alert['attack'][number]) =>
  v18 === v19 ? html`${code(v18)} (v18 and v19)` : html`${code(v18)} (v18), ${code(v19)} (v19)`

const evidenceOf = ({ event_ids, sample, total }: Alert['evidence']): Html => {
  const line = (one: (typeof sample)[number]) =>
    html`${code(one.summary)}<br><span class="soft small">raw record ${code(one.raw_ref)}</span>`
  const which = event_ids.length < total ? `the first ${number(event_ids.length)} ids` : 'all ids'
  return html`<h4>Evidence</h4>
<ol>${listItems(sample.map(line))}</ol>
<details><summary>${plural(total, 'event')} in total: ${which}</summary>
<ul class="ids">${listItems(event_ids.map(code))}</ul></details>
`
}

const alertCard = (alert: Alert, index: number): Html => {
  const { detector, entity, window } = alert
  const { author, license, reference, calibration_hash } = detector
  const labels = Object.entries(alert.labels).map(([name, value]) => code(`${name}=${value}`))
  const source = [author, license, reference].filter((part) => part !== undefined).join(', ')
  const calibration = calibration_hash && html`, calibration ${code(calibration_hash.slice(0, 12))}`
  const content = html`content ${code(detector.content_hash.slice(0, 12))}${calibration}`
  const expected = alert.expected === undefined ? '' : `, expected ${number(alert.expected)}`
  const limit = `threshold ${number(alert.threshold)}${expected}`
  const account = alert.account === '' ? 'account not in the log' : html`account ${code(alert.account)}`
  const status = html`<strong>${alert.status}</strong>, revision ${alert.revision}`
  return html`<article class="alert ${alert.severity}" id="alert-${index + 1}">
<h3>${badge(alert.severity)}${alert.title}</h3>
<p>${alert.explanation}</p>
${facts([
  ['Status', when(alert.status !== 'new', () => status)],
  ['Key', codeOrNone(entity.key_id)],
  ['Caller', codeOrNone(entity.principal)],
  ['Account', codeOrNone(entity.account)],
  ['Time', html`${between(alert.time.first_event, alert.time.last_event)}`],
  ['Window', when(window.start !== window.end, () => html`${between(window.start, window.end)}`)],
  ['Observed', html`<strong>${number(alert.observed)}</strong>, ${limit}`],
  ['Recorded in', html`${alert.provider.toUpperCase()}, ${account}`],
  ['Labels', when(labels.length > 0, () => joined(labels))],
])}
${evidenceOf(alert.evidence)}
<div class="triage"><h4>Decide in three steps</h4>
<ol>${listItems(alert.triage.map((step) => html`${step}`))}</ol></div>
${facts([
  ['MITRE ATT&CK', when(alert.attack.length > 0, () => joined(alert.attack.map(technique), '; '))],
  ['Controls', when(alert.controls.length > 0, () => html`${alert.controls.join(', ')}`)],
  ['Detector', html`${code(detector.id)} version ${detector.version}, ${content}`],
  ['Rule source', when(source !== '', () => html`${source}`)],
  ['Replay run', codeOrNone(alert.replay_run_id)],
  ['Alert', html`${code(alert.alert_id)}<br>${code(`keytrail explain ${alert.alert_id.slice(0, 8)}`)}`],
])}
</article>
`
}

const alertSection = ({ alerts }: ScanReport): Html | undefined => {
  const row = ({ severity, title, entity, time }: Alert, index: number) => [
    html`<a href="#alert-${index + 1}" aria-label="Alert ${index + 1}">${index + 1}</a>`,
    badge(severity),
    html`${title}`,
    code(entity.key_id ?? entity.principal ?? entity.account ?? 'not in the log'),
    html`${moment(time.first_event)}`,
  ]
  const heads = ['Alert', 'Severity', 'What', 'About', 'First event']
  if (alerts.length === 0) return undefined
  return html`<section aria-labelledby="alerts"><h2 id="alerts">Alerts</h2>
${when(alerts.length > FEW_ALERTS, () => table('Alerts at a glance', heads, alerts.map(row)))}${alerts.map(alertCard)}</section>
`
}

const mfaWords: Words = {
  verified: 'the log says that a second factor was used',
  not_used: 'the log says that none was used',
  unknown: 'the log does not say; unknown is not “no”',
  not_applicable: 'no person’s sign-in stands behind the call',
}

const usage = ({ summary }: ScanReport): Html => {
  const mfa = { verified: 0, not_used: 0, unknown: 0, not_applicable: 0, ...summary.mfa }
  return html`<section aria-labelledby="usage"><h2 id="usage">What the key usage looked like</h2>
<div class="tables">
${counts('Services', 'Service', summary.services)}${counts('Outcomes', 'Outcome', summary.outcomes)}
${counts('Operations', 'Operation', summary.operations)}</div>
<div class="wide">${counts('Multi-factor authentication (MFA)', 'MFA', mfa, mfaWords)}</div>
</section>
`
}

const notableList = ({ notable }: KeyTimeline): Html | undefined => {
  if (notable.length === 0) return undefined
  // The text opens with the time as the log writes it.
  const rest = (text: string, time: string) => (text.startsWith(time) ? text.slice(time.length).trim() : text)
  const line = ({ time, criticality, text }: KeyTimeline['notable'][number]) =>
    html`${badge(criticality)}<span>${moment(time)} ${rest(text, time)}</span>`
  return html`<details${notable.length <= 10 ? html` open` : ''}>
<summary>Notable events: ${number(notable.length)}${notable.length >= 50 ? ', the first 50' : ''}</summary>
<ul class="notable">${listItems(notable.map(line))}</ul></details>`
}

const keyCard = (key: KeyTimeline, index: number, span: ScanReport['span']): Html => {
  const operations = byCount({ ...key.operations }).map(([name, count]) => `${name} ${number(count)}`)
  return html`<div class="key"><h3>${code(key.key)}</h3>
<details${index < OPEN_KEYS ? html` open` : ''}>
<summary>${plural(key.events, 'event')} by ${plural(key.principals, 'principal')}, ${number(key.notable.length)} notable</summary>
${timeChart(`chart-${index + 1}`, key, span)}
${facts([
  ['Seen', html`${between(key.first, key.last)}`],
  ['Operations', html`${operations.join(', ')}`],
])}
${notableList(key)}</details></div>
`
}

const keySection = ({
  keys,
  span,
}: ScanReport): Html => html`<section aria-labelledby="keys"><h2 id="keys">Timeline per key</h2>
${when(keys.length === 0, () => html`<p>No event names a key.</p>`)}
${keys.slice(0, MAX_SHOWN).map((key, index) => keyCard(key, index, span))}
${when(keys.length > MAX_SHOWN, () => html`<p>${plural(keys.length - MAX_SHOWN, 'more key')} not shown: those above have the most notable events.</p>`)}
</section>
`

const failRemedies: Readonly<Record<FileFailReason, string>> = {
  unreadable: 'Check that the file exists and may be read, then scan it again.',
  truncated: 'Fetch the file again and compare its size with the original.',
  corrupt: 'Fetch the file again and compare its hash with the CloudTrail digest.',
  bomb: 'Find out where the file comes from. If it is genuine, decompress it yourself and scan the result.',
  no_records: 'Check that it is a log file. If it is, its format is not supported.',
}
const fileReasons: Words = { ...fileSkipReasons, ...fileFailReasons }

const fileList = (all: readonly FileResult[], more: (file: FileResult) => Html | undefined): Html => {
  const line = (file: FileResult) =>
    html`${code(file.path)}: ${wordOf(fileReasons, file.reason) ?? file.reason}${more(file)}`
  const rest = all.length - MAX_SHOWN
  return html`<ul>${listItems(all.slice(0, MAX_SHOWN).map(line))}</ul>
${when(rest > 0, () => html`<p>${plural(rest, 'more file')} not shown.</p>`)}`
}

const remedy = ({ reason, detail, received }: FileResult): Html =>
  html`${detail && ` (${detail})`}${received > 0 ? `; ${plural(received, 'record')} read before that` : ''}.<br><span class="soft">${wordOf(failRemedies, reason)}</span>`

const unread = ({ summary, files, skipped }: ScanReport): Html => {
  const failed = files.filter(({ status }) => status === 'failed')
  const left = files.filter(({ status }) => status === 'skipped')
  const rejected = summary.rejections.map(
    ({ reason, count, example }) =>
      [html`${reason}`, html`${wordOf(rejectReasons, reason)}`, code(example), count] as const,
  )
  const skips = Object.keys(skipped).length
  return html`<section aria-labelledby="unread"><h2 id="unread">What could not be read or was skipped</h2>
${when(failed.length + rejected.length === 0, () => html`<p>Every file and every record could be read.</p>`)}
${when(failed.length > 0, () => html`<h3>Failed files</h3>${fileList(failed, remedy)}`)}
${when(rejected.length > 0, () => table('Rejected records', ['Reason', 'What it means', 'First one', 'Count'], rejected))}
${when(skips > 0, () => counts('Skipped records', 'Reason', skipped, skipReasons))}
${when(left.length > 0, () => html`<details><summary>Skipped files: ${number(left.length)}</summary>${fileList(left, () => undefined)}</details>`)}
</section>
`
}

const notListed = ({ alertsNotListed, keysNotListed, problems, summary }: ScanReport): Html | undefined => {
  const alerts =
    () => html`<p>${plural(alertsNotListed, 'alert')}: <code>keytrail scan --alerts FILE</code> writes them all.</p>
${counts('All alerts by detector', 'Detector', summary.alerts.by_detector)}`
  if (alertsNotListed + keysNotListed + problems.length === 0) return undefined
  return html`<section aria-labelledby="not-listed"><h2 id="not-listed">What is not listed</h2>
${when(alertsNotListed > 0, alerts)}
${when(keysNotListed > 0, () => html`<p>${plural(keysNotListed, 'key')}: their events were judged, but have no timeline.</p>`)}
${when(problems.length > 0, () => html`<h3>Detectors left out</h3><ul>${listItems(problems.map(code))}</ul>`)}
</section>
`
}

/**
 * @param about version of Keytrail and the command that was run
 * @returns a whole page, the same bytes for the same input; size grows with the alerts given, the rest is bounded
 */
export const renderReport = (
  report: ScanReport,
  about: { readonly version: string; readonly command: string },
): string => {
  const days = report.span && between(report.span.first.slice(0, 10), report.span.last.slice(0, 10))
  const policy = `default-src 'none'; style-src '${reportStyleHash}'; base-uri 'none'; form-action 'none'`
  const ungrouped = html`${plural(report.ungrouped, 'event')}: a field that a detector groups by is not in the record`
  return markupOf(html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${trusted(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Keytrail scan report${days && `, ${days}`}</title>
<style>${trusted(reportStyle)}</style>
</head>
<body>
${header(report)}<main>
${alertSection(report)}${usage(report)}${keySection(report)}${unread(report)}${notListed(report)}</main>
<footer>
${facts([
  ['Keytrail', html`version ${about.version}`],
  ['Command', code(about.command)],
  ['Detectors', html`${number(report.detectors)}`],
  ['Not counted', when(report.ungrouped > 0, () => ungrouped)],
])}
</footer>
</body>
</html>
`)
}
