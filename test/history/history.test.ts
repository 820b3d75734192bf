import { spawnSync } from 'node:child_process'
import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkpointAlert } from '../../src/commands/history-sink.ts'
import { type Checking, checkHistory } from '../../src/history/check.ts'
import { commitStep, openState, writeCheckpoint } from '../../src/history/manifest.ts'
import { fileSigner, parseVerifierKey, rotationText, signNote } from '../../src/history/note.ts'
import { readRecords } from '../../src/history/parquet.ts'
import { compact, expire, sweep } from '../../src/history/seal.ts'
import { folderStore } from '../../src/history/store.ts'
import type { HistoryReport } from '../../src/model/history.ts'
import { BEGIN, pastWith, type SmallHistory, sealAll, smallHistory, writerOn } from '../support/history.ts'
import { random } from '../support/kills.ts'
import { root } from '../support/scan.ts'

/** `FULL_DOSE=1`: 10,000 mutations (reliability.md 7, T1). */
const DOSE = process.env['FULL_DOSE'] ? 10_000 : 48
const EVENTS = 1500
/** Three days. */
const SPREAD = 170_000
const past = pastWith(EVENTS, 100, SPREAD)

let own: SmallHistory
let verifierKey = ''
const folders: string[] = []
const made = async (...arguments_: Parameters<typeof pastWith>) => {
  const one = await smallHistory(pastWith(...arguments_))
  folders.push(one.folder)
  return one
}
beforeAll(async () => {
  own = await smallHistory(past)
  folders.push(own.folder)
  verifierKey = own.writer.signer.verifierKey
})
afterAll(() => {
  own.duck.close()
  for (const one of folders) rmSync(one, { recursive: true, force: true })
})

const keyOf = (text: string) => {
  const key = parseVerifierKey(text)
  if (key === undefined) throw new Error('no verifier key')
  return key
}
const check = (folder: string, more: Partial<Checking> = {}, keys = [verifierKey]): Promise<HistoryReport> =>
  checkHistory(folderStore(folder), { keys: keys.map(keyOf), retained: [], ...more })

interface Offline {
  readonly verdict: string
  readonly findings: readonly { readonly object: string; readonly leaf?: number | null | undefined }[]
}
const offline = (
  program: readonly string[],
  paths: readonly string[],
  more: readonly string[] = [],
): Offline[] => {
  const [command = '', ...first] = program
  const { stdout, stderr } = spawnSync(command, [...first, '--key', verifierKey, ...more, ...paths], {
    encoding: 'utf8',
    maxBuffer: 1e8,
  })
  const lines = stdout.split('\n').filter((line) => line !== '')
  if (lines.length !== paths.length) throw new Error(stderr)
  return lines.map((line) => JSON.parse(line) as Offline)
}
const node = [process.execPath, join(root, 'scripts/verify-history.mjs')]
const python = ['python3', join(root, 'scripts/verify_history.py')]
const firstOf = ({ verdict, findings }: Offline) => ({
  verdict,
  object: findings[0]?.object,
  leaf: findings[0]?.leaf ?? undefined,
})

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name).slice(folder.length + 1))
    .sort()

const exported = async () => {
  const lines: Record<string, unknown>[] = []
  for (const file of own.state.files.values())
    await readRecords(own.duck, await own.store.local(file.path), file, ({ raw, ...record }) =>
      lines.push({ ...record, raw: Buffer.from(raw ?? []).toString('base64') }),
    )
  return lines
}

test('what is sealed is the journal: each record once, its bytes as they were', async () => {
  const records = await exported()
  const feed = records.filter(({ kind }) => kind === 'feed')
  const expected = past.made.flatMap(({ seq, items }) =>
    items.map(({ raw, event }, item) => [seq, item, raw.toString('base64'), event].join('|')),
  )
  expect(feed.map(({ seq, item, raw, body }) => [seq, item, raw, body].join('|')).sort()).toEqual(
    expected.sort(),
  )
  expect(records.map(({ leaf }) => Number(leaf)).sort((a, b) => a - b)).toEqual(records.map((_, at) => at))
  const others = records.filter(({ kind }) => kind !== 'feed').map(({ kind, body }) => `${kind} ${body}`)
  const { alerts, rejections, control } = past.streams
  expect(others.sort()).toEqual(
    [
      ...alerts.map(({ isSignal, body }) => `${isSignal ? 'signals' : 'alerts'} ${body}`),
      ...rejections.map(({ body }) => `rejections ${body}`),
      ...control.map(({ body }) => `control ${body}`),
    ].sort(),
  )
})

