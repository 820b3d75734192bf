/** Finds detector files: ours, and those of folders the operator names. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { type DetectorFile, type DetectorSet, defineDetectors } from '../detect/definition.ts'
import { KeytrailError } from '../model/error.ts'
import { packageRoot } from './paths.ts'

const isYaml = (name: string) => /\.ya?ml$/.test(name)

/** Cases beside a detector: `cases.yml`, and one more file for each further log format. */
export const isCases = (name: string): boolean => /^cases(\.[a-z]+)?\.yml$/.test(name)

/** Recursively `*.yml` and `*.yaml` except cases; a folder with `detector.yml` loads only that. */
const yamlFiles = (folder: string): string[] => {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
  if (entries.some((entry) => entry.name === 'detector.yml' && entry.isFile()))
    return [join(folder, 'detector.yml')]
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : yamlFiles(path)
    return isYaml(entry.name) && !isCases(entry.name) && entry.isFile() ? [path] : []
  })
}

/** Detector files below a folder, or the one file that is named. */
export const detectorFiles = (path: string): string[] => {
  if (!existsSync(path)) throw new KeytrailError('detectors.missing', `there is no ${path}`)
  return statSync(path).isDirectory() ? yamlFiles(path) : [path]
}

export const ownDetectors = (): string => join(packageRoot, 'detectors')

const shown = (path: string): string => {
  const near = relative(process.cwd(), resolve(path))
  return (near.startsWith('..') ? path : near).split(sep).join('/')
}

const readText = (path: string): DetectorFile => {
  const own = relative(packageRoot, resolve(path))
  return {
    path: own.startsWith('..') ? shown(path) : own.split(sep).join('/'),
    text: readFileSync(path, 'utf8'),
  }
}

/**
 * Loads and compiles detectors.
 * @param folders named by the operator, added to ours
 * @param withOwn whether ours are loaded, too
 */
export const loadDetectors = (
  folders: readonly string[],
  withOwn: boolean,
): DetectorSet & { readonly files: readonly DetectorFile[] } => {
  const paths = [...(withOwn ? [ownDetectors()] : []), ...folders].flatMap(detectorFiles)
  const files = [...new Set(paths.map((path) => resolve(path)))].map(readText)
  return { ...defineDetectors(files), files }
}
