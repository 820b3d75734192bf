/**
 * Objects of a trail by the days of their names, without a queue: listed per account and region, merged in the order of
 * the time that their names say, and passed over when the ledger knows them. Events of an object are at most some
 * minutes older than its name (formats.md section 1.7), so that order is within the lateness of the judge.
 */
import type { S3Client } from '@aws-sdk/client-s3'
import { KeytrailError } from '../model/error.ts'
import { objectReasons } from '../model/outcome.ts'
import { printable } from '../normalize/text.ts'
import type { Fate, Source } from '../pipeline/ports.ts'
import { refusal } from './aws.ts'
import { type Access, type Fetched, handOver, isDecided, openBuckets, placeOf } from './s3-objects.ts'

export interface BackfillOptions extends Access {
  readonly feed_id: string
  readonly bucket: string
  /** Ends before, at or within the folders that CloudTrail makes. */
  readonly prefix: string
  /** Days in UTC, both read, milliseconds since 1970. */
  readonly from: number
  readonly to: number
  /** Objects that are fetched at the same time. */
  readonly objects: number
  /** Nothing else writes to this feed: what is open closes at the end. */
  readonly alone: boolean
  onNotice(text: string): void
  onProgress(progress: BackfillProgress): void
}

export interface BackfillProgress {
  /** `2026/03/02`, and how many of how many. */
  readonly day: string
  readonly dayNumber: number
  readonly days: number
  readonly read: number
  /** In the ledger already. */
  readonly known: number
  /** Failed, or waiting for another attempt. */
  readonly missing: number
}

const DAY_MS = 86_400_000
/** Names in memory while the folders of a day are merged. */
const NAMES = 20_000
const MIN_PAGE = 10
/** The service's own limit. */
const MAX_PAGE = 1000
const LISTINGS = 16

interface Listed {
  readonly key: string
  readonly version: string
  /** `20260302T0905Z`, then what makes it unique. */
  readonly order: string
}

const orderOf = (key: string) =>
  /_(\d{8}T\d{4}Z_[^/]*)$/.exec(key)?.[1] ?? key.slice(key.lastIndexOf('/') + 1)

/** The folder of a region, in which the days are. */
const REGION = /^((?:.*\/)?CloudTrail(?!-Digest)[A-Za-z-]*\/[a-z0-9-]+\/)(?:\d{4}\/.*)?$/
const descends = (folder: string) =>
  /(^|\/)(AWSLogs|o-[a-z0-9]+|\d{12}|CloudTrail(?!-Digest)[A-Za-z-]*)\/$/.test(folder) || REGION.test(folder)

