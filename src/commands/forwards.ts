/** The sinks that run, each with a loop of its own; another configuration may take the place of one while it runs. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../model/config.ts'
import { canonical } from '../normalize/json.ts'
import { type ForwardOptions, forward } from '../pipeline/forward.ts'
import type { ConfiguredSink } from './sinks.ts'

/** A sink that does not settle what it holds within this time is cut off: its successor sends that again. */
const LEAVE_MS = 5000

type Common = Pick<ForwardOptions, 'journal' | 'news' | 'closing' | 'onNotice'>

export interface ForwardsOptions extends Common {
  /** Something new may be there: wakes those that wait. */
  wake(): void
  /** Ends them all at once. */
  readonly ended: AbortSignal
  onFailure(cause: unknown): void
  make(name: string, config: Config['sinks'][string]): readonly ConfiguredSink[]
  /** Names of what else has a cursor in the journal. */
  readonly others: readonly string[]
}

interface Running {
  /** Of its configuration. */
  readonly text: string | undefined
  readonly names: readonly string[]
  leave(): Promise<void>
  readonly done: Promise<unknown>
}

export interface Forwards {
  /**
   * Builds the sinks that are new or changed, beside the running ones.
   * @returns lets them take their place, and says which those are @throws when one cannot be built
   */
  prepare(sinks: Config['sinks']): { readonly changed: readonly string[]; swap(): Promise<void> }
  /** All of them have ended. */
  readonly done: () => Promise<unknown>
}

export const forwards = (options: ForwardsOptions): Forwards => {
  const { journal, news, closing, onNotice, wake, ended, onFailure, make, others } = options
  const running = new Map<string, Running>()

  const begin = (name: string, text: string | undefined, sinks: readonly ConfiguredSink[]) => {
    const leaving = new AbortController()
    const cut = new AbortController()
    const done = Promise.all(
      sinks.map((one) =>
        forward(
          {
            ...one,
            ...{ journal, news, closing, onNotice },
            random: Math.random,
            clock: Date.now,
            leaving: leaving.signal,
          },
          AbortSignal.any([ended, cut.signal]),
        ).catch(onFailure),
      ),
    )
    running.set(name, {
      text,
      names: sinks.map(({ sink }) => sink.name),
      done,
      async leave() {
        leaving.abort()
        wake()
        await Promise.race([done, sleep(LEAVE_MS, undefined, { ref: false })])
        cut.abort()
        wake()
        await done
      },
    })
  }

  return {
    prepare(sinks) {
      const texts = new Map(Object.entries(sinks).map(([name, one]) => [name, canonical(one)]))
      const gone = [...running.keys()].filter((name) => running.get(name)?.text !== texts.get(name))
      const made = Object.entries(sinks)
        .filter(([name]) => running.get(name)?.text !== texts.get(name))
        .map(([name, one]) => [name, make(name, one)] as const)
      return {
        changed: [...new Set([...gone, ...made.map(([name]) => name)])].sort(),
        async swap() {
          await Promise.all(gone.map((name) => running.get(name)?.leave()))
          for (const name of gone) running.delete(name)
          const names = [
            ...running.values(),
            ...made.map(([, all]) => ({ names: all.map(({ sink }) => sink.name) })),
          ]
          await journal.retire([...others, ...names.flatMap((one) => one.names)])
          for (const [name, all] of made) begin(name, texts.get(name), all)
        },
      }
    },
    done: () => Promise.all([...running.values()].map(({ done }) => done)),
  }
}
