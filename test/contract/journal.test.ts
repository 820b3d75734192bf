/** What every journal keeps: one suite, run on each implementation. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { memoryJournal, sqliteJournal } from '../../src/journal/sqlite.ts'
import { Store } from '../../src/journal/store.ts'
import type { Alert } from '../../src/model/alert.ts'
import { emptyCommit } from '../../src/pipeline/live-judge.ts'
import type { Commit, Journal } from '../../src/pipeline/ports.ts'

const KEEP = { days: 7, bytes: 1024 ** 3 }
const folders: string[] = []
const journals: Journal[] = []
const scratch = () => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-journal-'))
  folders.push(folder)
  return folder
}
afterEach(async () => {
  for (const one of journals.splice(0)) await one.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})
const open = async (folder: string) => {
  const journal = await sqliteJournal(folder, KEEP, () => {})
  journals.push(journal)
  return journal
}

const id = (n: number) => n.toString(16).padStart(32, '0')

const alert = (n: number, revision = 1): Alert => ({
  schema_version: 'kms.alert.v1',
  alert_id: id(n),
  revision,
  kind: 'signal',
  status: 'new',
  detector: { id: 'd', version: 1, content_hash: '0'.repeat(64) },
  severity: 'high',
  title: 't',
  explanation: 'e',
  entity: {},
  provider: 'aws',
  account: '',
  window: { start: '2026-03-02T09:00:00Z', end: '2026-03-02T09:00:00Z' },
  time: { first_event: '2026-03-02T09:00:00Z', last_event: '2026-03-02T09:00:00Z' },
  observed: 1,
  threshold: 1,
  evidence: { event_ids: ['a'], total: 1, sample: [] },
  labels: {},
  attack: [],
  controls: [],
  triage: ['a', 'b', 'c'],
})

const commit = (seq: number, change: Partial<Commit> = {}): Commit => ({
  ...emptyCommit,
  seq,
  at: Date.now(),
  ...change,
})
const item = (text: string) => ({
  raw: Buffer.from(`raw ${text} \u0000\ud83d\udd11`),
  event: Buffer.from(JSON.stringify({ text })),
})

describe.each([
  [
    'in memory',
    async () => {
      const journal = memoryJournal(KEEP)
      journals.push(journal)
      return journal
    },
  ],
  ['SQLite in a worker thread', async () => open(scratch())],
])('a journal %s', (_name, make) => {
  test('numbers commits from 1, and takes no other number', async () => {
    const journal = await make()
    expect(journal.next).toBe(1)
    await journal.commit(commit(1))
    expect(journal.next).toBe(2)
    await expect(journal.commit(commit(4))).rejects.toThrow('does not follow')
  })

  test('gives back blocks byte for byte, in order, within the bytes asked for', async () => {
    const journal = await make()
    const all = Array.from({ length: 6 }, (_, at) => [item(`a${at}`), item(`b${at}`)])
    for (const [at, items] of all.entries()) await journal.commit(commit(at + 1, { items, at: 1000 + at }))
    const found = await journal.blocks(0, 1024 ** 2)
    expect(found).toEqual(
      all.map((items, at) => ({ seq: at + 1, events: items.map(({ event }) => event.toString()) })),
    )
    for (const [at, items] of all.entries()) {
      const block = await journal.block(at + 1)
      expect(block?.at).toBe(1000 + at)
      expect(block?.items.map(({ raw, event }) => [Buffer.from(raw).toString(), event])).toEqual(
        items.map(({ raw, event }) => [raw.toString(), event.toString()]),
      )
    }
    expect((await journal.blocks(0, 1)).map(({ seq }) => seq)).toEqual([1])
    expect((await journal.blocks(4, 1024 ** 2)).map(({ seq }) => seq)).toEqual([5, 6])
    expect((await journal.block(3))?.items[1]?.event).toBe('{"text":"b2"}')
    expect(await journal.block(9)).toBeUndefined()
  })

  test('keeps the newest fate of each object of a feed, with the commit', async () => {
    const journal = await make()
    const entry = { feed: 'a', place: 's3://logs/1', version: 'e1', detail: '', records: 3 } as const
    const read = { ...entry, outcome: 'read', reason: undefined } as const
    const waiting = {
      ...entry,
      place: 's3://logs/2',
      outcome: 'waiting',
      reason: 'denied',
      detail: 'no',
    } as const
    await journal.commit(commit(1, { ledger: [read, waiting] }))
    const { feed: _, place: __, records: ___, ...fate } = waiting
    expect(await journal.fate('a', 's3://logs/2')).toEqual(fate)
    expect(await journal.fate('b', 's3://logs/2')).toBeUndefined()
    await journal.commit(commit(2, { ledger: [{ ...read, place: 's3://logs/2', version: 'e2' }] }))
    expect(await journal.fate('a', 's3://logs/2')).toEqual({
      outcome: 'read',
      reason: undefined,
      detail: '',
      version: 'e2',
    })
  })

  test('knows ids, and where their records are', async () => {
    const journal = await make()
    await journal.commit(commit(1, { items: [item('x')], ids: [{ id: id(7), digest: 'd'.repeat(16) }] }))
    const known = await journal.known([id(7), id(8)])
    expect([...known]).toEqual([[id(7), { digest: 'd'.repeat(16), seq: 1, index: 0 }]])
  })

  test('keeps state: values are replaced and removed, entries of a list come in the order they were added', async () => {
    const journal = await make()
    await journal.commit(
      commit(1, {
        values: [
          { key: 'a', value: '{"n":1}', due: 10 },
          { key: 'b', value: '{"n":2}', due: 10 },
        ],
        lists: [{ name: 's', chunk: 3, entries: '[[1]]', due: 10 }],
      }),
    )
    await journal.commit(
      commit(2, {
        values: [
          { key: 'a', value: '{"n":3}', due: 20 },
          { key: 'b', value: undefined, due: 0 },
        ],
        lists: [{ name: 's', chunk: 3, entries: '[[0]]', due: 10 }],
      }),
    )
    expect(
      await journal.load({
        settled: false,
        values: ['a', 'b', 'c'],
        chunks: [
          ['s', 3],
          ['s', 4],
        ],
      }),
    ).toEqual({
      values: [['a', '{"n":3}', 20]],
      chunks: [
        ['s', 3, '[[1]]'],
        ['s', 3, '[[0]]'],
      ],
    })
  })

  test('timed values are due in order of time; what else is due is forgotten, and only that', async () => {
    const journal = await make()
    await journal.commit(
      commit(1, {
        values: [
          { key: 'open|z', value: '{}', due: 5 },
          { key: 'open|y', value: '{}', due: 7 },
          { key: 'open|x', value: '{}', due: 5 },
          { key: 'old', value: '{}', due: 5 },
          { key: 'new', value: '{}', due: 9 },
        ],
        lists: [
          { name: 's', chunk: 1, entries: '[]', due: 5 },
          { name: 's', chunk: 2, entries: '[]', due: 9 },
        ],
      }),
    )
    expect((await journal.due(6)).map(([key]) => key)).toEqual(['open|x', 'open|z'])
    await journal.commit(commit(2, { forget: 6 }))
    const left = await journal.load({
      settled: true,
      values: ['open|z', 'old', 'new'],
      chunks: [
        ['s', 1],
        ['s', 2],
      ],
    })
    expect(left.values.map(([key]) => key)).toEqual(['open|z', 'new'])
    expect(left.chunks.map(([, chunk]) => chunk)).toEqual([2])
  })

  test('what is unmerged is kept in order until a commit has merged it', async () => {
    const journal = await make()
    await journal.commit(commit(1, { unmerged: 'a' }))
    await journal.commit(commit(2, { unmerged: 'b' }))
    expect(await journal.unmerged()).toEqual(['a', 'b'])
    const lists = [{ name: 's', chunk: 1, entries: '[[1]]', due: 10 }]
    await journal.commit(commit(3, { lists, merged: true }))
    expect(await journal.unmerged()).toEqual([])
  })

  test('alerts are a stream; a revision that is there already edits nothing', async () => {
    const journal = await make()
    await journal.commit(commit(1, { alerts: [alert(1), alert(2)], signals: [alert(3)] }))
    await journal.commit(commit(2, { alerts: [alert(1, 2), { ...alert(2), title: 'forged' }] }))
    const all = await journal.alerts(0, 10)
    expect(all.map(({ seq, alert: one }) => [seq, one.alert_id, one.revision, one.title])).toEqual([
      [1, id(1), 1, 't'],
      [1, id(2), 1, 't'],
      [2, id(1), 2, 't'],
    ])
    expect((await journal.alerts(all[1]?.n ?? 0, 10)).map(({ alert: one }) => one.revision)).toEqual([2])
  })

  test('positions are per feed and place, the last one counts', async () => {
    const journal = await make()
    const at = (n: number) =>
      new Map([
        [
          'f',
          new Map([
            ['p', { n }],
            ['q', { n }],
          ]),
        ],
      ])
    await journal.commit(commit(1, { positions: at(1) }))
    await journal.commit(
      commit(2, {
        positions: new Map([
          ['f', new Map([['p', { n: 2 }]])],
          ['g', new Map([['p', { n: 9 }]])],
        ]),
      }),
    )
    expect([...(await journal.positions('f'))]).toEqual([
      ['p', { n: 2 }],
      ['q', { n: 1 }],
    ])
    expect([...(await journal.positions('h'))]).toEqual([])
  })

  test('each sink has a cursor and dead letters of its own; the slowest counts as backlog', async () => {
    const journal = await make()
    for (const seq of [1, 2, 3]) await journal.commit(commit(seq, { items: [item(`${seq}`)] }))
    expect(await journal.cursor('a')).toEqual({ feed: 0, alerts: 0, passed: 0, memo: {} })
    expect(await journal.backlog()).toBe(0)
    await journal.settle('a', { feed: 3, alerts: 0, passed: 0, memo: { offset: 12 } }, [])
    expect(await journal.cursor('a')).toEqual({ feed: 3, alerts: 0, passed: 0, memo: { offset: 12 } })
    expect(await journal.backlog()).toBe(0)
    await journal.settle('b', { feed: 1, alerts: 0, passed: 0, memo: {} }, [
      { stream: 'feed', id: 'x', reason: 'no', body: '{}' },
    ])
    expect(await journal.backlog()).toBeGreaterThan(0)
    expect(await journal.again('b')).toEqual([])
    await journal.retire(['a'])
    expect(await journal.backlog()).toBe(0)
  })
})

describe('SQLite on disk', () => {
  test('what troubles a sink is kept for readers until it works or is no longer configured', async () => {
    const folder = scratch()
    const journal = await open(folder)
    const trouble = { since: 5, reason: 'it is down', fault: false }
    for (const sink of ['a', 'b', 'c']) await journal.trouble(sink, trouble)
    await journal.trouble('a', { ...trouble, reason: 'the token is disabled', fault: true })
    await journal.trouble('b', undefined)
    await journal.retire(['a', 'b'])
    const reader = new Store(folder, 'reader')
    expect(reader.troubles()).toEqual(
      new Map([['a', { since: 5, reason: 'the token is disabled', fault: true }]]),
    )
    reader.close()
  })

  test('what was committed is there after it is opened again, and after nothing was closed', async () => {
    const folder = scratch()
    const journal = await open(folder)
    await journal.commit(commit(1, { items: [item('x')], alerts: [alert(1)], counters: new Map([['a', 2]]) }))
    await journal.commit(commit(2, { counters: new Map([['a', 3]]) }))
    const reader = new Store(folder, 'reader')
    expect(reader.counters()).toEqual(new Map([['a', 5]]))
    expect(reader.check()).toEqual([])
    reader.close()
    await journal.close()
    journals.splice(0)
    const again = await open(folder)
    expect(again.next).toBe(3)
    expect(await again.blocks(0, 100)).toHaveLength(1)
  })

  test('one judge: a second one is refused, a reader is not', async () => {
    const folder = scratch()
    const journal = await open(folder)
    await expect(sqliteJournal(folder, KEEP, () => {})).rejects.toMatchObject({ code: 'journal.locked' })
    const reader = new Store(folder, 'reader')
    expect(reader.isLocked()).toBe(true)
    reader.close()
    await journal.close()
    journals.splice(0)
    const after = new Store(folder, 'reader')
    expect(after.isLocked()).toBe(false)
    after.close()
  })

  test('a damaged block is found, and never given out', async () => {
    const folder = scratch()
    const journal = await open(folder)
    await journal.commit(commit(1, { items: [item('x')] }))
    await journal.close()
    journals.splice(0)
    const { DatabaseSync } = await import('node:sqlite')
    const database = new DatabaseSync(join(folder, 'journal.db'))
    const { data } = database.prepare('SELECT data FROM log').get() as { data: Uint8Array }
    data[data.length >> 1] = (data[data.length >> 1] ?? 0) ^ 1
    database.prepare('UPDATE log SET data = ?').run(data)
    database.close()
    const reader = new Store(folder, 'reader')
    expect(reader.check()).toEqual(['block 1 of the journal is not what was written'])
    expect(() => reader.blocks(0, 100)).toThrow('is not what was written')
    reader.close()
  })

  test('a journal of another version is refused', async () => {
    const folder = scratch()
    const { DatabaseSync } = await import('node:sqlite')
    const database = new DatabaseSync(join(folder, 'journal.db'))
    database.exec('PRAGMA user_version = 99')
    database.close()
    await expect(open(folder)).rejects.toMatchObject({ code: 'journal.version' })
  })

  test('retention keeps what a sink has not passed', () => {
    const store = new Store(undefined, 'judge')
    const block = { count: 1, firstEvent: 0, lastEvent: 0, data: new Uint8Array(100) }
    for (let seq = 1; seq <= 10; seq++) store.commit({ ...commit(seq), at: seq }, block)
    store.settle('slow', { feed: 4, alerts: 0, passed: 0, memo: {} }, [], 0)
    store.trim(100 * 86_400_000, { days: 1, bytes: 1e9 })
    expect(store.numbers()).toEqual([5, 6, 7, 8, 9, 10])
    store.settle('slow', { feed: 10, alerts: 0, passed: 0, memo: {} }, [], 0)
    store.trim(11, { days: 7, bytes: 350 })
    expect(store.numbers()).toEqual([8, 9, 10])
    store.close()
  })

  test('dead letters are sent again or removed, and who did it is recorded', () => {
    const store = new Store(undefined, 'judge')
    const letters = ['x', 'y', 'z'].map((name) => ({
      stream: 'alerts' as const,
      id: name,
      reason: 'no',
      body: '{}',
    }))
    store.settle('s', { feed: 0, alerts: 0, passed: 0, memo: {} }, letters, 5)
    const [x, y] = store.deadLetters().map(({ n }) => n)
    store.decideLetters([x ?? 0], 'again', { kind: 'replay', ordered: false, who: 'ana', body: '{}' }, 6)
    store.decideLetters([y ?? 0], 'remove', { kind: 'purge', ordered: false, who: 'ben', body: '{}' }, 7)
    expect(store.deadLetters().map((one) => one.id)).toEqual(['z'])
    expect(store.again('s').map((one) => one.id)).toEqual(['x'])
    store.settleAgain('s', 1, [], 8)
    expect(store.again('s')).toEqual([])
    expect([...store.controls()].map(({ kind, who }) => [kind, who])).toEqual([
      ['replay', 'ana'],
      ['purge', 'ben'],
    ])
    store.close()
  })
})

test('the ledger forgets what was read after 14 days, and what is missing after 396', () => {
  const store = new Store(undefined, 'judge')
  const DAY = 86_400_000
  const entry = (place: string, outcome: 'read' | 'failed') =>
    ({ feed: 'a', place, version: '', outcome, reason: undefined, detail: '', records: 0 }) as const
  for (const [at, name] of [
    [0, 'old'],
    [10 * DAY, 'new'],
  ] as const) {
    const { items: _, ...one } = commit(at + 1, {
      at,
      ledger: [entry(`${name} read`, 'read'), entry(`${name} failed`, 'failed')],
    })
    store.commit(one, undefined)
  }
  const left = () =>
    ['old read', 'new read', 'old failed', 'new failed'].filter((place) => store.ledger.fate('a', place))
  store.trim(14 * DAY + 1, KEEP)
  expect(left()).toEqual(['new read', 'old failed', 'new failed'])
  store.trim(396 * DAY + 1, KEEP)
  expect(left()).toEqual(['new failed'])
  store.close()
})
