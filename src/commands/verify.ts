/** `keytrail verify cloudtrail`: whether logs are all there and as CloudTrail delivered them. */
import { readFileSync } from 'node:fs'
import { type KeyRing, publicKeys } from '../history/digest.ts'
import { GRACE_MS } from '../history/digest-chain.ts'
import { findDigests, verifyTrails } from '../history/verify.ts'
import { trailFolder } from '../ingest/trail-folder.ts'
import { KeytrailError, messageOf } from '../model/error.ts'
import { findingKinds } from '../model/integrity.ts'
import { type AwsRole, awsRole } from '../model/setting.ts'
import { renderIntegrity } from '../render/integrity.ts'
import { progress } from '../telemetry/progress.ts'
import { momentOf } from './where.ts'

export interface VerifyOptions {
  readonly keys: readonly string[]
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly role?: string | undefined
  readonly externalId?: string | undefined
  readonly json: boolean
  readonly quiet: boolean
}

export const keysIn = (paths: readonly string[]): KeyRing => {
  const parsed = paths.map((path) => {
    try {
      return publicKeys(JSON.parse(readFileSync(path, 'utf8')), path)
    } catch (cause) {
      if (cause instanceof KeytrailError) throw cause
      throw new KeytrailError('verify.keys', `${path} cannot be read: ${messageOf(cause)}`)
    }
  })
  return new Map(parsed.flat())
}

const roleOf = ({ role: arn, externalId }: VerifyOptions, inBucket: boolean): AwsRole | undefined => {
  if (arn === undefined && externalId === undefined) return undefined
  const role = awsRole.safeParse({ arn, external_id: externalId })
  if (role.success && inBucket) return role.data
  throw new KeytrailError(
    'usage.option',
    '--role needs the ARN of a role, and an s3:// address to use it for',
  )
}

/** @returns 0 when all is proven, 1 when something failed or nothing is proven */
export const verifyCloudTrail = async (
  paths: readonly string[],
  options: VerifyOptions,
  signal: AbortSignal,
): Promise<number> => {
  const now = Date.now()
  const from = options.from === undefined ? undefined : momentOf(options.from, now)
  const asked = options.to === undefined ? undefined : momentOf(options.to, now)
  if (from !== undefined && asked !== undefined && from >= asked)
    throw new KeytrailError('usage.option', '--from must be before --to')
  const [first = ''] = paths
  const inBucket = first.startsWith('s3://')
  if (paths.length > 1 && paths.some((path) => path.startsWith('s3://')))
    throw new KeytrailError('usage.option', 'name one s3:// address, or paths of one copy')
  if (!inBucket && options.keys.length === 0)
    throw new KeytrailError('verify.keys', 'a copy on disk is verified with the public keys of CloudTrail')
  const given = keysIn(options.keys)
  const role = roleOf(options, inBucket)
  const bucket = inBucket ? await import('../ingest/trail-bucket.ts') : undefined
  const objects =
    bucket === undefined ? trailFolder(paths) : await bucket.trailBucket(first, { from, to: asked }, { role })
  const regions = await findDigests(objects)
  if (regions.size === 0)
    throw new KeytrailError('verify.nothing', `no CloudTrail digest file in ${paths.join(', ')}`)

  const shown = progress(process.stderr, options.quiet)
  const report = await verifyTrails(
    objects,
    regions,
    async (region, oldest) =>
      bucket === undefined || given.size > 0
        ? given
        : new Map(
            publicKeys(
              await bucket.listPublicKeys({ region, role }, oldest - GRACE_MS, now),
              `ListPublicKeys in ${region}`,
            ),
          ),
    // A digest of the last two hours may still be to come.
    { from, to: asked === undefined ? undefined : Math.min(asked, now - GRACE_MS) },
    signal,
    ({ digests, files }) => shown.update(() => `${digests} digests, ${files} log files`),
  )
  shown.done()
  if (report.trails.length === 0)
    throw new KeytrailError('verify.nothing', 'no digest ends in the time that --from and --to name')
  const findings = report.findings.map((one) => ({ ...one, meaning: findingKinds[one.kind] }))
  process.stdout.write(
    options.json ? `${JSON.stringify({ ...report, findings }, null, 2)}\n` : renderIntegrity(report),
  )
  return report.verdict === 'verified' ? 0 : 1
}
