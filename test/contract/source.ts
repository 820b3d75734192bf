/**
 * What every source keeps: one suite, run on each implementation with the real loop on the real journal. A crash is
 * a commit that fails, before or after it became durable; the process that comes next opens the same journal.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, test } from 'vitest'
import { sqliteJournal } from '../../src/journal/sqlite.ts'
import { Store, unpacked } from '../../src/journal/store.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { liveJudge } from '../../src/pipeline/live-judge.ts'
import { runLoop } from '../../src/pipeline/loop.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import type { Commit, Journal, Source } from '../../src/pipeline/ports.ts'
import { type CloudTrailRecord, record } from '../support/cloudtrail.ts'
import { random } from '../support/kills.ts'

/** Where a source reads: a folder, a queue with its bucket, a topic, a log group. Made anew for each test. */
export interface Place {
  /** The source as a configuration names it. */
  readonly config: Readonly<Record<string, unknown>>
  /** Puts records there, in one delivery or several; they are there when it resolves. */
  publish(records: readonly CloudTrailRecord[]): Promise<void>
  /** A source as the next process makes it. It follows: it ends on the signal alone. */
  open(): Source
  /** Deliveries that were not acknowledged; absent where there is no such thing. */
  unsettled?(): Promise<number>
  /** Has the other side refuse the next acknowledgements; without it they fail on this side. */
  refuseSettles?(count: number): void
  close(): Promise<void>
}

export interface SourceContract {
  make(): Promise<Place>
  /** After a clean stop it may hand over again what it handed over before; the default is that it does not. */
  readonly rereads?: boolean
}

const KEEP = { days: 7, bytes: 4 * 1024 ** 3 }
const PATIENCE_MS = 60_000
const STOP_MS = 10_000
const MIB = 1024 ** 2

/** `CRASHES`, `SEED` and `BACKLOG_MIB` give the full dose. */
const crashes = Number(process.env['CRASHES'] ?? 8)
const seed = Number(process.env['SEED'] ?? 1)
const backlogBytes = Number(process.env['BACKLOG_MIB'] ?? 64) * MIB
/** What the loop itself holds is 5 batches of 2 MiB, with what surrounds them; the rest is the source's. */
const HELD_BYTES = 48 * MIB
const PEAK_BYTES = 320 * MIB

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void // what the flag gives

const records = (count: number): CloudTrailRecord[] => Array.from({ length: count }, () => record())
const idsOf = (all: readonly CloudTrailRecord[]) => all.map((one) => String(one['eventID'])).sort()

interface Left {
  /** Event ids of what is journaled, with repeats. */
  readonly ids: readonly string[]
  count(outcome: string): number
}

const counted = (store: Store) => {
  const counters = [...store.counters()]
  return (outcome: string) =>
    counters.reduce((sum, [name, value]) => (name.split('|')[0] === outcome ? sum + value : sum), 0)
}

const leftIn = (folder: string): Left => {
  const store = new Store(folder, 'reader')
  try {
    const ids = store
      .blocks(0, Number.MAX_SAFE_INTEGER)
      .flatMap((block) => unpacked(block).items)
      .map(({ raw }) => String((JSON.parse(raw.toString()) as CloudTrailRecord)['eventID'])) // records are objects
    return { ids: ids.sort(), count: counted(store) }
  } finally {
    store.close()
  }
}

const eventually = async (what: string, holds: () => boolean | Promise<boolean>, ms = PATIENCE_MS) => {
  const end = performance.now() + ms
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await sleep(25)
  }
}

/** A commit of this journal fails, and all that come after it. */
const dying = (journal: Journal, nth: number, durable: boolean): Journal => {
  let left = nth
  return {
    ...journal,
    get next() {
      return journal.next
    },
    async commit(commit: Commit) {
      if (--left > 0) return journal.commit(commit)
      if (left === 0 && durable) await journal.commit(commit)
      throw new Error('crash')
    },
  }
}

/** Commits of this journal wait until they are let go. */
const holding = (journal: Journal) => {
  let letGo = () => {}
  const gone = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let last: Promise<unknown> = gone
  let ahead = 0
  const held: Journal = {
    ...journal,
    get next() {
      return journal.next + ahead
    },
    commit(commit: Commit) {
      ahead++
      const made = last.then(() => {
        ahead--
        return journal.commit(commit)
      })
      last = made.catch(() => {})
      return made
    },
  }
  return { held, letGo: () => letGo() }
}

/** Acknowledgements fail on this side. */
const failingSettles = (source: Source, count: number): Source => {
  let left = count
  return {
    ...source,
    read: (known, take, signal, fate) =>
      source.read(
        known,
        (piece) => {
          if (piece === 'idle' || piece.settle === undefined) return take(piece)
          const { settle } = piece
          return take({
            ...piece,
            position: (read) => piece.position(read),
            settle: async () => {
              if (left-- > 0) throw new Error('refused')
              await settle()
            },
          })
        },
        signal,
        fate,
      ),
  }
}

