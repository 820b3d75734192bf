/** `kms.alert.v1`: what is sent to people. Its id is a hash of what it is about, so a repeat is recognizable. */
import { z } from 'zod'
import { providers } from './event.ts'
import { criticalities } from './operations.ts'

export const ALERT_SCHEMA_VERSION = 'kms.alert.v1'

const text = (max: number, about: string) => z.string().min(1).max(max).describe(about)
const time = (about: string) => z.iso.datetime({ offset: false }).describe(about)

export const alert = z
  .strictObject({
    schema_version: z.literal(ALERT_SCHEMA_VERSION).describe('name and version of this schema'),
    alert_id: z
      .string()
      .regex(/^[0-9a-f]{32}$/)
      .describe('stable id: the same history gives the same id'),
    revision: z.int().min(1).describe('1 at the first crossing, higher when the body changed'),
    kind: z.enum(['signal', 'incident']).describe('one finding, or several joined'),
    status: z.enum(['new', 'updated', 'withdrawn']).describe('life of the alert'),
    detector: z.strictObject({
      id: text(128, 'detector id'),
      version: z.int().min(1).describe('detector version'),
      content_hash: z.string().length(64).describe('SHA-256 of the detector definition'),
      calibration_hash: z.string().length(64).describe('SHA-256 of the calibration table').optional(),
      author: text(512, 'author of the rule').optional(),
      license: text(128, 'license of the rule').optional(),
      reference: text(1024, 'where the rule is described').optional(),
    }),
    severity: z.enum(criticalities).describe('severity'),
    title: text(256, 'title of the detector'),
    explanation: text(2048, 'what happened, in one or two sentences'),
    entity: z
      .strictObject({
        key_id: text(512, 'key').optional(),
        principal: text(512, 'caller').optional(),
        account: text(128, 'account').optional(),
      })
      .describe('whom and what it is about'),
    provider: z.enum([...providers, 'keytrail']).describe('cloud; keytrail where it speaks of itself'),
    account: z
      .string()
      .max(128)
      .describe('account the event was recorded in; empty when the log does not say'),
    window: z
      .strictObject({ start: time('start'), end: time('end') })
      .describe('window of the observed value'),
    time: z.strictObject({ first_event: time('first event'), last_event: time('last event') }),
    observed: z.number().describe('observed value: events or distinct values'),
    threshold: z.number().describe('value that raises the alert'),
    expected: z.number().describe('expected value, for statistical detectors').optional(),
    evidence: z.strictObject({
      event_ids: z
        .array(text(64, 'event id'))
        .max(50)
        .describe('the first 50 events; none where it is about objects'),
      total: z.int().min(0).describe('all events that count'),
      sample: z
        .array(
          z.strictObject({ summary: text(512, 'one line'), raw_ref: text(256, 'pointer to the raw record') }),
        )
        .max(5)
        .describe('up to five events, one line each'),
    }),
    labels: z.record(z.string().max(64), z.string().max(256)).describe('labels of key and principal'),
    attack: z
      .array(
        z.strictObject({
          v18: text(16, 'technique id, ATT&CK v18'),
          v19: text(16, 'technique id, ATT&CK v19'),
        }),
      )
      .describe('MITRE ATT&CK techniques'),
    controls: z.array(text(32, 'control')).describe('controls concerned'),
    triage: z.array(text(512, 'step')).length(3).describe('three steps to decide'),
    replay_run_id: text(64, 'set when a replay produced it').optional(),
  })
  .describe('One alert')

/** What people made of an alert. */
export const verdicts = ['true_positive', 'benign', 'false_positive', 'duplicate'] as const
export const disposition = z
  .strictObject({
    alert_id: z.string().length(32).describe('alert'),
    revision: z.int().min(1).describe('revision that was decided on'),
    verdict: z.enum(verdicts).describe('what it was'),
    reason: text(2048, 'why'),
    author: text(256, 'who decided'),
  })
  .describe('A decision on an alert')
export type Disposition = z.infer<typeof disposition>

export type Alert = z.infer<typeof alert>
