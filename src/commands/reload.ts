/** `keytrail reload`: has the running service load its configuration again, and says what became of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Store } from '../journal/store.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { printable } from '../normalize/text.ts'
import { dataFolder, type Where } from './where.ts'

export interface ReloadOptions extends Where {
  readonly json: boolean
}

/** The body of a `reload` record. */
export type Reloaded =
  | { readonly taken: true; readonly sinks: readonly string[]; readonly sources: readonly string[] }
  | { readonly taken: false; readonly reason: string }

const POLL_MS = 100
/** Sinks have five seconds to settle, and sources what their last batch takes. */
const PATIENCE_MS = 60_000

const last = (store: Store, kind: string) => [...store.controls(kind)].at(-1)

const tell = (outcome: Reloaded): string => {
  if (!outcome.taken)
    return `REFUSED, the running configuration stays:\n${outcome.reason.split('\n').map(printable).join('\n')}\n`
  const changed = [...outcome.sinks, ...outcome.sources].map(printable).join(', ')
  return `taken${changed === '' ? '' : `; replaced: ${changed}`}\n`
}

/** @returns 1 when it is refused */
export const reload = async (options: ReloadOptions, signal: AbortSignal): Promise<number> => {
  const folder = dataFolder(options)
  const store = new Store(folder, 'reader')
  try {
    const { pid } = JSON.parse(last(store, 'start')?.body ?? '{}') as { pid?: number } // written by run
    if (!store.isLocked() || pid === undefined)
      throw new KeytrailError('run.missing', `no keytrail runs on ${folder}`)
    const before = last(store, 'reload')?.n ?? 0
    try {
      process.kill(pid, 'SIGHUP')
    } catch (cause) {
      throw new KeytrailError('run.missing', `cannot reach process ${pid}: ${messageOf(cause)}`, { cause })
    }
    for (const until = Date.now() + PATIENCE_MS; Date.now() < until; ) {
      await sleep(POLL_MS, undefined, { signal })
      const found = last(store, 'reload')
      if (found === undefined || found.n <= before) continue
      const outcome = JSON.parse(found.body) as Reloaded // likewise
      process.stdout.write(options.json ? `${found.body}\n` : tell(outcome))
      return outcome.taken ? 0 : 1
    }
    throw new KeytrailError('run.missing', `process ${pid} has not answered within ${PATIENCE_MS / 1000} s`)
  } finally {
    store.close()
  }
}