test('all three verifiers verify it, and the exported records', async () => {
  const { store } = own
  expect(await check(store.address)).toMatchObject({
    verdict: 'verified',
    records: EVENTS + 6,
    findings: [],
    gaps: [],
  })
  const path = join(own.folder, 'all.ndjson')
  writeFileSync(path, (await exported()).map((one) => `${JSON.stringify(one)}\n`).join(''))
  for (const program of [node, python])
    expect(offline(program, [store.address], ['--records', path])).toMatchObject([
      { verdict: 'verified', records: EVENTS + 6, checked: EVENTS + 6, findings: [] },
    ])
})

/** What somebody may do to one file: each makes it another. */
const alterations: Readonly<
  Record<string, (bytes: Buffer, next: () => number, other: Buffer) => Buffer | undefined>
> = {
  flip(bytes, next) {
    const copy = Buffer.from(bytes)
    const at = Math.floor(next() * copy.length)
    copy.writeUInt8(copy.readUInt8(at) ^ (1 << Math.floor(next() * 8)), at)
    return copy
  },
  delete: () => undefined,
  truncate: (bytes, next) => bytes.subarray(0, Math.floor(next() * bytes.length)),
  insert(bytes, next) {
    const at = Math.floor(next() * (bytes.length + 1))
    return Buffer.concat([bytes.subarray(0, at), Buffer.of(Math.floor(next() * 256)), bytes.subarray(at)])
  },
  duplicate: (bytes) => Buffer.concat([bytes, bytes]),
  exchange: (_bytes, _next, other) => other,
  /** Two pieces of 32 bytes, which in a tile are two hashes, change places. */
  reorder(bytes, next) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / 32) }, (_, at) =>
      bytes.subarray(at * 32, (at + 1) * 32),
    )
    const [a, b] = [next(), next()].map((share) => Math.floor(share * pieces.length)) as [number, number]
    const [one, other] = [pieces[a], pieces[b]]
    if (one === undefined || other === undefined || a === b || one.equals(other))
      return alterations['flip']?.(bytes, next, bytes)
    return Buffer.concat(pieces.with(a, other).with(b, one))
  },
}

test(`${DOSE} mutations of manifests, tiles, checkpoint and data: all refused, all verifiers name the same place`, {
  timeout: 7_200_000,
}, async () => {
  const next = random(Number(process.env['SEED'] ?? 1))
  const { address } = own.store
  const paths = filesIn(address).filter((path) => !path.startsWith('tmp/'))
  const names = Object.keys(alterations)
  const reached = new Map<string, number>()
  for (let done = 0; done < DOSE; ) {
    const copies: { folder: string; path: string; name: string }[] = []
    for (; copies.length < 60 && done < DOSE; done++) {
      // As often each part of the history as each of its files.
      const part = ['manifest', 'tile', 'data', 'checkpoint'][done % 4] ?? ''
      const own = paths.filter((path) => path.startsWith(part))
      const path = own[Math.floor(next() * own.length)] ?? ''
      const name = names[Math.floor(done / 4) % names.length] ?? ''
      const bytes = readFileSync(join(address, path))
      const others = paths.map((one) => readFileSync(join(address, one))).filter((one) => !one.equals(bytes))
      const altered = alterations[name]?.(bytes, next, others[Math.floor(next() * others.length)] ?? bytes)
      const folder = join(dirname(address), `copy-${done}`)
      for (const one of paths) {
        mkdirSync(dirname(join(folder, one)), { recursive: true })
        linkSync(join(address, one), join(folder, one))
      }
      unlinkSync(join(folder, path))
      if (altered !== undefined) writeFileSync(join(folder, path), altered)
      copies.push({ folder, path, name })
    }
    const byNode = offline(
      node,
      copies.map(({ folder }) => folder),
    )
    const byPython = offline(
      python,
      copies.map(({ folder }) => folder),
    )
    for (const [at, { folder, path, name }] of copies.entries()) {
      const report = await check(folder)
      const [a, b] = [byNode[at], byPython[at]].map((one) => one && firstOf(one))
      const what = `${name} ${path} of ${folder}`
      expect(firstOf(report), what).toMatchObject({ verdict: 'failed', object: path })
      expect(a, what).toEqual(b)
      expect({ verdict: a?.verdict, object: a?.object }, what).toEqual({ verdict: 'failed', object: path })
      if (!path.startsWith('manifest')) expect(a?.leaf, what).toBe(firstOf(report).leaf)
      reached.set(`${name} ${path.split('/')[0]}`, 1 + (reached.get(`${name} ${path.split('/')[0]}`) ?? 0))
      rmSync(folder, { recursive: true })
    }
  }
  expect(reached.size).toBe(names.length * 4)
})

