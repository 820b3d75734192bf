/** CloudTrail files from S3 and SQS, on moto: the service as an operator runs it. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { DeleteObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { checkS3 } from '../../src/ingest/s3-check.ts'
import { unpacked } from '../../src/journal/store.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { type Asked, type Moto, motoMissing, s3Error, sqsError, startMoto } from '../standins/moto.ts'
import { type CloudTrailRecord, delivery, record } from '../support/cloudtrail.ts'
import { random } from '../support/kills.ts'
import { root } from '../support/scan.ts'
import { type RunUnderTest, type Service, service } from '../support/service.ts'
import { awsEnv, makeTrail, REGION, type Trail } from '../support/trail-bucket.ts'

const kills = Number(process.env['KILLS'] ?? 8)
const seed = Number(process.env['SEED'] ?? 1)

const some = (count: number, change: CloudTrailRecord = {}) =>
  Array.from({ length: count }, () => record(change))
const ids = (all: readonly CloudTrailRecord[]) => all.map((one) => String(one['eventID'])).sort()
const eventually = async (what: string, holds: () => boolean | Promise<boolean>, ms = 60_000) => {
  for (const end = performance.now() + ms; !(await holds()); await sleep(50))
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
}

/** Event ids in the journal, with repeats. */
const journaled = (one: Service): string[] => {
  const store = one.store()
  try {
    return store
      .blocks(0, Number.MAX_SAFE_INTEGER)
      .flatMap((block) => unpacked(block).items)
      .map(({ raw }) => String((JSON.parse(raw.toString()) as CloudTrailRecord)['eventID'])) // records are objects
      .sort()
  } finally {
    store.close()
  }
}

const ledger = (one: Service) => {
  const store = one.store()
  try {
    return {
      counts: Object.fromEntries(
        store.ledger
          .counts()
          .map(({ outcome, reason, objects }) => [`${outcome} ${reason ?? ''}`.trim(), objects]),
      ),
      missing: store.ledger.missing(100),
      counters: Object.fromEntries(store.counters()),
    }
  } finally {
    store.close()
  }
}

