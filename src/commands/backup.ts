/** `keytrail backup`: a copy of the data directory, whether `run` is at work or not. */
import { backupJournal } from '../journal/backup.ts'
import { dataFolder, type Where } from './where.ts'

export interface BackupOptions extends Where {
  readonly json: boolean
}

export const backup = async (to: string, options: BackupOptions): Promise<number> => {
  const folder = dataFolder(options)
  const made = await backupJournal(folder, to)
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ folder, to, ...made })}\n`
      : `${to} holds the journal of ${folder} up to commit ${made.seq.toLocaleString('en')}, ${made.bytes.toLocaleString('en')} bytes; every page and block was read back\nTo restore it, stop keytrail and name this directory, or a copy of it, under data in the configuration\n`,
  )
  return 0
}
