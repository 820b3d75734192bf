/** Duplicates and borrowed ids, by contracts.md section 1: a repeat counts once, a forged record erases nothing. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { KeyEvent } from '../../src/model/event.ts'
import { IdSet } from '../../src/pipeline/id-set.ts'
import { type CloudTrailRecord, record } from '../support/cloudtrail.ts'
import { scanBytes } from '../support/scan.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const plainId = (eventId: unknown) => sha256(`aws:123456789012:${eventId}`).slice(0, 32)

/** Canonical JSON, written down a second time. */
const canonical = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, one]) => `${JSON.stringify(name)}:${canonical(one)}`).join(',')}}`
}

/** All members in reverse order, at every level. */
const reversed = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(reversed)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .reverse()
            .map(([name, one]) => [name, reversed(one)]),
        )
      : value

type Layout = (value: CloudTrailRecord) => string
const compact: Layout = (value) => JSON.stringify(value)
const spaced: Layout = (value) => JSON.stringify(value, null, 3).replaceAll('\n', '\r\n')
const turned: Layout = (value) => JSON.stringify(reversed(value))
const escaped: Layout = (value) =>
  compact(value).replaceAll('Decrypt', '\\u0044ecrypt').replaceAll('/', '\\/')
const layouts = [compact, spaced, turned, escaped]

type Text = string | Buffer
/** One file per text, so that their order is that of the list. */
const scan = (texts: readonly Text[]) =>
  scanBytes(texts.map((text, at) => ({ path: `file-${at}`, bytes: Buffer.from(text) })))
const warned = (event: KeyEvent, warning: 'id_conflict' | 'id_fallback') =>
  event.parse_warnings?.includes(warning) ?? false

const permutations = <T>(items: readonly T[]): T[][] =>
  items.length < 2
    ? [[...items]]
    : items.flatMap((one, at) => permutations(items.toSpliced(at, 1)).map((rest) => [one, ...rest]))

const one = record()
const text = compact(one)
const other = (change: CloudTrailRecord) => ({ ...one, ...change })
const forged = other({ userAgent: 'forged' })
const later = other({ eventTime: '2026-03-02T11:00:00Z' })
const earlier = other({ eventTime: '2026-03-01T23:00:00Z' })
const nameless = other({ eventID: undefined })
const timeless = compact(other({ eventTime: undefined }))
const sns = (message: string, time: string) =>
  JSON.stringify({ Type: 'Notification', MessageId: 'm', Message: message, Timestamp: time })
const withNumber = (digits: string) =>
  text.replace('"readOnly":true', `"readOnly":true,"apiVersion":${digits}`)
const withByte = (byte: number) => {
  const bytes = Buffer.from(text)
  bytes[bytes.indexOf('sdk-js')] = byte
  return bytes
}

const cases: readonly [name: string, texts: readonly Text[], kept: number, conflicts: number][] = [
  ['once', [text], 1, 0],
  ['byte for byte', [text, text], 1, 0],
  ['three copies', [text, text, text], 1, 0],
  ['other white space', [text, spaced(one)], 1, 0],
  ['other order of members', [text, turned(one)], 1, 0],
  ['other escapes', [text, escaped(one)], 1, 0],
  ['other form of a number', [withNumber('100'), withNumber('1.0e2')], 1, 0],
  ['four layouts', layouts.map((layout) => layout(one)), 1, 0],
  ['other content', [text, compact(forged)], 2, 1],
  ['other content in another layout', [text, spaced(forged)], 2, 1],
  ['other content, delivered twice', [text, compact(forged), compact(forged)], 2, 1],
  ['other content, twice in two layouts', [text, compact(forged), turned(forged)], 2, 1],
  ['both contents in two layouts', [text, spaced(one), compact(forged), turned(forged)], 2, 1],
  ['two other contents', [text, compact(forged), compact(other({ userAgent: 'worse' }))], 3, 2],
  ['later', [text, compact(later)], 2, 1],
  ['earlier, and both twice', [text, spaced(one), compact(earlier), turned(earlier)], 2, 1],
  ['at three times', [text, compact(later), compact(earlier), spaced(later)], 3, 2],
  ['another id', [text, compact(other({ eventID: 'another' }))], 2, 0],
  ['the same id in another account', [text, compact(other({ recipientAccountId: '210987654321' }))], 2, 0],
  ['no id, byte for byte', [compact(nameless), compact(nameless)], 1, 0],
  ['no id, other layout', [compact(nameless), spaced(nameless), turned(nameless)], 1, 0],
  ['no id, other content', [compact(nameless), compact({ ...nameless, userAgent: 'x' })], 2, 0],
  [
    'no time, two envelopes',
    [sns(timeless, '2026-03-02T10:00:00Z'), sns(timeless, '2026-03-02T10:05:00Z')],
    1,
    0,
  ],
  [
    'numbers that differ in the 20th digit',
    [withNumber('10000000000000000001'), withNumber('10000000000000000002')],
    2,
    1,
  ],
  ['numbers over the range', [withNumber('1e400'), withNumber('null')], 2, 1],
  ['bytes that are not UTF-8', [withByte(0xfe), withByte(0xff)], 2, 1],
]

describe('a repeat is a duplicate, a borrowed id a conflict, whatever the order of input', () => {
  it.each(cases)('%s', (_, texts, kept, conflicts) => {
    const seen = new Set<string>()
    for (const order of permutations(texts)) {
      const { events, tally } = scan(order)
      const borrowed = events.filter((event) => warned(event, 'id_conflict'))
      expect({ kept: tally.kept, duplicate: tally.duplicate, conflicts: borrowed.length }).toEqual({
        kept,
        duplicate: texts.length - kept,
        conflicts,
      })
      for (const event of borrowed) expect(event.action_id).toBe(event.event_id)
      for (const event of events) expect(event.event_id).toMatch(/^[0-9a-f]{32}$/)
      expect(new Set(events.map((event) => event.event_id)).size).toBe(kept)
      seen.add(JSON.stringify(events.map((event) => [event.event_id, event.action_id, event.time.event])))
    }
    expect(seen.size).toBe(1)
  })
})

describe('which one keeps the plain id', () => {
  it('the earliest', () => {
    for (const order of permutations([text, compact(later), compact(earlier)])) {
      const plain = scan(order).events.filter((event) => !warned(event, 'id_conflict'))
      expect(plain.map((event) => [event.event_id, event.time.event])).toEqual([
        [plainId(one['eventID']), earlier['eventTime']],
      ])
    }
  })

  it('at one time the one with the least content hash, whatever the layouts', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ maxLength: 5, minLength: 1 }), { minLength: 2, maxLength: 4 }),
        fc.array(fc.nat(3), { minLength: 4, maxLength: 4 }),
        (agents, forms) => {
          const contents = agents.map((userAgent) => other({ userAgent: `agent ${userAgent}` }))
          const { events } = scan(contents.map((value, at) => (layouts[forms[at] ?? 0] ?? compact)(value)))
          const plain = events.filter((event) => event.event_id === plainId(one['eventID']))
          const [first] = contents.toSorted((a, b) => (sha256(canonical(a)) < sha256(canonical(b)) ? -1 : 1))
          expect(plain.map((event) => event.network.user_agent)).toEqual([first?.['userAgent']])
        },
      ),
      { seed: 20260302, numRuns: 50 },
    )
  })

  it('a record without an id is named by its content and says so', () => {
    const [event] = scan([compact(nameless)]).events
    expect(event?.parse_warnings).toEqual(['id_fallback'])
    expect(event?.action_id).toBe(event?.event_id)
    expect(event?.source.native_id).toBeUndefined()
    for (const layout of layouts) expect(scan([layout(nameless)]).events[0]?.event_id).toBe(event?.event_id)
  })

  it('a borrowed id does not hide behind the action of the owner', () => {
    const shared = other({ sharedEventID: 'shared-1' })
    const { events } = scan([compact(shared), compact({ ...shared, eventTime: '2026-03-02T11:00:00Z' })])
    expect(events[0]?.action_id).toBe(sha256('aws:shared:shared-1').slice(0, 32))
    expect(events[1]?.action_id).toBe(events[1]?.event_id)
    expect(new Set(events.map((event) => event.action_id)).size).toBe(2)
  })
})

it('kept is the number of contents of each id, in any mix', () => {
  const minutes = ['00', '00', '07', '59']
  const content = fc.record({ id: fc.nat(2), content: fc.nat(3), layout: fc.nat(3) })
  fc.assert(
    fc.property(fc.array(content, { minLength: 1, maxLength: 25 }), fc.nat(), (mix, chunk) => {
      const texts = mix.map(({ id, content, layout }) => {
        const eventTime = `2026-03-02T09:${minutes[content]}:00Z`
        return (layouts[layout] ?? compact)(
          other({ eventID: `id-${id}`, userAgent: `agent-${content}`, eventTime }),
        )
      })
      const bytes = Buffer.from(texts.join('\n'))
      const { events, tally } = scanBytes([{ path: 'file', bytes }], {
        chunk: (chunk % 4000) + 1,
        runBytes: 5000,
      })
      const distinct = new Set(mix.map(({ id, content }) => `${id} ${content}`)).size
      expect([tally.kept, tally.duplicate]).toEqual([distinct, mix.length - distinct])
      const ids = new Set(mix.map(({ id }) => plainId(`id-${id}`)))
      const plain = events.filter((event) => !warned(event, 'id_conflict')).map((event) => event.event_id)
      expect(plain.sort()).toEqual([...ids].sort())
      expect(new Set(events.map((event) => event.event_id)).size).toBe(distinct)
    }),
    { seed: 20260302, numRuns: 100 },
  )
})

describe('IdSet', () => {
  const word = fc.oneof(
    fc.constantFrom('00000000', '00000001', 'ffffffff', '80000000'),
    fc.nat(0xffffffff).map((number) => number.toString(16).padStart(8, '0')),
  )
  const id = fc.tuple(word, word, word, word).map((words) => words.join(''))
  const used = id.filter((one) => /[1-9a-f]/.test(one))

  it('answers as a Set does', () => {
    fc.assert(
      fc.property(fc.array(used, { maxLength: 400 }), (ids) => {
        const [set, model] = [new IdSet(), new Set<string>()]
        for (const one of [...ids, ...ids.slice(0, 50)]) {
          expect(set.add(one)).toBe(!model.has(one))
          model.add(one)
          expect(set.size).toBe(model.size)
        }
      }),
      { seed: 20260302, numRuns: 100 },
    )
  })

  it('grows to a hundred thousand, also when they fall into one place', () => {
    const hex = (n: number) => n.toString(16).padStart(8, '0')
    const spread = Array.from({ length: 100_000 }, (_, at) => sha256(String(at)).slice(0, 32))
    const crowded = Array.from({ length: 3000 }, (_, at) => hex(at) + hex(at * 7) + hex(0) + hex(at ^ 0xabc))
    const set = new IdSet()
    for (const one of [...spread, ...crowded]) expect(set.add(one)).toBe(true)
    for (const one of [...spread, ...crowded]) expect(set.add(one)).toBe(false)
    expect(set.size).toBe(103_000)
  })
})
