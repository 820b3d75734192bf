/** The configuration that `scan` reads with `--config`; `run` will add its sources and sinks to it. */
import { z } from 'zod'

const pattern = (about: string) => z.string().min(1).max(2048).describe(about)

export const config = z
  .strictObject({
    ingest_path: z
      .array(pattern('name or ARN of a log bucket, log group, rule or destination'))
      .max(1000)
      .describe('resources that carry our own feed: changes to them are judged as changes to logging')
      .default([]),
    trusted_roles: z
      .array(pattern('role ARN, * matches any run of characters'))
      .max(1000)
      .describe('roles whose identity provider enforces MFA: their sessions count as verified (derived_rule)')
      .default([]),
    encryption_context: z
      .enum(['keep', 'hash', 'drop'])
      .describe(
        'keep the pairs, keep names and hash values, or drop them (context detectors then see nothing)',
      )
      .default('keep'),
  })
  .describe('Keytrail configuration')

export type Config = z.infer<typeof config>
export const defaultConfig: Config = config.parse({})
