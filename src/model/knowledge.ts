/** What the operator knows and no log says: who owns what, which accounts are ours, who our partners are, and when. */
import { z } from 'zod'

const text = (about: string) => z.string().min(1).max(512).describe(about)
const texts = (about: string) => z.array(text(about)).max(1000).describe(about).default([])
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

const window = z.strictObject({
  from: moment('begins').unwrap(),
  until: moment('ends, exclusive').unwrap(),
  note: text('what is done').optional(),
})

/** One database, or several of one server, and everything that its keys depend on. */
const database = z
  .strictObject({
    id: text('name of the entry'),
    platform: z
      .enum(['sql_server_ekm', 'azure_sql', 'azure_sql_mi', 'rds', 'cloud_sql'])
      .describe('how the database comes to its key'),
    server: text('resource id or name of the server'),
    databases: texts('database'),
    keys: z
      .array(
        z.strictObject({
          key_id: text('id of the key as events name it, * matches any run of characters'),
          purpose: z.enum(['tde', 'backup', 'column']).describe('what it encrypts').default('tde'),
          predecessor: text('key that it replaces').optional(),
        }),
      )
      .min(1)
      .max(100)
      .describe('keys the server uses'),
    principals: z
      .array(
        z
          .strictObject({
            oid: text('object id, role ARN or service account').optional(),
            appid: text('application (client) id').optional(),
            application: text('object id of the application registration').optional(),
            kind: text('kind of identity').optional(),
            registrars: texts('who may add credentials to it'),
            credential_ids: texts('credential (KeyIdentifier) that is known'),
          })
          .refine(({ oid, appid }) => oid !== undefined || appid !== undefined, 'name oid, appid or both'),
      )
      .max(100)
      .describe('identities of the server: nobody else uses its keys')
      .default([]),
    networks: z
      .array(z.union([z.cidrv4(), z.cidrv6()]))
      .max(100)
      .describe('networks the server calls from; empty = not known')
      .default([]),
    key_admins: texts('who administers the keys'),
    database_admins: texts('who administers the server'),
    auditors: texts('who looks at the keys'),
    backup_identity: text('who takes backups of the keys').optional(),
    rotation_days: z.int().min(1).max(3650).describe('days after which the key is due').optional(),
    environment: text('environment').optional(),
    change_windows: z.array(window).max(1000).describe('when planned work is done').default([]),
    ...effective,
  })
  .describe('an entry of the database register')

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
    trusted_identity_providers: z
      .array(
        z.strictObject({
          match: text('identity provider, or role ARN, * matches any run of characters'),
          note: text('why').optional(),
          ...effective,
        }),
      )
      .max(1000)
      .describe('they ask everybody for a second factor: sessions from them count as verified (derived_rule)')
      .default([]),
    change_windows: z
      .array(window.extend({ match: text('key, container or account it is done on, * any') }))
      .max(10_000)
      .describe('planned work: events in it carry the label change_window')
      .default([]),
    ingest_path: z
      .array(z.strictObject({ match: text('resource that carries our own feed'), ...effective }))
      .max(1000)
      .describe('as ingest_path of the configuration, with times')
      .default([]),
    databases: z.array(database).max(1000).describe('the database register').default([]),
  })
  .describe('Knowledge of the operator')

export type Knowledge = z.infer<typeof knowledge>
export const noKnowledge: Knowledge = knowledge.parse({})
