/** Arguments become one command, one abort signal, one exit code. */
import { Command, InvalidArgumentError, Option } from '@commander-js/extra-typings'
import { packageVersion } from './config/paths.ts'
import { verdicts } from './model/alert.ts'
import { KeytrailError } from './model/error.ts'
import { kindNames } from './model/history.ts'
import { criticalities } from './model/operations.ts'
import { formatNames } from './normalize/index.ts'
import { printable } from './normalize/text.ts'

const abort = new AbortController()
let exitCode = 0

const collect = (value: string, earlier: string[]) => [...earlier, value]
const wholeNumber = (text: string): number => {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError('a whole number from 1 to 999 is needed.')
  return Number(text)
}
const pointInTime = (text: string): number => {
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw new InvalidArgumentError('a time such as 2026-03-02T09:00:00Z is needed.')
  return at
}

export const program = new Command('keytrail')
  .description(
    'Reads what clouds log about cryptographic keys, normalizes it, and explains what looks like an attack.',
  )
  .version(packageVersion())
  .exitOverride()
  .showHelpAfterError('(add --help for usage)')
  .configureHelp({ sortSubcommands: false })
  .addHelpText(
    'after',
    `
Examples:
  keytrail scan AWSLogs/                           scan a folder of CloudTrail files, gzip or not
  keytrail scan logs/ --report report.html         and write a report to attach to a ticket
  keytrail scan logs/ --json | jq .alerts          the summary for programs
  aws s3 cp s3://trail/f.json.gz - | keytrail scan -   read standard input
  keytrail explain 3f2a                            tell one alert in full

Exit codes:
  0 all read   1 fault, or a failed test, validate or verify   2 usage or configuration
  3 some files failed or records were rejected   4 nothing readable   10 --fail-on met`,
  )

program
  .command('scan')
  .description('read log files; print a summary and the alerts')
  .argument('<path...>', 'files, folders, patterns, or - for standard input')
  .option('--json', 'print exactly one JSON object, the summary', false)
  .option('--events <file>', 'write the normalized events, one JSON object a line')
  .option('--alerts <file>', 'write all alerts, one JSON object a line')
  .option('--report <file>', 'write a self-contained HTML report')
  .option('--detectors <dir>', 'load more detectors (repeatable)', collect, [])
  .option('--no-default-detectors', 'do not load the detectors that come with Keytrail')
  .option('--config <file>', 'configuration: ingest_path, trusted_roles, encryption_context')
  .addOption(
    new Option('--format <name>', 'read every record as this format instead of detecting it').choices(
      formatNames,
    ),
  )
  .addOption(
    new Option('--fail-on <severity>', 'exit with 10 when an alert is at least this severe').choices(
      criticalities,
    ),
  )
  .option('--workers <n>', 'reading threads (default: by size, at most one per core)', wholeNumber)
  .option(
    '--until <time>',
    'what would be due later is not overdue (default: time of the last event)',
    pointInTime,
  )
  .option('--strict', 'parse every record, also those whose bytes show that they are out of scope', false)
  .option('--no-save', 'do not keep the result in .keytrail/scan for explain')
  .option('--quiet', 'no progress', false)
  .action(async (paths, options) => {
    const { scan } = await import('./commands/scan.ts')
    exitCode = await scan(paths, options, abort.signal)
  })

program
  .command('init')
  .description('write a configuration for run: three questions, or their answers as options')
  .option('--config <file>', 'where to write it', 'keytrail.yml')
  .option('--logs <path>', 'folder, file or pattern of logs')
  .option('--out <dir>', 'folder for the feed and the alerts')
  .option('--data <dir>', 'folder for the journal')
  .action(async (options) => {
    const { init } = await import('./commands/init.ts')
    exitCode = await init(options, abort.signal)
  })

program
  .command('run')
  .description('read sources, judge, keep a journal and forward, until it is stopped')
  .option('--config <file>', 'configuration', 'keytrail.yml')
  .option('--once', 'read what is there, deliver it, and stop', false)
  .action(async (options) => {
    const { run } = await import('./commands/run.ts')
    exitCode = await run(options, abort.signal)
  })

