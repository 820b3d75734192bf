/** Hostile input, reliability.md H1 to H6 and H10: data stays data, the neighbor survives, nothing vanishes. */
import { hash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import type { KeyEvent } from '../../src/model/event.ts'
import { type CloudTrailRecord, delivery, record } from '../support/cloudtrail.ts'
import { safe, scanChecked as scan } from '../support/hostile.ts'
import { keytrail } from '../support/scan.ts'

const json = JSON.stringify

/** The event of a record that must be kept, beside a neighbor that must be kept. */
const only = (change: CloudTrailRecord | string): KeyEvent => {
  const text = typeof change === 'string' ? change : json(record(change))
  const { events, kept } = scan(`${text}\n${json(record({ eventTime: '9999-12-31T23:59:59Z' }))}\n`)
  expect(kept).toBe(2)
  return events[0] as KeyEvent // the first of two
}
const at = (event: KeyEvent, path: string) => path.split('.').reduce<unknown>((o, n) => Object(o)[n], event)
const call = (eventName: string, requestParameters: CloudTrailRecord) => ({ eventName, requestParameters })
const user = (change: CloudTrailRecord) => ({ userIdentity: { type: 'IAMUser', ...change } })
const arnOf = (name: string) => user({ arn: `arn:aws:iam::123456789012:user/${name}` })
const context = (encryptionContext: CloudTrailRecord) => call('Decrypt', { encryptionContext })
const pairs = (event: KeyEvent) => Object.entries(event.crypto?.context ?? {})
const ok = json(record())
const okWith = (change: CloudTrailRecord) => json({ ...JSON.parse(ok), ...change })

describe('H1: names of the prototype are data', () => {
  const names = '__proto__ constructor toString prototype hasOwnProperty valueOf'.split(' ')
  const own = (name: string, value: unknown): CloudTrailRecord => JSON.parse(`{${json(name)}:${json(value)}}`)
  it.each<[place: string, change: (name: string, evil: CloudTrailRecord) => CloudTrailRecord]>([
    ['the record', (_, evil) => evil],
    ['identity', (_, evil) => ({ userIdentity: { ...evil, sessionContext: evil, onBehalfOf: evil } })],
    ['request', (_, evil) => ({ requestParameters: evil, resources: [evil], tlsDetails: evil })],
    ['response', (_, evil) => ({ responseElements: evil, additionalEventData: { recipient: evil } })],
    ['a tag', (tagKey, evil) => call('TagResource', { tags: [evil, { tagKey }], tagKeys: [tagKey] })],
    ['a policy', (_, evil) => call('PutKeyPolicy', { policy: { Statement: evil }, keyId: 'k' })],
    ['a grant', (name, evil) => call('CreateGrant', { constraints: evil, operations: [name] })],
    ['texts of an identity', (name) => user({ type: name, arn: name, invokedBy: name })],
    ['a key state', (keyState) => ({ responseElements: { keyMetadata: { keyState } } })],
    ['the name of the event', (eventName) => ({ eventName })],
  ])('%s', (_, change) => {
    for (const name of names) only(change(name, own(name, own(name, { polluted: 'yes' }))))
  })
  it.each(names)('%s in the encryption context stays, also through a run on disk', (name) => {
    const [event] = scan(okWith(context(own(name, 'value'))), { runBytes: 1 }).events
    expect(event === undefined ? [] : pairs(event)).toEqual([[name, 'value']])
    expect(scan(okWith({ eventSource: `${name}.amazonaws.com` })).kept).toBe(0)
  })
})

describe('H2: long texts', () => {
  const many = (count: number) => ({ ...Array.from({ length: count }, () => 0) })
  it.each<[string, CloudTrailRecord]>([
    ['a value of 10 MB', { userAgent: 'x'.repeat(10_000_000) }],
    ['one byte over 1 MiB', { errorMessage: 'x'.repeat(1024 * 1024 - ok.length - 17) }],
  ])('%s is too large, its neighbors are kept', (_, change) => {
    const { kept, rejected } = scan(`${ok}\n${okWith(change)}\n${json(record())}\n`)
    expect([kept, rejected]).toEqual([2, ['too_large']])
  })
  it('up to 1 MiB it is kept; many and long keys are cut', () => {
    only(okWith({ errorMessage: 'x'.repeat(1024 * 1024 - ok.length - 18) }))
    const event = only(context(many(100_000)))
    expect([pairs(event).length, event.truncated]).toEqual([32, ['crypto.context']])
    const long = only(context({ ['k'.repeat(500_000)]: 'v', [`${'k'.repeat(500_000)}b`]: 'v' }))
    expect([pairs(long).length, long.truncated]).toEqual([2, ['crypto.context']])
  })
  it.each<[path: string, max: number, change: (text: string) => CloudTrailRecord]>([
    ['actor.principal', 512, (arn) => user({ arn })],
    ['network.user_agent', 1024, (userAgent) => ({ userAgent })],
    ['error.message', 1024, (errorMessage) => ({ errorMessage })],
    ['operation_native', 256, (eventName) => ({ eventName })],
    ['change.grant.grantee', 512, (granteePrincipal) => call('CreateGrant', { granteePrincipal })],
    ['crypto.context.k', 1024, (k) => context({ k })],
  ])('%s holds %i characters; longer ones are cut and stay distinct', (path, max, change) => {
    const read = (text: string) => at(only(change(text)), path)
    const cuts = (text: string) => only(change(text)).truncated
    for (const text of ['x'.repeat(max), '𝄞'.repeat(max / 2)]) {
      expect([read(text), cuts(text)]).toEqual([text, undefined])
      expect(String(read(`${text}a`)).length).toBeLessThanOrEqual(max)
      expect(read(`${text}a`)).not.toBe(read(`${text}b`))
      expect(cuts(`${text}a`)).toContain(path.replace('.k', ''))
    }
  })
  it('an address with a long zone and two long tags with one beginning', () => {
    only({ sourceIPAddress: `fe80::1%${'z'.repeat(300)}` })
    const tags = ['a', 'b'].map((end) => ({ tagKey: 'k'.repeat(100) + end, tagValue: end }))
    expect(Object.keys(only(call('TagResource', { tags })).change?.settings ?? {})).toHaveLength(2)
  })
  const Statement = { Effect: 'Allow', Principal: '*', Action: Array.from({ length: 150_000 }, () => '*x') }
  it.each([
    ['envelope', `{"x":{${'"detail":{},'.repeat(60_000)}"y":1},"detail-type":"API","detail":${ok}}`],
    ['policy', json(record(call('PutKeyPolicy', { policy: { Statement } })))],
  ])('%s of less than 1 MiB: less than two seconds', (_, text) => {
    const begun = performance.now()
    expect([scan(text).kept, performance.now() - begun < 2000]).toEqual([1, true])
  })
})

it('H3: 64 levels are kept, more are too deep, whatever a text holds', () => {
  const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
  const text = (levels: number) => ok.replace('"readOnly":true', `"readOnly":${nested(levels - 1)}`)
  expect(scan(text(64)).kept).toBe(1)
  for (const levels of [65, 100, 10_000, 400_000])
    expect(scan(`${text(levels)}\n${ok}`)).toMatchObject({ kept: 1, rejected: ['too_deep'] })
  for (const policy of [nested(100_000), `{"Statement":${nested(100_000)}}`])
    expect(only(call('PutKeyPolicy', { policy })).parse_warnings).toContain('unmapped_field')
})

describe('H4: numbers and times', () => {
  const put = (change: CloudTrailRecord, digits: string) => json(record(change)).replaceAll('"#"', digits)
  const long = '123456789012345678901234567890'
  const numbers = `1e400 -1e400 -0 9007199254740993 -9007199254740991 -9e9 1.5 "NaN" 1e-7 null [7] ${long}`
  it.each(numbers.split(' '))('%s anywhere gives a valid event', (digits) => {
    only(put(call('ScheduleKeyDeletion', { pendingWindowInDays: '#' }), digits))
    only(put(call('EnableKeyRotation', { rotationPeriodInDays: '#', keySpec: '#' }), digits))
    only(put({ requestID: '#', eventID: '#', userIdentity: { accountId: '#', type: '#', arn: '#' } }, digits))
    only(put({ userAgent: '#', sourceIPAddress: '#', errorCode: '#', recipientAccountId: '#' }, digits))
  })
  it.each<[path: string, change: CloudTrailRecord, digits: string]>([
    ['actor.account', user({ accountId: '#' }), '123456789012'],
    ['actor.account', user({ accountId: '#' }), long],
    ['source.request_id', { requestID: '#' }, long],
    ['crypto.context.id', context({ id: '#' }), long],
  ])('%s as a number is exact or flagged', (path, change, digits) => {
    const event = only(put(change, digits))
    if (event.parse_warnings === undefined) expect(at(event, path)).toBe(digits)
  })
  const first = '0000-01-01T00:00:00Z 0000-01-01T00:00:00+01:00 1970-01-01T00:00:00Z 2026-02-30T00:00:00Z'
  const last = '9999-12-31T23:59:59Z 9999-12-31T23:59:59-01:00 2026-03-02T24:00:00Z 2026-03-02T09:00:00+99:99'
  const schedule = call('ScheduleKeyDeletion', { pendingWindowInDays: 30 })
  it.each(`${first} ${last}`.split(' '))('time %s is kept or a bad time', (eventTime) => {
    const { kept, rejected } = scan(okWith({ ...schedule, eventTime }))
    expect(kept === 1 || rejected[0] === 'bad_time').toBe(true)
  })
})

describe('H5: encodings', () => {
  const hexes = 'ff c0af e282 eda080 80 5c7564383030 5c7530303030 7f c29b efbbbf e280ae e280a8'.split(' ')
  it.each(hexes)('bytes %s are kept raw and shown safely', (hex) => {
    const [before = '', behind = ''] = json(record({ userAgent: '#' })).split('#')
    const raw = Buffer.concat([Buffer.from(before), Buffer.from(hex, 'hex'), Buffer.from(behind)])
    expect(scan(raw).events[0]?.ingest.raw_sha256).toBe(hash('sha256', raw, 'hex'))
  })
  it('directions, zero width and control characters are escaped, not dropped', () => {
    for (const code of '0000 0007 001b 007f 009b 061c 200b 200f 2028 2029 202e 2066 feff'.split(' ')) {
      const userAgent = `a${String.fromCharCode(Number.parseInt(code, 16))}b`
      expect(only({ userAgent }).network.user_agent).toBe(`a\\u${code}b`)
    }
  })
  const twins = ['é e\u0301', 'admin \u0430dmin', 'app app\u200b', 'K \u212a', 'x\u200b x\\u200b']
  it.each(twins)('the twins %j stay two', (pair) => {
    expect(new Set(pair.split(' ').map((name) => only(arnOf(name)).actor.principal)).size).toBe(2)
  })
  it.each(['\ufeff', ''])('UTF-16 is refused, not taken for nothing', (mark) => {
    expect(scan(Buffer.from(mark + ok, 'utf16le'))).toMatchObject({ kept: 0, rejected: ['broken_json'] })
  })
})

describe('H6: names that come twice', () => {
  const text = json(record(call('Decrypt', { encryptionContext: { a: '1' }, keyId: 'k' })))
  const flagged = (one: string) => only(one).parse_warnings?.includes('duplicate_json_key') ?? false
  const names = 'eventVersion eventName eventTime eventID type arn mfaAuthenticated encryptionContext a ARN'
  it.each(names.split(' '))('%s', (name) => {
    const twice = (other: string) => flagged(text.replace(`"${name}":`, `"${other}":"x","${name}":`))
    const escaped = `\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}`
    expect([name, escaped, `${name}2`].map(twice)).toEqual([true, true, false])
  })
  const envelope = `{"detail-type":"API","detail":${ok},"detail":${text}}`
  it('the record of an envelope', () => expect(flagged(envelope)).toBe(true))
  it('no false alarm', () => {
    const other = (value: unknown) => json(record(call('Decrypt', { value, text: '"a":1,"a":2' })))
    const quiet = fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => !flagged(other(value)))
    fc.assert(quiet, { seed: 20260302, numRuns: 100 })
  })
})

