/**
 * What each source costs: records a second and CPU per record, alone (handed over and dropped), by the vendor's client
 * without us, and in a whole `run` with a file as sink. All sources give the same records, and a figure counts only when all of them arrived.
 *
 *   node bench/sources.ts [records] [source…]
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { Store } from '../src/journal/store.ts'
import { startCloudWatchLogs } from '../test/standins/cloudwatch-logs.ts'
import { startEventHubs } from '../test/standins/event-hubs.ts'
import { startKafka } from '../test/standins/kafka.ts'
import { startMoto } from '../test/standins/moto.ts'
import { startPubSubService } from '../test/standins/pubsub-service.ts'
import { awsEnv, makeTrail } from '../test/support/trail-bucket.ts'
import { generate } from './generate.ts'

const root = join(import.meta.dirname, '..')
const count = Number(process.argv[2] ?? 100_000)
const chosen = process.argv.slice(3)
const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'keytrail-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

interface Prepared {
  /** As a configuration names it. */
  readonly config: object
  /** A program that does the same with the vendor's client and nothing of ours, and its arguments. */
  readonly floor?: readonly string[]
  /** Puts them there once more, where who reads removes them. */
  again?(): void
  stop(): Promise<void>
}

/** One entry a source: puts the records where it reads them. */
const sources: Readonly<Record<string, (records: readonly string[]) => Promise<Prepared>>> = {
  async files(records) {
    const path = join(folder, 'logs.ndjson')
    writeFileSync(path, records.map((one) => `${one}\n`).join(''))
    return { config: { type: 'files', paths: [path], start: 'beginning' }, stop: async () => {} }
  },
  async kafka(records) {
    const broker = await startKafka()
    const topic = await broker.topic(4)
    const producer = await broker.producer()
    for (let at = 0; at < records.length; at += 500)
      await producer.send({
        topic,
        messages: records.slice(at, at + 500).map((value, n) => ({ partition: n % 4, value })),
      })
    const config = {
      type: 'kafka',
      brokers: broker.brokers,
      topics: [topic],
      group: 'bench',
      start: 'earliest',
    }
    return { config, stop: () => broker.stop() }
  },
  async s3(records) {
    Object.assign(process.env, awsEnv)
    const moto = await startMoto()
    const trail = await makeTrail(moto, { visibility: 120 })
    for (let at = 0; at < records.length; at += 500)
      await trail.put(trail.key(), gzipSync(`{"Records":[${records.slice(at, at + 500).join()}]}`))
    return { config: trail.config, stop: () => moto.close() }
  },
  /** A message a record, as a log sink sends them. */
  async pubsub(records) {
    const bodies = records.map((one) => Buffer.from(one))
    const nothing = Buffer.alloc(0)
    const server = await startPubSubService({
      backlog: bodies.length,
      bytesOf: (n) => bodies[n] ?? nothing,
    })
    const config = {
      type: 'pubsub',
      project: server.project,
      endpoint: server.endpoint,
      subscriptions: [server.name],
      start: 'earliest',
    }
    const again = () => {
      if (server.acknowledged !== bodies.length)
        throw new Error(`only ${server.acknowledged} were acknowledged`)
      server.again(...bodies.keys())
    }
    const { endpoint, project, name } = server
    const floor = [join(import.meta.dirname, 'pubsub-floor.ts'), endpoint, project, name, String(count)]
    return { config, floor, again, stop: () => server.stop() }
  },
  async cloudwatch_logs(records) {
    Object.assign(process.env, awsEnv)
    const logs = await startCloudWatchLogs()
    logs.group('trail')
    const began = Date.now() - 3_600_000
    const events = records.map((message, n) => ({ timestamp: began + Math.floor(n / 10), message }))
    for (let at = 0; at < events.length; at += 1000) logs.put('trail', events.slice(at, at + 1000))
    const config = {
      type: 'cloudwatch_logs',
      groups: [{ name: 'trail', region: 'eu-central-1' }],
      start: 'beginning',
      requests_per_second: 1000,
      endpoint: logs.url,
    }
    return { config, stop: () => logs.close() }
  },
  async event_hubs(records) {
    const hubs = await startEventHubs({
      hubs: [{ name: 'logs', partitions: 4, consumerGroups: ['keytrail'] }],
    })
    process.env['EVENT_HUBS'] = hubs.connectionString
    for (const [n, record] of records.entries()) hubs.put('logs', n % 4, record)
    const config = {
      type: 'event_hubs',
      connection_string: '\u0024{env:EVENT_HUBS}',
      hubs: ['logs'],
      consumer_group: 'keytrail',
      start: 'earliest',
    }
    return { config, stop: () => hubs.close() }
  },
}

