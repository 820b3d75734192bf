/** The calm base entries of Google Cloud tests: a case states what differs. Shapes: Cloud Logging, LogEntry. */
import { defaultConfig } from '../../src/model/config.ts'
import { type KeyEvent, keyEvent } from '../../src/model/event.ts'
import type { Normalized } from '../../src/model/outcome.ts'
import type { NormalizeSettings } from '../../src/normalize/format.ts'
import { formats } from '../../src/normalize/index.ts'

export type GoogleRecord = Record<string, unknown>

export const PROJECT = 'acme-payments'
export const RING = `projects/${PROJECT}/locations/europe-west3/keyRings/orders`
export const KEY = `${RING}/cryptoKeys/cards`
export const VERSION = `${KEY}/cryptoKeyVersions/3`
export const HUMAN = 'omar@example.com'
export const APPLICATION = `checkout@${PROJECT}.iam.gserviceaccount.com`

/** An audit entry: a decryption by a service account. Members of `payload` are laid over the base payload. */
export const entry = (payload: GoogleRecord = {}, change: GoogleRecord = {}): GoogleRecord => ({
  logName: `projects/${PROJECT}/logs/cloudaudit.googleapis.com%2Fdata_access`,
  timestamp: '2026-03-02T09:00:00.123456789Z',
  receiveTimestamp: '2026-03-02T09:00:00.500000000Z',
  insertId: '1uvby3sea7j9u',
  severity: 'INFO',
  resource: {
    type: 'cloudkms_cryptokey',
    labels: { project_id: PROJECT, location: 'europe-west3', key_ring_id: 'orders', crypto_key_id: 'cards' },
  },
  protoPayload: {
    '@type': 'type.googleapis.com/google.cloud.audit.AuditLog',
    serviceName: 'cloudkms.googleapis.com',
    methodName: 'Decrypt',
    resourceName: KEY,
    status: {},
    authenticationInfo: { principalEmail: APPLICATION },
    authorizationInfo: [
      { resource: KEY, permission: 'cloudkms.cryptoKeyVersions.useToDecrypt', granted: true },
    ],
    requestMetadata: { callerIp: '198.51.100.20', callerSuppliedUserAgent: 'gcloud/500.0' },
    ...payload,
  },
  ...change,
})

/** A state event of Cloud KMS. @param name member of the payload @param version version of the key, if it is of one */
export const platform = (name: string, version?: string, status: GoogleRecord = {}): GoogleRecord => ({
  logName: `projects/${PROJECT}/logs/cloudkms.googleapis.com%2Fcryptokey${version === undefined ? '' : 'version'}_events`,
  timestamp: '2026-03-02T09:00:00.123456789Z',
  insertId: 'p1',
  resource: {
    type: version === undefined ? 'cloudkms_cryptokey' : 'cloudkms_cryptokeyversion',
    labels: {
      project_id: PROJECT,
      location: 'europe-west3',
      key_ring_id: 'orders',
      crypto_key_id: 'cards',
      ...(version === undefined ? {} : { crypto_key_version_id: version }),
    },
  },
  jsonPayload: { [name]: { status } },
})

export const normalized = (value: unknown, settings: Partial<NormalizeSettings> = {}): Normalized =>
  formats.gcp_audit.normalize(
    value,
    {
      feed_id: 'test',
      transport: 'file',
      place: 'test.json',
      number: 1,
      bytes: Buffer.from(JSON.stringify(value)),
      members: undefined,
      envelopeTime: undefined,
      received: '2026-03-02T09:00:01Z',
    },
    { ...defaultConfig, ...settings },
  )

/** The event of a record, checked against the published schema. */
export const eventOf = (value: unknown, settings: Partial<NormalizeSettings> = {}): KeyEvent => {
  const result = normalized(value, settings)
  if (result.kind !== 'event') throw new Error(JSON.stringify(result))
  return keyEvent.parse(result.event)
}
