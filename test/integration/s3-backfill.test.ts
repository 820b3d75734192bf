/** `keytrail backfill`, on moto. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Store, unpacked } from '../../src/journal/store.ts'
import { type Asked, type Moto, motoMissing, s3Error, startMoto } from '../standins/moto.ts'
import { type CloudTrailRecord, record } from '../support/cloudtrail.ts'
import { root } from '../support/scan.ts'
import { service } from '../support/service.ts'
import { awsEnv, makeTrail, REGION, type Trail } from '../support/trail-bucket.ts'

const some = (count: number) => Array.from({ length: count }, () => record())
const ids = (all: readonly CloudTrailRecord[]) => all.map((one) => String(one['eventID'])).sort()

interface Ended {
  readonly code: number | string
  readonly out: string
  readonly err: string
}

describe.skipIf(motoMissing !== undefined)('backfill', { timeout: 300_000 }, () => {
  let moto: Moto
  const folders: string[] = []
  beforeAll(async () => {
    moto = await startMoto()
  })
  afterEach(() => {
    moto.behave = () => undefined
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
  })
  afterAll(() => moto.close())

  const scratch = () => {
    const folder = mkdtempSync(join(tmpdir(), 'keytrail-backfill-'))
    folders.push(folder)
    return folder
  }
  const keytrail = (args: readonly string[], onStart?: (kill: () => void) => void): Promise<Ended> =>
    new Promise((resolve) => {
      // the SDK takes addresses from the environment; moto wants the bucket in the path
      const env = { ...process.env, ...awsEnv, AWS_ENDPOINT_URL_S3: moto.url, NO_COLOR: '1' }
      const child = spawn(process.execPath, [join(root, 'src/main.ts'), ...args], { env, cwd: scratch() })
      let [out, err] = ['', '']
      child.stdout.on('data', (chunk: Buffer) => {
        out += chunk
      })
      child.stderr.on('data', (chunk: Buffer) => {
        err += chunk
      })
      child.on('close', (code, signal) => resolve({ code: signal ?? code ?? -1, out, err }))
      onStart?.(() => void child.kill('SIGKILL'))
    })
  const configured = (trail: Trail) => {
    const one = service([], { sources: { trail: trail.config } })
    folders.push(one.folder)
    return { one, config: ['--config', join(one.folder, 'keytrail.json')] }
  }
  const journaled = (data: string): string[] => {
    const store = new Store(data, 'reader')
    const found = store
      .blocks(0, Number.MAX_SAFE_INTEGER)
      .flatMap((block) => unpacked(block).items)
      .map(({ raw }) => String((JSON.parse(raw.toString()) as CloudTrailRecord)['eventID'])) // records are objects
    store.close()
    return found
  }
  const gets = (all: readonly Asked[], { bucket }: Trail) =>
    all
      .filter(({ method, path }) => method === 'GET' && path.startsWith(`/${bucket}/AWSLogs/`))
      .map(({ path }) => path)

  test('gives the alerts that a scan of the same files gives', async () => {
    const trail = await makeTrail(moto, { notify: false })
    const examples = join(root, 'examples/aws')
    for (const name of readdirSync(examples, { recursive: true, encoding: 'utf8' }))
      if (name.endsWith('.gz')) await trail.put(name, readFileSync(join(examples, name)))
    const { config, one } = configured(trail)
    const url = `s3://${trail.bucket}/`
    const range = ['--from', '2026-03-01', '--to', '2026-03-03']
    const done = await keytrail(['backfill', url, ...range, ...config])
    expect(done.code, done.err).toBe(0)
    expect(done.out).toContain('2026/03/03 (day 3 of 3): 16 objects read, 0 known, 0 missing')
    const scanned = await keytrail([
      'scan',
      examples,
      '--json',
      '--no-save',
      '--alerts',
      join(one.folder, 'scan.ndjson'),
    ])
    expect(scanned.code).toBe(0)
    const alertIds = (name: string) =>
      [
        ...new Set(
          readFileSync(join(one.folder, `${name}.ndjson`), 'utf8')
            .split('\n')
            .filter((line) => line !== '')
            .map((line) => (JSON.parse(line) as { alert_id: string }).alert_id), // written by Keytrail
        ),
      ].sort()
    expect(alertIds('scan')).toHaveLength(5)
    expect(alertIds('alerts')).toEqual(alertIds('scan'))
    // the 717 records about keys of examples/README.md, repeats taken out
    expect(one.lines('events')).toHaveLength(journaled(one.data).length)
    const again = await keytrail(['backfill', url, ...range, ...config])
    expect(again.out).toContain('0 objects read, 16 known')

    const data = join(scratch(), 'alone')
    const alone = await keytrail(['backfill', url, ...range, '--data', data, '--region', REGION])
    expect(alone.code, alone.err).toBe(0)
    const store = new Store(data, 'reader')
    const found = store.alerts(0, 1000).map(({ alert }) => alert.alert_id)
    store.close()
    expect([...new Set(found)].sort()).toEqual(alertIds('scan'))
  })

  test('reads the days that are asked for, in the order of names across regions, without digests', async () => {
    const trail = await makeTrail(moto, { notify: false })
    const day = (n: number, hour: number) => new Date(Date.UTC(2026, 2, n, hour, 5))
    const wanted: CloudTrailRecord[] = []
    for (const [n, hour] of [
      [1, 9],
      [2, 23],
      [2, 1],
      [3, 12],
      [4, 0],
    ] as const)
      for (const region of [REGION, 'us-east-1']) {
        const records = [
          record({ eventTime: day(n, hour).toISOString().replace('.000Z', 'Z'), awsRegion: region }),
        ]
        if (n === 2 || n === 3) wanted.push(...records)
        await trail.deliver(records, day(n, hour), region)
      }
    await trail.put(
      `AWSLogs/123456789012/CloudTrail-Digest/${REGION}/2026/03/02/d.json.gz`,
      Buffer.from('{}'),
    )
    const { config, one } = configured(trail)
    const done = await keytrail([
      'backfill',
      `s3://${trail.bucket}/AWSLogs/`,
      '--from',
      '2026-03-02',
      '--to',
      '2026-03-03',
      ...config,
    ])
    expect(done.code, done.err).toBe(0)
    expect(journaled(one.data).toSorted()).toEqual(ids(wanted))
    const times = one.lines('events').map((event) => String((event['time'] as { event: string }).event))
    expect(times).toEqual(times.toSorted())
    const within = await keytrail([
      'backfill',
      `s3://${trail.bucket}/AWSLogs/123456789012/CloudTrail/us-east-1/2026/03/04/`,
      '--from',
      '2026-03-01',
      '--to',
      '2026-03-09',
      ...config,
    ])
    expect(within.out, within.err).toContain('1 objects read, 0 known')
  })

  test('goes on where it was killed', async () => {
    const trail = await makeTrail(moto, { notify: false })
    const all = Array.from({ length: 60 }, () => some(50))
    for (const records of all) await trail.deliver(records)
    const { config, one } = configured(trail)
    const args = [
      'backfill',
      `s3://${trail.bucket}/AWSLogs/`,
      '--from',
      '2026-03-02',
      '--to',
      '2026-03-02',
      ...config,
    ]
    let kill = () => {}
    moto.behave = () => {
      const { length } = gets(moto.asked, trail)
      if (length === 41) setTimeout(() => kill(), 1500)
      return length > 40 ? 'hang' : undefined
    }
    const killed = await keytrail(args, (end) => {
      kill = end
    })
    expect(killed.code).toBe('SIGKILL')
    const { length } = journaled(one.data)
    expect(length).toBeGreaterThan(0)
    expect(length).toBeLessThan(60 * 50)
    moto.behave = () => undefined
    const from = moto.asked.length
    const done = await keytrail(args)
    expect(done.code, done.err).toBe(0)
    expect(done.out).toMatch(/ 0 missing/)
    expect(journaled(one.data).toSorted()).toEqual(ids(all.flat()))
    expect(gets(moto.asked.slice(from), trail).length).toBeLessThanOrEqual(60 - Math.floor(length / 50))
  })

  test('shares the ledger with the queue, and the journal with nobody', async () => {
    const trail = await makeTrail(moto)
    const [before, after] = [some(10), some(10)]
    await trail.deliver(before)
    const { config, one } = configured(trail)
    const args = [
      'backfill',
      `s3://${trail.bucket}/AWSLogs/`,
      '--from',
      '2026-03-02',
      '--to',
      '2026-03-02',
      ...config,
    ]
    let stop: (signal: NodeJS.Signals) => void = () => {}
    const running = one.run({
      once: false,
      env: awsEnv,
      onStart: (end) => {
        stop = end
      },
    })
    while ((await trail.unsettled()) > 0) await sleep(50)
    const refused = await keytrail(args)
    expect(refused).toMatchObject({ code: 2 })
    expect(refused.err).toContain('another keytrail is running')
    stop('SIGTERM')
    await running
    await trail.deliver(after)
    const done = await keytrail(args)
    expect(done.out, done.err).toContain('1 objects read, 1 known')
    // what was backfilled is not read again when its message comes
    const from = moto.asked.length
    // the long poll that was cut off may have taken it: then it comes when its visibility is over
    for (let tries = 0; tries < 10 && (await trail.unsettled()) > 0; tries++) {
      const { code, log } = await one.run({ env: awsEnv })
      expect(code, log).toBe(0)
      await sleep(500)
    }
    expect(gets(moto.asked.slice(from), trail)).toEqual([])
    expect(await trail.unsettled()).toBe(0)
    expect(journaled(one.data).toSorted()).toEqual(ids([...before, ...after]))
  })

  test('says what is missing, and how it can be called', async () => {
    const trail = await makeTrail(moto, { notify: false })
    const [good, bad] = [some(3), some(4)]
    await trail.deliver(good)
    const denied = await trail.deliver(bad)
    const { config, one } = configured(trail)
    const days = ['--from', '2026-03-02', '--to', '2026-03-02']
    const args = ['backfill', `s3://${trail.bucket}/AWSLogs/`, ...days, ...config]
    moto.behave = ({ path }) =>
      path.includes(denied.slice(denied.lastIndexOf('/') + 1))
        ? s3Error(403, 'AccessDenied', 'Access Denied')
        : undefined
    const first = await keytrail(args)
    expect(first.code).toBe(3)
    expect(first.err).toContain(`${denied} is not read: a permission is missing`)
    moto.behave = () => undefined
    expect((await keytrail(args)).code).toBe(0)
    expect(journaled(one.data).toSorted()).toEqual(ids([...good, ...bad]))
    moto.behave = ({ path }) =>
      path.includes('list-type') ? s3Error(403, 'AccessDenied', 'Access Denied') : undefined
    const unlisted = await keytrail(args)
    expect(unlisted).toMatchObject({ code: 4 })
    expect(unlisted.err).toContain('the permission s3:ListBucket')
    moto.behave = () => undefined
    for (const [change, code, said] of [
      [[`s3://${trail.bucket}/nothing/`, ...days, ...config], 4, 'there are no CloudTrail folders'],
      [['https://example.com/', ...days, ...config], 2, 'is not s3://bucket/prefix'],
      [
        [`s3://${trail.bucket}/`, '--from', '2026-02-30', '--to', '2026-03-02', ...config],
        2,
        '--from needs a day',
      ],
      [
        [`s3://${trail.bucket}/`, '--from', '2026-03-03', '--to', '2026-03-02', ...config],
        2,
        '--from is later',
      ],
      [[`s3://${trail.bucket}/`, ...days, ...config, '--source', 'other'], 2, 'name one of its sources'],
      [[`s3://${trail.bucket}/`, ...days, '--data', one.data], 2, 'serves sinks'],
    ] as const) {
      const ended = await keytrail(['backfill', ...change])
      expect([ended.code, ended.err]).toEqual([code, expect.stringContaining(said)])
    }
  })
})