interface Usage {
  /** Microseconds of user and system time, of the process with its threads. */
  readonly cpu: number
  /** Highest resident memory, MiB. */
  readonly memory: number
  /** Milliseconds from the first record to the last, where the process itself counts them. */
  readonly wall?: number
}

/** Runs Node with something that notes at its end what it used. */
const used = (args: readonly string[]): Promise<Usage> =>
  new Promise((resolve, reject) => {
    const note = join(folder, 'usage.json')
    const child = spawn(process.execPath, ['--import', join(import.meta.dirname, 'usage.ts'), ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, USAGE: note },
    })
    child.on('error', reject)
    child.on('exit', (code) =>
      code === 0
        ? resolve(JSON.parse(readFileSync(note, 'utf8')) as Usage) // written by usage.ts
        : reject(new Error(`${args.join(' ')} ended with ${code}`)),
    )
  })

const configOf = (name: string, source: object) => {
  const own = join(folder, name)
  mkdirSync(own)
  const config = join(own, 'keytrail.json')
  const sinks = { out: { type: 'ndjson', events: join(own, 'events.ndjson') } }
  writeFileSync(config, JSON.stringify({ data: join(own, 'data'), sources: { logs: source }, sinks }))
  return { config, data: join(own, 'data') }
}

/** One text a record, without what it is delivered in. */
const makeRecords = (): string[] => {
  const logs = join(folder, 'generated')
  generate(logs, { records: count, keys: 1, perFile: 500, seed: 7 })
  return readdirSync(logs)
    .sort()
    .flatMap((name) => {
      const { Records } = JSON.parse(gunzipSync(readFileSync(join(logs, name))).toString()) as {
        Records: object[]
      }
      return Records.map((one) => JSON.stringify(one)) // written by the generator
    })
}

/** Read once more by the vendor's client alone. */
const sdks = ['kafka', 'event_hubs']

const results: Record<string, unknown>[] = []
const records = makeRecords()
const bytes = records.reduce((sum, one) => sum + Buffer.byteLength(one), 0)
for (const [name, prepare] of Object.entries(sources)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue
  const { config, floor, again, stop } = await prepare(records)
  try {
    const alone = await used([
      join(import.meta.dirname, 'source-alone.ts'),
      configOf(`${name}-alone`, config).config,
      String(count),
    ])
    again?.()
    const client = sdks.includes(name)
      ? [join(import.meta.dirname, 'source-sdk.ts'), JSON.stringify(config), String(count)]
      : floor
    const sdk = client && (await used(client))
    if (sdk !== undefined) again?.()
    const whole = configOf(name, config)
    const run = await used([join(root, 'src/main.ts'), 'run', '--once', '--config', whole.config])
    const store = new Store(whole.data, 'reader')
    const kept = store.counters().get('kept|logs')
    const times = store.blocks(0, Number.MAX_SAFE_INTEGER).map(({ at }) => at)
    store.close()
    if (kept !== count) throw new Error(`${name}: ${kept} of ${count} arrived`)
    const wall = Math.max(...times) - Math.min(...times)
    const result = {
      source: name,
      records: count,
      'bytes a record': Math.round(bytes / count),
      'alone, records a second': Math.round((count * 1000) / (alone.wall ?? Number.NaN)),
      'alone, µs of CPU a record': Number((alone.cpu / count).toFixed(1)),
      'alone, MiB': alone.memory,
      ...(sdk && { "the vendor's client, µs of CPU a record": Number((sdk.cpu / count).toFixed(1)) }),
      'run, records a second': Math.round((count * 1000) / wall),
      'run, µs of CPU a record': Number((run.cpu / count).toFixed(1)),
      'run, MiB': run.memory,
    }
    results.push(result)
    console.log(JSON.stringify(result, null, 2))
  } finally {
    await stop()
  }
}
const about = {
  node: process.version,
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  load: loadavg().map(Math.round),
  results,
}
writeFileSync(join(root, 'bench', 'results', 'sources.json'), `${JSON.stringify(about, null, 2)}\n`)