program
  .command('backfill')
  .description(
    'read what was logged before: from the bucket of a trail into a journal, or from disk into history alone',
  )
  .argument('<place>', 's3://bucket/AWSLogs/, or a folder within; with --into history a folder or file')
  .option('--from <day>', 'first day, such as 2026-03-01, in UTC')
  .option('--to <day>', 'last day')
  .addOption(
    new Option('--into <where>', 'journal: judged and sent; history: kept and proven, for queries and replay')
      .choices(['journal', 'history'] as const)
      .default('journal' as const),
  )
  .option(
    '--config <file>',
    'configuration whose journal, history, source and sinks are used',
    'keytrail.yml',
  )
  .option('--source <name>', 'source of that configuration, when it has several of type s3')
  .option('--data <dir>', 'a journal of its own in this folder, without a configuration')
  .option('--region <name>', 'region of the bucket, with --data')
  .option(
    '--keys <file>',
    'public keys of CloudTrail, for the verdict of its digests (repeatable)',
    collect,
    [],
  )
  .option('--quiet', 'no progress', false)
  .action(async (place, options) => {
    if (options.into === 'history') {
      const { backfillHistory } = await import('./commands/backfill-history.ts')
      exitCode = await backfillHistory(place, options, abort.signal)
      return
    }
    const { backfill } = await import('./commands/backfill.ts')
    exitCode = await backfill(place, options, abort.signal)
  })

const which = (command: Command, name: string, about: string) =>
  command
    .command(name)
    .description(about)
    .option('--data <dir>', 'data directory (default: that of the configuration)')
    .option('--config <file>', 'configuration (default: keytrail.yml, if there is one)')
const asJson = ['--json', 'print JSON', false] as const

which(program, 'status', 'feeds, sinks, the sums that must hold, and detectors that still learn')
  .option(...asJson)
  .option('--watch', 'show it again every two seconds', false)
  .action(async (options) => {
    const { status } = await import('./commands/status.ts')
    exitCode = await status(options, abort.signal)
  })

which(program, 'tail', 'the newest events or alerts, and what comes')
  .argument('[stream]', 'feed or alerts', 'alerts')
  .option('-n, --lines <n>', 'how many of the newest', wholeNumber, 20)
  .option('-f, --follow', 'go on with what comes', false)
  .option('--key <text>', 'only keys with this in their id')
  .option('--principal <text>', 'only callers with this in their id')
  .option('--operation <name>', 'only this operation (feed)')
  .addOption(new Option('--severity <severity>', 'only this severe or more').choices(criticalities))
  .option(...asJson)
  .action(async (stream, options) => {
    if (stream !== 'feed' && stream !== 'alerts')
      throw new KeytrailError('usage.option', `there is no stream "${stream}": feed or alerts`)
    const { tail } = await import('./commands/tail.ts')
    exitCode = await tail(stream, options, abort.signal)
  })

const alerts = program.command('alerts').description('the alerts of a journal')
which(alerts, 'list', 'newest first')
  .option('--since <time>', 'a span such as 30m, 24h, 7d, or a time', '36500d')
  .addOption(
    new Option('--severity <severity>', 'only this severe or more').choices(criticalities).default('info'),
  )
  .option('--entity <text>', 'only with this in key, caller or account')
  .option('--open', 'only those that nobody closed', false)
  .option('-n, --lines <n>', 'how many at most', wholeNumber, 50)
  .option(...asJson)
  .action(async (options) => {
    const { listAlerts } = await import('./commands/alerts.ts')
    exitCode = listAlerts(options)
  })
which(alerts, 'show', 'one alert in full, as `keytrail explain`')
  .argument('<alert>', 'first digits of the alert id')
  .option(...asJson)
  .action(async (prefix, options) => {
    const { explain } = await import('./commands/explain.ts')
    exitCode = await explain(prefix, { ...options, detectors: [] })
  })