describe.skipIf(motoMissing !== undefined)('S3 and SQS', { timeout: 600_000 + kills * 30_000 }, () => {
  let moto: Moto
  const services: Service[] = []
  const stops: ((signal: NodeJS.Signals) => void)[] = []
  beforeAll(async () => {
    Object.assign(process.env, awsEnv)
    moto = await startMoto()
  })
  afterEach(() => {
    moto.behave = () => undefined
    for (const stop of stops.splice(0)) stop('SIGKILL')
    for (const one of services.splice(0)) one.remove()
  })
  afterAll(() => moto.close())

  const serve = (trail: Trail, config: object = {}) => {
    const one = service([], { sources: { trail: { ...trail.config, ...config } } })
    services.push(one)
    return one
  }
  /** Starts a service that follows. */
  const start = (one: Service, more: RunUnderTest = {}) => {
    let stop: (signal: NodeJS.Signals) => void = () => {}
    let text: () => string = () => ''
    const ended = one.run({
      ...more,
      once: false,
      env: { ...awsEnv, ...more.env },
      onStart: (end, log) => {
        stop = end
        stops.push(end)
        text = log
      },
    })
    return {
      stop: (signal: NodeJS.Signals = 'SIGTERM') => {
        stop(signal)
        return ended
      },
      log: () => text(),
      ended,
    }
  }
  const sinkLines = (one: Service) => {
    try {
      return one.lines('events')
    } catch {
      return [] // the sink has not made it yet
    }
  }

  test('every form of message is read, what is no log is told apart, what is lost is said', async () => {
    const trail = await makeTrail(moto, { notify: false })
    const { bucket } = trail
    const announce = (key: string, eTag = '') =>
      JSON.stringify({
        Records: [
          { eventName: 'ObjectCreated:Put', s3: { bucket: { name: bucket }, object: { key, eTag } } },
        ],
      })
    const sns = (Message: string) => JSON.stringify({ Type: 'Notification', Message })
    const logs = Array.from({ length: 6 }, () => some(5))
    const keys = logs.map(() => trail.key())
    keys[0] = 'AWSLogs/a b+c=1.json.gz'
    for (const [at, key] of keys.entries()) await trail.put(key, gzipSync(delivery(logs[at] ?? [])))
    const whole = gzipSync(delivery(some(300, { userAgent: 'cut' })))
    await trail.put('cut.json.gz', whole.subarray(0, whole.length - 200))
    const damaged = Buffer.from(whole)
    damaged.fill(0x55, 500, 600)
    await trail.put('damaged.json.gz', damaged)
    await trail.put('bomb.json.gz', gzipSync(Buffer.alloc(64 * 1024 * 1024, ' ')))
    await trail.put('picture.png', Buffer.from('\x89PNG\r\n'))
    const gone = await trail.deliver(some(1))
    const goneKey = gone.slice(`s3://${bucket}/`.length)
    await trail.s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: goneKey }))
    const inMessage = record()

    for (const body of [
      JSON.stringify({ Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: bucket }),
      announce('AWSLogs/a+b%2Bc%3D1.json.gz'),
      sns(announce(keys[1] ?? '')),
      JSON.stringify({ s3Bucket: bucket, s3ObjectKey: [keys[2], keys[3]] }),
      sns(JSON.stringify({ s3Bucket: bucket, s3ObjectKey: [keys[4]] })),
      JSON.stringify({
        'detail-type': 'Object Created',
        source: 'aws.s3',
        detail: { bucket: { name: bucket }, object: { key: keys[5] } },
      }),
      ...['cut.json.gz', 'damaged.json.gz', 'bomb.json.gz', 'picture.png', goneKey].map((key) =>
        announce(key),
      ),
      announce(`AWSLogs/123456789012/CloudTrail-Digest/${REGION}/2026/03/02/d.json.gz`),
      announce('AWSLogs/123456789012/Config/ConfigWritabilityCheckFile'),
      JSON.stringify({
        'detail-type': 'AWS API Call via CloudTrail',
        time: '2026-03-02T09:00:00Z',
        detail: inMessage,
      }),
      'what is this?',
      announce('k'.repeat(2000)),
    ])
      await trail.send(body)
    const one = serve(trail)
    const running = start(one)
    await eventually('the queue is empty', async () => (await trail.unsettled()) === 0)
    // again: what was decided is not asked for again
    const before = moto.asked.length
    await trail.send(announce(keys[5] ?? ''))
    await eventually('the queue is empty', async () => (await trail.unsettled()) === 0)
    expect(
      moto.asked.slice(before).filter(({ method, target }) => method === 'GET' && target === ''),
    ).toEqual([])
    const { code, log } = await running.stop()
    expect(code, log).toBe(0)

    const { counts, missing, counters } = ledger(one)
    expect(counts).toEqual({
      read: 6,
      'skipped digest': 1,
      'skipped configuration': 1,
      'skipped not_json': 1,
      'skipped notification': 1,
      'failed unreadable': 1,
      'failed truncated': 1,
      'failed corrupt': 1,
      'failed bomb': 1,
      'failed deleted': 1,
    })
    expect(missing.map(({ place }) => place)).toContain(gone)
    expect(log).toContain('is lost: it was deleted before it could be read')
    const kept = journaled(one)
    expect(kept).toEqual([...new Set(kept)])
    expect(kept).toEqual(expect.arrayContaining(ids([...logs.flat(), inMessage])))
    // what could be read of the cut object is kept, and nothing else came
    const cut = kept.length - logs.flat().length - 1
    expect(cut).toBeGreaterThan(0)
    expect(counters['rejected|trail|broken_json']).toBeGreaterThanOrEqual(1)
    const sum = (name: string) =>
      Object.entries(counters).reduce(
        (all, [key, value]) => (key.startsWith(`${name}|`) ? all + value : all),
        0,
      )
    expect(sum('received')).toBe(sum('kept') + sum('duplicate') + sum('skipped') + sum('rejected'))

    const said = spawnSync(process.execPath, ['src/main.ts', 'status', '--data', one.data], {
      cwd: root,
      encoding: 'utf8',
    })
    expect(said.stdout).toContain('trail: objects 6 read, 4 skipped')
    expect(said.stdout).toContain(`GAP trail: ${gone} is lost`)
  })

  test('what is denied waits, is told, and is read when it is allowed', async () => {
    const trail = await makeTrail(moto, { visibility: 3 })
    let denied = true
    moto.behave = ({ method, target, path }) =>
      denied && method === 'GET' && target === '' && path.includes('.json.gz')
        ? s3Error(403, 'AccessDenied', 'not authorized to perform: kms:Decrypt')
        : undefined
    const all = some(5)
    const place = await trail.deliver(all)
    const one = serve(trail)
    const running = start(one)
    await eventually(
      'it is tried twice',
      () => (running.log().match(/waits: a permission is missing/g)?.length ?? 0) >= 1,
    )
    await eventually('the ledger says so', () => ledger(one).counts['waiting denied'] === 1)
    expect(ledger(one).missing).toMatchObject([{ place, outcome: 'waiting', reason: 'denied' }])
    expect(await trail.unsettled()).toBe(1)
    denied = false
    await eventually('it is read', async () => (await trail.unsettled()) === 0)
    await running.stop()
    expect(journaled(one)).toEqual(ids(all))
    expect(ledger(one).counts).toEqual({ read: 1, 'skipped notification': 1 })
  })

  test('a connection that is cut in the middle of an object loses nothing', async () => {
    const trail = await makeTrail(moto, { visibility: 3 })
    const small = some(50)
    // over 4 MiB when compressed: read as a stream
    const large = Array.from({ length: 120 }, () =>
      record({ requestParameters: { encryptionContext: { random: randomBytes(40_000).toString('hex') } } }),
    )
    await trail.deliver(small)
    await trail.deliver(large)
    const cuts = new Map<string, number>()
    moto.behave = ({ method, target, path }) => {
      if (method !== 'GET' || target !== '' || !path.includes('.json.gz')) return undefined
      const times = (cuts.get(path) ?? 0) + 1
      cuts.set(path, times)
      return times > 6 ? undefined : times % 2 === 0 ? 'half' : 'cut'
    }
    const one = serve(trail)
    const running = start(one)
    await eventually('it is read', async () => (await trail.unsettled()) === 0)
    const { log } = await running.stop()
    expect(journaled(one)).toEqual(ids([...small, ...large]))
    expect(log).toContain('waits: the service does not give it out now')
    expect(ledger(one).counts).toEqual({ read: 2, 'skipped notification': 1 })
    // what had come before the cut came again
    expect(ledger(one).counters['duplicate|trail']).toBeGreaterThan(0)
  })

  test('start: end passes over what was announced before, once', async () => {
    const trail = await makeTrail(moto)
    await trail.deliver(some(5))
    await sleep(1100)
    const one = serve(trail, { start: 'end' })
    const first = start(one)
    await eventually('it is passed over', async () => (await trail.unsettled()) === 0)
    const later = some(5)
    await trail.deliver(later)
    await eventually('it is read', async () => (await trail.unsettled()) === 0)
    await first.stop()
    const meanwhile = some(5)
    await trail.deliver(meanwhile)
    const second = start(one)
    await eventually('it is read', async () => (await trail.unsettled()) === 0)
    await second.stop()
    expect(journaled(one)).toEqual(ids([...later, ...meanwhile]))
    expect(ledger(one).counts).toEqual({ read: 2, 'skipped before_start': 1, 'skipped notification': 1 })
  })

  test('roles: the queue is read as one, each bucket as its own', async () => {
    const trail = await makeTrail(moto)
    const other = await makeTrail(moto, { notify: false })
    process.env['AWS_ENDPOINT_URL_STS'] = moto.url
    const role = (name: string) => ({
      arn: `arn:aws:iam::123456789012:role/${name}`,
      external_id: `id-of-${name}`,
    })
    const [first, second] = [some(3), some(4)]
    await trail.deliver(first)
    await other.deliver(second)
    await trail.send(
      JSON.stringify({
        s3Bucket: other.bucket,
        s3ObjectKey: [other.key().replace(/\d{16}/, '0000000000000001')],
      }),
    )
    const from = moto.asked.length
    const one = serve(trail, {
      role: role('central'),
      buckets: [{ name: trail.bucket }, { name: other.bucket, role: role('other') }],
    })
    const running = start(one)
    await eventually('all is read', async () => (await trail.unsettled()) === 0)
    const { log } = await running.stop()
    delete process.env['AWS_ENDPOINT_URL_STS']
    expect(journaled(one), log).toEqual(ids([...first, ...second]))
    const asked = moto.asked.slice(from)
    const assumed = asked
      .filter(({ body }) => body.includes('Action=AssumeRole'))
      .map(({ body }) => new URLSearchParams(body))
    expect(new Set(assumed.map((one) => `${one.get('RoleArn')} ${one.get('ExternalId')}`))).toEqual(
      new Set(['central', 'other'].map((name) => `${role(name).arn} id-of-${name}`)),
    )
    const signers = (of: (asked: Asked) => boolean) => new Set(asked.filter(of).map(({ signer }) => signer))
    const gets = (bucket: string) =>
      signers(({ method, path }) => method === 'GET' && path.startsWith(`/${bucket}/`))
    expect(gets(trail.bucket)).not.toContain(awsEnv.AWS_ACCESS_KEY_ID)
    expect(gets(trail.bucket)).not.toEqual(gets(other.bucket))
    expect(
      signers(({ target, body }) => target === 'AmazonSQS.ReceiveMessage' && body.includes(trail.bucket))
        .size,
    ).toBe(1)
  })

  test('a standby on the same data directory is refused, and takes over when the first is gone', async () => {
    const trail = await makeTrail(moto, { visibility: 3 })
    const all = Array.from({ length: 10 }, () => some(20))
    const one = serve(trail)
    const first = start(one)
    for (const records of all.slice(0, 5)) await trail.deliver(records)
    await eventually('the first works', () => sinkLines(one).length > 0)
    first.stop('SIGSTOP')
    const refused = await one.run({ once: false, env: awsEnv })
    expect(refused).toMatchObject({ code: 2 })
    expect(refused.log).toContain('another keytrail is running')
    for (const records of all.slice(5)) await trail.deliver(records)
    // it wakes when its messages are no longer its own
    await sleep(4000)
    first.stop('SIGCONT')
    await sleep(500)
    await first.stop('SIGKILL')
    const second = start(one)
    await eventually('it reads', () => second.log().includes(' reads '))
    await eventually('all is read', async () => (await trail.unsettled()) === 0)
    await second.stop()
    expect(journaled(one)).toEqual(ids(all.flat()))
  })

  test('from the message to the sink it takes at most 5 s at 200 records/s', async () => {
    const trail = await makeTrail(moto, { visibility: 30 })
    const one = serve(trail)
    const running = start(one)
    await eventually(
      'it reads',
      () =>
        running.log().includes('keytrail 0.1.0 reads') &&
        moto.asked.some(
          ({ target, path, body }) =>
            target === 'AmazonSQS.ReceiveMessage' && (path + body).includes(trail.bucket),
        ),
    )
    const sent = new Map<string, number>()
    const arrived = new Map<string, number>()
    const look = () => {
      const counts = new Map<string, number>()
      for (const { network } of sinkLines(one)) {
        const { user_agent } = network as { user_agent: string } // the record names it
        counts.set(user_agent, (counts.get(user_agent) ?? 0) + 1)
      }
      for (const [name, count] of counts)
        if (count === 100 && !arrived.has(name)) arrived.set(name, performance.now())
    }
    const looking = setInterval(look, 20)
    for (let n = 0; n < 20; n++) {
      const began = performance.now()
      sent.set(`batch-${n}`, began)
      await trail.deliver(some(100, { userAgent: `batch-${n}` }))
      await sleep(Math.max(500 - (performance.now() - began), 0))
    }
    await eventually('all arrived', () => arrived.size === 20)
    clearInterval(looking)
    await running.stop()
    const took = [...arrived].map(([name, at]) => at - (sent.get(name) ?? 0)).sort((a, b) => a - b)
    console.info(
      `latency at 200 records/s: median ${Math.round(took[10] ?? 0)} ms, longest ${Math.round(took[19] ?? 0)} ms`,
    )
    expect(took[19]).toBeLessThan(5000)
  })

  test(`kill -9 ${kills} times while objects come: nothing lost, nothing twice (seed ${seed})`, async () => {
    const trail = await makeTrail(moto, { visibility: 2 })
    const next = random(seed)
    const one = serve(trail)
    const all: CloudTrailRecord[] = []
    let killed = 0
    let atWork = 0
    for (let kill = 0; kill < kills; kill++) {
      for (let object = 0; object < 5; object++) {
        const records = some(1 + Math.floor(next() * (object === 2 ? 4000 : 300)))
        all.push(...records)
        await trail.deliver(records)
      }
      const window = ['inside-commit', 'after-commit', undefined][kill % 3]
      const kill_at = `${window}:${4 + Math.floor(next() * 8)}`
      const running = start(
        one,
        window === undefined
          ? {}
          : { preload: [join(root, 'test/support/kill-at.ts')], env: { KILL_AT: kill_at } },
      )
      await Promise.race([running.ended, eventually('it reads', () => running.log().includes(' reads '))])
      const lives = window === undefined ? 100 + Math.floor(next() * 1500) : 8000
      await Promise.race([running.ended, sleep(lives)])
      if ((await running.stop('SIGKILL')).code === 'SIGKILL') killed++
      const { length } = journaled(one)
      if (length > 0 && length < all.length) atWork++
    }
    const last = start(one)
    await eventually('it reads', () => last.log().includes(' reads '))
    await eventually('all is acknowledged', async () => (await trail.unsettled()) === 0)
    const { code, log } = await last.stop()
    expect(code, log).toBe(0)
    expect(killed).toBe(kills)
    expect(atWork).toBeGreaterThanOrEqual(kills / 2)
    expect(journaled(one)).toEqual(ids(all))
    const fed = one.lines('events').map((event) => String(event['event_id']))
    expect(new Set(fed).size).toBe(all.length)
    const { counters, counts } = ledger(one)
    console.info(
      `${all.length} records, ${counts['read']} objects, ${atWork} of ${killed} kills in the middle, ${counters['duplicate|trail'] ?? 0} duplicates`,
    )
  })

  describe('doctor', () => {
    const well = ['credentials', 'queue', 'receive', 'delete', 'prolong', 'notification', 'list', 'read']
    const check = async (trail: Trail, change: object = {}) => {
      const config = sourceConfig.parse({ ...trail.config, buckets: [{ name: trail.bucket }], ...change })
      if (config.type !== 's3') throw new Error('of type s3')
      const found = await checkS3(config, new AbortController().signal)
      return found.map(({ step, ok, detail }) => ({ step: step.replace(`${trail.bucket} `, ''), ok, detail }))
    }
    const denySqs = (action: string) => (asked: Asked) =>
      asked.target === `AmazonSQS.${action}`
        ? sqsError(403, 'AccessDeniedException', `not authorized to perform: sqs:${action.toLowerCase()}`)
        : undefined
    const denyS3 = (match: (asked: Asked) => boolean, message: string) => (asked: Asked) =>
      asked.target === '' && asked.method === 'GET' && match(asked)
        ? s3Error(403, 'AccessDenied', message)
        : undefined

    test('says that all is well', async () => {
      const trail = await makeTrail(moto)
      await trail.deliver(some(1))
      const found = await check(trail)
      expect(found.map(({ step, ok }) => [step, ok])).toEqual(well.map((step) => [step, true]))
      // it took no message away
      await eventually('the messages are visible', async () => (await trail.unsettled()) === 2)
    })

    test.each<[string, Moto['behave'], string, RegExp]>([
      ['sqs:ReceiveMessage', denySqs('ReceiveMessage'), 'receive', /permission sqs:ReceiveMessage on/],
      ['sqs:DeleteMessage', denySqs('DeleteMessage'), 'delete', /permission sqs:DeleteMessage on/],
      [
        'sqs:ChangeMessageVisibility',
        denySqs('ChangeMessageVisibility'),
        'prolong',
        /permission sqs:ChangeMessageVisibility on/,
      ],
      [
        's3:ListBucket',
        denyS3(({ path }) => path.includes('list-type'), 'Access Denied'),
        'list',
        /permission s3:ListBucket on/,
      ],
      [
        's3:GetObject',
        denyS3(({ path }) => path.includes('.json.gz'), 'Access Denied'),
        'read',
        /permission s3:GetObject on arn:aws:s3:::\S+\/\* \(or kms:Decrypt on the key/,
      ],
      [
        'kms:Decrypt',
        denyS3(
          ({ path }) => path.includes('.json.gz'),
          'User: arn:aws:sts::123456789012:assumed-role/keytrail/keytrail is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-central-1:123456789012:key/1',
        ),
        'read',
        /permission kms:Decrypt on the key of/,
      ],
    ])('names the missing %s', async (_permission, behave, failing, expected) => {
      const trail = await makeTrail(moto)
      await trail.deliver(some(1))
      moto.behave = behave
      const found = await check(trail)
      expect(found.filter(({ ok }) => !ok).map(({ step }) => step)).toEqual([failing])
      expect(found.find(({ ok }) => !ok)?.detail).toMatch(expected)
    })

    test('names a queue that is not there, and a bucket that tells nobody', async () => {
      const trail = await makeTrail(moto, { notify: false })
      expect((await check(trail, { queue: `${trail.queue}-not` })).find(({ ok }) => !ok)).toMatchObject({
        step: 'queue',
        detail: expect.stringContaining('does not exist'),
      })
      expect((await check(trail)).find(({ ok }) => !ok)).toMatchObject({
        step: 'notification',
        detail: expect.stringContaining('notification not configured'),
      })
    })
  })
})
