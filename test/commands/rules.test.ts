import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { sharedFolder } from '../support/samples.ts'
import { keytrail } from '../support/scan.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-rules-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const rules = join(folder, 'rules')
mkdirSync(join(rules, 'deep'), { recursive: true })
const write = (name: string, product: string, detection: object) =>
  writeFileSync(join(rules, name), stringify({ title: name, id: name, logsource: { product }, detection }))
write('good.yml', 'aws', { s: { eventName: 'DeleteKey' }, condition: 's' })
write('deep/other.yml', 'windows', { s: { Image: 'x' }, condition: 's' })
write('old.yml', 'aws', { s: { eventName: 'DeleteKey' }, condition: 's | count() > 5' })

describe('rules import', () => {
  test('says which load, which do not and why, and which wait for a source', () => {
    const { status, stdout } = keytrail(['rules', 'import', rules, '--json'])
    const result = JSON.parse(stdout)
    expect(status).toBe(3)
    expect(result).toMatchObject({ files: 3, documents: { rule: 2 }, usable: 1, waiting: { windows: 1 } })
    expect(result.refused).toMatchObject([{ line: 8, message: expect.stringMatching(/write a correlation/) }])
  })

  test('copies what can be used', () => {
    const to = join(folder, 'mine')
    const { stdout } = keytrail(['rules', 'import', rules, '--to', to])
    expect(stdout).toMatch(/old\.yml:8:3: aggregation behind "\|"/)
    expect(readdirSync(to)).toEqual(['good.yml'])
    expect(keytrail(['validate', to, '--no-default-detectors']).stdout).toMatch(
      /^1 detector is valid, 0 problems/,
    )
  })

  test.skipIf(!existsSync(join(sharedFolder, 'sigma-rules')))('the public cloud rules', () => {
    const { stdout } = keytrail([
      'rules',
      'import',
      join(sharedFolder, 'sigma-rules', 'rules', 'cloud'),
      '--json',
    ])
    // 225 rules, of which 26 need Entra ID Protection or PIM and 19 Microsoft 365 (counted in the folder)
    expect(JSON.parse(stdout)).toMatchObject({
      files: 225,
      documents: { rule: 225 },
      usable: 180,
      refused: [],
    })
  })
})

describe('validate notes what is hardly meant', () => {
  const notesOf = (detection: object, more: object = {}) => {
    const path = join(folder, 'noted.yml')
    writeFileSync(
      path,
      stringify({
        title: 'n',
        name: 'n',
        logsource: { product: 'keytrail', category: 'key_usage' },
        detection,
        ...more,
      }),
    )
    const { stdout, status } = keytrail(['validate', path, '--no-default-detectors', '--json'])
    expect(status).toBe(0)
    return (JSON.parse(stdout).notes as { line: number; message: string }[]).map(
      ({ line, message }) => `${line} ${message}`,
    )
  }
  const triage = { keytrail: { triage: ['a', 'b', 'c'] } }

  test.each([
    ['nothing', { s: { operation: 'decrypt' }, condition: 's' }, triage, []],
    ['no triage', { s: { operation: 'decrypt' }, condition: 's' }, {}, [/^1 no triage/]],
    ['no operation', { s: { outcome: 'denied' }, condition: 's' }, triage, [/^9 no operation is required/]],
    [
      'a contradiction',
      { a: { operation: 'decrypt' }, b: { operation: 'encrypt' }, condition: 'a and b' },
      triage,
      [/contradicts itself/],
    ],
    [
      'a selection that is not asked',
      { s: { operation: 'decrypt' }, t: { operation: 'sign' }, condition: 's' },
      triage,
      [/^9 "t" is never asked/],
    ],
  ])('%s', (_, detection, more, expected) => {
    const notes = notesOf(detection, more)
    expect(notes).toHaveLength(expected.length)
    for (const [index, pattern] of expected.entries()) expect(notes[index]).toMatch(pattern)
  })
})

describe('coverage', () => {
  test('is a layer of ATT&CK Navigator in either numbering', () => {
    const ids = (version: string) =>
      (
        JSON.parse(keytrail(['coverage', '--navigator', version]).stdout).techniques as {
          techniqueID: string
        }[]
      ).map(({ techniqueID }) => techniqueID)
    expect(ids('18')).toContain('T1562.008')
    expect(ids('19')).toContain('T1685.002')
    expect(ids('19')).not.toContain('T1562.008')
  })

  test('names the operations that no detector names', () => {
    const { operations, unread } = JSON.parse(keytrail(['coverage', '--json']).stdout)
    expect(operations.disable).toContain('key-disabled')
    expect(unread).toContain('generate_random')
  })
})