which(alerts, 'close', 'record what an alert was')
  .argument('<alert>', 'first digits of the alert id')
  .addOption(new Option('--as <verdict>', 'what it was').choices(verdicts).makeOptionMandatory())
  .requiredOption('--reason <text>', 'why')
  .option('--author <name>', 'who decided (default: the user of this system)')
  .action(async (prefix, options) => {
    const { closeAlert } = await import('./commands/alerts.ts')
    exitCode = closeAlert(prefix, options)
  })

const letters = program.command('dead-letters').description('what a sink refused')
which(letters, 'list', 'all of them')
  .option(...asJson)
  .action(async (options) => {
    const { listLetters } = await import('./commands/dead-letters.ts')
    exitCode = listLetters(options)
  })
which(letters, 'show', 'one in full')
  .argument('<number>')
  .option(...asJson)
  .action(async (number, options) => {
    const { showLetter } = await import('./commands/dead-letters.ts')
    exitCode = showLetter(number, options)
  })
for (const [name, what, about] of [
  ['replay', 'again', 'send some to their sink again'],
  ['purge', 'remove', 'remove some for good'],
] as const)
  which(letters, name, about)
    .argument('[number...]')
    .option('--all', 'all of them', false)
    .requiredOption('--reason <text>', 'why; it is recorded')
    .action(async (numbers, options) => {
      const { decideLetters } = await import('./commands/dead-letters.ts')
      exitCode = decideLetters(what, numbers, options)
    })

which(program, 'resend', 'send a window of the past to a sink again; ids stay the same')
  .argument('<sink>', 'as `keytrail status` names it')
  .requiredOption('--since <time>', 'a span such as 30m, 24h, 7d, or a time: by the time of the events')
  .option('--until <time>', 'end of the window (default: now)')
  .requiredOption('--reason <text>', 'why; it is recorded')
  .action(async (sink, options) => {
    const { resend } = await import('./commands/resend.ts')
    exitCode = resend(sink, options)
  })

program
  .command('doctor')
  .description('look at configuration and sinks, step by step')
  .option('--config <file>', 'configuration', 'keytrail.yml')
  .option('--send', 'put one test alert through every sink', false)
  .option(...asJson)
  .action(async (options) => {
    const { doctor } = await import('./commands/doctor.ts')
    exitCode = await doctor(options, abort.signal)
  })

program
  .command('estimate')
  .description('events and gigabytes a day for each sink, from the journal or from what scan wrote')
  .option('--config <file>', 'configuration', 'keytrail.yml')
  .option('--events <file>', 'what `keytrail scan --events` wrote, instead of the journal')
  .option('--alerts <file>', 'what `keytrail scan --alerts` wrote')
  .option(...asJson)
  .action(async (options) => {
    const { estimate } = await import('./commands/estimate.ts')
    exitCode = await estimate(options)
  })

program
  .command('sentinel')
  .description('what Microsoft Sentinel needs')
  .command('template')
  .description('print a deployment template: two tables, a data collection rule, the role to write to it')
  .action(async () => {
    const { sentinelTemplate } = await import('./render/sentinel-template.ts')
    process.stdout.write(`${JSON.stringify(sentinelTemplate(), null, 2)}\n`)
  })

which(program, 'reload', 'have the running service load its configuration again, and say what became of it')
  .option(...asJson)
  .action(async (options) => {
    const { reload } = await import('./commands/reload.ts')
    exitCode = await reload(options, abort.signal)
  })

which(program, 'backup', 'copy the data directory, also while it is written')
  .argument('<dir>', 'new directory for the copy')
  .option(...asJson)
  .action(async (to, options) => {
    const { backup } = await import('./commands/backup.ts')
    exitCode = await backup(to, options)
  })

const journal = program.command('journal').description('look into the journal of run')
which(journal, 'info', 'what it holds')
  .option(...asJson)
  .action(async (options) => {
    const { info } = await import('./commands/journal.ts')
    exitCode = info(options)
  })
which(journal, 'check', 'whether it is whole, and gives the same alerts when judged again')
  .option(...asJson)
  .action(async (options) => {
    const { check } = await import('./commands/journal.ts')
    exitCode = await check(options)
  })
