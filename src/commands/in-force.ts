/** What is in force: configuration, detectors, knowledge. Built whole before it counts, and recorded when it changes. */
import { loadDetectors } from '../config/detectors.ts'
import { type Learned, learn } from '../config/knowledge.ts'
import type { Detector } from '../detect/definition.ts'
import { rawRules } from '../detect/raw-rules.ts'
import type { RecordedDetectors } from '../journal/rejudge.ts'
import type { Config } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'
import { canonical } from '../normalize/json.ts'
import { sha256 } from '../normalize/text.ts'
import { type RecordNormalizer, recordNormalizer } from '../pipeline/normalize-record.ts'
import type { Control } from '../pipeline/ports.ts'
import { operator } from './where.ts'

export interface InForce {
  readonly config: Config
  readonly detectors: readonly Detector[]
  readonly learned: Learned
  /** With the text of the detectors, so that the past can be judged again. */
  readonly recorded: RecordedDetectors
}

/** @throws KeytrailError with the place of what is wrong */
export const build = (config: Config): InForce => {
  const { folders, default: withOwn, disable } = config.detectors
  const { detectors: all, problems, files } = loadDetectors(folders, withOwn)
  const [problem] = problems
  if (problem !== undefined)
    throw new KeytrailError(
      'detectors.invalid',
      `${problem.path}:${problem.line}:${problem.column}: ${problem.message}`,
    )
  const detectors = all.filter(({ facts }) => !disable.includes(facts.id))
  const hash = sha256(JSON.stringify({ files, disable }))
  const ids = detectors.map(({ facts }) => `${facts.id}@${facts.version}`)
  return { config, detectors, learned: learn(config), recorded: { hash, ids, files, disable } }
}

/** Something that Keytrail or its operator did; it decides nothing about later events. */
export const act = (kind: Control['kind'], body: object): Control => ({
  kind,
  ordered: false,
  who: operator(),
  body: JSON.stringify(body),
})

const NOTHING = sha256(JSON.stringify([]))

/** Records of what differs from before. */
export const controlsOf = (next: InForce, before?: InForce): Control[] => {
  const records = (one: InForce | undefined) => ({
    configuration: one && { hash: sha256(canonical(one.config) ?? ''), config: one.config },
    detectors: one?.recorded,
    knowledge: { hash: sha256(JSON.stringify(one?.learned.files ?? [])), files: one?.learned.files },
  })
  const old = records(before)
  return Object.entries(records(next)).flatMap(([kind, body]) => {
    const name = kind as keyof typeof old // its own names
    const known = old[name]?.hash ?? NOTHING
    const ordered = name !== 'configuration'
    return body === undefined || body.hash === known ? [] : [{ ...act(name, body), ordered }]
  })
}

/** Normalizes with what is in force now; something else may take its place between two batches. */
export const normalizer = (first: InForce) => {
  const settingsOf = ({ config, learned, detectors }: InForce) => ({
    ...config,
    ingest_path: learned.ingest_path,
    rules: rawRules(detectors),
    accounts: Object.fromEntries(Object.entries(config.sources).map(([feed, one]) => [feed, one.accounts])),
  })
  /** Read anew for each record, also by intake. */
  const settings = settingsOf(first)
  const make = ({ learned: { known, locate } }: InForce) =>
    recordNormalizer(settings, undefined, known, locate)
  let now = make(first)
  const normalize: RecordNormalizer = Object.assign((...all: Parameters<RecordNormalizer>) => now(...all), {
    glance: (...all: Parameters<RecordNormalizer['glance']>) => now.glance(...all),
  })
  return {
    normalize,
    settings,
    use(next: InForce) {
      Object.assign(settings, settingsOf(next))
      now = make(next)
    },
  }
}
