import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type KeyRing, publicKeys } from '../../src/history/digest.ts'
import type { Range } from '../../src/history/digest-chain.ts'
import { findDigests, verifyDigest, verifyTrails } from '../../src/history/verify.ts'
import { trailFolder } from '../../src/ingest/trail-folder.ts'
import type { FindingKind, IntegrityReport, TrailObjects } from '../../src/model/integrity.ts'
import {
  type Bucket,
  copyTo,
  HOUR_MS,
  listedKeys,
  type S3Object,
  START,
  signingKey,
  Trail,
} from '../support/digests.ts'

const signer = signingKey()
const other = signingKey('spki')
const ring = (...keys: readonly (typeof signer)[]): KeyRing =>
  new Map(publicKeys(JSON.parse(listedKeys(...keys)), 'test'))

const verify = async (
  objects: TrailObjects,
  range: Range = {},
  keys = ring(signer),
): Promise<IntegrityReport> =>
  verifyTrails(
    objects,
    await findDigests(objects),
    async () => keys,
    range,
    new AbortController().signal,
    () => {},
  )

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'keytrail-digests-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let copies = 0
/** A copy on disk; `signed` tells which signatures are kept beside their objects. */
const copy = (objects: Bucket, signed: (key: string) => boolean = () => true): string => {
  const root = join(folder, String(copies++))
  copyTo(root, objects, signed)
  return root
}

const found = (report: IntegrityReport) => report.findings.map(({ kind, object }) => [kind, object])

interface World {
  readonly objects: Bucket
  readonly trail: Trail
  readonly digest: (hour: number) => string
  readonly log: (n: number) => string
  readonly at: (key: string) => S3Object
}

const world = (hours = 24): World => {
  const objects: Bucket = new Map()
  const trail = new Trail(objects, { signer }).hours(hours)
  const at = (key: string): S3Object => {
    const one = objects.get(key)
    if (one === undefined) throw new Error(`there is no ${key}`)
    return one
  }
  return { objects, trail, digest: (n) => trail.digests.at(n) ?? '', log: (n) => trail.logs.at(n) ?? '', at }
}

/** Another content in good compression. */
const rewrite = (one: S3Object, change: (text: string) => string) => {
  one.body = gzipSync(change(gunzipSync(one.body).toString()))
}

const exchange = (a: S3Object, b: S3Object) => {
  const body = a.body
  a.body = b.body
  b.body = body
}

const lastDigit = (hex: string) => hex.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))

interface Case {
  readonly name: string
  readonly change: (world: World) => [kind: FindingKind, object: string][]
  readonly keys?: KeyRing
  readonly range?: Range
  readonly signed?: (world: World, key: string) => boolean
}

