/** What a verification found, for people. */
import { type Finding, findingKinds, type IntegrityReport, type VerdictCounts } from '../model/integrity.ts'
import { moment, plural, visible } from './escape.ts'

const MAX_SHOWN = 100

const counts = ({ verified, unverified, failed }: VerdictCounts, one: string): string => {
  const parts = [`${plural(verified, one)} verified`]
  if (unverified > 0) parts.push(`${unverified} not proven`)
  if (failed > 0) parts.push(`${failed} failed`)
  return parts.join(', ')
}

const failure = ({ kind, object, expected, found }: Finding): string =>
  [
    `  ${kind.replace('_', ' ')}  ${visible(object)}`,
    `    expected  ${visible(expected)}`,
    `    found     ${visible(found)}`,
    `    means     ${findingKinds[kind]}`,
  ].join('\n')

export const renderIntegrity = (report: IntegrityReport): string => {
  const lines: string[] = []
  for (const one of report.trails) {
    lines.push(
      `${one.account}  ${one.region}  trail ${visible(one.trail)}${one.home_region === one.region ? '' : ` of ${one.home_region}`}${one.backfill ? ', backfilled' : ''}`,
      `  ${counts(one.digests, 'digest')}; ${counts(one.files, 'log file')}`,
    )
    if (one.from !== undefined && one.to !== undefined)
      lines.push(`  from ${moment(one.from)} to ${moment(one.to)}`)
    if (one.begins === 'middle') lines.push('  the oldest digest here names an older one that is not here')
  }
  if (report.trails.some(({ digests }) => digests.unverified > 0))
    lines.push(
      '',
      'Not proven: the newest digest of a chain needs the signature that S3 keeps with the object (see docs/verify-cloudtrail.md).',
    )
  if (report.uncovered > 0)
    lines.push('', `${plural(report.uncovered, 'log file')} of times that no digest here covers.`)
  lines.push('')
  if (report.verdict === 'unproven')
    lines.push('Nothing is proven: no digest could be verified by its signature.')
  else if (report.verdict === 'verified')
    lines.push('Everything that is named is here, and as CloudTrail delivered it.')
  else {
    lines.push(plural(report.findings.length, 'failure'))
    lines.push(...report.findings.slice(0, MAX_SHOWN).map(failure))
    if (report.findings.length > MAX_SHOWN)
      lines.push(`  … and ${report.findings.length - MAX_SHOWN} more: all of them with --json`)
  }
  return `${lines.join('\n')}\n`
}
