/**
 * The floors of the benchmark, as bare as Node allows: `gunzip` decompresses, `loop` also parses every record and
 * writes one NDJSON line of 18 fields for each record about keys.
 */
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

interface Identity {
  readonly accountId?: string
  readonly accessKeyId?: string
  readonly invokedBy?: string
  readonly arn?: string
  readonly sessionContext?: { readonly sessionIssuer?: { readonly arn?: string } }
}
interface CloudTrailRecord {
  readonly [member: string]: unknown
  readonly userIdentity?: Identity
  readonly resources?: readonly { readonly ARN?: string }[]
  readonly requestParameters?: { readonly encryptionAlgorithm?: string } | null
  readonly tlsDetails?: { readonly tlsVersion?: string; readonly cipherSuite?: string }
}

/** The 18 fields, read from a raw record. */
const line = (record: CloudTrailRecord): string => {
  const user = record.userIdentity ?? {}
  return JSON.stringify([
    record['eventVersion'],
    record['eventID'],
    record['requestID'],
    record['eventTime'],
    record['eventName'],
    record['awsRegion'],
    record['sourceIPAddress'],
    record['userAgent'],
    record['errorCode'],
    record['errorMessage'],
    user.accountId,
    user.accessKeyId,
    user.invokedBy,
    user.sessionContext?.sessionIssuer?.arn ?? user.arn ?? user.invokedBy,
    record.resources?.[0]?.ARN,
    record.requestParameters?.encryptionAlgorithm,
    record.tlsDetails?.tlsVersion,
    record.tlsDetails?.cipherSuite,
  ])
}

const [mode = '', folder = '', output = ''] = process.argv.slice(2)
let bytes = 0
let pending = ''
const file = mode === 'loop' ? openSync(output, 'w') : undefined
for (const name of readdirSync(folder)) {
  const raw = gunzipSync(readFileSync(join(folder, name)))
  bytes += raw.length
  if (file === undefined) continue
  const { Records } = JSON.parse(raw.toString()) as { Records: CloudTrailRecord[] }
  for (const record of Records) {
    if (record['eventSource'] !== 'kms.amazonaws.com') continue
    pending += `${line(record)}\n`
    if (pending.length < 256 * 1024) continue
    writeSync(file, pending)
    pending = ''
  }
}
if (file !== undefined) {
  writeSync(file, pending)
  closeSync(file)
}
console.log(JSON.stringify({ bytes }))
