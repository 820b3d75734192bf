/** CloudTrail digests that come with the logs: `run` verifies them in the background, on moto. */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import { gunzipSync, gzipSync } from 'node:zlib'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { journaled, rejudge } from '../../src/journal/rejudge.ts'
import { alert as alertSchema } from '../../src/model/alert.ts'
import { type Answer, type Asked, type Moto, motoMissing, s3Error, startMoto } from '../standins/moto.ts'
import {
  type Bucket,
  HOUR_MS,
  listedKeys,
  type S3Object,
  type SigningKey,
  START,
  signingKey,
  Trail,
} from '../support/digests.ts'
import { eventually } from '../support/reading.ts'
import { root } from '../support/scan.ts'
import { type Service, service } from '../support/service.ts'
import { awsEnv, makeTrail, REGION } from '../support/trail-bucket.ts'

const signer = signingKey()
const newer = signingKey()

/** Hours behind START that are over by now. */
const past = Math.floor((Date.now() - START) / HOUR_MS)

describe.skipIf(motoMissing !== undefined)('digests in run', { timeout: 120_000 }, () => {
  let moto: Moto
  let keys: readonly SigningKey[] = []
  let also: (asked: Asked) => Answer | 'hang' | undefined = () => undefined
  const services: Service[] = []
  beforeAll(async () => {
    Object.assign(process.env, awsEnv)
    moto = await startMoto()
    moto.behave = (asked) => also(asked) ?? (asked.target.endsWith('.ListPublicKeys') ? listing() : undefined)
  })
  afterEach(() => {
    also = () => undefined
    for (const one of services.splice(0)) one.remove()
  })
  afterAll(() => moto.close())

  const listing = (): Answer => ({
    status: 200,
    headers: { 'content-type': 'application/x-amz-json-1.1' },
    body: JSON.stringify(
      JSON.parse(listedKeys(...keys), (name, value) =>
        /Time$/.test(name) ? Date.parse(String(value)) / 1000 : value,
      ),
    ),
  })

  /** What a trail delivered, changed by somebody, and a service whose queue was told of it. */
  const setUp = async (make: (trail: Trail) => void, change: Change = () => {}, config: object = {}) => {
    const { bucket, s3, config: own } = await makeTrail(moto)
    const objects: Bucket = new Map()
    const trail = new Trail(objects, { signer, bucket })
    make(trail)
    change((key) => objects.get(key ?? '') ?? { body: Buffer.alloc(0), metadata: {} }, trail, objects)
    for (const [Key, { body: Body, metadata: Metadata }] of objects)
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body, Metadata }))
    const endpoints = { s3: moto.url, cloudtrail: moto.url }
    const one = service([], { sources: { trail: { ...own, endpoints, ...config } } })
    services.push(one)
    return { one, trail, objects, s3: (key: string | undefined) => `s3://${bucket}/${key}` }
  }
  const run = async (one: Service) => {
    const { code, log } = await one.run()
    expect(code, log).toBe(0)
    return log
  }
  /** Half an hour passes for what the ledger holds. */
  const wait = (one: Service) => {
    const db = new DatabaseSync(join(one.data, 'journal.db'))
    db.exec('UPDATE ledger SET at = at - 1800000')
    db.close()
  }
  const verdicts = (one: Service): Record<string, string> => {
    const db = new DatabaseSync(join(one.data, 'journal.db'), { readOnly: true })
    const rows = db.prepare('SELECT object, verdict FROM integrity').all() as Record<string, string>[] // two texts
    db.close()
    return Object.fromEntries(rows.map(({ object = '', verdict = '' }) => [object, verdict]))
  }
  const alerts = (one: Service) =>
    one.lines('alerts').filter(({ detector }) => (detector as { id: string }).id === 'integrity-failed')

  test('what was changed, deleted or signed by another is told; the rest is verified, once', async () => {
    keys = [signer]
    const { one, trail, objects, s3 } = await setUp(
      (made) => void made.hours(7, past - 7),
      (at, made, all) => {
        const [, changed, deleted] = made.logs
        const log = at(changed)
        log.body = gzipSync(gunzipSync(log.body).toString().replace('Decrypt', 'Encrypt'))
        all.delete(deleted ?? '')
        const digest = at(made.digests[4])
        digest.metadata['signature'] = '00'.repeat(256)
      },
    )
    await run(one)
    expect(verdicts(one)).toEqual({})
    wait(one)
    const from = moto.asked.length
    await run(one)
    const failed = [trail.logs[1], trail.logs[2], trail.digests[4]].map(s3)
    const found = verdicts(one)
    expect(
      Object.keys(found)
        .filter((name) => found[name] === 'failed')
        .sort(),
    ).toEqual(failed.toSorted())
    // Files of the digest whose signature is wrong are not proven; what else is there is.
    const text = gunzipSync(objects.get(trail.digests[4] ?? '')?.body ?? '').toString()
    const { logFiles } = JSON.parse(text) as { logFiles: { s3Object: string }[] } // written by the trail
    const unproven = logFiles.map(({ s3Object }) => s3(s3Object))
    expect(unproven.length).toBeGreaterThan(0)
    expect(Object.keys(found).sort()).toEqual(
      [...objects.keys(), trail.logs[2]]
        .map(s3)
        .filter((name) => !unproven.includes(name))
        .sort(),
    )
    expect(moto.asked.slice(from).filter(({ target }) => target.endsWith('.ListPublicKeys'))).toHaveLength(1)
    const told = alerts(one)
    for (const one of told) expect(alertSchema.safeParse(one).error).toBeUndefined()
    // Which of them share a digest depends on the hour.
    const kinds = told.flatMap(({ labels }) => (labels as { kinds: string }).kinds.split(', '))
    expect(kinds.sort()).toEqual(['changed 1', 'deleted 1', 'signature 1'])
    expect(told.map(({ explanation }) => String(explanation)).join('\n')).toContain(failed[0])
    const store = one.store()
    expect(await rejudge(journaled(store), () => {})).toMatchObject({ differences: [] })
    store.close()
    await run(one)
    expect(alerts(one)).toEqual(told)
  })

  test('keys: one that is new is asked for once more, one that CloudTrail does not list is told', async () => {
    keys = [signer]
    const { one, trail, s3 } = await setUp((made) => {
      made.hours(2, past - 3)
      made.signer = newer
      made.hours(1, past - 1)
    })
    await run(one)
    wait(one)
    keys = [signer, newer]
    await run(one)
    expect(verdicts(one)[s3(trail.digests[2])]).toBe('verified')
    expect(alerts(one)).toEqual([])

    const other = await setUp((made) => {
      made.signer = signingKey()
      made.hours(1, past - 1)
    })
    await run(other.one)
    wait(other.one)
    await run(other.one)
    expect(alerts(other.one)).toMatchObject([{ labels: { kinds: 'unknown_key 1' }, severity: 'high' }])
  })

  test('keys from a file; what cannot be read waits and stops nobody', async () => {
    keys = []
    const keysFile = join(mkdtempSync(join(tmpdir(), 'keytrail-keys-')), 'keys.json')
    writeFileSync(keysFile, listedKeys(signer))
    const { one, trail, s3 } = await setUp((made) => void made.hours(1, past - 1), undefined, {
      public_keys: [keysFile],
    })
    await run(one)
    wait(one)
    also = ({ method, path }) =>
      method === 'GET' && path.includes('CloudTrail-Digest')
        ? s3Error(403, 'AccessDenied', 'not for now')
        : undefined
    const log = await run(one)
    expect(log).toContain('is not verified, and tried again')
    expect(log).toContain('not for now')
    expect([verdicts(one), alerts(one)]).toEqual([{}, []])

    let isAsked = false
    also = ({ method, path }) => {
      if (method !== 'GET' || !path.includes('CloudTrail-Digest')) return undefined
      isAsked = true
      return 'hang'
    }
    let stop: (signal: NodeJS.Signals) => void = () => {}
    const running = one.run({
      once: false,
      onStart: (kill) => {
        stop = kill
      },
    })
    await eventually('it is asked for', () => isAsked)
    const began = performance.now()
    stop('SIGTERM')
    expect((await running).code).toBe(0)
    expect(performance.now() - began).toBeLessThan(10_000)

    also = () => undefined
    const again = one.run({
      once: false,
      onStart: (kill) => {
        stop = kill
      },
    })
    await eventually('it is verified', () => verdicts(one)[s3(trail.digests[0])] === 'verified')
    stop('SIGTERM')
    expect((await again).code).toBe(0)
    rmSync(dirname(keysFile), { recursive: true })
  })

  test('verify assumes the role of another account for the bucket and the keys', async () => {
    keys = [signer]
    const { trail, s3 } = await setUp((made) => void made.hours(2, past - 2))
    const [, bucket = ''] = /^s3:\/\/([^/]+)/.exec(s3(trail.logs[0])) ?? []
    const from = moto.asked.length
    const arn = 'arn:aws:iam::111122223333:role/auditor'
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [
        ...[join(root, 'src/main.ts'), 'verify', 'cloudtrail', `s3://${bucket}`],
        ...['--role', arn, '--external-id', 'e2a9'],
      ],
      { env: { ...process.env, ...awsEnv, AWS_ENDPOINT_URL: moto.url, AWS_REGION: REGION, NO_COLOR: '1' } },
    )
    expect(stdout, stderr).toContain('2 digests verified')
    const asked = moto.asked.slice(from)
    const assumed = asked.find(({ body }) => body.includes('Action=AssumeRole'))
    expect(Object.fromEntries(new URLSearchParams(assumed?.body))).toMatchObject({
      RoleArn: arn,
      ExternalId: 'e2a9',
    })
    const others = asked.filter((one) => one !== assumed && !one.body.includes('Action=AssumeRole'))
    expect(others.map(({ signer: one }) => one)).not.toContain(awsEnv.AWS_ACCESS_KEY_ID)
    expect(others.some(({ target }) => target.endsWith('.ListPublicKeys'))).toBe(true)
  })

  test('that no digest follows the newest is told once, when its hours and two more are over', async () => {
    keys = [signer]
    const { one, trail, s3 } = await setUp((made) => void made.hours(3, past - 7))
    await run(one)
    await run(one)
    expect(alerts(one)).toMatchObject([
      {
        labels: { kinds: 'gap 1' },
        account: '123456789012',
        explanation: expect.stringContaining(s3(trail.digests[2])),
      },
    ])
    const calm = await setUp((made) => void made.hours(3, past - 4))
    await run(calm.one)
    expect(alerts(calm.one)).toEqual([])
  })
})

type Change = (at: (key: string | undefined) => S3Object, trail: Trail, objects: Bucket) => void