describe('H10: what is shown', () => {
  const cwd = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
  afterAll(() => rmSync(cwd, { recursive: true, force: true }))
  const run = (...args: string[]) => {
    const { stdout, stderr } = keytrail(args, { cwd })
    for (const line of (stdout + stderr).split('\n')) safe('', line)
    return stdout + stderr
  }
  it.each(['', 'y'])('no control characters and no halves of characters from records %j', (odd) => {
    const evil = '\u001b[2J\u001b]0;owned\u0007\r\nALERT fake\u2028x\u202ey\u009b31m\u0000'
    const name = evil + odd + '𝄞'.repeat(300)
    const caller = { ...arnOf(name), userAgent: name, sourceIPAddress: name, awsRegion: name }
    const all = { ...caller, resources: [{ ARN: `arn:aws:kms:${name}:123456789012:key/${name}` }] }
    const made = (eventName: string) => record({ ...all, eventName })
    const calls = [made('DisableKey'), made('ScheduleKeyDeletion'), made(name)]
    writeFileSync(join(cwd, 'a.json'), delivery([...calls, record({ ...all, errorCode: name })]))
    const shown = run('scan', 'a.json', '--alerts', 'alerts')
    const told = run('explain', /explain ([0-9a-f]{8})/.exec(shown)?.[1] ?? '')
    expect(told).toContain('ALERT fake')
    expect(shown + told).not.toMatch(/^ALERT fake/m)
    const alerts = readFileSync(join(cwd, 'alerts'), 'utf8').trim().split('\n')
    for (const line of alerts) json(JSON.parse(line), safe)
  })
  it('nor from names of files', () => {
    writeFileSync(join(cwd, '\u001b[31m\r\nb\u202e.json'), '{"a":1}')
    writeFileSync(join(cwd, '\u001b[31m\r\nc\u202e.json'), Buffer.from('1f8b00', 'hex'))
    run('scan', '.')
  })
})

