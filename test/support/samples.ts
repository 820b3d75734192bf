/** Public sample logs that lie outside the project. Absent = the tests that need them are skipped, loudly. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './scan.ts'

export const sharedFolder = join(root, '..', 'shared')
export const samplesFolder = join(sharedFolder, 'samples')
export const designFolder = join(sharedFolder, 'design')

export const hasSamples = existsSync(samplesFolder)
export const hasDesign = existsSync(designFolder)
if (!hasSamples) console.warn(`SKIPPED: no sample logs at ${samplesFolder}`)
if (!hasDesign) console.warn(`SKIPPED: no design documents at ${designFolder}`)

export const filesBelow = (folder: string): string[] =>
  readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name)
      return statSync(path).isDirectory() ? filesBelow(path) : [path]
    })
