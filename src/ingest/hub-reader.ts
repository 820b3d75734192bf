/**
 * Reads the partitions of event hubs, each over a connection of its own that is used once: whatever ends it, the
 * partition is opened anew where it stands.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { EventHubConsumerClient, ReceivedEventData } from '@azure/event-hubs'
import type { EventHubsConfig } from '../model/sources.ts'
import type { Piece, Position } from '../pipeline/ports.ts'
import { aborted, doubling, rest, within } from '../pipeline/waiting.ts'
import { goingOn, standing } from './gap.ts'
import type { CheckpointAccess, hubCheckpoints } from './hub-checkpoints.ts'
import { explainedHub, isStolen, MOST_EVENTS, openHub, tame } from './hub-client.ts'
import {
  begin,
  gapOf,
  type HubPartition,
  isRead,
  pass,
  positionOf,
  restore,
  startOf,
  weigh,
} from './hub-partition.ts'
import { emptyPiece, NOTHING } from './piece.ts'

export interface EventHubsOptions
  extends CheckpointAccess,
    Pick<EventHubsConfig, 'hubs' | 'start' | 'on_gap' | 'prefetch_bytes' | 'stall_seconds'> {
  readonly feed_id: string
  /** Go on when all that is there has been read. */
  readonly follow: boolean
  onNotice(text: string): void
  /** An operator must act. */
  onAlarm(text: string): void
}

/** What all partitions of a source have in common while it reads. */
export interface Reading {
  readonly options: EventHubsOptions
  readonly stop: AbortSignal
  readonly partitions: ReadonlyMap<string, HubPartition>
  known(place: string): Position | undefined
  take(piece: Piece): Promise<void>
  /** The same text once in a while. */
  tell(say: (text: string) => void, text: string): void
  /** Closes a connection without waiting for it. */
  hangUp(closed: Promise<void>): void
  readonly checkpoints: ReturnType<typeof hubCheckpoints>
}

/** Between two looks at how far a partition goes. */
export const LOOK_MS = 2000
/** Waits after failures double between these; a reader that lost its partition is more patient. */
export const FIRST_WAIT_MS = 500
const STOLEN_WAIT_MS = 4000
export const MAX_WAIT_MS = 30_000
/**
 * Of all readers of a group one reads a partition: the last that came with this level, or a higher one. The client
 * takes 0 for none, and then several read.
 */
const OWNER_LEVEL = 1
/** Of opening a partition; not everything that the client waits for has an end of its own. */
const OPEN_MS = 30_000
/** Failures of what is not used any more. */
export const unused = () => {}

/** Waits for something unless the connection, or all of it, ends before. */
type During = <T>(work: Promise<T>) => Promise<T>

class Stalled extends Error {}
class Jumped extends Error {}

/** Bytes of an event. One that is no data (AMQP value or sequence) is written as JSON. */
const bytesOf = (body: unknown): Buffer => {
  if (Buffer.isBuffer(body)) return body
  if (body === undefined || body === null) return NOTHING
  if (Array.isArray(body) && body.every(Buffer.isBuffer)) return Buffer.concat(body)
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
}

