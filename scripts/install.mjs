// Installs the packages if that has not been done since the lockfile last changed. Runs on the Node of the system.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..')
const done = join(root, 'node_modules', '.package-lock.json')
const lock = join(root, 'package-lock.json')
const node = join(root, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')

if (!existsSync(done) || !existsSync(node) || statSync(done).mtimeMs < statSync(lock).mtimeMs) {
  console.log('Installing packages (once) …')
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (status !== 0) process.exit(status ?? 1)
}
