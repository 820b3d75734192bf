/** docs/audit-walk.md, as an auditor walks it: each command in order, and what it prints is what the page shows. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { root } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-audit-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const page = readFileSync(join(root, 'docs/audit-walk.md'), 'utf8')
const yaml = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? ''
const steps = [...page.matchAll(/```sh\n([\s\S]*?)```(?:\n```text\n([\s\S]*?)```)?/g)].map(
  ([, commands = '', output = '']) => ({ commands, output }),
)

/** `…` is anything on its line; a line of its own, any lines. */
const shownAs = (output: string) =>
  new RegExp(
    `^${output.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/^…\n|…/gm, (one) => (one.length > 1 ? '(?:.*\\n)+?' : '.*'))}$`,
  )

const env = {
  ...process.env,
  PATH: [dirname(process.execPath), join(root, 'bin'), process.env['PATH']].join(delimiter),
}
/** A block that shows exit codes is one in which some are not 0; in every other the first that is not ends it. */
const run = (commands: string) => {
  const script = `trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n${commands}` // also when it takes too long
  return spawnSync('bash', [commands.includes('$?') ? '-uo' : '-euo', 'pipefail', '-c', script], {
    cwd: folder,
    env,
    encoding: 'utf8',
    timeout: 50_000,
  })
}

test('every command of the page runs in order, and prints what the page shows', () => {
  for (const name of ['examples', 'scripts']) symlinkSync(join(root, name), join(folder, name))
  writeFileSync(join(folder, 'keytrail.yml'), yaml)
  expect(steps.length).toBeGreaterThan(9)
  for (const { commands, output } of steps) {
    const { status, stdout, stderr } = run(commands)
    expect(status, `${commands}${stdout}${stderr}`).toBe(0)
    expect(stdout.replaceAll('\r\n', '\n'), commands).toMatch(shownAs(output))
  }
})

test('windows that follow each other count each use once', () => {
  const uses = (window: string) =>
    [
      ...run(
        `keytrail who-used 1111aaaa-1a1a-41a1-81a1-1a1a1a1a1a1a ${window} --format json`,
      ).stdout.matchAll(/"events":"?(\d+)/g),
    ].reduce((sum, [, events]) => sum + Number(events), 0)
  const moment = '2026-03-02T10:12:23Z' // mallory decrypts in this second
  expect(uses(`--to ${moment}`) + uses(`--from ${moment}`)).toBe(383)
})

// After the walk: what it says of any byte, not only of the one that the page changes.
test.each([0, 0.1, 0.9, 1])('a byte of a segment that is changed at %d of its length is found', (part) => {
  const forged = join(folder, `forged-${part}`)
  cpSync(join(folder, 'history'), forged, { recursive: true })
  const [path = ''] = readdirSync(join(forged, 'data/feed'), { recursive: true, encoding: 'utf8' }).filter(
    (one) => one.endsWith('.parquet'),
  )
  const file = join(forged, 'data/feed', path)
  const bytes = readFileSync(file)
  const at = Math.round((bytes.length - 1) * part)
  bytes[at] = (bytes[at] ?? 0) ^ 0x10
  writeFileSync(file, bytes)
  for (const command of [
    `keytrail verify --quiet --history ${forged} --key verifier-key`,
    `node scripts/verify-history.mjs --key "$(cat verifier-key)" ${forged}`,
    `python3 scripts/verify_history.py --key "$(cat verifier-key)" ${forged}`,
  ]) {
    const { status, stdout } = run(command)
    expect(stdout).toContain(`data/feed/${path}`)
    expect(status, command).toBe(1)
  }
})
