/**
 * CloudTrail files in S3 as a source of `run`: a queue tells of new objects, each is read, and its message is deleted
 * when the commit that holds the records, and what became of the object, is durable. A message comes at least once
 * and in no order: the ledger knows which objects were read, the journal which records.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Message } from '@aws-sdk/client-sqs'
import { messageOf } from '../model/error.ts'
import { objectReasons } from '../model/outcome.ts'
import type { S3Config } from '../model/sources.ts'
import { printable } from '../normalize/text.ts'
import type { Fate, Piece, Source } from '../pipeline/ports.ts'
import { turns } from '../pipeline/turns.ts'
import { doubling } from '../pipeline/waiting.ts'
import { seldom } from '../telemetry/seldom.ts'
import { refusal } from './aws.ts'
import { emptyPiece } from './piece.ts'
import { checkS3 } from './s3-check.ts'
import { type Announced, announcementIn } from './s3-notification.ts'
import { handOver, isDecided, openBuckets, placeOf, skippedByName } from './s3-objects.ts'
import { openQueue, type Queue } from './s3-queue.ts'

export interface S3Options extends S3Config {
  readonly feed_id: string
  /** Go on when the queue is empty. */
  readonly follow: boolean
  onNotice(text: string): void
}

/** SQS waits so long for a message at most; it is found within one second when there is one. */
const LONG_WAIT_S = 20
const SHORT_WAIT_S = 1
/** Messages that wait for their commit, beside those that are read; SQS allows 120,000 in all. */
const MAX_HELD = 2000
const RETRY_MS = 1000
const MAX_RETRY_MS = 60_000
/** What waits is offered again when its message would be, then after twice that time, and so on up to this. */
const MAX_WAITING_S = 3600
/** The same trouble is told once in this time. */
const TELL_MS = 60_000
/** Under this place is kept when the source began, if it passes over what was there. */
const BEGAN = 'queue'

