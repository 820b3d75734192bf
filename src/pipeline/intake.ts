/**
 * Intake: bytes of one place (a file, an object, a message) become kept records, and a tally in which
 * `received = rejected + skipped + kept (duplicates included)` holds.
 */
import type { KeyEvent } from '../model/event.ts'
import { type ControlReason, type RejectReason, rejectReasons, type SkipReason } from '../model/outcome.ts'
import { open } from '../normalize/envelopes.ts'
import type { RawRecord } from '../normalize/format.ts'
import type { FormatName } from '../normalize/index.ts'
import { inspect, parse } from '../normalize/json.ts'
import { Scanner } from '../normalize/scanner.ts'
import { splitter } from '../normalize/splitter.ts'
import { countUp } from './count.ts'
import { type RecordSettings, recordNormalizer } from './normalize-record.ts'
import { orderOf } from './order.ts'
import type { Begin, ReadSoFar } from './ports.ts'
import { copyOf } from './slab.ts'

/** One record over this size is rejected (CloudTrail's own limit is 256 KiB). */
export const MAX_RECORD_BYTES = 1024 * 1024
/** Envelopes in envelopes: SNS in SQS in CloudWatch is three. */
const MAX_ENVELOPES = 8

/** A record that becomes an event, and where it stands in the order. */
export interface Kept {
  readonly order: string
  readonly raw: RawRecord
}

export interface Tally {
  received: number
  readonly skipped: Map<SkipReason, number>
  readonly control: Map<ControlReason, number>
  readonly rejected: Map<RejectReason, { count: number; readonly example: string }>
  /** Begins as JSON, or holds at least one JSON value. */
  isJson: boolean
  /** Saw an array of records, also an empty one. */
  sawContainer: boolean
}

export interface IntakeOptions {
  readonly feed_id: string
  readonly transport: KeyEvent['ingest']['transport']
  readonly place: string
  readonly received: () => string
  readonly settings: RecordSettings
  /** Force one format; absent = detect it for each record. */
  readonly format?: FormatName | undefined
  /** Where a place that was read before is read on. */
  readonly begins?: Begin
  /** Parse every record, also those that their bytes show to be out of scope. */
  readonly strict: boolean
}

export interface IntakeListener {
  kept(kept: Kept): void
  /** The bytes are lent. */
  rejected?(reason: RejectReason, detail: string, place: string, bytes: Buffer): void
  skipped?(reason: SkipReason): void
}

export interface Intake {
  push(chunk: Buffer): void
  /** All that can be read for now has been pushed. */
  drain(): void
  end(): Tally
  /** How far the records are complete. */
  readonly soFar: ReadSoFar
}

const START: Begin = { number: 0, skip: 0 }

