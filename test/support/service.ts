/** A `run` under test: a folder with a configuration, started, stopped and killed as an operator or an accident would. */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Store } from '../../src/journal/store.ts'
import { root } from './scan.ts'

export interface Service {
  readonly folder: string
  readonly data: string
  /** Runs until it ends by itself, or is killed. @returns the exit code, or the signal's name */
  run(options?: RunUnderTest): Promise<{ readonly code: number | string; readonly log: string }>
  lines(name: 'events' | 'alerts'): Record<string, unknown>[]
  store(): Store
  remove(): void
}

export interface RunUnderTest {
  readonly once?: boolean
  readonly env?: Readonly<Record<string, string>>
  /** Modules loaded before the program. */
  readonly preload?: readonly string[]
  /** `kill -9` after so many milliseconds. */
  readonly killAfter?: number
  readonly onStart?: (stop: (signal: NodeJS.Signals) => void, log: () => string) => void
}

export const service = (paths: readonly string[], more: object = {}): Service => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-run-'))
  const data = join(folder, 'data')
  const config = join(folder, 'keytrail.json') // JSON is YAML
  writeFileSync(
    config,
    JSON.stringify({
      data,
      sources: { logs: { type: 'files', paths, start: 'beginning' } },
      sinks: {
        out: { type: 'ndjson', events: join(folder, 'events.ndjson'), alerts: join(folder, 'alerts.ndjson') },
      },
      ...more,
    }),
  )
  mkdirSync(data, { recursive: true })
  return {
    folder,
    data,
    run: ({ once = true, env = {}, preload = [], killAfter, onStart } = {}) =>
      new Promise((resolve, reject) => {
        const child = spawn(
          process.execPath,
          [
            ...preload.flatMap((path) => ['--import', path]),
            join(root, 'src/main.ts'),
            'run',
            '--config',
            config,
            ...(once ? ['--once'] : []),
          ],
          { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
        )
        let log = ''
        child.stdout.on('data', (chunk: Buffer) => {
          log += chunk
        })
        child.stderr.on('data', (chunk: Buffer) => {
          log += chunk
        })
        child.on('error', reject)
        const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter)
        child.on('close', (code, signal) => {
          clearTimeout(timer)
          resolve({ code: signal ?? code ?? -1, log })
        })
        onStart?.(
          (name) => void child.kill(name),
          () => log,
        )
      }),
    lines: (name) =>
      readFileSync(join(folder, `${name}.ndjson`), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    store: () => new Store(data, 'reader'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}
