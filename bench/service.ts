/**
 * `run` as a service: how many key events a second from files, how long from a record to its alert, and how fast it
 * starts again with a million live keys. Outputs are compared with those of a scan before a figure counts.
 *
 *   node bench/service.ts [records]
 */
import { spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { Store } from '../src/journal/store.ts'
import { generate } from './generate.ts'

const root = join(import.meta.dirname, '..')
const program = join(root, 'src/main.ts')
const records = Number(process.argv[2] ?? 300_000)
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const folder = mkdtempSync(join(base, 'keytrail-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const configOf = (name: string, paths: readonly string[]) => {
  const own = join(folder, name)
  mkdirSync(own)
  const config = join(own, 'keytrail.json')
  const out = { events: join(own, 'events.ndjson'), alerts: join(own, 'alerts.ndjson') }
  writeFileSync(
    config,
    JSON.stringify({
      data: join(own, 'data'),
      sources: { logs: { type: 'files', paths, start: 'beginning' } },
      sinks: { out: { type: 'ndjson', ...out } },
    }),
  )
  return { config, data: join(own, 'data'), ...out }
}

const idsIn = async (path: string, name: string) => {
  const ids = new Set<string>()
  for await (const line of createInterface({ input: createReadStream(path) })) ids.add(JSON.parse(line)[name])
  return [...ids].sort()
}
/** Highest resident memory of a process, MiB. */
const peak = (pid: number | undefined): number =>
  Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024

const start = (config: string, once: boolean) =>
  spawn(process.execPath, [program, 'run', '--config', config, ...(once ? ['--once'] : [])], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
const ended = (child: ReturnType<typeof start>) =>
  new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? -1)))

/** From the first commit to the last. */
const sustained = async () => {
  const logs = join(folder, 'logs')
  generate(logs, { records, keys: 1, perFile: 500, seed: 3 })
  const one = configOf('sustained', [logs])
  const child = start(one.config, true)
  let memory = 0
  const timer = setInterval(() => {
    memory = Math.max(memory, peak(child.pid))
  }, 500)
  const code = await ended(child)
  clearInterval(timer)
  if (code !== 0) throw new Error(`run ended with ${code}`)
  const scanned = join(folder, 'scan')
  spawnSync(process.execPath, [
    program,
    'scan',
    logs,
    '--no-save',
    '--json',
    '--alerts',
    `${scanned}.a`,
    '--events',
    `${scanned}.e`,
  ])
  for (const [ours, theirs, name] of [
    [one.alerts, `${scanned}.a`, 'alert_id'],
    [one.events, `${scanned}.e`, 'event_id'],
  ] as const)
    if (JSON.stringify(await idsIn(ours, name)) !== JSON.stringify(await idsIn(theirs, name)))
      throw new Error(`${name} differs from scan`)
  const database = new DatabaseSync(join(one.data, 'journal.db'), { readOnly: true })
  const { first, last, count } = database
    .prepare('SELECT min(at) AS first, max(at) AS last, sum(count) AS count FROM log')
    .get() as Record<string, number> // columns of that query
  database.close()
  return {
    events: count,
    rate: Math.round((Number(count) * 1000) / (Number(last) - Number(first))),
    memory: Math.round(memory),
  }
}

const POLICY = {
  eventVersion: '1.11',
  eventSource: 'kms.amazonaws.com',
  eventName: 'PutKeyPolicy',
  awsRegion: 'eu-central-1',
  sourceIPAddress: '192.0.2.1',
  recipientAccountId: '123456789012',
  requestParameters: {
    keyId: 'arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-4333-8444-555555555555',
  },
}

/** Lines are appended to one file; every hundredth is a policy change by a user of its own, which raises an alert. */
/** A process that has just begun runs code that is not compiled yet: what comes after this is told apart. */
const WARM_MS = 5000

