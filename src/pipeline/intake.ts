/**
 * Intake: bytes of one place (a file, an object, a message) become kept events, and a tally in which
 * `received = rejected + skipped + kept (duplicates included)` holds.
 */
import { criticalityOf } from '../enrich/criticality.ts'
import type { KeyEvent } from '../model/event.ts'
import type { ControlReason, RejectReason, SkipReason } from '../model/outcome.ts'
import { open } from '../normalize/envelopes.ts'
import type { Format, NormalizeSettings, RawRecord } from '../normalize/format.ts'
import { type FormatName, formats } from '../normalize/index.ts'
import { Scanner } from '../normalize/scanner.ts'
import { splitter } from '../normalize/splitter.ts'

/** One record over this size is rejected (CloudTrail's own limit is 256 KiB). */
export const MAX_RECORD_BYTES = 1024 * 1024
/** Envelopes in envelopes: SNS in SQS in CloudWatch is three. */
const MAX_ENVELOPES = 8

export interface Kept {
  readonly event: KeyEvent
  /** The raw bytes as the provider wrote them. */
  readonly raw: Buffer
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
  readonly received: string
  readonly settings: NormalizeSettings
  /** Force one format; absent = detect it for each record. */
  readonly format?: FormatName | undefined
  /** Parse every record, also those that their bytes show to be out of scope. */
  readonly strict: boolean
}

export interface IntakeListener {
  kept(kept: Kept): void
}

export interface Intake {
  push(chunk: Buffer): void
  end(): Tally
}

const countUp = <K>(map: Map<K, number>, key: K) => map.set(key, (map.get(key) ?? 0) + 1)

export const intake = (options: IntakeOptions, listener: IntakeListener): Intake => {
  const { feed_id, transport, place, received, settings } = options
  const candidates: readonly Format[] =
    options.format === undefined ? Object.values(formats) : [formats[options.format]]
  const tally: Tally = {
    received: 0,
    skipped: new Map(),
    control: new Map(),
    rejected: new Map(),
    isJson: false,
    sawContainer: false,
  }

  const reject = (reason: RejectReason) => {
    const known = tally.rejected.get(reason)
    if (known === undefined) tally.rejected.set(reason, { count: 1, example: `${place}:${tally.received}` })
    else known.count++
  }

  const record = (
    value: unknown,
    bytes: Buffer,
    members: number | undefined,
    envelopeTime: string | undefined,
  ) => {
    const raw: RawRecord = {
      feed_id,
      transport,
      place,
      number: tally.received,
      bytes,
      members,
      envelopeTime,
      received,
    }
    const format = candidates.find((one) => one.recognizes(value)) ?? candidates[0]
    if (format === undefined) return
    const result = format.normalize(value, raw, settings)
    switch (result.kind) {
      case 'skipped':
        return void countUp(tally.skipped, result.reason)
      case 'rejected':
        return reject(result.reason)
      case 'event':
        result.event.criticality = criticalityOf(result.event, result.event.criticality)
        return listener.kept({ event: result.event, raw: Buffer.from(bytes) })
    }
  }

  const skipsUnseen = (bytes: Buffer, scanner: Scanner) =>
    !options.strict && candidates.every((one) => one.skipsUnseen(bytes, scanner))

  const feed = (envelopes: number, time: string | undefined) =>
    splitter({
      value(bytes, start, end, scanner) {
        tally.received++
        if (end - start > MAX_RECORD_BYTES && scanner.source.start !== 0) return reject('too_large')
        if (skipsUnseen(bytes, scanner)) {
          tally.isJson = true
          return void countUp(tally.skipped, 'out_of_scope')
        }
        const own = bytes.subarray(start, end)
        let value: unknown
        try {
          value = JSON.parse(own.toString('utf8'))
        } catch {
          return reject('broken_json')
        }
        tally.isJson = true
        const opened = open(value, own, time)
        switch (opened.kind) {
          case 'record':
            return record(
              opened.value,
              opened.bytes,
              opened.bytes === own ? scanner.members : membersOf(opened.bytes),
              opened.time ?? time,
            )
          case 'control':
            tally.received--
            return void countUp(tally.control, opened.reason)
          case 'unreadable':
            return reject('bad_payload')
          case 'payload': {
            if (envelopes === MAX_ENVELOPES) return reject('bad_payload')
            const before = tally.received--
            const controls = sum(tally.control)
            const inner = feed(envelopes + 1, opened.time ?? time)
            inner.push(opened.bytes)
            inner.end()
            if (tally.received < before && sum(tally.control) === controls && !inner.sawContainer) {
              tally.received++
              reject('unknown_format')
            }
          }
        }
      },
      broken(reason) {
        tally.received++
        reject(reason)
      },
    })

  const outer = feed(0, undefined)
  return {
    push: (chunk) => outer.push(chunk),
    end() {
      outer.end()
      if (outer.startsAsJson) tally.isJson = true
      tally.sawContainer = outer.sawContainer
      return tally
    },
  }
}

const sum = (map: ReadonlyMap<unknown, number>) => [...map.values()].reduce((a, b) => a + b, 0)

const membersOf = (bytes: Buffer): number | undefined => {
  const scanner = new Scanner()
  return scanner.scan(bytes, 0, bytes.length, false) === 'done' ? scanner.members : undefined
}
