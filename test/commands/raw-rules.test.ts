/** The public AWS rules, unmodified, in `scan` and in `run`: the same alerts, and a journal that judges itself again. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { delivery, record } from '../support/cloudtrail.ts'
import { keytrail, scanCli } from '../support/scan.ts'
import { service } from '../support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-raw-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const logs = join(folder, 'logs')
const rules = join(folder, 'rules')
mkdirSync(logs)
mkdirSync(rules)
const rule = (name: string, detection: object) =>
  writeFileSync(
    join(rules, `${name}.yml`),
    stringify({ title: name, name, logsource: { product: 'aws', service: 'cloudtrail' }, detection }),
  )
rule('disk-deleted', {
  s: { eventSource: 'lightsail.amazonaws.com', eventName: 'DeleteDisk' },
  condition: 's',
})
rule('new-layer', {
  s: { 'eventName|startswith': 'UpdateFunctionConfiguration', 'requestParameters.layers|contains': '*' },
  condition: 's',
})
const lambda = { eventSource: 'lambda.amazonaws.com', eventName: 'UpdateFunctionConfiguration20150331v2' }
writeFileSync(
  join(logs, 'one.json'),
  delivery([
    record({ eventSource: 'lightsail.amazonaws.com', eventName: 'DeleteDisk' }),
    record({
      ...lambda,
      requestParameters: { layers: ['arn:aws:lambda:eu-central-1:123456789012:layer:x:1'] },
    }),
    record({ ...lambda, requestParameters: { memorySize: 128 } }),
    record(),
  ]),
)
writeFileSync(
  join(logs, 'two.json'),
  delivery([record({ eventSource: 'ec2.amazonaws.com', eventName: 'RunInstances' })]),
)

const alertsOf = (all: readonly { readonly alert_id?: unknown; readonly detector?: unknown }[]) =>
  all.map(({ alert_id }) => String(alert_id)).sort()

test('scan, with one thread or two, and run tell the same', async () => {
  const args = [logs, '--no-default-detectors', '--detectors', rules]
  const one = scanCli([...args, '--workers', '1'])
  expect(one.summary.alerts.by_detector).toEqual({ 'disk-deleted': 1, 'new-layer': 1 })
  expect(one.summary.records).toEqual({ duplicate: 0, kept: 3, received: 5, rejected: 0, skipped: 2 })
  expect(one.summary.services).toEqual({ aws_kms: 1, other: 2 })
  const two = scanCli([...args, '--workers', '2'])
  expect(two.summary).toEqual(one.summary)

  const running = service([logs], { detectors: { folders: [rules], default: false } })
  try {
    const { code, log } = await running.run()
    expect(code, log).toBe(0)
    expect(alertsOf(running.lines('alerts'))).toEqual(alertsOf(one.alerts))
    const checked = keytrail(['journal', 'check', '--data', running.data])
    expect(checked.status, checked.stdout + checked.stderr).toBe(0)
  } finally {
    running.remove()
  }
})