which(journal, 'compact', 'give free space back to the file system')
  .option(...asJson)
  .action(async (options) => {
    const { compact } = await import('./commands/journal.ts')
    exitCode = compact(options)
  })

const ofHistory = (command: Command) =>
  command
    .option('--config <file>', 'configuration whose history it is (default: keytrail.yml, if there is one)')
    .option('--history <dir>', 'a history in this folder, without a configuration')

const history = program
  .command('history')
  .description('the history that run keeps: look into it, hold it, export it')
ofHistory(history.command('info').description('what it holds'))
  .option(...asJson)
  .action(async (options) => {
    const { info } = await import('./commands/history.ts')
    exitCode = await info(options)
  })
history
  .command('key')
  .description('print the verifier key: give it to whoever is to check the history')
  .option('--config <file>', 'configuration', 'keytrail.yml')
  .action(async (options) => {
    const { key } = await import('./commands/history.ts')
    exitCode = await key(options)
  })
ofHistory(
  history
    .command('export')
    .description('print records as JSON lines, raw bytes included, for the offline verifiers'),
)
  .addOption(new Option('--kind <kind>', 'only this kind').choices(kindNames))
  .option(
    '--from <time>',
    'a time, or a span such as 24h or 7d: whole files that reach into the window are printed',
  )
  .option('--to <time>', 'until then')
  .action(async (options) => {
    const { exportRecords } = await import('./commands/history.ts')
    exitCode = await exportRecords(options)
  })
const changing = (name: string, about: string) =>
  history
    .command(name)
    .description(about)
    .option('--config <file>', 'configuration', 'keytrail.yml')
    .requiredOption('--reason <text>', 'why; it is recorded')
changing('hold', 'keep days whatever retention says')
  .argument('<name>', 'name of the hold, such as the number of a case')
  .requiredOption('--from <day>', 'first day, such as 2026-03-01, in UTC')
  .requiredOption('--to <day>', 'last day')
  .action(async (name, options) => {
    const { hold } = await import('./commands/history.ts')
    exitCode = await hold(name, options)
  })
changing('release', 'end a hold')
  .argument('<name>', 'name of the hold')
  .action(async (name, options) => {
    const { release } = await import('./commands/history.ts')
    exitCode = await release(name, options)
  })
changing('expire', 'remove days that are not on hold')
  .requiredOption('--before <day>', 'first day that stays')
  .action(async (options) => {
    const { expireNow } = await import('./commands/history.ts')
    exitCode = await expireNow(options)
  })
changing('rotate', 'sign with another key from now on; the old and the new one vouch for it')
  .requiredOption('--to <file>', 'the new key, made when it is not there: then name it with history.key')
  .action(async (options) => {
    const { rotate } = await import('./commands/history.ts')
    exitCode = await rotate(options)
  })

ofHistory(
  program
    .command('replay')
    .description(
      'judge a window of history again: what was sent then, or with all that is known now and how it differs',
    ),
)
  .option('--from <time>', 'a time, or a span such as 24h or 7d (default: where history begins)')
  .option('--to <time>', 'until then (default: where history ends)')
  .addOption(
    new Option('--as-seen', 'as it came and with the detectors of then: the alerts that were sent').default(
      false,
    ),
  )
  .addOption(
    new Option(
      '--corrected',
      'in the order of what happened, late events in place, with what is known now; the default',
    ).conflicts('asSeen'),
  )
  .option('--detectors <dir>', 'try these detectors instead of those in force (repeatable)', collect, [])
  .option('--alerts <file>', 'write the alerts, one JSON object a line')
  .option('--to-sink <name>', 'send the alerts to this sink, too, marked with replay_run_id')
  .option('--workers <n>', 'threads that unpack and sort (default: one per core)', wholeNumber)
  .option(...asJson)
  .option('--quiet', 'no progress', false)
  .action(async (options) => {
    const { replay } = await import('./commands/replay.ts')
    exitCode = await replay(options, abort.signal)
  })

