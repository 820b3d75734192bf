/** `keytrail journal info | check | compact`: what the journal holds, whether it is whole, and smaller. */
import { journaled, rejudge } from '../journal/rejudge.ts'
import { Store } from '../journal/store.ts'
import { KeytrailError } from '../model/error.ts'
import { progress } from '../telemetry/progress.ts'
import { dataFolder, type Where } from './where.ts'

export interface JournalOptions extends Where {
  readonly json: boolean
}

const print = (json: boolean, body: object, text: () => string) =>
  void process.stdout.write(json ? `${JSON.stringify(body, null, 2)}\n` : text())

const count = (value: number) => value.toLocaleString('en')

export const info = (options: JournalOptions): number => {
  const folder = dataFolder(options)
  const store = new Store(folder, 'reader')
  try {
    const found = store.info()
    print(options.json, { folder, ...found }, () => {
      const rows = Object.entries(found.tables).map(([name, rows]) => `  ${name.padEnd(10)} ${count(rows)}`)
      return `Journal in ${folder}: ${count(found.bytes)} bytes, schema ${found.version}, opened ${found.epoch} times\n${rows.join('\n')}\n`
    })
  } finally {
    store.close()
  }
  return 0
}

/** @returns 1 when something is damaged, or an alert comes out otherwise than it was sent */
export const check = async (options: JournalOptions): Promise<number> => {
  const store = new Store(dataFolder(options), 'reader')
  const meter = progress(process.stderr, options.json)
  try {
    const damage = store.check()
    let again: Awaited<ReturnType<typeof rejudge>> | undefined
    let trimmed: string | undefined
    try {
      again = await rejudge(journaled(store), ({ seq }) =>
        meter.update(() => `judged again up to commit ${count(seq)}`),
      )
    } catch (cause) {
      if (!(cause instanceof KeytrailError) || cause.code !== 'journal.trimmed') throw cause
      trimmed = cause.message
    }
    meter.done()
    const differences = again?.differences ?? []
    print(options.json, { damage, trimmed, ...again }, () => {
      const lines = damage.map((one) => `DAMAGED  ${one}`)
      if (damage.length === 0) lines.push('ok       every page and every block is what was written')
      if (again === undefined) lines.push(`skipped  judging again: ${trimmed}`)
      else if (differences.length === 0)
        lines.push(
          `ok       ${count(again.events)} events judged again give the ${count(again.alerts)} alert revisions that were sent, byte for byte`,
        )
      for (const { seq, sent, judged } of differences)
        lines.push(`DIFFERS  commit ${seq}: ${sent.length} sent, ${judged.length} when judged again`)
      return `${lines.join('\n')}\n`
    })
    return damage.length === 0 && differences.length === 0 ? 0 : 1
  } finally {
    meter.done()
    store.close()
  }
}

export const compact = (options: JournalOptions): number => {
  const store = new Store(dataFolder(options), 'judge')
  try {
    const before = store.info().bytes
    store.compact()
    const after = store.info().bytes
    print(options.json, { before, after }, () => `${count(before)} bytes before, ${count(after)} now\n`)
  } finally {
    store.close()
  }
  return 0
}