const latency = async (rate: number, seconds: number) => {
  const logs = join(folder, 'live')
  mkdirSync(logs)
  const log = join(logs, 'log.ndjson')
  writeFileSync(log, '')
  const one = configOf('latency', [logs])
  const child = start(one.config, false)
  while (!existsSync(join(one.data, 'journal.db'))) await sleep(50) // its start is no part of the way of a record
  await sleep(1500)
  const appended = new Map<string, number>()
  const waits: { readonly appended: number; readonly ms: number }[] = []
  let seen = 0
  /** What was written since the last look: reading all of it again would take a core from what is measured. */
  const bytes = Buffer.alloc(16 * 1024 * 1024)
  const look = () => {
    if (!existsSync(one.alerts)) return
    const file = openSync(one.alerts, 'r')
    const length = readSync(file, bytes, 0, bytes.length, seen)
    closeSync(file)
    const now = performance.now()
    const end = bytes.subarray(0, length).lastIndexOf(0x0a) + 1
    for (const line of bytes.toString('utf8', 0, end).split('\n')) {
      if (line === '') continue
      const user = String(JSON.parse(line).entity.principal)
      const at = appended.get(user)
      if (at !== undefined) waits.push({ appended: at, ms: now - at })
      appended.delete(user)
    }
    seen += end
  }
  const STEP_MS = 50
  let n = 0
  const began = performance.now()
  for (let step = 0; step < (seconds * 1000) / STEP_MS; step++) {
    const lines: string[] = []
    const time = `${new Date().toISOString().slice(0, 19)}Z`
    const users: string[] = []
    for (let index = 0; index < (rate * STEP_MS) / 1000; index++, n++) {
      const user = `arn:aws:iam::123456789012:user/u${n}`
      const policy = n % 100 === 0
      if (policy) users.push(user)
      lines.push(
        JSON.stringify({
          ...POLICY,
          eventName: policy ? 'PutKeyPolicy' : 'Decrypt',
          eventTime: time,
          eventID: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
          userIdentity: policy
            ? { type: 'IAMUser', arn: user, accountId: '123456789012', accessKeyId: 'AKIAEXAMPLE' }
            : {
                type: 'IAMUser',
                arn: `arn:aws:iam::123456789012:user/calm${n % 5000}`,
                accountId: '123456789012',
              },
        }),
      )
    }
    appendFileSync(log, `${lines.join('\n')}\n`)
    for (const user of users) appended.set(user, performance.now())
    look()
    await sleep(Math.max(0, began + (step + 1) * STEP_MS - performance.now()))
  }
  for (let tries = 0; tries < 100 && appended.size > 0; tries++) {
    await sleep(50)
    look()
  }
  child.kill('SIGTERM')
  await ended(child)
  const quantiles = (from: number) => {
    const sorted = waits
      .flatMap(({ appended: at, ms }) => (at - began >= from ? ms : []))
      .sort((a, b) => a - b)
    const at = (share: number) => Math.round(sorted[Math.floor(sorted.length * share)] ?? Number.NaN)
    return { alerts: sorted.length, p50: at(0.5), p99: at(0.99), max: at(0.9999) }
  }
  return {
    rate,
    seconds,
    missing: appended.size,
    ...quantiles(0),
    [`after_${WARM_MS / 1000}_s`]: quantiles(WARM_MS),
  }
}

/** A journal with a million keys in its state, and one new record: from start to the first event. */
const restart = async (keys: number) => {
  const logs = join(folder, 'one')
  mkdirSync(logs)
  writeFileSync(
    join(logs, 'a.json'),
    JSON.stringify({ ...POLICY, eventTime: '2026-03-02T09:00:00Z', eventID: 'a' }),
  )
  const one = configOf('restart', [logs])
  await ended(start(one.config, true))
  const database = new DatabaseSync(join(one.data, 'journal.db'))
  database.exec('BEGIN')
  const value = database.prepare('INSERT INTO state VALUES(?, ?, ?, 0)')
  const list = database.prepare('INSERT INTO lists VALUES(?, ?, 1, ?, ?)')
  const due = Date.now() + 86_400_000
  for (let n = 0; n < keys; n++) {
    const name = `caller-new-for-key|1|arn:aws:iam::123456789012:role/r${n % 1000}|arn:aws:kms:eu-central-1:123456789012:key/${n}`
    value.run(`days|${name}`, '{"days":[20500,20510]}', due)
    if (n % 10 === 0) list.run(name, 2_960_000, '[[1776000000000,"00000000000000000000000000000000",0]]', due)
  }
  database.exec('COMMIT')
  database.close()
  writeFileSync(
    join(logs, 'b.json'),
    JSON.stringify({ ...POLICY, eventTime: '2026-03-02T09:00:01Z', eventID: 'b' }),
  )
  const began = performance.now()
  const child = start(one.config, false)
  let memory = 0
  let ms = Number.NaN
  for (let tries = 0; tries < 400 && Number.isNaN(ms); tries++) {
    await sleep(10)
    memory = Math.max(memory, peak(child.pid))
    const store = new Store(one.data, 'reader')
    if ((store.counters().get('kept|logs') ?? 0) === 2) ms = Math.round(performance.now() - began)
    store.close()
  }
  child.kill('SIGTERM')
  await ended(child)
  return { keys, ms, memory: Math.round(memory) }
}

const results = {
  node: process.version,
  cpu: cpus()[0]?.model,
  sustained: await sustained(),
  latency: await latency(15_000, 30),
  restart: await restart(1_000_000),
}
console.log(JSON.stringify(results, null, 2))
writeFileSync(join(root, 'bench/results/service.json'), `${JSON.stringify(results, null, 2)}\n`)
