/** Files as a source: what is found, what is read, what fails, and what the program says and returns then. */
import { spawn, spawnSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { constants, gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { readFiles } from '../../src/commands/scan-read.ts'
import { findFiles } from '../../src/ingest/files.ts'
import { defaultConfig } from '../../src/model/config.ts'
import type { FileResult } from '../../src/model/summary.ts'
import { delivery, record } from '../support/cloudtrail.ts'
import { keytrail, scanCli } from '../support/scan.ts'

const top = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
afterAll(() => rmSync(top, { recursive: true, force: true }))
let made = 0
/** A new folder with these files; its path. */
const folder = (files: Readonly<Record<string, Buffer | string>>): string => {
  const path = join(top, `${made++}`)
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true })
    writeFileSync(join(path, name), bytes)
  }
  return path
}
const file = (bytes: Buffer | string, name = 'file') => join(folder({ [name]: bytes }), name)

/** What becomes of the files at these paths, and how many records are kept. */
const read = async (...paths: readonly string[]) => {
  const queue = findFiles(paths)[Symbol.iterator]()
  const results: FileResult[] = []
  let kept = 0
  const options = { settings: defaultConfig, strict: false, received: '2026-01-01T00:00:00Z' }
  const next = () => queue.next().value
  await readFiles(next, options, { kept: () => void kept++ }, (one) => void results.push(one))
  const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0)
  const skipped = sum(results.flatMap((one) => Object.values(one.skipped)))
  const rejected = sum(results.flatMap((one) => one.rejected.map(({ count }) => count)))
  expect(sum(results.map((one) => one.received))).toBe(kept + skipped + rejected)
  const words = results.flatMap(({ status, reason }) => [status, reason ?? []].flat())
  return { results, kept, told: [...words, kept].join(' ') }
}

const hex = (text: string) => hash('sha256', text, 'hex')
/** A record that differs as real ones do: they compress about ten to one. */
const one = (_: unknown, at: number) => record({ userAgent: hex(`${at}a`), requestID: hex(`${at}r`) })
const calm = (_: unknown, at: number) => record({ userAgent: hex(`${at}`), eventSource: 's3' })
const long = (at: number) => Array.from('abcdefghijklmnop', (letter) => hex(letter + at)).join('')
const noisy = (_: unknown, at: number) => record({ userAgent: long(at) })
const varied = (count: number, make = one) => Array.from({ length: count }, make)
const twenty = delivery(varied(20))
const gzip = gzipSync(twenty)
const zstd = zstdCompressSync(twenty)
const large = delivery(varied(3000))
const largeGzip = gzipSync(large)
const largeZstd = zstdCompressSync(delivery(varied(3000, noisy))) // over 1 MiB
const flipped = (bytes: Buffer, at: number) => {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 0xff
  return copy
}
const tail = (bytes: Buffer, more: Buffer) => Buffer.concat([bytes, more])
const [start, rest] = [twenty.subarray(0, 999), twenty.subarray(999)]
/** Records that stand whole in what zlib gets out of a gzip that was cut. */
const wholeRecords = (cut: Buffer) => {
  const text = gunzipSync(cut, { finishFlush: constants.Z_SYNC_FLUSH }).toString()
  return text.split('"eventCategory":"Management"}').length - 1
}
const blank = (MiB: number) => Buffer.alloc(MiB * 1024 * 1024, ' ')
const bomb = gzipSync(blank(64))

