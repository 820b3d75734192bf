/**
 * Judges a journal again from its own content: stored events, ticks, and the detectors that were in force. Whatever
 * order, lateness and reloads there were, every alert must come out as it was sent, byte for byte.
 */
import { type DetectorFile, defineDetectors } from '../detect/definition.ts'
import { KeytrailError } from '../model/error.ts'
import type { KeyEvent } from '../model/event.ts'
import { parse } from '../normalize/json.ts'
import { type Disabled, type Entry, type Heartbeat, judging } from '../pipeline/judging.ts'
import { Store, unpacked } from './store.ts'

/** The body of a `detectors` record. */
export interface RecordedDetectors {
  readonly hash: string
  readonly ids: readonly string[]
  readonly files: readonly DetectorFile[]
  readonly disable: readonly string[]
}

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

/**
 * @param onCommit after each commit
 * @throws KeytrailError `journal.trimmed` when the beginning of the history is not kept any more
 */
export const rejudge = async (store: Store, onCommit: (seq: number) => void): Promise<Rejudged> => {
  const numbers = store.numbers()
  if (numbers[0] !== undefined && numbers[0] !== 1)
    throw new KeytrailError(
      'journal.trimmed',
      `the journal begins with commit ${numbers[0]}: what was before is not kept`,
    )
  const memory = new Store(undefined, 'judge')
  const core = judging(
    {
      load: async (wanted) => memory.load(wanted),
      due: async (watermark) => memory.due(watermark),
      unmerged: async () => memory.unmerged(),
    },
    [],
    () => {},
  )
  const differences: Difference[] = []
  let events = 0
  let alerts = 0
  try {
    for (const seq of numbers) {
      const block = store.block(seq)
      const entries: Entry[] = (block === undefined ? [] : unpacked(block).items).map(({ event, raw }) => {
        const parsed = JSON.parse(event) as KeyEvent // written by commit
        const record = core.engine.readsRaw ? parse(raw.toString('utf8')) : undefined
        return { feed: parsed.ingest.feed_id, event: parsed, at: Date.parse(parsed.time.event), raw: record }
      })
      let forget: number | undefined
      if (block !== undefined) await core.events(entries, block.at)
      for (const { kind, body } of store.controlsOf(seq)) {
        const last = entries.at(-1)?.event
        if (kind === 'tick') forget = await core.tick(JSON.parse(body) as Heartbeat) // written by the live judge
        if (kind === 'disabled' && last !== undefined) core.disable(JSON.parse(body) as Disabled, last) // likewise
        if (kind === 'detectors') {
          const { files, disable } = JSON.parse(body) as RecordedDetectors // written by run
          core.use(defineDetectors(files).detectors.filter(({ facts }) => !disable.includes(facts.id)))
        }
      }
      core.faulty() // what was disabled then is in the records
      memory.commit(
        {
          seq,
          at: block?.at ?? 0,
          span: [0, 0],
          control: [],
          positions: new Map(),
          rejected: [],
          ledger: [],
          ids: [],
          forget,
          counters: new Map(),
          ...core.changes(),
        },
        undefined,
      )
      const sent = store.alertsOf(seq)
      const judged = memory.alertsOf(seq)
      events += entries.length
      alerts += sent.length
      if (sent.length !== judged.length || sent.some((body, index) => body !== judged[index]))
        differences.push({ seq, sent, judged })
      onCommit(seq)
    }
  } finally {
    memory.close()
  }
  return { commits: numbers.length, events, alerts, differences }
}
