/**
 * How the report looks: the style sheet, the hash under which its Content-Security-Policy admits it, and the
 * chart of a key, drawn with SVG attributes because that policy refuses style attributes.
 */
import { hash } from 'node:crypto'
import type { KeyTimeline, ScanReport } from '../model/summary.ts'
import { type Html, html, moment, number, plural } from './escape.ts'

/** Colors reach at least 4.5:1 (WCAG AA) in both schemes. */
export const reportStyle = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --paper: #ffffff; --ink: #1b1f24; --soft: #505963; --line: #d5dae0; --tint: #eef1f4;
  --accent: #1d5a96; --warn: #8a4b00; --warn-tint: #fdf3e3;
  --critical: #a10f2b; --high: #b03a06; --medium: #7a5a00; --low: #1f5f99; --info: #56606b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --paper: #1c2026; --ink: #e6e9ed; --soft: #a8b1bb; --line: #3a424c; --tint: #262c34;
    --accent: #7db7f0; --warn: #f0b866; --warn-tint: #33291a;
    --critical: #b3173a; --high: #b5430f; --medium: #806010; --low: #2a6aa6; --info: #5a6570;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header, main, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2rem; }
footer { margin-top: 2.5rem; padding-bottom: 2.5rem; color: var(--soft); font-size: .875rem; }
footer dl { border-top: 1px solid var(--line); padding-top: 1rem; }
h1, h2, h3, h4 { line-height: 1.25; text-wrap: balance; }
h1 { font-size: 1.75rem; margin: 0 0 .25rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
h4 { font-size: .9rem; margin: 1rem 0 .25rem; }
p, ul, ol, dl { margin: .5rem 0; }
li { margin: .2rem 0; }
ul, ol { padding-left: 1.4rem; }
p, li, td, th, dd, summary, h1, h2, h3 { overflow-wrap: anywhere; unicode-bidi: isolate; }
a { color: var(--accent); }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
code {
  font: .875em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; unicode-bidi: isolate;
}
.soft { color: var(--soft); }
.small { font-size: .875rem; }
.verdict { font-size: 1.15rem; margin: 1rem 0; }
.warning { background: var(--warn-tint); border-left: 4px solid var(--warn); padding: .5rem .9rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.numbers div { background: var(--paper); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .8rem; }
.numbers dt { color: var(--soft); font-size: .8125rem; }
.numbers dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: 9.5rem 1fr; gap: .3rem 1rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; min-width: 0; }
.badge {
  display: inline-block; padding: .1rem .5rem; border-radius: 4px; color: #ffffff; background: var(--info);
  font-size: .75rem; font-weight: 600; letter-spacing: .03em; text-transform: uppercase; white-space: nowrap;
}
.badge.critical { background: var(--critical); }
.badge.high { background: var(--high); }
.badge.medium { background: var(--medium); }
.badge.low { background: var(--low); }
.alert {
  background: var(--paper); border: 1px solid var(--line); border-left: 5px solid var(--info); border-radius: 6px;
  padding: 1rem 1.25rem; margin: 1rem 0;
}
.alert.critical { border-left-color: var(--critical); }
.alert.high { border-left-color: var(--high); }
.alert.medium { border-left-color: var(--medium); }
.alert.low { border-left-color: var(--low); }
.alert h3 { margin: 0 0 .5rem; font-size: 1.15rem; }
.alert h3 .badge { margin-right: .5rem; vertical-align: .15em; }
.triage { background: var(--tint); border-radius: 6px; padding: .6rem 1rem; margin: 1rem 0; }
.triage h4 { margin-top: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; background: var(--paper); }
caption { text-align: left; font-weight: 600; padding: .3rem 0; background: var(--page); }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border: 1px solid var(--line); font-weight: 400; }
thead th { background: var(--tint); font-weight: 600; font-size: .875rem; overflow-wrap: normal; }
td:first-child, td:last-child { overflow-wrap: break-word; }
td.count, th.count { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; width: 6rem; }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1.25rem; align-items: start; }
.wide { margin-top: 1.25rem; }
summary { cursor: pointer; padding: .15rem 0; }
.ids { columns: 19rem; list-style: none; padding: 0; }
.key { padding: .25rem 0 1rem; }
.key + .key { border-top: 1px solid var(--line); }
.key h3 { margin: .75rem 0 .25rem; font-size: 1rem; }
figure { margin: .75rem 0; }
.chart { display: block; width: 100%; height: 4.5rem; background: var(--paper); border: 1px solid var(--line); }
.chart .bar { fill: var(--accent); }
.axis { display: flex; justify-content: space-between; gap: 1rem; }
figcaption { font-size: .875rem; color: var(--soft); }
.notable { list-style: none; padding: 0; font-size: .9375rem; }
.notable li { display: grid; grid-template-columns: 5.5rem 1fr; gap: .5rem; margin: .3rem 0; align-items: start; }
.notable .badge { text-align: center; }
@media (max-width: 40rem) {
  header, main, footer { padding-left: 1rem; padding-right: 1rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .5rem; }
  .notable li { grid-template-columns: 1fr; gap: .1rem; }
  .notable .badge { justify-self: start; }
  .alert { padding: .8rem 1rem; }
  .axis { font-size: .75rem; }
  th, td { padding: .3rem .4rem; }
  td.count, th.count { width: 4.5rem; }
}
@media print {
  :root {
    color-scheme: light;
    --page: #ffffff; --paper: #ffffff; --ink: #000000; --soft: #3d444c; --line: #b5bcc4; --tint: #f1f3f5;
    --accent: #1d5a96; --warn: #7a4200; --warn-tint: #ffffff;
    --critical: #a10f2b; --high: #b03a06; --medium: #7a5a00; --low: #1f5f99; --info: #56606b;
  }
  @page { margin: 16mm 14mm; }
  body { font-size: 10.5pt; }
  header, main, footer { max-width: none; padding-left: 0; padding-right: 0; }
  header { padding-top: 0; }
  a { color: inherit; text-decoration: none; }
  .badge, .alert, .chart { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, h3, h4, caption, thead, thead tr, summary { break-after: avoid; }
  tr, li, figure, .triage, .numbers div { break-inside: avoid; }
  .scroll { overflow: visible; }
  summary { list-style: none; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
`

/** The hash of exactly the bytes between the style tags, as CSP wants it. */
export const reportStyleHash = `sha256-${hash('sha256', reportStyle, 'base64')}`

const CHART_WIDTH = 960
const CHART_HEIGHT = 80

const barChart = (id: string, title: string, slots: readonly number[]): Html => {
  const width = CHART_WIDTH / Math.max(slots.length, 1)
  const most = Math.max(1, ...slots)
  const round = (value: number) => Math.round(value * 100) / 100
  const bars = slots.map((count, slot) => {
    if (count <= 0) return html``
    const height = Math.max(2, (count / most) * (CHART_HEIGHT - 4)) // one event beside thousands stays visible
    const x = round(slot * width + width * 0.1)
    return html`<rect class="bar" x="${x}" y="${round(CHART_HEIGHT - height)}" width="${round(width * 0.8)}" height="${round(height)}"/>`
  })
  return html`<svg class="chart" viewBox="0 0 ${CHART_WIDTH} ${CHART_HEIGHT}" preserveAspectRatio="none" role="img" aria-labelledby="${id}-title ${id}-numbers">
<title id="${id}-title">${title}</title>
<desc id="${id}-numbers">Events per slot, first to last: ${slots.join(', ')}</desc>
${bars}</svg>`
}

const slotLength = (ms: number): string => {
  if (ms >= 86_400_000) return `${number(Math.round(ms / 8_640_000) / 10)} days`
  if (ms >= 3_600_000) return `${number(Math.round(ms / 360_000) / 10)} hours`
  return ms >= 60_000
    ? `${number(Math.round(ms / 6_000) / 10)} minutes`
    : `${number(Math.round(ms / 1000))} seconds`
}

/** The chart in words; without a readable span it names no times. */
const chartWords = ({ slots, events }: KeyTimeline, span: ScanReport['span']): string => {
  const used = slots.filter((count) => count > 0).length
  const most = Math.max(0, ...slots)
  const start = Date.parse(span?.first ?? '')
  const width = (Date.parse(span?.last ?? '') - start) / slots.length
  const within = `${plural(events, 'event')} in ${number(used)} of ${plural(slots.length, 'slot')}`
  if (!(width > 0 && Number.isFinite(width))) return `${within}; the busiest has ${number(most)}.`
  const busiest = new Date(start + slots.indexOf(most) * width).toISOString().replace(/\.\d+/, '')
  return `${within} of ${slotLength(width)}; the busiest begins ${moment(busiest)} with ${number(most)}.`
}

/**
 * One key over the scanned time: the chart, its ends and its content in words.
 * @param id unique in the page: the texts for those who do not see the chart refer to it
 */
export const timeChart = (id: string, key: KeyTimeline, span: ScanReport['span']): Html => {
  const axis = (ends: NonNullable<typeof span>) =>
    html`<div class="axis soft small"><span>${moment(ends.first)}</span><span>${moment(ends.last)}</span></div>\n`
  return html`<figure>${barChart(id, `Use of ${key.key} over time`, key.slots)}
${span === undefined ? '' : axis(span)}<figcaption>${chartWords(key, span)}</figcaption></figure>`
}
