/**
 * Makes CloudTrail files for the benchmark out of the invented records in examples/: gzip in the S3 delivery
 * form, seeded, so that two runs make the same bytes. Ids, times, callers' sessions and contexts differ in
 * every record, so that compression stays honest.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { isObject, object } from '../src/normalize/json.ts'

type CloudTrailRecord = Record<string, unknown>

const examples = join(import.meta.dirname, '..', 'examples', 'aws')

const readExamples = (): CloudTrailRecord[] =>
  readdirSync(examples, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json.gz'))
    .sort()
    .flatMap(
      (name) =>
        (
          JSON.parse(gunzipSync(readFileSync(join(examples, name))).toString()) as {
            Records: CloudTrailRecord[]
          }
        ).Records,
    )

/** mulberry32: small, seeded, good enough to spread ids. */
export const random = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
}

export interface Profile {
  /** Records in total. */
  readonly records: number
  /** Share of records about keys, 0 to 1. */
  readonly keys: number
  readonly perFile: number
  readonly seed: number
  /** Days that they are spread over; one unless said. */
  readonly days?: number
}

/** Writes the files of a profile. @returns raw bytes before compression */
export const generate = (folder: string, profile: Profile): number => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const all = readExamples()
  const about = all.filter((one) => one['eventSource'] === 'kms.amazonaws.com')
  const others = all.filter(
    (one) =>
      !['kms.amazonaws.com', 'sts.amazonaws.com', 's3.amazonaws.com'].includes(String(one['eventSource'])),
  )
  const next = random(profile.seed)
  const hex = (digits: number) => next().toString(16).padStart(8, '0').slice(0, digits)
  const uuid = () => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(8)}${hex(4)}`
  const start = Date.parse('2026-03-02T00:00:00Z')
  let raw = 0
  let made = 0
  for (let file = 0; made < profile.records; file++) {
    const records: CloudTrailRecord[] = []
    for (let index = 0; index < profile.perFile && made < profile.records; index++, made++) {
      const from = next() / 2 ** 32 < profile.keys ? about : others
      const base = from[next() % from.length] ?? {}
      const request = base['requestParameters']
      const context = object(request)['encryptionContext']
      const user = object(base['userIdentity'])
      records.push({
        ...base,
        userIdentity: {
          ...user,
          ...(user['accessKeyId'] === undefined
            ? {}
            : { accessKeyId: `${String(user['accessKeyId']).slice(0, 4)}${hex(8)}${hex(8)}`.toUpperCase() }),
          ...(user['type'] === 'AssumedRole'
            ? { principalId: `AROA${hex(8)}${hex(8)}:${hex(8)}`.toUpperCase() }
            : {}),
        },
        eventTime: `${new Date(start + Math.floor((made / profile.records) * (profile.days ?? 1) * 86_400_000) - (next() % 300_000)).toISOString().slice(0, 19)}Z`,
        sourceIPAddress: String(base['sourceIPAddress']).replace(/\d+$/, String(next() % 256)),
        requestParameters: isObject(context)
          ? {
              ...object(request),
              encryptionContext: { ...context, document: `doc-${hex(8)}${hex(8)}${hex(8)}` },
            }
          : request,
        ...(base['requestID'] === undefined ? {} : { requestID: uuid() }),
        eventID: uuid(),
      })
    }
    const text = Buffer.from(JSON.stringify({ Records: records }))
    raw += text.length
    writeFileSync(
      join(folder, `123456789012_CloudTrail_eu-central-1_${String(file).padStart(6, '0')}.json.gz`),
      gzipSync(text, { level: 6 }),
    )
  }
  return raw
}

if (import.meta.main) {
  const [folder = '', records = '', keys = '', perFile = '2000'] = process.argv.slice(2)
  const raw = generate(folder, {
    records: Number(records),
    keys: Number(keys),
    perFile: Number(perFile),
    seed: 1,
  })
  console.log(`${raw} bytes`)
}
