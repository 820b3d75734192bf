/** The sources of a configuration, one schema each. */
import { z } from 'zod'
import { path } from './setting.ts'

const filesSource = z
  .strictObject({
    type: z.literal('files'),
    paths: z
      .array(path('folder, file or pattern'))
      .min(1)
      .max(1000)
      .describe('what is read, and watched for more'),
    start: z
      .enum(['beginning', 'end'])
      .describe('where a file begins that was never read before: `end` passes over what is there already'),
  })
  .describe('log files, plain, gzip or zstd')

export const sourceConfig = z.discriminatedUnion('type', [filesSource])
