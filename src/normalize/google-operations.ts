/**
 * Google Cloud methods and what they mean: the one table of scope and mapping for Cloud Audit Logs.
 *
 * Methods are compared by their last segment in lower case, because the spelling varies between logs. The key
 * services keep every name, unknown ones as operation `unknown`; of the others only the names below are taken.
 * Source of the names: the Cloud KMS v1 and inventory protos, and the audit logging pages of each service.
 */
import type { Service } from '../model/event.ts'
import { entry } from './json.ts'
import { as, type Mapping } from './mapping.ts'

const read = (object: Mapping['object']) => as('read_metadata', object)
const listing = (object: Mapping['object']) => as('list', object)
const proposal = as('hsm_update', 'hsm_instance')

const kms: Record<string, Mapping> = {
  asymmetricdecrypt: as('decrypt', 'key_version'),
  asymmetricsign: as('sign', 'key_version'),
  createcryptokey: as('create', 'key'),
  createcryptokeyversion: as('create_version', 'key_version'),
  createekmconnection: as('keystore_change', 'ekm_connection'),
  createimportjob: as('import_prepare', 'import_job'),
  createkeyring: as('container_create', 'key_ring', { category: 'lifecycle' }),
  decapsulate: as('decapsulate', 'key_version'),
  decrypt: as('decrypt', 'key'),
  deletecryptokey: as('destroy', 'key'),
  deletecryptokeyversion: as('destroy', 'key_version'),
  destroycryptokeyversion: as('schedule_deletion', 'key_version'),
  encrypt: as('encrypt', 'key'),
  exporttrustedkeywrappedcryptokeyversion: as('export', 'key_version'),
  generaterandombytes: as('generate_random', 'location'),
  getcryptokey: read('key'),
  getcryptokeyversion: read('key_version'),
  getekmconfig: read('ekm_config'),
  getekmconnection: read('ekm_connection'),
  getiampolicy: as('read_policy', 'key'),
  getimportjob: read('import_job'),
  getkeyring: read('key_ring'),
  getoperation: read('other'),
  getpublickey: as('read_public_key', 'key_version'),
  getretiredresource: read('key'),
  importcryptokeyversion: as('import', 'key_version'),
  importtrustedkeywrappedcryptokeyversion: as('import', 'key_version'),
  listcryptokeyversions: listing('key_version'),
  listcryptokeys: listing('key'),
  listekmconnections: listing('ekm_connection'),
  listimportjobs: listing('import_job'),
  listkeyrings: listing('key_ring'),
  listretiredresources: listing('key'),
  macsign: as('mac_generate', 'key_version'),
  macverify: as('mac_verify', 'key_version'),
  rawdecrypt: as('decrypt', 'key_version'),
  rawencrypt: as('encrypt', 'key_version'),
  restorecryptokeyversion: as('cancel_deletion', 'key_version'),
  setiampolicy: as('policy_change', 'key'),
  testiampermissions: as('read_policy', 'key', { criticality: 'info' }),
  updatecryptokey: as('update_metadata', 'key', { category: 'lifecycle', criticality: 'high' }),
  updatecryptokeyprimaryversion: as('set_primary', 'key'),
  updatecryptokeyversion: as('update_metadata', 'key_version', {
    category: 'lifecycle',
    criticality: 'high',
  }),
  updateekmconfig: as('keystore_change', 'ekm_config'),
  updateekmconnection: as('keystore_change', 'ekm_connection'),
  verifyconnectivity: read('ekm_connection'),
  createkeyhandle: as('create', 'key_handle', { criticality: 'low' }),
  getkeyhandle: read('key_handle'),
  listkeyhandles: listing('key_handle'),
  getautokeyconfig: read('autokey_config'),
  showeffectiveautokeyconfig: read('autokey_config'),
  updateautokeyconfig: as('policy_change', 'autokey_config', { criticality: 'high' }),
  approvesingletenanthsminstanceproposal: proposal,
  createsingletenanthsminstance: as('hsm_create', 'hsm_instance', { criticality: 'high' }),
  createsingletenanthsminstanceproposal: proposal,
  deletesingletenanthsminstanceproposal: { ...proposal, criticality: 'medium' },
  executesingletenanthsminstanceproposal: { ...proposal, criticality: 'critical' },
  getsingletenanthsminstance: read('hsm_instance'),
  getsingletenanthsminstanceproposal: read('hsm_instance'),
  listsingletenanthsminstanceproposals: listing('hsm_instance'),
  listsingletenanthsminstances: listing('hsm_instance'),
}

