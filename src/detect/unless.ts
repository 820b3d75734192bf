/**
 * An exception that looks back: a finding is none when a certain other event of the same group came at most so long
 * before. The law: an event at t is told exactly when no excusing event lies in [t - within, t], in whatever order
 * they come within the lateness. So a finding waits until no earlier event is expected any more.
 */
import type { KeyEvent } from '../model/event.ts'
import type { SingleDetector } from './definition.ts'
import type { Context, Plan } from './engine.ts'
import type { Opened } from './opened.ts'
import { readGroup } from './signal.ts'

/** What is kept of a group, under a timed key. */
export interface Held {
  /** Times of excusing events, milliseconds since 1970. */
  readonly excuses: readonly number[]
  readonly waiting: readonly { readonly at: number; readonly opened: Opened }[]
  /** When it may be forgotten. */
  readonly until: number
}

/** Of one group; more than that at once is no exception any more. */
const MAX_EXCUSES = 64

export const isHeld = (value: object): value is Held => 'waiting' in value && Array.isArray(value.waiting)

/** Tells what is due. @returns what is left, and when to look again */
export const release = (held: Held, watermark: number, context: Context) => {
  for (const { at, opened } of held.waiting) if (at <= watermark) context.tellOnce(opened)
  const waiting = held.waiting.filter(({ at }) => at > watermark)
  const due = waiting.length > 0 ? Math.min(...waiting.map(({ at }) => at)) : held.until
  return due <= watermark ? undefined : { value: { ...held, waiting } satisfies Held, due }
}

export const unlessStep = (
  { facts }: SingleDetector,
  { rule, withinMs, by, applies }: NonNullable<SingleDetector['unless']>,
  context: Context,
) => {
  const { state, finalizeMs } = context
  const keyOf = (event: KeyEvent, raw: unknown) => {
    const values = readGroup(by, event, raw)
    return values && `open|${facts.id}|${facts.version}|unless|${values.join('|')}`
  }
  const empty: Held = { excuses: [], waiting: [], until: 0 }
  const put = (key: string, held: Held) => {
    const due = Math.min(held.until, ...held.waiting.map(({ at }) => at))
    state.put(key, held, due)
  }

  return {
    /** The plan of an excusing event. */
    excuse(event: KeyEvent, at: number, raw: unknown): Plan | undefined {
      const key = rule.matches(event, raw) ? keyOf(event, raw) : undefined
      if (key === undefined) return undefined
      return {
        facts,
        needs: (wants) => wants.value(key),
        fold() {
          const held = (state.get(key) as Held | undefined) ?? empty // only these are kept under this key
          put(key, {
            excuses: [...held.excuses, at].slice(-MAX_EXCUSES),
            waiting: held.waiting.filter((one) => one.at < at || one.at > at + withinMs),
            until: Math.max(held.until, at + withinMs + finalizeMs),
          })
        },
      }
    },
    /**
     * The plan of a finding: told now, later, or never.
     * @param open makes the alert, unless it was made before
     */
    guarded(event: KeyEvent, at: number, raw: unknown, plan: Plan, open: () => Opened | undefined): Plan {
      const key = applies(event, raw) ? keyOf(event, raw) : undefined
      if (key === undefined) return plan
      return {
        facts,
        needs(wants) {
          wants.value(key)
          plan.needs(wants)
        },
        fold() {
          const held = (state.get(key) as Held | undefined) ?? empty // only these are kept under this key
          if (held.excuses.some((one) => one <= at && one >= at - withinMs)) return
          if (context.watermark >= at) return plan.fold()
          const opened = open()
          if (opened === undefined) return
          put(key, {
            ...held,
            waiting: [...held.waiting, { at, opened }],
            until: Math.max(held.until, at + finalizeMs),
          })
        },
      }
    },
  }
}
