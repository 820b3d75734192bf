/** History beside `run`: a process that writes it, started again when it fails; its cursor holds the journal. */
import { fork } from 'node:child_process'
import { extname } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ALERT_SCHEMA_VERSION, type Alert } from '../model/alert.ts'
import { sha256 } from '../normalize/text.ts'
import type { Journal } from '../pipeline/ports.ts'
import { HISTORY } from './history-where.ts'
import type { WorkerNews, WorkerTask } from './history-worker.ts'

export interface HistoryRun {
  readonly task: WorkerTask
  readonly journal: Journal
  /** Seal what is there when the signal comes, then end. */
  readonly closing: AbortSignal
  onCheckpoint(news: CheckpointNews): Promise<void>
  onNotice(text: string): void
}

const FIRST_WAIT_MS = 1000
const MAX_WAIT_MS = 60_000

/** One process, until it ends. @returns why it failed, if it did */
const once = ({ task, journal, closing, onCheckpoint }: HistoryRun, signal: AbortSignal) =>
  new Promise<{ reason: string; isFault: boolean } | undefined>((resolve, reject) => {
    const child = fork(
      fileURLToPath(new URL(`./history-worker${extname(import.meta.url)}`, import.meta.url)),
      [JSON.stringify(task)],
    )
    let failure: { reason: string; isFault: boolean } | undefined
    let settled = Promise.resolve()
    const drain = () => child.connected && child.send('drain')
    const end = () => child.kill('SIGKILL')
    closing.addEventListener('abort', drain)
    signal.addEventListener('abort', end)
    if (closing.aborted) drain()
    child.on('message', (news: WorkerNews) => {
      if (news.kind === 'checkpoint') return void onCheckpoint(news).catch(reject)
      if (news.kind === 'trouble') {
        failure = news
        return
      }
      const { feed, alerts, ...memo } = news.cursor
      settled = settled
        .then(() => journal.settle(HISTORY, { feed, alerts, passed: 0, memo }, []))
        .then(() => journal.trouble(HISTORY, undefined))
    })
    child.on('error', reject)
    child.on('exit', (code, killed) => {
      closing.removeEventListener('abort', drain)
      signal.removeEventListener('abort', end)
      const ended =
        code === 0 ? undefined : { reason: `its process ended with ${killed ?? code}`, isFault: false }
      settled.then(() => resolve(failure ?? ended), reject)
    })
  })

/** @param signal ends at once; what was not sealed is sealed after a restart */
export const writeHistory = async (options: HistoryRun, signal: AbortSignal): Promise<void> => {
  const { journal, onNotice } = options
  await journal.settle(HISTORY, await journal.cursor(HISTORY), []) // from now on nothing it does not have is trimmed
  let since = 0
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, MAX_WAIT_MS)) {
    const begun = Date.now()
    const failure = await once(options, signal)
    if (failure === undefined || signal.aborted) return
    if (since === 0 || Date.now() - begun > MAX_WAIT_MS) {
      wait = FIRST_WAIT_MS
      since = Date.now() // it worked for a while
    }
    onNotice(`${HISTORY}: ${failure.reason}; it is tried again, nothing is lost`)
    await journal.trouble(HISTORY, { since, reason: failure.reason, fault: failure.isFault })
    await setTimeout(failure.isFault ? MAX_WAIT_MS : wait, undefined, { signal }).catch(() => {}) // it ends
    if (signal.aborted) return
  }
}

type CheckpointNews = Extract<WorkerNews, { kind: 'checkpoint' }>

/**
 * A checkpoint as the sinks get it: whoever has an older one proves that history was rewritten or set back.
 * @param at milliseconds since 1970
 */
export const checkpointAlert = ({ note, state }: CheckpointNews, at: number): Alert => {
  const time = new Date(at).toISOString()
  return {
    schema_version: ALERT_SCHEMA_VERSION,
    alert_id: sha256(note).slice(0, 32),
    revision: 1,
    kind: 'signal',
    status: 'new',
    detector: { id: 'history-checkpoint', version: 1, content_hash: sha256('history-checkpoint 1') },
    severity: 'info',
    title: 'Checkpoint of the history',
    explanation: `${state.tree.size} records are sealed. The checkpoint, for keytrail verify --checkpoint:\n${note}`,
    entity: {},
    provider: 'keytrail',
    account: '',
    window: { start: time, end: time },
    time: { first_event: time, last_event: time },
    observed: state.tree.size,
    threshold: 0,
    evidence: { event_ids: [state.sha256], total: 1, sample: [] },
    labels: { manifest: String(state.number), root: state.tree.root },
    attack: [],
    controls: [],
    triage: [
      'Nothing is wrong: one comes each hour.',
      'Keep it where nobody who runs Keytrail can change it.',
      'Hours without one mean that history is not written: look at keytrail status.',
    ],
  }
}
