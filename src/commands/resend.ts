/** `keytrail resend`: sends a window of alerts or of the feed to a sink again; ids stay, so the SIEM sees repeats. */
import { Store, unpacked } from '../journal/store.ts'
import { KeytrailError } from '../model/error.ts'
import type { KeyEvent } from '../model/event.ts'
import { printable } from '../normalize/text.ts'
import { type DeadLetter, NOT_TAKEN } from '../pipeline/ports.ts'
import { dataFolder, momentOf, operator, type Where } from './where.ts'

export interface ResendOptions extends Where {
  readonly since: string
  readonly until?: string | undefined
  readonly reason: string
}

/** All of them are written into the journal at once. */
const MAX_LETTERS = 200_000
const READ_BYTES = 4 * 1024 * 1024
const READ_ALERTS = 1000

function* alertsIn(store: Store, from: number, to: number): Generator<DeadLetter> {
  for (let after = 0; ; ) {
    const stored = store.alerts(after, READ_ALERTS)
    if (stored.length === 0) return
    for (const { alert } of stored) {
      const at = Date.parse(alert.time.last_event)
      if (at >= from && at < to)
        yield { stream: 'alerts', id: alert.alert_id, reason: 'sent again', body: JSON.stringify(alert) }
    }
    after = stored.at(-1)?.n ?? after
  }
}

function* eventsIn(store: Store, from: number, to: number): Generator<DeadLetter> {
  for (let after = 0; ; ) {
    const blocks = store.blocks(after, READ_BYTES)
    if (blocks.length === 0) return
    for (const block of blocks)
      for (const { event: body } of unpacked(block).items) {
        const { event_id, time } = JSON.parse(body) as KeyEvent // written by commit
        const at = Date.parse(time.event)
        if (at >= from && at < to) yield { stream: 'feed', id: event_id, reason: 'sent again', body }
      }
    after = blocks.at(-1)?.seq ?? after
  }
}

/** A running service sends them; otherwise the next one does. */
export const resend = (sink: string, options: ResendOptions): number => {
  const now = Date.now()
  const from = momentOf(options.since, now)
  const to = options.until === undefined ? now : momentOf(options.until, now)
  const store = new Store(dataFolder(options), 'operator')
  try {
    const cursors = store.cursors()
    const cursor = cursors.get(sink)
    if (cursor === undefined)
      throw new KeytrailError(
        'usage.option',
        `no sink "${sink}" has run here; there are: ${[...cursors.keys()].join(', ') || 'none'}`,
      )
    const letters: DeadLetter[] = []
    const add = (all: Iterable<DeadLetter>) => {
      for (const one of all)
        if (letters.push(one) > MAX_LETTERS)
          throw new KeytrailError(
            'usage.option',
            `there are more than ${MAX_LETTERS.toLocaleString('en')} in this window: send it in parts, with --until`,
          )
    }
    if (cursor.alerts !== NOT_TAKEN) add(alertsIn(store, from, to))
    if (cursor.feed !== NOT_TAKEN) add(eventsIn(store, from, to))
    const window = { from: new Date(from).toISOString(), to: new Date(to).toISOString() }
    const body = JSON.stringify({
      reason: printable(options.reason),
      sink,
      ...window,
      count: letters.length,
    })
    store.sendAgain(sink, letters, { kind: 'replay', ordered: false, who: operator(), body }, now)
    process.stdout.write(
      `${letters.length.toLocaleString('en')} of ${window.from} to ${window.to} will be sent to ${sink} again\n`,
    )
    return 0
  } finally {
    store.close()
  }
}
