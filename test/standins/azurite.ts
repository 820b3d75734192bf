/** Azurite, the vendor's own emulator of Azure Storage (npm `azurite`), blobs in memory; installed once, beside the checkout's packages. */
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { root } from '../support/scan.ts'

const VERSION = '3.37.0'
const folder = join(root, `node_modules/.cache/keytrail/azurite-${VERSION}`)
const program = join(folder, 'node_modules/azurite/dist/src/blob/main.js')

/** @returns why there is none */
const install = async (): Promise<string | undefined> => {
  if (existsSync(program)) return undefined
  const own = `${folder}.${randomUUID()}`
  try {
    mkdirSync(own, { recursive: true })
    writeFileSync(join(own, 'package.json'), '{"private":true}')
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `azurite@${VERSION}`]
    await promisify(execFile)('npm', args, { cwd: own, timeout: 300_000 })
    renameSync(own, folder)
  } catch (cause) {
    rmSync(own, { recursive: true, force: true })
    if (!existsSync(program)) return cause instanceof Error ? cause.message : String(cause)
  }
  return undefined
}

/** Why tests with it are skipped. */
export const azuriteMissing = await install()
if (azuriteMissing !== undefined)
  console.warn(`azurite cannot be installed, its tests are skipped: ${azuriteMissing}`)

/** The account and key that the vendor publishes for it. */
const ACCOUNT = 'devstoreaccount1'
const KEY = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='

export interface Azurite {
  readonly url: string
  readonly connectionString: string
  stop(): Promise<void>
}

export const startAzurite = async (): Promise<Azurite> => {
  const child = spawn(
    process.execPath,
    [program, '--inMemoryPersistence', '--skipApiVersionCheck', '--blobHost', '127.0.0.1', '--blobPort', '0'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  const address = await new Promise<string>((resolve, reject) => {
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk
      const [, found] = /successfully listens on (http:\/\/\S+)/.exec(text) ?? []
      if (found !== undefined) resolve(found)
    })
    child.on('error', reject)
    child.on('exit', (code) => reject(new Error(`azurite ended with ${code}: ${text}`)))
  })
  const url = `${address}/${ACCOUNT}`
  return {
    url,
    connectionString: `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};BlobEndpoint=${url};`,
    async stop() {
      child.kill('SIGKILL') // it waits for idle connections otherwise, and keeps nothing
      await ended
    },
  }
}
