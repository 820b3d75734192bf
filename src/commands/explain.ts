/** `keytrail explain`: one alert told in full, found by the first digits of its id. */
import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { loadDetectors } from '../config/detectors.ts'
import { packageRoot } from '../config/paths.ts'
import { type Alert, alert } from '../model/alert.ts'
import { KeytrailError } from '../model/error.ts'
import { renderAlert } from '../render/terminal.ts'
import { SAVED_SCAN } from './scan.ts'

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
  readonly detectors: readonly string[]
}

export const explain = async (prefix: string, options: ExplainOptions): Promise<number> => {
  const path = options.alerts ?? join(SAVED_SCAN, 'alerts.ndjson')
  if (!existsSync(path)) throw new KeytrailError('alert.unknown', `there is no ${path}`)
  if (!/^[0-9a-f]{1,32}$/i.test(prefix))
    throw new KeytrailError('alert.unknown', `"${prefix}" is not the beginning of an alert id`)
  const found = await findAlert(path, prefix.toLowerCase())
  const [first] = found
  if (first === undefined)
    throw new KeytrailError('alert.unknown', `no alert in ${path} begins with ${prefix}`)
  if (found.some((one) => one.alert_id !== first.alert_id))
    throw new KeytrailError(
      'alert.ambiguous',
      `${found.length} alerts begin with ${prefix}: ${found
        .slice(0, 5)
        .map((one) => one.alert_id.slice(0, 12))
        .join(', ')}`,
    )
  const last = found.at(-1) ?? first
  const color = process.stdout.isTTY === true && !process.env['NO_COLOR']
  process.stdout.write(
    options.json
      ? `${JSON.stringify(last, null, 2)}\n`
      : renderAlert(last, blindSpots(last.detector.id, options.detectors), { color }),
  )
  return 0
}