test('mutations of exported records: both offline verifiers name the first bad record', {
  timeout: 7_200_000,
}, async () => {
  const next = random(3)
  const records = await exported()
  const pick = () => Math.floor(next() * records.length)
  const text = (one: unknown) => `${JSON.stringify(one)}\n`
  const lines = records.map(text)
  const changes: Readonly<Record<string, () => { lines: string[]; leaf: unknown }>> = {
    raw() {
      const at = records.findIndex(({ raw }, index) => raw !== '' && index >= pick() % EVENTS)
      const raw = Buffer.from(String(records[at]?.['raw']), 'base64')
      raw.writeUInt8(raw.readUInt8(0) ^ 1, 0)
      return {
        lines: lines.with(at, text({ ...records[at], raw: raw.toString('base64') })),
        leaf: records[at]?.['leaf'],
      }
    },
    body() {
      const at = pick()
      return {
        lines: lines.with(at, text({ ...records[at], body: `${records[at]?.['body']} ` })),
        leaf: records[at]?.['leaf'],
      }
    },
    time() {
      const at = pick()
      return {
        lines: lines.with(at, text({ ...records[at], kept: Number(records[at]?.['kept']) + 1 })),
        leaf: records[at]?.['leaf'],
      }
    },
    delete() {
      const at = records.findIndex(({ kind }, index) => kind === 'feed' && index >= pick() % EVENTS)
      return { lines: lines.toSpliced(at, 1), leaf: records[at]?.['leaf'] }
    },
    duplicate() {
      const at = pick()
      return { lines: lines.toSpliced(at, 0, lines[at] ?? ''), leaf: records[at]?.['leaf'] }
    },
    insert() {
      const leaf = records.length + pick()
      return { lines: lines.toSpliced(pick(), 0, text({ ...records[0], leaf })), leaf }
    },
    exchange() {
      const [a, b] = [pick() % 700, 700 + (pick() % 700)]
      const [x, y] = [Number(records[a]?.['leaf']), Number(records[b]?.['leaf'])]
      return {
        lines: lines.with(a, text({ ...records[a], leaf: y })).with(b, text({ ...records[b], leaf: x })),
        leaf: Math.min(x, y),
      }
    },
  }
  for (let round = 0; round < (process.env['FULL_DOSE'] ? 40 : 1); round++)
    for (const [name, change] of Object.entries(changes)) {
      const { lines: changed, leaf } = change()
      const path = join(own.folder, 'changed.ndjson')
      writeFileSync(path, changed.join(''))
      for (const program of [node, python])
        expect(offline(program, [own.store.address], ['--records', path]).map(firstOf), name).toEqual([
          { verdict: 'failed', object: 'exported records', leaf },
        ])
    }
})

