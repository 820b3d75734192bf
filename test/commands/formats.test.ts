/** `format` of sinks, through the program: each format arrives, and one that a sink cannot take is refused with its place. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { formats } from '../../src/model/setting.ts'
import { keytrail, root } from '../support/scan.ts'
import { type Doc, hasStandards, validators } from '../support/standards.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-formats-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const configured = (sinks: object): string => {
  const path = join(folder, 'keytrail.yml')
  const trail = { type: 'files', paths: [join(root, 'examples', 'aws')], start: 'beginning' }
  writeFileSync(path, stringify({ data: join(folder, 'data'), sources: { trail }, sinks }))
  return path
}
const linesOf = (text: string): Doc[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test.skipIf(!hasStandards)('files and the terminal get what their format says', () => {
  const file = (format: string, stream: string) => join(folder, `${format}-${stream}.ndjson`)
  const sinks = Object.fromEntries(
    formats.map((format) => [
      format.replaceAll('_', '-'),
      { type: 'ndjson', format, events: file(format, 'events'), alerts: file(format, 'alerts') },
    ]),
  )
  const { status, stdout, stderr } = keytrail([
    'run',
    '--once',
    '--config',
    configured({ ...sinks, screen: { type: 'console', format: 'ocsf' } }),
  ])
  expect(status, stderr).toBe(0)
  const native = linesOf(readFileSync(file('native', 'events'), 'utf8'))
  expect(native.length).toBeGreaterThan(500)
  for (const format of formats) {
    const events = linesOf(readFileSync(file(format, 'events'), 'utf8'))
    const alerts = linesOf(readFileSync(file(format, 'alerts'), 'utf8'))
    expect(events.length, format).toBe(native.length)
    expect(events.flatMap(validators[format].event), format).toEqual([])
    expect(alerts.length, format).toBeGreaterThan(4)
    expect(alerts.flatMap(validators[format].alert), format).toEqual([])
  }
  expect(linesOf(stdout)).toEqual(linesOf(readFileSync(file('ocsf', 'alerts'), 'utf8')))
})

const sentinel = (format: string, alerts: object) => ({
  type: 'sentinel',
  endpoint: 'https://example.ingest.monitor.azure.com',
  rule: 'dcr-0123456789abcdef',
  credential: { type: 'managed_identity' },
  format,
  alerts,
})
test.each([
  ['a format that is none', { type: 'ndjson', events: 'x', format: 'leef' }, /sinks\.one\.format: .*"ocsf"/],
  [
    'ECS to a table',
    sentinel('ecs', { stream: 'Custom-Mine' }),
    /sinks\.one\.format: ECS has a field @timestamp/,
  ],
  [
    'OCSF to our table',
    sentinel('ocsf', {}),
    /sinks\.one\.alerts\.stream: the table behind Custom-KeytrailAlert has the columns of ASIM: name a stream of your own/,
  ],
  ['OCSF to a table of its own', sentinel('ocsf', { stream: 'Custom-Findings' }), undefined],
  ['ASIM to a table of any name', sentinel('asim', { stream: 'Custom-Mine' }), undefined],
])('%s', (_, sink, expected) => {
  const { status, stderr } = keytrail(['validate', '--config', configured({ one: sink })])
  if (expected === undefined) expect(status, stderr).toBe(0)
  else {
    expect(status).toBe(2)
    expect(stderr).toMatch(/keytrail\.yml:\d+:\d+: /)
    expect(stderr).toMatch(expected)
  }
})
