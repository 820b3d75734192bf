/**
 * Delivery to Splunk with acknowledgement, to a collector in a process of its own on the other core.
 *
 *   node bench/siem.ts throughput [records]   a full journal is drained: alerts and events a second, CPU per event
 *   node bench/siem.ts down [records]         one collector is down while records arrive; the other one does not notice
 *
 * What arrived is compared with the journal before a figure counts.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Store, unpacked } from '../src/journal/store.ts'
import { NOT_TAKEN } from '../src/pipeline/ports.ts'
import { generate } from './generate.ts'

const root = join(import.meta.dirname, '..')
const [mode = 'throughput', amount] = process.argv.slice(2)
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const folder = mkdtempSync(join(base, 'keytrail-bench-'))
const children: ChildProcess[] = []
process.on('exit', () => {
  for (const one of children) one.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

interface Counts {
  readonly objects: number
  readonly requests: number
  readonly refused: number
  readonly bytes: number
  readonly first: number
  readonly last: number
  readonly distinct: number
  readonly waits: readonly number[]
}

interface Collector {
  readonly url: string
  ask(message: 'down' | 'up' | 'counts' | 'forget'): Promise<Counts>
  ids(): Promise<string[]>
  end(): void
}

const collector = async (core?: number): Promise<Collector> => {
  const child = fork(join(import.meta.dirname, 'hec-server.ts'), {
    stdio: 'inherit',
    execArgv: ['--max-old-space-size=6000'],
  })
  children.push(child)
  const told = () => new Promise<unknown>((resolve) => child.once('message', resolve))
  const { port } = (await told()) as { port: number }
  if (core !== undefined) spawn('taskset', ['-acp', String(core), String(child.pid)], { stdio: 'ignore' })
  const ask = async (message: string) => {
    const answer = told()
    child.send(message)
    return answer
  }
  return {
    url: `http://127.0.0.1:${port}`,
    ask: (message) => ask(message) as Promise<Counts>,
    ids: async () => ((await ask('ids')) as { ids: string[] }).ids,
    end: () => child.kill('SIGKILL'),
  }
}

/** A rule for one name of an operation, so that there are alerts as wanted. */
const detectorFor = (operation: string): string => {
  const one = join(folder, 'detectors', `every-${operation.replaceAll('_', '-')}`)
  mkdirSync(one, { recursive: true })
  const text = readFileSync(join(root, 'test/support/noisy/metadata-read/detector.yml'), 'utf8')
  writeFileSync(
    join(one, 'detector.yml'),
    text
      .replace('name: metadata-read', `name: every-${operation.replaceAll('_', '-')}`)
      .replace('read_metadata', operation),
  )
  return join(folder, 'detectors')
}

const splunk = (url: string, more: object) => ({
  type: 'splunk',
  url,
  token: '\u0024{env:HEC_TOKEN}',
  ack: 'required',
  ...more,
})

const configure = (name: string, config: object): string => {
  const path = join(folder, `${name}.json`)
  writeFileSync(path, JSON.stringify({ log: 'error', ...config }))
  return path
}

const run = (config: string, once: boolean, core?: number) => {
  const args = [join(root, 'src/main.ts'), 'run', '--config', config, ...(once ? ['--once'] : [])]
  const [program, ...rest] =
    core === undefined
      ? [process.execPath, ...args]
      : ['taskset', '-c', String(core), process.execPath, ...args]
  const child = spawn(program ?? '', rest, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, HEC_TOKEN: 'x' },
  })
  children.push(child)
  const ended = new Promise<void>((resolve, reject) =>
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`run ended with ${code}`)))),
  )
  return { child, ended }
}

