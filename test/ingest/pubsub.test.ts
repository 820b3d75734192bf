/** What a configuration of Pub/Sub may say, and what failures of the service mean. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/config.ts'
import { explainedPubSub } from '../../src/ingest/pubsub-client.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { root } from '../support/scan.ts'

const config = (more: object) =>
  sourceConfig.safeParse({
    type: 'pubsub',
    project: 'acme-payments',
    subscriptions: ['keytrail'],
    start: 'earliest',
    ...more,
  })

describe('Pub/Sub', () => {
  test.each([
    ['a short name', {}, true],
    ['a subscription of another project', { subscriptions: ['projects/other/subscriptions/keytrail'] }, true],
    ['a project of a domain', { project: 'example.com:acme-payments' }, true],
    ['a time', { start: '2026-03-02T09:00:00Z' }, true],
    ['an emulator here', { endpoint: 'http://127.0.0.1:8085' }, true],
    ['a region', { endpoint: 'https://europe-west3-pubsub.googleapis.com' }, true],
    ['a server elsewhere without TLS', { endpoint: 'http://pubsub.example.com:8085' }, false],
    ['a topic', { subscriptions: ['projects/other/topics/keytrail'] }, false],
    ['a number for the project', { project: '123456' }, false],
    ['no subscription', { subscriptions: [] }, false],
    ['a lease that the service does not give', { lease_seconds: 9 }, false],
  ])('%s', (_, more, valid) => {
    expect(config(more).success).toBe(valid)
  })

  test('the example is valid', () => {
    expect(loadConfig(join(root, 'examples/pubsub/keytrail.yml'), true).sources['google']).toMatchObject({
      type: 'pubsub',
      prefetch_bytes: 8 * 1024 * 1024,
    })
  })

  // codes of gRPC: https://grpc.io/docs/guides/status-codes/
  test.each([
    [
      7,
      'User not authorized to perform this action.',
      /pubsub\.subscriptions\.consume \(role roles\/pubsub\.subscriber\)/,
    ],
    [5, 'Resource not found (resource=keytrail).', /no such subscription/],
    [16, 'Request had invalid authentication credentials.', /signing in is refused/],
    [14, 'Name resolution failed', /port 443/],
    [9, 'Pull is not allowed on this subscription', /does it push/],
    [0, '', /^it ended without a reason$/],
    [undefined, 'Could not load the default credentials.', /GOOGLE_APPLICATION_CREDENTIALS/],
    [undefined, 'invalid_grant: Invalid JWT Signature.', /was the key deleted/],
  ])('status %s: %s', (code, text, expected) => {
    expect(explainedPubSub(Object.assign(new Error(text), { code }))).toMatch(expected)
  })

  test('a failure that is no error, in several lines, of somebody who is hostile', () => {
    const text = explainedPubSub({
      code: 14,
      message: `Failed to "ack"\u001b[31m${'x'.repeat(9000)}\nsecond line`,
    })
    expect(text).toContain('Failed to "ack"')
    expect(text).not.toContain('\u001b')
    expect(text).not.toContain('second')
    expect(text.length).toBeLessThan(700)
  })
})