export const intake = (options: IntakeOptions, listener: IntakeListener): Intake => {
  const { feed_id, transport, place, received, settings, begins = START } = options
  const normalizer = recordNormalizer(settings, options.format)
  const tally: Tally = {
    received: begins.number,
    skipped: new Map(),
    control: new Map(),
    rejected: new Map(),
    isJson: false,
    sawContainer: false,
  }

  /** Arrays of records inside envelopes that held none. */
  let emptyContainers = 0

  const last = begins.number + begins.skip
  /** The outcome of this record is known from before. */
  const isRepeated = () => tally.received <= last

  const skip = (reason: SkipReason) => {
    if (isRepeated()) return
    countUp(tally.skipped, reason)
    listener.skipped?.(reason)
  }

  const reject = (reason: RejectReason, bytes: Buffer, detail: string = rejectReasons[reason]) => {
    if (isRepeated()) return
    listener.rejected?.(reason, detail, `${place}:${tally.received}`, bytes)
    const known = tally.rejected.get(reason)
    if (known === undefined) tally.rejected.set(reason, { count: 1, example: `${place}:${tally.received}` })
    else known.count++
  }

  /** The bytes are lent by the splitter: what is kept is a copy. */
  const rawRecord = (
    bytes: Buffer,
    members: number | undefined,
    envelopeTime: string | undefined,
  ): RawRecord => ({
    feed_id,
    transport,
    place,
    number: tally.received,
    bytes: copyOf(bytes),
    members,
    envelopeTime,
    received: received(),
  })

  const record = (value: unknown, raw: RawRecord) => {
    if (raw.bytes.length > MAX_RECORD_BYTES) return reject('too_large', raw.bytes)
    const result = normalizer(value, raw)
    switch (result.kind) {
      case 'skipped':
        return skip(result.reason)
      case 'rejected':
        return reject(result.reason, raw.bytes, result.detail)
      case 'event':
        if (isRepeated()) return
        return listener.kept({ order: orderOf(result.event.time.event, result.event.event_id), raw })
    }
  }

  /** Most records are decided by their bytes. @returns whether this one is */
  const decided = (
    bytes: Buffer,
    start: number,
    end: number,
    scanner: Scanner,
    time: string | undefined,
  ): boolean => {
    const seen = options.strict ? undefined : normalizer.glance(bytes, scanner, start)
    if (seen === undefined || end - start > MAX_RECORD_BYTES) return false
    tally.isJson = true
    if (seen.kind === 'skipped') skip('out_of_scope')
    else if (!isRepeated()) {
      const raw = rawRecord(bytes.subarray(start, end), scanner.members, time)
      listener.kept({ order: orderOf(seen.time, seen.eventId), raw })
    }
    return true
  }

  const feed = (envelopes: number, time: string | undefined) =>
    splitter({
      value(bytes, start, end, scanner) {
        tally.received++
        if (decided(bytes, start, end, scanner, time)) return
        const own = bytes.subarray(start, end)
        let value: unknown
        try {
          value = JSON.parse(own.toString('utf8'))
        } catch {
          return reject('broken_json', own)
        }
        tally.isJson = true
        const opened = open(value, own, time)
        switch (opened.kind) {
          case 'record':
            return record(
              opened.value,
              rawRecord(
                opened.bytes,
                opened.bytes === own ? scanner.members : membersInside(value, scanner.members, opened.bytes),
                opened.time ?? time,
              ),
            )
          case 'control':
            tally.received--
            return void countUp(tally.control, opened.reason)
          case 'unreadable':
            return reject('bad_payload', own)
          case 'payload': {
            if (envelopes === MAX_ENVELOPES) return reject('bad_payload', own)
            if (!beginsAsJson(opened.bytes))
              return reject(
                isJsonOrBlank(opened.bytes.toString('utf8')) ? 'unknown_format' : 'broken_json',
                opened.bytes,
              )
            const before = tally.received--
            const others = sum(tally.control) + emptyContainers
            const inner = feed(envelopes + 1, opened.time ?? time)
            inner.push(opened.bytes)
            inner.end()
            if (tally.received >= before || sum(tally.control) + emptyContainers > others) return
            if (inner.sawContainer) emptyContainers++
            else {
              tally.received++
              reject('unknown_format', own)
            }
          }
        }
      },
      broken(reason, bytes) {
        tally.received++
        reject(reason, bytes)
      },
      ...(envelopes === 0 && { boundary }),
    })

  let complete = { offset: 0, number: begins.number }
  const boundary = (offset: number) => {
    complete = { offset, number: tally.received }
  }
  const outer = feed(0, undefined)
  return {
    push: (chunk) => outer.push(chunk),
    drain: () => outer.drain(),
    end() {
      outer.end()
      if (outer.startsAsJson) tally.isJson = true
      tally.sawContainer = outer.sawContainer
      return tally
    },
    get soFar() {
      return { ...complete, since: tally.received - complete.number }
    },
  }
}

const sum = (map: ReadonlyMap<unknown, number>) => [...map.values()].reduce((a, b) => a + b, 0)

const isJsonOrBlank = (text: string): boolean => text.trim() === '' || parse(text) !== undefined

const beginsAsJson = (bytes: Buffer): boolean => /^(\ufeff)?\s*[[{]/.test(bytes.toString('utf8', 0, 64))

/** Members of a record in an envelope; those that the envelope itself has twice count against it. */
const membersInside = (envelope: unknown, members: number, record: Buffer): number | undefined => {
  const twice = members - inspect(envelope).members
  const scanner = new Scanner()
  return scanner.scan(record, 0, record.length, false) === 'done' ? scanner.members + twice : undefined
}
