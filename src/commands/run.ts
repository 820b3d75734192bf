/** `keytrail run`: the service. Reads its sources, judges, keeps a journal, and forwards to its sinks. */
import { setFlagsFromString } from 'node:v8'
import { loadConfig } from '../config/config.ts'
import { chosenDetectors } from '../config/detectors.ts'
import { type Learned, learn } from '../config/knowledge.ts'
import { packageVersion } from '../config/paths.ts'
import { readSecret, Secret } from '../config/secrets.ts'
import { type RawRules, rawRules } from '../detect/raw-rules.ts'
import type { RecordedDetectors } from '../journal/rejudge.ts'
import { sqliteJournal } from '../journal/sqlite.ts'
import type { Config } from '../model/config.ts'
import { KeytrailError } from '../model/error.ts'
import { canonical } from '../normalize/json.ts'
import { sha256 } from '../normalize/text.ts'
import { forward } from '../pipeline/forward.ts'
import { type LiveJudge, liveJudge } from '../pipeline/live-judge.ts'
import { runLoop } from '../pipeline/loop.ts'
import { type RecordNormalizer, recordNormalizer } from '../pipeline/normalize-record.ts'
import type { Commit, Control, Journal, Source } from '../pipeline/ports.ts'
import { serveHealth } from '../serve/health.ts'
import { type Log, openLog } from '../telemetry/log.ts'
import { checkpointAlert, writeHistory } from './history-sink.ts'
import { HISTORY } from './history-where.ts'
import { sinksOf } from './sinks.ts'
import { sourceOf } from './sources.ts'
import { operator } from './where.ts'

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

/** The set of detectors as it is recorded: with the text, so that the past can be judged again. */
const detectorsControl = ({ detectors, ...recorded }: ReturnType<typeof chosenDetectors>): Control => {
  const ids = detectors.map(({ facts }) => `${facts.id}@${facts.version}`)
  return {
    kind: 'detectors',
    ordered: true,
    who: operator(),
    body: JSON.stringify({
      hash: sha256(JSON.stringify(recorded)),
      ids,
      ...recorded,
    } satisfies RecordedDetectors),
  }
}

const knowledgeControl = ({ files }: Learned): Control => ({
  kind: 'knowledge',
  ordered: true,
  who: operator(),
  body: JSON.stringify({ hash: sha256(JSON.stringify(files)), files }),
})

/** Normalizes with what is known now; another knowledge may take its place between two batches. */
const learningNormalizer = (config: Config, first: Learned, rules: RawRules | undefined) => {
  /** Read anew for each record, also by intake. */
  const settings = { ...config, ingest_path: first.ingest_path, rules }
  const make = ({ known, locate }: Learned) => recordNormalizer(settings, undefined, known, locate)
  let now = make(first)
  const normalize: RecordNormalizer = Object.assign((...all: Parameters<RecordNormalizer>) => now(...all), {
    glance: (...all: Parameters<RecordNormalizer['glance']>) => now.glance(...all),
  })
  return {
    normalize,
    settings,
    use(learned: Learned, next: RawRules | undefined) {
      settings.rules = next
      settings.ingest_path = learned.ingest_path
      now = make(learned)
    },
  }
}

/** Commits that the operator caused: start, configuration, detectors and knowledge. */
const begin = async (
  journal: Journal,
  judge: LiveJudge,
  config: Config,
  set: ReturnType<typeof chosenDetectors>,
  learned: Learned,
) => {
  const hash = sha256(canonical(config) ?? '')
  await journal.commit(
    judge.record(Date.now(), [
      {
        kind: 'start',
        ordered: false,
        who: operator(),
        body: JSON.stringify({ version: packageVersion(), pid: process.pid }),
      },
      { kind: 'configuration', ordered: false, who: operator(), body: JSON.stringify({ hash, config }) },
      detectorsControl(set),
      ...(learned.files.length > 0 ? [knowledgeControl(learned)] : []),
    ]),
  )
}

/** @returns the exit code, after a graceful stop */
export const run = (options: RunOptions, signal: AbortSignal): Promise<number> => {
  const config = loadConfig(options.config, true)
  if (Object.keys(config.sources).length === 0)
    throw new KeytrailError(
      'config.invalid',
      `${options.config}: there is nothing to read: name a source under sources`,
    )
  const sources = (log: Log) =>
    Object.entries(config.sources).map(([feed, one]) =>
      sourceOf(feed, one, {
        follow: !options.once,
        onNotice: (text) => log.warn(text, { feed }),
        onAlarm: (text) => log.error(text, { feed }),
      }),
    )
  return judgeAndForward({ path: options.config, config, sources }, signal)
}

export interface Job {
  /** Of the configuration. */
  readonly path: string | undefined
  readonly config: Config
  sources(log: Log): readonly Source[]
}

