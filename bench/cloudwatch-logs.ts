/**
 * CloudWatch Logs from the service, on loopback, to a file:
 *
 *   node bench/cloudwatch-logs.ts latency [seconds]   50 records/s on top of a quarter of an hour of them, default settings
 *   node bench/cloudwatch-logs.ts rate [records]      a backlog, as fast as it goes: records/s and CPU per record
 *
 * What arrived is compared with what was published before a figure counts.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startCloudWatchLogs } from '../test/standins/cloudwatch-logs.ts'
import { record } from '../test/support/cloudtrail.ts'

const root = join(import.meta.dirname, '..')
const [mode = 'latency', amount] = process.argv.slice(2)
const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'keytrail-bench-'))
const children: ChildProcess[] = []
process.on('exit', () => {
  for (const one of children) one.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

const POLL_S = 10
const logs = await startCloudWatchLogs()
logs.group('trail')
let published = 0
const put = (at: number) => {
  logs.put('trail', [
    { timestamp: at, at, message: JSON.stringify(record({ eventTime: new Date(at).toISOString() })) },
  ])
  published++
}

const out = join(folder, 'events.ndjson')
const run = (more: object, once: boolean) => {
  const config = join(folder, 'keytrail.json')
  writeFileSync(
    config,
    JSON.stringify({
      data: join(folder, 'data'),
      log: 'error',
      sources: {
        trail: {
          type: 'cloudwatch_logs',
          groups: [{ name: 'trail', region: 'eu-central-1' }],
          start: 'beginning',
          poll_seconds: POLL_S,
          endpoint: logs.url,
          ...more,
        },
      },
      sinks: { out: { type: 'ndjson', events: out } },
    }),
  )
  const child = spawn(
    process.execPath,
    [join(root, 'src/main.ts'), 'run', '--config', config, ...(once ? ['--once'] : [])],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, AWS_ACCESS_KEY_ID: 'AKIAEXAMPLEEXAMPLE12', AWS_SECRET_ACCESS_KEY: 'secret' },
    },
  )
  children.push(child)
  let cpu = 0
  const timer = setInterval(() => {
    cpu = cpuOf(child.pid) ?? cpu
  }, 100)
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve())).finally(() =>
    clearInterval(timer),
  )
  return { child, ended, cpu: () => cpu }
}

/** Seconds of processor time a process took so far. */
const cpuOf = (pid: number | undefined): number | undefined => {
  try {
    const [, after = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')
    const fields = after.split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return undefined // it has ended
  }
}

/** New lines of the sink's file. */
const reader = () => {
  let offset = 0
  let rest = ''
  return (): string[] => {
    if (!existsSync(out)) return []
    const file = openSync(out, 'r')
    const bytes = Buffer.alloc(8 * 1024 * 1024)
    const read = readSync(file, bytes, 0, bytes.length, offset)
    closeSync(file)
    offset += read
    const lines = (rest + bytes.toString('utf8', 0, read)).split('\n')
    rest = lines.pop() ?? ''
    return lines
  }
}

interface Event {
  readonly event_id: string
  readonly time: { readonly event: string }
}
const quantile = (values: readonly number[], share: number) =>
  [...values].sort((a, b) => a - b)[Math.min(Math.floor(values.length * share), values.length - 1)]

const latency = async (seconds: number) => {
  const RATE = 50
  const before = Date.now()
  for (let n = 15 * 60 * RATE; n > 0; n--) put(before - n * (1000 / RATE))
  const backlog = published
  const service = run({}, false)
  const read = reader()
  const ids = new Set<string>()
  const waits: number[] = []
  let began = 0
  const look = () => {
    const now = Date.now()
    for (const line of read()) {
      const { event_id, time } = JSON.parse(line) as Event
      if (ids.size < backlog) waits.length = 0
      else waits.push(now - Date.parse(time.event))
      ids.add(event_id)
    }
  }
  while (ids.size < backlog) {
    await sleep(100)
    look()
  }
  const cpu = service.cpu()
  began = Date.now()
  const first = logs.calls.length
  const STEP_MS = 100
  for (let step = 0; step < (seconds * 1000) / STEP_MS; step++) {
    for (let n = 0; n < (RATE * STEP_MS) / 1000; n++) put(Date.now())
    look()
    await sleep(Math.max(0, began + (step + 1) * STEP_MS - Date.now()))
  }
  const took = (Date.now() - began) / 1000
  const cpuLive = service.cpu() - cpu
  const calls = logs.calls.length - first
  while (ids.size < published) {
    await sleep(50)
    look()
  }
  service.child.kill('SIGTERM')
  await service.ended
  if (ids.size !== published) throw new Error(`${ids.size} of ${published} arrived`)
  const max = Math.max(...waits)
  return {
    records: waits.length,
    records_per_second: Math.round(waits.length / took),
    poll_seconds: POLL_S,
    p50_ms: quantile(waits, 0.5),
    p99_ms: quantile(waits, 0.99),
    max_ms: max,
    holds: max <= (POLL_S + 5) * 1000,
    requests_per_second: Math.round((calls / took) * 10) / 10,
    cpu_share_of_a_core: Math.round((cpuLive / took) * 1000) / 1000,
  }
}

const rate = async (records: number) => {
  const before = Date.now() - 3_600_000
  for (let n = 0; n < records; n++) put(before + Math.floor((n * 3_000_000) / records))
  const began = performance.now()
  const service = run({ requests_per_second: 1000 }, true)
  await service.ended
  const seconds = (performance.now() - began) / 1000
  const lines = readFileSync(out, 'utf8').trimEnd().split('\n').length
  if (lines !== records) throw new Error(`${lines} of ${records} arrived`)
  return {
    records,
    per_second: Math.round(records / seconds),
    cpu_us_per_record: Math.round((service.cpu() * 1e6) / records),
  }
}

const load = loadavg()[0]
const found = mode === 'rate' ? await rate(Number(amount ?? 100_000)) : await latency(Number(amount ?? 120))
const results = { node: process.version, cpu: cpus()[0]?.model, [mode]: { ...found, load_before: load } }
console.log(JSON.stringify(results, null, 2))
const file = join(root, 'bench/results/cloudwatch-logs.json')
const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as object) : {}
writeFileSync(file, `${JSON.stringify({ ...known, ...results }, null, 2)}\n`)
process.exit(0)
