/** `keytrail run`: the service. Reads its sources, judges, keeps a journal, and forwards to its sinks. */
import { setFlagsFromString } from 'node:v8'
import { loadConfig } from '../config/config.ts'
import { packageVersion } from '../config/paths.ts'
import { readSecret, Secret } from '../config/secrets.ts'
import { sqliteJournal } from '../journal/sqlite.ts'
import type { Config } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'
import type { Heartbeat } from '../pipeline/judging.ts'
import { liveJudge } from '../pipeline/live-judge.ts'
import { type Loop, runLoop } from '../pipeline/loop.ts'
import type { Commit, Journal, Source } from '../pipeline/ports.ts'
import { serveHealth } from '../serve/health.ts'
import { type Log, openLog } from '../telemetry/log.ts'
import { digestWatches, type Verified } from './digests.ts'
import { forwards } from './forwards.ts'
import { checkpointAlert, writeHistory } from './history-sink.ts'
import { HISTORY } from './history-where.ts'
import { act, build, controlsOf, type InForce, normalizer } from './in-force.ts'
import { metrics } from './metrics.ts'
import { reloader } from './reloader.ts'
import { sinksOf } from './sinks.ts'
import { sourceOf } from './sources.ts'

export interface RunOptions {
  readonly config: string
  readonly once: boolean
}

/**
 * The nursery stays as large as the start made it (32 MiB): a batch outlives a larger one, too, which gains no time and
 * costs 200 MB (bench/README.md). V8 asks for this factor each time it would grow it; should it not, memory is what it was.
 */
export const SMALL_NURSERY = '--semi-space-growth-factor=1'

/** A graceful stop takes no longer than this (architecture.md section 8). */
const STOP_MS = 10_000

/** A promise for the next piece of news, again and again. */
const bell = () => {
  let ring = () => {}
  let next = new Promise<void>((resolve) => {
    ring = resolve
  })
  return {
    wait: () => next,
    ring: () => {
      ring()
      next = new Promise<void>((resolve) => {
        ring = resolve
      })
    },
  }
}

/** @returns the exit code, after a graceful stop */
export const run = (options: RunOptions, signal: AbortSignal): Promise<number> => {
  const sources: Job['sources'] = (config, log) => {
    const all = Object.entries(config.sources)
    if (all.length > 0)
      return all.map(([feed, one]) =>
        sourceOf(feed, one, {
          follow: !options.once,
          onNotice: (text) => log.warn(text, { feed }),
          onAlarm: (text) => log.error(text, { feed }),
        }),
      )
    throw new KeytrailError(
      'config.invalid',
      `${options.config}: there is nothing to read: name a source under sources`,
    )
  }
  const config = loadConfig(options.config, true)
  const job = { path: options.config, config, sources, reloads: true, digests: !options.once }
  return judgeAndForward(job, signal)
}

export interface Job {
  /** Of the configuration. */
  readonly path: string | undefined
  readonly config: Config
  /** @throws KeytrailError */
  sources(config: Config, log: Log): readonly Source[]
  /** Whether it takes another configuration while it runs. */
  readonly reloads: boolean
  /** Verify CloudTrail digests: again and again, or (`false`) once at the end. Not at all without it. */
  readonly digests?: boolean
}

/** Reads sources into the journal of a configuration and forwards to its sinks, until they end or the signal comes. */
export const judgeAndForward = async (job: Job, signal: AbortSignal): Promise<number> => {
  setFlagsFromString(SMALL_NURSERY)
  const { config } = job
  const log = openLog(process.stderr, config.log)
  const reading = job.sources(config, log)
  const { keep_days, keep_bytes } = config.journal
  let held = 0
  const journal = await sqliteJournal(config.data, { days: keep_days, bytes: keep_bytes }, (message) => {
    if (Date.now() - held > 10_000) log.error(`${message}; reading waits, nothing is lost`)
    held = Date.now()
  })
  try {
    return await serve({ ...job, reading, log, journal, isHeld: () => Date.now() - held < 2000 }, signal)
  } finally {
    await journal.close()
  }
}

export interface Service extends Job {
  readonly reading: readonly Source[]
  readonly log: Log
  readonly journal: Journal
  /** The disk does not take what must be written. */
  isHeld(): boolean
}

