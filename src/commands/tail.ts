/** `keytrail tail`: the newest events or alerts of a journal, and what comes, by who, what and how severe. */
import { setTimeout as sleep } from 'node:timers/promises'
import { summaryOf } from '../detect/evidence.ts'
import { Store, unpacked } from '../journal/store.ts'
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import { type Criticality, criticalities } from '../model/operations.ts'
import { renderAlertLine } from '../render/terminal.ts'
import { dataFolder, type Where } from './where.ts'

export interface TailOptions extends Where {
  readonly json: boolean
  readonly follow: boolean
  readonly lines: number
  readonly key?: string | undefined
  readonly principal?: string | undefined
  readonly operation?: string | undefined
  readonly severity?: Criticality | undefined
}

const POLL_MS = 500
const READ_BYTES = 1024 * 1024
const READ_ALERTS = 200

const has = (text: string | undefined, part: string | undefined) =>
  part === undefined || (text?.toLowerCase().includes(part.toLowerCase()) ?? false)

const severe = (value: Criticality, least: Criticality | undefined) =>
  least === undefined || criticalities.indexOf(value) >= criticalities.indexOf(least)

const isWantedEvent = (event: KeyEvent, { key, principal, operation, severity }: TailOptions): boolean =>
  has(event.target.key_id ?? event.target.container, key) &&
  has(event.actor.id ?? event.actor.principal, principal) &&
  (operation === undefined || event.operation === operation || event.operation_native === operation) &&
  severe(event.criticality, severity)

const isWantedAlert = (alert: Alert, { key, principal, severity }: TailOptions): boolean =>
  has(alert.entity.key_id, key) && has(alert.entity.principal, principal) && severe(alert.severity, severity)

/** Lines behind a place, and the next place. */
type Read = (after: number) => { readonly lines: string[]; readonly next: number }

export const tail = async (
  stream: 'feed' | 'alerts',
  options: TailOptions,
  signal: AbortSignal,
): Promise<number> => {
  const store = new Store(dataFolder(options), 'reader')
  const color = process.stdout.isTTY === true && !process.env['NO_COLOR']
  const readFeed: Read = (after) => {
    const blocks = store.blocks(after, READ_BYTES)
    const lines = blocks.flatMap((block) =>
      unpacked(block).items.flatMap(({ event: text }) => {
        const event = JSON.parse(text) as KeyEvent // written by commit
        return isWantedEvent(event, options) ? `${options.json ? text : summaryOf(event)}\n` : []
      }),
    )
    return { lines, next: blocks.at(-1)?.seq ?? after }
  }
  const readAlerts: Read = (after) => {
    const stored = store.alerts(after, READ_ALERTS)
    const lines = stored
      .filter(({ alert }) => isWantedAlert(alert, options))
      .map(({ alert }) => (options.json ? `${JSON.stringify(alert)}\n` : renderAlertLine(alert, { color })))
    return { lines, next: stored.at(-1)?.n ?? after }
  }
  const read = stream === 'feed' ? readFeed : readAlerts
  try {
    let last: string[] = []
    let at = 0
    for (let found = read(at); found.next > at; found = read(at)) {
      at = found.next
      last = [...last, ...found.lines].slice(-options.lines)
    }
    process.stdout.write(last.join(''))
    while (options.follow && !signal.aborted) {
      await sleep(POLL_MS, undefined, { signal }).catch(() => {}) // the signal ends it
      const found = read(at)
      at = found.next
      process.stdout.write(found.lines.join(''))
    }
    return 0
  } finally {
    store.close()
  }
}
