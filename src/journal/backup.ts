/** A copy of a journal that is consistent while others write: SQLite's online backup, in one step of one snapshot. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { KeytrailError } from '../model/error.ts'
import { Store } from './store.ts'

export interface BackupMade {
  readonly bytes: number
  /** Number of the last commit that it holds. */
  readonly seq: number
}

/** All pages at once: with fewer, SQLite would begin anew after each commit of the judge. */
const ALL_PAGES = 0x7fff_ffff

const flush = (path: string) => {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

/**
 * @param folder the data directory @param to where the copy goes: a data directory of its own
 * @throws KeytrailError `backup.exists`, `journal.missing`, `journal.damaged` when the copy is not whole
 */
export const backupJournal = async (folder: string, to: string): Promise<BackupMade> => {
  const target = join(to, 'journal.db')
  if (existsSync(target)) throw new KeytrailError('backup.exists', `there is a journal in ${to} already`)
  new Store(folder, 'reader').close() // says what is wrong with it
  const made = join(to, 'partial')
  mkdirSync(made, { recursive: true, mode: 0o700 })
  try {
    const source = new DatabaseSync(join(folder, 'journal.db'), { readOnly: true, timeout: 5000 })
    try {
      await backup(source, join(made, 'journal.db'), { rate: ALL_PAGES })
    } finally {
      source.close()
    }
    const copy = new Store(made, 'reader')
    const wrong = copy.check()
    const found = { bytes: copy.info().bytes, seq: copy.next - 1 }
    copy.close()
    if (wrong.length > 0) throw new KeytrailError('journal.damaged', `the copy is not whole: ${wrong[0]}`)
    flush(join(made, 'journal.db'))
    renameSync(join(made, 'journal.db'), target)
    flush(to)
    return found
  } finally {
    rmSync(made, { recursive: true, force: true })
  }
}
