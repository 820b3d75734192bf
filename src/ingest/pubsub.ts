/**
 * Google Pub/Sub as a source of `run`: messages are streamed, kept from others while they wait, and acknowledged when
 * the commit that holds them is durable. What comes again, the journal knows by its log entry (log name, time, insertId),
 * whatever message it is in. A stream that ends, for a reason or without one, is opened anew.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Message, PubSub } from '@google-cloud/pubsub'
import type { PubSubConfig } from '../model/sources.ts'
import { printable } from '../normalize/text.ts'
import type { Piece, Source } from '../pipeline/ports.ts'
import { turns } from '../pipeline/turns.ts'
import { seldom } from '../telemetry/seldom.ts'
import { NOTHING } from './piece.ts'
import { explainedPubSub, mayConsume, openPubSub } from './pubsub-client.ts'

export interface PubSubOptions extends Omit<PubSubConfig, 'type'> {
  readonly feed_id: string
  /** Go on when all that is there has been read. */
  readonly follow: boolean
  onNotice(text: string): void
}

/** What is known of one subscription while it is read. */
interface Feed {
  readonly name: string
  /** Messages published before it are passed over; milliseconds since 1970. */
  since: number
  /** In the order they came. */
  readonly waiting: Message[]
  /** Those that wait, and those that were taken and have no commit yet. */
  readonly held: Set<Message>
  isTaking: boolean
  /** When its stream was opened, if it has one, and when the last message came: milliseconds of a steady clock. */
  opened: number | undefined
  heard: number
  /** Something waits. */
  wake(): void
}

const LOOK_MS = 500
/** A message that is there comes within a second; a stream without one for so long has none. */
const QUIET_MS = 2000
/** Between two questions whether the service answers, while it is quiet. */
const ASK_MS = 10_000
/** Waits after failures double between these. */
const FIRST_WAIT_MS = 250
const MAX_WAIT_MS = 30_000
/** The service ends streams after some minutes, which says nothing; one that ends before, and brought nothing, has a reason. */
const USUAL_MS = 10_000
/** Leases are renewed for so long at least: a process that stands still for a while keeps them. The service allows 600. */
const DEADLINE_S = 30
/** A graceful stop has ten seconds for everything (architecture.md section 8). */
const CLOSE_MS = 4000
/** The client would wait for five minutes, and hold the process as long. */
const CONNECT_MS = 5000
/** The same trouble is told once in this time. */
const TELL_MS = 60_000
const unused = () => {}

/** Messages waited for longer than their lease. */
class Standing extends Error {}

