// Writes examples/aws/: invented CloudTrail log files in the S3 delivery layout; and the logs of examples/azure-sql/.
// Everything of aws/ comes from one seeded generator: two runs give byte-equal files.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { exampleFiles } from './azure-sql/scenario.ts'

type Json = string | number | boolean | null | undefined | readonly Json[] | Fields
type Fields = { readonly [name: string]: Json }
type Actor = { who: Fields; ip: string; agent: string }
type Item = { delivered: number; line: string }

const accountId = '123456789012'
const region = 'eu-central-1'
const iam = `arn:aws:iam::${accountId}`
const minutes = (n: number): number => n * 60_000
const clock = (hour: number, minute: number, second = 0): number => Date.UTC(2026, 2, 2, hour, minute, second)
const iso = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z')
const START = clock(9, 0)
const END = clock(11, 0)

// --- Random values (mulberry32 with a fixed seed) ---
let state = 20260302
function random(): number {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), state | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
const int = (below: number): number => Math.floor(random() * below)
const pick = <T>(from: readonly [T, ...T[]]): T => from[int(from.length)] ?? from[0]
const times = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i))
const chars = (n: number, from: string): string => times(n, () => from.charAt(int(from.length))).join('')
const hex = (n: number): string => chars(n, '0123456789abcdef')
const base32 = (n: number): string => chars(n, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')
const uuid = (): string => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`
const anyTime = (): number => START + int((END - START) / 1000) * 1000
const base62 = (n: number): string =>
  chars(n, 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789')
const stamp = (at: number): string => `${iso(at).slice(0, 16).replace(/[-:]/g, '')}Z`
const logFile = (t: number): string => `${accountId}_CloudTrail_${region}_${stamp(t)}_${base62(16)}.json.gz`

// --- Keys and callers ---
const key = (id: string): string => `arn:aws:kms:${region}:${accountId}:key/${id}`
const customerData = key('1111aaaa-1a1a-41a1-81a1-1a1a1a1a1a1a')
const ledger = key('2222bbbb-2b2b-42b2-82b2-2b2b2b2b2b2b')
const reports = key('3333cccc-3c3c-43c3-83c3-3c3c3c3c3c3c')
const backup = key('4444dddd-4d4d-44d4-84d4-4d4d4d4d4d4d')
const trailLogs = key('5555eeee-5e5e-45e5-85e5-5e5e5e5e5e5e')
const database = key('6666ffff-6f6f-46f6-86f6-6f6f6f6f6f6f')

const login = (at: number, mfaAuthenticated: string): Fields => ({ creationDate: iso(at), mfaAuthenticated })
const via = (by: Fields, name: string): Actor => ({ who: { ...by, invokedBy: name }, ip: name, agent: name })
const service = (name: string): Actor => via({ type: 'AWSService' }, name)
function role(userName: string, session: string, ip: string, agent: string, path = '', ec2 = {}): Actor {
  const id = `AROA${base32(10)}EXAMPLE`
  const accessKeyId = `ASIA${base32(9)}EXAMPLE`
  const roleArn = `${iam}:role/${path}${userName}`
  const sessionIssuer = { type: 'Role', principalId: id, arn: roleArn, accountId, userName }
  const sessionContext = { sessionIssuer, attributes: login(clock(8, 20 + int(39)), 'false'), ...ec2 }
  const arn = `arn:aws:sts::${accountId}:assumed-role/${userName}/${session}`
  const ids = { type: 'AssumedRole', principalId: `${id}:${session}`, arn, accountId, accessKeyId }
  return { who: { ...ids, sessionContext }, ip, agent }
}

const boto = 'Boto3/1.36.20 md/Botocore#1.36.20 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.12.8'
const browser = 'Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0'
const cli = 'aws-cli/2.24.6 md/awscrt#0.23.8 ua/2.0 os/linux#6.8.0 md/arch#x86_64 lang/python#3.12.9'
const sso = `aws-reserved/sso.amazonaws.com/${region}/`
const paymentsApi = role('payments-api', hex(32), '192.0.2.11', boto)
const ledgerBatch = role('ledger-batch', `i-0${hex(16)}`, '192.0.2.24', boto, '', { ec2RoleDelivery: '2.0' })
const backupReader = role('backup-reader', 'nightly-verify', '192.0.2.37', boto)
const monitoring = role('monitoring', 'collector', '192.0.2.58', boto)
const deploy = role('deploy-pipeline', 'release-418', '192.0.2.63', cli)
const rdsRole = role('AWSServiceRoleForRDS', 'rds', '', '', 'aws-service-role/rds.amazonaws.com/')
const rds = via(rdsRole.who, 'rds.amazonaws.com')
const developer = role('AWSReservedSSO_Dev_1a2b3c4d5e6f7a8b', 'ben@example.com', '192.0.2.142', cli, sso)
const admin = role('AWSReservedSSO_KeyAdmin_8b7a6f5e4d3c2b1a', 'ana@example.com', '192.0.2.130', browser, sso)
const cloudTrail = service('cloudtrail.amazonaws.com')
const malloryIds = { principalId: 'AIDA22222MALLORYEXAMP', arn: `${iam}:user/mallory`, accountId }
const malloryKey = { accessKeyId: 'AKIA22MALLORYEXAMPLE', userName: 'mallory' } // long-term: no session
const mallory = { who: { type: 'IAMUser', ...malloryIds, ...malloryKey }, ip: '198.51.100.77', agent: cli }
const rootIds = { type: 'Root', principalId: accountId, arn: `${iam}:root`, accountId }
const rootLogin = { attributes: login(clock(10, 38, 12), 'true') }
const rootUser = { ...rootIds, accessKeyId: 'ASIA22222ROOTEXAMPLE', sessionContext: rootLogin }
const root = { who: rootUser, ip: '192.0.2.201', agent: browser }

// --- Records ---
const items: Item[] = []
function add(at: number, actor: Actor, call: string, detail: Fields = {}): void {
  const [api = '', eventName = ''] = call.split(':')
  const clientProvidedHostHeader = `${api}.${region}.amazonaws.com`
  const tls = { tlsVersion: 'TLSv1.3', cipherSuite: 'TLS_AES_128_GCM_SHA256', clientProvidedHostHeader }
  const record: Fields = {
    eventVersion: '1.11',
    userIdentity: actor.who,
    eventTime: iso(at),
    eventSource: `${api}.amazonaws.com`,
    eventName,
    awsRegion: region,
    sourceIPAddress: actor.ip,
    userAgent: actor.agent,
    errorCode: detail.errorCode,
    errorMessage: detail.errorMessage,
    requestParameters: detail.params ?? null,
    responseElements: detail.response ?? null,
    additionalEventData: detail.extra,
    requestID: detail.serviceEvent ? undefined : api === 's3' ? base32(16) : uuid(),
    eventID: uuid(),
    readOnly: !detail.write,
    resources: detail.resources,
    eventType: detail.serviceEvent ? 'AwsServiceEvent' : 'AwsApiCall',
    managementEvent: !detail.data,
    recipientAccountId: accountId,
    serviceEventDetails: detail.serviceEvent,
    sharedEventID: actor.who.type === 'AWSService' ? uuid() : undefined,
    eventCategory: detail.data ? 'Data' : 'Management',
    tlsDetails: /^\d/.test(actor.ip) && actor.agent !== browser ? tls : undefined,
    sessionCredentialFromConsole: actor.agent === browser ? 'true' : undefined,
  }
  items.push({ delivered: at + int(180) * 1000, line: JSON.stringify(record) })
}

const resource = (type: string, ARN: string): Fields => ({ accountId, type, ARN })
const on = (keyArn: string): Fields => ({ resources: [resource('AWS::KMS::Key', keyArn)] })
const named = (keyId: string): Fields => ({ params: { keyId }, ...on(keyId) })

function crypto(at: number, by: Actor, name: string, keyId: string, context: Fields, more = {}): void {
  const decrypt = { encryptionContext: context, encryptionAlgorithm: 'SYMMETRIC_DEFAULT' }
  const generate = { keyId, encryptionContext: context, keySpec: 'AES_256' }
  const params = { Decrypt: decrypt, Encrypt: { keyId, ...decrypt } }[name] ?? generate
  const extra = { keyMaterialId: keyId.slice(-36).replaceAll('-', '').repeat(2) }
  add(at, by, `kms:${name}`, { params, extra, ...on(keyId), ...more })
}

/** An S3 data event, and the KMS call that S3 makes for it in the caller's name. */
function s3(by: Actor, name: string, keyId: string, bucketName: string, path: string): void {
  const at = anyTime()
  const ARN = `arn:aws:s3:::${bucketName}/${path}`
  const params = { bucketName, Host: `${bucketName}.s3.${region}.amazonaws.com`, key: path }
  const bucket = resource('AWS::S3::Bucket', `arn:aws:s3:::${bucketName}`)
  const resources = [{ type: 'AWS::S3::Object', ARN }, bucket]
  add(at, by, `s3:${name}`, { params, resources, data: true, write: name === 'PutObject' })
  const call = name === 'PutObject' ? 'GenerateDataKey' : 'Decrypt'
  crypto(at, via(by.who, 'AWS Internal'), call, keyId, { 'aws:s3:arn': ARN })
}

function putKeyPolicy(at: number, actor: Actor, keyId: string, added: Fields): void {
  const own = { Sid: 'Enable IAM policies', Principal: { AWS: `${iam}:root` }, Action: 'kms:*' }
  const Statement = [own, added].map((part) => ({ Effect: 'Allow', ...part, Resource: '*' }))
  const policy = JSON.stringify({ Version: '2012-10-17', Id: 'key-policy', Statement }, null, 2)
  const params = { keyId, policyName: 'default', policy, bypassPolicyLockoutSafetyCheck: false }
  add(at, actor, 'kms:PutKeyPolicy', { params, response: { keyId }, ...on(keyId), write: true })
}

// --- The story ---
function calmKeyUse(): void {
  const payment = (): Fields => ({ service: 'payments-api', merchant: `merchant-${1 + int(8)}` })
  const batch = (): Fields => ({ ledger: pick(['eur', 'chf', 'sek']), batch: `2026-03-0${1 + int(2)}` })
  for (const [name, n] of Object.entries({ Decrypt: 100, GenerateDataKey: 80, Encrypt: 20 })) {
    times(n, () => crypto(anyTime(), paymentsApi, name, customerData, payment()))
    times(n * 0.65, () => crypto(anyTime(), ledgerBatch, name, ledger, batch()))
  }
  times(80, (i) => s3(backupReader, 'GetObject', backup, 'example-backups', `2026/03/01/${1000 + i}.bin`))
  times(30, (i) => s3(backupReader, 'GetObject', reports, 'example-reports', `2026/02/${100 + i}.csv`))
  times(35, (i) => s3(ledgerBatch, 'PutObject', reports, 'example-reports', `2026/03/${100 + i}.csv`))
  for (let at = START + minutes(2); at < END; at += minutes(5)) {
    const path = `AWSLogs/${accountId}/CloudTrail/${region}/2026/03/02/${logFile(at)}`
    const trail = { 'aws:cloudtrail:arn': `arn:aws:cloudtrail:${region}:${accountId}:trail/example-trail` }
    const context = { ...trail, 'aws:s3:arn': `arn:aws:s3:::example-trail-logs/${path}` }
    crypto(at, cloudTrail, 'GenerateDataKey', trailLogs, context)
  }
  times(18, () => add(anyTime(), admin, 'kms:DescribeKey', named(pick([customerData, ledger, reports]))))
  times(6, () => add(anyTime(), admin, 'kms:ListKeys', { params: { limit: 100 } }))
  const grantee = `rds.${region}.amazonaws.com`
  const operations = ['Decrypt', 'Encrypt', 'GenerateDataKey', 'RetireGrant', 'DescribeKey']
  const constraints = { encryptionContextSubset: { 'aws:rds:db-id': 'db-EXAMPLELEDGERREPLICA' } }
  const terms = { granteePrincipal: grantee, retiringPrincipal: grantee, operations, constraints }
  const granted = { params: { keyId: database, ...terms }, response: { grantId: hex(64), keyId: database } }
  add(clock(9, 22, 41), rds, 'kms:CreateGrant', { ...granted, ...on(database), write: true })
  const serviceEvent = { rotationType: 'AUTOMATIC', keyId: backup.slice(-36) }
  const kms = via({ accountId }, 'AWS Internal')
  add(clock(9, 37, 4), kms, 'kms:RotateKey', { ...on(backup), write: true, serviceEvent })
  const refused = `User: ${developer.who.arn} is not authorized to perform: kms:Decrypt on resource: ${customerData}`
  const errorMessage = `${refused} because no identity-based policy allows the kms:Decrypt action`
  const denied = { errorCode: 'AccessDenied', errorMessage, extra: undefined }
  crypto(clock(9, 48, 17), developer, 'Decrypt', customerData, { service: 'payments-api' }, denied)
}

function otherServices(): void {
  const starters = { 'ecs-tasks': 'payments-api', ec2: 'ledger-batch', lambda: 'notify' }
  for (const [by, name] of Object.entries(starters)) {
    const roleArn = `${iam}:role/${name}`
    const assume = (): Fields => ({
      params: { roleArn, roleSessionName: hex(32) },
      response: { credentials: { accessKeyId: `ASIA${base32(9)}EXAMPLE`, sessionToken: 'invented' } },
      resources: [resource('AWS::IAM::Role', roleArn)],
    })
    times(12, () => add(anyTime(), service(`${by}.amazonaws.com`), 'sts:AssumeRole', assume()))
  }
  const read = (n: number, by: Actor, call: string, params: Fields): unknown =>
    times(n, () => add(anyTime(), by, call, { params }))
  read(84, monitoring, 'ec2:DescribeInstances', { instancesSet: {}, filterSet: {} })
  read(66, monitoring, 'monitoring:DescribeAlarms', { stateValue: 'ALARM' })
  read(44, monitoring, 'logs:DescribeLogGroups', { logGroupNamePrefix: '/example/payments' })
  read(48, monitoring, 'rds:DescribeDBInstances', { dBInstanceIdentifier: 'ledger-replica' })
  read(36, deploy, 'ecs:DescribeServices', { cluster: 'payments', services: ['payments-api'] })
  read(24, cloudTrail, 's3:GetBucketAcl', { bucketName: 'example-trail-logs', acl: '' })
}

function attack(): void {
  times(180, (i) => {
    const object = `example-customer-data/cards/2026/02/customer-${10_000 + i * 7 + int(7)}.json`
    const at = clock(10, 12, 20) + (i * 2 + int(2)) * 1000
    crypto(at, mallory, 'Decrypt', customerData, { 'aws:s3:arn': `arn:aws:s3:::${object}` })
  })
  const partner = { AWS: 'arn:aws:iam::111122223333:role/example-partner-settlement' }
  const forPartner = { Sid: 'Partner', Principal: partner, Action: ['kms:Decrypt', 'kms:DescribeKey'] }
  putKeyPolicy(clock(10, 21, 33), mallory, ledger, forPartner)
  const forAll = { Sid: 'Share reports', Principal: { AWS: '*' }, Action: ['kms:Describe*', 'kms:Decrypt'] }
  putKeyPolicy(clock(10, 31, 8), admin, reports, forAll)
  add(clock(10, 40, 5), root, 'kms:DescribeKey', named(ledger))
  add(clock(10, 40, 14), root, 'kms:ListAliases', { params: { limit: 100 } })
  add(clock(10, 40, 44), root, 'kms:DescribeKey', named(reports))
  add(clock(10, 40, 53), root, 'kms:ListAliases', { params: { limit: 100 } })
}

/** A file every 5 to 15 minutes, records in order of arrival; five of them come again in the next file. */
function deliver(): void {
  const out = join(import.meta.dirname, '..', 'examples', 'aws')
  const folder = join(out, 'AWSLogs', accountId, 'CloudTrail', region, '2026', '03', '02')
  rmSync(out, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  items.sort((a, b) => a.delivered - b.delivered)
  const twice = [30, 150, 270, 390, 510].map((n) => items.slice(n).find(({ line }) => line.includes('"kms.')))
  let again: Item[] = []
  for (let label = START + minutes(5), sent = 0; sent < items.length; label += minutes(pick([5, 10, 15]))) {
    const batch = items.slice(sent).filter((item) => item.delivered <= label)
    const lines = [...again, ...batch].map((item) => item.line)
    again = batch.filter((item) => twice.includes(item))
    sent += batch.length
    const packed = gzipSync(`{"Records":[${lines.join(',')}]}`, { level: 9 })
    packed[9] = 255 // operating system: unknown (the time is zero already)
    writeFileSync(join(folder, logFile(label)), packed)
  }
}

calmKeyUse()
otherServices()
attack()
deliver()
for (const { name, text } of exampleFiles)
  writeFileSync(join(import.meta.dirname, '..', 'examples', 'azure-sql', name), text)
