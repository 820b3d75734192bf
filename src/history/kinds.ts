/** The kinds of records that history keeps, and the columns that queries ask for. */
import type { KindName } from '../model/history.ts'

export interface Kind {
  /** First byte of an entry of the tree. */
  readonly code: number
  /** What stands before the time in the JSON of a record; none: the time at which the journal took it. */
  readonly timeAfter?: string
  readonly order: string
  /** Name of the column: path in the JSON, and type unless it is text. */
  readonly columns: Readonly<Record<string, string>>
}

/** Quotes within texts are escaped in JSON: what stands before a time cannot come from a caller. */
export const kinds: Readonly<Record<KindName, Kind>> = {
  feed: {
    code: 0,
    timeAfter: '"time":{"event":"',
    order: 'key_id, time, leaf',
    columns: {
      event_id: 'event_id UUID',
      provider: 'source.provider',
      service: 'source.service',
      feed_id: 'ingest.feed_id',
      integrity: 'ingest.integrity',
      late: 'time.late BOOLEAN',
      operation: 'operation',
      category: 'operation_category',
      native: 'operation_native',
      criticality: 'criticality',
      initiated_by: 'initiated_by',
      outcome: 'outcome',
      error_code: 'error.code',
      actor_id: 'actor.id',
      principal: 'actor.principal',
      actor_name: 'actor.name',
      actor_type: 'actor.type',
      actor_account: 'actor.account',
      application: 'actor.application',
      mfa: 'auth.mfa',
      source_ip: 'network.source_ip',
      country: 'network.geo.country',
      key_id: 'target.key_id',
      key_alias: 'target.key_alias',
      container: 'target.container',
      account: 'target.account',
      region: 'target.region',
      state: 'target.new_state',
      protection: 'crypto.protection_level',
    },
  },
  alerts: { code: 1, ...alertKind() },
  signals: { code: 2, ...alertKind() },
  rejections: {
    code: 3,
    timeAfter: '"received":"',
    order: 'time, leaf',
    columns: { feed_id: 'feed_id', position: 'position', reason: 'reason', detail: 'detail' },
  },
  control: { code: 4, order: 'time, leaf', columns: { kind: 'kind', who: 'who' } },
}

function alertKind(): Omit<Kind, 'code'> {
  return {
    timeAfter: '"last_event":"',
    order: 'time, leaf',
    columns: {
      alert_id: 'alert_id UUID',
      revision: 'revision INTEGER',
      status: 'status',
      detector: 'detector.id',
      severity: 'severity',
      title: 'title',
      provider: 'provider',
      account: 'account',
      key_id: 'entity.key_id',
      principal: 'entity.principal',
    },
  }
}