interface Running {
  /** How often nothing was unread. */
  idle(): number
  readonly notices: readonly string[]
  has(kept: number): () => boolean
  /** Stops it as SIGTERM does. @returns how long that took, milliseconds */
  stop(): Promise<number>
  /** Resolves when a crash has ended it. */
  readonly crashed: Promise<unknown>
}

const start = async (
  source: Source,
  folder: string,
  change: (journal: Journal) => Journal = (journal) => journal,
  /** Milliseconds that each look at the clock takes: with 200, each piece becomes a commit. */
  hurry = 0,
): Promise<Running> => {
  const own = await sqliteJournal(folder, KEEP, () => {})
  const journal = change(own)
  const notices: string[] = []
  const stopping = new AbortController()
  const judge = liveJudge(journal, recordNormalizer(defaultConfig, undefined), [], (text) =>
    notices.push(text),
  )
  let idle = 0
  let looks = 0
  const watched: Source = {
    ...source,
    read: (known, take, signal, fate) =>
      source.read(
        known,
        async (piece) => {
          await take(piece)
          if (piece === 'idle') idle++
        },
        signal,
        fate,
      ),
  }
  const reader = new Store(folder, 'reader')
  let open = true
  const ended = runLoop(
    {
      sources: [watched],
      journal,
      judge,
      settings: defaultConfig,
      budget: Number.MAX_SAFE_INTEGER,
      clock: () => Date.now() + hurry * looks++,
      onNotice: (text) => notices.push(text),
      onCommit: () => {},
    },
    stopping.signal,
  ).finally(async () => {
    open = false
    reader.close()
    await own.close()
  })
  const crashed = ended.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  return {
    idle: () => idle,
    notices,
    has: (kept) => () => open && counted(reader)('kept') >= kept,
    async stop() {
      const began = performance.now()
      stopping.abort()
      await ended
      return performance.now() - began
    },
    crashed,
  }
}

const holdsTheLaw = ({ count }: Left) =>
  expect(count('received')).toBe(count('kept') + count('duplicate') + count('skipped') + count('rejected'))

