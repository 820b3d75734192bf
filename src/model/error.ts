/**
 * The closed table of failures: may it be tried again, what does it end the process with, and what should
 * the operator do. Code asks this table, never the text of a message.
 */
interface Entry {
  readonly exitCode: number
  readonly retry: boolean
  readonly remedy: string
}

export const errors = {
  'usage.option': { exitCode: 2, retry: false, remedy: 'See `keytrail --help` for commands and options.' },
  'config.invalid': {
    exitCode: 2,
    retry: false,
    remedy: 'Correct the configuration at the place named above.',
  },
  'config.exists': {
    exitCode: 2,
    retry: false,
    remedy: 'Name another file with --config, or move the old one away.',
  },
  'detectors.missing': { exitCode: 2, retry: false, remedy: 'Name a folder that exists with --detectors.' },
  'detectors.invalid': { exitCode: 1, retry: false, remedy: 'Correct the file at the place named above.' },
  'output.unwritable': {
    exitCode: 2,
    retry: false,
    remedy: 'Check that the folder exists, is writable and has space left.',
  },
  'alert.unknown': {
    exitCode: 2,
    retry: false,
    remedy: 'Run `keytrail scan` first, or name a file with --alerts.',
  },
  'alert.ambiguous': { exitCode: 2, retry: false, remedy: 'Give more digits of the alert id.' },
  'scan.nothing_readable': {
    exitCode: 4,
    retry: false,
    remedy: 'Name CloudTrail files or a folder that holds them, for example AWSLogs/<account>/CloudTrail.',
  },
  'backfill.unlisted': {
    exitCode: 4,
    retry: false,
    remedy:
      'Name s3://bucket/AWSLogs/ or a folder within, and look at its permissions with `keytrail doctor`.',
  },
  'verify.keys': {
    exitCode: 2,
    retry: false,
    remedy:
      'Give what `aws cloudtrail list-public-keys --region REGION --start-time … --end-time …` prints with --keys, once for each region.',
  },
  'verify.nothing': {
    exitCode: 4,
    retry: false,
    remedy:
      'Name a copy with digests (aws s3 sync s3://BUCKET/PREFIX/AWSLogs AWSLogs), or s3://BUCKET/PREFIX where PREFIX is what stands before AWSLogs.',
  },
  'verify.cloud': {
    exitCode: 4,
    retry: true,
    remedy:
      'Check bucket, region and credentials; allowed must be s3:ListBucket, s3:GetObject and cloudtrail:ListPublicKeys.',
  },
  'worker.failed': {
    exitCode: 1,
    retry: true,
    remedy: 'Run again with --workers 1 and report the text above.',
  },
  'http.listen': {
    exitCode: 2,
    retry: false,
    remedy: 'Name a free address and port under http.listen.',
  },
  'run.missing': {
    exitCode: 2,
    retry: false,
    remedy: 'Start `keytrail run`, and give this command to the same user on the same machine.',
  },
  'backup.exists': {
    exitCode: 2,
    retry: false,
    remedy: 'Name a new directory for each backup.',
  },
  'journal.missing': {
    exitCode: 2,
    retry: false,
    remedy: 'Name the data directory with --data, or start `keytrail run` first.',
  },
  'journal.locked': {
    exitCode: 2,
    retry: false,
    remedy: 'One process judges per data directory: stop the other one, or name another directory.',
  },
  'journal.network': {
    exitCode: 2,
    retry: false,
    remedy:
      'Put the data directory on a local disk: a network file system cannot promise what a journal needs.',
  },
  'journal.version': {
    exitCode: 2,
    retry: false,
    remedy:
      'Use the version of Keytrail that wrote it, restore the backup from before the upgrade, or name an empty data directory.',
  },
  'journal.trimmed': {
    exitCode: 1,
    retry: false,
    remedy: 'Judging again needs the journal from its first commit: keep more with journal.keep_days.',
  },
  'journal.damaged': {
    exitCode: 1,
    retry: false,
    remedy: 'Run `keytrail journal check`, keep a copy of the data directory, and restore it from a backup.',
  },
  'journal.fsync': {
    exitCode: 70,
    retry: false,
    remedy:
      'The disk did not confirm a write. Check it, then start again: everything that was acknowledged is safe.',
  },
  'journal.io': {
    exitCode: 1,
    retry: true,
    remedy: 'Check the disk of the data directory: space, permissions, cables.',
  },
  'history.missing': {
    exitCode: 2,
    retry: false,
    remedy: 'Name a history: `history:` in the configuration, or --history DIR.',
  },
  'history.damaged': {
    exitCode: 1,
    retry: false,
    remedy:
      'Run `keytrail verify history`: it names what was changed. Keep a copy, and restore it from a backup.',
  },
  'history.foreign': {
    exitCode: 2,
    retry: false,
    remedy: 'Name another folder for the history of this journal; the old one stays readable.',
  },
  'history.busy': {
    exitCode: 1,
    retry: true,
    remedy: 'Another process writes this history: wait for it, or stop it.',
  },
  'history.key': {
    exitCode: 2,
    retry: false,
    remedy: 'Name an Ed25519 key (PEM, PKCS 8) with history.key, and allow reading it.',
  },
  'query.refused': {
    exitCode: 2,
    retry: false,
    remedy:
      'Ask with one SELECT over events, alerts, signals, rejections, integrity and keys: see docs/history.md.',
  },
  'query.late': {
    exitCode: 1,
    retry: true,
    remedy: 'Ask for fewer days or one key, or allow more time with --timeout.',
  },
  'internal.fault': {
    exitCode: 1,
    retry: false,
    remedy: 'This is a fault of Keytrail: report the text above.',
  },
} as const satisfies Record<string, Entry>

export type ErrorCode = keyof typeof errors

/** A failure from the table. `message` says what happened and where; the table says what to do. */
export class KeytrailError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'KeytrailError'
    this.code = code
  }

  get exitCode(): number {
    return errors[this.code].exitCode
  }

  get remedy(): string {
    return errors[this.code].remedy
  }
}

/** What an unknown failure says. */
export const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** The entry of the table that a failure belongs to. */
export const errorCodeOf = (cause: unknown): ErrorCode =>
  cause instanceof KeytrailError ? cause.code : 'internal.fault'
