/** What an Event Hubs namespace holds: hubs, their partitions, and which of its words mean what. */

export interface HubSpec {
  readonly name: string
  readonly partitions: number
  /** Beside `$Default`. */
  readonly consumerGroups?: readonly string[]
}

/** An error as the service gives it: an AMQP condition and a text. */
export class Refusal extends Error {
  readonly condition: string
  constructor(condition: string, text: string) {
    super(text)
    this.condition = condition
  }
}

export const notFound = (what: string) =>
  new Refusal('amqp:not-found', `The messaging entity '${what}' could not be found.`)

/** A message as the AMQP library decodes it. */
export interface Message {
  readonly body?: unknown
  readonly message_annotations?: Readonly<Record<string, unknown>>
}

export interface Stored {
  readonly sequence: number
  readonly offset: string
  readonly at: number
  readonly message: Message
}

export class Partition {
  base = 0
  log: Stored[] = []
  #nextOffset = 0
  get last(): Stored | undefined {
    return this.log.at(-1)
  }
  get end(): number {
    return this.base + this.log.length
  }
  /** An offset is an opaque text to clients; here it grows by the bytes of the event, as the service's does. */
  append(message: Message, bytes: number): Stored {
    const stored = { sequence: this.end, offset: String(this.#nextOffset), at: Date.now(), message }
    this.#nextOffset += 64 + bytes
    this.log.push(stored)
    return stored
  }
  /** Drops events as retention would; sequence numbers and offsets go on counting. */
  expire(before: number): void {
    const drop = Math.min(Math.max(before - this.base, 0), this.log.length)
    this.log.splice(0, drop)
    this.base += drop
  }
  /** Sequence number of the first event that a filter lets through. */
  start(filter: string | undefined): number {
    if (filter === undefined) return this.base
    const [, name, operator, value = ''] =
      /^amqp\.annotation\.(x-opt-[a-z-]+) (>=?) '([^']*)'$/.exec(filter) ?? []
    if (name === undefined) throw new Refusal('amqp:invalid-field', `The filter is not understood: ${filter}`)
    if (name === 'x-opt-offset' && value === '@latest') return this.end
    const of = ({ offset, sequence, at }: Stored) =>
      BigInt(name === 'x-opt-offset' ? offset : name === 'x-opt-sequence-number' ? sequence : at)
    const want = BigInt(value)
    const found = this.log.findIndex((one) => (operator === '>' ? of(one) > want : of(one) >= want))
    return found < 0 ? this.end : this.base + found
  }
}

export interface Hub {
  readonly spec: HubSpec
  readonly partitions: readonly Partition[]
  readonly created: number
  /** Partition that the next event without a key goes to. */
  turn: number
}

export const makeHub = (spec: HubSpec): Hub => ({
  spec,
  partitions: Array.from({ length: spec.partitions }, () => new Partition()),
  created: Date.now(),
  turn: 0,
})

/** @throws Refusal */
export const partitionOf = ({ partitions }: Hub, id: string): Partition => {
  const found = /^\d+$/.test(id) ? partitions[Number(id)] : undefined
  if (found !== undefined) return found
  throw new Refusal(
    'com.microsoft:argument-out-of-range',
    `The partition '${id}' is not in the range of 0 to ${partitions.length - 1}.`,
  )
}

/** Not the service's hash. */
export const partitionOfKey = ({ partitions }: Hub, key: string): string =>
  String(
    Buffer.from(key).reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193) >>> 0, 0x811c9dc5) %
      partitions.length,
  )
