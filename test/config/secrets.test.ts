import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { format, inspect } from 'node:util'
import { serialize } from 'node:v8'
import { afterAll, describe, expect, test } from 'vitest'
import { readSecret, Secret } from '../../src/config/secrets.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-secret-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const TEXT = 'open-sesame-4711'

describe('a secret', () => {
  const secret = new Secret(TEXT)
  const error = Object.assign(new Error('failed'), { token: secret, cause: { secret } })
  const shown: Readonly<Record<string, () => string>> = {
    'as text': () => String(secret),
    'in a template': () => `${secret}`,
    added: () => `token ${secret}`.concat(secret as unknown as string),
    'as JSON': () => JSON.stringify({ secret, list: [secret] }),
    inspected: () => inspect({ secret }, { depth: 9, showHidden: true, getters: true }),
    'inspected without its own say': () => inspect(secret, { customInspect: false, showHidden: true }),
    formatted: () => format('%s %o %O %j', secret, secret, secret, secret),
    'in an error': () => inspect(error, { showHidden: true }),
    serialized: () => serialize({ ...secret }).toString('latin1'),
    cloned: () => inspect(structuredClone({ ...secret })),
    'by its members': () =>
      [...Object.getOwnPropertyNames(secret), ...Object.values(secret), ...Object.keys(secret)].join(),
    'compared with something': () => String((secret as unknown) === TEXT || `${secret}` === TEXT),
  }
  test.each(Object.entries(shown))('%s does not show it', (_, show) => {
    expect(show()).not.toContain('sesame')
    expect(show()).not.toBe('true')
  })

  test.each([
    [TEXT, true],
    [`${TEXT} `, false],
    [TEXT.slice(0, -1), false],
    [`X${TEXT.slice(1)}`, false],
    ['', false],
    ['[secret]', false],
    [TEXT.repeat(1000), false],
  ])('equals %#', (given, expected) => expect(secret.equals(given)).toBe(expected))

  test('is revealed to who asks', () => expect(secret.reveal()).toBe(TEXT))
})

describe('a secret in a file', () => {
  const path = join(folder, 'token')
  const name = `\u0024{file:${path}}`
  const text = () => {
    const found = readSecret(name)
    return found instanceof Secret ? found.reveal() : found.missing
  }
  test('is read again when the file changes, also by replacing it', () => {
    expect(text()).toContain('ENOENT')
    writeFileSync(path, 'first\n')
    expect(text()).toBe('first')
    writeFileSync(path, 'again\n')
    expect(text()).toBe('again')
    writeFileSync(`${path}.new`, 'second\n')
    renameSync(`${path}.new`, path)
    expect(text()).toBe('second')
    writeFileSync(path, '\n')
    expect(text()).toContain('is empty')
  })
})