export const s3Source = (options: S3Options): Source => {
  const { feed_id, region, follow, onNotice } = options
  const tellSeldom = seldom(TELL_MS)
  const tell = (about: string, text: string) => tellSeldom(onNotice, printable(text), about)
  let queue: Queue | undefined
  const buckets = openBuckets(options)

  /** @returns whether it is decided for good */
  const readObject = async (
    object: Announced,
    { take, signal, fate, turn, passed }: Reading & { readonly passed: boolean },
  ): Promise<boolean> => {
    const place = placeOf(object)
    const { version } = object
    const reason = passed ? 'before_start' : skippedByName(object.key)
    const known = await fate(place)
    if (isDecided(known, version)) return true
    if (reason !== undefined) {
      const skipped: Fate = { outcome: 'skipped', reason, detail: '', version }
      await turn(() => take(emptyPiece(place, { fate: skipped })))
      return true
    }
    const fetched = await buckets.fetch(object, signal)
    const became = await turn(() => handOver(place, fetched, take, signal))
    const why = became.reason && objectReasons[became.reason]
    if (became.outcome === 'failed')
      tell(place, `${place} is lost: ${why} (${became.detail}); its records are missing from the feed`)
    if (became.outcome === 'waiting')
      tell(
        `${object.bucket} ${became.reason}`,
        `${place} waits: ${why} (${became.detail}); it is tried again`,
      )
    return became.outcome !== 'waiting'
  }

  const handle = async (message: Message, own: Queue, reading: Reading) => {
    const { Body: body = '', MessageId: id = '', Attributes: attributes = {} } = message
    const { take, turn, since } = reading
    const settle = async () => own.finish(message)
    const passed = Number(attributes.SentTimestamp) < since
    const found = announcementIn(body)
    const place = `sqs:${id}`
    const close = (piece: Partial<Piece>) => turn(() => take(emptyPiece(place, { ...piece, settle })))
    if (found.kind === 'other' && !passed) return close({ bytes: Buffer.from(body) })
    if (found.kind === 'invalid')
      tell('invalid', `${place} of ${options.queue} names an object that cannot be: the message is dropped`)
    if (found.kind !== 'objects') return close({ fate: fateOfMessage[found.kind] })
    let decided = true
    for (const object of found.objects)
      if (!(await readObject(object, { ...reading, passed }))) decided = false
    if (decided) return close({})
    const times = Number(attributes.ApproximateReceiveCount ?? 1)
    await own.giveBack(
      message,
      Math.min(options.visibility_seconds * 2 ** Math.min(times - 1, 10), MAX_WAITING_S),
    )
  }

  return {
    feed_id,
    transport: 's3',
    async read(known, take, signal, fate) {
      const own = await openQueue(options, (text) => tell('queue', `${options.queue}: ${text}`))
      queue = own
      let since = Number(known(BEGAN)?.['since'] ?? 0)
      if (options.start === 'end' && known(BEGAN) === undefined) {
        since = Date.now()
        await take(emptyPiece(BEGAN, { position: () => ({ since }) }))
      }
      const failed = new AbortController()
      const stop = AbortSignal.any([signal, failed.signal])
      const reading: Reading = { take, signal: stop, fate, turn: turns(), since }
      const underWay = new Set<Promise<void>>()
      let wait = SHORT_WAIT_S
      /** @returns what came; waits as long as the queue cannot be asked */
      const receive = async (max: number, waitSeconds: number): Promise<readonly Message[]> => {
        for (const wait = doubling(RETRY_MS, MAX_RETRY_MS); ; )
          try {
            return await own.receive(max, waitSeconds, stop)
          } catch (cause) {
            stop.throwIfAborted()
            const why = refusal(cause, 'sqs:ReceiveMessage', options.queue)
            tell('receive', `${options.queue} cannot be read and is tried again: ${why}`)
            await take(emptyPiece(BEGAN, { trouble: `${options.queue}: ${why}` }))
            await sleep(wait.next(), undefined, { signal: stop })
          }
      }
      try {
        for (;;) {
          while (underWay.size >= options.objects) await Promise.race(underWay)
          while (own.held >= MAX_HELD) await sleep(20, undefined, { signal: stop })
          const messages = await receive(options.objects - underWay.size, wait)
          for (const message of messages) {
            const handled: Promise<void> = handle(message, own, reading)
              .catch((cause) => failed.abort(cause))
              .finally(() => underWay.delete(handled))
            underWay.add(handled)
          }
          stop.throwIfAborted()
          if (messages.length > 0) wait = SHORT_WAIT_S
          else if (underWay.size > 0) await Promise.race(underWay)
          else {
            await take('idle')
            if (!follow) return
            wait = LONG_WAIT_S
          }
        }
      } catch (cause) {
        if (!signal.aborted) throw failed.signal.aborted ? failed.signal.reason : cause
      } finally {
        await Promise.allSettled(underWay)
      }
    },
    check: (signal) => checkS3(options, signal),
    async close() {
      await queue
        ?.close()
        .catch((cause) => tell('queue', `${options.queue} in ${region}: ${messageOf(cause)}`))
      buckets.close()
    },
  }
}

const ofMessage = (outcome: Fate['outcome'], reason: Fate['reason']): Fate => ({
  outcome,
  reason,
  detail: '',
  version: '',
})
/** What becomes of messages that name no object to be read. */
const fateOfMessage = {
  nothing: ofMessage('skipped', 'notification'),
  invalid: ofMessage('failed', 'unreadable'),
  other: ofMessage('skipped', 'before_start'),
} as const

interface Reading {
  take(piece: Piece | 'idle'): Promise<void>
  readonly signal: AbortSignal
  fate(place: string): Promise<Fate | undefined>
  turn<T>(work: () => Promise<T>): Promise<T>
  /** Messages sent before it are passed over; milliseconds since 1970. */
  readonly since: number
}
