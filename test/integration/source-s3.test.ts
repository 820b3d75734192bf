/** S3 and SQS keep the contract of sources, on moto. */
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { sourceContract } from '../contract/source.ts'
import { type Asked, type Moto, motoMissing, sqsError, startMoto } from '../standins/moto.ts'
import { eventually, reading } from '../support/reading.ts'
import { awsEnv, credentials, makeTrail, REGION } from '../support/trail-bucket.ts'

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

  test('a canary key is called while it reads; doctor names the missing permission', async () => {
    const trail = await makeTrail(moto)
    const kms = new KMSClient({ region: REGION, endpoint: moto.url, credentials })
    const { KeyMetadata } = await kms.send(new CreateKeyCommand({}))
    kms.destroy()
    const config = { ...trail.config, canary: { key: KeyMetadata?.Arn, endpoint: moto.url } }
    const notices: string[] = []
    const open = () =>
      sourceOf('logs', sourceConfig.parse(config), { follow: true, onNotice: (text) => notices.push(text) })
    const isCall = ({ target }: Asked) => target === 'TrentService.DescribeKey'
    const canaryStep = async () =>
      (await open().check?.(new AbortController().signal))?.find(({ step }) => step.startsWith('canary'))
    moto.behave = () => undefined
    const one = reading(open())
    await eventually('it is called', () => moto.asked.some(isCall))
    await one.stop()
    expect(await canaryStep()).toMatchObject({ ok: true })
    moto.behave = (asked) =>
      isCall(asked) ? sqsError(400, 'AccessDeniedException', 'not allowed') : undefined
    expect(await canaryStep()).toMatchObject({
      ok: false,
      detail: expect.stringContaining(`the permission kms:DescribeKey on ${KeyMetadata?.Arn} is missing`),
    })
    const other = reading(open())
    await eventually('it is told', () => notices.some((text) => text.includes('kms:DescribeKey')))
    await other.stop()
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
