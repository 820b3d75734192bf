/**
 * `node bench/history.ts [records]`: rows a second from a journal into history, bytes a row by what they are for, and how
 * fast it is verified and asked. The figures count only when history holds what the journal holds, and verifies.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pastOf } from '../src/commands/history-worker.ts'
import { checkHistory } from '../src/history/check.ts'
import { openState, type Writer } from '../src/history/manifest.ts'
import { fileSigner, parseVerifierKey } from '../src/history/note.ts'
import { openDuck } from '../src/history/parquet.ts'
import { ask } from '../src/history/query.ts'
import { seal } from '../src/history/seal.ts'
import { folderStore } from '../src/history/store.ts'
import { HASH_BYTES } from '../src/history/tree.ts'
import { Store } from '../src/journal/store.ts'
import { generate } from './generate.ts'

const root = join(import.meta.dirname, '..')
const records = Number(process.argv[2] ?? 120_000)
const work = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'keytrail-bench-'))

const timed = async <T>(job: () => Promise<T>): Promise<[T, number]> => {
  const begun = performance.now()
  const result = await job()
  return [result, (performance.now() - begun) / 1000]
}

try {
  generate(join(work, 'logs'), { records, keys: 1, perFile: 2000, seed: 11 })
  const data = join(work, 'data')
  const config = join(work, 'keytrail.json')
  writeFileSync(
    config,
    JSON.stringify({
      data,
      sources: { logs: { type: 'files', paths: [join(work, 'logs')], start: 'beginning' } },
    }),
  )
  const run = spawnSync(process.execPath, [join(root, 'src/main.ts'), 'run', '--once', '--config', config])
  if (run.status !== 0) throw new Error(run.stderr.toString())

  const journal = new Store(data, 'reader')
  const store = folderStore(join(work, 'history'))
  const writer: Writer = {
    store,
    signer: fileSigner(join(work, 'key.pem'), 'bench', true),
    origin: 'bench',
    by: 'bench',
    clock: Date.now,
  }
  const duck = await openDuck(join(work, 'scratch'))
  const past = pastOf(journal)
  const idle = process.cpuUsage()
  const [state, sealing] = await timed(async () => {
    let now = await openState(store)
    for (
      let next = await seal(writer, duck, now, past);
      next !== now;
      next = await seal(writer, duck, now, past)
    )
      now = next
    return now
  })
  const cpu = process.cpuUsage(idle)
  const peak = process.resourceUsage().maxRSS
  const feed = [...state.files.values()].filter(({ kind }) => kind === 'feed')
  const rows = feed.reduce((sum, one) => sum + one.rows, 0)
  if (rows !== records) throw new Error(`${rows} of ${records} records are in history`)

  const sizes = new Map<string, number>()
  for (const { path } of feed)
    for (const one of await duck.rows(
      `SELECT path_in_schema AS name, sum(total_compressed_size)::BIGINT AS bytes FROM parquet_metadata('${await store.local(path)}') GROUP BY ALL`,
    ))
      sizes.set(String(one['name']), (sizes.get(String(one['name'])) ?? 0) + Number(one['bytes']))
  const bytesOf = (names: readonly string[]) => names.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0)
  const columns = [...sizes.keys()].filter((name) => !['raw', 'body'].includes(name))
  const perRow = (bytes: number) => Math.round((bytes / rows) * 10) / 10

  const key = parseVerifierKey(writer.signer.verifierKey)
  if (key === undefined) throw new Error('no key')
  const [report, verifying] = await timed(() => checkHistory(store, { keys: [key], retained: [] }))
  if (report.verdict !== 'verified') throw new Error(JSON.stringify(report))
  const [, asking] = await timed(async () =>
    ask(store, state, "SELECT max(time), count(*) FROM events WHERE ends_with(key_id, '2b2b2b2b2b2b')", {
      timeout: 60_000,
      scratch: join(work, 'ask'),
    }),
  )
  const result = {
    records,
    'rows a second from the journal': Math.round(rows / sealing),
    'µs of CPU a row, all threads': Math.round(((cpu.user + cpu.system) / rows) * 10) / 10,
    'bytes a row, columns that queries ask for': perRow(bytesOf(columns)),
    'bytes a row, raw bytes of the provider': perRow(bytesOf(['raw'])),
    'bytes a row, event as JSON': perRow(bytesOf(['body'])),
    'bytes a row, hash in the tree': HASH_BYTES,
    'verify, records a second': Math.round(report.records / verifying),
    'look-up of a key, seconds': Math.round(asking * 1000) / 1000,
    'peak memory of sealing, MB': Math.round(peak / 1024),
    'peak memory of all, MB': Math.round(process.resourceUsage().maxRSS / 1024),
  }
  console.log(JSON.stringify(result, null, 2))
  duck.close()
  journal.close()
} finally {
  rmSync(work, { recursive: true, force: true })
}
