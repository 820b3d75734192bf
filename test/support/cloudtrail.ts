/** The calm base record of tests: one Decrypt by an application role. A case states what differs. */

export type CloudTrailRecord = Record<string, unknown>

let counter = 0

const uuid = (n: number) => `00000000-0000-4000-9000-${String(n).padStart(12, '0')}`

export const KEY = 'arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-4333-8444-555555555555'

/** A CloudTrail record in CloudTrail's own form; each call gives a new eventID. */
export const record = (change: CloudTrailRecord = {}): CloudTrailRecord => ({
  eventVersion: '1.11',
  userIdentity: {
    type: 'AssumedRole',
    principalId: 'AROAEXAMPLEEXAMPLE123:app',
    arn: 'arn:aws:sts::123456789012:assumed-role/payments-api/app',
    accountId: '123456789012',
    accessKeyId: 'ASIAEXAMPLEEXAMPLE12',
    sessionContext: {
      sessionIssuer: {
        type: 'Role',
        principalId: 'AROAEXAMPLEEXAMPLE123',
        arn: 'arn:aws:iam::123456789012:role/payments-api',
        accountId: '123456789012',
        userName: 'payments-api',
      },
      attributes: { creationDate: '2026-03-02T08:00:00Z', mfaAuthenticated: 'false' },
    },
  },
  eventTime: '2026-03-02T09:00:00Z',
  eventSource: 'kms.amazonaws.com',
  eventName: 'Decrypt',
  awsRegion: 'eu-central-1',
  sourceIPAddress: '192.0.2.10',
  userAgent: 'aws-sdk-js/3.0',
  requestParameters: { encryptionAlgorithm: 'SYMMETRIC_DEFAULT', encryptionContext: { app: 'payments' } },
  responseElements: null,
  requestID: uuid(++counter + 500_000_000),
  eventID: uuid(counter),
  readOnly: true,
  resources: [{ accountId: '123456789012', type: 'AWS::KMS::Key', ARN: KEY }],
  eventType: 'AwsApiCall',
  managementEvent: true,
  recipientAccountId: '123456789012',
  eventCategory: 'Management',
  ...change,
})

/** A Decrypt by an IAM user. @param time RFC 3339 */
export const called = (user: string, time: string): CloudTrailRecord =>
  record({
    userIdentity: {
      type: 'IAMUser',
      arn: `arn:aws:iam::123456789012:user/${user}`,
      accountId: '123456789012',
    },
    eventTime: time,
  })

/** The S3 delivery form. */
export const delivery = (records: readonly CloudTrailRecord[]): Buffer =>
  Buffer.from(JSON.stringify({ Records: records }))
