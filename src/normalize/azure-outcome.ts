/**
 * What became of an Azure request. The words "Success" of a record are about the request having been handled:
 * a refused purge is a "Success" too. The HTTP status decides, then the reason phrase.
 */
import type { KeyEvent } from '../model/event.ts'
import { entry, string } from './json.ts'
import { type Cuts, field } from './text.ts'

/** Reason phrases (RFC 9110), letters only. */
const phrases: Readonly<Record<string, number>> = {
  ok: 200,
  created: 201,
  accepted: 202,
  nocontent: 204,
  badrequest: 400,
  unauthorized: 401,
  forbidden: 403,
  notfound: 404,
  methodnotallowed: 405,
  requesttimeout: 408,
  conflict: 409,
  gone: 410,
  preconditionfailed: 412,
  unprocessableentity: 422,
  toomanyrequests: 429,
  internalservererror: 500,
  badgateway: 502,
  serviceunavailable: 503,
  gatewaytimeout: 504,
}

/** A status: a number, `Created (HTTP Status Code: 201)`, a reason phrase, or the last word of `Failed.Forbidden`. */
export const statusOf = (value: unknown): number | undefined => {
  const text = typeof value === 'number' ? String(value) : string(value)
  if (text === undefined || text.length > 256) return undefined
  const digits = /^(?:.*HTTP Status Code: *)?([1-5]\d\d)\)?$/.exec(text)?.[1]
  if (digits !== undefined) return Number(digits)
  const [words = ''] = text.split('(')
  return entry(phrases, (words.split('.').at(-1) ?? '').toLowerCase().replace(/[^a-z]/g, ''))
}

export type Verdict = KeyEvent['outcome']

const verdictOf = (status: number | undefined): Verdict => {
  if (status === undefined || status < 200) return 'unknown'
  if (status < 400) return 'success'
  return status === 401 || status === 403 ? 'denied' : 'failure'
}

type ErrorClass = NonNullable<KeyEvent['error']>['class']

const classes: Readonly<Record<number, ErrorClass>> = {
  400: 'invalid_input',
  404: 'not_found',
  409: 'conflict',
  412: 'invalid_state',
  422: 'invalid_input',
  429: 'throttled',
}

const classOf = (status = 0): ErrorClass => (status >= 500 ? 'internal' : (classes[status] ?? 'other'))

export interface Result {
  readonly outcome: Verdict
  readonly status: number | undefined
  readonly error: KeyEvent['error']
  /** The record contradicts itself. */
  readonly conflict: boolean
}

/** @param decisive the status that made the outcome, when it is not the one to report */
export const resultOf = (
  facts: Omit<Result, 'error'> & {
    readonly code: unknown
    readonly message: unknown
    readonly decisive?: number
  },
  cuts: Cuts,
): Result => {
  const { outcome, status, conflict } = facts
  if (outcome !== 'denied' && outcome !== 'failure') return { outcome, status, conflict, error: undefined }
  const code = field(facts.code === '' ? status : (facts.code ?? status), 128, 'error.code', cuts)
  const message = field(facts.message, 1024, 'error.message', cuts)
  const group = outcome === 'denied' ? 'access_denied' : classOf(facts.decisive ?? status)
  return { outcome, status, conflict, error: { code, message, class: group } }
}

export interface AuditResult {
  readonly status: unknown
  readonly signature: unknown
  readonly description: unknown
  /** A first request without a token is answered 401 by design. */
  readonly authentication: boolean
  /** A notification reports what has happened: it cannot be refused. */
  readonly notification: boolean
}

/** A data plane record; `resultType` is not asked. */
export const auditOutcome = (facts: AuditResult, cuts: Cuts): Result => {
  const status = statusOf(facts.status)
  const signed = statusOf(facts.signature)
  const byStatus = verdictOf(status)
  const bySignature = verdictOf(signed)
  const overruled = byStatus === 'success' && (bySignature === 'denied' || bySignature === 'failure')
  const conflict = overruled || (bySignature === 'success' && (status ?? 0) >= 400)
  const said = overruled || byStatus === 'unknown' ? bySignature : byStatus
  const decisive = said === byStatus ? status : signed
  const outcome =
    decisive === 401 && facts.authentication
      ? 'challenge'
      : said === 'unknown' && facts.notification
        ? 'success'
        : said
  const text = { code: facts.signature, message: facts.description }
  return resultOf({ outcome, status, conflict, ...text, ...(decisive && { decisive }) }, cuts)
}

const phaseOf = (word: string | undefined): Verdict => {
  const phase = (word?.split('.')[0] ?? '').toLowerCase().replace(/[^a-z]/g, '')
  if (/^(start|started|accept|accepted|inprogress|running)$/.test(phase)) return 'in_progress'
  if (/^(success|succeeded)$/.test(phase)) return 'success'
  return /^(fail|failed|failure|canceled|cancelled)$/.test(phase) ? 'failure' : 'unknown'
}

export interface ActivityResult {
  /** Places of the status, the most telling first. */
  readonly statuses: readonly unknown[]
  readonly phase: string | undefined
  readonly code: unknown
  readonly message: unknown
}

/** A management plane record: one of several about an operation, of which only the last one has the outcome. */
export const activityOutcome = (facts: ActivityResult, cuts: Cuts): Result => {
  const status = facts.statuses.map(statusOf).find((one) => one !== undefined)
  const byStatus = verdictOf(status)
  const phase = phaseOf(facts.phase)
  const refused = byStatus === 'denied' || byStatus === 'failure'
  const outcome = refused || phase === 'unknown' ? byStatus : phase
  const conflict =
    (refused && phase === 'success') || (phase === 'failure' && byStatus === 'success' && status !== 202)
  return resultOf({ outcome, status, conflict, code: facts.code, message: facts.message }, cuts)
}
