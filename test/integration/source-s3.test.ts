/** S3 and SQS keep the contract of sources, on moto. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { sourceContract } from '../contract/source.ts'
import { type Moto, motoMissing, sqsError, startMoto } from '../standins/moto.ts'
import { awsEnv, makeTrail } from '../support/trail-bucket.ts'

describe.skipIf(motoMissing !== undefined)('on moto', () => {
  let moto: Moto
  beforeAll(async () => {
    Object.assign(process.env, awsEnv)
    moto = await startMoto()
  })
  afterAll(() => moto.close())

  sourceContract('s3', {
    async make() {
      const trail = await makeTrail(moto)
      moto.behave = () => undefined
      return {
        config: trail.config,
        publish: async (records) => void (await trail.deliver(records)),
        open: () => sourceOf('logs', sourceConfig.parse(trail.config), { follow: true, onNotice: () => {} }),
        unsettled: () => trail.unsettled(),
        refuseSettles(count) {
          let left = count
          moto.behave = ({ target, path }) =>
            target === 'AmazonSQS.DeleteMessageBatch' && path.startsWith('/123456789012/') && left-- > 0
              ? sqsError(403, 'AccessDeniedException', 'not allowed for now')
              : undefined
        },
        async close() {
          trail.s3.destroy()
          trail.sqs.destroy()
        },
      }
    },
  })

  test('a queue that cannot be asked is not caught up, and says why', async () => {
    const trail = await makeTrail(moto)
    moto.behave = ({ target }) =>
      target === 'AmazonSQS.ReceiveMessage'
        ? sqsError(403, 'AccessDeniedException', 'not allowed')
        : undefined
    const stop = new AbortController()
    const seen: (string | undefined)[] = []
    const source = sourceOf('logs', sourceConfig.parse(trail.config), { follow: true, onNotice: () => {} })
    await source.read(
      () => undefined,
      async (piece) => {
        seen.push(piece === 'idle' ? 'idle' : piece.trouble)
        stop.abort()
      },
      stop.signal,
      async () => undefined,
    )
    await source.close?.()
    expect(seen).toEqual([expect.stringContaining('the permission sqs:ReceiveMessage on')])
  })
})
