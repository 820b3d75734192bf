/**
 * Detector definitions: Sigma rules and correlations, and what Keytrail adds under one key, `keytrail:`.
 * Sigma specification 2.1: https://sigmahq.io/sigma-specification/
 */
import { z } from 'zod'
import { knowledge } from './knowledge.ts'
import { providers } from './vocabulary.ts'

export const levels = ['informational', 'low', 'medium', 'high', 'critical'] as const
export const statuses = ['stable', 'test', 'experimental', 'deprecated', 'unsupported'] as const

const name = (about: string) => z.string().min(1).max(256).describe(about)
const timespan = (about: string) =>
  z
    .string()
    .regex(/^[1-9]\d{0,5}[smhdw]$/, 'a number and s, m, h, d or w, such as 10m')
    .describe(about)

const raise = z.strictObject({
  when: name('condition over the selections'),
  level: z.enum(levels).describe('severity of events that match it'),
})

const fields = z.union([name('field'), z.array(name('field')).min(1).max(4)])

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
      .enum(['rate', 'breadth', 'novelty', 'sequence', 'overdue', 'silence'])
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
    field: z
      .union([fields, z.partialRecord(z.enum(providers), fields)])
      .describe('breadth: field whose values count, or several; also one for each cloud')
      .optional(),
    chains: z
      .array(
        z.strictObject({
          within: timespan('all steps lie in it'),
          level: z.enum(levels).describe('severity, that of the detector unless said').optional(),
          steps: z
            .array(
              z.strictObject({
                name: name('how others refer to it').optional(),
                when: name('condition over the selections'),
                after: z.array(name('earlier step')).max(8).describe('comes after these').optional(),
                count: z.int().min(2).max(100).describe('as many events').optional(),
                without: name('condition: what must not happen since the step before').optional(),
              }),
            )
            .min(1)
            .max(8),
        }),
      )
      .min(1)
      .max(8)
      .describe('sequence: events of one group, in part in order; one of the chains must hold')
      .optional(),
    expect: name('condition over the selections').describe('overdue: what must come').optional(),
    due: timespan('overdue and silence: within which time').optional(),
    sooner: z
      .strictObject({ when: name('condition over the selections'), due: timespan('within which time') })
      .describe('overdue and silence: another time for some')
      .optional(),
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

const condition = z.union([z.string().min(1).max(4096), z.array(z.string().min(1).max(4096)).min(1).max(32)])
const logsource = z.looseObject({
  product: name('product').optional(),
  category: name('category').optional(),
  service: name('service').optional(),
})
const rules = (about: string) => z.union([name('rule'), z.array(name('rule')).min(1).max(64)]).describe(about)

export const ruleDocument = z
  .looseObject({
    ...common,
    logsource: logsource.describe(
      'keytrail / key_usage reads the normalized event, any other the raw record',
    ),
    detection: z
      .looseObject({ condition })
      .describe('named selections and the condition over them; of several conditions one must hold'),
  })
  .describe('A Sigma rule: decides from one event')

export const filterDocument = z
  .looseObject({
    ...common,
    logsource: logsource.describe('log sources of the rules it belongs to').optional(),
    filter: z
      .looseObject({
        rules: rules('rules it belongs to; absent or any: all of its log source').default('any'),
        condition: z.string().min(1).max(4096),
      })
      .describe('must hold, too, for the rules to match'),
  })
  .describe('A Sigma filter: one more condition for rules of others')

export const correlationTypes = [
  'event_count',
  'value_count',
  'temporal',
  'temporal_ordered',
  'value_sum',
  'value_avg',
  'value_percentile',
] as const

const bound = z.number().optional()
export const correlationDocument = z
  .looseObject({
    ...common,
    generate: z.boolean().describe('let the rules raise alerts of their own, too').optional(),
    correlation: z
      .strictObject({
        type: z.enum(correlationTypes).describe('what is counted, or in which order rules match'),
        rules: rules('rules whose events count; also correlations'),
        'group-by': z
          .union([name('field'), z.array(name('field')).min(1).max(8)])
          .describe('one count per combination')
          .optional(),
        aliases: z
          .record(name('alias'), z.record(name('rule'), name('field')))
          .describe('one name for fields that are called differently in the rules')
          .optional(),
        timespan: timespan('length of the sliding window, both ends included'),
        condition: z
          .strictObject({
            field: z
              .union([name('field'), z.array(name('field')).min(1).max(8)])
              .describe('field whose values count, or several')
              .optional(),
            percentile: z
              .number()
              .min(0)
              .max(100)
              .describe('value_percentile: which one, 50 unless said')
              .optional(),
            gte: bound,
            gt: bound,
            lte: bound,
            lt: bound,
            eq: bound,
            neq: bound,
          })
          .refine(
            ({ gte, gt, lte, lt, eq, neq }) => [gte, gt, lte, lt, eq, neq].some((one) => one !== undefined),
            'give at least one of gte, gt, lte, lt, eq and neq',
          )
          .optional(),
        generate: z.boolean().describe('let the rules raise alerts of their own, too').default(false),
      })
      .refine(
        ({ type, condition }) => type.startsWith('temporal') || condition !== undefined,
        'this type needs a condition',
      )
      .describe('what is counted, by whom, in which time'),
  })
  .describe('A Sigma correlation: decides from several events')

/** `placeholders.yml`: values of `%name%` in rules with the modifier `expand`. */
export const placeholders = z.record(name('placeholder'), z.array(z.string().max(1024)).max(10_000))

export type RuleDocument = z.infer<typeof ruleDocument>
export type CorrelationDocument = z.infer<typeof correlationDocument>
export type FilterDocument = z.infer<typeof filterDocument>

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
