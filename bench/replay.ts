/**
 * Replay of history against `scan` on the same events, interleaved: events a second and peak memory. Before a figure
 * counts, outputs are compared: as seen is what `run` sent, byte for byte, with one and two threads and in another time
 * zone; corrected gives the alerts of the scan.
 *
 *   node bench/replay.ts [events] [days]       node bench/replay.ts 5000000 30    the full dose
 */
import { spawnSync } from 'node:child_process'
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Store } from '../src/journal/store.ts'
import { generate } from './generate.ts'

const [events = 100_000, days = 30] = process.argv.slice(2).map(Number)
const ROUNDS = events > 1_000_000 ? 1 : 3
const folder = mkdtempSync(
  join(existsSync('/dev/shm') && events <= 1_000_000 ? '/dev/shm' : tmpdir(), 'keytrail-bench-'),
)
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const inside = (name: string) => join(folder, name)

const keytrail = (args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
  const began = performance.now()
  const { status, stderr, stdout } = spawnSync(
    '/usr/bin/time',
    ['-f', 'PEAK %M CPU %U %S', process.execPath, join(import.meta.dirname, '../src/main.ts'), ...args],
    { encoding: 'utf8', env: { ...process.env, ...env }, maxBuffer: 256 * 1024 * 1024 },
  )
  const seconds = (performance.now() - began) / 1000
  if (status !== 0) throw new Error(`keytrail ${args.join(' ')} ended with ${status}: ${stderr}${stdout}`)
  const [, peak, user, system] = /PEAK (\d+) CPU (\S+) (\S+)/.exec(stderr) ?? []
  return { seconds, peak: Number(peak) / 1024, cpu: Number(user) + Number(system) }
}

/** Alerts without what tells where their records lie. */
const bodies = async (path: string) => {
  const found = new Map<string, string>()
  for await (const line of createInterface({ input: createReadStream(path) })) {
    const { replay_run_id, ...alert } = JSON.parse(line)
    for (const one of alert.evidence.sample) delete one.raw_ref
    found.set(alert.alert_id, JSON.stringify(alert))
  }
  return found
}

const check = (what: string, isSame: boolean) => {
  if (!isSame) throw new Error(`${what}: the outputs differ`)
  console.log(`same: ${what}`)
}

generate(inside('logs'), { records: events, keys: 1, perFile: 5000, seed: 10, days })
writeFileSync(
  inside('keytrail.json'),
  JSON.stringify({
    data: inside('data'),
    sources: { logs: { type: 'files', paths: [inside('logs')], start: 'beginning' } },
    history: { folder: inside('history'), origin: 'bench.keytrail/history' },
  }),
)
const ran = keytrail(['run', '--once', '--config', inside('keytrail.json')])
console.log(
  `${events} events over ${days} days; ${cpus().length} cores; run and seal: ${ran.seconds.toFixed(1)} s`,
)

const store = new Store(inside('data'), 'reader')
let sent = ''
for (let after = 0; ; ) {
  const some = store.alerts(after, 10_000)
  if (some.length === 0) break
  sent += some
    .filter(({ alert }) => alert.detector.id !== 'history-checkpoint')
    .map(({ alert }) => `${JSON.stringify(alert)}\n`)
    .join('')
  after = some.at(-1)?.n ?? after
}
store.close()

const replay = (workers: number, more: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  keytrail(['replay', '--history', inside('history'), '--quiet', '--workers', String(workers), ...more], env)
const seen = inside('seen.ndjson')
replay(1, ['--as-seen', '--alerts', seen], { TZ: 'Asia/Kolkata' })
check(
  `as seen with one thread in another time zone is what was sent, ${sent.split('\n').length - 1} revisions`,
  readFileSync(seen, 'utf8') === sent,
)

const figures = new Map<string, { seconds: number; peak: number; cpu: number }[]>()
const measure = (name: string, work: () => { seconds: number; peak: number; cpu: number }) =>
  figures.set(name, [...(figures.get(name) ?? []), work()])
for (let round = 0; round < ROUNDS; round++) {
  measure('scan', () =>
    keytrail(['scan', inside('logs'), '--json', '--quiet', '--no-save', '--alerts', inside('scan.ndjson')]),
  )
  measure('as seen', () => replay(2, ['--as-seen', '--alerts', seen]))
  measure('corrected', () => replay(2, ['--alerts', inside('corrected.ndjson')]))
}
check('as seen with two threads is what was sent', readFileSync(seen, 'utf8') === sent)
const [scanned, again] = [await bodies(inside('scan.ndjson')), await bodies(inside('corrected.ndjson'))]
check(
  `corrected gives the ${scanned.size} alerts of the scan`,
  scanned.size === again.size && [...scanned].every(([id, body]) => again.get(id) === body),
)
const best = (name: string) => (figures.get(name) ?? []).reduce((a, b) => (a.seconds < b.seconds ? a : b))
const base = best('scan').seconds
for (const name of figures.keys()) {
  const { seconds, peak, cpu } = best(name)
  console.log(
    `${name.padEnd(10)} ${Math.round(events / seconds)} events/s, ${(base / seconds).toFixed(2)} x scan, peak ${Math.round(peak)} MiB, ${cpu.toFixed(1)} s of processor`,
  )
}