export const pubSub = (options: PubSubOptions): Source => {
  const { follow, onNotice, start } = options
  const seldomTold = seldom(TELL_MS)
  const tell = (about: string, text: string) => seldomTold(onNotice, printable(text), about)
  const feeds = options.subscriptions.map(
    (name): Feed => ({
      name,
      since: 0,
      waiting: [],
      held: new Set(),
      isTaking: false,
      opened: undefined,
      heard: Number.NEGATIVE_INFINITY,
      wake: unused,
    }),
  )
  let client: PubSub | undefined
  const closing = new Set<Promise<unknown>>()

  const acknowledge = ({ name, held }: Feed, message: Message) => {
    held.delete(message)
    message.ackWithResponse().catch((cause) => {
      tell(
        `ack ${name}`,
        `${name}: a message was not acknowledged and comes again: ${explainedPubSub(cause)}`,
      )
    })
  }
  /** They come again at once. */
  const giveBack = ({ held }: Feed, messages: Iterable<Message>) => {
    for (const message of messages) {
      held.delete(message)
      message.nack()
    }
  }

  const read: Source['read'] = async (known, give, signal) => {
    const { Duration, SubscriptionCloseBehaviors } = await import('@google-cloud/pubsub')
    const done = new AbortController()
    const stop = AbortSignal.any([signal, done.signal])
    const rest = (ms: number) => sleep(ms, undefined, { signal: stop }).catch(unused) // loops look themselves
    stop.addEventListener('abort', () => {
      for (const { wake } of feeds) wake()
    })
    let failure: unknown
    const inTurn = turns()
    const take = (piece: Piece | 'idle') =>
      inTurn(async () => {
        if (!stop.aborted) await give(piece)
      }).catch((cause) => {
        failure ??= cause // the loop has failed, and ends
        done.abort()
      })
    const nothingOf = (place: string, more: Partial<Piece>) =>
      take({ place, bytes: NOTHING, ends: true, position: () => undefined, ...more })
    /** Nothing is known of what comes meanwhile: silence is not quiet. */
    const trouble = ({ name }: Feed, text: string) => {
      tell(name, `${name}: ${text}; it is tried again`)
      return nothingOf(name, { trouble: `${name}: ${text}` })
    }

    let opened: PubSub | undefined
    for (let wait = FIRST_WAIT_MS; opened === undefined; wait = Math.min(wait * 2, MAX_WAIT_MS)) {
      try {
        opened = await openPubSub(options)
      } catch (cause) {
        for (const one of feeds) await trouble(one, explainedPubSub(cause))
        await rest(wait)
        if (stop.aborted) return
      }
    }
    const own = opened
    client = own

    const lease = Duration.from({ seconds: options.lease_seconds })
    const deadline = Math.min(DEADLINE_S, options.lease_seconds)
    const settings = {
      flowControl: { maxMessages: options.prefetch_messages, maxBytes: options.prefetch_bytes },
      minAckDeadline: Duration.from({ seconds: deadline }),
      maxExtensionTime: lease,
      // of several streams, one that ends without an error is not opened again
      streamingOptions: { maxStreams: 1, timeout: CONNECT_MS },
      closeOptions: { behavior: SubscriptionCloseBehaviors.WaitForProcessing, timeout: lease },
    }

    /** One stream. Messages that it brought outlive it. @throws what ended it */
    const serve = async (one: Feed) => {
      const { promise: over, reject: end } = Promise.withResolvers<never>()
      over.catch(unused) // whoever waits for it has it
      const subscription = own.subscription(one.name, settings)
      subscription.on('error', end)
      subscription.on('close', () => end(new Error('the client stopped reading')))
      subscription.on('debug', ({ error }) => {
        if (error === undefined) return
        if ('ackIds' in error)
          tell(
            `ack ${one.name}`,
            `${one.name}: ${explainedPubSub(error)}; what was not acknowledged comes again`,
          )
        else end(error) // the client would open it again without a word; who is here for good knows more
      })
      subscription.on('message', (message: Message) => {
        one.held.add(message)
        one.waiting.push(message)
        one.heard = performance.now()
        one.wake()
      })
      one.opened = performance.now()
      const watch = async () => {
        while (!stop.aborted) {
          await rest(LOOK_MS)
          const [oldest] = one.waiting
          if (oldest !== undefined && Date.now() - oldest.received > options.lease_seconds * 1000)
            throw new Standing()
        }
      }
      try {
        await Promise.race([over, watch()])
      } finally {
        one.opened = undefined
        const closed: Promise<unknown> = subscription
          .close()
          .catch(unused) // it is not used again
          .finally(() => closing.delete(closed))
        closing.add(closed)
      }
    }

    const readOne = async (one: Feed) => {
      one.since = Number(known(one.name)?.['since'] ?? beginOf(start))
      await nothingOf(one.name, { position: () => ({ since: one.since }) })
      for (let wait = FIRST_WAIT_MS; !stop.aborted; ) {
        const began = performance.now()
        try {
          await serve(one)
        } catch (cause) {
          if (cause instanceof Standing) {
            giveBack(one, one.waiting.splice(0))
            tell(
              `lease ${one.name}`,
              `${one.name}: messages waited for ${options.lease_seconds} s and were given back; they are read when reading goes on`,
            )
          } else if (one.heard > began || performance.now() - began > USUAL_MS) wait = FIRST_WAIT_MS
          else await trouble(one, explainedPubSub(cause))
          await rest(wait * (0.5 + Math.random() / 2))
          wait = Math.min(wait * 2, MAX_WAIT_MS)
        }
        while ((one.waiting.length > 0 || one.isTaking) && !stop.aborted) await rest(LOOK_MS / 10)
      }
    }

    const pump = async (one: Feed) => {
      while (!stop.aborted) {
        const message = one.waiting.shift()
        if (message === undefined) {
          await new Promise<void>((resolve) => {
            one.wake = resolve
          })
          continue
        }
        one.isTaking = true
        await nothingOf(`${one.name}@${message.id}`, {
          ...(message.publishTime.getTime() >= one.since && { bytes: message.data }),
          settle: async () => acknowledge(one, message),
        })
        one.isTaking = false
      }
    }

    const isQuiet = ({ waiting, isTaking, opened, heard }: Feed) =>
      waiting.length === 0 &&
      !isTaking &&
      opened !== undefined &&
      performance.now() - Math.max(opened, heard) > QUIET_MS
    /** The service says nothing about what is unread: a quiet stream is empty if the service answers meanwhile. */
    const answers = async (one: Feed) => {
      try {
        await mayConsume(own, one.name)
        return true
      } catch (cause) {
        await trouble(one, explainedPubSub(cause))
        return false
      }
    }
    const survey = async () => {
      for (let asked = Number.NEGATIVE_INFINITY; !stop.aborted; ) {
        await rest(LOOK_MS)
        const last = Math.max(...feeds.map(({ opened = 0, heard }) => Math.max(opened, heard)))
        if (!feeds.every(isQuiet) || (asked > last && performance.now() - asked < ASK_MS)) continue
        asked = performance.now()
        const answered = await Promise.all(feeds.map(answers))
        if (!answered.every(Boolean) || !feeds.every(isQuiet)) continue
        await take('idle')
        if (!follow) done.abort()
      }
    }

    await Promise.all([survey(), ...feeds.flatMap((one) => [readOne(one), pump(one)])])
    for (const one of feeds) giveBack(one, one.waiting.splice(0))
    if (failure !== undefined) throw failure
  }

  return {
    feed_id: options.feed_id,
    transport: 'pubsub',
    read,
    async check(signal) {
      const { checkPubSub } = await import('./pubsub-check.ts')
      return checkPubSub(options, signal)
    },
    async close() {
      for (const one of feeds) giveBack(one, one.held)
      await Promise.race([Promise.all(closing), sleep(CLOSE_MS, undefined, { ref: false })])
      await client?.close()
    },
  }
}

const beginOf = (start: string): number =>
  start === 'earliest' ? 0 : start === 'latest' ? Date.now() : Date.parse(start)
