/** The words of CIM and ASIM: closed lists, every operation, names the standards have. */
import { describe, expect, test } from 'vitest'
import { operationNames } from '../../src/model/operations.ts'
import { cimFieldNames } from '../../src/render/cim.ts'
import { asimEventTypes, cimActions, operationWords } from '../../src/render/standards.ts'

/** Operations whose schema row is `Other`. */
const other = new Set([
  'authenticate',
  'key_access_lost',
  'key_access_restored',
  'expiry_near',
  'expired',
  'unknown',
])

describe('operations', () => {
  test.each(operationNames)('%s has an event type and an action of the standards', (operation) => {
    const [type, action] = operationWords(operation)
    expect(asimEventTypes).toContain(type)
    if (other.has(operation)) expect([type, action]).toEqual(['Other', undefined])
    else {
      expect(type).not.toBe('Other')
      expect(cimActions).toContain(action)
    }
  })

  test.each([
    ['decrypt', 'Execute', 'read'],
    ['schedule_deletion', 'Delete', 'deleted'],
    ['policy_change', 'Set', 'acl_modified'],
    ['grant_create', 'Create', 'acl_modified'],
    ['grant_revoke', 'Delete', 'acl_modified'],
    ['disable', 'Disable', 'modified'],
    ['logging_disable', 'Disable', 'stopped'],
    ['rotate', 'Set', 'modified'],
    ['import_prepare', 'Create', 'read'],
    ['security_domain', 'Execute', 'modified'],
    ['list', 'Read', 'read'],
  ] as const)('%s is %s and %s, as the schema reference says', (operation, type, action) =>
    expect(operationWords(operation)).toEqual([type, action]),
  )
})

/** Fields of the models by the pages of CIM 6: Change, Data Access, Authentication; Alerts; risk and findings. */
const cim = {
  event: new Set(
    `action app authentication_method authentication_service change_type command dest http_user_agent object
     object_attrs object_category object_id object_path result result_id severity src src_user status user user_name
     user_type vendor_account vendor_product vendor_region`.split(/\s+/),
  ),
  alert: new Set(
    `app description dest id mitre_technique_id severity signature signature_id src type user vendor_account
     vendor_region risk_object risk_object_type risk_score rule_title security_domain`.split(/\s+/),
  ),
}

describe('CIM', () => {
  test.each(cimFieldNames.event)('%s is a field of a model for events', (name) =>
    expect(cim.event).toContain(name),
  )
  test.each(cimFieldNames.alert)('%s is a field of a model for alerts', (name) =>
    expect(cim.alert).toContain(name),
  )
})
