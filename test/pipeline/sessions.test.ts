/** Sign-ins complete calls that say nothing themselves: by token, by address, by twin; never by what differs. */
import { describe, expect, test } from 'vitest'
import { MemoryState } from '../../src/detect/state.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import { sessions } from '../../src/pipeline/sessions.ts'
import { activity, audit, eventOf, OID, signIn, userClaims, VAULT } from '../support/azure.ts'

const START = Date.parse('2026-03-02T09:00:00Z')
const IP = '198.51.100.10'
const APP = String(userClaims.appid)

interface Step {
  readonly event: KeyEvent
  /** Minutes from the start. */
  readonly at: number
}

const person = (at: number, change: object = {}): Step => ({
  at,
  event: eventOf(
    signIn('SignInLogs', {
      userId: OID,
      appId: APP,
      ipAddress: IP,
      authenticationRequirement: 'multiFactorAuthentication',
      authenticationDetails: [{ authenticationMethod: 'Password', succeeded: true }],
      ...change,
    }),
  ),
})
const single = {
  authenticationRequirement: 'singleFactorAuthentication',
  uniqueTokenIdentifier: 'u2',
}
const call = (at: number, change: object = {}): Step => ({
  at,
  event: eventOf(audit({ operationName: 'KeyUnwrap', callerIpAddress: IP, ...change })),
})
const byApp = (at: number, ip = IP): Step => ({
  at,
  event: eventOf(
    audit({
      callerIpAddress: ip,
      identity: { claim: { oid: OID, appid: APP, appidacr: '1', idtyp: 'app' } },
    }),
  ),
})
const token = (at: number, credential: string, ip = IP): Step => ({
  at,
  event: eventOf(
    signIn('ServicePrincipalSignInLogs', {
      servicePrincipalId: OID,
      appId: APP,
      ipAddress: ip,
      servicePrincipalCredentialKeyId: credential,
    }),
  ),
})

/** What the last step becomes. */
const lastOf = (...steps: readonly Step[]): KeyEvent => {
  const state = new MemoryState()
  const joined = sessions(state)
  for (const { event, at } of steps) joined.fold(event, START + at * 60_000)
  const { event } = steps.at(-1) as Step
  return event
}
const mfaOf = (...steps: readonly Step[]) => {
  const { mfa, mfa_source } = lastOf(...steps).auth
  return `${mfa} ${mfa_source}`
}

describe('the second factor of a person', () => {
  const unknown = 'unknown none'
  test.each([
    ['no sign-in', unknown, [call(1)]],
    ['a sign-in with two factors', 'verified joined_signin', [person(0), call(1)]],
    ['89 minutes ago', 'verified joined_signin', [person(0), call(89)]],
    ['91 minutes ago', unknown, [person(0), call(91)]],
    ['a sign-in with one factor', 'not_used joined_signin', [person(0, single), call(1)]],
    ['two sign-ins that differ', unknown, [person(0), person(1, single), call(2)]],
    ['two that agree', 'verified joined_signin', [person(0), person(1), call(2)]],
    ['another address', unknown, [person(0, { ipAddress: '198.51.100.99' }), call(1)]],
    ['another program', unknown, [person(0, { appId: 'other' }), call(1)]],
    ['another person', unknown, [person(0, { userId: 'other' }), call(1)]],
    ['a sign-in that fails', unknown, [person(0, { status: { errorCode: 50126 } }), call(1)]],
    ['a sign-in that comes later', unknown, [call(0)]],
    [
      'the token decides, wherever it is used',
      'not_used joined_signin',
      [
        person(0),
        person(1, single),
        call(200, {
          callerIpAddress: '203.0.113.5',
          identity: { claim: { ...userClaims, uti: 'u2' } },
        }),
      ],
    ],
  ] as const)('%s: %s', (_, expected, steps) => expect(mfaOf(...steps)).toBe(expected))

  test('of a vault record by its twin in the Activity log, of the same second', () => {
    const claims = { ...userClaims, authnmethodsreferences: 'pwd,mfa' }
    const arm = (at: number): Step => ({
      at,
      event: eventOf(
        activity('MICROSOFT.KEYVAULT/VAULTS/WRITE', {}, { resourceId: VAULT, identity: { claims } }),
      ),
    })
    const put = (at: number, resourceId = VAULT): Step => ({
      at,
      event: eventOf(
        audit({
          operationName: 'VaultPut',
          resourceId,
          identity: { claim: { oid: OID, upn: 'a@example.com' } },
        }),
      ),
    })
    expect(mfaOf(arm(0), put(0.05))).toBe('verified joined_session')
    expect(mfaOf(arm(0), put(0.2))).toBe(unknown)
    expect(mfaOf(arm(0), put(0.05, VAULT.replace('payments', 'orders')))).toBe(unknown)
  })
})

describe('the credential of a service principal', () => {
  test.each([
    ['known', 'K1', [token(0, 'K1'), byApp(1)]],
    ['23 hours ago', 'K1', [token(0, 'K1'), byApp(23 * 60)]],
    ['25 hours ago', undefined, [token(0, 'K1'), byApp(25 * 60)]],
    ['two that differ', undefined, [token(0, 'K1'), token(1, 'K2'), byApp(2)]],
    ['two from two addresses', 'K2', [token(0, 'K1'), token(1, 'K2', '192.0.2.9'), byApp(2, '192.0.2.9')]],
  ] as const)('%s: %s', (_, expected, steps) => expect(lastOf(...steps).actor.credential_id).toBe(expected))
})

test('a change weighs one step more when a sign-in shows that there was no second factor', () => {
  const create = () => call(1, { operationName: 'KeyCreate' })
  expect(create().event.criticality).toBe('medium') // schema.md section 3: create
  expect(lastOf(person(0, single), create()).criticality).toBe('high')
  expect(lastOf(person(0), create()).criticality).toBe('medium')
})
