/** The published policy and example for S3: what Keytrail asks for, no more and no less. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config/config.ts'
import { root } from '../support/scan.ts'

interface Statement {
  readonly Action: string | readonly string[]
  readonly Resource: string
}

/** Commands of the SDK in a file, as the actions that IAM knows them by. */
const actionsIn = (name: string, service: string) =>
  [
    ...readFileSync(join(root, 'src/ingest', name), 'utf8').matchAll(
      /\bnew ([A-Z]\w+)Command\(|\b(paginateListObjectsV2)\(/g,
    ),
  ]
    .map(([, command, paginate]) => command ?? paginate ?? '')
    .map((command) => `${service}:${command.replace('paginateListObjectsV2', 'ListObjectsV2')}`)

test('the policy allows what the source calls, on named resources', () => {
  const { Statement } = JSON.parse(readFileSync(join(root, 'docs/permissions/aws-s3-sqs.json'), 'utf8')) as {
    Statement: readonly Statement[]
  }
  const allowed = Statement.flatMap(({ Action }) => Action).sort()
  // IAM's names differ from the API's: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
  const named: Record<string, string> = {
    's3:ListObjectsV2': 's3:ListBucket',
    's3:GetBucketNotificationConfiguration': 's3:GetBucketNotification',
    'sqs:DeleteMessageBatch': 'sqs:DeleteMessage',
    'sqs:ChangeMessageVisibilityBatch': 'sqs:ChangeMessageVisibility',
  }
  const called = [
    ...actionsIn('s3-queue.ts', 'sqs'),
    ...actionsIn('s3-objects.ts', 's3'),
    ...actionsIn('s3-backfill.ts', 's3'),
    ...actionsIn('s3-check.ts', 'any'),
    'cloudtrail:ListPublicKeys',
  ].map((action) =>
    /^any:.*(Queue|Message)/.test(action) ? action.replace('any', 'sqs') : action.replace('any', 's3'),
  )
  expect(allowed).toEqual(
    [...new Set([...called.map((action) => named[action] ?? action), 'kms:Decrypt'])].sort(),
  )
  // CloudTrail knows no narrower resource for it.
  expect(Statement.filter(({ Resource }) => Resource === '*').map(({ Action }) => Action)).toEqual([
    'cloudtrail:ListPublicKeys',
  ])
})

test('the example is a valid configuration', () => {
  const { sources } = loadConfig(join(root, 'examples/s3-sqs/keytrail.yml'))
  expect(sources['trail']).toMatchObject({ type: 's3', start: 'beginning', visibility_seconds: 120 })
})
