/** Pub/Sub by the vendor's client: how it signs in, and what its failures mean. */
import type { PubSub } from '@google-cloud/pubsub'
import { messageOf } from '../model/error.ts'
import type { PubSubConfig } from '../model/sources.ts'
import { printable } from '../normalize/text.ts'

export const CONSUME = 'pubsub.subscriptions.consume'
const DESCRIBE = 'pubsub.subscriptions.get'
/** Of one answer. */
const ANSWER_MS = 10_000
/** Once, and no more than so long: who asks tries again. */
export const once = { timeout: ANSWER_MS, retry: { retryCodes: [] } }

const SCOPE = 'https://www.googleapis.com/auth/pubsub'

/** @throws when there are no credentials: the client itself would end the process */
export const openPubSub = async ({
  project,
  endpoint,
}: Pick<PubSubConfig, 'project' | 'endpoint'>): Promise<PubSub> => {
  const [{ PubSub }, { GoogleAuth, PassThroughClient }] = await Promise.all([
    import('@google-cloud/pubsub'),
    import('google-auth-library'),
  ])
  const isHere = endpoint?.startsWith('http:') === true
  const auth = isHere
    ? new GoogleAuth({ authClient: new PassThroughClient() }) // an emulator asks for no credentials
    : new GoogleAuth({ scopes: SCOPE })
  await auth.getClient()
  return new PubSub({
    projectId: project,
    auth,
    // any other host than Google's own would be taken for an emulator, and spoken to without TLS
    ...(endpoint !== undefined && { apiEndpoint: endpoint, emulatorMode: isHere }),
  })
}

/** @see https://grpc.io/docs/guides/status-codes/ */
export const status = {
  ok: 0,
  invalid: 3,
  late: 4,
  missing: 5,
  denied: 7,
  exhausted: 8,
  unfit: 9,
  unimplemented: 12,
  unavailable: 14,
  unauthenticated: 16,
}

/** Not all failures of the client are errors. */
const isFailure = (cause: unknown): cause is { readonly message: unknown } =>
  typeof cause === 'object' && cause !== null && 'message' in cause

/** Status of a failure; none when it did not come from the service. */
export const codeOf = (cause: unknown): number | undefined =>
  isFailure(cause) && 'code' in cause && typeof cause.code === 'number' ? cause.code : undefined

const PAGE = 'docs/permissions/google-pubsub.md'

const remedyOf = (code: number | undefined, text: string): string | undefined => {
  if (/default credentials/i.test(text))
    return 'no credentials were found: set GOOGLE_APPLICATION_CREDENTIALS'
  if (/ENOENT|does not exist/.test(text)) return 'correct GOOGLE_APPLICATION_CREDENTIALS'
  if (/invalid_grant|invalid_client|unauthorized_client/.test(text))
    return 'the credentials are not accepted: was the key deleted?'
  switch (code) {
    case status.denied:
      return `a permission is missing: ${CONSUME} (role roles/pubsub.subscriber) to read, ${DESCRIBE} (role roles/pubsub.viewer) to describe (${PAGE})`
    case status.missing:
      return 'there is no such subscription: correct project and subscriptions'
    case status.unauthenticated:
      return `signing in is refused: correct the credentials (${PAGE})`
    case status.exhausted:
      return 'a quota of the project is used up'
    case status.unfit:
      return 'the subscription cannot be pulled: does it push, or was it detached from its topic?'
    case status.unavailable:
    case status.late:
      return 'no answer: is port 443 of the service open on the way?'
    default:
      return undefined
  }
}

/** What a failure says, and what to do. */
export const explainedPubSub = (cause: unknown): string => {
  const code = codeOf(cause)
  const [line = ''] = (isFailure(cause) ? String(cause.message) : messageOf(cause)).split('\n')
  const text =
    printable(line).slice(0, 500) || (code === status.ok ? 'it ended without a reason' : `status ${code}`)
  const remedy = remedyOf(code, line)
  return remedy === undefined ? text : `${text}: ${remedy}`
}

/** @returns whether messages may be read; not known of a server that has no permissions @throws when there is no answer */
export const mayConsume = async (client: PubSub, name: string): Promise<boolean | undefined> => {
  try {
    const [granted] = await client.subscription(name).iam.testPermissions([CONSUME], once)
    return granted?.[CONSUME] === true
  } catch (cause) {
    if (codeOf(cause) === status.unimplemented) return undefined
    throw cause
  }
}
