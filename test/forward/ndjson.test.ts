/** The file sink under the hands of those who rotate files and those who forward them. */
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ndjsonSink } from '../../src/forward/ndjson.ts'
import type { Position } from '../../src/pipeline/ports.ts'
import { renderings } from '../../src/render/renderings.ts'
import { alertOf } from '../support/deliveries.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-ndjson-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const { signal } = new AbortController()

/** Alerts in a file, by their number. */
const numbers = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => Number.parseInt((JSON.parse(line) as { alert_id: string }).alert_id, 16))

let files = 0
const begin = async (memo: Position = {}, path = join(folder, `${++files}.ndjson`)) => {
  const sink = ndjsonSink('files', { alerts: path }, renderings.native)
  await sink.open(memo, signal)
  const write = async (...all: number[]) =>
    (await sink.send({ events: [], alerts: all.map((n) => alertOf(n)) }, signal)).memo
  return { path, write, close: () => sink.close() }
}

describe('a file', () => {
  test('that is moved away is begun anew, and no line is lost or cut', async () => {
    const { path, write, close } = await begin()
    await write(1, 2)
    renameSync(path, `${path}.1`)
    await write(3)
    await write(4)
    await close()
    expect([numbers(`${path}.1`), numbers(path)]).toEqual([
      [1, 2],
      [3, 4],
    ])
  })

  test('that is removed is made again', async () => {
    const { path, write, close } = await begin()
    await write(1)
    unlinkSync(path)
    expect(existsSync(path)).toBe(false)
    await write(2)
    await close()
    expect(numbers(path)).toEqual([2])
  })

  test('that is copied and emptied goes on at its beginning, without a hole', async () => {
    const { path, write, close } = await begin()
    await write(1, 2, 3)
    copyFileSync(path, `${path}.1`)
    truncateSync(path)
    await write(4)
    await close()
    expect([numbers(`${path}.1`), numbers(path)]).toEqual([[1, 2, 3], [4]])
  })

  test('that was moved away before a kill loses nothing: what was not settled comes again', async () => {
    const first = await begin()
    const settled = await first.write(1, 2)
    renameSync(first.path, `${first.path}.1`)
    await first.write(3, 4, 5, 6) // and killed before that is settled
    await first.close()
    const second = await begin(settled, first.path)
    await second.write(3, 4, 5, 6)
    await second.close()
    expect(numbers(`${first.path}.1`)).toEqual([1, 2])
    expect(numbers(first.path)).toEqual([3, 4, 5, 6, 3, 4, 5, 6])
  })

  test('that nobody touched repeats nothing after a kill', async () => {
    const first = await begin()
    const settled = await first.write(1, 2)
    await first.write(3)
    await first.close()
    const second = await begin(settled, first.path)
    await second.write(3)
    await second.close()
    expect(numbers(first.path)).toEqual([1, 2, 3])
  })
})
