/** How Keytrail speaks to AWS: credentials, also of other accounts, patience, and what a refusal means. */

import { messageOf } from '../model/error.ts'
import type { AwsRole } from '../model/setting.ts'

export interface AwsAccess {
  /** Where the AWS tools look for it, unless it is named. */
  readonly region?: string | undefined
  /** Assumed before anything is asked. */
  readonly role?: AwsRole | undefined
  /** Where the service is, when it is not the region's own address. */
  readonly endpoint?: string | undefined
}

const CONNECT_MS = 5000
/** A page of log events takes the service a few seconds at most. */
const ANSWER_MS = 60_000

/** Settings of a client of the SDK. Credentials are looked for where the AWS tools look. */
export const awsClient = async ({ region, role, endpoint }: AwsAccess) => {
  const { fromTemporaryCredentials } = await import('@aws-sdk/credential-providers')
  return {
    ...(region !== undefined && { region }),
    requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: ANSWER_MS, socketTimeout: ANSWER_MS },
    ...(endpoint !== undefined && { endpoint }),
    ...(role !== undefined && {
      credentials: fromTemporaryCredentials({
        params: {
          RoleArn: role.arn,
          RoleSessionName: 'keytrail',
          ...(role.external_id !== undefined && { ExternalId: role.external_id }),
        },
        ...(region !== undefined && { clientConfig: { region } }),
      }),
    }),
  }
}

export const isNamed = (cause: unknown, ...names: readonly string[]): boolean =>
  cause instanceof Error && names.includes(cause.name)

export const isDenied = (cause: unknown): boolean =>
  isNamed(cause, 'AccessDeniedException', 'AccessDenied', 'UnauthorizedOperation')

/** Trying again changes nothing before an operator does. */
export const needsOperator = (cause: unknown): boolean =>
  isDenied(cause) ||
  isNamed(
    cause,
    'ResourceNotFoundException',
    'InvalidParameterException',
    'UnrecognizedClientException',
    'InvalidSignatureException',
    'CredentialsProviderError',
  )

/** What AWS says is missing: not always what was asked, where a role is assumed before. */
const deniedIn = (cause: unknown): string | undefined =>
  /not authorized to perform: (\w+:\w+)/.exec(messageOf(cause))?.[1]

/** What a failure means to an operator. @param action as policies name it */
export const refusal = (cause: unknown, action: string, resource: string): string => {
  const denied = deniedIn(cause) ?? action
  const asked = denied.toLowerCase() === action.toLowerCase() // SQS names actions in small letters
  return isDenied(cause)
    ? `the permission ${asked ? `${action} on ${resource}` : denied} is missing: ${messageOf(cause)}`
    : isNamed(cause, 'CredentialsProviderError')
      ? `there are no credentials: ${messageOf(cause)}`
      : `${cause instanceof Error && cause.name !== 'Error' ? `${cause.name}: ` : ''}${messageOf(cause)}`
}