const serve = async (service: Service, signal: AbortSignal): Promise<number> => {
  const { config, reading, digests, log, journal, isHeld } = service
  const begun = build(config)
  const { normalize, settings, use } = normalizer(begun)
  const spent = { now: () => performance.now(), ms: new Map<string, number>() }
  const judge = liveJudge(journal, normalize, begun.detectors, (text) => log.warn(text), spent)
  const starting = act('start', { version: packageVersion(), pid: process.pid })
  await journal.commit(judge.record(Date.now(), [starting, ...controlsOf(begun)]))

  const news = bell()
  const sealing = new AbortController()
  const stopping = new AbortController()
  const ended = new AbortController()
  const broken = new AbortController()
  let committed = 0
  let events = 0
  const { history } = config
  const sinks = forwards({
    journal,
    news: news.wait,
    wake: news.ring,
    closing: stopping.signal,
    ended: ended.signal,
    onNotice: (text) => log.warn(text),
    onFailure: (cause) => broken.abort(cause),
    make: (name, one) => sinksOf(name, one, (text) => log.warn(text)),
    others: history === undefined ? [] : [HISTORY],
  })
  const started = Promise.withResolvers<Loop>()
  let checkpoint: (() => Commit) | undefined
  const sealed =
    history &&
    writeHistory(
      {
        task: { data: config.data, history },
        journal,
        closing: sealing.signal,
        onNotice: (text) => log.warn(text),
        async onCheckpoint(news) {
          const loop = await started.promise
          const at = Date.now()
          const commit = () => ({ ...judge.record(at, []), alerts: [checkpointAlert(news, at)] })
          if (sealing.signal.aborted) checkpoint = commit
          else await loop.act(commit)
        },
      },
      ended.signal,
    ).catch((cause) => broken.abort(cause))
  await sinks.prepare(config.sinks).swap()
  const stop = AbortSignal.any([signal, broken.signal])
  let caughtUp: readonly string[] = []
  const watches = digestWatches({
    journal,
    isCaughtUp: (feed) => caughtUp.includes(feed),
    signal: stop,
    onNotice: (feed, text) => log.warn(text, { feed }),
  })
  const follow = (next: InForce) => digests !== undefined && watches.follow(next.config.sources)
  follow(begun)
  const again = reloader({
    ...{ ...service, judge, sinks, begun },
    use(next) {
      use(next)
      follow(next)
    },
  })
  const told = metrics(config.data, () => ({ ...again.state, spent: spent.ms, isHeld: isHeld() }))
  const { token } = config.http ?? {}
  const isToken = (given: string) => {
    const found = readSecret(token ?? '')
    return found instanceof Secret && found.equals(given)
  }
  const server =
    config.http &&
    (await serveHealth({
      listen: config.http.listen,
      isToken: token === undefined ? undefined : isToken,
      ready: () => (isHeld() ? ['the journal cannot be written'] : []),
      status: () => ({ version: packageVersion(), committed, events }),
      metrics: told,
    }))

  const verified = ({ objects, check }: Verified) => judge.verified(Date.now(), objects, check)
  let hangup = () => {}
  process.on('SIGHUP', () => hangup())
  log.info(
    `keytrail ${packageVersion()} reads ${reading.map(({ feed_id }) => feed_id).join(', ')} with ${begun.detectors.length} detectors`,
    { data: config.data },
  )

  stop.addEventListener('abort', () => {
    log.info('stopping')
    setTimeout(() => {
      log.error(`not stopped after ${STOP_MS / 1000} s: ending now; what was acknowledged is safe`)
      process.exit(1)
    }, STOP_MS).unref()
  })
  try {
    await runLoop(
      {
        sources: reading,
        journal,
        judge,
        settings,
        budget: config.journal.budget_bytes,
        isAll: service.reloads,
        clock: Date.now,
        onNotice: (text) => log.warn(text),
        onStart(loop) {
          started.resolve(loop)
          const failed = (cause: unknown) => stop.aborted || broken.abort(cause)
          hangup = () => void again.reload(loop).catch(failed)
          if (digests) void watches.watch((found) => loop.act(() => verified(found))).catch(failed)
        },
        onCommit: (commit) => {
          committed = commit.seq
          events += commit.items.length
          for (const { kind, body } of commit.control)
            if (kind === 'tick') caughtUp = (JSON.parse(body) as Heartbeat).caughtUp // written by the judge
          news.ring()
        },
      },
      stop,
    )
    hangup = () => {}
    await again.settled()
    if (digests === false)
      for await (const found of watches.due(Date.now())) await journal.commit(verified(found))
    await journal.commit(judge.record(Date.now(), [act('stop', { events })]))
    sealing.abort()
    if (!stop.aborted) {
      await sealed // it came to its end by itself: the sinks get the checkpoint, too
      if (checkpoint !== undefined) await journal.commit(checkpoint())
    }
    stopping.abort()
    news.ring()
    await Promise.all([sinks.done(), sealed])
    broken.signal.throwIfAborted()
  } finally {
    watches.close()
    ended.abort()
    news.ring()
    await Promise.all([sinks.done(), sealed])
    await told.close()
    server?.close()
  }
  log.info(`stopped after ${events} events`)
  return 0
}
