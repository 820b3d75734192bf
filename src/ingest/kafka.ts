/**
 * Topics of Kafka as a source of `run`. Positions live in the journal; the group's offsets follow it and matter only
 * where the journal knows nothing. The group is served while reading waits: what was fetched waits in a queue, and a
 * full queue pauses fetching, not heartbeats.
 *
 * kafkajs goes on elsewhere without a word when an offset does not exist (its consumerGroup.js), so every fetch is
 * compared with the place that it was told: records that were removed before they were read are named, and the
 * partition stops.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Batch, Consumer, EachBatchPayload, Kafka } from 'kafkajs'
import { messageOf } from '../model/error.ts'
import type { Piece, Position, Source } from '../pipeline/ports.ts'
import { aborted, doubling, rest, within } from '../pipeline/waiting.ts'
import { seldom } from '../telemetry/seldom.ts'
import { goingOn, standing } from './gap.ts'
import { consumerSettings, explained, hangUp, type KafkaAccess, openKafka, rootOf } from './kafka-client.ts'
import { BatchUnreadable } from './kafka-codecs.ts'
import { acknowledgments, begin, rangesOf } from './kafka-offsets.ts'
import { gapOf, newPartition, type Partition, type Range } from './kafka-partition.ts'
import { parcelOf, parcelQueue } from './kafka-queue.ts'
import { clear, isCleared, ONE_BATCH_BYTES, startSearch, suspectOf } from './kafka-search.ts'
import { emptyPiece } from './piece.ts'

export interface KafkaOptions extends KafkaAccess {
  readonly feed_id: string
  readonly topics: readonly string[]
  readonly group: string
  /** `earliest`, `latest` or a time (RFC 3339): where a partition begins that nobody knows. */
  readonly start: string
  readonly on_gap: 'stop' | 'continue'
  /** Go on when all that is there has been read. */
  readonly follow: boolean
  onNotice(text: string): void
  /** An operator must act. */
  onAlarm(text: string): void
}

/** Between two looks at where partitions begin and end; offsets are committed as often. */
const LOOK_MS = 1000
/** What lasts is told again after this time. */
const REPEAT_MS = 10 * 60_000
/** Between two attempts to reach the cluster. */
const FIRST_WAIT_MS = 1000
const MAX_WAIT_MS = 10_000
/** A graceful stop has ten seconds for everything (architecture.md section 8). */
const COMMIT_MS = 3000

interface Session {
  readonly consumer: Consumer
  readonly admin: Admin
  assigned: ReadonlyMap<string, Partition>
  /** The group has answered. */
  joined: boolean
}

