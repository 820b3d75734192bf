/** Alerts and events as they are journaled, for tests of sinks. */
import type { Alert } from '../../src/model/alert.ts'

export const alertOf = (n: number, change: Partial<Alert> = {}): Alert => ({
  schema_version: 'kms.alert.v1',
  alert_id: n.toString(16).padStart(32, '0'),
  revision: 1,
  kind: 'signal',
  status: 'new',
  detector: { id: 'burst-decrypt', version: 1, content_hash: '0'.repeat(64) },
  severity: 'high',
  title: 'Burst of Decrypt calls',
  explanation: 'One role decrypted with many keys.',
  entity: {
    principal: 'arn:aws:iam::111122223333:role/app',
    key_id: 'arn:aws:kms:eu-west-1:111122223333:key/k',
  },
  provider: 'aws',
  account: '111122223333',
  window: { start: '2026-03-02T09:00:00Z', end: '2026-03-02T09:01:00Z' },
  time: { first_event: '2026-03-02T09:00:00Z', last_event: '2026-03-02T09:01:00.250Z' },
  observed: 120,
  threshold: 100,
  evidence: { event_ids: ['a'], total: 1, sample: [] },
  labels: {},
  attack: [{ v18: 'T1555', v19: 'T1555' }],
  controls: [],
  triage: ['Look at the role.', 'Look at the keys.', 'Ask the owner.'],
  ...change,
})

/** An event of the project's published example, with an id of its own. */
export const eventOf = (n: number, change: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({
    schema_version: 'kms.event.v1',
    event_id: n.toString(16).padStart(32, '0'),
    action_id: 'a',
    source: { provider: 'aws', service: 'aws_kms', log_type: 'management' },
    time: { event: '2026-03-02T09:00:00.123456Z', ingested: '2026-03-02T09:05:00Z', late: false },
    ingest: { transport: 'file', feed_id: 'logs', raw_sha256: '0'.repeat(64), integrity: 'not_available' },
    operation: 'decrypt',
    operation_category: 'cryptographic',
    operation_native: 'Decrypt',
    criticality: 'medium',
    initiated_by: 'workload',
    outcome: 'denied',
    error: { code: 'AccessDenied', class: 'access_denied' },
    actor: { principal: 'arn:aws:iam::111122223333:role/app', type: 'role_session', account: '111122223333' },
    auth: { mfa: 'unknown', mfa_source: 'none' },
    network: { source_ip: '203.0.113.7', source_class: 'public', user_agent: 'aws-cli/2' },
    target: {
      key_id: 'arn:aws:kms:eu-west-1:111122223333:key/k',
      object_type: 'key',
      account: '111122223333',
      region: 'eu-west-1',
    },
    raw_ref: 'journal:1:0',
    ...change,
  })