test('a history that was forked, or set back, does not fit a checkpoint that was kept', async () => {
  const kept = readFileSync(join(own.store.address, 'checkpoint'), 'utf8')
  expect(await check(own.store.address, { retained: [kept] })).toMatchObject({ verdict: 'verified' })
  // The same key and the same first segments, then others.
  const forked = pastWith(EVENTS, 100, SPREAD)
  const item = forked.made[9]?.items[0]
  if (item === undefined) throw new Error('no event')
  const items = [{ ...item, raw: Buffer.from('forged') }, ...(forked.made[9]?.items.slice(1) ?? [])]
  forked.made[9] = { seq: 10, at: forked.made[9]?.at ?? 0, items }
  const other = join(own.folder, 'forked')
  await sealAll(writerOn(folderStore(other), join(own.folder, 'key.pem'), false), own.duck, forked)
  expect(await check(other)).toMatchObject({ verdict: 'verified' })
  expect(await check(other, { retained: [kept] })).toMatchObject({
    verdict: 'failed',
    findings: [{ kind: 'fork' }],
  })
  const short = join(own.folder, 'short')
  await sealAll(
    writerOn(folderStore(short), join(own.folder, 'key.pem'), false),
    own.duck,
    pastWith(EVENTS - 500, 100, SPREAD),
  )
  expect(await check(short, { retained: [kept] })).toMatchObject({
    verdict: 'failed',
    findings: [{ kind: 'fork' }],
  })
  // What an auditor holds is the alert, as the SIEM exports it.
  const news = { kind: 'checkpoint' as const, note: kept, state: own.state }
  const alert = JSON.stringify(checkpointAlert(news, 0))
  const [path, exported] = [join(own.folder, 'kept'), join(own.folder, 'kept.json')]
  writeFileSync(path, kept)
  writeFileSync(exported, JSON.stringify({ result: { _raw: alert } }).replaceAll('+', '\\u002B'))
  for (const one of [path, exported])
    for (const program of [node, python]) {
      expect(offline(program, [own.store.address], ['--checkpoint', one])).toMatchObject([
        { verdict: 'verified' },
      ])
      for (const folder of [other, short])
        expect(offline(program, [folder], ['--checkpoint', one]).map(firstOf)).toMatchObject([
          { verdict: 'failed', object: 'retained checkpoint 1' },
        ])
    }
})

test('a key that is not known, was replaced, or took over', async () => {
  const stranger = fileSigner(join(own.folder, 'stranger.pem'), 'example.com/history', true)
  expect(await check(own.store.address, {}, [stranger.verifierKey])).toMatchObject({
    verdict: 'failed',
    findings: [{ kind: 'unknown_key', object: 'checkpoint' }],
  })
  const one = await made(300, 100, SPREAD)
  const { writer } = one
  const young = fileSigner(join(one.folder, 'young.pem'), 'example.com/history', true)
  const said = rotationText(writer.signer.verifierKey, young.verifierKey, one.state.tree.size)
  const statement = await signNote(said, [writer.signer, young])
  const by = { who: 'someone', reason: 'yearly' }
  const rotated = await commitStep(writer, one.state, {
    what: 'rotate',
    ...by,
    rotate: { statement },
    signer: young.verifierKey,
  })
  const after = { ...writer, signer: young }
  await writeCheckpoint(after, rotated)
  const more = pastWith(600, 100, SPREAD)
  await sealAll(after, one.duck, more)
  const { address } = one.store
  const programs = [node, python]
  const old = [writer.signer.verifierKey]
  for (const keys of [old, [young.verifierKey]]) {
    expect(await check(address, {}, keys)).toMatchObject({ verdict: 'verified', records: 606 })
    verifierKey = keys[0] ?? ''
    for (const program of programs)
      expect(offline(program, [address])).toMatchObject([{ verdict: 'verified' }])
  }
  // The old key goes on signing: somebody has a copy of it.
  await expect(sealAll(writer, one.duck, pastWith(700, 100, SPREAD))).rejects.toMatchObject({
    code: 'history.key',
  })
  await writeCheckpoint(writer, await sealAll(after, one.duck, pastWith(700, 100, SPREAD)))
  verifierKey = old[0] ?? ''
  expect(await check(address)).toMatchObject({
    verdict: 'failed',
    findings: [{ kind: 'expired_key', object: 'checkpoint' }],
  })
  for (const program of programs)
    expect(offline(program, [address])).toMatchObject([
      { verdict: 'failed', findings: [{ object: 'checkpoint' }] },
    ])
  // A statement that the old key did not sign makes no key known.
  const two = await made(100, 100, SPREAD)
  const forged = await signNote(said.replace(old[0] ?? '', two.writer.signer.verifierKey), [young])
  const wrong = await commitStep(two.writer, two.state, {
    what: 'rotate',
    ...by,
    rotate: { statement: forged },
  })
  await writeCheckpoint({ ...two.writer, signer: young }, wrong)
  expect(await check(two.store.address, {}, [two.writer.signer.verifierKey])).toMatchObject({
    findings: [{ kind: 'unknown_key' }],
  })
  one.duck.close()
  two.duck.close()
  verifierKey = own.writer.signer.verifierKey
})

