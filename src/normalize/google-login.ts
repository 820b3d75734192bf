/**
 * What a sign-in of Google proves about a second factor: audit records of Google Cloud never say it, so what follows is joined
 * to the sign-in. Names and values: Google Workspace, "Login audit activity events".
 */
import type { KeyEvent } from '../model/event.ts'
import { fieldsOf } from './azure-record.ts'
import { list, string, strings } from './json.ts'
import { dig, fold, type Members } from './members.ts'
import type { Cuts } from './text.ts'

/** Challenges that prove possession; those of knowledge or place prove nothing more than a password. */
const SECOND = new Set([
  'backup_code',
  'google_authenticator',
  'google_prompt',
  'idv_any_phone',
  'idv_preregistered_phone',
  'internal_two_factor',
  'offline_otp',
  'security_key',
  'security_key_otp',
])

/** @param method last segment of the method, lower case; @returns nothing for a record that is no sign-in */
export const loginAuth = (method: string, payload: Members, cuts: Cuts): KeyEvent['auth'] | undefined => {
  if (method !== 'loginsuccess' && method !== 'loginverification') return undefined
  const parameters = list(dig(payload, 'metadata', 'event'))
    .flatMap((one) => list(fold(one).at('parameter')))
    .map(fold)
  const named = (name: string) => parameters.find((one) => one.at('name') === name) ?? fold(undefined)
  const said = named('login_challenge_method')
  const methods = [
    ...strings(said.at('multistrvalue')),
    ...(string(said.at('value')) ?? '').split(','),
  ].filter((one) => one !== '')
  const own = string(named('login_type').at('value')) === 'google_password'
  const second = methods.some((one) => SECOND.has(one)) || named('is_second_factor').at('boolvalue') === true
  const passed = !/fail/i.test(string(named('login_challenge_status').at('value')) ?? '')
  const single = own && method === 'loginsuccess' && methods.length === 1 && methods[0] === 'password'
  const mfa = second && passed ? 'verified' : single ? 'not_used' : 'unknown'
  return {
    mfa,
    mfa_source: mfa === 'unknown' ? 'none' : 'event_claim',
    mfa_methods: fieldsOf(methods, 256, 16, 'auth.mfa_methods', cuts),
  }
}
