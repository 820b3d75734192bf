/** History beside a real `run`: interrupted at every step of sealing, and in a bucket on moto. */
import { execFile, fork, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generate } from '../../bench/generate.ts'
import type { WorkerTask } from '../../src/commands/history-worker.ts'
import { openState } from '../../src/history/manifest.ts'
import { type Duck, openDuck } from '../../src/history/parquet.ts'
import { folderStore } from '../../src/history/store.ts'
import { Store, unpacked } from '../../src/journal/store.ts'
import { config } from '../../src/model/config.ts'
import type { ReplayReport } from '../../src/model/replay.ts'
import { type Moto, motoMissing, startMoto } from '../standins/moto.ts'
import { root } from '../support/scan.ts'
import { awsEnv } from '../support/trail-bucket.ts'

/** `FULL_DOSE=1`: at every call, else at every fifth: odd and even alternate. */
const STEP = process.env['FULL_DOSE'] ? 1 : 5

const folder = mkdtempSync(join(tmpdir(), 'keytrail-history-'))
let duck: Duck
beforeAll(async () => {
  duck = await openDuck(join(folder, 'scratch'))
})
afterAll(() => {
  duck.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Beside this thread, which serves the bucket. */
const keytrail = (args: readonly string[]) =>
  new Promise<{ status: number; stdout: string; stderr: string }>((resolve) => {
    const options = { encoding: 'utf8', maxBuffer: 1e8, timeout: 60_000 } as const
    execFile(process.execPath, [join(root, 'src/main.ts'), ...args], options, (cause, stdout, stderr) =>
      resolve({ status: cause === null ? 0 : Number(cause.code ?? -1), stdout, stderr }),
    )
  })

const write = (path: string, body: object): string => {
  writeFileSync(path, JSON.stringify(body)) // JSON is YAML
  return path
}

const configuration = (data: string, logs: string, history: object | undefined) => ({
  data,
  sources: { logs: { type: 'files', paths: [logs], start: 'beginning' } },
  sinks: { out: { type: 'ndjson', alerts: join(folder, 'alerts.ndjson') } },
  ...(history !== undefined && { history }),
})

/** What a journal holds that history must hold, once each. */
const journaled = (data: string): string[] => {
  const store = new Store(data, 'reader')
  try {
    return [
      ...store
        .blocks(0, Number.MAX_SAFE_INTEGER)
        .map(unpacked)
        .flatMap(({ items }) =>
          items.map(({ event }) => `feed ${(JSON.parse(event) as { event_id: string }).event_id}`),
        ),
      ...store.after('alerts', 0, 1e6).map(({ isSignal, n }) => `${isSignal ? 'signals' : 'alerts'} ${n}`),
      ...store.after('control', 0, 1e6).map(({ n }) => `control ${n}`),
    ].sort()
  } finally {
    store.close()
  }
}

const kept = async (address: string): Promise<string[]> => {
  const { files } = await openState(folderStore(address))
  const found: string[] = []
  let [alerts, signals] = [0, 0]
  for (const { kind, path } of files.values())
    for (const { body } of await duck.rows(
      `SELECT body FROM read_parquet('${join(address, path)}') ORDER BY leaf`,
    )) {
      const one = JSON.parse(String(body)) as { event_id: string; n: number }
      const id = {
        feed: () => one.event_id,
        control: () => one.n,
        alerts: () => ++alerts,
        signals: () => ++signals,
      }
      found.push(`${kind} ${kind === 'rejections' ? 0 : id[kind]()}`)
    }
  return found.sort()
}

/** Seals what is there, and ends. @returns the exit code, or the signal that ended it */
const worker = (task: WorkerTask, killIo?: number) =>
  new Promise<number | string>((resolve, reject) => {
    const child = fork(join(root, 'src/commands/history-worker.ts'), [JSON.stringify(task)], {
      execArgv: killIo === undefined ? [] : ['--import', join(root, 'test/support/kill-at-io.ts')],
      env: { ...process.env, KILL_IO: String(killIo) },
    })
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve(signal ?? code ?? -1))
    child.send('drain')
  })

test('killed before and after each call that changes a file: every record is there once, and verifies', {
  timeout: 300_000,
}, async () => {
  const logs = join(folder, 'logs')
  generate(logs, { records: 700, keys: 1, perFile: 100, seed: 5 })
  const [first, second] = [join(folder, 'first'), join(folder, 'second')]
  cpSync(logs, first, { recursive: true })
  for (const name of readdirSync(first).slice(4)) rmSync(join(first, name))
  cpSync(logs, second, { recursive: true })

  // A history that has a segment and partial tiles already, and a journal with more.
  const data = join(folder, 'data')
  const address = join(folder, 'history')
  const base = configuration(data, first, { folder: address })
  expect((await keytrail(['run', '--once', '--config', write(join(folder, 'a.json'), base)])).status).toBe(0)
  const more = configuration(data, second, undefined)
  expect((await keytrail(['run', '--once', '--config', write(join(folder, 'b.json'), more)])).status).toBe(0)
  const expected = journaled(data)
  expect(expected.filter((one) => one.startsWith('feed'))).toHaveLength(700)
  const before = await kept(address)
  expect(before.length).toBeGreaterThan(400)
  expect(before.length).toBeLessThan(expected.length)

  const key = (await keytrail(['history', 'key', '--config', join(folder, 'a.json')])).stdout.trim()
  const copies: string[] = []
  let kills = 0
  let ended: number | string = 'not yet'
  for (let n = 1; ended !== 0; n += STEP) {
    const [copy, copied] = [join(folder, `d${n}`), join(folder, `h${n}`)]
    cpSync(data, copy, { recursive: true })
    cpSync(address, copied, { recursive: true })
    const { history } = config.parse({ history: { folder: copied } })
    if (history === undefined) throw new Error('no history')
    const task = { data: copy, history }
    ended = await worker(task, n)
    if (ended === 'SIGKILL') {
      kills++
      expect(await worker(task)).toBe(0)
    } else expect(ended).toBe(0)
    expect(await kept(copied), `kill ${n}`).toEqual(expected)
    copies.push(copied)
  }
  const verifier = spawnSync(
    process.execPath,
    [join(root, 'scripts/verify-history.mjs'), '--key', key, ...copies],
    { encoding: 'utf8' },
  )
  expect(verifier.status, verifier.stdout).toBe(0)
  console.info(`${kills} kills`)
  expect(kills).toBeGreaterThan(40 / STEP)
})

describe.skipIf(motoMissing !== undefined)('in a bucket on moto', () => {
  let moto: Moto
  let client: S3Client
  beforeAll(async () => {
    moto = await startMoto()
    Object.assign(process.env, awsEnv)
    client = new S3Client({ region: 'eu-central-1', endpoint: moto.url, forcePathStyle: true })
  })
  afterAll(async () => {
    client.destroy()
    await moto.close()
  })

  test('is sealed, verified, held, expired and exported there, and a changed object is named', async () => {
    const logs = join(folder, 'logs-s3')
    generate(logs, { records: 1500, keys: 1, perFile: 500, seed: 6 })
    await client.send(
      new CreateBucketCommand({
        Bucket: 'example-history',
        CreateBucketConfiguration: { LocationConstraint: 'eu-central-1' },
      }),
    )
    const s3 = { bucket: 'example-history', prefix: 'keytrail', region: 'eu-central-1', endpoint: moto.url }
    const data = join(folder, 'data-s3')
    const path = write(join(folder, 's3.json'), configuration(data, logs, { s3 }))
    const run = await keytrail(['run', '--once', '--config', path])
    expect(run.status, run.stderr).toBe(0)
    const verify = await keytrail(['verify', '--config', path, '--records', '--quiet'])
    expect(verify.stdout + verify.stderr).toContain('Everything is here, and as it was sealed.')
    const printed = await keytrail(['history', 'export', '--config', path, '--kind', 'feed'])
    const lines = printed.stdout.trim().split('\n')
    expect(lines).toHaveLength(1500)
    const idOf = (line: string) => (JSON.parse(JSON.parse(line).body) as { event_id: string }).event_id
    expect(lines.map((line) => `feed ${idOf(line)}`).sort()).toEqual(
      journaled(data).filter((one) => one.startsWith('feed')),
    )
    const sent = new Store(data, 'reader')
    const alerts = sent.alerts(0, 1e6).map(({ alert }) => alert)
    sent.close()
    const [seen, now] = ['seen.ndjson', 'now.ndjson'].map((name) => join(folder, name)) as [string, string]
    const replay = (...more: string[]) =>
      keytrail(['replay', '--config', path, '--from', '2026-03-01', '--quiet', '--json', ...more])
    const asSeen = await replay('--as-seen', '--alerts', seen)
    expect(asSeen.stdout).toMatch(/"differing": \[\]/)
    expect(readFileSync(seen, 'utf8')).toBe(
      alerts
        .filter(({ detector }) => detector.id !== 'history-checkpoint')
        .map((alert) => `${JSON.stringify(alert)}\n`)
        .join(''),
    )
    const corrected = JSON.parse((await replay('--alerts', now)).stdout) as ReplayReport
    expect(corrected).toMatchObject({ events: 1500, expired: 0, difference: { changes: [] } })
    expect(corrected.difference?.same).toBeGreaterThan(0)

    const because = ['--reason', 'test', '--config', path]
    const days = ['--from', '2026-03-02', '--to', '2026-03-02']
    expect(await keytrail(['history', 'hold', 'case-7', ...days, ...because])).toMatchObject({ status: 0 })
    const expired = await keytrail(['history', 'expire', '--before', '2026-03-04', ...because])
    expect(expired.stdout).toMatch(/they are on hold/)
    const window = ['--from', '2026-03-02T00:05:00Z', '--to', '2026-03-02T00:30:00Z']
    expect(await keytrail(['verify', '--config', path, '--quiet', ...window])).toMatchObject({ status: 0 })

    const { Contents = [] } = await client.send(
      new ListObjectsV2Command({ Bucket: 'example-history', Prefix: 'keytrail/data/feed/2026-03-02/' }),
    )
    const [{ Key = '' } = {}] = Contents
    await client.send(new PutObjectCommand({ Bucket: 'example-history', Key, Body: 'something else' }))
    const changed = await keytrail(['verify', '--config', path, '--quiet'])
    expect(changed.status).toBe(1)
    expect(changed.stdout).toContain(Key.slice('keytrail/'.length))
  })
})