test('files of a day become one, retention spares what is on hold, and both stay provable', async () => {
  const one = await made(EVENTS, 100, SPREAD)
  const { writer, duck, store } = one
  let state = one.state
  const before = state.files.size
  for (let next = await compact(writer, duck, state, '2026-03-09'); next !== state; ) {
    state = next
    next = await compact(writer, duck, state, '2026-03-09')
  }
  expect(state.files.size).toBeLessThan(before)
  await sweep(writer, state)
  expect((await store.list('data/')).sort()).toEqual([...state.files.keys()].sort())
  verifierKey = writer.signer.verifierKey
  expect(await check(store.address)).toMatchObject({ verdict: 'verified', records: EVENTS + 6, gaps: [] })

  const by = { who: 'someone', reason: 'case 7' }
  state = await commitStep(writer, state, {
    what: 'hold',
    ...by,
    hold: { name: 'case-7', from: '2026-03-02', to: '2026-03-03' },
  })
  state = await expire(writer, state, '2026-03-05', by)
  const days = () => [...new Set([...state.files.values()].map(({ day }) => day))].sort()
  expect(days()).toEqual(['2026-03-02', '2026-03-03', '2026-03-05'])
  const report = await check(store.address)
  expect(report).toMatchObject({ verdict: 'incomplete', findings: [] })
  expect(report.gaps).toContain('2026-03-04 feed: removed by retention')
  expect(
    (await check(store.address, { from: '2026-03-02T00:00:00Z', to: '2026-03-03T00:00:00Z' })).verdict,
  ).toBe('verified')
  for (const program of [node, python])
    expect(offline(program, [store.address])).toMatchObject([{ verdict: 'verified' }])
  state = await commitStep(writer, state, { what: 'release', ...by, release: 'case-7' })
  state = await expire(writer, state, '2026-03-05', by)
  expect(days()).toEqual(['2026-03-05'])
  expect(await openState(store)).toEqual(state)

  // Whoever removes what is on hold with the key in hand is still told.
  const two = await made(300, 100, SPREAD)
  verifierKey = two.writer.signer.verifierKey
  const held = await commitStep(two.writer, two.state, {
    what: 'hold',
    ...by,
    hold: { name: 'h', from: '2026-03-02', to: '2026-03-02' },
  })
  const [path = ''] = [...held.files.keys()]
  await commitStep(two.writer, held, { what: 'expire', ...by, removed: [path] })
  expect(await check(two.store.address)).toMatchObject({
    verdict: 'failed',
    findings: [{ kind: 'inconsistent' }],
  })
  for (const program of [node, python])
    expect(offline(program, [two.store.address])).toMatchObject([
      {
        verdict: 'failed',
        findings: [{ object: `manifest/${String(held.number + 1).padStart(9, '0')}.json` }],
      },
    ])
  one.duck.close()
  two.duck.close()
  verifierKey = own.writer.signer.verifierKey
})