/** Some at a time, in order. */
const together = async <T, R>(all: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> => {
  const done: R[] = []
  for (let at = 0; at < all.length; at += LISTINGS)
    done.push(...(await Promise.all(all.slice(at, at + LISTINGS).map(work))))
  return done
}

const regionsBelow = async (
  client: S3Client,
  bucket: string,
  prefix: string,
  signal: AbortSignal,
): Promise<readonly string[]> => {
  const own = REGION.exec(prefix)?.[1]
  if (own !== undefined) return [own]
  const { paginateListObjectsV2 } = await import('@aws-sdk/client-s3')
  const folders: string[] = []
  for await (const { CommonPrefixes = [] } of paginateListObjectsV2(
    { client },
    { Bucket: bucket, Prefix: prefix, Delimiter: '/' },
    { abortSignal: signal },
  ))
    for (const { Prefix: folder } of CommonPrefixes)
      if (folder !== undefined && descends(folder)) folders.push(folder)
  return (await together(folders, (folder) => regionsBelow(client, bucket, folder, signal))).flat()
}

/** Objects of the folders of one day, in the order of their names' times. */
async function* merged(
  client: S3Client,
  bucket: string,
  folders: readonly string[],
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<Listed> {
  const { paginateListObjectsV2 } = await import('@aws-sdk/client-s3')
  const pageSize = Math.max(MIN_PAGE, Math.min(MAX_PAGE, Math.floor(NAMES / Math.max(folders.length, 1))))
  async function* one(folder: string): AsyncGenerator<Listed> {
    const Prefix = prefix.startsWith(folder) ? prefix : folder
    for await (const { Contents = [] } of paginateListObjectsV2(
      { client, pageSize },
      { Bucket: bucket, Prefix },
      { abortSignal: signal },
    ))
      for (const { Key: key, ETag = '' } of Contents)
        if (key !== undefined && !key.endsWith('/'))
          yield { key, version: ETag.replaceAll('"', ''), order: orderOf(key) }
  }
  const opened = await together(folders, async (folder) => {
    const rest = one(folder)
    const { value, done } = await rest.next()
    return done ? undefined : { rest, first: value }
  })
  const heads = opened.filter((head) => head !== undefined)
  while (heads.length > 0) {
    const head = heads.reduce((a, b) => (b.first.order < a.first.order ? b : a))
    yield head.first
    const { value, done } = await head.rest.next()
    if (done) heads.splice(heads.indexOf(head), 1)
    else head.first = value
  }
}

export const backfillSource = (options: BackfillOptions): Source => {
  const { feed_id, bucket, prefix, from, to, onNotice } = options
  const buckets = openBuckets(options)
  return {
    feed_id,
    transport: 's3',
    async read(_known, take, signal, fate) {
      const client = await buckets.client(bucket)
      if (client === undefined)
        throw new KeytrailError('usage.option', `the source ${feed_id} does not read the bucket ${bucket}`)
      const regions = await regionsBelow(client, bucket, prefix, signal).catch((cause) => {
        signal.throwIfAborted()
        const why = refusal(cause, 's3:ListBucket', `arn:aws:s3:::${bucket}`)
        throw new KeytrailError('backfill.unlisted', `s3://${bucket}/${prefix}: ${why}`, { cause })
      })
      if (regions.length === 0)
        throw new KeytrailError(
          'backfill.unlisted',
          `there are no CloudTrail folders below s3://${bucket}/${prefix}`,
        )
      const tally = { read: 0, known: 0, missing: 0 }
      const days = Math.floor((to - from) / DAY_MS) + 1

      /** @returns what it is, or nothing when the ledger knows it */
      const look = async ({ key, version }: Listed): Promise<Fetched | undefined> =>
        isDecided(await fate(placeOf({ bucket, key })), version)
          ? undefined
          : buckets.fetch({ bucket, key, version }, signal)
      const deliver = async (one: {
        readonly key: string
        readonly fetched: Promise<Fetched | undefined>
      }) => {
        const fetched = await one.fetched
        if (fetched === undefined) return void tally.known++
        const place = placeOf({ bucket, key: one.key })
        const { outcome, reason, detail }: Fate = await handOver(place, fetched, take, signal)
        if (outcome === 'read' || outcome === 'skipped') return void tally.read++
        tally.missing++
        onNotice(printable(`${place} is not read: ${reason && objectReasons[reason]} (${detail})`))
      }

      const underWay: Parameters<typeof deliver>[0][] = []
      try {
        for (let number = 0; number < days; number++) {
          const day = new Date(from + number * DAY_MS).toISOString().slice(0, 10).replaceAll('-', '/')
          const folders = regions
            .map((region) => `${region}${day}/`)
            .filter((folder) => folder.startsWith(prefix) || prefix.startsWith(folder))
          for await (const listed of merged(client, bucket, folders, prefix, signal)) {
            const fetched = look(listed)
            fetched.catch(() => {}) // whoever delivers it has the failure
            underWay.push({ key: listed.key, fetched })
            const first = underWay.length >= options.objects ? underWay.shift() : undefined
            if (first !== undefined) await deliver(first)
            options.onProgress({ day, dayNumber: number + 1, days, ...tally })
          }
          for (let one = underWay.shift(); one !== undefined; one = underWay.shift()) await deliver(one)
          options.onProgress({ day, dayNumber: number + 1, days, ...tally })
        }
        if (options.alone) await take('idle')
      } catch (cause) {
        if (!signal.aborted) throw cause
      }
    },
    close: async () => buckets.close(),
  }
}
