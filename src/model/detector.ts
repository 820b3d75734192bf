/**
 * Detector definitions: Sigma rules and correlations, and what Keytrail adds under one key, `keytrail:`.
 * Sigma specification 2.1: https://sigmahq.io/sigma-specification/
 */
import { z } from 'zod'
import { knowledge } from './knowledge.ts'

export const levels = ['informational', 'low', 'medium', 'high', 'critical'] as const
export const statuses = ['stable', 'test', 'experimental', 'deprecated', 'unsupported'] as const

const name = (about: string) => z.string().min(1).max(256).describe(about)
const timespan = (about: string) =>
  z
    .string()
    .regex(/^[1-9]\d{0,5}[smhd]$/, 'a number and s, m, h or d, such as 10m')
    .describe(about)

const raise = z.strictObject({
  when: name('condition over the selections'),
  level: z.enum(levels).describe('severity of events that match it'),
})

const extension = z
  .strictObject({
    version: z.int().min(1).describe('raised whenever the content changes').default(1),
    explanation: z
      .string()
      .min(1)
      .max(1024)
      .describe(
        'what happened, in one or two sentences; {field}, {observed}, {threshold} and {timespan} are filled in',
      )
      .optional(),
    triage: z.array(name('step')).length(3).describe('three steps to decide').optional(),
    controls: z.array(name('control')).max(32).describe('controls concerned').default([]),
    by: z
      .array(name('field'))
      .min(1)
      .max(8)
      .describe('group single events into one alert per dedup bucket')
      .optional(),
    dedup: z
      .union([z.literal(0), timespan('length of the bucket')])
      .describe(
        'UTC-aligned bucket with one alert per entity, 1h unless said otherwise; 0 = one alert per event',
      )
      .optional(),
    axis: z.enum(['key', 'actor', 'account', 'all']).describe('what the state is keyed by').optional(),
    kind: z
      .enum(['rate', 'breadth', 'novelty'])
      .describe('kind of evidence; without a calibration the correlation decides rate and breadth')
      .optional(),
    pair: z
      .array(name('field'))
      .min(1)
      .max(8)
      .describe('novelty: the combination that is new, or not')
      .optional(),
    learn_on: z
      .union([name('field'), z.array(name('field')).min(1).max(4)])
      .describe('novelty: what must have been seen for a while before a verdict; the first that is there')
      .optional(),
    learn: timespan('novelty: for how long, 14d unless said otherwise').optional(),
    memory: timespan('novelty: time in which the pair was not seen, 30d unless said otherwise').optional(),
    certain: name('condition over the selections')
      .describe('novelty: events that need no history, because knowledge says what is usual')
      .optional(),
    unless: z
      .strictObject({
        before: name('condition over the selections'),
        within: timespan('how long before at most'),
        by: z.array(name('field')).min(1).max(8).describe('fields that both have in common'),
        when: name('condition over the selections')
          .describe('alerts it applies to; all without it')
          .optional(),
      })
      .describe('no alert when such an event came before')
      .optional(),
    raise: z
      .union([raise, z.array(raise).min(1).max(8)])
      .describe('another severity for some of the events; the first that matches')
      .optional(),
  })
  .describe('what Sigma cannot say')

const common = {
  title: name('title'),
  id: name('identifier of the rule').optional(),
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)
    .describe('short name: the detector id, and how correlations refer to it')
    .optional(),
  status: z.enum(statuses).describe('maturity; experimental detectors raise no alerts').default('stable'),
  description: z.string().max(8192).describe('what it finds, and why that matters').optional(),
  author: z.string().max(512).describe('author').optional(),
  license: z.string().max(128).describe('license').optional(),
  references: z.array(z.string().max(1024)).max(64).describe('sources').optional(),
  tags: z.array(z.string().max(128)).max(64).describe('ATT&CK techniques and others').default([]),
  level: z.enum(levels).describe('severity').default('medium'),
  falsepositives: z.array(z.string().max(1024)).max(32).describe('benign causes').optional(),
  keytrail: extension.optional(),
}

export const ruleDocument = z
  .looseObject({
    ...common,
    logsource: z
      .looseObject({
        product: name('product').optional(),
        category: name('category').optional(),
        service: name('service').optional(),
      })
      .describe('keytrail / key_usage reads the normalized event'),
    detection: z
      .looseObject({ condition: z.union([z.string().min(1).max(4096), z.array(z.string()).min(1).max(1)]) })
      .describe('named selections and the condition over them'),
  })
  .describe('A Sigma rule: decides from one event')

const bound = z.number()
export const correlationDocument = z
  .looseObject({
    ...common,
    correlation: z
      .strictObject({
        type: z.enum(['event_count', 'value_count']).describe('what is counted'),
        rules: z
          .union([name('rule'), z.array(name('rule')).min(1).max(64)])
          .describe('rules whose events count'),
        'group-by': z
          .union([name('field'), z.array(name('field')).min(1).max(8)])
          .describe('one count per combination')
          .optional(),
        timespan: timespan('length of the sliding window, both ends included'),
        condition: z
          .strictObject({
            field: name('field whose distinct values count').optional(),
            gte: bound.optional(),
            gt: bound.optional(),
          })
          .refine(
            (one) => (one.gte === undefined) !== (one.gt === undefined),
            'give exactly one of gte and gt',
          ),
        generate: z.boolean().describe('let the rules raise alerts of their own, too').default(false),
      })
      .describe('what is counted, by whom, in which time'),
  })
  .describe('A Sigma correlation: decides from a count of events or of distinct values')

export type RuleDocument = z.infer<typeof ruleDocument>
export type CorrelationDocument = z.infer<typeof correlationDocument>

/** `cases.yml` and `cases.<cloud>.yml` beside a detector: records in the provider's own form, and how many alerts they raise. */
export const casesDocument = z
  .strictObject({
    format: z
      .enum(['cloudtrail', 'key_vault', 'azure_activity', 'entra', 'gcp_audit'])
      .describe('format of the records'),
    base: z.record(z.string(), z.unknown()).describe('one calm record; each case states only what differs'),
    knowledge: knowledge.optional(),
    cases: z
      .array(
        z.strictObject({
          name: z.string().min(1).max(256).describe('what happens, in plain words'),
          expect: z
            .union([
              z.int().min(0),
              z.strictObject({
                alerts: z.int().min(0).describe('number of distinct alerts'),
                severity: z
                  .enum(['info', 'low', 'medium', 'high', 'critical'])
                  .describe('severity of each')
                  .optional(),
                observed: z.number().describe('highest observed value').optional(),
              }),
            ])
            .describe('alerts of this detector'),
          records: z
            .array(
              z.strictObject({
                repeat: z.int().min(1).max(100_000).describe('how often').default(1),
                every: timespan('spacing of the repetitions').optional(),
                at: z
                  .string()
                  .regex(/^-?\d{1,6}[smhd]$/)
                  .describe('offset of the first one from the base time')
                  .optional(),
                set: z
                  .record(z.string(), z.unknown())
                  .describe('merged into the base; {n} = number of the repetition')
                  .optional(),
                delete: z.array(z.string()).describe('dotted paths removed before').optional(),
              }),
            )
            .min(1),
        }),
      )
      .min(1),
  })
  .describe('Cases of a detector')
export type CasesDocument = z.infer<typeof casesDocument>
