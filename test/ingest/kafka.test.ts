/** What a Kafka source decides without a broker: where to begin, what is a gap, what is not opened, what is refused. */
import { join } from 'node:path'
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/config.ts'
import { saslOf } from '../../src/ingest/kafka-client.ts'
import { loadCodecs, lz4Bound } from '../../src/ingest/kafka-codecs.ts'
import { beginningOf, gapOf, newPartition, type Partition } from '../../src/ingest/kafka-partition.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { root } from '../support/scan.ts'

const range = { low: 10n, high: 20n }
const nobody = {
  journaled: undefined,
  committed: undefined,
  added: false,
  start: 'earliest',
  atTime: undefined,
}

test.each<[name: string, change: Partial<Parameters<typeof beginningOf>[0]>, at: bigint]>([
  ['the journal before all', { journaled: 12n, committed: 15n, start: 'latest' }, 12n],
  ['the journal, even where nothing is any more', { journaled: 3n, committed: 15n }, 3n],
  ['then the group', { committed: 15n, start: 'latest' }, 15n],
  ['then earliest', {}, 10n],
  ['or latest', { start: 'latest' }, 20n],
  ['or a time', { start: '2026-03-02T09:00:00Z', atTime: 17n }, 17n],
  ['or a time that nothing follows', { start: '2026-03-02T09:00:00Z' }, 20n],
  ['a partition that was added later at its beginning', { added: true, start: 'latest' }, 10n],
])('where a partition begins: %s', (_, change, at) => {
  expect(beginningOf({ ...nobody, ...change }, range)).toBe(at)
})

describe('gaps', () => {
  const partition = (change: Partial<Partition>): Partition => ({ ...newPartition('logs', 0), ...change })
  test.each<[name: string, change: Partial<Partition>, text: string | undefined]>([
    ['nothing is known yet', {}, undefined],
    ['it reads', { next: 12n, placed: true }, undefined],
    ['it has read all', { next: 20n, placed: true }, undefined],
    [
      'before it is placed',
      { next: 9n },
      'logs/0: offsets 9..9 (one record) were removed before they were read',
    ],
    ['while it reads, at first sight', { next: 4n, placed: true }, undefined],
    [
      'while it reads, and nothing has come since',
      { next: 4n, placed: true, passed: 4n },
      'logs/0: offsets 4..9 (6 records) were removed before they were read',
    ],
    ['while it reads, and something has come', { next: 6n, placed: true, passed: 4n }, undefined],
    ['the client strayed once', { next: 12n, strayed: 1 }, undefined],
    [
      'the broker does not know the place',
      { next: 25n, strayed: 2 },
      'logs/0: was read up to 25, and the broker has 10..19: the topic was made anew or cut off; what stood between is unknown',
    ],
  ])('%s', (_, change, text) => {
    expect(gapOf(partition(change), range)).toEqual(text === undefined ? undefined : { text, at: 10n })
  })
})

describe('what is compressed', () => {
  const MIB = 1024 * 1024
  /** LZ4 frame of blocks of zeros that are each 4 MiB: a token, a literal, and a match of 255 steps. */
  const lz4Bomb = (blocks: number): Buffer => {
    const steps = Math.floor((4 * MIB - 32) / 255)
    const block = Buffer.concat([
      Buffer.from([0x1f, 0, 1, 0]),
      Buffer.alloc(steps, 255),
      Buffer.from([0, 0x50, 0, 0, 0, 0, 0]),
    ])
    const size = Buffer.alloc(4)
    size.writeUInt32LE(block.length)
    const head = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73])
    return Buffer.concat([
      head,
      ...Array.from({ length: blocks }, () => [size, block]).flat(),
      Buffer.alloc(4),
    ])
  }
  const zeros = Buffer.alloc(65 * MIB)
  const length = (bytes: number) => {
    const varint: number[] = []
    for (let left = bytes; ; left = Math.floor(left / 128)) {
      if (left < 128) return Buffer.from([...varint, left])
      varint.push((left % 128) + 128)
    }
  }
  const bombs: Readonly<Record<string, () => Buffer>> = {
    gzip: () => gzipSync(zeros),
    zstd: () => zstdCompressSync(zeros),
    snappy: () => Buffer.concat([length(65 * MIB), Buffer.alloc(100)]),
    lz4: () => lz4Bomb(17),
  }

  test.each(['gzip', 'zstd', 'snappy', 'lz4'] as const)('a bomb of %s is not opened', async (name) => {
    const codecs = await loadCodecs()
    const bomb = bombs[name]?.() ?? Buffer.alloc(0)
    expect(bomb.length).toBeLessThan(MIB * 2)
    await expect(codecs[name].decompress(bomb)).rejects.toThrow(`${name}: it becomes more than`)
  })

  test.each(['gzip', 'zstd', 'snappy', 'lz4'] as const)('%s that is broken is a failure', async (name) => {
    const codecs = await loadCodecs()
    const good = await codecs[name].compress(Buffer.from('key '.repeat(1000)))
    await expect(codecs[name].decompress(good.subarray(0, good.length - 12))).rejects.toThrow()
    await expect(codecs[name].decompress(deflateSync(zeros.subarray(0, 1000)))).rejects.toThrow()
  })

  test('the framing of snappy-java', async () => {
    const { snappy } = await loadCodecs()
    const blocks = ['key '.repeat(500), 'other '.repeat(300)]
    const framed: Uint8Array[] = [
      Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
    ]
    for (const block of blocks) {
      const bytes = await snappy.compress(Buffer.from(block))
      const size = Buffer.alloc(4)
      size.writeUInt32BE(bytes.length)
      framed.push(size, bytes)
    }
    expect((await snappy.decompress(Buffer.concat(framed))).toString()).toBe(blocks.join(''))
    await expect(snappy.decompress(Buffer.concat(framed).subarray(0, 60))).rejects.toThrow('cut off')
  })

  test('an LZ4 frame is bounded by its blocks', async () => {
    expect(lz4Bound(lz4Bomb(3))).toBe(3 * 4 * MIB)
    const { lz4 } = await loadCodecs()
    const opened = await lz4.decompress(lz4Bomb(3))
    expect(opened.length).toBeGreaterThan(3 * 3.9 * MIB)
    expect(opened.length).toBeLessThanOrEqual(3 * 4 * MIB)
  })
})

