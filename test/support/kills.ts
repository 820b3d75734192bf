/** Kills a `run` again and again and compares what it left with an undisturbed run. */
import { join } from 'node:path'
import { unpacked } from '../../src/journal/store.ts'
import { type Service, service } from './service.ts'

/** What must be the same: not the times of receipt, nor in which block a record came to lie. */
export interface Left {
  readonly alerts: readonly string[]
  readonly counters: Readonly<Record<string, number>>
  /** As the sink has it. */
  readonly feed: readonly string[]
  /** As the journal has it. */
  readonly journaled: readonly string[]
  readonly delivered: readonly string[]
}

const withoutPlace = (event: Record<string, unknown>): string =>
  JSON.stringify({ ...event, raw_ref: '', time: { ...(event['time'] as object), ingested: '' } })

export const leftBy = (one: Service): Left => {
  const store = one.store()
  try {
    return {
      alerts: store
        .alerts(0, 1_000_000)
        .map(
          ({ alert }) =>
            `${alert.alert_id} ${alert.revision} ${alert.status} ${alert.observed} ${alert.evidence.total}`,
        )
        .sort(),
      counters: Object.fromEntries([...store.counters()].sort()),
      feed: one.lines('events').map(withoutPlace),
      journaled: store
        .blocks(0, Number.MAX_SAFE_INTEGER)
        .flatMap((block) => unpacked(block).items)
        .map(({ event }) => withoutPlace(JSON.parse(event) as Record<string, unknown>)),
      delivered: one.lines('alerts').map((alert) => `${alert['alert_id']} ${alert['revision']}`),
    }
  } finally {
    store.close()
  }
}

/** mulberry32 */
export const random = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export const fileWindows = ['after-read', 'inside-commit', 'after-commit', 'before-settle', 'recovery']
export const siemWindows = [
  'hec-answered',
  'hec-acknowledged',
  'sentinel-answered',
  'after-commit',
  'recovery',
]

export interface Killing {
  readonly paths: readonly string[]
  readonly kills: number
  readonly seed: number
  readonly windows: readonly string[]
  /** More of the configuration. */
  readonly more?: object
  readonly env?: Readonly<Record<string, string>>
}

/** @returns the service after so many kills and one run to the end, and how often each kind of kill happened */
export const killedRun = async ({
  paths,
  kills,
  seed,
  windows,
  more = {},
  env = {},
}: Killing): Promise<{ readonly one: Service; readonly hits: Record<string, number> }> => {
  const next = random(seed)
  const one = service(paths, more)
  const hits: Record<string, number> = {}
  for (let kill = 0; kill < kills; kill++) {
    const window = kill % 2 === 0 ? windows[Math.floor(next() * windows.length)] : undefined
    const nth = window === 'recovery' ? 1 : 1 + Math.floor(next() * 3)
    const { code, log } = await one.run(
      window === undefined
        ? { env, killAfter: 300 + Math.floor(next() * 300) }
        : {
            preload: [join(import.meta.dirname, 'kill-at.ts')],
            env: { ...env, KILL_AT: `${window}:${nth}` },
            killAfter: 20_000,
          },
    )
    if (code !== 'SIGKILL' && code !== 0) throw new Error(`ended with ${code}: ${log}`)
    const name = code === 0 ? 'ran to its end' : (window ?? 'random')
    hits[name] = (hits[name] ?? 0) + 1
  }
  const { code, log } = await one.run({ env })
  if (code !== 0) throw new Error(`ended with ${code}: ${log}`)
  return { one, hits }
}