/** @param name what it reads, such as `files` */
export const sourceContract = (name: string, { make, rereads = false }: SourceContract): void => {
  const places: Place[] = []
  const folders: string[] = []
  const setUp = async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keytrail-source-'))
    folders.push(folder)
    const place = await make()
    places.push(place)
    return { place, folder }
  }
  afterEach(async () => {
    for (const place of places.splice(0)) await place.close()
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
  })
  const allSettled = (place: Place) =>
    eventually('all is acknowledged', async () => ((await place.unsettled?.()) ?? 0) === 0)

  describe(`the source ${name}`, {
    timeout: 600_000 + crashes * 10_000 + (backlogBytes / MIB) * 3000,
  }, () => {
    test('asks where to start', async () => {
      const { place } = await setUp()
      expect(sourceConfig.safeParse(place.config).error).toBeUndefined()
      const { start: _, ...without } = place.config
      expect(sourceConfig.safeParse(without).error?.issues.map(({ path }) => path)).toEqual([['start']])
    })

    test('hands over all there is and all that comes, says when nothing is unread, acknowledges', async () => {
      const { place, folder } = await setUp()
      const [before, after] = [records(120), records(30)]
      await place.publish(before)
      const run = await start(place.open(), folder)
      await eventually('the first are there', run.has(before.length))
      await eventually('nothing is unread', () => run.idle() > 0)
      await place.publish(after)
      await eventually('all are there', run.has(before.length + after.length))
      await allSettled(place)
      await run.stop()
      const left = leftIn(folder)
      expect(left.ids).toEqual(idsOf([...before, ...after]))
      holdsTheLaw(left)
      expect(run.notices).toEqual([])
    })

    test('acknowledges nothing before the commit', async () => {
      const { place, folder } = await setUp()
      const all = records(60)
      await place.publish(all)
      const deliveries = await place.unsettled?.()
      let fail = () => {}
      const failing = new Promise<void>((_, reject) => {
        fail = () => reject(new Error('crash'))
      })
      let asked = 0
      const run = await start(place.open(), folder, (journal) => ({
        ...journal,
        get next() {
          return journal.next
        },
        commit: () => {
          asked++
          return failing
        },
      }))
      await eventually('a commit is under way', () => asked > 0)
      await sleep(1000)
      expect(await place.unsettled?.()).toBe(deliveries)
      fail()
      expect(await run.crashed).toMatchObject({ message: 'crash' })
      expect(await place.unsettled?.()).toBe(deliveries)
      const next = await start(place.open(), folder)
      await eventually('all come again', next.has(all.length))
      await allSettled(place)
      await next.stop()
      expect(leftIn(folder).ids).toEqual(idsOf(all))
    })

    test(`loses nothing and keeps nothing twice over ${crashes} crashes (seed ${seed})`, async () => {
      const { place, folder } = await setUp()
      const next = random(seed)
      const all: CloudTrailRecord[] = []
      const more = async () => {
        for (let n = 0; n < 4; n++) {
          const some = records(1 + Math.floor(next() * 40))
          all.push(...some)
          await place.publish(some)
        }
      }
      let crashed = 0
      for (let n = 0; n < crashes; n++) {
        await more()
        const at = 1 + Math.floor(next() * 4)
        const durable = next() < 0.5
        const run = await start(place.open(), folder, (journal) => dying(journal, at, durable), 200)
        const done = run.has(all.length)
        let ended = false
        void run.crashed.then(() => {
          ended = true
        })
        await eventually('it crashes or is done', () => ended || done())
        if (!ended) await run.stop().catch(() => {}) // it crashes while it stops
        const cause = await run.crashed
        if (cause !== undefined) {
          crashed++
          expect(cause).toMatchObject({ message: 'crash' })
        }
        expect(idsOf(all)).toEqual(expect.arrayContaining([...leftIn(folder).ids]))
      }
      expect(crashed).toBeGreaterThanOrEqual(crashes / 2)
      const run = await start(place.open(), folder)
      await eventually('all are there', run.has(all.length))
      await allSettled(place)
      await run.stop()
      const left = leftIn(folder)
      expect(left.ids).toEqual(idsOf(all))
      holdsTheLaw(left)
    })

    test('offers again what could not be acknowledged', async () => {
      const { place, folder } = await setUp()
      const all = [records(20), records(20), records(20)]
      for (const some of all) await place.publish(some)
      place.refuseSettles?.(2)
      const run = await start(
        place.refuseSettles === undefined ? failingSettles(place.open(), 2) : place.open(),
        folder,
      )
      await eventually('all are there', run.has(60))
      if (place.refuseSettles !== undefined) await allSettled(place)
      await run.stop()
      const next = await start(place.open(), folder)
      await eventually('nothing is unread', () => next.idle() > 0)
      await allSettled(place)
      await next.stop()
      const left = leftIn(folder)
      expect(left.ids).toEqual(idsOf(all.flat()))
      holdsTheLaw(left)
    })

    test('goes on at the committed position', async () => {
      const { place, folder } = await setUp()
      const [first, second] = [records(50), records(50)]
      await place.publish(first)
      const run = await start(place.open(), folder)
      await eventually('the first are there', run.has(50))
      await allSettled(place)
      await run.stop()
      await place.publish(second)
      const next = await start(place.open(), folder)
      await eventually('all are there', next.has(100))
      await allSettled(place)
      await next.stop()
      const left = leftIn(folder)
      expect(left.ids).toEqual(idsOf([...first, ...second]))
      if (!rereads) expect(left.count('received')).toBe(100)
    })

    test(`holds little of a backlog of ${backlogBytes / MIB} MiB, and stops in the middle of it`, async () => {
      const { place, folder } = await setUp()
      const one = Buffer.byteLength(JSON.stringify(record()))
      let published = 0
      for (let bytes = 0; bytes < backlogBytes; ) {
        const some = records(2000)
        await place.publish(some)
        published += some.length
        bytes += some.length * one
      }
      collectGarbage()
      const used = () => {
        collectGarbage()
        const { heapUsed, external } = process.memoryUsage()
        return heapUsed + external
      }
      const before = used()
      const { rss } = process.memoryUsage()
      let letGo = () => {}
      const run = await start(place.open(), folder, (journal) => {
        const made = holding(journal)
        letGo = made.letGo
        return made.held
      })
      await sleep(3000)
      const held = used() - before
      let peak = 0
      const sampling = setInterval(() => {
        peak = Math.max(peak, process.memoryUsage().rss - rss)
      }, 20)
      letGo()
      await eventually('some are there', run.has(1000))
      const took = await run.stop()
      const stoppedAt = leftIn(folder).count('kept')
      const next = await start(place.open(), folder)
      await eventually('all are there', next.has(published), PATIENCE_MS + (backlogBytes / MIB) * 2000)
      await allSettled(place)
      await next.stop()
      clearInterval(sampling)
      console.info(
        `${name}: ${Math.round(held / MIB)} MiB held of ${backlogBytes / MIB}, peak ${Math.round(peak / MIB)} MiB; stopped after ${Math.round(took)} ms with ${stoppedAt} of ${published} records`,
      )
      expect(held).toBeLessThan(HELD_BYTES)
      expect(peak).toBeLessThan(PEAK_BYTES)
      expect(took).toBeLessThan(STOP_MS)
      expect(stoppedAt).toBeLessThan(published)
      expect(leftIn(folder).count('kept')).toBe(published)
    })

    test('stops at once when it waits', async () => {
      const { place, folder } = await setUp()
      const run = await start(place.open(), folder)
      await eventually('nothing is unread', () => run.idle() > 0)
      expect(await run.stop()).toBeLessThan(STOP_MS)
    })
  })
}
