/** Alerts about logs that are not what CloudTrail delivered: what one digest shows, or that digests stay away. */
import { techniques } from '../detect/attack.ts'
import { timeText } from '../detect/evidence.ts'
import { signalId } from '../detect/signal.ts'
import { ALERT_SCHEMA_VERSION, type Alert } from '../model/alert.ts'
import { type Finding, findingKinds } from '../model/integrity.ts'
import { printable, sha256 } from '../normalize/text.ts'
import { countUp } from './count.ts'

/** What was found wrong at one time in one feed. */
export interface IntegrityCheck {
  readonly feed: string
  readonly account: string
  /** The digest, or what else makes it one alert. */
  readonly about: string
  /** What it speaks of, milliseconds since 1970. */
  readonly from: number
  readonly to: number
  /** The first of them. */
  readonly findings: readonly Finding[]
  readonly total: number
}

/** Findings that a check keeps. */
export const MAX_FINDINGS = 50
const MAX_NAME = 600
const MAX_SAMPLES = 5

const facts = { id: 'integrity-failed', version: 1, content_hash: sha256('integrity-failed 1') }

const short = (text: string, most: number) => printable(text).slice(0, most)

export const integrityAlert = (check: IntegrityCheck): Alert => {
  const { feed, account, about, from, to, findings, total } = check
  const kinds = new Map<string, number>()
  for (const { kind } of findings) countUp(kinds, kind)
  const [first] = findings
  const more = total > 1 ? ` ${total - 1} more do not fit either.` : ''
  const [start, end] = [timeText(from), timeText(to)]
  return {
    schema_version: ALERT_SCHEMA_VERSION,
    alert_id: signalId(facts, [feed, about]),
    revision: 1,
    kind: 'signal',
    status: 'new',
    detector: { ...facts },
    severity: 'high',
    title: 'Logs are not proven to be what CloudTrail delivered',
    explanation:
      first === undefined
        ? short(about, MAX_NAME)
        : `In feed ${feed} ${short(first.object, MAX_NAME)} is ${first.kind.replace('_', ' ')}: ${findingKinds[first.kind]}. Expected ${short(first.expected, MAX_NAME)}; found ${short(first.found, 200)}.${more}`,
    entity: { account },
    provider: 'aws',
    account,
    window: { start, end },
    time: { first_event: start, last_event: end },
    observed: total,
    threshold: 1,
    evidence: {
      event_ids: [],
      total: 0,
      sample: findings.slice(0, MAX_SAMPLES).map(({ kind, object, found }) => ({
        summary: short(`${kind}: ${found}`, 512),
        raw_ref: short(object, 256),
      })),
    },
    labels: { feed, kinds: [...kinds].map(([kind, count]) => `${kind} ${count}`).join(', ') },
    attack: techniques(['attack.t1565.001', 'attack.t1070']),
    controls: ['AU-6', 'AU-9', 'AU-10', 'AU-11'],
    triage: [
      'Does `keytrail verify cloudtrail s3://…` with --from and --to around this time find the same?',
      'Who wrote or deleted objects in the bucket then (data events of S3, versions of the objects), and who called StopLogging, UpdateTrail or DeleteTrail?',
      'Which events of this time rest on these objects? Compare them with another trail, event history or a copy.',
    ],
  }
}
