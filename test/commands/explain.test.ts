import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { keytrail, root } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = (...args: string[]) => keytrail(args, { cwd: folder })
const scanned = run('scan', join(root, 'examples', 'aws'), '--report', 'r.html', '--alerts', 'a.ndjson')
const ids = readFileSync(join(folder, 'a.ndjson'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => (JSON.parse(line) as { alert_id: string }).alert_id)

describe('explain', () => {
  test('the scan of the examples tells five alerts as sentences and leaves a report', () => {
    expect(scanned.status).toBe(0)
    expect(ids).toHaveLength(5)
    expect(scanned.stdout).toContain('arn:aws:iam::123456789012:user/mallory decrypted 180 times')
    expect(readFileSync(join(folder, 'r.html'), 'utf8')).toContain('<title>')
  })

  test.each(ids)('%s is told in full, with what its detector does not see', (id) => {
    const { status, stdout } = run('explain', id.slice(0, 8))
    expect(status).toBe(0)
    for (const part of ['Evidence', 'Decide', 'What this detector does not see', id])
      expect(stdout).toContain(part)
  })

  test('as JSON it is the alert', () =>
    expect(JSON.parse(run('explain', ids[0] ?? '', '--json').stdout).alert_id).toBe(ids[0]))

  test('from a file of alerts', () =>
    expect(run('explain', ids[1] ?? '', '--alerts', 'a.ndjson').status).toBe(0))

  test.each([
    ['an id that no alert has', ['explain', '0000000000'], /no alert .* begins with 0000000000/],
    ['no id at all', ['explain', 'xyz'], /not the beginning of an alert id/],
    ['a file that is not there', ['explain', 'a', '--alerts', 'gone.ndjson'], /there is no gone.ndjson/],
  ])('%s is told with a remedy', (_, args, message) => {
    const { status, stderr } = run(...args)
    expect(status).toBe(2)
    expect(stderr).toMatch(message)
    expect(stderr).toContain('keytrail scan')
  })
})

describe('validate', () => {
  test.each([
    [
      'a name that does not exist',
      'ingest_pth: []',
      /c\.yml:1:1: unknown name "ingest_pth"; did you mean "ingest_path"/,
    ],
    ['a value of the wrong kind', 'trusted_roles:\n  - 5', /c\.yml:2:5: trusted_roles\.0/],
    ['no YAML', 'a: [', /c\.yml:1:/],
  ])('%s ends with its place', (_, text, message) => {
    writeFileSync(join(folder, 'c.yml'), text)
    const { status, stderr } = run('validate', '--config', 'c.yml')
    expect(stderr).toMatch(message)
    expect(status).toBe(2)
  })

  test('our own detectors are valid, every folder of them', () => {
    const folders = readdirSync(join(root, 'detectors'), { withFileTypes: true })
    const count = folders.filter((one) => one.isDirectory()).length
    expect(run('validate').stdout).toBe(`${count} detectors are valid, 0 problems.\n`)
  })
})
