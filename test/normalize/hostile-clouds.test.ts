/** Hostile input, reliability.md H1 to H6, in the formats of Azure and Google Cloud: at every place of a record. */
import { describe, expect, it } from 'vitest'
import { activity, audit, entraAudit, HSM, KEY, signIn } from '../support/azure.ts'
import { entry, platform } from '../support/google.ts'
import { scanChecked } from '../support/hostile.ts'

const json = JSON.stringify
type Json = Readonly<Record<string, unknown>>

const bases: readonly (readonly [name: string, record: Json])[] = [
  ['Key Vault', audit()],
  ['Managed HSM', audit({ operationName: 'KeyGet', resourceId: HSM })],
  [
    'vault settings',
    audit({ operationName: 'VaultPatch' }, { vaultProperties: { networkAcls: { ipRules: [] } } }),
  ],
  [
    'Activity',
    activity('Microsoft.KeyVault/vaults/write', {}, { properties: { requestbody: '{"properties":{}}' } }),
  ],
  ['Entra audit', entraAudit('Add service principal credentials')],
  ['Entra sign-in', signIn('SignInLogs', { authenticationDetails: [{ authenticationMethod: 'Password' }] })],
  ['Google Cloud audit', entry()],
  [
    'Google Cloud policy',
    entry({
      methodName: 'SetIamPolicy',
      serviceData: { policyDelta: { bindingDeltas: [{ action: 'ADD', role: 'r', member: 'm' }] } },
    }),
  ],
  ['Cloud KMS state event', platform('rotationEvent')],
]

/** The record once for each of its members at any depth, each time with that member replaced. */
const replacedEverywhere = (value: unknown, by: unknown): unknown[] => {
  if (Array.isArray(value))
    return value.flatMap((one, index) =>
      [by, ...replacedEverywhere(one, by)].map((other) =>
        value.map((old, at) => (at === index ? other : old)),
      ),
    )
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, one]) =>
    [by, ...replacedEverywhere(one, by)].map((other) => ({ ...value, [name]: other })),
  )
}
/** The same, but each object at any depth gets one more member. */
const addedEverywhere = (value: unknown, name: string, more: unknown): unknown[] => {
  if (Array.isArray(value))
    return value.flatMap((one, index) =>
      addedEverywhere(one, name, more).map((other) => value.map((old, at) => (at === index ? other : old))),
    )
  if (typeof value !== 'object' || value === null) return []
  const here = JSON.parse(
    `${json(value).slice(0, -1)}${Object.keys(value).length > 0 ? ',' : ''}${json(name)}:${json(more)}}`,
  )
  return [
    here,
    ...Object.entries(value).flatMap(([own, one]) =>
      addedEverywhere(one, name, more).map((other) => ({ ...value, [own]: other })),
    ),
  ]
}
/** Scans all of them in one file behind which a calm record must be kept. */
const all = (records: readonly unknown[]) => {
  const texts = records.map((one) => json(one))
  return scanChecked(
    [...texts, json(audit({ correlationId: 'calm', time: '2026-03-02T23:00:00Z' }))].join('\n'),
  )
}

describe.each(bases)('%s', (_, base) => {
  it('is kept as it is', () => expect(scanChecked(json(base)).kept).toBe(1))

  it('H1: names of the prototype at every level are data', () => {
    for (const name of '__proto__ constructor toString prototype hasOwnProperty valueOf'.split(' '))
      for (const evil of [{ polluted: 1 }, { prototype: { polluted: 1 } }, name])
        expect(all(addedEverywhere(base, name, evil)).events.length).toBeGreaterThan(0)
  })

  it('H2: long texts at every place are cut, and stay distinct', () => {
    const [long, other] = ['a', 'b'].map((end) => `${'x'.repeat(70_000)}${end}`)
    expect(all(replacedEverywhere(base, long)).events.length).toBeGreaterThan(0)
    expect(all(replacedEverywhere(base, other)).events.length).toBeGreaterThan(0)
    const big = { ...base, more: 'x'.repeat(10_000_000) }
    expect(all([big])).toMatchObject({ kept: 1, rejected: ['too_large'] })
    expect(all([{ ...base, ['k'.repeat(500_000)]: 1 }]).kept).toBe(2)
    expect(all([{ ...base, more: { ...Array.from({ length: 100_000 }, () => 0) } }]).kept).toBe(2)
  })

  it('H3: what is nested too deep is refused, in texts it is no matter', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
    const text = (levels: number) => `${json(base).slice(0, -1)},"deep":${nested(levels - 1)}}`
    expect(scanChecked(text(64)).kept).toBe(1)
    for (const levels of [65, 100, 10_000, 400_000])
      expect(scanChecked(text(levels))).toMatchObject({ kept: 0, rejected: ['too_deep'] })
    expect(all(replacedEverywhere(base, nested(50_000))).events.length).toBeGreaterThan(0)
  })

  it('H4: numbers at every place give valid events or a reason', () => {
    for (const digits of [
      '1e400',
      '-0',
      '9007199254740993',
      '123456789012345678901234567890',
      '-1e-400',
      '0.1',
    ])
      expect(
        scanChecked(
          replacedEverywhere(base, '#')
            .map((one) => json(one).replaceAll('"#"', digits))
            .join('\n'),
        ).received,
      ).toBe(replacedEverywhere(base, '#').length)
  })

  it('H5: broken and misleading encodings at every place', () => {
    for (const bytes of [
      'ff',
      'c0af',
      'e282',
      'eda080',
      '5c7564383030',
      '5c7530303030',
      'c29b',
      'efbbbf',
      'e280ae',
      'e280a8',
    ]) {
      const lines = replacedEverywhere(base, '#').flatMap((one) => {
        const [before = '', behind = ''] = json(one).split('"#"')
        return [Buffer.from(`${before}"`), Buffer.from(bytes, 'hex'), Buffer.from(`"${behind}\n`)]
      })
      expect(scanChecked(Buffer.concat(lines)).received).toBe(replacedEverywhere(base, '#').length)
    }
  })

  it('H6: a name that comes twice is flagged at every level', () => {
    const name = Object.keys(base)[0] ?? ''
    const twice = `{${json(name)}:"other",${json(base).slice(1)}`
    const [event] = scanChecked(twice).events
    expect(event?.parse_warnings ?? []).toContain('duplicate_json_key')
    const inner = json(base)
      .replace('"properties":{', '"properties":{"x":1,"x":2,')
      .replace('"resource":{', '"resource":{"x":1,"x":2,')
    expect(scanChecked(inner).events[0]?.parse_warnings ?? []).toContain('duplicate_json_key')
  })
})

it('principals that look alike stay apart', () => {
  const by = (oid: string) => audit({ identity: { claim: { oid, appid: oid, appidacr: '1' } } })
  for (const [a = '', b = ''] of [
    ['раypal', 'paypal'],
    ['caf\u00e9', 'cafe\u0301'],
    ['a\u200bb', 'ab'],
  ]) {
    const { events } = scanChecked(
      [by(a), { ...by(b), correlationId: 'b' }].map((one) => json(one)).join('\n'),
    )
    expect(new Set(events.map(({ actor }) => actor.principal)).size).toBe(2)
  }
  expect(KEY).not.toMatch(/[^\x20-\x7e]/)
})
