import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { leftBy } from '../support/kills.ts'
import { root } from '../support/scan.ts'
import { service } from '../support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-io-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const all = join(root, 'examples/aws')
/** One file: few calls, so that each of them can fail in its turn. */
const logs = join(
  root,
  'examples/aws',
  readdirSync(join(root, 'examples/aws'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json.gz'))
    .sort()[0] ?? '',
)

const undisturbed = async (path = logs) => {
  const calm = service([path])
  expect((await calm.run()).code).toBe(0)
  const expected = leftBy(calm)
  calm.remove()
  expect(expected.feed.length).toBeGreaterThan(10)
  return expected
}

const EIO = 5
const ENOSPC = 28
/** Every call with FULL_DOSE, else every ninth. */
const step = process.env['FULL_DOSE'] === undefined ? 9 : 1

describe('R4: the n-th write, flush or cut of the journal fails', () => {
  const shim = join(folder, 'fail-io.so')
  execFileSync('gcc', ['-shared', '-fPIC', '-O1', '-o', shim, join(root, 'test/support/fail-io.c'), '-ldl'])

  test.each([
    ['EIO', EIO, false],
    ['ENOSPC', ENOSPC, false],
    ['EIO in a flush', EIO, true],
  ])('with %s: nothing is lost, nothing comes twice', { timeout: 1_800_000 }, async (_name, errno, flush) => {
    const expected = await undisturbed()
    const codes = new Map<number | string, number>()
    let seen = 0
    for (let at = 1; ; at += flush ? Math.ceil(step / 5) : step) {
      const one = service([logs])
      const count = join(one.folder, 'count')
      const env = {
        LD_PRELOAD: shim,
        FAIL_PATH: one.data,
        FAIL_AT: String(at),
        FAIL_ERRNO: String(errno),
        FAIL_COUNT: count,
        ...(flush && { FAIL_ONLY_FLUSH: '1' }),
      }
      const { code, log } = await one.run({ env, killAfter: 30_000 })
      codes.set(code, (codes.get(code) ?? 0) + 1)
      const reached = existsSync(count) && Number(readFileSync(count, 'utf8')) >= at
      if (code !== 0) console.info(`call ${at}: exit ${code}: ${log.split('\n').at(-3)}`)
      expect([0, 1, 2, 70], log).toContain(code)
      const after = await one.run()
      expect(after.code, after.log).toBe(0)
      const left = leftBy(one)
      expect(left.counters).toEqual(expected.counters)
      expect(left.alerts).toEqual(expected.alerts)
      expect(left.feed).toEqual(expected.feed)
      expect(left.delivered.toSorted()).toEqual(expected.delivered.toSorted())
      one.remove()
      if (!reached) break
      seen++
    }
    console.info(`${seen} calls failed, one at a time; exit codes ${JSON.stringify([...codes])}`)
    expect(seen).toBeGreaterThan(5)
    if (flush) expect(codes.get(70) ?? 0).toBeGreaterThan(0)
  })
})

describe('R5: the log of SQLite ends at any frame', () => {
  test('and what was acknowledged before is there', { timeout: 1_800_000 }, async () => {
    const expected = await undisturbed(all)
    const killed = service([all])
    const { code } = await killed.run({
      preload: [join(root, 'test/support/kill-at.ts')],
      env: { KILL_AT: 'before-settle:1' },
    })
    expect(code).toBe('SIGKILL')
    const wal = join(killed.data, 'journal.db-wal')
    const page = readFileSync(join(killed.data, 'journal.db')).readUInt16BE(16)
    const frames = Math.floor((statSync(wal).size - 32) / (24 + page))
    expect(frames).toBeGreaterThan(20)
    const whole = join(folder, 'whole')
    cpSync(killed.folder, whole, { recursive: true })
    let tried = 0
    for (let frame = 0; frame <= frames; frame += step) {
      for (const part of ['data', 'events.ndjson', 'alerts.ndjson']) {
        rmSync(join(killed.folder, part), { recursive: true, force: true })
        if (existsSync(join(whole, part)))
          cpSync(join(whole, part), join(killed.folder, part), { recursive: true })
      }
      rmSync(join(killed.data, 'journal.db-shm'), { force: true })
      truncateSync(wal, frame === 0 ? 0 : 32 + frame * (24 + page))
      const after = await killed.run()
      expect(after.code, after.log).toBe(0)
      const left = leftBy(killed)
      expect(left.counters).toEqual(expected.counters)
      expect(left.alerts).toEqual(expected.alerts)
      expect(left.journaled).toEqual(expected.journaled) // what a sink had, no cut can take back
      tried++
    }
    console.info(`${tried} of ${frames} frames`)
    killed.remove()
  })
})