const cases: readonly Case[] = [
  { name: 'nothing', change: () => [] },
  {
    name: 'a changed log file',
    change: ({ at, log }) => {
      rewrite(at(log(7)), (text) => text.replace('Decrypt', 'Encrypt'))
      return [['changed', log(7)]]
    },
  },
  {
    name: 'a truncated log file',
    change: ({ at, log }) => {
      at(log(7)).body = at(log(7)).body.subarray(0, -20)
      return [['changed', log(7)]]
    },
  },
  {
    name: 'a deleted log file',
    change: ({ objects, log }) => {
      objects.delete(log(7))
      return [['deleted', log(7)]]
    },
  },
  {
    name: 'an added log file',
    change: ({ trail }) => [['added', trail.log(START + 9.5 * HOUR_MS, 'evil')]],
  },
  {
    name: 'an added file of another name among the logs',
    change: ({ objects, log, at }) => {
      const key = log(7).replace(/[^/]+$/, 'more.json')
      objects.set(key, { body: at(log(7)).body, metadata: {} })
      return [['added', key]]
    },
  },
  {
    name: 'a renamed log file',
    change: ({ objects, log, at }) => {
      const key = log(7).replace('x0', 'x9')
      objects.set(key, at(log(7)))
      objects.delete(log(7))
      return [
        ['deleted', log(7)],
        ['added', key],
      ]
    },
  },
  {
    name: 'two log files that changed their places',
    change: ({ at, log }) => {
      exchange(at(log(3)), at(log(30)))
      return [
        ['reordered', log(3)],
        ['reordered', log(30)],
      ]
    },
  },
  {
    name: 'a changed digest',
    change: ({ at, digest }) => {
      rewrite(at(digest(10)), (text) => text.replace(/(?<="hashValue":")[0-9a-f]{64}/, lastDigit))
      return [['changed', digest(10)]]
    },
  },
  {
    name: 'a digest without one of its files, the file deleted',
    change: ({ at, digest, objects, log }) => {
      rewrite(at(digest(0)), (text) => JSON.stringify({ ...JSON.parse(text), logFiles: [] }))
      objects.delete(log(0))
      return [['changed', digest(0)]]
    },
  },
  {
    name: 'a deleted digest',
    change: ({ objects, digest }) => {
      objects.delete(digest(10))
      return [['deleted', digest(10)]]
    },
  },
  {
    name: 'three deleted digests in a row: the one that is named, for all their time',
    change: ({ objects, digest }) => {
      for (const hour of [10, 11, 12]) objects.delete(digest(hour))
      return [['deleted', digest(12)]]
    },
  },
  {
    name: 'two digests that changed their places',
    change: ({ at, digest }) => {
      exchange(at(digest(10)), at(digest(11)))
      return [
        ['reordered', digest(10)],
        ['reordered', digest(11)],
      ]
    },
  },
  {
    name: 'a signature that is no longer the one of its digest',
    change: ({ at, digest }) => {
      const { metadata } = at(digest(10))
      metadata['signature'] = lastDigit(metadata['signature'] ?? '')
      return [['signature', digest(10)]]
    },
  },
  {
    name: 'the signature of the newest digest',
    change: ({ at, digest }) => {
      const { metadata } = at(digest(23))
      metadata['signature'] = lastDigit(metadata['signature'] ?? '')
      return [['signature', digest(23)]]
    },
  },
  {
    name: 'a signature that is no hexadecimal number',
    change: ({ at, digest }) => {
      at(digest(23)).metadata['signature'] = 'zz'
      return [['signature', digest(23)]]
    },
  },
  {
    name: 'a forged newest digest, signed with a key of one’s own',
    change: ({ trail, digest }) => {
      trail.signer = { ...other, fingerprint: signer.fingerprint }
      trail.hours(1, 24)
      return [['signature', digest(24)]]
    },
  },
  {
    name: 'a digest signed with a key that was not given',
    change: ({ trail, digest }) => {
      trail.signer = other
      trail.hours(1, 24)
      return [['unknown_key', digest(24)]]
    },
  },
  {
    name: 'keys that changed on the way',
    keys: ring(signer, other),
    change: ({ trail }) => {
      trail.signer = other
      trail.hours(2, 24)
      return []
    },
  },
  {
    name: 'a digest that names another hash of the one before, and has no signature to prove it',
    signed: ({ digest }, key) => key !== digest(23),
    change: ({ at, digest }) => {
      rewrite(at(digest(23)), (text) =>
        text.replace(/(?<="previousDigestHashValue":")[0-9a-f]{64}/, lastDigit),
      )
      return [['link', digest(23)]]
    },
  },
  {
    name: 'hours without digests, because validation was off',
    change: ({ trail, digest }) => {
      trail.restart()
      trail.hours(3, 28)
      return [['gap', digest(24)]]
    },
  },
  {
    name: 'a window that begins before the trail did',
    range: { from: START - 10 * HOUR_MS },
    change: ({ digest }) => [['gap', digest(0)]],
  },
  {
    name: 'a window that ends after the newest digest',
    range: { to: START + 30 * HOUR_MS },
    change: ({ digest }) => [['gap', digest(23)]],
  },
  {
    name: 'a window that only a digest without signature covers to its end',
    range: { to: START + 24 * HOUR_MS },
    signed: () => false,
    change: ({ digest }) => [['gap', digest(23)]],
  },
  {
    name: 'a window in the middle, changes outside of it',
    range: { from: START + 5 * HOUR_MS, to: START + 10 * HOUR_MS },
    change: ({ objects, log, digest }) => {
      objects.delete(log(0))
      objects.delete(digest(23))
      return []
    },
  },
  {
    name: 'the digest in which a window begins is gone',
    range: { from: START + 5.5 * HOUR_MS },
    change: ({ objects, digest }) => {
      objects.delete(digest(5))
      return [['deleted', digest(5)]]
    },
  },
  {
    name: 'a digest beside the chain, without signature',
    signed: (_, key) => !key.includes('T120500Z'),
    change: ({ objects, at, digest }) => {
      const key = digest(12).replace('T130131Z', 'T120500Z')
      const text = gunzipSync(at(digest(12)).body)
        .toString()
        .replaceAll('T130131Z', 'T120500Z')
      objects.set(key, { body: gzipSync(text), metadata: { signature: '00' } })
      return [['added', key]]
    },
  },
]

describe('a chain of 24 hours', () => {
  for (const { name, change, keys, range, signed } of cases)
    test(name, async () => {
      const one = world()
      const expected = change(one)
      const root = copy(one.objects, (key) => signed?.(one, key) ?? true)
      const report = await verify(trailFolder([root]), range, keys)
      expect(found(report)).toEqual(expected.toSorted(([, a], [, b]) => (a < b ? -1 : 1)))
      expect(report.verdict).toBe(expected.length === 0 ? 'verified' : 'failed')
    })

  test('is counted, an hour without activity included', async () => {
    const { objects, trail } = world()
    const report = await verify(trailFolder([copy(objects)]))
    expect(report.trails).toEqual([
      {
        account: '123456789012',
        region: 'eu-central-1',
        trail: 'main_trail',
        home_region: 'eu-central-1',
        backfill: false,
        begins: 'start',
        from: '2026-03-02T00:01:31Z',
        to: '2026-03-03T00:01:31Z',
        digests: { verified: 24, unverified: 0, failed: 0 },
        files: { verified: trail.logs.length, unverified: 0, failed: 0 },
      },
    ])
  })

  test('without any signature of its own every digest but the newest is proven by the next', async () => {
    const { objects } = world()
    const report = await verify(trailFolder([copy(objects, () => false)]))
    expect(report.verdict).toBe('verified')
    expect(report.trails[0]).toMatchObject({
      digests: { verified: 23, unverified: 1, failed: 0 },
      to: '2026-03-02T23:01:31Z',
    })
    expect(report.trails[0]?.files.unverified).toBe(3) // hour 23 has 1 + 23 % 3 files
  })

  test('a single digest without its signature proves nothing', async () => {
    const objects: Bucket = new Map()
    new Trail(objects, { signer }).hours(1)
    expect((await verify(trailFolder([copy(objects, () => false)]))).verdict).toBe('unproven')
  })

  test('a copy that begins in the middle is verified and says so', async () => {
    const { objects, digest } = world()
    for (const hour of [0, 1, 2]) objects.delete(digest(hour))
    const report = await verify(trailFolder([copy(objects)]))
    expect(report.verdict).toBe('verified')
    expect(report.trails[0]).toMatchObject({ begins: 'middle', from: '2026-03-02T03:01:31Z' })
    expect(report.uncovered).toBe(6) // 1 + 2 + 3 files of hours 0 to 2
  })

  test('log files after the newest digest are not held against anybody', async () => {
    const { objects, trail } = world()
    trail.log(START + 24.2 * HOUR_MS, 'late')
    const report = await verify(trailFolder([copy(objects)]))
    expect([report.verdict, report.uncovered]).toEqual(['verified', 1])
  })
})

describe('trails, regions and accounts in one folder', () => {
  const many = () => {
    const objects: Bucket = new Map()
    const trails = [
      new Trail(objects, { signer }),
      new Trail(objects, { signer, trail: 'second' }),
      new Trail(objects, { signer, region: 'us-east-1', home: 'eu-central-1' }),
      new Trail(objects, { signer, account: '210987654321', organization: 'o-exampleorg' }),
    ].map((trail) => trail.hours(4))
    return { objects, trails }
  }

  test('are chains of their own', async () => {
    const { objects } = many()
    const report = await verify(trailFolder([copy(objects)]))
    expect([report.verdict, report.uncovered]).toEqual(['verified', 0])
    expect(
      report.trails.map(({ account, region, trail, digests }) => [account, region, trail, digests.verified]),
    ).toEqual([
      ['123456789012', 'eu-central-1', 'main_trail', 4],
      ['123456789012', 'eu-central-1', 'second', 4],
      ['123456789012', 'us-east-1', 'main_trail', 4],
      ['210987654321', 'eu-central-1', 'main_trail', 4],
    ])
  })

  test('a change in one is not held against the others', async () => {
    const { objects, trails } = many()
    const [, second, , organization] = trails
    const [gone = '', changed = ''] = [second?.digests[1], organization?.digests[2]]
    objects.delete(gone)
    const one = objects.get(changed)
    if (one !== undefined) rewrite(one, (text) => text.replace('Time":"2026', 'Time":"2025'))
    const report = await verify(trailFolder([copy(objects)]))
    expect(found(report)).toEqual(
      [
        ['deleted', gone],
        ['changed', changed],
      ].toSorted(([, a = ''], [, b = '']) => (a < b ? -1 : 1)),
    )
  })

  test('a prefix in the bucket is no part of a copy', async () => {
    const objects: Bucket = new Map()
    new Trail(objects, { signer, prefix: 'logs/2026/' }).hours(4)
    const root = copy(objects)
    expect((await verify(trailFolder([join(root, 'logs')]))).verdict).toBe('verified')
    const below = join(root, 'logs/2026/AWSLogs/123456789012')
    expect((await verify(trailFolder([below]))).verdict).toBe('verified')
  })

  test('a trail that moved to another bucket goes on there', async () => {
    const objects: Bucket = new Map()
    const trail = new Trail(objects, { signer }).hours(4)
    const left = [...objects.keys()]
    trail.move('second-trail')
    trail.hours(4, 4)
    expect((await verify(trailFolder([copy(objects)]))).trails[0]?.digests.verified).toBe(8)
    for (const key of left) objects.delete(key)
    const alone = trailFolder([copy(objects)])
    const report = await verify(alone)
    expect([report.verdict, report.trails[0]?.begins]).toEqual(['verified', 'middle'])
    expect(found(await verify(alone, { from: START }))).toEqual([['gap', trail.digests[4]]])
  })

  test('backfilled digests prove files that came late', async () => {
    const { objects, trail } = world()
    const late = trail.log(START + 9.5 * HOUR_MS, 'late')
    expect(found(await verify(trailFolder([copy(objects)])))).toEqual([['added', late]])
    const backfill = new Trail(objects, { signer, backfill: true })
    backfill.digest(START + 9 * HOUR_MS, START + 10 * HOUR_MS, [late])
    backfill.digest(START + 15 * HOUR_MS, START + 16 * HOUR_MS, [])
    const report = await verify(trailFolder([copy(objects)]))
    expect(report.verdict).toBe('verified')
    expect(report.trails.map((one) => [one.backfill, one.digests.verified, one.files.verified])).toEqual([
      [false, 24, trail.logs.length - 1],
      [true, 2, 1],
    ])
  })

  test('a second copy of a file elsewhere is an added one', async () => {
    const { objects, log, at } = world()
    const root = copy(objects)
    copyTo(join(root, 'zz'), new Map([[log(3), at(log(3))]]), () => false)
    const { findings } = await verify(trailFolder([root]))
    expect(findings.map(({ kind, object }) => [kind, object.endsWith(log(3))])).toEqual([['added', true]])
  })
})

describe('any change of a byte', () => {
  const { objects, trail } = world(8)
  const keys = [...objects.keys()].filter((key) => trail.logs.includes(key) || trail.digests.includes(key))
  const sameContent = (a: Buffer, b: Buffer): boolean => {
    try {
      return gunzipSync(a).equals(gunzipSync(b))
    } catch {
      return false
    }
  }

  /** Writes another body over one object of a copy, verifies all of it, and puts the old one back. */
  const changed = async (root: string, key: string, body: Buffer) => {
    const before = readFileSync(join(root, key))
    writeFileSync(join(root, key), body)
    try {
      return { report: await verify(trailFolder([root])), same: sameContent(before, body) }
    } finally {
      writeFileSync(join(root, key), before)
    }
  }

  const byte = (max: number) => fc.record({ at: fc.nat(max - 1), flip: fc.integer({ min: 1, max: 255 }) })
  const object = (from: readonly string[]) =>
    fc.constantFrom(...from).chain((key) => {
      const body = objects.get(key)?.body ?? Buffer.alloc(0)
      const content = gunzipSync(body)
      return fc.oneof(
        byte(body.length).map((one) => ({ key, body: flipped(body, one) })),
        byte(content.length).map((one) => ({ key, body: gzipSync(flipped(content, one)) })),
      )
    })
  const flipped = (bytes: Buffer, { at, flip }: { at: number; flip: number }): Buffer => {
    const out = Buffer.from(bytes)
    out[at] = (out[at] ?? 0) ^ flip
    return out
  }

  test('is refused and located, unless the content stays the same', async () => {
    const root = copy(objects)
    await fc.assert(
      fc.asyncProperty(object(keys), async ({ key, body }) => {
        const { report, same } = await changed(root, key, body)
        expect(found(report).map(([, name]) => name)).toEqual(same ? [] : [key])
      }),
      { numRuns: 200 },
    )
  })

  test('also without the signatures that S3 keeps, but in the newest digest and what it names', async () => {
    const root = copy(objects, () => false)
    const older = keys.filter((key) => key !== trail.digests.at(-1))
    await fc.assert(
      fc.asyncProperty(object(older), async ({ key, body }) => {
        const { report, same } = await changed(root, key, body)
        expect(found(report).map(([, name]) => name)).toEqual(same ? [] : [key])
      }),
      { numRuns: 100 },
    )
  })
})

test('no digest file, however strange, ends a verification', async () => {
  const text = (value: unknown) => JSON.stringify(value) ?? ''
  const { objects, at, digest } = world(3)
  const root = copy(objects, (key) => key !== digest(2))
  const genuine = JSON.parse(gunzipSync(at(digest(2)).body).toString())
  const value = fc.oneof(
    fc.anything(),
    fc.constantFrom(
      null,
      '',
      '__proto__',
      '2026-99-99T99:99:99Z',
      '0000-01-01T00:00:00Z',
      '9999-12-31T23:59:59Z',
    ),
    fc.constantFrom(...Object.values(genuine)),
  )
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.constantFrom(...Object.keys(genuine)), value), async (strange) => {
      writeFileSync(join(root, digest(2)), gzipSync(text({ ...genuine, ...strange })))
      const { trails } = await verify(trailFolder([root]), { from: START })
      expect(trails[0]?.digests.verified).toBe(2)
    }),
    { numRuns: 300, examples: [[{ digestStartTime: '2026-99-99T99:99:99Z', previousDigestS3Bucket: null }]] },
  )
})

describe('one digest as it arrives', () => {
  test('gives a verdict for itself and each file it names', async () => {
    const { objects, digest, log } = world()
    const result = await verifyDigest(trailFolder([copy(objects)]), digest(1), ring(signer))
    expect(result).toEqual({
      findings: [],
      objects: [digest(1), log(1), log(2)].map((name) => ({ object: name, verdict: 'verified' })),
    })
  })

  test('names what is wrong with them, and with the digest before', async () => {
    const { objects, digest, log, at } = world()
    objects.delete(log(1))
    rewrite(at(digest(0)), (text) => text.replace('Time":"2026', 'Time":"2025'))
    const { findings, objects: verdicts } = await verifyDigest(
      trailFolder([copy(objects)]),
      digest(1),
      ring(signer),
    )
    expect(findings.map(({ kind, object }) => [kind, object])).toEqual([
      ['changed', digest(0)],
      ['deleted', log(1)],
    ])
    expect(new Map(verdicts.map(({ object, verdict }) => [object, verdict]))).toEqual(
      new Map([
        [digest(1), 'verified'],
        [digest(0), 'failed'],
        [log(1), 'failed'],
        [log(2), 'verified'],
      ]),
    )
  })
})

test('a list of public keys that is none is refused with its name', () => {
  for (const value of [undefined, {}, [], { PublicKeyList: [{ Fingerprint: 'aa' }] }])
    expect(() => publicKeys(value, 'keys.json')).toThrow(/keys\.json is not a list/)
  const bad = { PublicKeyList: [{ Fingerprint: 'aa', Value: 'AAAA' }] }
  expect(() => publicKeys(bad, 'keys.json')).toThrow(/key aa cannot be read/)
})
