/** `keytrail alerts list | close`: the alerts of a journal, and what people made of them. */
import { Store } from '../journal/store.ts'
import { type Disposition, disposition } from '../model/alert.ts'
import { KeytrailError } from '../model/error.ts'
import { type Criticality, criticalities } from '../model/operations.ts'
import { printable } from '../normalize/text.ts'
import type { StoredAlert } from '../pipeline/ports.ts'
import { renderAlertLine } from '../render/terminal.ts'
import { dataFolder, momentOf, operator, type Where } from './where.ts'

export interface ListOptions extends Where {
  readonly json: boolean
  readonly since: string
  readonly severity: Criticality
  readonly entity?: string | undefined
  readonly open: boolean
  readonly lines: number
}

/** What was decided on each alert last. */
export const dispositionsOf = (store: Store): Map<string, Disposition> => {
  const found = new Map<string, Disposition>()
  for (const { body } of store.controls('disposition')) {
    const one = disposition.parse(JSON.parse(body))
    found.set(one.alert_id, one)
  }
  return found
}

/** The one alert that an id begins with. */
export const oneAlert = (store: Store, prefix: string): StoredAlert => {
  if (!/^[0-9a-f]{1,32}$/i.test(prefix))
    throw new KeytrailError('alert.unknown', `"${prefix}" is not the beginning of an alert id`)
  const [first, ...others] = store.alertsBy(prefix.toLowerCase())
  if (first === undefined)
    throw new KeytrailError('alert.unknown', `no alert in the journal begins with ${prefix}`)
  if (others.length > 0)
    throw new KeytrailError('alert.ambiguous', `${others.length + 1} alerts begin with ${prefix}`)
  return first
}

export const listAlerts = (options: ListOptions): number => {
  const store = new Store(dataFolder(options), 'reader')
  const color = process.stdout.isTTY === true && !process.env['NO_COLOR']
  try {
    const decided = dispositionsOf(store)
    const { entity } = options
    const found = store
      .alertsSince(
        new Date(momentOf(options.since, Date.now())).toISOString(),
        criticalities.indexOf(options.severity),
        10_000,
      )
      .map(({ alert }) => alert)
      .filter((alert) => !options.open || !decided.has(alert.alert_id))
      .filter(
        (alert) => entity === undefined || Object.values(alert.entity).some((one) => one?.includes(entity)),
      )
    const shown = found.slice(0, options.lines)
    for (const alert of shown) {
      const one = decided.get(alert.alert_id)
      process.stdout.write(
        options.json
          ? `${JSON.stringify({ ...alert, disposition: one })}\n`
          : `${renderAlertLine(alert, { color })}${one === undefined ? '' : `           closed as ${one.verdict} by ${one.author}: ${one.reason}\n`}`,
      )
    }
    if (!options.json)
      process.stdout.write(
        found.length > shown.length
          ? `${found.length - shown.length} more; see --lines\n`
          : `${found.length} ${found.length === 1 ? 'alert' : 'alerts'}\n`,
      )
    return 0
  } finally {
    store.close()
  }
}

export interface CloseOptions extends Where {
  readonly as: Disposition['verdict']
  readonly reason: string
  readonly author?: string | undefined
}

export const closeAlert = (prefix: string, options: CloseOptions): number => {
  const store = new Store(dataFolder(options), 'operator')
  try {
    const { alert_id, revision } = oneAlert(store, prefix).alert
    const author = printable(options.author ?? operator())
    const one: Disposition = {
      alert_id,
      revision,
      verdict: options.as,
      reason: printable(options.reason),
      author,
    }
    const body = JSON.stringify(disposition.parse(one))
    store.act({ kind: 'disposition', ordered: false, who: author, body }, Date.now())
    process.stdout.write(`${alert_id} is closed as ${options.as} by ${author}\n`)
    return 0
  } finally {
    store.close()
  }
}
