/** `keytrail estimate`: events and gigabytes a day for each sink, before anybody pays for them. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { loadConfig } from '../config/config.ts'
import { Store, unpacked } from '../journal/store.ts'
import type { Alert } from '../model/alert.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { KeyEvent } from '../model/event.ts'
import { type ConfiguredSink, sinksOf } from './sinks.ts'

export interface EstimateOptions {
  readonly config: string
  readonly json: boolean
  readonly events?: string | undefined
  readonly alerts?: string | undefined
}

interface Estimate {
  readonly sink: string
  readonly stream: 'feed' | 'alerts'
  readonly taken: number
  readonly per_day: number
  readonly gb_per_day: number
  /** Bytes by operation category, the largest first. */
  readonly by: Readonly<Record<string, number>>
}

const DAY_MS = 86_400_000
const GB = 1e9
const BATCH = 1000

/** Lines of a file that `scan` wrote. */
async function* linesOf(path: string): AsyncGenerator<string> {
  try {
    for await (const line of createInterface({ input: createReadStream(path) })) if (line !== '') yield line
  } catch (cause) {
    throw new KeytrailError('usage.option', `cannot read ${path}: ${messageOf(cause)}`, { cause })
  }
}

function* eventsOf(store: Store): Generator<string> {
  for (let after = 0; ; ) {
    const blocks = store.blocks(after, 4 * 1024 * 1024)
    if (blocks.length === 0) return
    for (const block of blocks) for (const { event } of unpacked(block).items) yield event
    after = blocks.at(-1)?.seq ?? after
  }
}

function* alertsOf(store: Store): Generator<Alert> {
  for (let after = 0; ; ) {
    const stored = store.alerts(after, BATCH)
    if (stored.length === 0) return
    for (const { alert } of stored) yield alert
    after = stored.at(-1)?.n ?? after
  }
}

const parsed = <T>(line: string, path: string): T => {
  try {
    return JSON.parse(line) as T // written by scan
  } catch (cause) {
    throw new KeytrailError('usage.option', `${path} holds a line that is no JSON: ${messageOf(cause)}`, {
      cause,
    })
  }
}

/** Adds up what one sink takes of one stream. */
const tallyOf = (one: ConfiguredSink, stream: 'feed' | 'alerts') => {
  const by = new Map<string, number>()
  let taken = 0
  let bytes = 0
  return {
    add(group: string, size: number) {
      taken++
      bytes += size
      by.set(group, (by.get(group) ?? 0) + size)
    },
    result: (days: number): Estimate => ({
      sink: one.sink.name,
      stream,
      taken,
      per_day: Math.round(taken / days),
      gb_per_day: Number((bytes / days / GB).toPrecision(3)),
      by: Object.fromEntries([...by].sort(([, a], [, b]) => b - a)),
    }),
  }
}

const n = (value: number) => value.toLocaleString('en')

const render = (days: number, span: string, all: readonly Estimate[]): string => {
  const lines = all.map(({ sink, stream, taken, per_day, gb_per_day, by }) => {
    const total = Object.values(by).reduce((a, b) => a + b, 0)
    const shares = Object.entries(by)
      .slice(0, 5)
      .map(([name, bytes]) => `${name} ${Math.round((bytes / total) * 100)} %`)
    return `  ${sink}  ${stream}: ${n(per_day)} a day, ${gb_per_day} GB a day (${n(taken)} seen)${shares.length > 0 ? `; ${shares.join(', ')}` : ''}`
  })
  return `${days.toFixed(1)} days of events, ${span}; sizes as sent, before compression\n${lines.join('\n')}\n`
}

/** @returns 0, or 4 when there is nothing to measure */
export const estimate = async (options: EstimateOptions): Promise<number> => {
  const config = loadConfig(options.config)
  const sinks = Object.entries(config.sinks).flatMap(([name, sink]) => sinksOf(name, sink, () => {}))
  const feeds = sinks
    .filter(({ selection }) => selection.feed)
    .map((one) => [one, tallyOf(one, 'feed')] as const)
  const alerts = sinks
    .filter(({ selection }) => selection.alerts)
    .map((one) => [one, tallyOf(one, 'alerts')] as const)
  let first = ''
  let last = ''
  const takeEvent = (json: string, event: KeyEvent) => {
    const { event: time } = event.time
    if (first === '' || time < first) first = time
    if (time > last) last = time
    for (const [{ selection, size }, tally] of feeds)
      if (selection.wantsEvent(json)) tally.add(event.operation_category, size.event(json))
  }
  const takeAlert = (alert: Alert) => {
    for (const [{ selection, size }, tally] of alerts)
      if (selection.wantsAlert(alert)) tally.add(alert.severity, size.alert(alert))
  }
  if (options.events !== undefined) {
    for await (const line of linesOf(options.events)) takeEvent(line, parsed<KeyEvent>(line, options.events))
    if (options.alerts !== undefined)
      for await (const line of linesOf(options.alerts)) takeAlert(parsed<Alert>(line, options.alerts))
  } else {
    const store = new Store(config.data, 'reader')
    try {
      for (const json of eventsOf(store)) takeEvent(json, JSON.parse(json) as KeyEvent) // written by commit
      for (const alert of alertsOf(store)) takeAlert(alert)
    } finally {
      store.close()
    }
  }
  if (first === '') {
    process.stderr.write('keytrail: there are no events to measure\n')
    return 4
  }
  const days = Math.max((Date.parse(last) - Date.parse(first)) / DAY_MS, 1 / 24) // an hour at least
  const all = [...alerts, ...feeds].map(([, tally]) => tally.result(days))
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ days, first, last, sinks: all })}\n`
      : render(days, `${first.slice(0, 16)} to ${last.slice(0, 16)}`, all),
  )
  return 0
}
