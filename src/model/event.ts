/**
 * `kms.event.v1`: one use or change of a key, the same words for every cloud.
 *
 * Absent stays absent (never "" or null); what the log does not say is `unknown`, never false.
 * Objects are strict: a field that is not listed here does not exist.
 * Texts come from whoever called the cloud, so every one of them has a maximum length.
 */
import { z } from 'zod'
import { categories, criticalities, operationNames } from './operations.ts'
import {
  actorTypes,
  changeFlags,
  controls,
  credentialTypes,
  errorClasses,
  initiators,
  integrities,
  keyStates,
  logTypes,
  mfaSources,
  mfaValues,
  objectTypes,
  outcomes,
  parseWarnings,
  providers,
  secondaryRoles,
  services,
  settingNames,
  sourceClasses,
  transports,
  usedFor,
} from './vocabulary.ts'

export * from './vocabulary.ts'

const s = (max: number, about: string) => z.string().min(1).max(max).describe(about)
const count = (about: string) => z.int().describe(about)
const time = (about: string) => z.iso.datetime({ offset: false }).describe(about)
/** A map of at most 32 members, as zod checks it and as JSON Schema says it. */
const atMost32 = <V extends z.ZodType>(map: z.ZodRecord<z.ZodString, V>) =>
  map.refine((members) => Object.keys(members).length <= 32, 'at most 32 members').meta({ maxProperties: 32 })
const closed = <const T extends readonly [string, ...string[]]>(values: T, about: string) =>
  z.enum(values).describe(about)

export const EVENT_SCHEMA_VERSION = 'kms.event.v1'

const party = z.strictObject({
  id: s(512, 'identifier of the party').optional(),
  name: s(256, 'display name').optional(),
  type: s(64, 'kind of party, as the provider names it').optional(),
})

const binding = z.strictObject({
  action: s(32, 'add or remove').optional(),
  role: s(512, 'role').optional(),
  member: s(512, 'who receives or loses the role').optional(),
  condition: s(4096, 'condition, as written').optional(),
})

const grant = z.strictObject({
  id: s(256, 'grant id').optional(),
  grantee: s(512, 'principal that receives the permission').optional(),
  retiring: s(512, 'principal that may retire the grant').optional(),
  operations: z.array(s(128, 'operation')).max(32).describe('operations the grant allows').optional(),
  constraints: s(8192, 'encryption context constraints, canonical JSON').optional(),
})

const attestation = z.strictObject({
  image_digest: s(128, 'enclave image digest').optional(),
  pcr: z
    .record(z.string().max(8), s(128, 'hexadecimal'))
    .describe('platform configuration registers')
    .optional(),
  module_id: s(256, 'attestation document module id').optional(),
})

