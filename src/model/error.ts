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
  'worker.failed': {
    exitCode: 1,
    retry: true,
    remedy: 'Run again with --workers 1 and report the text above.',
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
