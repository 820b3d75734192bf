/**
 * The Google Cloud rows of the mapping tables in the design documents against the program: one native record per
 * name. Enrichment is left out, so criticality is the table's.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { KeyEvent } from '../../src/model/event.ts'
import {
  entry,
  type GoogleRecord,
  KEY,
  eventOf as normalizedEvent,
  PROJECT,
  platform,
  RING,
  VERSION,
} from '../support/google.ts'
import { designFolder, hasDesign } from '../support/samples.ts'
import { mappedByScan } from '../support/scan.ts'

/** One record through the normalizer, and the same through the whole scan. */
const eventOf = (...[record, settings]: Parameters<typeof normalizedEvent>): KeyEvent =>
  mappedByScan(record, normalizedEvent(record, settings), settings)

const schema = hasDesign ? readFileSync(join(designFolder, 'schema.md'), 'utf8') : ''
const section = (heading: string): string => {
  const from = schema.indexOf(`\n${heading}`)
  return from < 0 ? '' : schema.slice(from, schema.indexOf('\n#', from + 2))
}
const rows = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(1)
    .map((line) => line.split(/ *\| */).slice(1, -1))

const resources: Readonly<Record<string, string>> = {
  key: KEY,
  key_version: VERSION,
  key_ring: RING,
  import_job: `${RING}/importJobs/j`,
  ekm_connection: `projects/${PROJECT}/locations/europe-west3/ekmConnections/e`,
  ekm_config: `projects/${PROJECT}/locations/europe-west3/ekmConfig`,
}
const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

describe.skipIf(!hasDesign)('5.6 Cloud KMS', () => {
  const table = rows(section('### 5.6'))
  it('has 68 names', () => expect(table).toHaveLength(68))
  it.each(table)('%s: %s, %s, %s, %s', (name = '', operation, object = '', category, criticality) => {
    const [, event] = /^CryptoKey(?:Version)?Event\.(\w+)$/.exec(name) ?? []
    const inventory = name.includes('.inventory.')
    const record =
      event === undefined
        ? entry({
            serviceName: inventory ? 'kmsinventory.googleapis.com' : 'cloudkms.googleapis.com',
            methodName: name,
            resourceName: resources[object] ?? `projects/${PROJECT}/locations/europe-west3`,
          })
        : platform(camel(event), name.includes('Version') ? '3' : undefined)
    const found = eventOf(record)
    expect(found).toMatchObject({
      operation,
      operation_native: name,
      operation_category: category,
      criticality,
      target: { object_type: object },
      source: { provider: 'gcp', service: inventory ? 'gcp_kms_inventory' : 'gcp_cloud_kms' },
    })
    expect(found.parse_warnings).toBeUndefined()
  })
  it('platform events stand for nobody', () =>
    expect(eventOf(platform('rotationEvent'))).toMatchObject({
      initiated_by: 'cloud_internal',
      source: { log_type: 'system_event' },
      target: { key_id: KEY },
    }))
})

describe.skipIf(!hasDesign)('5.7 companion events', () => {
  const table = rows(section('### 5.7')).filter(([cloud]) => cloud === 'GCP')
  const rowOf = (text: string) => {
    const found = table.filter(([, events]) => events?.includes(text))
    expect(found, text).toHaveLength(1)
    return found[0] ?? []
  }
  const delta = (change: GoogleRecord) => ({ serviceData: { policyDelta: { auditConfigDeltas: [change] } } })
  /** Text of the row, which of its operations and objects, service, method, payload. */
  const cases: readonly [
    row: string,
    at: number,
    object: number,
    service: string,
    method: string,
    more?: GoogleRecord,
  ][] = [
    ['DeleteSink', 0, 0, 'logging', 'google.logging.v2.ConfigServiceV2.DeleteSink'],
    ['DeleteSink', 0, 1, 'logging', 'google.logging.v2.ConfigServiceV2.DeleteBucket'],
    ['DeleteSink', 0, 0, 'logging', 'google.logging.v2.ConfigServiceV2.CreateExclusion'],
    ['UpdateSink', 0, 0, 'logging', 'google.logging.v2.ConfigServiceV2.UpdateSink'],
    ['UpdateSink', 0, 1, 'logging', 'google.logging.v2.ConfigServiceV2.UpdateBucket'],
    ['UpdateSink', 0, 0, 'logging', 'google.logging.v2.ConfigServiceV2.UpdateExclusion'],
    [
      'removes auditConfigs',
      0,
      0,
      'cloudresourcemanager',
      'SetIamPolicy',
      delta({ action: 'REMOVE', service: 'cloudkms.googleapis.com', logType: 'DATA_READ' }),
    ],
    [
      'exemptedMembers',
      0,
      0,
      'cloudresourcemanager',
      'SetIamPolicy',
      delta({
        action: 'ADD',
        service: 'allServices',
        logType: 'DATA_READ',
        exemptedMember: 'user:mallory@example.com',
      }),
    ],
    [
      'DeleteSubscription',
      0,
      0,
      'pubsub',
      'google.pubsub.v1.Subscriber.DeleteSubscription',
      { resourceName: 'projects/p/subscriptions/feed' },
    ],
    [
      'DeleteSubscription',
      0,
      0,
      'pubsub',
      'google.pubsub.v1.Publisher.DeleteTopic',
      { resourceName: 'projects/p/subscriptions/feed' },
    ],
    ['CreateServiceAccountKey', 0, 0, 'iam', 'google.iam.admin.v1.CreateServiceAccountKey'],
    ['CreateServiceAccountKey', 0, 0, 'iam', 'google.iam.admin.v1.DeleteServiceAccountKey'],
    ['orgpolicy', 0, 0, 'orgpolicy', 'google.cloud.orgpolicy.v2.OrgPolicy.DeletePolicy'],
    ['orgpolicy', 0, 0, 'orgpolicy', 'google.cloud.orgpolicy.v2.OrgPolicy.UpdatePolicy'],
    ['2sv_disable', 0, 0, 'login', 'google.login.LoginService.loginSuccess'],
    ['2sv_disable', 1, 0, 'login', 'google.login.LoginService.2svDisable'],
    ['objects.create', 0, 0, 'storage', 'storage.objects.create', { request: { kmsKeyName: KEY } }],
    [
      'objects.create',
      1,
      0,
      'storage',
      'storage.buckets.update',
      { request: { encryption: { defaultKmsKeyName: KEY } } },
    ],
    [
      'AccessSecretVersion',
      0,
      0,
      'secretmanager',
      'google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion',
      { resourceName: `projects/${PROJECT}/secrets/s/versions/1` },
    ],
  ]
  it.each(cases)('%s %i %i: %s %s', (row, at, object, service, methodName, more = {}) => {
    const [, , operations = '', objects = ''] = rowOf(row)
    const record = entry({
      serviceName: `${service}.googleapis.com`,
      methodName,
      resourceName: `projects/${PROJECT}`,
      ...more,
    })
    expect(eventOf(record, { ingest_path: ['projects/p/subscriptions/feed'] })).toMatchObject({
      operation: operations.split('; ')[at],
      target: { object_type: objects.split(', ')[object] },
    })
  })
  it('every row is tried', () =>
    expect(table.every(([, events = '']) => cases.some(([row]) => events.includes(row)))).toBe(true))
})
