/** A connection to one event hub by the vendor's client: how it signs in, how much it fetches, what failures mean. */

import type { EventHubConsumerClient } from '@azure/event-hubs'
import type { TokenCredential } from '@azure/identity'
import { messageOf } from '../model/error.ts'
import type { EventHubsConfig } from '../model/sources.ts'

export interface HubAccess
  extends Pick<EventHubsConfig, 'connection_string' | 'namespace' | 'endpoint' | 'consumer_group'> {
  /** Reads the secret that the configuration names. @throws KeytrailError */
  secretOf(name: string): string
  /** Credential of Entra. @throws KeytrailError */
  credential(): Promise<TokenCredential>
}

/** Of one answer; the client itself would wait a minute, and try again without a word. */
const ANSWER_MS = 10_000
/** Events that the client may hold at most, whatever their size. */
export const MOST_EVENTS = 300

/** @throws KeytrailError when a secret is missing or the connection string is none */
export const openHub = async (access: HubAccess, hub: string): Promise<EventHubConsumerClient> => {
  const { EventHubConsumerClient } = await import('@azure/event-hubs')
  const options = {
    retryOptions: { maxRetries: 0, timeoutInMs: ANSWER_MS },
    ...(access.endpoint !== undefined && { customEndpointAddress: access.endpoint }),
  }
  const { consumer_group, connection_string, namespace = '' } = access
  return connection_string === undefined
    ? new EventHubConsumerClient(consumer_group, namespace, hub, await access.credential(), options)
    : new EventHubConsumerClient(consumer_group, access.secretOf(connection_string), hub, options)
}

interface Connection {
  on(event: 'disconnected', listener: () => void): void
  open(...all: unknown[]): Promise<unknown>
  close(): Promise<void>
  createReceiver(options: object): Promise<{ readonly credit: number; addCredit(count: number): void }>
}
/** What the client has inside and its typings do not tell (6.0.4; the version is pinned, a test sees when it differs). */
interface Inside {
  readonly _context: { readonly connection: Connection; refreshConnection(): void }
}

/**
 * Takes two habits from a client.
 *
 * It adds credit for a whole prefetch each time it waits for events (its partitionReceiver.js), on top of what it
 * asked for before: the longer a partition is quiet, the more may come at once.
 *
 * It makes a new connection when one is lost, and says nothing, even while it is being closed; then nobody closes it.
 *
 * @param most events that may wait or be on their way now
 * @param onCut a connection is lost
 * @returns closes it for good
 */
export const tame = (client: EventHubConsumerClient, most: () => number, onCut: () => void) => {
  const context = (client as unknown as Inside)._context
  let closed = false
  const hold = (connection: Connection) => {
    const open = connection.open.bind(connection)
    connection.open = async (...all) => {
      if (closed) throw new Error('closed')
      const opened = await open(...all)
      if (closed) await connection.close()
      return opened
    }
    const create = connection.createReceiver.bind(connection)
    connection.createReceiver = async (options) => {
      const link = await create(options)
      const add = link.addCredit.bind(link)
      link.addCredit = (wanted) => {
        const waiting = MOST_EVENTS - wanted
        const credit = Math.max(most(), 1) - waiting - link.credit
        if (credit > 0) add(credit)
      }
      return link
    }
    connection.on('disconnected', onCut)
  }
  const refresh = context.refreshConnection.bind(context)
  context.refreshConnection = () => {
    refresh()
    hold(context.connection)
  }
  hold(context.connection)
  return async () => {
    closed = true
    await client.close()
  }
}

const rootOf = (cause: unknown): unknown =>
  cause instanceof AggregateError ? rootOf(cause.errors.at(-1)) : cause

/** Another reader of the consumer group has the partition now. */
export const isStolen = (cause: unknown): boolean => codeOf(cause) === 'ReceiverDisconnectedError'

const codeOf = (failure: unknown): string => {
  const cause = rootOf(failure)
  return cause instanceof Error && 'code' in cause ? String(cause.code) : ''
}

const remedyOf = (code: string, text: string): string | undefined => {
  if (/claim\(s\) (are|is) required|claims? (are|is) required/i.test(text))
    return 'the permission to listen is missing: give the identity the role Azure Event Hubs Data Receiver on the hub, or the shared access policy Listen (docs/permissions/azure-event-hubs.md)'
  if (/InvalidSignature|signature/i.test(text))
    return 'the key is not accepted: was it rotated? Correct connection_string'
  if (/ExpiredToken|token is expired/i.test(text)) return 'a new token is fetched'
  if (code.includes('UnauthorizedError'))
    return 'signing in is refused: correct connection_string or credential (docs/permissions/azure-event-hubs.md)'
  if (/AADSTS|CredentialUnavailable|invalid_client/.test(code + text))
    return 'Entra gives no token: correct credential'
  if (code.includes('MessagingEntityNotFoundError'))
    return /consumergroups/i.test(text)
      ? 'there is no such consumer group: create it, or correct consumer_group'
      : 'there is no such hub or consumer group: correct hubs and consumer_group'
  if (code.includes('ServerBusyError'))
    return 'the namespace is throttled: does it have enough throughput units?'
  if (code.includes('QuotaExceededError'))
    return 'too many readers use this consumer group: name one of its own'
  if (/ENOTFOUND|EAI_AGAIN/.test(code + text))
    return 'there is no such host: correct the name of the namespace'
  if (/ECONNREFUSED/.test(code + text)) return 'nothing listens there: is port 5671 open on the way?'
  if (/CERT|SELF_SIGNED|ISSUER|ALTNAME|certificate/i.test(code + text))
    return 'the certificate is not trusted: name its authority with NODE_EXTRA_CA_CERTS'
  if (/timed? ?out|ETIMEDOUT|OperationTimeout/i.test(code + text))
    return 'no answer: is port 5671 open on the way?'
  return undefined
}

/** What a failure of the client says, and what to do. */
export const explainedHub = (failure: unknown): string => {
  const cause = rootOf(failure)
  const [line = ''] = messageOf(cause).split('\n')
  const remedy = remedyOf(`${codeOf(cause)} ${cause instanceof Error ? cause.name : ''}`.trim(), line)
  return remedy === undefined ? line.slice(0, 500) : `${line.slice(0, 500)}: ${remedy}`
}
