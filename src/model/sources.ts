/** The sources of a configuration, one schema each. */
import { z } from 'zod'
import { address, awsRegion, awsRole, path, pattern } from './setting.ts'

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

const cloudWatchLogsSource = z
  .strictObject({
    type: z.literal('cloudwatch_logs'),
    groups: z
      .array(
        z
          .strictObject({
            name: pattern('name of the log group; its ARN when it is shared by a linked account'),
            region: awsRegion,
            role: awsRole.optional(),
          })
          .describe('a log group'),
      )
      .min(1)
      .max(100)
      .describe('log groups that are read'),
    start: z
      .union([z.enum(['beginning', 'end']), z.iso.datetime({ offset: true })])
      .describe('where a group begins that was never read before: events before that time are passed over'),
    filter: pattern('filter pattern that the service applies; what it holds back is not counted').optional(),
    poll_seconds: z.int().min(1).max(900).describe('seconds between two looks').default(10),
    requests_per_second: z
      .number()
      .min(0.1)
      .max(1000)
      .describe('requests for each group; the service allows a few for each account and region together')
      .default(2),
    endpoint: address("address of the service, when it is not the region's own").optional(),
  })
  .describe('Amazon CloudWatch Logs, read by polling')

export const sourceConfig = z.discriminatedUnion('type', [filesSource, cloudWatchLogsSource])
export type CloudWatchLogsConfig = z.infer<typeof cloudWatchLogsSource>