/** Seconds of processor time a process took so far. */
const cpuOf = (pid: number | undefined): number => {
  const [, after = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')
  const fields = after.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
const residentOf = (pid: number | undefined): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024

const idsOf = (data: string, stream: 'feed' | 'alerts'): string[] => {
  const store = new Store(data, 'reader')
  const ids: string[] = []
  if (stream === 'alerts') for (const { alert } of store.alerts(0, 1e7)) ids.push(alert.alert_id)
  else
    for (let after = 0; ; ) {
      const blocks = store.blocks(after, 8 * 1024 * 1024)
      if (blocks.length === 0) break
      for (const block of blocks)
        for (const { event } of unpacked(block).items)
          ids.push((JSON.parse(event) as { event_id: string }).event_id)
      after = blocks.at(-1)?.seq ?? after
    }
  store.close()
  return [...new Set(ids)].sort()
}

const compare = async (server: Collector, data: string, stream: 'feed' | 'alerts') => {
  const arrived = (await server.ids()).sort()
  const expected = idsOf(data, stream)
  if (JSON.stringify(arrived) !== JSON.stringify(expected))
    throw new Error(`${stream}: ${arrived.length} arrived, ${expected.length} are in the journal`)
  return expected.length
}

const throughput = async (records: number) => {
  const logs = join(folder, 'logs')
  generate(logs, { records, keys: 1, perFile: 500, seed: 3 })
  const results: Record<string, object> = {}
  for (const stream of ['alerts', 'feed'] as const) {
    const data = join(folder, `data-${stream}`)
    const common = {
      data,
      detectors: { default: false, folders: stream === 'alerts' ? [detectorFor('decrypt')] : [] },
    }
    const fill = configure(`fill-${stream}`, {
      ...common,
      sources: { logs: { type: 'files', paths: [logs], start: 'beginning' } },
    })
    await run(fill, true).ended
    const server = await collector(1)
    const nothing = join(folder, 'nothing')
    mkdirSync(nothing, { recursive: true })
    const drain = configure(`drain-${stream}`, {
      ...common,
      sources: { logs: { type: 'files', paths: [nothing], start: 'beginning' } },
      sinks: { splunk: splunk(server.url, { [stream]: {} }) },
    })
    const { child, ended } = run(drain, false, 0)
    const count = idsOf(data, stream).length
    let before = 0
    let counts = await server.ask('counts')
    for (; counts.distinct < count; counts = await server.ask('counts')) {
      if (counts.first > 0 && before === 0) before = cpuOf(child.pid)
      await server.ask('forget')
      await sleep(50)
    }
    const cpu = cpuOf(child.pid) - before
    child.kill('SIGTERM')
    await ended
    await compare(server, data, stream)
    const seconds = (counts.last - counts.first) / 1000
    results[stream] = {
      count,
      per_second: Math.round(count / seconds),
      cpu_us: Math.round((cpu * 1e6) / count),
      requests: counts.requests,
      bytes_each: Math.round(counts.bytes / count),
    }
    server.end()
  }
  return results
}

const LINE = {
  eventVersion: '1.11',
  eventSource: 'kms.amazonaws.com',
  awsRegion: 'eu-central-1',
  sourceIPAddress: '192.0.2.1',
  recipientAccountId: '123456789012',
  requestParameters: {
    keyId: 'arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-4333-8444-555555555555',
  },
}

/** Appends records at a rate, one in twenty of them read a key's data and raise an alert. */
const writer = (log: string) => {
  let n = 0
  return async (rate: number, records: number) => {
    const STEP_MS = 50
    const began = performance.now()
    for (let step = 0, made = 0; made < records; step++) {
      const lines: string[] = []
      const time = new Date().toISOString()
      for (let index = 0; index < (rate * STEP_MS) / 1000; index++, n++, made++)
        lines.push(
          JSON.stringify({
            ...LINE,
            eventName: n % 20 === 0 ? 'DescribeKey' : 'Encrypt',
            eventTime: time,
            eventID: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
            userIdentity: {
              type: 'IAMUser',
              arn: `arn:aws:iam::123456789012:user/calm${n % 5000}`,
              accountId: '123456789012',
            },
          }),
        )
      appendFileSync(log, `${lines.join('\n')}\n`)
      await sleep(Math.max(0, began + (step + 1) * STEP_MS - performance.now()))
    }
    return n
  }
}

const quantile = (values: readonly number[], share: number) =>
  Math.round([...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN)

const down = async (records: number) => {
  const RATE = 1000
  const CALM = 60 * RATE
  const logs = join(folder, 'live')
  mkdirSync(logs)
  const log = join(logs, 'log.ndjson')
  writeFileSync(log, '')
  const [sick, healthy] = [await collector(), await collector()]
  const data = join(folder, 'data')
  const config = configure('down', {
    data,
    sources: { logs: { type: 'files', paths: [logs], start: 'beginning' } },
    detectors: { default: false, folders: [detectorFor('read_metadata')] },
    sinks: {
      sick: splunk(sick.url, { alerts: {}, feed: {}, max_wait_seconds: 2 }),
      healthy: splunk(healthy.url, { alerts: {}, feed: {} }),
    },
  })
  const { child, ended } = run(config, false)
  await sleep(2000)
  const write = writer(log)
  const settled = async () => {
    for (;;) {
      const { waits } = await healthy.ask('counts')
      await sleep(300)
      if ((await healthy.ask('counts')).waits.length === waits.length) return waits
    }
  }
  /** Highest resident memory while records come at ten times the rate, and until the healthy one has them all. */
  const flooded = async (count: number) => {
    let highest = 0
    const timer = setInterval(() => {
      highest = Math.max(highest, residentOf(child.pid))
    }, 250)
    const total = await write(10 * RATE, count)
    await settled()
    clearInterval(timer)
    return { highest, total }
  }
  await flooded(100 * RATE) // warms up
  await healthy.ask('forget')
  await write(RATE, CALM)
  const before = await settled()
  const { highest: memory } = await flooded(200 * RATE)
  await sick.ask('down')
  await healthy.ask('forget')
  await write(RATE, CALM)
  const during = await settled()
  const { highest, total } = await flooded(records)
  const { refused } = await sick.ask('up')
  let counts = await sick.ask('counts')
  const all = total + Math.ceil(total / 20)
  while (counts.distinct < all) {
    await sleep(200)
    counts = await sick.ask('counts')
  }
  const drained = (counts.objects * 1000) / (counts.last - counts.first)
  child.kill('SIGTERM')
  await ended
  const store = new Store(data, 'reader')
  const dead = store.deadLetters().length
  const takers = [...store.cursors().values()].filter(({ feed }) => feed !== NOT_TAKEN).length
  store.close()
  const one = await sick.ids()
  const other = await healthy.ids()
  if (one.length !== other.length || one.length !== all) throw new Error('the two collectors differ')
  if (dead > 0 || takers !== 2) throw new Error('something was refused')
  return {
    records: total,
    refused_requests: refused,
    p99_both_up_ms: quantile(before, 0.99),
    p99_one_down_ms: quantile(during, 0.99),
    p50_both_up_ms: quantile(before, 0.5),
    p50_one_down_ms: quantile(during, 0.5),
    memory_growth_mib: Math.round(highest - memory),
    drain_per_second: Math.round(drained),
  }
}

const work = mode === 'down' ? down(Number(amount ?? 600_000)) : throughput(Number(amount ?? 200_000))
const results = { node: process.version, cpu: cpus()[0]?.model, [mode]: await work }
console.log(JSON.stringify(results, null, 2))
const file = join(root, 'bench/results/siem.json')
const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as object) : {}
writeFileSync(file, `${JSON.stringify({ ...known, ...results }, null, 2)}\n`)
process.exit(0)
