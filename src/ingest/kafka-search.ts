/**
 * Finds the partition whose next batch cannot be opened. kafkajs opens all that one fetch brought, and a failure does
 * not say which batch it was: so one partition after the other is read alone, a batch at a time, until one fails.
 */
import type { Partition } from './kafka-partition.ts'

/** What it asks the broker for: a batch is whole, however large. */
export const ONE_BATCH_BYTES = 1
/** A fetch that failed holds hardly more batches of one partition (1 MiB). */
const ENOUGH = 1000

export const startSearch = (all: Iterable<Partition>): void => {
  for (const one of all) one.opened = 0
}

/** A batch of it was opened; or all of them were. */
export const clear = (one: Partition, isRead = false): void => {
  one.opened = isRead ? ENOUGH : one.opened + 1
}

const isOver = (one: Partition) => one.stopped !== undefined || one.opened >= ENOUGH

/** The one that is read alone. */
export const suspectOf = (all: Iterable<Partition>): Partition | undefined =>
  [...all].find((one) => one.placed && !isOver(one))

/** It was none of them: whatever it was is gone, or no longer ours. */
export const isCleared = (all: Iterable<Partition>): boolean => [...all].every(isOver)
