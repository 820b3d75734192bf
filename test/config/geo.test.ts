/** MaxMind DB files: country and network of public addresses, in the event and in what a detector compares. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { loadGeo } from '../../src/config/geo.ts'
import { getter } from '../../src/detect/fields.ts'
import { located } from '../../src/enrich/origin.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import { eventOf } from '../support/deliveries.ts'
import { mmdb } from '../support/mmdb.ts'
import { keytrail } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-geo-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, bytes: Buffer | string) => {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}
const country = (code: string) => ({ country: { iso_code: code } })
const countries = file(
  'country.mmdb',
  mmdb({ '192.0.2.0/24': country('DE'), '198.51.100.0/25': country('FR') }),
)
const networks = file('asn.mmdb', mmdb({ '192.0.2.0/25': { autonomous_system_number: 64500 } }))

test.each([
  ['192.0.2.1', { country: 'DE', asn: 64500 }],
  ['192.0.2.200', { country: 'DE', asn: undefined }],
  ['198.51.100.127', { country: 'FR', asn: undefined }],
  ['198.51.100.128', { country: undefined, asn: undefined }],
  ['203.0.113.1', { country: undefined, asn: undefined }],
])('%s', (ip, expected) => expect(loadGeo([countries, networks]).locate(ip)).toEqual(expected))

test('the first file that knows counts', () => {
  const other = file('other.mmdb', mmdb({ '192.0.2.0/24': country('IT') }))
  expect(loadGeo([other, countries]).locate('192.0.2.1').country).toBe('IT')
})

test('only public addresses are looked up, and what the record knows stays', () => {
  const { locate } = loadGeo([countries, networks])
  const event = JSON.parse(eventOf(1)) as KeyEvent
  const from = (network: Partial<KeyEvent['network']>) => located({ ...event.network, ...network }, locate)
  expect(from({ source_ip: '192.0.2.1', source_class: 'public' })).toMatchObject({
    geo: { country: 'DE' },
    asn: 64500,
  })
  expect(from({ source_ip: '192.0.2.1', source_class: 'private' }).asn).toBeUndefined()
  expect(from({ source_ip: '192.0.2.1', source_class: 'public', asn: 1 }).asn).toBe(1)
  const network = from({ source_ip: '192.0.2.1', source_class: 'public' })
  expect(getter('network.origin')({ ...event, network })).toBe('AS64500')
})

test('a file that is none is named, with the place in the configuration', () => {
  const path = file('broken.mmdb', 'no database')
  expect(() => loadGeo([path])).toThrow(/broken\.mmdb: no MaxMind DB file/)
  const config = file('keytrail.yml', `data: ${folder}\nsources: {}\ngeo:\n  - ${path}\n`)
  const { status, stderr } = keytrail(['run', '--config', config])
  expect(status).toBe(2)
  expect(stderr).toMatch(/keytrail\.yml:4:5: .*broken\.mmdb: no MaxMind DB file/)
})
