/** Digests in a bucket, and AWS's own validator on the same ones: `aws cloudtrail validate-logs`. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync, gzipSync } from 'node:zlib'
import { CreateBucketCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Aws, awsCli, motoServer, startAws } from '../standins/aws.ts'
import {
  type Bucket,
  HOUR_MS,
  listedKeys,
  type S3Object,
  START,
  signingKey,
  Trail,
} from '../support/digests.ts'
import { root } from '../support/scan.ts'

const run = promisify(execFile)
const signer = signingKey()
const other = signingKey()

describe.skipIf(motoServer === undefined || awsCli === undefined)('digests in a bucket', () => {
  let aws: Aws
  beforeAll(async () => {
    aws = await startAws()
    aws.keys = listedKeys(signer)
  })
  afterAll(() => aws.close())

  const program = async (path: string, args: readonly string[]) => {
    const env = { ...process.env, ...aws.env, NO_COLOR: '1' }
    const ended = await run(path, [...args], { env, encoding: 'utf8' }).catch((cause: unknown) => cause)
    const {
      stdout = '',
      stderr = '',
      code = 0,
    } = ended as { stdout?: string; stderr?: string; code?: number } // execFile's result or its error
    return { stdout, stderr, status: code }
  }

  const deliver = async (objects: Bucket) => {
    await aws.reset()
    await aws.s3.send(
      new CreateBucketCommand({
        Bucket: 'example-trail',
        CreateBucketConfiguration: { LocationConstraint: 'eu-central-1' },
      }),
    )
    await Promise.all(
      [...objects].map(([Key, { body: Body, metadata: Metadata }]) =>
        aws.s3.send(new PutObjectCommand({ Bucket: 'example-trail', Key, Body, Metadata })),
      ),
    )
  }

  const iso = (time: number) => new Date(time).toISOString()
  const window = [START, START + 24 * HOUR_MS].map(iso)

  /** What AWS's validator calls invalid. */
  const byAws = async () => {
    const [from = '', to = ''] = window
    const { status, stdout, stderr } = await program(awsCli ?? '', [
      ...['cloudtrail', 'validate-logs', '--region', 'eu-central-1', '--s3-bucket', 'example-trail'],
      ...['--trail-arn', 'arn:aws:cloudtrail:eu-central-1:123456789012:trail/main_trail'],
      ...['--start-time', from, '--end-time', to],
    ])
    if (!stdout.includes('Results requested'))
      throw new Error(`validate-logs ended with ${status}: ${stderr}`)
    return [...stderr.matchAll(/(s3:\S+)\tINVALID/g)].map(([, name]) => name).toSorted()
  }

  const byKeytrail = async () => {
    const args = [join(root, 'src/main.ts'), 'verify', 'cloudtrail', 's3://example-trail', '--json']
    const { status, stdout, stderr } = await program(process.execPath, args)
    if (stdout === '') throw new Error(`verify ended with ${status}: ${stderr}`)
    const { findings }: { findings: { object: string }[] } = JSON.parse(stdout)
    return { status, names: findings.map(({ object }) => object).toSorted() }
  }

  const rewrite = (one: S3Object, change: (text: string) => string) => {
    one.body = gzipSync(change(gunzipSync(one.body).toString()))
  }
  const exchange = (a: S3Object, b: S3Object) => {
    const { body } = a
    a.body = b.body
    b.body = body
  }

  type Change = (at: (key: string) => S3Object, trail: Trail, objects: Bucket) => void
  const log = (trail: Trail, n: number) => trail.logs[n] ?? ''
  const digest = (trail: Trail, hour: number) => trail.digests[hour] ?? ''
  const changes: readonly (readonly [name: string, invalid: number, change: Change])[] = [
    ['nothing', 0, () => {}],
    [
      'a changed log file',
      1,
      (at, trail) => rewrite(at(log(trail, 7)), (text) => text.replace('Decrypt', 'Encrypt')),
    ],
    ['a damaged log file', 1, (at, trail) => at(log(trail, 7)).body.fill(7, 40, 60)],
    ['a deleted log file', 1, (_, trail, objects) => objects.delete(log(trail, 7))],
    ['log files in each other’s place', 2, (at, trail) => exchange(at(log(trail, 3)), at(log(trail, 30)))],
    [
      'a changed digest',
      1,
      (at, trail) => rewrite(at(digest(trail, 10)), (text) => text.replace('T10:', 'T11:')),
    ],
    ['a deleted digest', 1, (_, trail, objects) => objects.delete(digest(trail, 10))],
    [
      'digests in each other’s place',
      2,
      (at, trail) => exchange(at(digest(trail, 9)), at(digest(trail, 15))),
    ],
    [
      'a broken signature',
      1,
      (at, trail) => {
        const { metadata } = at(digest(trail, 10))
        metadata['signature'] = (metadata['signature'] ?? '').replace(/^../, (two) =>
          two === '00' ? '01' : '00',
        )
      },
    ],
    [
      'no signature',
      1,
      (at, trail) => {
        at(digest(trail, 23)).metadata = {}
      },
    ],
    [
      'an unknown key',
      1,
      (_, trail) => {
        trail.signer = other
        trail.hours(1, 24)
      },
    ],
    [
      'a backfilled digest that was changed',
      1,
      (at, trail, objects) => {
        const late = trail.log(START + 9.5 * HOUR_MS, 'late')
        const backfill = new Trail(objects, { signer, backfill: true })
        const key = backfill.digest(START + 9 * HOUR_MS, START + 10 * HOUR_MS, [late])
        rewrite(at(key), (text) => text.replace('SHA256withRSA', 'SHA256withRSA '))
      },
    ],
  ]

  test("AWS's validator and Keytrail name the same objects", async () => {
    for (const [name, invalid, change] of changes) {
      const objects: Bucket = new Map()
      const trail = new Trail(objects, { signer }).hours()
      const at = (key: string): S3Object => {
        const one = objects.get(key)
        if (one === undefined) throw new Error(`there is no ${key}`)
        return one
      }
      change(at, trail, objects)
      await deliver(objects)
      const theirs = await byAws()
      expect([name, theirs.length]).toEqual([name, invalid])
      expect([name, await byKeytrail()]).toEqual([name, { status: invalid === 0 ? 0 : 1, names: theirs }])
    }
  }, 300_000)

  test('a window, a prefix and an organization', async () => {
    const objects: Bucket = new Map()
    const trails = [
      new Trail(objects, { signer, prefix: 'audit/', organization: 'o-exampleorg' }).hours(30),
      new Trail(objects, { signer, prefix: 'audit/', region: 'us-east-1' }).hours(30),
    ]
    await deliver(objects)
    const args = [join(root, 'src/main.ts'), 'verify', 'cloudtrail', '--json', 's3://example-trail/audit']
    const whole = await program(process.execPath, args)
    expect(JSON.parse(whole.stdout).trails).toMatchObject(
      trails.map((trail) => ({
        digests: { verified: 30 },
        files: { verified: trail.logs.length },
      })),
    )
    const [from = '', to = ''] = [6, 12].map((hour) => iso(START + hour * HOUR_MS))
    const part = await program(process.execPath, [...args, '--from', from, '--to', to])
    // From the digest of hour 6 to two hours after the end of the window.
    expect(JSON.parse(part.stdout)).toMatchObject({
      verdict: 'verified',
      trails: trails.map(() => ({
        digests: { verified: 8 },
        from: '2026-03-02T06:01:31Z',
        to: '2026-03-02T14:01:31Z',
      })),
    })
  })

  test('the commands of the page, in their order', async () => {
    const objects: Bucket = new Map()
    new Trail(objects, { signer }).hours()
    await deliver(objects)
    const page = readFileSync(join(root, 'docs/verify-cloudtrail.md'), 'utf8')
    const blocks = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block)
    expect(blocks).toHaveLength(2)
    const cwd = mkdtempSync(join(tmpdir(), 'keytrail-verify-page-'))
    try {
      const script = `set -eu; aws() { command ${awsCli} "$@"; }; keytrail() { ${process.execPath} ${root}/src/main.ts "$@"; }\n${blocks.join('')}`
      const env = { ...process.env, ...aws.env, NO_COLOR: '1' }
      const ended = await run('sh', ['-c', script], { cwd, env }).catch((cause: unknown) => cause)
      const { stdout, stderr } = ended as { stdout: string; stderr: string } // execFile's result or its error
      expect(stderr).toBe('')
      expect([...stdout.matchAll(/24 digests verified; 45 log files verified/g)]).toHaveLength(3)
      expect(stdout).toContain('"verdict": "verified"')
    } finally {
      rmSync(cwd, { recursive: true, force: true })
    }
  })
})
