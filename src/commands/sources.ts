/** The sources of a configuration. */
import { readSecret, Secret } from '../config/secrets.ts'
import { credentialOf } from '../forward/azure-token.ts'
import { withCanary } from '../ingest/canary.ts'
import { cloudWatchLogs } from '../ingest/cloudwatch-logs.ts'
import { eventHubs } from '../ingest/event-hubs.ts'
import { followFiles } from '../ingest/follow.ts'
import { kafkaSource } from '../ingest/kafka.ts'
import { pubSub } from '../ingest/pubsub.ts'
import { s3Source } from '../ingest/s3-sqs.ts'
import type { SourceConfig } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'
import type { Source } from '../pipeline/ports.ts'

export interface SourceOptions {
  /** Go on when all that is there has been read. */
  readonly follow: boolean
  /** Something that an operator should know. */
  onNotice(text: string): void
  /** Something that an operator must act on; a notice without it. */
  onAlarm?(text: string): void
}

/** @param name as in the configuration @throws KeytrailError */
const secretOf = (name: string): string => {
  const found = readSecret(name)
  if (found instanceof Secret) return found.reveal()
  throw new KeytrailError('config.invalid', found.missing)
}

/** @param feed_id name of the source in the configuration */
export const sourceOf = (
  feed_id: string,
  source: SourceConfig,
  { follow, onNotice, onAlarm = onNotice }: SourceOptions,
): Source => {
  switch (source.type) {
    case 'files':
      return followFiles({
        feed_id,
        paths: source.paths,
        start: source.start,
        follow,
        onFailure: (path, reason) => onNotice(`${path} cannot be read: ${reason}`),
      })
    case 'kafka':
      return kafkaSource({ ...source, feed_id, follow, secretOf, onNotice, onAlarm })
    case 's3':
      return withCanary(s3Source({ ...source, feed_id, follow, onNotice }), source.canary, onNotice)
    case 'event_hubs': {
      const { credential, authority, ...settings } = source
      return eventHubs({
        ...settings,
        feed_id,
        follow,
        secretOf,
        async credential() {
          if (credential !== undefined) return credentialOf({ credential, authority, secretOf })
          throw new KeytrailError('config.invalid', 'name connection_string, or namespace and credential')
        },
        onNotice,
        onAlarm,
      })
    }
    case 'pubsub':
      return pubSub({ ...source, feed_id, follow, onNotice })
    case 'cloudwatch_logs':
      return withCanary(cloudWatchLogs({ ...source, feed_id, follow, onNotice }), source.canary, onNotice)
  }
}
