/** Calls to CloudWatch Logs about one log group: pages of events, and what `doctor` asks. */
import type { CloudWatchLogsClient, FilterLogEventsResponse } from '@aws-sdk/client-cloudwatch-logs'
import type { CloudWatchLogsConfig } from '../model/sources.ts'
import type { Check } from '../pipeline/ports.ts'
import { awsClient, isNamed, refusal } from './aws.ts'

export type LogGroup = CloudWatchLogsConfig['groups'][number]
type Options = Pick<CloudWatchLogsConfig, 'filter' | 'endpoint'>

export interface Span {
  /** Milliseconds since 1970; both ends belong to it. */
  readonly startTime: number
  readonly endTime: number
  readonly nextToken?: string | undefined
}

export interface OpenGroup {
  page(span: Span, signal: AbortSignal): Promise<FilterLogEventsResponse>
  check(signal: AbortSignal): Promise<readonly Check[]>
  close(): void
}

const DAY_MS = 86_400_000
/** PutLogEvents takes events that are so old at most. */
export const LATEST_DAYS = 14

const isArn = (name: string) => name.startsWith('arn:')

/** How a group is named to people: region, account where it is known, name. */
export const placeOf = ({ name, region, role }: LogGroup): string => {
  const [, , , , account = role?.arn.split(':')[4], , group = name] = isArn(name) ? name.split(':') : []
  return [region, account, group].filter((part) => part !== undefined).join('/')
}

/** The service does not know this token, or no longer. */
export const isBadToken = (cause: unknown, span: Span): boolean =>
  span.nextToken !== undefined && isNamed(cause, 'InvalidParameterException', 'ExpiredNextTokenException')

export const openGroup = async (group: LogGroup, { filter, endpoint }: Options): Promise<OpenGroup> => {
  const { CloudWatchLogsClient, DescribeLogGroupsCommand, FilterLogEventsCommand } = await import(
    '@aws-sdk/client-cloudwatch-logs'
  )
  const client: CloudWatchLogsClient = new CloudWatchLogsClient(
    await awsClient({ region: group.region, role: group.role, endpoint }),
  )
  const { name, role } = group
  const place = placeOf(group)
  const asked = isArn(name) ? { logGroupIdentifier: name } : { logGroupName: name }
  const page = (span: Span, signal: AbortSignal, limit?: number) =>
    client.send(
      new FilterLogEventsCommand({
        ...asked,
        ...span,
        ...(filter !== undefined && { filterPattern: filter }),
        ...(limit !== undefined && { limit }),
      }),
      { abortSignal: signal },
    )

  /** @returns what was found @throws when it is not there */
  const describe = async (signal: AbortSignal): Promise<string> => {
    if (isArn(name)) return 'shared by a linked account: its settings are not looked at'
    for (let nextToken: string | undefined; ; ) {
      const answer = await client.send(
        new DescribeLogGroupsCommand({ logGroupNamePrefix: name, ...(nextToken && { nextToken }) }),
        { abortSignal: signal },
      )
      const found = answer.logGroups?.find(({ logGroupName }) => logGroupName === name)
      if (found !== undefined) {
        const { retentionInDays: days } = found
        return days !== undefined && days < LATEST_DAYS
          ? `it is there; events are kept for ${days} days, and those that come later than that are never seen (the longest sweep reaches ${LATEST_DAYS} days): raise the retention`
          : `it is there; events are kept ${days === undefined ? 'for ever' : `for ${days} days`}`
      }
      nextToken = answer.nextToken
      if (nextToken === undefined) throw new Error(`there is no log group ${name} in ${group.region}`)
    }
  }

  return {
    page: (span, signal) => page(span, signal),
    async check(signal) {
      const checks: Check[] = []
      /** @returns whether the next step makes sense */
      const step = async (what: string, action: string, resource: string, work: () => Promise<string>) => {
        try {
          checks.push({ step: `${place} ${what}`, ok: true, detail: await work() })
        } catch (cause) {
          signal.throwIfAborted()
          checks.push({ step: `${place} ${what}`, ok: false, detail: refusal(cause, action, resource) })
        }
        return checks.at(-1)?.ok ?? false
      }
      const signedIn = await step('credentials', 'sts:AssumeRole', role?.arn ?? 'a role', async () => {
        const { accessKeyId } = await client.config.credentials()
        return `${role === undefined ? 'found' : `of ${role.arn}`}, access key ${accessKeyId.slice(0, 4)}…${accessKeyId.slice(-4)}`
      })
      if (!signedIn) return checks
      await step('group', 'logs:DescribeLogGroups', 'this region', () => describe(signal))
      const now = Date.now()
      await step('read', 'logs:FilterLogEvents', name, async () => {
        const { events = [], nextToken } = await page({ startTime: now - DAY_MS, endTime: now }, signal, 1)
        return events.length > 0
          ? 'events of the last day can be read'
          : nextToken === undefined
            ? 'it can be read; there is no event in the last day'
            : 'it can be read'
      })
      return checks
    },
    close: () => client.destroy(),
  }
}
