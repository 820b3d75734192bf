/** `keytrail doctor`: configuration, sources and sinks, step by step; with `--send`, a test alert through every sink. */
import { createHash } from 'node:crypto'
import { loadConfig } from '../config/config.ts'
import { packageVersion } from '../config/paths.ts'
import { ALERT_SCHEMA_VERSION, type Alert } from '../model/alert.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { printable } from '../normalize/text.ts'
import type { Check, Sink, Source } from '../pipeline/ports.ts'
import { type ConfiguredSink, sinksOf } from './sinks.ts'
import { sourceOf } from './sources.ts'

export interface DoctorOptions {
  readonly config: string
  readonly send: boolean
  readonly json: boolean
}

interface Step {
  /** Of the source or sink. */
  readonly name: string
  readonly step: string
  readonly ok: boolean
  readonly detail: string
}

/** A sink that has not answered by then is not well. */
const PATIENCE_MS = 60_000

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** An alert that nobody can take for a real one. @param now milliseconds since 1970 */
export const testAlert = (now: number): Alert => {
  const time = new Date(now).toISOString()
  return {
    schema_version: ALERT_SCHEMA_VERSION,
    alert_id: sha256(`doctor ${time} ${process.pid}`).slice(0, 32),
    revision: 1,
    kind: 'signal',
    status: 'new',
    detector: { id: 'keytrail-test', version: 1, content_hash: sha256('keytrail-test') },
    severity: 'info',
    title: 'Test alert',
    explanation: `keytrail doctor --send, version ${packageVersion()}: alerts reach this place. Nothing happened to a key.`,
    entity: {},
    provider: 'aws',
    account: '',
    window: { start: time, end: time },
    time: { first_event: time, last_event: time },
    observed: 1,
    threshold: 1,
    evidence: { event_ids: ['test'], total: 1, sample: [] },
    labels: { test: 'true' },
    attack: [],
    controls: [],
    triage: ['This is a test.', 'Nothing is to be decided.', 'Close it.'],
  }
}

/** @returns what to tell when the sink surely has it @throws when it does not */
const sendOne = async (sink: Sink, alert: Alert, signal: AbortSignal): Promise<string> => {
  const began = Date.now()
  const { refused, again: unsent, confirmed } = await sink.send({ events: [], alerts: [alert] }, signal)
  const again = unsent ?? (await confirmed)
  const [letter] = refused
  if (letter !== undefined) throw new Error(`refused: ${letter.reason}`)
  if (again !== undefined) throw new Error(again.reason)
  return `test alert ${alert.alert_id.slice(0, 8)} is there after ${((Date.now() - began) / 1000).toFixed(1)} s`
}

const examine = async (
  { sink, selection }: ConfiguredSink,
  alert: Alert | undefined,
  stop: AbortSignal,
): Promise<Step[]> => {
  const steps: Step[] = []
  const signal = AbortSignal.any([stop, AbortSignal.timeout(PATIENCE_MS)])
  const step = async (name: string, work: () => Promise<string>) => {
    try {
      steps.push({ name: sink.name, step: name, ok: true, detail: await work() })
    } catch (cause) {
      stop.throwIfAborted()
      const late = signal.aborted ? `no answer within ${PATIENCE_MS / 1000} s: ` : ''
      steps.push({ name: sink.name, step: name, ok: false, detail: late + messageOf(cause) })
    }
  }
  try {
    await step('open', async () => {
      const { delivery } = await sink.open({}, signal)
      return delivery === undefined
        ? 'it can be written'
        : `all is accepted; what is sent counts when ${delivery}`
    })
    if (alert !== undefined && selection.alerts && steps.every(({ ok }) => ok))
      await step('send', () => sendOne(sink, alert, signal))
  } finally {
    await sink.close()
  }
  return steps
}

/** A source that cannot even be asked has failed its first step. */
const checked = async (source: Source, stop: AbortSignal): Promise<readonly Check[]> => {
  try {
    return (await source.check?.(AbortSignal.any([stop, AbortSignal.timeout(PATIENCE_MS)]))) ?? []
  } catch (cause) {
    stop.throwIfAborted()
    return [{ step: 'open', ok: false, detail: messageOf(cause) }]
  } finally {
    await source.close?.()
  }
}

/** @returns 0 when every step is well, else 1 */
export const doctor = async (options: DoctorOptions, signal: AbortSignal): Promise<number> => {
  const config = loadConfig(options.config, true)
  if (Object.keys(config.sinks).length === 0)
    throw new KeytrailError('config.invalid', `${options.config}: there is no sink: name one under sinks`)
  const say = (place: string, ok: boolean, step: string, detail: string) => {
    if (!options.json)
      process.stdout.write(`${ok ? 'ok    ' : 'FAILS '} ${place}  ${step}: ${printable(detail)}\n`)
  }
  say(options.config, true, 'read', 'the configuration is valid, secrets are there, sources can be read')
  const alert = options.send ? testAlert(Date.now()) : undefined
  const all: Step[] = []
  for (const [name, one] of Object.entries(config.sources)) {
    const source = sourceOf(name, one, { follow: false, onNotice: (text) => say(name, true, 'note', text) })
    for (const { step, ok, detail } of await checked(source, signal)) {
      all.push({ name, step, ok, detail })
      say(name, ok, step, detail)
    }
  }
  const sinks = Object.entries(config.sinks).flatMap(([name, sink]) =>
    sinksOf(name, sink, (text) => say(name, true, 'note', text)),
  )
  for (const one of sinks)
    for (const step of await examine(one, alert, signal)) {
      all.push(step)
      say(step.name, step.ok, step.step, step.detail)
    }
  const bad = all.filter(({ ok }) => !ok).length
  if (options.json) process.stdout.write(`${JSON.stringify({ steps: all, ok: bad === 0 })}\n`)
  else
    process.stdout.write(
      bad > 0
        ? `${bad} of ${all.length} steps fail.\n`
        : `All is well.${options.send ? '' : ' Add --send to put a test alert through every sink.'}\n`,
    )
  return bad === 0 ? 0 : 1
}
