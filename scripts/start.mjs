// `npm start`: scans the example logs in a fresh folder, writes the report, and says where everything lies.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'

const root = join(new URL('.', import.meta.url).pathname, '..')
const demo = join(root, '.keytrail', 'demo')
rmSync(demo, { recursive: true, force: true })
mkdirSync(demo, { recursive: true })

const place = (name) => relative(root, join(demo, name))
const args = [
  'scan',
  'examples/aws',
  'examples/azure-sql',
  '--config',
  'examples/azure-sql/keytrail.yml',
  '--events',
  place('events.ndjson'),
  '--alerts',
  place('alerts.ndjson'),
  '--report',
  place('report.html'),
]
console.log(`keytrail ${args.join(' ')}\n`)
const { status } = spawnSync(process.execPath, [join(root, 'bin', 'keytrail'), ...args], {
  cwd: root,
  stdio: 'inherit',
})
if (status !== 0) process.exit(status ?? 1)
console.log(`
Everything lies in ${relative(root, demo)} (made afresh each time):
  report.html     to read and to attach to a ticket
  events.ndjson   the normalized key-usage feed (fields: docs/fields.md)
  alerts.ndjson   the alerts

Scan your own logs, gzip or not, nothing to configure:
  npx keytrail scan path/to/AWSLogs`)
