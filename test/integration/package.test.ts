import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-package-'))
const run = (command: string, args: readonly string[], cwd: string) => {
  const result = spawnSync(command, args, { cwd, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } })
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${result.stdout}\n${result.stderr}`)
  return result.stdout
}

beforeAll(() => {
  run('npm', ['pack', '--pack-destination', folder], root)
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? ''
  mkdirSync(join(folder, 'empty'))
  run('npm', ['init', '-y'], join(folder, 'empty'))
  run('npm', ['install', '--no-audit', '--no-fund', join(folder, tarball)], join(folder, 'empty'))
}, 300_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the packed package, installed in an empty folder, scans', () => {
  const logs = join(folder, 'empty', 'node_modules', 'keytrail', 'examples', 'aws')
  const summary = JSON.parse(
    run('npx', ['keytrail', 'scan', logs, '--json', '--workers', '2'], join(folder, 'empty')),
  )
  expect(summary.records.received).toBe(1200)
  expect(summary.alerts.total).toBe(5)
})

test('the packed package explains the alerts of its scan', () => {
  const logs = join(folder, 'empty', 'node_modules', 'keytrail', 'examples', 'aws')
  const alerts = join(folder, 'empty', 'alerts.ndjson')
  run('npx', ['keytrail', 'scan', logs, '--json', '--alerts', alerts], join(folder, 'empty'))
  const id = run(
    'node',
    [
      '-p',
      `JSON.parse(require('fs').readFileSync(${JSON.stringify(alerts)},'utf8').split('\\n')[0]).alert_id`,
    ],
    folder,
  ).trim()
  expect(run('npx', ['keytrail', 'explain', id.slice(0, 10)], join(folder, 'empty'))).toContain(
    'What this detector does not see',
  )
})