/** The mechanism AWS_MSK_IAM: a signed URL of the action kafka-cluster:Connect, in base64url. */
test('the token for Amazon MSK is signed for the region, with the credentials of the environment', async () => {
  process.env['AWS_ACCESS_KEY_ID'] = 'AKIAIOSFODNN7EXAMPLE'
  process.env['AWS_SECRET_ACCESS_KEY'] = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
  const sasl = { mechanism: 'aws', region: 'eu-central-1' } as const
  const options = await saslOf({ brokers: [], sasl, secretOf: (name) => name })
  if (options?.mechanism !== 'oauthbearer') throw new Error('MSK takes OAUTHBEARER')
  const url = new URL(Buffer.from((await options.oauthBearerProvider()).value, 'base64url').toString())
  expect(url.host).toBe('kafka.eu-central-1.amazonaws.com')
  expect(url.searchParams.get('Action')).toBe('kafka-cluster:Connect')
  expect(url.searchParams.get('X-Amz-Credential')).toMatch(
    /^AKIAIOSFODNN7EXAMPLE\/\d{8}\/eu-central-1\/kafka-cluster\/aws4_request$/,
  )
  expect(url.searchParams.get('X-Amz-Signature')).toMatch(/^[0-9a-f]{64}$/)
})

describe('configuration', () => {
  const good = {
    type: 'kafka',
    brokers: ['kafka.example.com:9093'],
    topics: ['cloudtrail'],
    group: 'keytrail',
    start: 'earliest',
  }
  const password = '\u0024{env:KAFKA_PASSWORD}'
  const plain = { mechanism: 'plain', username: 'keytrail', password }

  test.each<[name: string, change: object, path: readonly (string | number)[] | undefined]>([
    ['the least', {}, undefined],
    ['a time to start at', { start: '2026-03-02T09:00:00Z' }, undefined],
    ['no such start', { start: 'now' }, ['start']],
    ['an address without a port', { brokers: ['kafka.example.com'] }, ['brokers', 0]],
    ['an IPv6 address', { brokers: ['[2001:db8::1]:9092'] }, undefined],
    ['signing in with TLS', { tls: {}, sasl: plain }, undefined],
    ['signing in without TLS', { sasl: plain }, []],
    ['signing in without TLS on this machine', { brokers: ['127.0.0.1:9092'], sasl: plain }, undefined],
    ['a password that is written', { tls: {}, sasl: { ...plain, password: 'x' } }, ['sasl', 'password']],
    ['no such mechanism', { tls: {}, sasl: { ...plain, mechanism: 'gssapi' } }, ['sasl', 'mechanism']],
    ['a certificate without its key', { tls: { cert_file: 'a.pem' } }, ['tls']],
    ['no such region', { tls: {}, sasl: { mechanism: 'aws', region: 'here' } }, ['sasl', 'region']],
    ['Amazon MSK', { tls: {}, sasl: { mechanism: 'aws', region: 'eu-central-1' } }, undefined],
  ])('%s', (_, change, path) => {
    expect(sourceConfig.safeParse({ ...good, ...change }).error?.issues[0]?.path).toEqual(path)
  })

  test('the example is valid once its secret is there', () => {
    const example = join(root, 'examples', 'kafka', 'keytrail.yml')
    expect(() => loadConfig(example, true)).toThrow('KAFKA_PASSWORD is not set')
    process.env['KAFKA_PASSWORD'] = 'x'
    expect(loadConfig(example, true).sources['trail']).toMatchObject({ type: 'kafka', on_gap: 'stop' })
    delete process.env['KAFKA_PASSWORD']
  })
})
