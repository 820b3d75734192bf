/**
 * `npm run bench`: scan against the floors, on one pinned core, in interleaved rounds; medians of wall time.
 * First the outputs are compared: the same 18 fields of the same records, sorted, must have one digest.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KeyEvent } from '../src/model/event.ts'
import { generate, type Profile } from './generate.ts'

const root = join(import.meta.dirname, '..')
const scale = Number(process.argv[2] ?? '1')
const rounds = Number(process.argv[3] ?? '3')
const work = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'keytrail-bench-'))

const profiles: Readonly<Record<string, Profile>> = {
  'five percent about keys': { records: Math.round(600_000 * scale), keys: 0.05, perFile: 2000, seed: 1 },
  'all about keys': { records: Math.round(150_000 * scale), keys: 1, perFile: 2000, seed: 2 },
}

/** Milliseconds of a run of Node on core 1. */
const run = (args: readonly string[]): number => {
  const begun = performance.now()
  const result = spawnSync('taskset', ['-c', '1', process.execPath, ...args], {
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: work },
  })
  if (result.status !== 0) throw new Error(`${args.join(' ')}: ${result.stderr}`)
  return performance.now() - begun
}

const digest = (lines: readonly string[]): string =>
  createHash('sha256')
    .update([...lines].sort().join('\n'))
    .digest('hex')

/** The 18 fields of bench/floor.ts, read from a normalized event. */
const fields = (event: KeyEvent): string =>
  JSON.stringify([
    event.source.format_version,
    event.source.native_id,
    event.source.request_id,
    event.time.event,
    event.operation_native,
    event.target.region,
    event.network.source_ip ?? event.network.source_raw,
    event.network.user_agent,
    event.error?.code,
    event.error?.message,
    event.actor.account,
    event.actor.credential_id,
    event.actor.invoked_by,
    event.actor.principal,
    event.target.key_id,
    event.crypto?.algorithm,
    event.network.tls_version,
    event.network.tls_cipher,
  ])

const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

const results: Record<string, unknown>[] = []
try {
  for (const [name, profile] of Object.entries(profiles)) {
    const logs = join(work, 'logs')
    const raw = generate(logs, profile)
    const floor = join(root, 'bench', 'floor.ts')
    const loopOut = join(work, 'loop.ndjson')
    const events = join(work, 'events.ndjson')
    const scan = [
      join(root, 'bin', 'keytrail'),
      'scan',
      logs,
      '--json',
      '--no-save',
      '--quiet',
      '--workers',
      '1',
    ]
    const jobs = {
      gunzip: [floor, 'gunzip', logs],
      loop: [floor, 'loop', logs, loopOut],
      scan,
      'scan --events': [...scan, '--events', events],
    }
    run(jobs.loop)
    run(jobs['scan --events'])
    const kms = linesOf(events)
      .map((line) => JSON.parse(line) as KeyEvent)
      .filter((event) => event.source.service === 'aws_kms')
    const equal = digest(kms.map(fields)) === digest(linesOf(loopOut))
    if (!equal) throw new Error(`${name}: the outputs differ`)

    const times: Record<string, number[]> = { gunzip: [], loop: [], scan: [], 'scan --events': [] }
    for (let round = 0; round < rounds; round++)
      for (const [job, args] of Object.entries(jobs)) times[job]?.push(run(args))
    const seconds = Object.fromEntries(Object.entries(times).map(([job, all]) => [job, median(all) / 1000]))
    const { gunzip = 0, loop = 0 } = seconds
    const ratio = (floorSeconds: number, job: string) =>
      Number((floorSeconds / (seconds[job] ?? Number.NaN)).toFixed(3))
    const result = {
      profile: name,
      records: profile.records,
      megabytes: Math.round(raw / 1e6),
      outputs: 'equal',
      seconds: Object.fromEntries(
        Object.entries(seconds).map(([job, value]) => [job, Number(value.toFixed(2))]),
      ),
      'of plain gunzip': { scan: ratio(gunzip, 'scan'), 'scan --events': ratio(gunzip, 'scan --events') },
      'of the bare loop': { scan: ratio(loop, 'scan'), 'scan --events': ratio(loop, 'scan --events') },
    }
    results.push(result)
    console.log(JSON.stringify(result, null, 2))
  }
  mkdirSync(join(root, 'bench', 'results'), { recursive: true })
  const about = { node: process.version, cpu: cpus()[0]?.model, rounds, results }
  writeFileSync(join(root, 'bench', 'results', 'latest.json'), `${JSON.stringify(about, null, 2)}\n`)
} finally {
  rmSync(work, { recursive: true, force: true })
}
