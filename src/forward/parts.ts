/**
 * A delivery in requests of bounded size, some of them at the same time. What one request is answered with decides
 * about its own items only: a refused item leaves, its neighbors go on.
 */
import type { Alert } from '../model/alert.ts'
import type { DeadLetter, Delivered, Delivery } from '../pipeline/ports.ts'

/** One event or alert as it goes out. */
export interface Outgoing {
  readonly stream: DeadLetter['stream']
  readonly id: string
  /** As journaled: an event's text, or the alert. */
  readonly event?: string
  readonly alert?: Alert
  readonly bytes: Buffer
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

export const deliveryOf = (items: readonly Outgoing[]): Delivery => ({
  events: items.flatMap(({ event }) => event ?? []),
  alerts: items.flatMap(({ alert }) => alert ?? []),
})

interface Part {
  /** Place of its first item. */
  readonly at: number
  readonly items: readonly Outgoing[]
}

const partsOf = (items: readonly Outgoing[], limits: PartLimits, separator: number): Part[] => {
  const parts: Part[] = []
  let from = 0
  let size = 0
  for (const [at, { bytes }] of items.entries()) {
    const grown = size + bytes.length + separator
    if (at > from && (grown > limits.bytes || at - from >= limits.items)) {
      parts.push({ at: from, items: items.slice(from, at) })
      from = at
      size = 0
    }
    size += bytes.length + separator
  }
  if (from < items.length) parts.push({ at: from, items: items.slice(from) })
  return parts
}

/**
 * @param separator bytes between two items, and of what stands around them per item at most
 * @param send delivers one part; never throws for what another attempt may mend
 */
export const deliverParts = async (
  items: readonly Outgoing[],
  limits: PartLimits,
  separator: number,
  send: (items: readonly Outgoing[]) => Promise<Outcome>,
): Promise<Omit<Delivered, 'memo'>> => {
  const open = partsOf(items, limits, separator)
  const refused: DeadLetter[] = []
  const left: Part[] = []
  const confirming: Promise<void>[] = []
  let why: Retry | undefined
  const again = (part: Part, retry: Retry) => {
    left.push(part)
    if (why === undefined || (retry.fault && !why.fault)) why = retry
  }
  const confirm = (part: Part, confirmed: Promise<Confirmation> | undefined) => {
    if (confirmed === undefined || part.items.length === 0) return
    confirming.push(confirmed.then((end) => (end.kind === 'again' ? again(part, end) : undefined)))
  }
  const deliver = async (part: Part): Promise<void> => {
    const outcome = await send(part.items)
    const cut = (from: number, to?: number): Part => ({
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
        again(part, outcome)
    }
  }
  const work = async () => {
    for (let part = open.shift(); part !== undefined; part = open.shift()) {
      await deliver(part)
      if (why !== undefined) return
    }
  }
  await Promise.all(Array.from({ length: limits.inFlight }, work))
  await Promise.all(confirming)
  const ended = why as Retry | undefined // set inside, which the compiler does not follow
  if (ended === undefined) return { refused }
  const rest = [...left, ...open].sort((a, b) => a.at - b.at).flatMap((part) => part.items)
  return {
    refused,
    again: { delivery: deliveryOf(rest), reason: ended.reason, fault: ended.fault, afterMs: ended.afterMs },
  }
}
