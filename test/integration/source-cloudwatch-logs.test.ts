/** Our own CloudWatch Logs has the shape that moto's has, to the SDK; and the source reads both. */
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  CreateLogStreamCommand,
  DescribeLogGroupsCommand,
  FilterLogEventsCommand,
  PutLogEventsCommand,
  PutRetentionPolicyCommand,
} from '@aws-sdk/client-cloudwatch-logs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { adversity, startCloudWatchLogs } from '../standins/cloudwatch-logs.ts'
import { motoMissing, startMoto } from '../standins/moto.ts'
import { record } from '../support/cloudtrail.ts'
import { killedRun } from '../support/kills.ts'
import { service } from '../support/service.ts'
import { awsEnv, credentials, REGION } from '../support/trail-bucket.ts'

const MINUTE = 60_000

const servers = [
  ['our own', startCloudWatchLogs, undefined],
  ['moto', startMoto, motoMissing],
] as const

describe.each(servers)('%s', (_, start, missing) => {
  describe.skipIf(missing !== undefined)('CloudWatch Logs', () => {
    let server: Awaited<ReturnType<typeof start>>
    let client: CloudWatchLogsClient
    const now = Date.now() - 3_600_000
    const group = { logGroupName: 'trail' }
    beforeAll(async () => {
      server = await start()
      client = new CloudWatchLogsClient({ region: REGION, endpoint: server.url, credentials })
      await client.send(new CreateLogGroupCommand(group))
    })
    afterAll(async () => {
      client.destroy()
      await server.close()
    })
    const put = async (logStreamName: string, times: readonly number[]) => {
      await client.send(new CreateLogStreamCommand({ ...group, logStreamName })).catch(() => {}) // it is there
      const logEvents = times.map((timestamp) => ({ timestamp, message: JSON.stringify(record()) }))
      await client.send(new PutLogEventsCommand({ ...group, logStreamName, logEvents }))
      return logEvents.map(({ message }) => String((JSON.parse(message) as { eventID: string }).eventID))
    }
    const filter = async (span: object) => {
      const { $metadata: _, ...answer } = await client.send(new FilterLogEventsCommand({ ...group, ...span }))
      return answer
    }

    test('an event, both ends of a span, pages with a token, settings, a group that is not there', async () => {
      await put('one', [now, now + 10])
      await put('two', [now + 5])
      const { events = [], nextToken } = await filter({ startTime: now, endTime: now + 10 })
      expect(nextToken).toBeUndefined()
      expect(events.map(({ timestamp }) => timestamp).sort()).toEqual([now, now + 5, now + 10])
      for (const event of events)
        expect(event).toEqual({
          logStreamName: expect.stringMatching(/^(one|two)$/),
          timestamp: expect.any(Number),
          message: expect.stringContaining('"eventID"'),
          ingestionTime: expect.any(Number),
          eventId: expect.stringMatching(/^\d+$/),
        })
      const times: (number | undefined)[] = []
      for (let token: string | undefined, first = true; first || token !== undefined; first = false) {
        const page = await filter({
          startTime: now,
          endTime: now + 10,
          limit: 1,
          ...(token && { nextToken: token }),
        })
        times.push(...(page.events ?? []).map(({ timestamp }) => timestamp))
        token = page.nextToken
      }
      expect(times.sort()).toEqual([now, now + 5, now + 10])
      expect((await filter({ startTime: now + 11 })).events).toEqual([])
      await client.send(new PutRetentionPolicyCommand({ ...group, retentionInDays: 7 }))
      const { logGroups } = await client.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: 'tra' }))
      expect(logGroups).toEqual([expect.objectContaining({ logGroupName: 'trail', retentionInDays: 7 })])
      await expect(filter({ logGroupName: 'other' })).rejects.toMatchObject({
        name: 'ResourceNotFoundException',
      })
    })

    test('the program reads it, and what came late when it runs again', async () => {
      await client.send(new CreateLogGroupCommand({ logGroupName: 'live' }))
      group.logGroupName = 'live'
      const ids = await put('one', [now, now, now + 1, now + 60_000])
      ids.push(...(await put('two', [now + 1, now + 1000])))
      const one = service([], {
        sources: {
          logs: {
            type: 'cloudwatch_logs',
            groups: [{ name: 'live', region: REGION }],
            start: 'beginning',
            requests_per_second: 1000,
            endpoint: server.url,
          },
        },
      })
      try {
        for (const late of [[], [5 * MINUTE], [12 * MINUTE, 2 * MINUTE]]) {
          const times = late.map((ms) => Date.now() - ms)
          if (times.length > 0) ids.push(...(await put(`late ${times.length}`, times)))
          expect(await one.run({ env: awsEnv })).toMatchObject({ code: 0 })
        }
        const found = one.lines('events').map((event) => (event['source'] as { native_id: string }).native_id)
        expect(found.sort()).toEqual(ids.sort())
      } finally {
        one.remove()
      }
    })
  })
})

test('kill -9 in the middle of reading a service that fails: nothing lost, nothing twice', async () => {
  const logs = await startCloudWatchLogs()
  logs.group('trail')
  logs.limits.events = 100
  logs.behave = adversity(5, 0.1)
  const ids: string[] = []
  const from = Date.now() - 3_600_000
  for (let n = 0; n < 6000; n++) {
    const one = record()
    ids.push(String(one['eventID']))
    logs.put('trail', [{ timestamp: from + n * 500, message: JSON.stringify(one) }])
  }
  const { one, hits } = await killedRun({
    paths: [],
    kills: Number(process.env['KILLS'] ?? 8),
    seed: 3,
    windows: ['inside-commit', 'after-commit', 'before-settle', 'recovery'],
    more: {
      sources: {
        logs: {
          type: 'cloudwatch_logs',
          groups: [{ name: 'trail', region: REGION }],
          start: 'beginning',
          requests_per_second: 50,
          endpoint: logs.url,
        },
      },
    },
    env: awsEnv,
  })
  try {
    console.info(`kills: ${JSON.stringify(hits)}`)
    const found = one.lines('events').map((event) => (event['source'] as { native_id: string }).native_id)
    expect(found.sort()).toEqual(ids.sort())
  } finally {
    one.remove()
    await logs.close()
  }
}, 600_000)
