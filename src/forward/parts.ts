/**
 * A delivery in requests of bounded size, some of them at the same time. What one request is answered with decides
 * about its own items only: a refused item leaves, its neighbors go on.
 */
import type { Alert } from '../model/alert.ts'
import type { Again, DeadLetter, Delivered, Delivery } from '../pipeline/ports.ts'

/** One event or alert as it goes out. */
export interface Outgoing {
  readonly stream: DeadLetter['stream']
  readonly id: string
  /** As journaled: an event's text, or the alert. */
  readonly event?: string
  readonly alert?: Alert
  readonly bytes: Buffer
}

/** One body of many. */
export const jsonArray = (items: readonly Outgoing[]): Buffer =>
  Buffer.concat([
    ...items.flatMap(({ bytes }, at) => [Buffer.from(at === 0 ? '[' : ','), bytes]),
    Buffer.from(']'),
  ])

export interface Encoder<T extends Outgoing = Outgoing> {
  event(json: string): T
  alert(alert: Alert): T
}

export type Outcome =
  /** `confirmed`: it becomes certain later, while other requests go out. */
  | { readonly kind: 'accepted'; readonly confirmed?: Promise<Confirmation> | undefined }
  /** The body was too large. */
  | { readonly kind: 'split'; readonly reason: string }
  /** Item `at` will never be taken; those before it were. */
  | {
      readonly kind: 'refused'
      readonly at: number
      readonly reason: string
      readonly confirmed?: Promise<Confirmation> | undefined
    }
  | Retry

export interface Retry {
  readonly kind: 'again'
  readonly reason: string
  readonly fault: boolean
  readonly afterMs?: number | undefined
}

export type Confirmation = { readonly kind: 'accepted' } | Retry

export interface PartLimits {
  readonly bytes: number
  readonly items: number
  /** Requests at the same time. */
  readonly inFlight: number
}

const letterOf = ({ stream, id, event, alert }: Outgoing, reason: string): DeadLetter => ({
  stream,
  id,
  reason,
  body: event ?? JSON.stringify(alert),
})

const deliveryOf = (items: readonly Outgoing[]): Delivery => ({
  events: items.flatMap(({ event }) => event ?? []),
  alerts: items.flatMap(({ alert }) => alert ?? []),
})

interface Part<T extends Outgoing> {
  /** Place of its first item. */
  readonly at: number
  readonly items: readonly T[]
}

/** Encodes a delivery part by part, when each is wanted: what is on its way leaves time to make the next. */
const partsOf = <T extends Outgoing>(
  { events, alerts }: Delivery,
  encoder: Encoder<T>,
  limits: PartLimits,
  separator: number,
) => {
  let taken = 0
  let waiting: T | undefined
  const next = (): T | undefined => {
    if (waiting !== undefined) {
      const one = waiting
      waiting = undefined
      return one
    }
    const at = taken++
    const event = events[at]
    if (event !== undefined) return encoder.event(event)
    const alert = alerts[at - events.length]
    return alert && encoder.alert(alert)
  }
  let from = 0
  return {
    next(): Part<T> | undefined {
      const items: T[] = []
      let size = 0
      for (let one = next(); one !== undefined; one = next()) {
        const grown = size + one.bytes.length + separator
        if (items.length > 0 && (grown > limits.bytes || items.length >= limits.items)) {
          waiting = one
          break
        }
        items.push(one)
        size = grown
      }
      const part = { at: from, items }
      from += items.length
      return items.length === 0 ? undefined : part
    },
    /** What was never wanted. */
    left: (): Delivery => ({
      events: events.slice(from),
      alerts: alerts.slice(Math.max(from - events.length, 0)),
    }),
  }
}

/**
 * @param separator bytes between two items, and of what stands around them per item at most
 * @param send delivers one part; never throws for what another attempt may mend
 */
export const deliverParts = async <T extends Outgoing>(
  delivery: Delivery,
  encoder: Encoder<T>,
  limits: PartLimits,
  separator: number,
  send: (items: readonly T[]) => Promise<Outcome>,
): Promise<Omit<Delivered, 'memo'>> => {
  const fresh = partsOf(delivery, encoder, limits, separator)
  /** Of parts that were sent and must be sent in another form. */
  const open: Part<T>[] = []
  const refused: DeadLetter[] = []
  const left: Part<T>[] = []
  const confirming: Promise<readonly [Part<T>, Confirmation]>[] = []
  let why: Retry | undefined
  const confirm = (part: Part<T>, confirmed: Promise<Confirmation> | undefined) => {
    if (confirmed !== undefined && part.items.length > 0)
      confirming.push(confirmed.then((end) => [part, end] as const))
  }
  const deliver = async (part: Part<T>): Promise<void> => {
    const outcome = await send(part.items)
    const cut = (from: number, to?: number): Part<T> => ({
      at: part.at + from,
      items: part.items.slice(from, to),
    })
    const [only] = part.items
    switch (outcome.kind) {
      case 'accepted':
        confirm(part, outcome.confirmed)
        return
      case 'split': {
        const half = part.items.length >> 1
        if (half > 0) open.unshift(cut(0, half), cut(half))
        else if (only !== undefined) refused.push(letterOf(only, outcome.reason))
        return
      }
      case 'refused': {
        const bad = part.items[outcome.at]
        if (bad !== undefined) refused.push(letterOf(bad, outcome.reason))
        confirm(cut(0, outcome.at), outcome.confirmed)
        if (outcome.at + 1 < part.items.length) open.unshift(cut(outcome.at + 1))
        return
      }
      case 'again':
        left.push(part)
        if (why === undefined || (outcome.fault && !why.fault)) why = outcome
    }
  }
  const work = async () => {
    for (let part = open.shift() ?? fresh.next(); part !== undefined; part = open.shift() ?? fresh.next()) {
      await deliver(part)
      if (why !== undefined) return
    }
  }
  await Promise.all(Array.from({ length: limits.inFlight }, work))
  return {
    refused,
    again: againOf(why, [...left, ...open], fresh.left()),
    ...(confirming.length > 0 && { confirmed: Promise.all(confirming).then(unconfirmed) }),
  }
}

const againOf = (
  why: Retry | undefined,
  parts: readonly Part<Outgoing>[],
  unsent?: Delivery,
): Again | undefined => {
  if (why === undefined) return undefined
  const sent = deliveryOf(parts.toSorted((a, b) => a.at - b.at).flatMap((part) => part.items))
  const delivery = {
    events: [...sent.events, ...(unsent?.events ?? [])],
    alerts: [...sent.alerts, ...(unsent?.alerts ?? [])],
  }
  return { delivery, reason: why.reason, fault: why.fault, afterMs: why.afterMs }
}

const unconfirmed = (ends: readonly (readonly [Part<Outgoing>, Confirmation])[]): Again | undefined => {
  const bad = ends.flatMap(([part, end]) => (end.kind === 'again' ? [{ part, end }] : []))
  const why = bad.find(({ end }) => end.fault) ?? bad[0]
  return againOf(
    why?.end,
    bad.map(({ part }) => part),
  )
}