/** Members of the platform events' payload; see google/cloud/kms/logging/v1/logs.proto. */
export const platformEvents: Readonly<Record<string, { readonly name: string; readonly mapping: Mapping }>> =
  {
    rotationevent: { name: 'CryptoKeyEvent.rotation_event', mapping: as('rotate', 'key') },
    scheduleddestructionevent: {
      name: 'CryptoKeyVersionEvent.scheduled_destruction_event',
      mapping: as('destroy', 'key_version'),
    },
    keygenerationevent: {
      name: 'CryptoKeyVersionEvent.key_generation_event',
      mapping: as('create_version', 'key_version'),
    },
    importevent: { name: 'CryptoKeyVersionEvent.import_event', mapping: as('import', 'key_version') },
  }

const feedOnly = { effect: 'weaken', ingestPath: true } as const
const weaken = { effect: 'weaken' } as const
const setPolicy = as('policy_change', 'identity_policy')
const signIn = as('authenticate', 'identity')

interface Source {
  readonly service: Service
  readonly names: Readonly<Record<string, Mapping>>
  /** A key service: every record is kept, also under names that are not listed. */
  readonly everything?: true
}

const sources: Readonly<Record<string, Source>> = {
  'cloudkms.googleapis.com': { service: 'gcp_cloud_kms', names: kms, everything: true },
  'kmsinventory.googleapis.com': {
    service: 'gcp_kms_inventory',
    names: {
      listcryptokeys: listing('key'),
      getprotectedresourcessummary: read('key'),
      searchprotectedresources: as('list', 'key', { criticality: 'low' }),
    },
    everything: true,
  },
  'logging.googleapis.com': {
    service: 'gcp_logging',
    names: {
      deletesink: as('logging_disable', 'log_sink', weaken),
      deletebucket: as('logging_disable', 'log_destination', weaken),
      createexclusion: as('logging_disable', 'log_sink', weaken),
      updatesink: as('logging_change', 'log_sink'),
      updateexclusion: as('logging_change', 'log_sink'),
      updatebucket: as('logging_change', 'log_destination'),
    },
  },
  'pubsub.googleapis.com': {
    service: 'gcp_logging',
    names: {
      deletesubscription: as('logging_disable', 'log_destination', feedOnly),
      deletetopic: as('logging_disable', 'log_destination', feedOnly),
    },
  },
  'iam.googleapis.com': {
    service: 'gcp_iam',
    names: {
      createserviceaccountkey: as('credential_change', 'credential'),
      deleteserviceaccountkey: as('credential_change', 'credential'),
      setiampolicy: setPolicy,
    },
  },
  'cloudresourcemanager.googleapis.com': { service: 'gcp_iam', names: { setiampolicy: setPolicy } },
  'orgpolicy.googleapis.com': {
    service: 'gcp_iam',
    names: {
      deletepolicy: as('policy_change', 'guardrail', weaken),
      updatepolicy: as('policy_change', 'guardrail'),
    },
  },
  'login.googleapis.com': {
    service: 'gcp_login',
    names: {
      loginsuccess: signIn,
      loginfailure: signIn,
      loginchallenge: signIn,
      loginverification: signIn,
      '2svdisable': as('mfa_change', 'identity', weaken),
      '2svenroll': as('mfa_change', 'identity', { effect: 'strengthen' }),
    },
  },
  'storage.googleapis.com': {
    service: 'gcp_storage',
    names: {
      'objects.create': as('storage_write', 'storage'),
      'buckets.update': as('storage_encryption_change', 'storage'),
    },
  },
  'secretmanager.googleapis.com': {
    service: 'gcp_secret_manager',
    names: { accesssecretversion: as('read_secret_value', 'secret') },
  },
}

export interface Method {
  readonly service: Service
  readonly mapping: Mapping
  /** The name is in the table. */
  readonly listed: boolean
}

/** What a method of a service means; `undefined` = out of scope. */
export const methodOf = (service: string, method: string): Method | undefined => {
  const source = entry(sources, service.toLowerCase())
  const lower = method.toLowerCase()
  const name = lower.startsWith('storage.')
    ? lower.slice('storage.'.length)
    : (lower.split('.').at(-1) ?? '').replace(/^2sv_/, '2sv')
  const mapping = entry(source?.names ?? {}, name)
  if (source !== undefined && mapping !== undefined) return { service: source.service, mapping, listed: true }
  if (source?.everything) return { service: source.service, mapping: as('unknown', 'other'), listed: false }
  return lower === 'google.iam.v1.iampolicy.setiampolicy'
    ? { service: 'gcp_iam', mapping: setPolicy, listed: true }
    : undefined
}
