/** `keytrail coverage`: what the detectors cover, as a layer for ATT&CK Navigator, and what no detector reads. */
import { loadDetectors } from '../config/detectors.ts'
import { techniques } from '../detect/attack.ts'
import { type Detector, rulesOf } from '../detect/detectors.ts'
import { operationNames } from '../model/operations.ts'

export interface CoverageOptions {
  readonly defaultDetectors: boolean
  /** Print the layer for this version of ATT&CK. */
  readonly navigator?: '18' | '19' | undefined
  readonly json: boolean
}

const grouped = (detectors: readonly Detector[], keys: (one: Detector) => readonly string[]) => {
  const found = new Map<string, string[]>()
  for (const one of detectors)
    for (const key of new Set(keys(one))) found.set(key, [...(found.get(key) ?? []), one.facts.id])
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Layer format 4.5 (MITRE attack-navigator, layers/LAYERFORMATv4_5.md). */
const layerOf = (version: '18' | '19', byTechnique: ReadonlyMap<string, readonly string[]>) => ({
  name: `Keytrail, ATT&CK ${version}`,
  versions: { attack: version, navigator: '5.1.0', layer: '4.5' },
  domain: 'enterprise-attack',
  description: 'Techniques that enabled detectors look for; the score is their number.',
  techniques: [...byTechnique].map(([techniqueID, ids]) => ({
    techniqueID,
    score: ids.length,
    comment: ids.join(', '),
  })),
  gradient: {
    colors: ['#ffffff', '#66b1ff'],
    minValue: 0,
    maxValue: Math.max(1, ...[...byTechnique.values()].map(({ length }) => length)),
  },
})

/** @returns 0; a detector file that is not valid is left out, as in a scan */
export const coverage = (folders: readonly string[], options: CoverageOptions): number => {
  const { detectors } = loadDetectors(folders, options.defaultDetectors)
  const version = options.navigator
  const attackOf = (number: '18' | '19') =>
    grouped(detectors, ({ facts }) =>
      techniques(facts.tags).map((one) => (number === '18' ? one.v18 : one.v19)),
    )
  if (version !== undefined) {
    process.stdout.write(`${JSON.stringify(layerOf(version, attackOf(version)), null, 2)}\n`)
    return 0
  }
  const controls = grouped(detectors, ({ facts }) => facts.controls)
  const operations = grouped(detectors, (one) =>
    rulesOf(one).flatMap(({ operations: names }) => [...(names ?? [])]),
  )
  const unread = operationNames.filter((name) => !operations.has(name))
  const plain = (map: ReadonlyMap<string, readonly string[]>) => Object.fromEntries(map)
  if (options.json) {
    const result = {
      techniques: plain(attackOf('19')),
      controls: plain(controls),
      operations: plain(operations),
      unread,
    }
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
    return 0
  }
  const say = (text: string) => process.stdout.write(`${text}\n`)
  const table = (title: string, map: ReadonlyMap<string, readonly string[]>) => {
    say(`${title} (${map.size})`)
    for (const [key, ids] of map)
      say(
        `  ${key.padEnd(12)} ${String(ids.length).padStart(3)}  ${ids.slice(0, 6).join(', ')}${ids.length > 6 ? ', …' : ''}`,
      )
  }
  table('ATT&CK techniques, version 19', attackOf('19'))
  table('Controls', controls)
  say(`Operations that no detector names (${unread.length})`)
  say(`  ${unread.join(', ')}`)
  return 0
}