const asking = (name: string, about: string) =>
  ofHistory(program.command(name).description(about))
    .addOption(
      new Option('--format <name>', 'how the answer is written')
        .choices(['table', 'csv', 'json', 'parquet'] as const)
        .default('table' as const),
    )
    .option('--out <file>', 'file for --format parquet')
    .option('--timeout <seconds>', 'an answer takes no longer', wholeNumber, 60)
const within = <C extends ReturnType<typeof asking>>(command: C) =>
  command
    .option('--from <time>', 'a time, or a span such as 24h or 7d')
    .option('--to <time>', 'until then, then itself not included')
asking('query', 'ask the history in SQL: views events, alerts, signals, rejections, integrity, keys')
  .argument('<sql>', 'one SELECT')
  .action(async (sql, options) => {
    const { query } = await import('./commands/query.ts')
    exitCode = await query(sql, options)
  })
asking('keys', 'every key of the history: made, rotated, used last and by whom, state, protection, owner')
  .option('--at <time>', 'as it was known then, by the time of the events')
  .action(async (options) => {
    const { keys } = await import('./commands/query.ts')
    exitCode = await keys(options)
  })
within(asking('who-used', 'who used a key, for what, how often, first and last'))
  .argument('<key>', 'id or alias of the key, or the end of its id')
  .action(async (key, options) => {
    const { whoUsed } = await import('./commands/query.ts')
    exitCode = await whoUsed(key, options)
  })
within(asking('timeline', 'all events and alerts about a key or a caller, in order'))
  .argument('<key-or-caller>', 'id or alias of a key, or the id or name of a caller')
  .action(async (entity, options) => {
    const { timeline } = await import('./commands/query.ts')
    exitCode = await timeline(entity, options)
  })

program
  .command('explain')
  .description('tell one alert in full: what, evidence, what to decide, what the detector cannot see')
  .argument('<alert>', 'first digits of the alert id')
  .option('--alerts <file>', 'look in this file of alerts instead of the last scan')
  .option('--data <dir>', 'look in the journal of this data directory')
  .option('--config <file>', 'look in the journal of this configuration')
  .option('--detectors <dir>', 'where else detectors are described (repeatable)', collect, [])
  .option('--json', 'print the alert as JSON', false)
  .action(async (prefix, options) => {
    const { explain } = await import('./commands/explain.ts')
    exitCode = await explain(prefix, options)
  })

program
  .command('test')
  .description('run the cases of detectors')
  .argument('[dir...]', 'folders of detectors (default: those that come with Keytrail)')
  .option('--json', 'print the results as JSON', false)
  .action(async (folders, options) => {
    const { test } = await import('./commands/test.ts')
    exitCode = test(folders, options)
  })

program
  .command('validate')
  .description('check detectors and configuration')
  .argument('[dir...]', 'folders of detectors to check beside those that come with Keytrail')
  .option('--config <file>', 'configuration to check')
  .option('--no-default-detectors', 'do not check the detectors that come with Keytrail')
  .option('--json', 'print the result as JSON', false)
  .action(async (folders, options) => {
    const { validate } = await import('./commands/validate.ts')
    exitCode = validate(folders, options)
  })

program
  .command('rules')
  .description('rules of others')
  .command('import')
  .description('say which Sigma rules of a folder load, which do not and why, and which wait for a source')
  .argument('<dir>', 'folder of rules')
  .option('--to <dir>', 'copy the files that can be used there')
  .option('--json', 'print the result as JSON', false)
  .action(async (folder, options) => {
    const { importRules } = await import('./commands/rules.ts')
    exitCode = importRules(folder, options)
  })

program
  .command('backtest')
  .description('what one detector would have told in these logs, and where it differs from another')
  .argument('<detector>', 'id of one that comes with Keytrail, or its file')
  .argument('<path...>', 'files, folders or patterns of logs')
  .option('--than <detector>', 'compare with another detector, or an older file of the same')
  .option('--config <file>', 'configuration: knowledge, ingest_path')
  .option('--json', 'print the result as JSON', false)
  .option('--quiet', 'no progress', false)
  .action(async (detector, paths, options) => {
    const { backtest } = await import('./commands/backtest.ts')
    exitCode = await backtest(detector, paths, options, abort.signal)
  })

