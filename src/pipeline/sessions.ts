/**
 * What sign-ins say of calls that say nothing themselves: a vault or Google Cloud does not log the second factor, a
 * service principal's call not its credential. Looks back only, in the order of judging: a sign-in that comes later
 * changes nothing (formats.md section 4, database-keys.md section 3.2).
 *
 * Candidates that differ make it unknown: unknown is not no.
 */
import type { State, Wants } from '../detect/state.ts'
import { stepsUp } from '../enrich/criticality.ts'
import type { KeyEvent } from '../model/event.ts'
import { criticalities } from '../model/operations.ts'

type Mfa = KeyEvent['auth']['mfa']

interface SignIn {
  readonly at: number
  readonly mfa: Mfa
  readonly ip?: string | undefined
  readonly application?: string | undefined
  /** Of the token. */
  readonly session?: string | undefined
  readonly credential?: string | undefined
  /** Resource that a management call changed: the record of the vault itself is its twin. */
  readonly container?: string | undefined
}

interface Remembered {
  readonly signIns: readonly SignIn[]
}

const MINUTE_MS = 60_000
/** A token lives 60 to 90 minutes, that of a workload up to a day (Microsoft identity platform, token lifetimes). */
const PERSON_MS = 90 * MINUTE_MS
const WORKLOAD_MS = 24 * 60 * MINUTE_MS
/** The record of a vault and that of the management call are of the same second. */
const TWIN_MS = 5000
/** Kept for late calls. */
const KEPT_MS = 2 * WORKLOAD_MS
/** Sign-ins of one identity that are remembered: the newest. */
const MAX_SIGN_INS = 64

const DATA_PLANE = /^(azure_key_vault|azure_managed_hsm)$/

/** Only these clouds keep the proof elsewhere. */
const keyOf = ({ source, actor }: KeyEvent): string | undefined =>
  source.provider === 'aws' || actor.id === undefined ? undefined : `signins|${source.provider}|${actor.id}`

const isSignIn = ({ operation, outcome, source }: KeyEvent) =>
  operation === 'authenticate' &&
  outcome === 'success' &&
  (source.service === 'entra' || source.service === 'gcp_login')

const isTwin = ({ source, auth, target }: KeyEvent) =>
  source.service === 'azure_activity' && auth.mfa_source === 'event_claim' && target.container !== undefined

/** Whether a call lacks what a sign-in may know. */
const lacks = ({ auth, actor, initiated_by, operation }: KeyEvent): 'mfa' | 'credential' | undefined => {
  if (operation === 'authenticate') return undefined
  if (initiated_by === 'human' && auth.mfa === 'unknown' && auth.mfa_source === 'none') return 'mfa'
  return initiated_by === 'workload' && actor.credential_id === undefined ? 'credential' : undefined
}

/** The one value that all have, if they have one. */
const agreed = <T>(values: readonly T[]): T | undefined =>
  values.length > 0 && values.every((one) => one === values[0]) ? values[0] : undefined

const isBefore = (one: SignIn, at: number, withinMs: number) => one.at <= at && one.at >= at - withinMs

const fromThere = ({ network, actor }: KeyEvent) => {
  const ip = network.source_ip
  const { application } = actor
  return (one: SignIn) =>
    ip !== undefined &&
    one.ip === ip &&
    (one.application === undefined || application === undefined || one.application === application)
}

/** @returns what the sign-ins agree on, and which kind of record that was */
const mfaOf = (event: KeyEvent, at: number, all: readonly SignIn[]) => {
  const { actor, source, target } = event
  const sessions = all.filter(({ container }) => container === undefined)
  const token = sessions.filter(
    (one) => actor.session !== undefined && one.session === actor.session && one.at <= at,
  )
  const near = sessions.filter((one) => isBefore(one, at, PERSON_MS)).filter(fromThere(event))
  const signIn = agreed((token.length > 0 ? token : near).map(({ mfa }) => mfa))
  if (signIn !== undefined) return { mfa: signIn, mfa_source: 'joined_signin' as const }
  if (!DATA_PLANE.test(source.service)) return undefined
  const twins = all.filter((one) => one.container === target.container && isBefore(one, at, TWIN_MS))
  const twin = target.container === undefined ? undefined : agreed(twins.map(({ mfa }) => mfa))
  return twin && { mfa: twin, mfa_source: 'joined_session' as const }
}

export interface Sessions {
  /** Names the state that an event needs. */
  needs(event: KeyEvent, wants: Wants): void
  /** Remembers a sign-in; completes a call by what is remembered. */
  fold(event: KeyEvent, at: number): void
}

export const sessions = (state: Pick<State, 'get' | 'put'>): Sessions => {
  const concerns = (event: KeyEvent): string | undefined =>
    isSignIn(event) || isTwin(event) || lacks(event) !== undefined ? keyOf(event) : undefined

  const remember = (key: string, event: KeyEvent, at: number, known: readonly SignIn[]) => {
    const { actor, auth, network, target } = event
    const one: SignIn = {
      at,
      mfa: auth.mfa,
      ip: network.source_ip,
      application: actor.application,
      session: actor.session,
      credential: actor.credential_id,
      container: isSignIn(event) ? undefined : target.container,
    }
    const signIns = [...known, one].sort((a, b) => a.at - b.at).slice(-MAX_SIGN_INS)
    state.put(key, { signIns } satisfies Remembered, at + KEPT_MS)
  }

  const complete = (event: KeyEvent, at: number, all: readonly SignIn[]) => {
    if (lacks(event) === 'credential') {
      const from = all.filter((one) => isBefore(one, at, WORKLOAD_MS)).filter(fromThere(event))
      const credential = agreed(from.map((one) => one.credential))
      if (credential !== undefined) event.actor.credential_id = credential
      return
    }
    const joined = mfaOf(event, at, all)
    if (joined === undefined || (joined.mfa !== 'verified' && joined.mfa !== 'not_used')) return
    const before = stepsUp(event)
    event.auth = { ...event.auth, ...joined }
    if (!before && stepsUp(event))
      event.criticality = criticalities[criticalities.indexOf(event.criticality) + 1] ?? event.criticality
  }

  return {
    needs(event, wants) {
      const key = concerns(event)
      if (key !== undefined) wants.value(key)
    },
    fold(event, at) {
      const key = concerns(event)
      if (key === undefined) return
      const known = (state.get(key) as Remembered | undefined)?.signIns ?? [] // only these are kept under this key
      if (lacks(event) !== undefined) complete(event, at, known)
      else remember(key, event, at, known)
    },
  }
}
