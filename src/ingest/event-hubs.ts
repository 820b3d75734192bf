/**
 * Azure Event Hubs as a source of `run`. The service acknowledges nothing: who reads says where to go on, and that is
 * in the journal, one position for each partition. What the vendor's client would repair without a word closes its
 * connection (`hub-reader.ts`); so does silence of a partition that has events. Another reader that takes a partition over
 * is no error; it is taken back later.
 */
import type { EventHubConsumerClient } from '@azure/event-hubs'
import type { Piece, Source } from '../pipeline/ports.ts'
import { turns } from '../pipeline/turns.ts'
import { doubling, rest, within } from '../pipeline/waiting.ts'
import { seldom } from '../telemetry/seldom.ts'
import { hubCheckpoints } from './hub-checkpoints.ts'
import { openHub } from './hub-client.ts'
import { type HubPartition, isRead, newHubPartition } from './hub-partition.ts'
import {
  type EventHubsOptions,
  FIRST_WAIT_MS,
  hubReader,
  LOOK_MS,
  MAX_WAIT_MS,
  unused,
} from './hub-reader.ts'

/** Between two looks for partitions that were added. */
const LIST_MS = 60_000
/** Between two times that checkpoints are written: they cost as events do. */
const CHECKPOINT_MS = 10_000
/** The same trouble is told again after this time. */
const REPEAT_MS = 600_000
/** A graceful stop has ten seconds for everything (architecture.md section 8). */
const CLOSE_MS = 2000

export const eventHubs = (options: EventHubsOptions): Source => {
  const { hubs, follow, onAlarm } = options
  const tell = seldom(REPEAT_MS)
  const checkpoints = hubCheckpoints(options, (text) => tell(options.onNotice, text))

  const read: Source['read'] = async (known, give, signal) => {
    const done = new AbortController()
    const stop = AbortSignal.any([signal, done.signal])
    const closing = new Set<Promise<void>>()
    /** A connection that is lost closes slowly: nobody waits for it before the end. */
    const hangUp = (closed: Promise<void>) => {
      const one = closed.catch(unused).finally(() => closing.delete(one))
      closing.add(one)
    }
    const partitions = new Map<string, HubPartition>()
    const listed = new Set<string>()
    let failure: unknown
    /** One piece after the other, whichever partition it is of. */
    const inTurn = turns()
    const take = (piece: Piece | 'idle') =>
      inTurn(async () => {
        if (!stop.aborted) await give(piece)
      }).catch((cause) => {
        failure ??= cause // the loop has failed, and ends
        done.abort()
      })

    const { readPartition, trouble } = hubReader({
      options,
      stop,
      partitions,
      known,
      take,
      tell,
      hangUp,
      checkpoints,
    })
    const reading: Promise<void>[] = []
    /** Finds the partitions of a hub, and those that are added. */
    const readHub = async (hub: string) => {
      const wait = doubling(FIRST_WAIT_MS, MAX_WAIT_MS)
      while (!stop.aborted) {
        let restMs = LIST_MS
        let client: EventHubConsumerClient | undefined
        try {
          client = await openHub(options, hub)
          const { partitionIds } = await client.getEventHubProperties({ abortSignal: stop })
          const fresh = partitionIds
            .map((id) => newHubPartition(hub, id))
            .filter(({ keep }) => !partitions.has(keep))
          for (const one of fresh) partitions.set(one.keep, one)
          for (const one of fresh) reading.push(readPartition(one))
          listed.add(hub)
          wait.reset()
        } catch (cause) {
          if (!stop.aborted) await trouble(hub, cause)
          restMs = wait.next()
        } finally {
          if (client !== undefined) await within(CLOSE_MS, client.close().catch(unused))
        }
        await rest(restMs, stop)
      }
    }

    /** Says when nothing is unread, and ends when that is all that is asked. */
    const survey = async () => {
      while (!stop.aborted) {
        await rest(LOOK_MS / 4, stop)
        const all = [...partitions.values()]
        for (const { stopped: why } of all) if (why !== undefined) tell(onAlarm, why)
        if (listed.size < hubs.length || stop.aborted) continue
        const recently = performance.now() - 3 * LOOK_MS
        if (all.every((one) => isRead(one) && one.looked > recently)) await take('idle')
        const isDone = (one: HubPartition) => one.stopped !== undefined || isRead(one, one.until)
        if (!follow && all.every((one) => one.until !== undefined && isDone(one))) done.abort()
      }
    }

    const writeCheckpoints = async () => {
      while (checkpoints.isOn && !stop.aborted) {
        await rest(CHECKPOINT_MS, stop)
        await checkpoints.flush()
      }
    }

    await Promise.all([survey(), writeCheckpoints(), ...hubs.map(readHub)])
    await Promise.all(reading)
    await within(CLOSE_MS, Promise.all(closing))
    if (failure !== undefined) throw failure
  }

  return {
    feed_id: options.feed_id,
    transport: 'event_hubs',
    read,
    async check(signal) {
      const { checkEventHubs } = await import('./event-hubs-check.ts')
      return checkEventHubs(options, signal)
    },
    close: async () => void (await within(CLOSE_MS, checkpoints.flush())),
  }
}
