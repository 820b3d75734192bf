/**
 * `node bench/clouds.ts [scale] [rounds]`: Azure and Google records against a bare `JSON.parse` loop over the same files, on one
 * pinned core, in interleaved rounds; medians with start-up, of wall time and (for a machine that is
 * not idle) of processor time; `start` does the same with no files. First the outputs are compared: how many records
 * are kept, and a digest over time, operation, address and id of each.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, cpus as processors, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KeyEvent } from '../src/model/event.ts'
import { type Form, generateClouds } from './clouds-generate.ts'

const root = join(import.meta.dirname, '..')
const scale = Number(process.argv[2] ?? '1')
const rounds = Number(process.argv[3] ?? '3')
const RECORDS = Math.round(150_000 * scale)
const PER_FILE = 5000
const forms: readonly Form[] = ['azure lines', 'azure records', 'google lines']
const work = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'keytrail-bench-'))

/** Runs Node on core 1. @returns wall and processor time in seconds, and what it printed */
const run = (args: readonly string[]) => {
  const timed = 'TIMEFORMAT="%R %U %S"; time "$0" "$@"'
  const result = spawnSync('bash', ['-c', timed, 'taskset', '-c', '1', process.execPath, ...args], {
    encoding: 'utf8',
  })
  if (result.status !== 0) throw new Error(`${args.join(' ')}: ${result.stderr}`)
  const [wall = 0, user = 0, system = 0] = (result.stderr.trim().split('\n').at(-1) ?? '')
    .split(' ')
    .map(Number)
  return { wall, cpu: user + system, printed: result.stdout }
}
const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
const digest = (lines: readonly string[]) =>
  createHash('sha256')
    .update([...lines].sort().join('\n'))
    .digest('hex')
const median = (values: readonly number[]) =>
  Number(([...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN).toFixed(3))

const fields = (line: string): string => {
  const event = JSON.parse(line) as KeyEvent
  const id = event.source.provider === 'gcp' ? event.source.native_id : event.source.correlation_id
  return JSON.stringify([event.time.event, event.operation_native, event.network.source_ip, id])
}

const results: Record<string, unknown>[] = []
try {
  for (const [seed, form] of forms.entries()) {
    const logs = join(work, 'logs')
    const events = join(work, 'events.ndjson')
    const lines = join(work, 'lines')
    const bytes = generateClouds(logs, form, RECORDS, PER_FILE, seed + 1)
    const other = join(root, 'bench', 'clouds-floor.ts')
    const scan = [
      join(root, 'src', 'main.ts'),
      'scan',
      logs,
      '--json',
      '--no-save',
      '--quiet',
      '--workers',
      '1',
    ]
    const none = join(work, 'none')
    mkdirSync(none, { recursive: true })
    const jobs = {
      start: [other, 'parse', none],
      parse: [other, 'parse', logs],
      read: [other, 'read', logs],
      scan,
    }

    run([other, 'lines', logs, lines])
    const { records } = JSON.parse(run([...scan, '--events', events]).printed) as {
      records: { kept: number }
    }
    const { count } = JSON.parse(run(jobs.read).printed) as { count: number }
    const expected = linesOf(lines)
    if (records.kept !== expected.length || count !== expected.length)
      throw new Error(`${form}: kept ${records.kept} and ${count}, expected ${expected.length}`)
    if (digest(linesOf(events).map(fields)) !== digest(expected))
      throw new Error(`${form}: the outputs differ`)

    const names = ['start', 'parse', 'read', 'scan'] as const
    const walls: Record<keyof typeof jobs, number[]> = { start: [], parse: [], read: [], scan: [] }
    const cpus: Record<keyof typeof jobs, number[]> = { start: [], parse: [], read: [], scan: [] }
    const before = loadavg()[0] ?? 0
    for (let round = 0; round < rounds; round++)
      for (const job of names) {
        const { wall, cpu } = run(jobs[job])
        walls[job].push(wall)
        cpus[job].push(cpu)
      }
    const medians = (all: typeof walls) => ({
      start: median(all.start),
      parse: median(all.parse),
      read: median(all.read),
      scan: median(all.scan),
    })
    const ratios = ({ start, parse, read, scan }: ReturnType<typeof medians>) => ({
      read: Number((parse / read).toFixed(3)),
      scan: Number((parse / scan).toFixed(3)),
      'read without start-up': Number(((parse - start) / (read - start)).toFixed(3)),
    })
    const [wall, cpu] = [medians(walls), medians(cpus)]
    const result = {
      form,
      records: RECORDS,
      kept: records.kept,
      megabytes: Math.round(bytes / 1e6),
      outputs: 'equal',
      'wall seconds': wall,
      'processor seconds': cpu,
      'of the bare loop': { wall: ratios(wall), processor: ratios(cpu) },
      load: { before: Number(before.toFixed(2)), after: Number((loadavg()[0] ?? 0).toFixed(2)) },
    }
    results.push(result)
    console.log(JSON.stringify(result, null, 2))
  }
  const about = {
    node: process.version,
    cpu: processors()[0]?.model,
    cores: processors().length,
    rounds,
    results,
  }
  writeFileSync(join(root, 'bench', 'results', 'clouds.json'), `${JSON.stringify(about, null, 2)}\n`)
} finally {
  rmSync(work, { recursive: true, force: true })
}