export const keyEvent = z
  .strictObject({
    schema_version: z.literal(EVENT_SCHEMA_VERSION).describe('name and version of this schema'),
    event_id: s(
      64,
      'stable idempotency key: the first 32 hex digits of SHA-256 over the delivered-event key',
    ),
    action_id: s(64, 'key of the logical action: copies of one action in two accounts share it'),
    source: z.strictObject({
      provider: closed(providers, 'cloud'),
      service: closed(services, 'service that wrote the record'),
      log_type: closed(logTypes, 'kind of log'),
      format_version: s(32, 'version of the record format').optional(),
      native_id: s(256, 'id given by the provider').optional(),
      request_id: s(256, 'request id').optional(),
      correlation_id: s(256, 'client-side correlation or trace').optional(),
    }),
    time: z.strictObject({
      event: time('when it happened, in the precision of the source'),
      provider_received: time('when the provider received it').optional(),
      ingested: time('when Keytrail received it'),
      late: z.boolean().describe('arrived after the watermark'),
    }),
    ingest: z.strictObject({
      transport: closed(transports, 'how the record arrived'),
      feed_id: s(128, 'configured source'),
      position: s(256, 'place in the feed').optional(),
      raw_sha256: z.string().length(64).describe('SHA-256 of the raw bytes'),
      integrity: closed(integrities, 'verdict of the provider digest chain'),
    }),
    operation: closed(operationNames, 'what was done'),
    operation_category: closed(categories, 'group of the operation'),
    operation_native: s(256, 'name in the provider log, unchanged'),
    operation_effect: closed(['strengthen', 'weaken', 'neutral'], 'direction of a change').optional(),
    criticality: closed(criticalities, 'weight after the context rules'),
    initiated_by: closed(initiators, 'who stands behind the call'),
    outcome: closed(outcomes, 'result'),
    error: z
      .strictObject({
        code: s(128, 'native error code').optional(),
        message: s(1024, 'native error message').optional(),
        class: closed(errorClasses, 'group of the error').optional(),
      })
      .optional(),
    http_status: count('HTTP status (Azure)').optional(),
    duration_ms: count('server-side duration in milliseconds').optional(),
    actor: z.strictObject({
      id: s(512, 'stable baseline key: principal and session name').optional(),
      principal: s(512, 'role or user ARN, application id, service account; session part removed').optional(),
      session: s(256, 'session name or token id').optional(),
      name: s(256, 'display name').optional(),
      type: closed(actorTypes, 'kind of identity'),
      account: s(128, 'account, tenant or project of the caller').optional(),
      credential_id: s(128, 'access key id or credential name').optional(),
      credential_type: closed(credentialTypes, 'kind of credential').optional(),
      on_behalf_of: party.describe('original user').optional(),
      delegation: z
        .array(s(512, 'identity'))
        .max(16)
        .describe('chain of identities, outermost first')
        .optional(),
      invoked_by: s(128, 'service that made the call for the principal').optional(),
      issuer: s(256, 'identity provider').optional(),
      application: s(256, 'application or OAuth client id').optional(),
    }),
    auth: z.strictObject({
      mfa: closed(mfaValues, 'multi-factor authentication: four values, unknown is not false'),
      mfa_source: closed(mfaSources, 'where that is known from'),
      mfa_methods: z.array(s(256, 'method')).max(16).describe('methods the log names').optional(),
      session_created: time('when the session began').optional(),
      policy_decision: closed(['allow', 'deny'], 'decision the provider logged').optional(),
      basis: z.array(s(256, 'permission or flag')).max(32).describe('what the decision rests on').optional(),
    }),
    network: z.strictObject({
      source_ip: s(64, 'address, only if it parses as one').optional(),
      source_raw: s(256, 'origin as logged, when it is not an address').optional(),
      source_class: closed(sourceClasses, 'kind of origin'),
      endpoint_id: s(128, 'VPC or private endpoint').optional(),
      endpoint_account: s(128, 'account that owns the endpoint').optional(),
      tls_version: s(32, 'TLS version').optional(),
      tls_cipher: s(64, 'TLS cipher suite').optional(),
      user_agent: s(1024, 'user agent: set by the caller, spoofable').optional(),
      geo: z.strictObject({ country: s(2, 'ISO country code').optional() }).optional(),
      asn: count('autonomous system number').optional(),
    }),
    target: z.strictObject({
      key_id: s(512, 'canonical id of the key, secret or certificate, without version').optional(),
      key_version: s(128, 'key version').optional(),
      key_alias: s(256, 'alias used by the request').optional(),
      container: s(
        512,
        'vault, HSM, key ring, key store, trail or other resource that is not a key',
      ).optional(),
      object_type: closed(objectTypes, 'kind of resource'),
      account: s(128, 'owner').optional(),
      region: s(64, 'region').optional(),
      cross_account: z.boolean().describe('caller and owner are both known and differ').optional(),
      secondary: z
        .array(z.strictObject({ key_id: s(512, 'key'), role: closed(secondaryRoles, 'part it plays') }))
        .max(8)
        .describe('further keys of the same call')
        .optional(),
      old_state: closed(keyStates, 'state before').optional(),
      new_state: closed(keyStates, 'state after').optional(),
    }),
    crypto: z
      .strictObject({
        algorithm: s(64, 'algorithm').optional(),
        key_spec: s(64, 'key specification').optional(),
        key_usage: s(64, 'purpose of the key').optional(),
        origin: s(64, 'where the key material comes from').optional(),
        protection_level: s(64, 'software, HSM or external').optional(),
        context: atMost32(z.record(z.string().max(256), z.string().max(1024)))
          .describe('encryption context: data chosen by the caller, at most 32 pairs')
          .optional(),
        context_hash: z.string().length(64).describe('SHA-256 of the canonical context pairs').optional(),
        used_for: closed(usedFor, 'what the key protected').optional(),
        attestation: attestation.describe('enclave attestation; absent = none was presented').optional(),
      })
      .optional(),
    change: z
      .strictObject({
        policy: s(32768, 'new policy document, canonical JSON').optional(),
        old_policy_hash: z.string().length(64).describe('SHA-256 of the former policy').optional(),
        new_policy_hash: z.string().length(64).describe('SHA-256 of the new policy').optional(),
        bindings: z.array(binding).max(64).describe('added and removed role bindings').optional(),
        grant: grant.describe('grant content').optional(),
        window_days: count('waiting period in days').optional(),
        effective_at: time('when a scheduled change takes effect').optional(),
        rotation_days: count('rotation period in days').optional(),
        expires_at: time('end of validity').optional(),
        settings: atMost32(
          z.record(
            z
              .string()
              .max(64)
              .regex(new RegExp(`^(${settingNames.join('|')}|tag\\..*)$`)),
            z.string().max(1024),
          ),
        )
          .describe('configuration values written by the call, at most 32')
          .optional(),
        flags: z
          .array(closed(changeFlags, 'flag'))
          .max(16)
          .describe('what the record itself shows')
          .optional(),
      })
      .optional(),
    compliance: z
      .strictObject({
        controls: z.array(closed(controls, 'control')).max(8).describe('controls it is evidence for'),
      })
      .optional(),
    labels: atMost32(z.record(z.string().max(64), z.string().max(256)))
      .describe('enrichment')
      .optional(),
    truncated: z.array(s(128, 'field path')).max(64).describe('fields that were cut').optional(),
    parse_warnings: z
      .array(closed(parseWarnings, 'warning'))
      .max(16)
      .describe('what was not understood')
      .optional(),
    raw_ref: s(256, 'pointer to the raw record'),
  })
  .describe('One use or change of a key, normalized')

export type KeyEvent = z.infer<typeof keyEvent>
export type ChangeFlag = (typeof changeFlags)[number]
export type ParseWarning = (typeof parseWarnings)[number]
export type ObjectType = (typeof objectTypes)[number]
export type Service = (typeof services)[number]
