/** Takes another configuration into force while `run` is at work: all of it, or nothing. */
import { loadConfig } from '../config/config.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { canonical } from '../normalize/json.ts'
import type { LiveJudge } from '../pipeline/live-judge.ts'
import type { Loop } from '../pipeline/loop.ts'
import { turns } from '../pipeline/turns.ts'
import type { Forwards } from './forwards.ts'
import { act, build, controlsOf, type InForce } from './in-force.ts'
import type { Live } from './metrics.ts'
import type { Reloaded } from './reload.ts'
import type { Service } from './run.ts'

export interface ReloaderOptions extends Pick<Service, 'path' | 'sources' | 'log' | 'reloads'> {
  readonly judge: LiveJudge
  readonly sinks: Forwards
  readonly begun: InForce
  use(next: InForce): void
}

export interface Reloader {
  /** One after the other. @throws when the journal fails */
  reload(loop: Loop): Promise<void>
  /** The last one has ended. */
  settled(): Promise<void>
  readonly state: Omit<Live, 'spent' | 'isHeld'>
}

export const reloader = (options: ReloaderOptions): Reloader => {
  const { path, sources, log, judge, sinks, use } = options
  const oneByOne = turns()
  const reloads = { taken: 0, refused: 0, isLastTaken: true }
  let inForce = options.begun

  /** Everything that is new, beside what runs. @throws KeytrailError with the place of what is wrong */
  const made = () => {
    if (!options.reloads) throw new KeytrailError('usage.option', 'a backfill keeps what it began with')
    const config = loadConfig(path, true, inForce.config)
    return { next: build(config), swap: sinks.prepare(config.sinks), read: sources(config, log) }
  }

  const record = (loop: Loop, body: Reloaded) =>
    loop.act(() => judge.record(Date.now(), [act('reload', body)]))

  const take = async (loop: Loop, { next, swap, read }: ReturnType<typeof made>) => {
    const before = inForce
    const [old, changed] = [before.config.sources, next.config.sources]
    const feeds = Object.keys({ ...old, ...changed }).filter(
      (name) => canonical(old[name]) !== canonical(changed[name]),
    )
    await loop.act(() => {
      use(next)
      inForce = next
      const isSame = next.recorded.hash === before.recorded.hash
      return judge.record(Date.now(), controlsOf(next, before), isSame ? undefined : next.detectors)
    })
    await swap.swap()
    for (const feed of feeds)
      await loop.replace(
        feed,
        read.find(({ feed_id }) => feed_id === feed),
      )
    const changes = { sinks: swap.changed, sources: feeds.sort() }
    log.info(
      `loaded again: ${next.detectors.length} detectors, ${next.learned.files.length} files of knowledge`,
      changes,
    )
    await record(loop, { taken: true, ...changes })
  }

  const reload = async (loop: Loop) => {
    let found: ReturnType<typeof made> | undefined
    let reason = ''
    try {
      found = made()
    } catch (cause) {
      reason = messageOf(cause)
    }
    reloads.isLastTaken = found !== undefined
    reloads[found === undefined ? 'refused' : 'taken']++
    if (found !== undefined) return take(loop, found)
    log.error(`the configuration is not loaded again, the running one stays: ${reason}`)
    await record(loop, { taken: false, reason })
  }

  return {
    reload: (loop) => oneByOne(() => reload(loop)),
    settled: () => oneByOne(async () => {}),
    get state() {
      return {
        reloads,
        detectors: inForce.detectors.map(({ facts }) => facts.id),
        feeds: Object.keys(inForce.config.sources),
        budget: inForce.config.journal.budget_bytes,
      }
    },
  }
}
