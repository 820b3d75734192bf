/**
 * A harmless call of a key every few minutes. Who makes it knows that it will be logged: when it does not come, its
 * feed is silent, however quiet the account is.
 */
import type { CanaryConfig } from '../model/sources.ts'
import type { Source } from '../pipeline/ports.ts'
import { rest } from '../pipeline/waiting.ts'
import { seldom } from '../telemetry/seldom.ts'
import { awsClient, refusal } from './aws.ts'

/** Deliveries come within it (detection-science.md section 4, lateness). */
const LATENESS_MS = 15 * 60_000
/** So many calls in a row that do not come are no accident. */
const MISSES = 3
const REPEAT_MS = 60 * 60_000

/** Makes the call. @throws what the service says */
const callOf = ({ key, role, endpoint }: CanaryConfig) => {
  const [, , , region = ''] = key.split(':')
  return async (signal: AbortSignal) => {
    const { KMSClient, DescribeKeyCommand } = await import('@aws-sdk/client-kms')
    const client = new KMSClient(await awsClient({ region, role, endpoint }))
    try {
      await client.send(new DescribeKeyCommand({ KeyId: key }), { abortSignal: signal })
    } finally {
      client.destroy()
    }
  }
}

/**
 * When a call was made that must have come by now: the oldest of the last three that had the time to.
 * @param calls that went well, without one that failed in between; in order, milliseconds since 1970
 */
export const mustHaveCome = (calls: readonly number[], now: number): number | undefined =>
  calls.filter((at) => at <= now - LATENESS_MS).at(-MISSES)

/** A source whose feed brings the call of a key. */
export const withCanary = (
  source: Source,
  canary: CanaryConfig | undefined,
  onNotice: (text: string) => void,
): Source => {
  if (canary === undefined) return source
  const call = callOf(canary)
  const tell = seldom(REPEAT_MS)
  let calls: number[] = []
  const why = (cause: unknown) => refusal(cause, 'kms:DescribeKey', canary.key)
  const sing = async (signal: AbortSignal) => {
    while (!signal.aborted) {
      try {
        await call(signal)
        calls = [...calls, Date.now()].slice(-100)
      } catch (cause) {
        if (signal.aborted) return
        calls = []
        tell(onNotice, `the canary key cannot be called, so silence is judged by habit alone: ${why(cause)}`)
      }
      await rest(canary.minutes * 60_000, signal)
    }
  }
  return {
    ...source,
    called: (now) => mustHaveCome(calls, now),
    async read(known, take, signal, fate) {
      const ended = new AbortController()
      const singing = sing(AbortSignal.any([signal, ended.signal]))
      await source.read(known, take, signal, fate).finally(() => ended.abort())
      await singing
    },
    async check(signal) {
      const others = (await source.check?.(signal)) ?? []
      const detail = await call(signal).then(
        () => ({ ok: true, detail: 'kms:DescribeKey is allowed' }),
        (cause) => ({ ok: false, detail: why(cause) }),
      )
      return [...others, { step: `canary ${canary.key}`, ...detail }]
    },
  }
}
