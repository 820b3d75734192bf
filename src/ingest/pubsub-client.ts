/** Pub/Sub by the vendor's client: how it signs in, and what its failures mean. */
import type { PubSub } from '@google-cloud/pubsub'
import { messageOf } from '../model/error.ts'
import type { PubSubConfig } from '../model/sources.ts'
import { printable } from '../normalize/text.ts'

const CONSUME = 'pubsub.subscriptions.consume'
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

const PAGE = 'docs/permissions/google-pubsub.md'
const ENDED = 0
const UNIMPLEMENTED = 12
/** By status: https://grpc.io/docs/guides/status-codes/ */
const remedies: Readonly<Record<number, string>> = {
  4: 'no answer: is port 443 of the service open on the way?',
  5: 'there is no such subscription: correct project and subscriptions',
  7: `a permission is missing: ${CONSUME} (role roles/pubsub.subscriber) to read, ${DESCRIBE} (role roles/pubsub.viewer) to describe (${PAGE})`,
  8: 'a quota of the project is used up',
  9: 'the subscription cannot be pulled: does it push, or was it detached from its topic?',
  14: 'no answer: is port 443 of the service open on the way?',
  16: `signing in is refused: correct the credentials (${PAGE})`,
}

/** Not all failures of the client are errors. */
const isFailure = (cause: unknown): cause is { readonly message: unknown } =>
  typeof cause === 'object' && cause !== null && 'message' in cause

/** Status of a failure; none when it did not come from the service. */
const codeOf = (cause: unknown): number | undefined =>
  isFailure(cause) && 'code' in cause && typeof cause.code === 'number' ? cause.code : undefined

const remedyOf = (code: number | undefined, text: string): string | undefined => {
  if (/default credentials/i.test(text))
    return 'no credentials were found: set GOOGLE_APPLICATION_CREDENTIALS'
  if (/ENOENT|does not exist/.test(text)) return 'correct GOOGLE_APPLICATION_CREDENTIALS'
  if (/invalid_grant|invalid_client|unauthorized_client/.test(text))
    return 'the credentials are not accepted: was the key deleted?'
  return code === undefined ? undefined : remedies[code]
}

/** What a failure says, and what to do. */
export const explainedPubSub = (cause: unknown): string => {
  const code = codeOf(cause)
  const [line = ''] = (isFailure(cause) ? String(cause.message) : messageOf(cause)).split('\n')
  const text =
    printable(line).slice(0, 500) || (code === ENDED ? 'it ended without a reason' : `status ${code}`)
  const remedy = remedyOf(code, line)
  return remedy === undefined ? text : `${text}: ${remedy}`
}

/**
 * Asks whether messages may be read, which needs no permission and takes no message.
 * @returns what the service says @throws when it says no, or nothing
 */
export const mayConsume = async (client: PubSub, name: string): Promise<string> => {
  try {
    const [granted] = await client.subscription(name).iam.testPermissions([CONSUME], once)
    if (granted?.[CONSUME] === true) return `${CONSUME} is granted`
  } catch (cause) {
    if (codeOf(cause) === UNIMPLEMENTED) return 'it answers, and does not tell who may read' // an emulator
    throw cause
  }
  throw new Error(
    `the permission ${CONSUME} is missing, or there is no such subscription: give the identity the role roles/pubsub.subscriber on it (${PAGE})`,
  )
}
