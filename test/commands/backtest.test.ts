import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { delivery, record } from '../support/cloudtrail.ts'
import { keytrail } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-backtest-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, text: string | Buffer) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const rule = (name: string, names: string[]) =>
  file(
    `${name}.yml`,
    stringify({
      title: name,
      name,
      status: 'experimental',
      logsource: { product: 'aws' },
      detection: { s: { eventName: names }, condition: 's' },
    }),
  )

const logs = file(
  'logs.json',
  delivery([
    record({
      eventSource: 'ec2.amazonaws.com',
      eventName: 'RunInstances',
      eventTime: '2026-03-02T09:00:00Z',
    }),
    record({
      eventSource: 'ec2.amazonaws.com',
      eventName: 'RunInstances',
      eventTime: '2026-03-03T09:00:00Z',
    }),
    record({
      eventSource: 'ec2.amazonaws.com',
      eventName: 'StopInstances',
      eventTime: '2026-03-04T09:00:00Z',
    }),
    record({ eventTime: '2026-03-04T09:00:00Z' }),
  ]),
)

test('a detector on trial, beside its older form', () => {
  const now = rule('now', ['RunInstances', 'StopInstances'])
  const before = rule('before', ['RunInstances'])
  const { status, stdout } = keytrail(['backtest', now, logs, '--than', before, '--json', '--quiet'])
  expect(status).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({
    detector: 'now@1',
    events: 4,
    days: 2,
    alerts: 3,
    alerts_a_day: 1.5,
    by_day: { '2026-03-02': 1, '2026-03-03': 1, '2026-03-04': 1 },
    than: { detector: 'before@1', alerts: 2, only_here: 1, only_there: 0 },
  })
})

test('one of ours by its id; one that is not there', () => {
  expect(keytrail(['backtest', 'key-disabled', logs, '--quiet']).stdout).toMatch(
    /^key-disabled@\d+: 0 alerts in 1 events/,
  )
  expect(keytrail(['backtest', 'key-disabld', logs, '--quiet']).status).toBe(2)
})
