/** Operations in the words of four standards, and what a word of ours means in theirs: expectations from the schema reference. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fullDocument, type Schema } from '../../scripts/mapping.ts'
import type { Alert } from '../../src/model/alert.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import { operationNames } from '../../src/model/operations.ts'
import { ecsEvent } from '../../src/render/ecs.ts'
import { ocsfAlert, ocsfEvent } from '../../src/render/ocsf.ts'
import { asimEventTypes, cimActions, operationWords, shape } from '../../src/render/standards.ts'
import { designFolder, hasDesign } from '../support/samples.ts'
import { root } from '../support/scan.ts'

const full = <T>(name: string) =>
  fullDocument(JSON.parse(readFileSync(join(root, 'schemas', `${name}.schema.json`), 'utf8')) as Schema) as T
const event = full<KeyEvent>('kms.event.v1')
const alert = full<Alert>('kms.alert.v1')
/** Members deep inside a document made by rows. */
const at = (doc: unknown, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>((found, name) => (found as Record<string, unknown> | undefined)?.[name], doc)

/** The rows of section 3: operation, OCSF id and name, ASIM, CIM, ECS. */
const rows = hasDesign
  ? [
      ...(
        /## 3\.[\s\S]*?\n## 4/.exec(readFileSync(join(designFolder, 'schema.md'), 'utf8'))?.[0] ?? ''
      ).matchAll(/^\| (\w+) \| \w+ \| \w+ \| (\d+) \w+ \| (\w+) \| (\S+) \| (\w+) \|$/gm),
    ].map(([, operation = '', ocsf, asim, cim, ecs]) => ({ operation, ocsf: Number(ocsf), asim, cim, ecs }))
  : []

describe('operations', () => {
  test.skipIf(!hasDesign)('the schema reference has a row for each', () =>
    expect(rows.map(({ operation }) => operation).sort()).toEqual([...operationNames].sort()),
  )
  test.each(rows)('$operation is $asim, $cim, $ocsf and $ecs', ({ operation, ocsf, asim, cim, ecs }) => {
    const action = cim === '-' || cim === 'success/failure' ? undefined : cim
    expect(operationWords(operation as never)).toEqual([asim, action, ocsf, ecs])
  })
  test.each(operationNames)('%s has words of the closed lists', (operation) => {
    const [type, action] = operationWords(operation)
    expect(asimEventTypes).toContain(type)
    if (type !== 'Other') expect(cimActions).toContain(action)
  })
})

describe('words', () => {
  test.each([
    ['success', 1, 'success'],
    ['denied', 2, 'failure'],
    ['failure', 2, 'failure'],
    ['challenge', 2, 'failure'],
    ['in_progress', 0, 'unknown'],
    ['unknown', 0, 'unknown'],
  ] as const)('outcome %s is status %i and %s', (outcome, status, word) => {
    expect(ocsfEvent({ ...event, outcome })['status_id']).toBe(status)
    expect(at(ecsEvent({ ...event, outcome }), 'event.outcome')).toBe(word)
  })
  test.each([
    ['verified', true],
    ['not_used', false],
    ['unknown', undefined],
    ['not_applicable', undefined],
  ] as const)('mfa %s is %s: unknown is not no', (mfa, is) => {
    const made = ocsfEvent({ ...event, auth: { ...event.auth, mfa } })
    expect(at(made, 'actor.session.is_mfa')).toBe(is)
    expect(at(made, 'unmapped.mfa')).toBe(mfa)
    const signIn = ocsfEvent({ ...event, operation: 'authenticate', auth: { ...event.auth, mfa } })
    expect([signIn['class_uid'], signIn['is_mfa']]).toEqual([3002, is])
  })
  test.each([
    ['info', 1, 1],
    ['low', 2, 21],
    ['medium', 3, 47],
    ['high', 4, 73],
    ['critical', 5, 99],
  ] as const)('%s is severity %i and %i', (criticality, ocsf, ecs) => {
    expect(ocsfEvent({ ...event, criticality })['severity_id']).toBe(ocsf)
    expect(at(ecsEvent({ ...event, criticality }), 'event.severity')).toBe(ecs)
  })
  test.each([
    ['user', 'human', 1],
    ['root', 'human', 2],
    ['cloud_service', 'cloud_service', 3],
    ['service_account', 'workload', 4],
    ['role_session', 'human', 1],
    ['role_session', 'workload', 4],
    ['role_session', 'unknown', 0],
    ['anonymous', 'unknown', 99],
    ['unknown', 'human', 0],
  ] as const)('a %s by %s is user type %i', (type, initiated_by, id) =>
    expect(
      at(ocsfEvent({ ...event, initiated_by, actor: { ...event.actor, type } }), 'actor.user.type_id'),
    ).toBe(id),
  )
  test.each([
    ['new', 200401, 1],
    ['updated', 200402, 1],
    ['withdrawn', 200403, 6],
  ] as const)('an alert that is %s is %i', (status, type, id) => {
    const made = ocsfAlert({ ...alert, status })
    expect([made['type_uid'], made['status_id']]).toEqual([type, id])
  })
  test.each([
    [['T1600.001'], 2003],
    [[], 2004],
    [['T1600', 'T1098'], 2004],
    [['T1562.008'], 2004],
  ])('an alert with techniques %j is of class %i', (ids, uid) =>
    expect(ocsfAlert({ ...alert, attack: ids.map((v18) => ({ v18, v19: v18 })) })['class_uid']).toBe(uid),
  )
})

describe('shape', () => {
  test('paths make objects and lists; what is absent makes none', () => {
    const made = shape<{ readonly a?: string }>([
      ['x.y', ({ a }) => a],
      ['x.z', () => 1],
      ['l[].m', ({ a }) => a],
      ['l[].n', () => 2],
      ['l[]', () => [{ m: 'further' }]],
      ['none.a', () => undefined],
      ['none.b', () => ''],
      ['none.c', () => []],
      ['kept', () => false],
    ])
    expect(made({ a: 'here' })).toEqual({
      x: { y: 'here', z: 1 },
      l: [{ m: 'here', n: 2 }, { m: 'further' }],
      kept: false,
    })
    expect(made({})).toEqual({ x: { z: 1 }, l: [{ n: 2 }, { m: 'further' }], kept: false })
  })
  test('a label may be called anything', () => {
    const labels = JSON.parse('{"__proto__":"p","constructor":"c","a.b":"d","mfa":"mine"}') as Record<
      string,
      string
    >
    const made = JSON.parse(JSON.stringify(ecsEvent({ ...event, labels })))
    expect(Object.keys(made.labels)).toEqual(expect.arrayContaining(['__proto__', 'constructor', 'a_b']))
    expect(made.labels.mfa).toBe(event.auth.mfa)
    expect(made.polluted).toBeUndefined()
  })
})
