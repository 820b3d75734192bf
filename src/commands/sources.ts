/** The sources of a configuration. */
import { cloudWatchLogs } from '../ingest/cloudwatch-logs.ts'
import { followFiles } from '../ingest/follow.ts'
import { s3Source } from '../ingest/s3-sqs.ts'
import type { SourceConfig } from '../model/config.ts'
import type { Source } from '../pipeline/ports.ts'

export interface SourceOptions {
  /** Go on when all that is there has been read. */
  readonly follow: boolean
  /** Something that an operator should know. */
  onNotice(text: string): void
}

/** @param feed_id name of the source in the configuration */
export const sourceOf = (
  feed_id: string,
  source: SourceConfig,
  { follow, onNotice }: SourceOptions,
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
    case 's3':
      return s3Source({ ...source, feed_id, follow, onNotice })
    case 'cloudwatch_logs':
      return cloudWatchLogs({ ...source, feed_id, follow, onNotice })
  }
}