it('damage never throws, sums up, and looks the same in any chunks and with --strict', () => {
  const tokens = '||"eventID":"x",|"eventID":0,|"Records":[|{|}|[|]|,|"|\\|\n|\0|:|\ufeff|\\u0022|\xff'
  const insert = fc.constantFrom(...tokens.split('|'))
  const edits = fc.array(fc.record({ at: fc.nat(), remove: fc.nat(3), insert }), { minLength: 1 })
  const source = (n: number) => `${n % 4 === 0 ? 's3' : 'kms'}.amazonaws.com`
  const records = Array.from({ length: 20 }, (_, n) => record({ eventSource: source(n) }))
  const damaged = fc.property(edits, fc.integer({ min: 1, max: 9000 }), (changes, chunk) => {
    let bytes = delivery(records)
    for (const { at, remove, insert } of changes) {
      const from = insert.endsWith(',') ? bytes.indexOf(',"', at % bytes.length) + 1 : at % bytes.length
      bytes = Buffer.concat([bytes.subarray(0, from), Buffer.from(insert), bytes.subarray(from + remove)])
    }
    const plain = scan(bytes)
    expect(plain.received).toBeGreaterThan(0)
    expect(scan(bytes, { chunk })).toEqual(plain)
    const { rejected, ...outcomes } = scan(bytes, { strict: true }) // the reason may be found elsewhere
    expect(plain).toMatchObject(outcomes)
  })
  fc.assert(damaged, { seed: 20260302, numRuns: 500 })
})
