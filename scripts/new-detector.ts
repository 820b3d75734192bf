/** `npm run new-detector <id>`: writes the folder of a new detector, cases first. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [id] = process.argv.slice(2)
if (id === undefined || !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(id)) {
  console.error('usage: npm run new-detector <id>, such as key-shared-widely')
  process.exit(2)
}
const folder = join(import.meta.dirname, '..', 'detectors', id)
if (existsSync(folder)) {
  console.error(`${folder} exists already`)
  process.exit(2)
}
mkdirSync(folder)
const title = id.replaceAll('-', ' ')

writeFileSync(
  join(folder, 'cases.yml'),
  `format: cloudtrail
# One calm record in CloudTrail's own form; each case states only what differs.
base:
  eventVersion: "1.11"
  userIdentity: { type: IAMUser, arn: "arn:aws:iam::123456789012:user/alice", accountId: "123456789012", userName: alice }
  eventTime: "2026-03-02T09:00:00Z"
  eventSource: kms.amazonaws.com
  eventName: DescribeKey
  awsRegion: eu-central-1
  sourceIPAddress: 192.0.2.10
  eventType: AwsApiCall
  recipientAccountId: "123456789012"
cases:
  - name: the clear case
    expect: 1
    records: [{ set: { eventName: DisableKey } }]
  - name: one step away from it
    expect: 0
    records: [{ set: { eventName: DisableKey, errorCode: AccessDenied } }]
  - name: a busy calm day
    expect: 0
    records: [{ repeat: 200, every: 5m }]
`,
)
writeFileSync(
  join(folder, 'detector.yml'),
  `title: ${title[0]?.toUpperCase()}${title.slice(1)}
name: ${id}
status: experimental
description: What it finds, and why that matters.
author: Keytrail
license: Apache-2.0
logsource: { product: keytrail, category: key_usage }
detection:
  found:
    operation: disable
    outcome: success
  condition: found
level: medium
tags: [attack.t1485]
falsepositives:
  - A benign cause
keytrail:
  version: 1
  axis: key
  controls: [KMS-01]
  explanation: '{actor.principal} did it to {target.key_id}.'
  triage:
    - The first question to ask.
    - The second question to ask.
    - What to do when nobody can explain it.
`,
)
writeFileSync(
  join(folder, 'README.md'),
  `# ${id}

## What it does not see
Say first what escapes it.

## What it sees
`,
)
console.log(`Wrote detectors/${id}. Write its cases first, then run: npx keytrail test detectors/${id}
It raises alerts once its status is stable. Then add its version to test/detectors/versions.json.`)
