/** `keytrail explain`: one alert told in full, found by the first digits of its id. */
import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { loadDetectors } from '../config/detectors.ts'
import { packageRoot } from '../config/paths.ts'
import { Store } from '../journal/store.ts'
import { type Alert, alert } from '../model/alert.ts'
import { KeytrailError } from '../model/error.ts'
import { printable } from '../normalize/text.ts'
import { renderAlert } from '../render/terminal.ts'
import { dispositionsOf, oneAlert } from './alerts.ts'
import { type AlertContext, contextOf, renderContext } from './explain-context.ts'
import { SAVED_SCAN } from './scan.ts'
import { dataFolder } from './where.ts'

const findAlert = async (path: string, prefix: string): Promise<Alert[]> => {
  const found: Alert[] = []
  let number = 0
  for await (const line of createInterface({
    input: createReadStream(path),
    crlfDelay: Number.POSITIVE_INFINITY,
  })) {
    number++
    if (line === '') continue
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (cause) {
      throw new KeytrailError('alert.unknown', `${path}:${number} is not JSON`, { cause })
    }
    const checked = alert.safeParse(value)
    if (!checked.success)
      throw new KeytrailError('alert.unknown', `${path}:${number} is not a ${'kms.alert.v1'} record`)
    if (checked.data.alert_id.startsWith(prefix)) found.push(checked.data)
  }
  return found
}

/** The first section of the detector's README: what it does not see. */
const blindSpots = (id: string, folders: readonly string[]): string | undefined => {
  const detector = loadDetectors(folders, true).detectors.find((one) => one.facts.id === id)
  if (detector === undefined) return undefined
  const path = [detector.facts.path, join(packageRoot, detector.facts.path)].find((one) => existsSync(one))
  const readme = path === undefined ? undefined : join(dirname(path), 'README.md')
  if (readme === undefined || !existsSync(readme)) return undefined
  const section = /## What it does not see\n+([\s\S]*?)(?=\n## |$)/.exec(readFileSync(readme, 'utf8'))?.[1]
  return section?.replace(/\s+/g, ' ').trim()
}

export interface ExplainOptions {
  readonly json: boolean
  readonly alerts?: string | undefined
  readonly data?: string | undefined
  readonly config?: string | undefined
  readonly detectors: readonly string[]
}

const inFile = async (path: string, prefix: string): Promise<Alert | undefined> => {
  const found = await findAlert(path, prefix.toLowerCase())
  const [first] = found
  if (first === undefined) return undefined
  if (found.some((one) => one.alert_id !== first.alert_id))
    throw new KeytrailError(
      'alert.ambiguous',
      `${found.length} alerts begin with ${prefix}: ${found
        .slice(0, 5)
        .map((one) => one.alert_id.slice(0, 12))
        .join(', ')}`,
    )
  return found.at(-1)
}

const inJournal = (
  folder: string,
  prefix: string,
): { readonly alert: Alert; readonly context: AlertContext } => {
  const store = new Store(folder, 'reader')
  try {
    const found = oneAlert(store, prefix)
    const context = contextOf(store, found, dispositionsOf(store).get(found.alert.alert_id))
    return { alert: found.alert, context }
  } finally {
    store.close()
  }
}

/** Looks in the file that is named, else in the last scan, else in the journal. */
const look = async (
  prefix: string,
  options: ExplainOptions,
): Promise<{ readonly alert: Alert; readonly context?: AlertContext }> => {
  const saved = join(SAVED_SCAN, 'alerts.ndjson')
  const file = options.alerts ?? (options.data === undefined && existsSync(saved) ? saved : undefined)
  const folder = dataFolder(options)
  const hasJournal = options.alerts === undefined && existsSync(join(folder, 'journal.db'))
  if (file !== undefined && !existsSync(file)) throw new KeytrailError('alert.unknown', `there is no ${file}`)
  const alert = file === undefined ? undefined : await inFile(file, prefix)
  if (alert !== undefined) return { alert }
  if (hasJournal) return inJournal(folder, prefix)
  throw new KeytrailError(
    'alert.unknown',
    file === undefined
      ? `there is no ${saved} and no journal in ${folder}`
      : `no alert in ${file} begins with ${prefix}`,
  )
}

export const explain = async (prefix: string, options: ExplainOptions): Promise<number> => {
  if (!/^[0-9a-f]{1,32}$/i.test(prefix))
    throw new KeytrailError('alert.unknown', `"${prefix}" is not the beginning of an alert id`)
  const { alert, context } = await look(prefix, options)
  const color = process.stdout.isTTY === true && !process.env['NO_COLOR']
  if (options.json)
    process.stdout.write(`${JSON.stringify({ ...alert, ...(context && { context }) }, null, 2)}\n`)
  else
    process.stdout.write(
      renderAlert(alert, blindSpots(alert.detector.id, options.detectors), { color }) +
        (context === undefined ? '' : renderContext(context, printable)),
    )
  return 0
}
