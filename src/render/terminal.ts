/** A scan and an alert as text for people: what was read, the alerts as sentences, what could not be read. */
import { styleText } from 'node:util'
import type { Alert } from '../model/alert.ts'
import type { Criticality } from '../model/operations.ts'
import { fileFailReasons, fileSkipReasons, rejectReasons, skipReasons } from '../model/outcome.ts'
import type { FileResult, ScanReport } from '../model/summary.ts'
import { visible } from './escape.ts'

export interface TerminalOptions {
  readonly color: boolean
}

type Format = Parameters<typeof styleText>[0]

const paint = (options: TerminalOptions) => (format: Format, text: string) =>
  options.color ? styleText(format, text, { validateStream: false }) : text

const severityFormat: Readonly<Record<Criticality, Format>> = {
  critical: ['bold', 'red'],
  high: 'red',
  medium: 'yellow',
  low: 'cyan',
  info: 'gray',
}

const number = (count: number) => count.toLocaleString('en')
const plural = (count: number, one: string, many = `${one}s`) =>
  `${number(count)} ${count === 1 ? one : many}`

/** `2026-03-02 09:00:11` */
const moment = (time: string) => time.slice(0, 19).replace('T', ' ')

/** Breaks text at spaces; continuation lines are indented. */
const wrap = (text: string, width: number, indent: string): string => {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length + 1 > width - indent.length) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].map((one) => indent + one).join('\n')
}

const WIDTH = 100

const alertLines = (alert: Alert, options: TerminalOptions): string => {
  const style = paint(options)
  const severity = style(severityFormat[alert.severity], alert.severity.toUpperCase().padEnd(8))
  const head = `  ${severity} ${style('bold', alert.title)}  ${style('gray', `${moment(alert.time.first_event)} UTC  ${alert.alert_id.slice(0, 8)}`)}`
  return `${head}\n${wrap(alert.explanation, WIDTH, '           ')}`
}

/** One alert as it comes: two lines or three. */
export const renderAlertLine = (alert: Alert, options: TerminalOptions): string => {
  const note =
    alert.status === 'withdrawn' ? '  withdrawn' : alert.revision > 1 ? `  revision ${alert.revision}` : ''
  return `${alertLines(alert, options).replace('\n', `${note}\n`)}\n`
}

const MAX_SHOWN = 20

const problems = (
  files: readonly FileResult[],
  status: FileResult['status'],
  reasons: Readonly<Record<string, string>>,
): string[] => {
  const wanted = files.filter((file) => file.status === status)
  const lines = wanted
    .slice(0, MAX_SHOWN)
    .map(
      (file) =>
        `  ${visible(file.path)}: ${reasons[file.reason ?? ''] ?? file.reason}${file.detail === undefined ? '' : ` (${visible(file.detail)})`}`,
    )
  if (wanted.length > MAX_SHOWN) lines.push(`  … and ${plural(wanted.length - MAX_SHOWN, 'more file')}`)
  return lines
}

const counts = (title: string, values: Readonly<Record<string, number>>): string => {
  const parts = Object.entries(values)
    .sort((a, b) => b[1] - a[1])
    .map(([name, count]) => `${name} ${number(count)}`)
  return parts.length === 0
    ? ''
    : `${wrap(parts.join(', '), WIDTH, '             ').replace(/^ {13}/, `  ${title.padEnd(11)}`)}\n`
}