/** Reads sources into the journal of a configuration and forwards to its sinks, until they end or the signal comes. */
export const judgeAndForward = async (job: Job, signal: AbortSignal): Promise<number> => {
  setFlagsFromString(SMALL_NURSERY)
  const { config } = job
  const log = openLog(process.stderr, config.log)
  const { keep_days, keep_bytes } = config.journal
  let held = 0
  const journal = await sqliteJournal(config.data, { days: keep_days, bytes: keep_bytes }, (message) => {
    if (Date.now() - held > 10_000) log.error(`${message}; reading waits, nothing is lost`)
    held = Date.now()
  })
  try {
    return await serve({ ...job, log, journal, isHeld: () => Date.now() - held < 2000 }, signal)
  } finally {
    await journal.close()
  }
}

interface Service extends Job {
  readonly log: Log
  readonly journal: Journal
  /** The disk does not take what must be written. */
  isHeld(): boolean
}

const serve = async (
  { path, config, sources, log, journal, isHeld }: Service,
  signal: AbortSignal,
): Promise<number> => {
  const set = chosenDetectors(config)
  const learned = learn(config)
  const { normalize, settings, use } = learningNormalizer(config, learned, rawRules(set.detectors))
  const judge = liveJudge(journal, normalize, set.detectors, (text) => log.warn(text))
  await begin(journal, judge, config, set, learned)

  const news = bell()
  const stopping = new AbortController()
  const ended = new AbortController()
  const broken = new AbortController()
  let committed = 0
  let events = 0
  const sinks = Object.entries(config.sinks).flatMap(([name, one]) =>
    sinksOf(name, one, (text) => log.warn(text)),
  )
  const { history } = config
  await journal.retire([...sinks.map(({ sink }) => sink.name), ...(history === undefined ? [] : [HISTORY])])
  const acts: (() => Commit)[] = []
  const forwards = sinks.map((one) =>
    forward(
      {
        ...one,
        journal,
        news: news.wait,
        random: Math.random,
        clock: Date.now,
        onNotice: (text) => log.warn(text),
        closing: stopping.signal,
      },
      ended.signal,
    ).catch((cause) => broken.abort(cause)),
  )
  if (history !== undefined)
    forwards.push(
      writeHistory(
        {
          task: { data: config.data, history },
          journal,
          closing: stopping.signal,
          onNotice: (text) => log.warn(text),
          onCheckpoint: (news) =>
            acts.push(() => {
              const at = Date.now()
              return { ...judge.record(at, []), alerts: [checkpointAlert(news, at)] }
            }),
        },
        ended.signal,
      ).catch((cause) => broken.abort(cause)),
    )
  const token = config.http?.token === undefined ? undefined : readSecret(config.http.token)
  const server =
    config.http &&
    (await serveHealth({
      listen: config.http.listen,
      token: token instanceof Secret ? token.reveal() : undefined,
      ready: () => (isHeld() ? ['the journal cannot be written'] : []),
      status: () => ({ version: packageVersion(), committed, events }),
    }))
  const reload = () => {
    try {
      const changed = loadConfig(path, true)
      const next = chosenDetectors(changed)
      const learnedNow = learn(changed)
      acts.push(() => {
        use(learnedNow, rawRules(next.detectors))
        const control = [detectorsControl(next), knowledgeControl(learnedNow)]
        return judge.record(Date.now(), control, next.detectors)
      })
      log.info(
        `${next.detectors.length} detectors and ${learnedNow.files.length} files of knowledge loaded again`,
      )
    } catch (cause) {
      log.error(`detectors and knowledge are not loaded again, the running ones stay: ${String(cause)}`)
    }
  }
  process.on('SIGHUP', reload)
  const reading = sources(log)
  log.info(
    `keytrail ${packageVersion()} reads ${reading.map(({ feed_id }) => feed_id).join(', ')} with ${set.detectors.length} detectors`,
    { data: config.data },
  )

  const stop = AbortSignal.any([signal, broken.signal])
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
        clock: Date.now,
        acts,
        onNotice: (text) => log.warn(text),
        onCommit: (commit) => {
          committed = commit.seq
          events += commit.items.length
          news.ring()
        },
      },
      stop,
    )
    await journal.commit(
      judge.record(Date.now(), [
        { kind: 'stop', ordered: false, who: operator(), body: JSON.stringify({ events }) },
      ]),
    )
    stopping.abort()
    news.ring()
    await Promise.all(forwards)
    broken.signal.throwIfAborted()
  } finally {
    process.off('SIGHUP', reload)
    ended.abort()
    news.ring()
    await Promise.allSettled(forwards)
    server?.close()
  }
  log.info(`stopped after ${events} events`)
  return 0
}
