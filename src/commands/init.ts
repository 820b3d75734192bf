/** `keytrail init`: three questions, and a configuration that is checked before it is written. */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { stringify } from 'yaml'
import { loadConfig } from '../config/config.ts'
import { KeytrailError, messageOf } from '../model/error.ts'

export interface InitOptions {
  readonly config: string
  readonly logs?: string | undefined
  readonly out?: string | undefined
  readonly data?: string | undefined
}

const questions = {
  logs: ['Where are the logs? A folder, file or pattern', '.'],
  out: ['Folder for the normalized feed and the alerts', 'keytrail-out'],
  data: ['Folder for the journal, on a local disk', '.keytrail/data'],
} as const

/** Answers of the options; the rest is asked for, or has its default where nobody can be asked. */
const answersOf = async (
  options: InitOptions,
  signal: AbortSignal,
): Promise<Record<keyof typeof questions, string>> => {
  const asking = process.stdin.isTTY
    ? createInterface({ input: process.stdin, output: process.stdout })
    : undefined
  const answers = { logs: '', out: '', data: '' }
  try {
    for (const name of ['logs', 'out', 'data'] as const) {
      const [question, usual] = questions[name]
      const given = options[name] ?? (await asking?.question(`${question} [${usual}]: `, { signal }))?.trim()
      answers[name] = given || usual
    }
  } finally {
    asking?.close()
  }
  return answers
}

/** @throws KeytrailError `config.exists`, `config.invalid` */
export const init = async (options: InitOptions, signal: AbortSignal): Promise<number> => {
  const { config: path } = options
  if (existsSync(path))
    throw new KeytrailError('config.exists', `${path} exists already; it is left as it is`)
  const { logs, out, data } = await answersOf(options, signal)
  const text = stringify({
    data,
    sources: { logs: { type: 'files', paths: [logs], start: 'beginning' } },
    sinks: {
      files: { type: 'ndjson', events: `${out}/events.ndjson`, alerts: `${out}/alerts.ndjson` },
      screen: { type: 'console', format: 'text' },
    },
    detectors: { default: true },
  })
  try {
    writeFileSync(
      path,
      `# Configuration of keytrail run; all settings: schemas/keytrail.config.schema.json\n${text}`,
      {
        mode: 0o600,
        flag: 'wx',
      },
    )
  } catch (cause) {
    throw new KeytrailError('output.unwritable', `cannot write ${path}: ${messageOf(cause)}`, { cause })
  }
  try {
    loadConfig(path, true)
  } catch (cause) {
    rmSync(path)
    throw cause
  }
  process.stdout.write(`${path} is written and valid. Start with: keytrail run --config ${path}\n`)
  return 0
}
