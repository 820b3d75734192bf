/** Knowledge: labels by key, caller, account and time; files in both forms; what is wrong in them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { loadKnowledge } from '../../src/config/knowledge.ts'
import { labeler } from '../../src/enrich/labels.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import { knowledge } from '../../src/model/knowledge.ts'
import { eventOf } from '../support/deliveries.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-knowledge-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, text: string) => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const KEY = 'arn:aws:kms:eu-west-1:111122223333:key/k'
const event = (change: Readonly<Record<string, unknown>> = {}) => JSON.parse(eventOf(1, change)) as KeyEvent
const at = (time: string) => event({ time: { event: time, ingested: time, late: false } })

describe('labels', () => {
  const labelsOf = labeler(
    knowledge.parse({
      labels: [
        { kind: 'account', match: '111122223333', labels: { environment: 'production', owner: 'platform' } },
        { kind: 'key', match: 'ARN:aws:kms:*:111122223333:key/*', labels: { owner: 'payments' } },
        {
          kind: 'key',
          match: KEY,
          labels: { criticality: 'crown-jewel' },
          from: '2026-03-01',
          until: '2026-03-03',
        },
        { kind: 'principal', match: '*role/app', labels: { owner: 'shop' } },
      ],
    }),
  )
  test('of the key win over those of its account; those of the caller have a name of their own', () =>
    expect(labelsOf(event())).toEqual({
      environment: 'production',
      owner: 'payments',
      criticality: 'crown-jewel',
      caller_owner: 'shop',
    }))

  test.each([
    ['2026-02-28T23:59:59.999Z', false],
    ['2026-03-01T00:00:00Z', true],
    ['2026-03-02T23:59:59Z', true],
    ['2026-03-03T00:00:00Z', false],
  ])('at %s the dated one holds: %s', (time, holds) =>
    expect(labelsOf(at(time))?.['criticality']).toBe(holds ? 'crown-jewel' : undefined),
  )

  test('nothing known is no label at all', () =>
    expect(labeler(knowledge.parse({}))(event())).toBeUndefined())
})

describe('relation', () => {
  const labelsOf = labeler(
    knowledge.parse({
      own_accounts: ['111122223333', '222233334444'],
      partners: [{ actor: '333344445555', target: '111122223333', until: '2026-03-02T09:00Z' }],
    }),
  )
  const from = (account: string | undefined, more: object = {}) =>
    event({
      actor: { type: 'role_session', account },
      target: { key_id: KEY, object_type: 'key', account: '111122223333', cross_account: true },
      ...more,
    })
  test.each([
    ['our other account', from('222233334444'), 'own'],
    ['a stranger', from('999988887777'), 'stranger'],
    ['a partner whose time is over', from('333344445555'), 'stranger'],
    ['a partner', { ...from('333344445555'), time: at('2026-03-02T08:59:59Z').time }, 'partner'],
    ['an account nobody names', from(undefined), undefined],
    ['a service', from('999988887777', { initiated_by: 'cloud_service' }), undefined],
    ['a caller of the same account', event(), undefined],
  ])('%s', (_, one, relation) => expect(labelsOf(one as KeyEvent)?.['relation']).toBe(relation))
})

describe('files', () => {
  test('CSV and YAML add up', () => {
    const { known, files } = loadKnowledge([
      file(
        'a.csv',
        '\ufeffkind,match,owner,decoy,from\nkey, arn:*,"pay, ments",,2026-01-01\nprincipal,p,,true,\n',
      ),
      file('b.yml', 'own_accounts: ["1"]\npartners: [{actor: "2"}]\n'),
    ])
    expect(known).toMatchObject({
      labels: [
        { kind: 'key', match: 'arn:*', labels: { owner: 'pay, ments' }, from: '2026-01-01' },
        { kind: 'principal', match: 'p', labels: { decoy: 'true' } },
      ],
      own_accounts: ['1'],
      partners: [{ actor: '2', target: '*' }],
    })
    expect(files.map(({ path }) => path)).toHaveLength(2)
  })

  test.each([
    ['no such file', join(folder, 'none.yml'), /none\.yml: cannot read it: ENOENT/],
    [
      'a kind that does not exist',
      file('kind.csv', 'kind,match,owner\nkeys,x,y\n'),
      /kind\.csv: labels\.0\.kind \(row 1\)/,
    ],
    [
      'a name that does not exist',
      file('name.yml', 'partner: []\n'),
      /name\.yml: : Unrecognized key: "partner"/,
    ],
    [
      'a wrong time',
      file('time.csv', 'kind,match,owner,until\nkey,x,y,tomorrow\n'),
      /labels\.0\.until .*a day, or a time in UTC/,
    ],
    [
      'cells that are missing',
      file('cells.csv', 'kind,match,owner\nkey,x\n'),
      /cells\.csv: Invalid Record Length/,
    ],
    ['no YAML', file('bad.yml', 'a: [\n'), /bad\.yml: .*line/],
    [
      'relation given by hand',
      file('rel.yml', 'labels: [{kind: key, match: x, labels: {relation: own}}]'),
      /labels\.0\.labels\.relation/,
    ],
  ])('%s is told with its place', (_, path, expected) =>
    expect(() => loadKnowledge([path])).toThrow(expected),
  )
})
