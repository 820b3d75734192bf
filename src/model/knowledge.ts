/** What the operator knows and no log says: who owns what, which accounts are ours, who our partners are, and when. */
import { z } from 'zod'

const text = (about: string) => z.string().min(1).max(512).describe(about)
/** YAML writes `2026-03-01` as a text here, CSV anyway. */
const moment = (about: string) =>
  z
    .string()
    .regex(
      /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?Z)?$/,
      'a day, or a time in UTC such as 2026-03-01T08:00Z',
    )
    .describe(about)
    .optional()

const effective = { from: moment('holds from then on'), until: moment('holds until then, exclusive') }

export const knowledgeKinds = ['key', 'principal', 'account'] as const

const labeled = z
  .strictObject({
    kind: z.enum(knowledgeKinds).describe('what it is about'),
    match: text('id, * matches any run of characters'),
    labels: z
      .record(
        z
          .string()
          .regex(/^[a-z][a-z0-9_]{0,31}$/)
          .refine(
            (name) => name !== 'relation' && name !== 'shared_with',
            'this one is worked out, not given',
          ),
        z.string().min(1).max(256),
      )
      .refine((labels) => Object.keys(labels).length <= 12, 'at most 12 labels')
      .describe('owner, environment, application, data_class, criticality (crown-jewel), decoy (true)'),
    ...effective,
  })
  .describe('labels of keys, callers or accounts; the last that matches wins')

export const knowledge = z
  .strictObject({
    labels: z.array(labeled).max(100_000).describe('labels').default([]),
    own_accounts: z
      .array(text('account, tenant, project or domain'))
      .max(100_000)
      .describe('all of the organization: with them, callers and grantees outside are strangers')
      .default([]),
    partners: z
      .array(
        z.strictObject({
          actor: text('account the partner calls from'),
          target: text('account it may call; * any').default('*'),
          note: text('why').optional(),
          ...effective,
        }),
      )
      .max(10_000)
      .describe('accounts of others that may use our keys')
      .default([]),
  })
  .describe('Knowledge of the operator')

export type Knowledge = z.infer<typeof knowledge>
export const noKnowledge: Knowledge = knowledge.parse({})
