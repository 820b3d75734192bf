/** `keytrail validate`: checks detectors and configuration without running anything. */
import { loadConfig } from '../config/config.ts'
import { loadDetectors } from '../config/detectors.ts'
import { lint } from '../detect/lint.ts'

export interface ValidateOptions {
  readonly json: boolean
  readonly config?: string | undefined
  readonly defaultDetectors: boolean
}

/** @returns 0 when everything is valid, 1 when a detector is not; a bad configuration throws */
export const validate = (folders: readonly string[], options: ValidateOptions): number => {
  loadConfig(options.config, true)
  const set = loadDetectors(folders, options.defaultDetectors)
  const { detectors, problems } = set
  const notes = lint(set)
  if (options.json) {
    const listed = detectors.map(({ kind, facts }) => ({
      id: facts.id,
      version: facts.version,
      kind,
      severity: facts.severity,
      content_hash: facts.content_hash,
      path: facts.path,
    }))
    process.stdout.write(`${JSON.stringify({ detectors: listed, problems, notes }, null, 2)}\n`)
  } else {
    for (const one of problems)
      process.stderr.write(`${one.path}:${one.line}:${one.column}: ${one.message}\n`)
    for (const one of notes)
      process.stderr.write(`${one.path}:${one.line}:${one.column}: note: ${one.message}\n`)
    process.stdout.write(
      `${detectors.length} ${detectors.length === 1 ? 'detector is' : 'detectors are'} valid, ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}.\n`,
    )
  }
  return problems.length === 0 ? 0 : 1
}
