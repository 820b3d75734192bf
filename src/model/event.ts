/**
 * `kms.event.v1`: one use or change of a key, the same words for every cloud.
 *
 * Absent stays absent (never "" or null); what the log does not say is `unknown`, never false.
 * Objects are strict: a field that is not listed here does not exist.
 * Texts come from whoever called the cloud, so every one of them has a maximum length.
 */
import { z } from 'zod'
import { categories, criticalities, operationNames } from './operations.ts'

const s = (max: number, about: string) => z.string().min(1).max(max).describe(about)
const count = (about: string) => z.int().describe(about)
const time = (about: string) => z.iso.datetime({ offset: false }).describe(about)
/** A map of at most 32 members, as zod checks it and as JSON Schema says it. */
const atMost32 = <V extends z.ZodType>(map: z.ZodRecord<z.ZodString, V>) =>
  map.refine((members) => Object.keys(members).length <= 32, 'at most 32 members').meta({ maxProperties: 32 })
const closed = <const T extends readonly [string, ...string[]]>(values: T, about: string) =>
  z.enum(values).describe(about)

export const EVENT_SCHEMA_VERSION = 'kms.event.v1'

export const providers = ['aws', 'azure', 'gcp'] as const
export const services = [
  'aws_kms',
  'aws_cloudhsm',
  'aws_cloudtrail',
  'aws_iam',
  'aws_sts',
  'aws_signin',
  'aws_organizations',
  'aws_storage',
  'aws_secrets',
  'aws_monitoring',
  'azure_key_vault',
  'azure_managed_hsm',
  'azure_cloud_hsm',
  'azure_activity',
  'entra',
  'gcp_cloud_kms',
  'gcp_kms_inventory',
  'gcp_logging',
  'gcp_iam',
  'gcp_storage',
  'gcp_secret_manager',
  'gcp_login',
  'other',
] as const
export const logTypes = [
  'management',
  'data_access',
  'system_event',
  'activity',
  'signin',
  'insight',
  'integrity_digest',
  'network_activity',
  'policy_denied',
] as const
export const transports = ['cloudwatch_logs', 'event_hubs', 'pubsub', 'kafka', 'file', 's3'] as const
export const integrities = ['verified', 'unverified', 'failed', 'not_available'] as const
export const initiators = ['human', 'workload', 'cloud_service', 'cloud_internal', 'unknown'] as const
export const outcomes = ['success', 'denied', 'failure', 'challenge', 'in_progress', 'unknown'] as const
export const errorClasses = [
  'access_denied',
  'invalid_state',
  'not_found',
  'invalid_input',
  'throttled',
  'conflict',
  'internal',
  'other',
] as const
export const actorTypes = [
  'root',
  'user',
  'federated_user',
  'role_session',
  'service_principal',
  'managed_identity',
  'service_account',
  'workload_identity',
  'cloud_service',
  'anonymous',
  'unknown',
] as const
export const credentialTypes = [
  'long_term_key',
  'temporary',
  'console',
  'token',
  'certificate',
  'service_key',
  'none',
  'unknown',
] as const
export const mfaValues = ['verified', 'not_used', 'unknown', 'not_applicable'] as const
export const mfaSources = [
  'event_claim',
  'session_attribute',
  'joined_signin',
  'joined_session',
  'derived_rule',
  'none',
] as const
export const sourceClasses = ['public', 'private', 'cloud_internal', 'service', 'unknown'] as const
export const objectTypes = [
  'key',
  'key_version',
  'secret',
  'certificate',
  'vault',
  'key_ring',
  'hsm',
  'hsm_instance',
  'grant',
  'alias',
  'keystore',
  'import_job',
  'ekm_connection',
  'ekm_config',
  'key_handle',
  'autokey_config',
  'backup',
  'log_sink',
  'trail',
  'diagnostic_setting',
  'log_destination',
  'audit_config',
  'security_service',
  'role_assignment',
  'role_definition',
  'identity_policy',
  'guardrail',
  'identity',
  'credential',
  'storage',
  'snapshot',
  'private_endpoint',
  'resource_group',
  'location',
  'other',
] as const
export const keyStates = [
  'enabled',
  'disabled',
  'pending_deletion',
  'destroyed',
  'pending_import',
  'unavailable',
  'unknown',
] as const
export const usedFor = [
  's3',
  'ebs',
  'rds',
  'secrets',
  'parameters',
  'logs',
  'cloudtrail',
  'disk',
  'sql',
  'storage',
  'other',
  'unknown',
] as const
export const settingNames = [
  'rbac_authorization',
  'public_network_access',
  'network_default_action',
  'network_bypass',
  'network_ip_rules',
  'purge_protection',
  'soft_delete_days',
  'enabled_for_deployment',
  'enabled_for_disk_encryption',
  'enabled_for_template_deployment',
  'exportable',
  'release_policy',
  'access_justification',
  'trusted_wrapping',
  'endpoint',
  'destination',
  'filter',
  'retention_days',
  'multi_region',
  'organization',
  'log_validation',
  'read_write_type',
  'kms_key_id',
  'description',
] as const
export const changeFlags = [
  'bypass_lockout_check',
  'public_principal',
  'wildcard_principal',
  'external_account',
  'purge_protection_off',
  'rbac_toggle',
  'network_open',
  'logging_reduced',
  'kms_excluded',
  'management_events_off',
  'read_events_off',
  'integrity_off',
  'data_access_off',
  'principal_exempted',
  'policy_omitted',
] as const
export const parseWarnings = [
  'unknown_operation',
  'unknown_identity_shape',
  'time_fallback',
  'id_fallback',
  'conflicting_outcome',
  'unmapped_field',
  'id_conflict',
  'duplicate_json_key',
  'rule_match',
] as const
export const controls = ['SC-12', 'SC-28', 'SC-28(1)', 'SC-34', 'KMS-01'] as const
export const secondaryRoles = ['destination', 'replica', 'copy_target'] as const

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