test('an hour that the source did not give makes the window incomplete, and no other', async () => {
  const all = pastWith(60 * 24, 100, 60_000)
  const gone = '2026-03-02T13'
  for (const [at, block] of all.made.entries())
    all.made[at] = { ...block, items: block.items.filter(({ event }) => !event.includes(`"event":"${gone}`)) }
  const one = await smallHistory(all)
  folders.push(one.folder)
  const window = (from: string, to: string) =>
    check(one.store.address, { from: `2026-03-02T${from}:00:00Z`, to: `2026-03-02T${to}:00:00Z` }, [
      one.writer.signer.verifierKey,
    ])
  expect(await window('00', '23')).toMatchObject({
    verdict: 'incomplete',
    gaps: ['logs has no record in the hour of 2026-03-02T13:00Z, where 60 are usual'],
  })
  expect((await window('00', '13')).verdict).toBe('verified')
  expect((await window('14', '23')).verdict).toBe('verified')
  // Acts of later days say that the service lived, not that the feed did.
  const beyond = { from: '2026-03-02T14:00:00Z', to: '2026-03-04T00:00:00Z' }
  expect((await check(one.store.address, beyond, [one.writer.signer.verifierKey])).gaps).toEqual([
    'logs has no record from 2026-03-03T00:00Z to 2026-03-04T00:00Z, where 60 an hour are usual',
  ])
  expect(
    (await check(one.store.address, { to: '2027-01-01T00:00:00Z' }, [one.writer.signer.verifierKey])).gaps,
  ).toContain(`history ends at ${new Date(BEGIN + 3 * 86_400_000).toISOString().replace('.000', '')}`)
  one.duck.close()
})

test('verify names the record, in a changed file and behind a changed tile', async () => {
  const { store, duck } = own
  const file = [...own.state.files.values()].find(({ kind, rows }) => kind === 'feed' && rows > 50)
  const [[first = 0, last = 0] = []] = file?.leaves ?? []
  const bad = first + 17
  const path = file?.path ?? ''
  const copy = (name: string) => {
    const folder = join(own.folder, name)
    cpSync(store.address, folder, { recursive: true })
    return folder
  }
  const verify = (folder: string) => {
    const options = ['verify', '--history', folder, '--key', verifierKey, '--json', '--quiet']
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(root, 'src/main.ts'), ...options], {
      encoding: 'utf8',
    })
    expect(status, stderr).toBe(1)
    return (JSON.parse(stdout) as HistoryReport).findings
  }
  // Somebody writes the file again with one word changed: it reads as well as before.
  const forged = copy('forged')
  await duck.connection.run(
    `COPY (SELECT * REPLACE (CASE leaf WHEN ${bad} THEN replace(body, 'denied', 'success') ELSE body END AS body)
     FROM read_parquet('${join(store.address, path)}')) TO '${join(forged, path)}' (FORMAT parquet)`,
  )
  expect(verify(forged)).toMatchObject([{ kind: 'changed', object: path, leaf: bad, to: bad }])
  const printed = spawnSync(
    process.execPath,
    [join(root, 'src/main.ts'), 'history', 'export', '--history', forged],
    { encoding: 'utf8', maxBuffer: 1e8 },
  )
  expect(printed.stderr).toContain(`${path} is not what was sealed`)
  expect(printed.stdout).not.toContain(`"leaf":${bad},`)
  expect(printed.status).toBe(1)
  const without = copy('without')
  await duck.connection.run(
    `COPY (SELECT * FROM read_parquet('${join(store.address, path)}') WHERE leaf <> ${bad}) TO '${join(without, path)}' (FORMAT parquet)`,
  )
  expect(verify(without)).toMatchObject([{ kind: 'changed', object: path, leaf: bad, to: bad }])
  const rotten = copy('rotten')
  const bytes = readFileSync(join(rotten, path))
  bytes.fill(0xff, bytes.length >> 1, (bytes.length >> 1) + 64)
  writeFileSync(join(rotten, path), bytes)
  const [found] = verify(rotten)
  expect(found).toMatchObject({ kind: 'changed', object: path })
  expect(found?.leaf).toBeGreaterThanOrEqual(first)
  expect(found?.leaf).toBeLessThanOrEqual(last)
  const tiles = copy('tiles')
  const tile = join(tiles, `tile/0/00${bad >> 8}`)
  const hashes = readFileSync(tile)
  hashes.writeUInt8(hashes.readUInt8((bad % 256) * 32) ^ 1, (bad % 256) * 32)
  writeFileSync(tile, hashes)
  expect(verify(tiles)).toMatchObject([
    { kind: 'changed', object: `tile/0/00${bad >> 8}`, leaf: bad, to: bad },
  ])
})