describe('by content, not by name', { timeout: 10_000 }, () => {
  const dense = gzipSync(tail(Buffer.from('{"Records":[]}'), blank(10)))
  const contents: readonly [name: string, file: string, bytes: () => Buffer | string, told: string][] = [
    ['plain', 'a.json', () => twenty, 'read 20'],
    ['plain, named gzip', 'a.json.gz', () => twenty, 'read 20'],
    ['gzip', 'a.json.gz', () => gzip, 'read 20'],
    ['zstd', 'a.zst', () => zstd, 'read 20'],
    ['several gzip members', 'a', () => tail(gzipSync(start), gzipSync(rest)), 'read 20'],
    ['several zstd frames', 'a', () => tail(zstdCompressSync(start), zstdCompressSync(rest)), 'read 20'],
    ['large zstd frames', 'a', () => tail(largeZstd, zstd), 'failed corrupt 3000'], // told, not lost in silence
    ['gzip padded with zeros', 'a', () => tail(gzip, Buffer.alloc(512)), 'read 20'],
    ['large', 'a', () => large, 'read 3000'],
    ['large gzip', 'a', () => gzipSync(large, { level: 0 }), 'read 3000'],
    ['wrong CRC', 'a', () => flipped(gzip, gzip.length - 6), 'failed corrupt 20'],
    ['wrong CRC, large', 'a', () => flipped(largeGzip, largeGzip.length - 6), 'failed corrupt 3000'],
    ['last byte missing', 'a', () => gzip.subarray(0, -1), 'failed truncated 20'],
    ['bomb of 64 MiB', 'a.gz', () => bomb, 'failed bomb 0'],
    ['bomb of 24 MiB', 'a.gz', () => gzipSync(blank(24)), 'failed bomb 0'],
    ['bomb behind records', 'a.gz', () => gzipSync(tail(twenty, blank(64))), 'failed bomb 20'],
    ['bomb as second member', 'a.gz', () => tail(gzip, bomb), 'failed bomb 20'],
    ['zstd bomb of 64 MiB', 'a.zst', () => zstdCompressSync(blank(64)), 'failed bomb 0'],
    ['honest, 24 MiB', 'a.gz', () => gzipSync(delivery(varied(20_000, calm))), 'read 0'],
    ['dense but small', 'a.gz', () => dense, 'read 0'],
    ['an empty delivery', 'a.json', () => '{"Records":[]}', 'read 0'],
    ['a digest', 'a.json', () => '{"digestS3Bucket":"b","logFiles":[]}', 'skipped digest 0'],
    ['nothing', 'a.json', () => '', 'failed no_records 0'],
    ['text', 'a.txt', () => 'Dear reader,\nthis is {no log}.\n', 'failed no_records 0'],
    ['binary', 'a.png', () => Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex'), 'failed no_records 0'],
    ['gzip in gzip', 'a.gz', () => gzipSync(gzip), 'failed no_records 0'],
  ]
  it.each(contents)('%s', async (_, name, bytes, told) => {
    const path = file(bytes(), name)
    expect((await read(path)).told).toBe(told)
    const inFolder = told.replace('failed no_records', 'skipped not_json')
    expect((await read(dirname(path))).told).toBe(inFolder)
  })

  it('cut: the records before the cut count', async () => {
    for (const whole of [gzip, largeGzip])
      for (const share of [0.1, 0.5, 0.9, 0.99]) {
        const cut = whole.subarray(0, Math.floor(whole.length * share))
        expect((await read(file(cut))).told).toBe(`failed truncated ${wholeRecords(cut)}`)
      }
    const { told, kept } = await read(file(largeZstd.subarray(0, largeZstd.length >> 1)))
    expect([told.slice(0, 16), kept > 500]).toEqual(['failed truncated', true])
  })

  it('garbage behind gzip costs no record', async () => {
    const garbage = Buffer.from('garbage')
    expect((await read(file(tail(gzip, garbage)))).kept).toBe(20)
    expect((await read(file(tail(largeGzip, garbage)))).kept).toBe(3000)
  })

  it('damage anywhere is no fault of the program', async () => {
    for (const whole of [gzip, zstd])
      for (let at = 0; at < whole.length; at += 37)
        expect((await read(file(flipped(whole, at)))).kept).toBeLessThanOrEqual(20)
  })
})

describe('what a path names', () => {
  const log = delivery([record()])
  const packed = gzipSync(log)
  const tree = () => folder({ 'b.json': log, 'a/1.json': log, 'a/deep/2.gz': packed, 'a/notes.txt': 'hi' })
  const shown = async (root: string, ...paths: readonly string[]) => {
    const { results, kept } = await read(...paths)
    return [...results.map(({ path, status }) => `${status} ${path.replace(`${root}/`, '')}`), kept]
  }

  it('folders recursively, patterns, each file once, in order of path', async () => {
    const root = tree()
    const all = ['read a/1.json', 'read a/deep/2.gz', 'skipped a/notes.txt', 'read b.json', 3]
    expect(await shown(root, root)).toEqual(all)
    expect(await shown(root, join(root, 'b.json'), root, join(root, 'a'))).toEqual(all)
    expect(await shown(root, `${root}/**/*.json`)).toEqual(['read a/1.json', 'read b.json', 2])
    expect(await shown(root, `${root}/*`)).toEqual(all)
    expect(await shown(root, root, join(root, 'a/notes.txt'))).toContain('failed a/notes.txt')
    expect((await read(file(log, 'a[1].json'))).kept).toBe(1)
  })

  it('symbolic links, also in a circle', async () => {
    const root = tree()
    symlinkSync(join(root, 'b.json'), join(root, 'c.json'))
    symlinkSync(root, join(root, 'a', 'up'))
    expect(await shown(root, join(root, 'c.json'))).toEqual(['read c.json', 1])
    expect((await read(root)).kept).toBe(4)
  })

  it('what cannot be read fails, alone or in a folder', async () => {
    const root = folder({ 'a.json': log })
    symlinkSync(join(root, 'gone'), join(root, 'broken'))
    symlinkSync(join(root, 'self'), join(root, 'self'))
    for (const name of ['gone', 'broken', 'self', 'a.json/b', 'x'.repeat(300), 'no*match'])
      expect((await read(join(root, name))).told).toBe('failed unreadable 0')
    expect(await shown(root, root)).toEqual(['read a.json', 'failed broken', 'failed self', 1])
  })

  it('a named pipe is read when it is named, and left alone in a folder', async () => {
    const root = folder({ 'a.gz': packed })
    const pipe = join(root, 'pipe')
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0)
    expect(await shown(root, root)).toEqual(['read a.gz', 1])
    spawn('sh', ['-c', 'cat "$1" > "$2"', 'sh', join(root, 'a.gz'), pipe])
    expect(await shown(root, pipe)).toEqual(['read pipe', 1])
  })

  it.each([delivery([record()]), packed])('standard input', (input) => {
    const { status, events } = scanCli(['-'], input)
    expect([status, events.map((event) => event.raw_ref)]).toEqual([0, ['-:1']])
  })
})