export const kafkaSource = (options: KafkaOptions): Source => {
  const { topics, group, onNotice, onAlarm } = options
  const partitions = new Map<string, Partition>()
  const acknowledged = acknowledgments()
  let session: Session | undefined

  const tell = seldom(REPEAT_MS)
  const commit = async () => session && acknowledged.commit(session.consumer, session.assigned)

  const read = async (
    known: (place: string) => Position | undefined,
    take: (piece: Piece | 'idle') => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> => {
    const done = new AbortController()
    const stop = AbortSignal.any([signal, done.signal])
    const stopped = aborted(stop)
    let news = () => {}
    const wait = doubling(FIRST_WAIT_MS, MAX_WAIT_MS)
    let isSearching = false
    const queue = parcelQueue(take, stop, () => {
      flow()
      if (!options.follow && queue.empty) news()
    })

    /** Nothing is known of what comes meanwhile: silence is not quiet. */
    const trouble = (cause: unknown) => {
      const text = explained(cause)
      tell(onNotice, `${text}; it is tried again`)
      if (queue.empty) queue.put({ bytes: 0, pieces: [emptyPiece(group, { trouble: text })] })
    }

    const put = (one: Partition, messages: Batch['messages'], next: bigint) => {
      one.next = next
      queue.put(parcelOf(one.keep, messages, next, () => acknowledged.add(one.keep, next)))
    }

    /** Pauses and resumes what should be. */
    const flow = () => {
      const all = session?.assigned.values() ?? []
      const alone = isSearching ? suspectOf(partitions.values()) : undefined
      for (const one of all) {
        const mayRead = one.placed && one.stopped === undefined && (!isSearching || one === alone)
        const should = mayRead && !queue.full && !stop.aborted
        if (should === one.flowing) continue
        one.flowing = should
        session?.consumer[should ? 'resume' : 'pause']([{ topic: one.topic, partitions: [one.number] }])
      }
    }

    const goOn = (one: Partition, at: bigint) => {
      Object.assign(one, { placed: true, passed: undefined, hidden: undefined })
      session?.consumer.seek({ topic: one.topic, partition: one.number, offset: String(at) })
      put(one, [], at)
    }

    const examine = (one: Partition, range: Range) => {
      one.high = range.high
      one.until ??= range.high
      if (one.next === undefined) return
      if (one.stopped !== undefined) return tell(onAlarm, one.stopped)
      const gap = gapOf(one, range)
      if (gap !== undefined && options.on_gap === 'continue') {
        onAlarm(goingOn(gap))
        goOn(one, gap.at)
      } else if (gap !== undefined) {
        one.stopped = standing(gap)
        tell(onAlarm, one.stopped)
        put(one, [], one.next) // kafkajs has told the group to begin anew: tell it where this one stands
      } else if (!one.placed) goOn(one, one.hidden ?? one.next)
      one.passed = one.next < range.low ? one.next : undefined
    }

    /** Looks at the partitions that are ours: what is gone, where to begin, whether anything is unread. */
    const look = async () => {
      if (session === undefined || !session.joined) return
      const { admin, assigned } = session
      for (const topic of topics) {
        const mine = [...assigned.values()].filter((one) => one.topic === topic)
        if (mine.length === 0) continue
        const ranges = await rangesOf(admin, topic)
        const fresh = mine.filter(({ next }) => next === undefined)
        const isRead = (keep: string) => partitions.get(keep)?.next !== undefined
        if (fresh.length > 0)
          await begin(admin, { topic, group, start: options.start }, fresh, ranges, known, isRead)
        for (const one of mine) {
          const range = ranges.get(one.number)
          if (range !== undefined) examine(one, range)
        }
      }
      const all = [...assigned.values()]
      const hasAll = (one: Partition, end = one.high) =>
        one.placed && one.next !== undefined && one.next >= end
      if (isSearching) for (const one of all) if (hasAll(one)) clear(one, true)
      flow()
      if (!queue.empty) return
      if (all.length > 0 && all.every((one) => one.stopped === undefined && hasAll(one))) queue.put('idle')
      if (options.follow || !all.every((one) => one.stopped !== undefined || hasAll(one, one.until))) return
      while (!queue.empty && !stop.aborted) await sleep(10)
      done.abort()
    }

    const onJoin = (own: Session, assignment: Readonly<Record<string, readonly number[]>>) => {
      const before = own.assigned
      own.assigned = new Map(
        Object.entries(assignment).flatMap(([topic, numbers]) =>
          numbers.map((number) => {
            const one = partitions.get(`${topic}/${number}`) ?? newPartition(topic, number)
            partitions.set(one.keep, one)
            return [one.keep, one] as const
          }),
        ),
      )
      own.joined = true
      wait.reset()
      for (const one of before.values()) if (!own.assigned.has(one.keep)) one.placed = false
      for (const one of own.assigned.values()) {
        if (one.placed)
          own.consumer.seek({ topic: one.topic, partition: one.number, offset: String(one.next) })
      }
      flow()
      news()
    }

    /** What is on its way when a partition is lost or stopped is not taken. */
    const isOurs = (one: Partition) =>
      session?.assigned.has(one.keep) === true && one.placed && one.stopped === undefined && !stop.aborted

    const eachBatch = async ({ batch, resolveOffset }: EachBatchPayload) => {
      const one = partitions.get(`${batch.topic}/${batch.partition}`)
      if (one === undefined || !isOurs(one)) return
      const { fetchedOffset } = batch as Batch & { readonly fetchedOffset: string } // its typings leave it out
      if (fetchedOffset !== String(one.next)) {
        one.strayed = one.strayedTo === fetchedOffset ? one.strayed + 1 : 1
        Object.assign(one, { placed: false, strayedTo: fetchedOffset })
        flow()
        return news()
      }
      one.strayed = 0
      clear(one)
      put(one, batch.messages, BigInt(batch.lastOffset()) + 1n)
      resolveOffset(batch.messages.at(-1)?.offset ?? batch.lastOffset())
      flow()
    }

    /** Records that nobody is shown: marks of transactions, and what was aborted. */
    const onHidden = (keep: string, first: string, last: string) => {
      const one = partitions.get(keep)
      if (one === undefined || !isOurs(one)) return
      const next = BigInt(last) + 1n
      clear(one)
      if (first === String(one.next)) return put(one, [], next)
      Object.assign(one, { placed: false, hidden: next })
      flow()
      news()
    }

    /** One membership of the group, from connecting to a failure. @throws what ended it */
    const serve = async (kafka: Kafka) => {
      const least = isSearching && { maxBytesPerPartition: ONE_BATCH_BYTES }
      const consumer = kafka.consumer({ groupId: group, ...consumerSettings, ...least })
      const own: Session = { consumer, admin: kafka.admin(), assigned: new Map(), joined: false }
      for (const one of partitions.values()) Object.assign(one, { placed: false, flowing: undefined })
      session = own
      const { events } = consumer
      const crashed = new Promise<never>((_, reject) => {
        consumer.on(events.CRASH, ({ payload }) => reject(payload.error))
      })
      crashed.catch(() => {}) // whoever waits for it has it
      const during = (work: Promise<unknown>) => Promise.race([work, crashed, stopped])
      consumer.on(events.GROUP_JOIN, ({ payload }) => onJoin(own, payload.memberAssignment))
      consumer.on(events.REBALANCING, () => void commit().catch(trouble)) // before the others read on from there
      consumer.on(events.END_BATCH_PROCESS, ({ payload }) => {
        if (payload.batchSize === 0)
          onHidden(`${payload.topic}/${payload.partition}`, payload.firstOffset, payload.lastOffset)
      })
      try {
        await during(Promise.all([consumer.connect(), own.admin.connect()]))
        await during(consumer.subscribe({ topics: [...topics], fromBeginning: true }))
        await during(consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch }))
        while (!stop.aborted && !(isSearching && own.joined && isCleared(own.assigned.values()))) {
          const rang = new Promise<void>((resolve) => {
            news = resolve
          })
          await during(look().then(commit).catch(trouble))
          await during(Promise.race([rang, sleep(LOOK_MS, undefined, { signal: stop })]))
        }
      } catch (cause) {
        if (!stop.aborted) throw cause
      } finally {
        if (!stop.aborted) {
          session = undefined // otherwise it is closed when what was taken is settled
          await hangUp(own.consumer, own.admin)
        }
      }
    }

    const onUnreadable = (reason: string) => {
      const one = isSearching ? suspectOf(partitions.values()) : undefined
      isSearching = one === undefined
      if (one === undefined) return startSearch(partitions.values())
      one.stopped = `${one.keep}: the batch at offset ${one.next} cannot be opened (${reason}); the partition stands: remove the batch from the topic, for example with kafka-delete-records, and start again`
      tell(onAlarm, one.stopped)
    }

    const serveAlways = async () => {
      while (!stop.aborted) {
        try {
          await serve(await openKafka(options))
          isSearching = false
        } catch (cause) {
          if (rootOf(cause) instanceof BatchUnreadable) {
            onUnreadable(messageOf(rootOf(cause)))
            continue
          }
          trouble(cause)
          await rest(wait.next(), stop)
        }
      }
    }
    await Promise.all([serveAlways(), queue.run().finally(() => done.abort())])
  }

  return {
    feed_id: options.feed_id,
    transport: 'kafka',
    read,
    async check(signal) {
      const { checkKafka } = await import('./kafka-check.ts')
      return checkKafka(options, signal)
    },
    async close() {
      if (session === undefined) return
      await within(COMMIT_MS, commit()).catch((cause) => onNotice(explained(cause)))
      await hangUp(session.consumer, session.admin)
      session = undefined
    },
  }
}
