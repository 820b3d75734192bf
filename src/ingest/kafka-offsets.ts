/** What the cluster says about offsets: where partitions begin and end, and what a group has acknowledged. */
import type { Admin, Consumer } from 'kafkajs'
import type { Position } from '../pipeline/ports.ts'
import { beginningOf, journaledAt, type Partition, type Range } from './kafka-partition.ts'

/** By number of the partition. */
export const rangesOf = async (admin: Admin, topic: string): Promise<ReadonlyMap<number, Range>> =>
  new Map(
    (await admin.fetchTopicOffsets(topic)).map(({ partition, low, high }) => [
      partition,
      { low: BigInt(low), high: BigInt(high) },
    ]),
  )

/**
 * Finds where partitions begin that this process has not read before.
 * @param known position in the journal
 * @param isRead whether this process reads a partition already
 */
export const begin = async (
  admin: Admin,
  { topic, group, start }: { readonly topic: string; readonly group: string; readonly start: string },
  fresh: readonly Partition[],
  ranges: ReadonlyMap<number, Range>,
  known: (place: string) => Position | undefined,
  isRead: (place: string) => boolean,
): Promise<void> => {
  const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  const committed = new Map(found?.partitions.map(({ partition, offset }) => [partition, BigInt(offset)]))
  const time = Date.parse(start)
  const times = Number.isNaN(time) ? [] : await admin.fetchTopicOffsetsByTimestamp(topic, time)
  const atTime = new Map(times.map(({ partition, offset }) => [partition, BigInt(offset)]))
  const added = [...ranges.keys()]
    .map((number) => `${topic}/${number}`)
    .some((keep) => known(keep) !== undefined || isRead(keep))
  for (const one of fresh) {
    const range = ranges.get(one.number)
    if (range === undefined) continue
    const acknowledged = committed.get(one.number) ?? -1n
    one.next = beginningOf(
      {
        journaled: journaledAt(known(one.keep)),
        committed: acknowledged < 0n ? undefined : acknowledged,
        added,
        start,
        atTime: atTime.get(one.number),
      },
      range,
    )
  }
}

/** What the journal holds and the group does not know yet. */
export const acknowledgments = () => {
  const settled = new Map<string, bigint>()
  return {
    add(keep: string, next: bigint) {
      settled.set(keep, next)
    },
    /** Offsets of a partition that was lost are its new owner's business. @throws when the group does not take them */
    async commit(consumer: Consumer, assigned: ReadonlyMap<string, Partition>): Promise<void> {
      const due = [...settled]
      settled.clear()
      const offsets = due.flatMap(([keep, next]) => {
        const one = assigned.get(keep)
        return one ? [{ topic: one.topic, partition: one.number, offset: String(next) }] : []
      })
      try {
        if (offsets.length > 0) await consumer.commitOffsets(offsets)
      } catch (cause) {
        for (const [keep, next] of due) if (!settled.has(keep)) settled.set(keep, next)
        throw cause
      }
    },
  }
}
