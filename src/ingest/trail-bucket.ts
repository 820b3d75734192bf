/** A bucket with CloudTrail digests and logs, and the public keys of CloudTrail, by the SDK of AWS. */
import { Readable } from 'node:stream'
import type { S3Client } from '@aws-sdk/client-s3'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { ObjectRead, TrailObjects } from '../model/integrity.ts'
import { type AwsAccess, awsClient, isNamed } from './aws.ts'
import { readStream } from './files.ts'

/** Days whose objects are looked at, milliseconds since 1970. */
export interface Days {
  readonly from?: number | undefined
  readonly to?: number | undefined
}

const DAY_MS = 86_400_000
/** `2026/03/02`, as in the names of objects. */
const day = (time: number) => new Date(time).toISOString().slice(0, 10).replaceAll('-', '/')

/** The folders that CloudTrail makes below AWSLogs: organizations and accounts. */
const descends = (folder: string) => /\/(?:AWSLogs|o-[a-z0-9]+|\d{12})\/$/.test(`/${folder}`)

const cloud = (what: string, cause: unknown) =>
  new KeytrailError('verify.cloud', `${what}: ${messageOf(cause)}`, { cause })

/** Objects by their `s3://` names. @param clientOf the client that reads a bucket, if one may */
export const namedObjects = (
  clientOf: (bucket: string) => Promise<S3Client | undefined>,
  signal?: AbortSignal,
): Pick<TrailObjects, 'nameOf' | 'read'> => ({
  nameOf: (bucket, key) => `s3://${bucket}/${key}`,
  async read(name, push): Promise<ObjectRead> {
    const [, Bucket = '', Key] = /^s3:\/\/([^/]+)\/(.+)$/s.exec(name) ?? []
    try {
      const client = await clientOf(Bucket)
      if (client === undefined)
        return { kind: 'unreadable', detail: `the bucket ${Bucket} is not named in the configuration` }
      const { GetObjectCommand } = await import('@aws-sdk/client-s3')
      const answer = await client.send(new GetObjectCommand({ Bucket, Key }), {
        ...(signal && { abortSignal: signal }),
      })
      if (!(answer.Body instanceof Readable))
        return { kind: 'unreadable', detail: 'an answer without a body' }
      const failure = await readStream(answer.Body, push)
      if (failure === undefined) return { kind: 'read', metadata: answer.Metadata ?? {} }
      const kind = failure.reason === 'unreadable' ? 'unreadable' : 'damaged'
      return { kind, detail: failure.detail }
    } catch (cause) {
      if (isNamed(cause, 'NoSuchKey')) return { kind: 'missing' }
      return { kind: 'unreadable', detail: messageOf(cause) }
    }
  },
})

/** @param url `s3://bucket` or `s3://bucket/prefix`; the prefix ends before AWSLogs or within it */
export const trailBucket = async (url: string, days: Days, access: AwsAccess): Promise<TrailObjects> => {
  const [, bucket, path = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]+)(?:\/(.*))?$/.exec(url) ?? []
  if (bucket === undefined) throw new KeytrailError('usage.option', `"${url}" is not s3://bucket/prefix`)
  const { S3Client, ListObjectsV2Command } = await import('@aws-sdk/client-s3')
  const client = new S3Client({ ...(await awsClient(access)), followRegionRedirects: true })

  const pages = async function* (Prefix: string, more: { Delimiter?: string; StartAfter?: string } = {}) {
    let ContinuationToken: string | undefined
    do {
      const page = await client
        .send(new ListObjectsV2Command({ Bucket: bucket, Prefix, ContinuationToken, ...more }))
        .catch((cause: unknown) => {
          throw cloud(`s3://${bucket}/${Prefix} cannot be listed`, cause)
        })
      yield page
      ContinuationToken = page.NextContinuationToken
    } while (ContinuationToken !== undefined)
  }
  const foldersIn = async (prefix: string): Promise<string[]> => {
    const found: string[] = []
    for await (const page of pages(prefix, { Delimiter: '/' }))
      for (const { Prefix } of page.CommonPrefixes ?? []) if (Prefix !== undefined) found.push(Prefix)
    return found
  }
  /** Names below the folder of a region, of the days that are wanted; a digest may come on the following day. */
  const namesIn = async function* (region: string) {
    const from = days.from === undefined ? {} : { StartAfter: region + day(days.from - DAY_MS) }
    const until = days.to === undefined ? undefined : `${region}${day(days.to + DAY_MS)}~`
    for await (const page of pages(region, from))
      for (const { Key } of page.Contents ?? []) {
        if (Key === undefined || Key.endsWith('/')) continue
        if (until !== undefined && Key > until) return
        yield `s3://${bucket}/${Key}`
      }
  }
  const regionsOf = async function* (folder: string): AsyncGenerator<string> {
    const at = /^(?:.*\/)?CloudTrail-Digest\/(.+)?/.exec(folder)
    if (at?.[1] !== undefined) yield folder
    else
      for (const one of await foldersIn(folder))
        if (at !== null || one.endsWith('/CloudTrail-Digest/') || descends(one)) yield* regionsOf(one)
  }

  return {
    ...namedObjects(async () => client),
    async *digests() {
      const folder = path === '' || path.endsWith('/') ? path : `${path}/`
      for await (const region of regionsOf(folder)) yield* namesIn(region)
    },
    logs(digest) {
      const [region = ''] = /^.*\/CloudTrail-Digest\/[^/]+\//.exec(digest) ?? []
      return namesIn(region.slice(`s3://${bucket}/`.length).replace('/CloudTrail-Digest/', '/CloudTrail/'))
    },
  }
}

/** What ListPublicKeys answers, in the form that the command line prints. @param from milliseconds */
export const listPublicKeys = async (access: AwsAccess, from: number, to: number, signal?: AbortSignal) => {
  const { CloudTrailClient, ListPublicKeysCommand } = await import('@aws-sdk/client-cloudtrail')
  const client = new CloudTrailClient(await awsClient(access))
  const PublicKeyList: { Value: string; Fingerprint: string | undefined }[] = []
  let NextToken: string | undefined
  try {
    do {
      const page = await client.send(
        new ListPublicKeysCommand({ StartTime: new Date(from), EndTime: new Date(to), NextToken }),
        { ...(signal && { abortSignal: signal }) },
      )
      for (const { Value, Fingerprint } of page.PublicKeyList ?? [])
        PublicKeyList.push({ Value: Buffer.from(Value ?? []).toString('base64'), Fingerprint })
      NextToken = page.NextToken
    } while (NextToken !== undefined)
  } catch (cause) {
    throw cloud(`the public keys of CloudTrail in ${access.region} cannot be listed`, cause)
  } finally {
    client.destroy()
  }
  return { PublicKeyList }
}