/** What stands below the alerts of a scan, for people. */
export const renderScan = (
  report: ScanReport,
  options: TerminalOptions & { readonly saved: boolean; readonly report: string | undefined },
): string => {
  const style = paint(options)
  const { summary, files } = report
  const { records } = summary
  const out: string[] = []
  out.push(
    `${style('bold', `Read ${plural(summary.files.read, 'file')}, ${plural(records.received, 'record')}`)}: ` +
      `${number(records.kept)} about keys, ${number(records.skipped)} out of scope, ${plural(records.duplicate, 'duplicate')}, ${number(records.rejected)} rejected.`,
  )
  if (report.span !== undefined)
    out.push(`Key use from ${moment(report.span.first)} to ${moment(report.span.last)} UTC.`)
  out.push('')
  const unlisted = report.alertsNotListed
  if (summary.alerts.total === 0)
    out.push(
      `${style('bold', 'No alerts.')} ${plural(report.detectors, 'detector')} looked at ${plural(records.kept, 'event')}.`,
    )
  else {
    out.push(style('bold', `${plural(summary.alerts.total, 'alert')}`))
    const shown = report.alerts.slice(0, MAX_SHOWN)
    out.push(shown.map((alert) => alertLines(alert, options)).join('\n'))
    const more = summary.alerts.total - shown.length
    if (more > 0)
      out.push(
        `  … and ${number(more)} more${unlisted > 0 ? '' : ' in the report'}; write all of them with --alerts FILE`,
      )
  }
  out.push('', style('bold', 'What the keys were used for'))
  out.push(
    (
      counts('services', summary.services) +
      counts('operations', summary.operations) +
      counts('outcomes', summary.outcomes) +
      counts('MFA', summary.mfa)
    ).trimEnd() || '  nothing: no record concerns keys',
  )
  if ((summary.mfa['unknown'] ?? 0) > 0)
    out.push('  MFA unknown means that the log does not say; it is not counted as missing.')
  const failed = problems(files, 'failed', fileFailReasons)
  if (failed.length > 0 || summary.rejections.length > 0) {
    out.push('', style(['bold', 'yellow'], 'What could not be read'))
    out.push(...failed)
    for (const one of summary.rejections)
      out.push(
        `  ${plural(one.count, 'record')} rejected: ${rejectReasons[one.reason]}; the first is ${visible(one.example)}`,
      )
  }
  const skippedFiles = problems(files, 'skipped', fileSkipReasons)
  if (skippedFiles.length > 0) out.push('', 'Skipped files', ...skippedFiles)
  const reasons = Object.entries(report.skipped).filter(([reason]) => reason !== 'out_of_scope')
  for (const [reason, count] of reasons)
    out.push('', `${plural(count, 'record')} skipped: ${skipReasons[reason as keyof typeof skipReasons]}`) // keys of the record
  if (report.ungrouped > 0)
    out.push(
      '',
      `${plural(report.ungrouped, 'event')} could not be counted by a detector: a field it groups by is not in the record.`,
    )
  for (const line of report.problems) out.push(`Detector left out: ${line}`)
  out.push('')
  if (options.report !== undefined) out.push(`Report: ${options.report}`)
  const [first] = report.alerts
  if (options.saved && first !== undefined)
    out.push(`Explain an alert: npx keytrail explain ${first.alert_id.slice(0, 8)}`)
  return `${out
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trimEnd()}\n`
}

/** One alert, told in full. */
export const renderAlert = (
  alert: Alert,
  blindSpots: string | undefined,
  options: TerminalOptions,
): string => {
  const style = paint(options)
  const line = (name: string, text: string | undefined) =>
    text === undefined || text === '' ? [] : [`  ${name.padEnd(10)} ${text}`]
  const { evidence, detector, entity } = alert
  const attack = alert.attack.map(({ v18, v19 }) => (v18 === v19 ? v18 : `${v18} (v19: ${v19})`)).join(', ')
  return `${[
    `${style(severityFormat[alert.severity], alert.severity.toUpperCase())} ${style('bold', alert.title)}`,
    wrap(alert.explanation, WIDTH, '  '),
    '',
    style('bold', 'What'),
    ...line('key', entity.key_id),
    ...line('principal', entity.principal),
    ...line('account', entity.account ?? alert.account),
    ...line('observed', `${alert.observed} (alerts from ${alert.threshold})`),
    ...line('window', `${alert.window.start} to ${alert.window.end}`),
    ...line(
      'events',
      `${number(evidence.total)}, from ${alert.time.first_event} to ${alert.time.last_event}`,
    ),
    '',
    style('bold', `Evidence, ${evidence.sample.length} of ${number(evidence.total)}`),
    ...evidence.sample.flatMap((one) => [
      wrap(one.summary, WIDTH, '  '),
      style('gray', `    ${visible(one.raw_ref)}`),
    ]),
    '',
    style('bold', 'Decide'),
    ...alert.triage.map((step, index) => wrap(`${index + 1}. ${step}`, WIDTH, '  ')),
    ...(blindSpots === undefined
      ? []
      : ['', style('bold', 'What this detector does not see'), wrap(blindSpots, WIDTH, '  ')]),
    '',
    style('bold', 'Reference'),
    ...line('alert', `${alert.alert_id}, revision ${alert.revision}`),
    ...line(
      'detector',
      `${detector.id} version ${detector.version}, content ${detector.content_hash.slice(0, 12)}`,
    ),
    ...line('author', detector.author),
    ...line('license', detector.license),
    ...line('see', detector.reference),
    ...line('ATT&CK', attack),
    ...line('controls', alert.controls.join(', ')),
  ].join('\n')}\n`
}
