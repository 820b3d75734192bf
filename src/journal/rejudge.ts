/**
 * Judges the past again from its own content: stored events, ticks, and the detectors that were in force. Whatever
 * order, lateness and reloads there were, every alert must come out as it was sent, byte for byte.
 */
import { type DetectorFile, defineDetectors } from '../detect/definition.ts'
import { KeytrailError } from '../model/error.ts'
import type { KeyEvent } from '../model/event.ts'
import { parse } from '../normalize/json.ts'
import type { IntegrityCheck } from '../pipeline/integrity.ts'
import { type Disabled, type Entry, type Heartbeat, judging } from '../pipeline/judging.ts'
import { CHUNK, emptyCommit } from '../pipeline/live-judge.ts'
import { endOf } from '../pipeline/order.ts'
import type { PastCommit } from '../pipeline/ports.ts'
import { CachedState } from '../pipeline/state-cache.ts'
import { Store, unpacked } from './store.ts'

/** The body of a `detectors` record. */
export interface RecordedDetectors {
  readonly hash: string
  readonly ids: readonly string[]
  readonly files: readonly DetectorFile[]
  readonly disable: readonly string[]
}

/** State beside the store, which is in this thread: less of it than `run` needs is as fast. */
const MAX_VALUES = 75_000
const MAX_ENTRIES = 150_000

/** A commit whose alerts come out otherwise. */
export interface Difference {
  readonly seq: number
  readonly sent: readonly string[]
  readonly judged: readonly string[]
}

export interface Rejudged {
  readonly commits: number
  readonly events: number
  readonly alerts: number
  readonly differences: readonly Difference[]
}

/** What a journal holds. @throws KeytrailError `journal.trimmed` when its beginning is not kept any more */
export function* journaled(store: Store): Generator<PastCommit> {
  const numbers = store.numbers()
  if (numbers[0] !== undefined && numbers[0] !== 1)
    throw new KeytrailError(
      'journal.trimmed',
      `the journal begins with commit ${numbers[0]}: what was before is not kept`,
    )
  for (const seq of numbers) {
    const block = store.block(seq)
    const items = block === undefined ? [] : unpacked(block).items
    yield { seq, at: block?.at ?? 0, items, control: store.controlsOf(seq), sent: store.alertsOf(seq) }
  }
}

/** Detectors as a `detectors` record tells them. */
export const recordedDetectors = (body: string) => {
  const { files, disable } = JSON.parse(body) as RecordedDetectors // written by run
  return defineDetectors(files).detectors.filter(({ facts }) => !disable.includes(facts.id))
}

/** @param onCommit after each commit, with the alerts and signals that it gives again, as JSON */
export const rejudge = async (
  commits: Iterable<PastCommit> | AsyncIterable<PastCommit>,
  onCommit: (commit: PastCommit, judged: readonly string[]) => void,
): Promise<Rejudged> => {
  const memory = new Store(undefined, 'judge')
  const core = judging(
    {
      load: async (wanted) => memory.load(wanted),
      due: async (watermark) => memory.due(watermark),
      unmerged: async () => memory.unmerged(),
    },
    [],
    () => {},
    undefined,
    new CachedState(MAX_VALUES, MAX_ENTRIES),
  )
  const differences: Difference[] = []
  const found = { commits: 0, events: 0, alerts: 0 }
  try {
    for await (const commit of commits) {
      const { seq, at, items, control, sent } = commit
      let last: KeyEvent | undefined
      function* chunks() {
        for (let from = 0; from < items.length; from += CHUNK) {
          const entries: Entry[] = items.slice(from, from + CHUNK).map(({ event, raw }) => {
            const parsed = JSON.parse(event) as KeyEvent // written by commit
            const record = core.engine.readsRaw ? parse(raw.toString('utf8')) : undefined
            return {
              feed: parsed.ingest.feed_id,
              event: parsed,
              at: Date.parse(parsed.time.event),
              raw: record,
            }
          })
          last = entries.at(-1)?.event
          yield entries
        }
      }
      let forget: number | undefined
      await core.events(chunks(), endOf(items.map(timeOf)), at)
      for (const { kind, body } of control) {
        if (kind === 'tick') forget = await core.tick(JSON.parse(body) as Heartbeat) // written by the live judge
        if (kind === 'disabled' && last !== undefined) core.disable(JSON.parse(body) as Disabled, last) // likewise
        if (kind === 'detectors') core.use(recordedDetectors(body))
        if (kind === 'integrity') core.integrity(JSON.parse(body) as IntegrityCheck) // likewise
      }
      core.faulty() // what was disabled then is in the records
      memory.commit({ ...emptyCommit, seq, at, forget, ...core.changes() }, undefined)
      const judged = memory.alertsOf(seq)
      found.commits++
      found.events += items.length
      found.alerts += sent.length
      if (!same(sent, judged)) differences.push({ seq, sent, judged })
      onCommit(commit, judged)
    }
  } finally {
    memory.close()
  }
  return { ...found, differences }
}

const TIME = '"time":{"event":"'
const timeOf = ({ event }: PastCommit['items'][number]): string => {
  const from = event.indexOf(TIME) + TIME.length
  return event.slice(from, from + 19)
}

const LAST_EVENT = '"last_event":"'
const dayOf = (body: string): string => {
  const from = body.indexOf(LAST_EVENT) + LAST_EVENT.length
  return body.slice(from, from + 10)
}

/** History keeps what one commit sent by day, and within in order. */
const same = (a: readonly string[], b: readonly string[]): boolean => {
  const [some, others] = [a, b].map((all) =>
    all.toSorted((one, other) => (dayOf(one) < dayOf(other) ? -1 : dayOf(one) > dayOf(other) ? 1 : 0)),
  )
  return a.length === b.length && some?.every((one, at) => one === others?.[at]) === true
}
