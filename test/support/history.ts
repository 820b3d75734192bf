/** A small history, sealed from a journal that is a list in memory, over three days and all kinds. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type HistoryState, openState, type Writer } from '../../src/history/manifest.ts'
import { fileSigner } from '../../src/history/note.ts'
import { type Duck, openDuck } from '../../src/history/parquet.ts'
import { type Past, type PastRow, seal } from '../../src/history/seal.ts'
import { folderStore, type HistoryStore } from '../../src/history/store.ts'
import type { Block } from '../../src/pipeline/ports.ts'
import { alertOf, eventOf } from './deliveries.ts'

export const hex = (n: number, digits = 32) => n.toString(16).padStart(digits, '0')
const DAY_MS = 86_400_000
export const BEGIN = Date.parse('2026-03-02T00:00:00Z')

export interface ListedPast extends Past {
  readonly made: Block[]
  readonly streams: Record<'alerts' | 'rejections' | 'control', PastRow[]>
}

/** @param spread milliseconds between two events */
export const pastWith = (events: number, perBlock: number, spread: number, from = 0): ListedPast => {
  const made: Block[] = []
  for (let at = 0; at < events; at += perBlock) {
    const items = Array.from({ length: Math.min(perBlock, events - at) }, (_, index) => {
      const n = from + at + index
      const time = new Date(BEGIN + n * spread).toISOString()
      const event = eventOf(n, {
        event_id: hex(n),
        time: { event: time, ingested: time, late: false },
        target: { key_id: `key-${n % 7}`, object_type: 'key' },
      })
      return { raw: Buffer.from(`raw bytes of ${n} \u0000\ud83d\udd11`), event }
    })
    made.push({ seq: made.length + 1, at: BEGIN + DAY_MS * 3, items })
  }
  const row = (n: number, seq: number, isSignal: boolean, body: unknown): PastRow => ({
    n,
    seq,
    kept: BEGIN + DAY_MS * 3,
    isSignal,
    body: JSON.stringify(body),
  })
  const streams = {
    alerts: [1, 2, 3].map((n) => row(n, 1, n === 2, alertOf(n))),
    rejections: [
      row(1, 0, false, { feed_id: 'logs', reason: 'broken_json', received: '2026-03-03T00:00:00Z' }),
    ],
    control: [1, 2].map((n) => row(n, 0, false, { n, kind: 'start', who: 'someone', body: '{}' })),
  }
  return {
    id: hex(1, 64),
    made,
    streams,
    last: () => made.length,
    blocks: (after) =>
      made
        .filter(({ seq }) => seq > after)
        .slice(0, 1)
        .map(({ items, ...block }) => ({
          ...block,
          items: items.map(({ raw, event }) => ({ raw, event: Buffer.from(event) })),
        })),
    rows: (stream, after, limit) => streams[stream].filter(({ n }) => n > after).slice(0, limit),
  }
}

export interface SmallHistory {
  readonly folder: string
  readonly writer: Writer
  readonly duck: Duck
  readonly store: HistoryStore
  state: HistoryState
}

export const writerOn = (store: HistoryStore, keyFile: string, create = true): Writer => ({
  store,
  signer: fileSigner(keyFile, 'example.com/history', create),
  origin: 'example.com/history',
  by: 'keytrail test',
  clock: () => BEGIN + 4 * DAY_MS,
})

export const sealAll = async (writer: Writer, duck: Duck, past: Past): Promise<HistoryState> => {
  let state = await openState(writer.store)
  for (;;) {
    const next = await seal(writer, duck, state, past)
    if (next === state) return state
    state = next
  }
}

/** One segment a block. */
export const smallHistory = async (past: Past): Promise<SmallHistory> => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-history-'))
  const store = folderStore(join(folder, 'history'))
  const writer = writerOn(store, join(folder, 'key.pem'))
  const duck = await openDuck(join(folder, 'scratch'))
  return { folder, writer, duck, store, state: await sealAll(writer, duck, past) }
}
