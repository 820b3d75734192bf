/** What a check of the history found, for people. */
import { type HistoryFinding, type HistoryReport, wrongs } from '../model/history.ts'
import { plural, visible } from './escape.ts'

const MAX_SHOWN = 100

const where = ({ leaf, to }: HistoryFinding): string => {
  if (leaf === undefined) return ''
  return to === undefined || to === leaf ? `, record ${leaf}` : `, records ${leaf} to ${to}`
}

const shown = (lines: readonly string[]): string[] => [
  ...lines.slice(0, MAX_SHOWN),
  ...(lines.length > MAX_SHOWN ? [`  … and ${lines.length - MAX_SHOWN} more: all of them with --json`] : []),
]

export const renderHistoryReport = (report: HistoryReport): string => {
  const { verdict, records, files, bytes, checkpoint, findings, gaps } = report
  const lines: string[] = []
  if (checkpoint !== undefined)
    lines.push(
      `${visible(checkpoint.origin)}: ${plural(records, 'record')}, signed up to manifest ${checkpoint.manifest.number}`,
      `  root ${checkpoint.root}`,
      `  ${plural(files, 'file')} checked, ${bytes} bytes`,
      '',
    )
  if (findings.length > 0)
    lines.push(
      plural(findings.length, 'failure'),
      ...shown(
        findings.map(
          (one) =>
            `  ${one.kind.replace('_', ' ')}  ${visible(one.object)}${where(one)}\n    found  ${visible(one.detail)}\n    means  ${wrongs[one.kind]}`,
        ),
      ),
    )
  if (gaps.length > 0)
    lines.push(plural(gaps.length, 'gap'), ...shown(gaps.map((one) => `  ${visible(one)}`)))
  lines.push(
    {
      verified: 'Everything is here, and as it was sealed.',
      incomplete: 'What is here is as it was sealed. It is not all: see the gaps above.',
      failed: 'This history is not what was sealed.',
    }[verdict],
  )
  return `${lines.join('\n')}\n`
}