export const hubReader = ({ options, stop, partitions, known, take, tell, hangUp, checkpoints }: Reading) => {
  const { start, on_gap, onNotice, onAlarm } = options
  const stallMs = options.stall_seconds * 1000
  const stopped = aborted(stop)

  const keepPlace = (
    one: HubPartition,
    sequence: number,
    offset: string | undefined,
    bytes: Buffer = NOTHING,
  ) =>
    take(
      emptyPiece(`${one.keep}@${sequence}`, {
        keep: one.keep,
        bytes,
        position: () => positionOf(sequence, offset),
        ...(checkpoints.isOn && { settle: async () => checkpoints.settled(one, sequence, offset) }),
      }),
    )

  /** Nothing is known of what comes meanwhile: silence is not quiet. */
  const trouble = (place: string, cause: unknown) => {
    const text = `${place}: ${explainedHub(cause)}`
    tell(onNotice, `${text}; it is tried again`)
    return take(emptyPiece(place, { trouble: text }))
  }

  /** Hands events over until `isLive` says that another connection has the partition. */
  const handOver = async (one: HubPartition, events: readonly ReceivedEventData[], isLive: () => boolean) => {
    for (const { sequenceNumber, offset, body } of events) {
      if (!isLive() || stop.aborted) return
      if (one.next !== undefined && sequenceNumber < one.next) continue // it comes again after a new beginning
      if (one.next !== undefined && sequenceNumber > one.next) {
        one.jumps++
        one.jumpedTo = sequenceNumber
        throw new Jumped(`${sequenceNumber} came where ${one.next} was to come`)
      }
      const bytes = bytesOf(body)
      weigh(one, bytes.length)
      await keepPlace(one, sequenceNumber, offset, bytes)
      Object.assign(one, { next: sequenceNumber + 1, offset, jumps: 0, moved: performance.now() })
    }
  }

  const look = async (one: HubPartition, client: EventHubConsumerClient) => {
    const there = await client.getPartitionProperties(one.id, { abortSignal: stop })
    one.end = there.lastEnqueuedSequenceNumber + 1
    one.until ??= one.end
    one.looked = performance.now()
    if (isRead(one)) one.moved = one.looked
    return there
  }

  /** Where to go on. @returns false when the partition stands */
  const place = async (one: HubPartition, client: EventHubConsumerClient): Promise<boolean> => {
    const there = await look(one, client)
    if (one.next === undefined) {
      const mark = await checkpoints.known(one)
      const added = [...partitions.values()].some(
        ({ hub, keep }) => hub === one.hub && known(keep) !== undefined,
      )
      if (mark !== undefined) restore(one, positionOf(mark.sequenceNumber, mark.offset))
      if (mark !== undefined || begin(one, added ? 'earliest' : start, there))
        await keepPlace(one, (one.next ?? 0) - 1, one.offset)
    }
    const gap = gapOf(one, there)
    if (gap === undefined) return true
    if (on_gap === 'stop') {
      one.stopped = standing(gap)
      return false
    }
    onAlarm(goingOn(gap))
    pass(one, gap, there)
    await keepPlace(one, gap.at - 1, one.offset)
    return true
  }

  const watch = async (one: HubPartition, client: EventHubConsumerClient, during: During) => {
    let why: unknown
    while (!stop.aborted) {
      await during(rest(LOOK_MS, stop))
      const looking = look(one, client).catch((cause) => {
        why = cause // reading may go on all the same
      })
      await during(within(Math.min(stallMs, OPEN_MS), looking))
      if (one.busy) one.moved = performance.now()
      if (performance.now() - one.moved < stallMs) continue
      throw new Stalled(
        `${one.keep} has given nothing for ${options.stall_seconds} s${why === undefined ? `, and has events up to ${one.end - 1}` : ` (${explainedHub(why)})`}`,
      )
    }
  }

  /** One connection. @throws what ended it */
  const serve = async (one: HubPartition) => {
    const client = await openHub(options, one.hub)
    let isLive = true
    let handing = Promise.resolve()
    const { promise: broken, reject: end } = Promise.withResolvers<never>()
    broken.catch(() => {}) // whoever waits for it has it
    const during: During = (work) => Promise.race([work, broken, stopped])
    const share = options.prefetch_bytes / partitions.size
    const close = tame(
      client,
      () => Math.min(MOST_EVENTS, Math.floor(share / one.largest)),
      () => end(new Error('the connection was cut')),
    )
    try {
      one.moved = performance.now()
      const late = sleep(OPEN_MS, undefined, { ref: false }).then(() => {
        throw new Error(`no answer within ${OPEN_MS / 1000} s`)
      })
      late.catch(unused)
      if (!(await during(Promise.race([place(one, client), late])))) return
      client.subscribe(
        one.id,
        {
          async processEvents(events) {
            if (!isLive || events.length === 0) return
            one.busy = true
            handing = handOver(one, events, () => isLive)
              .catch(end) // the client would pass over what follows
              .finally(() => {
                one.busy = false
              })
            await handing
          },
          async processError(cause) {
            end(cause)
          },
          async processClose() {
            end(new Error('the client stopped reading'))
          },
        },
        {
          startPosition: startOf(one, start),
          ownerLevel: OWNER_LEVEL,
          maxBatchSize: 100,
          maxWaitTimeInSeconds: 1,
          prefetchCount: MOST_EVENTS,
          skipParsingBodyAsJson: true,
        },
      )
      await watch(one, client, during)
    } finally {
      isLive = false
      await handing
      hangUp(close())
    }
  }

  const readPartition = async (one: HubPartition) => {
    const position = known(one.keep)
    if (position !== undefined) restore(one, position)
    const wait = doubling(FIRST_WAIT_MS, MAX_WAIT_MS)
    while (!stop.aborted && one.stopped === undefined) {
      const before = one.next
      try {
        await serve(one)
      } catch (cause) {
        if (stop.aborted) return
        if (one.next !== before) wait.reset()
        const stolen = isStolen(cause)
        if (stolen)
          tell(
            onNotice,
            `${one.keep}: another reader of the consumer group took it over; it is taken back later`,
          )
        else if (cause instanceof Stalled) tell(onNotice, `${cause.message}: it is opened anew`)
        else if (!(cause instanceof Jumped)) await trouble(one.keep, cause)
        await rest(wait.next(stolen ? STOLEN_WAIT_MS : undefined) * (0.5 + Math.random() / 2), stop)
      }
    }
  }

  return { readPartition, trouble }
}