describe('exit codes and the summary', () => {
  const alarm = record({ eventName: 'DisableKey' }) // key-disabled is high
  const cut = gzipSync(delivery([alarm, ...varied(900)])).subarray(0, -99)
  const rejected = '{"Records":[{"eventSource":"kms.amazonaws.com","eventName":"Decrypt"},{"a":1}]}'
  const empty = { none: '{"Records":[]}', digest: '{"digestS3Bucket":"b"}', text: 'hello', 'void/x/y': '' }
  const logs = {
    ok: twenty,
    alarm: delivery([alarm]),
    rejected,
    cut,
    bomb,
    'in/a': twenty,
    'in/b.txt': 'hello',
  }
  const cwd = folder({ ...logs, ...empty })
  const scan = (args: string) => keytrail(`scan ${args} --json --no-save --quiet`.split(' '), { cwd })

  const codes: readonly [code: number, args: string][] = [
    [0, 'ok|none|in|ok digest|alarm --fail-on critical'],
    [3, 'ok gone|rejected|ok cut|cut'],
    [4, 'text|digest|void|bomb|gone --fail-on info'],
    [10, 'alarm --fail-on high|alarm gone --fail-on info|alarm rejected --fail-on low|cut --fail-on high'],
  ]
  const runs = codes.flatMap(([code, all]) => all.split('|').map((args) => [args, code] as const))
  it.each(runs)('%s: %i', (args, code) => {
    const { status, stdout } = scan(args)
    const { records } = JSON.parse(stdout)
    expect(records.received).toBe(records.rejected + records.skipped + records.duplicate + records.kept)
    expect(status).toBe(code)
  })

  it('one object with sorted members, whatever the order of paths; places, not contents', () => {
    const { stdout } = scan('ok rejected alarm gone digest')
    expect(scan('gone digest alarm rejected ok').stdout).toBe(stdout)
    const expected = {
      alerts: { by_detector: { 'key-disabled': 1 }, total: 1 },
      files: { failed: 1, read: 3, skipped: 1 },
      mfa: { unknown: 21 },
      operations: { decrypt: 20, disable: 1 },
      outcomes: { success: 21 },
      records: { duplicate: 0, kept: 21, received: 23, rejected: 2, skipped: 0 },
      rejections: [
        { count: 1, example: 'rejected:1', reason: 'bad_time' },
        { count: 1, example: 'rejected:2', reason: 'unknown_format' },
      ],
      services: { aws_kms: 21 },
    }
    expect(JSON.stringify(JSON.parse(stdout))).toBe(JSON.stringify(expected)) // also the order of members
  })

  it.each<[args: string, hint: RegExp]>([
    ['scan', /path/],
    ['scan ok --fail-on terrible', /info.*low.*medium.*high.*critical/],
    ['scan ok --fial-on high', /--fail-on/],
    ['scna ok', /scan/],
    ['scan ok --config gone.yml', /gone\.yml.*\n.+/],
    ['scan ok --detectors gone', /gone.*\n.*--detectors/],
    ['scan ok --events no/such', /no\/such.*\n.*writable/],
    ['explain 00 --alerts gone', /gone.*\n.*keytrail scan/],
  ])('usage: %s', (args, hint) => {
    const { status, stdout, stderr } = keytrail(args.split(' '), { cwd })
    expect(stderr).toMatch(hint)
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  })
})
