/** Settings that several parts of the configuration share. */
import { z } from 'zod'

export const pattern = (about: string) => z.string().min(1).max(2048).describe(about)
export const path = (about: string) => z.string().min(1).max(4096).describe(about)

/** Texts that are never written in the file itself; the schema tells editors how. */
export const SECRET = /^\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)\}$/
export const secret = (about: string) =>
  z
    .string()
    .regex(SECRET, 'a secret is named, not written: \u0024{env:NAME} or \u0024{file:path}')
    .describe(about)
    .meta({ secret: true })

/** Plain HTTP would show tokens to everybody on the way: to this machine alone. */
export const address = (about: string) =>
  z
    .string()
    .regex(
      /^(https:\/\/\S+|http:\/\/(127\.0\.0\.1|\[::1\]|localhost)(:\d{1,5})?([/?#]\S*)?)$/,
      'an https:// address (http:// only to this machine)',
    )
    .describe(about)

/** What an event or an alert looks like when it leaves; ECS has the category `api` since 8.7. */
export const formats = ['native', 'cim', 'asim', 'ocsf', 'ecs', 'ecs_before_8_7'] as const
export type Format = (typeof formats)[number]
export const format = (usual: Format) =>
  z.enum(formats).describe('what events and alerts look like: docs/mapping.md').default(usual)

export const id = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,63}$/)
  .describe('name: small letters, digits, hyphens')

export const awsRole = z
  .strictObject({
    arn: z
      .string()
      .regex(/^arn:aws[a-z-]*:iam::\d{12}:role\/\S{1,512}$/, 'the ARN of a role')
      .describe('ARN of the role'),
    external_id: z
      .string()
      .min(2)
      .max(1224)
      .describe('external id that its trust policy asks for')
      .optional(),
  })
  .describe('role that is assumed, such as one of another account')
export type AwsRole = z.infer<typeof awsRole>

export const awsRegion = z
  .string()
  .regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'an AWS region, such as eu-central-1')
  .describe('AWS region')

export const azureCredential = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('client_secret'),
      tenant: pattern('tenant id'),
      client: pattern('application (client) id'),
      secret: secret('client secret'),
    }),
    z.strictObject({
      type: z.literal('certificate'),
      tenant: pattern('tenant id'),
      client: pattern('application (client) id'),
      path: path('PEM with certificate and private key'),
    }),
    z.strictObject({
      type: z.literal('managed_identity'),
      client: pattern('client id of a user-assigned identity').optional(),
    }),
    z.strictObject({
      type: z.literal('workload_identity'),
      tenant: pattern('tenant id; AZURE_TENANT_ID without it').optional(),
      client: pattern('client id; AZURE_CLIENT_ID without it').optional(),
      token_file: path('federated token; AZURE_FEDERATED_TOKEN_FILE without it').optional(),
    }),
  ])
  .describe('how Keytrail signs in')