program
  .command('coverage')
  .description(
    'what the detectors cover: ATT&CK techniques, controls, and operations that none of them names',
  )
  .argument('[dir...]', 'folders of detectors beside those that come with Keytrail')
  .option('--no-default-detectors', 'without the detectors that come with Keytrail')
  .addOption(
    new Option('--navigator <version>', 'print a layer for ATT&CK Navigator').choices(['18', '19'] as const),
  )
  .option('--json', 'print the result as JSON', false)
  .action(async (folders, options) => {
    const { coverage } = await import('./commands/coverage.ts')
    exitCode = coverage(folders, options)
  })

const verify = program
  .command('verify')
  .description('whether the history is what was sealed, and logs are what their provider delivered')
ofHistory(verify.command('history', { isDefault: true }).description('check the history; the default'))
  .option(
    '--key <key>',
    'verifier key, or its file, instead of the one that signs here (repeatable)',
    collect,
    [],
  )
  .option(
    '--checkpoint <file>',
    'checkpoints that were kept elsewhere must fit: as they are, or as alerts that a SIEM exports (repeatable)',
    collect,
    [],
  )
  .option('--from <time>', 'a time, or a span such as 24h or 7d: all from then on must be there')
  .option('--to <time>', 'all until then must be there')
  .option('--records', 'read every record, not only the bytes of the files', false)
  .option(...asJson)
  .option('--quiet', 'no progress', false)
  .action(async (options) => {
    const { verifyHistory } = await import('./commands/verify-history.ts')
    exitCode = await verifyHistory(options)
  })
verify
  .command('cloudtrail')
  .description('check CloudTrail logs against the digests that AWS signed')
  .argument('<path...>', 'a copy of the bucket on disk, or s3://bucket/prefix')
  .option(
    '--keys <file>',
    'public keys, as `aws cloudtrail list-public-keys` prints them (repeatable)',
    collect,
    [],
  )
  .option('--role <arn>', 'role to assume for the bucket and the keys, such as one of another account')
  .option('--external-id <id>', 'external id that the trust policy of the role asks for')
  .option('--from <time>', 'a time, or a span such as 24h or 7d: all from then on must be covered')
  .option('--to <time>', 'all until then must be covered')
  .option(...asJson)
  .option('--quiet', 'no progress', false)
  .action(async (paths, options) => {
    const { verifyCloudTrail } = await import('./commands/verify.ts')
    exitCode = await verifyCloudTrail(paths, options, abort.signal)
  })

const isBrokenPipe = (cause: unknown) => cause instanceof Error && 'code' in cause && cause.code === 'EPIPE'

/** Says what happened and what to do about it. @returns the exit code */
const report = (cause: unknown): number => {
  if (abort.signal.aborted) {
    process.stderr.write('keytrail: interrupted; nothing that was written is complete\n')
    return 130
  }
  if (isBrokenPipe(cause)) return exitCode
  if (cause instanceof KeytrailError) {
    process.stderr.write(
      `keytrail: ${cause.message.split('\n').map(printable).join('\n')}\n${cause.remedy}\n`,
    )
    return cause.exitCode
  }
  process.stderr.write(`keytrail: ${cause instanceof Error ? (cause.stack ?? cause.message) : cause}\n`)
  return 1
}

// What a library throws may hold requests with their headers: a crash tells the stack alone, and a report no environment.
process.once('uncaughtException', (cause) => process.exit(report(cause) || 1))
process.report.excludeEnv = true
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => abort.abort(new Error(name)))
process.stdout.on('error', (cause) => process.exit(report(cause)))
try {
  await program.parseAsync()
} catch (cause) {
  const usage = cause instanceof Error && 'code' in cause && String(cause.code).startsWith('commander.')
  exitCode = usage ? ('exitCode' in cause && cause.exitCode === 0 ? 0 : 2) : report(cause)
}
process.exitCode = exitCode
