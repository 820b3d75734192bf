/** `keytrail history`: what it holds, and the acts of an operator on it. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { commitStep, type HistoryState, openState, writeCheckpoint } from '../history/manifest.ts'
import { fileSigner, rotationText, signNote } from '../history/note.ts'
import { expire } from '../history/seal.ts'
import { fileSha256 } from '../history/store.ts'
import { KeytrailError } from '../model/error.ts'
import { type KindName, kindNames } from '../model/history.ts'
import {
  change,
  findHistory,
  verifierKeyOf,
  type WhichHistory,
  type WhoAndWhy,
  withScratch,
} from './history-where.ts'
import { momentOf } from './where.ts'

const say = (text: string): number => {
  process.stdout.write(`${text}\n`)
  return 0
}

export const info = async (options: WhichHistory & { readonly json: boolean }): Promise<number> => {
  const { store } = await findHistory(options)
  const { number, tree, files, holds, cursor } = await openState(store)
  const kinds = kindNames.map((kind) => {
    const own = [...files.values()].filter((one) => one.kind === kind)
    const times = own.flatMap(({ time }) => time).sort()
    const sum = (of: 'rows' | 'bytes') => own.reduce((total, one) => total + one[of], 0)
    return {
      kind,
      records: sum('rows'),
      bytes: sum('bytes'),
      files: own.length,
      from: times[0],
      to: times.at(-1),
    }
  })
  if (options.json)
    return say(
      JSON.stringify({
        address: store.address,
        manifest: number,
        tree,
        cursor,
        kinds,
        holds: [...holds.values()],
      }),
    )
  return say(
    [
      `History in ${store.address}: ${tree.size.toLocaleString('en')} records sealed, ${number} manifests`,
      ...kinds
        .filter(({ files: some }) => some > 0)
        .map(
          (one) =>
            `  ${one.kind.padEnd(11)}${one.records.toLocaleString('en').padStart(12)} records  ${one.bytes.toLocaleString('en').padStart(15)} bytes in ${one.files} files, ${one.from} to ${one.to}`,
        ),
      ...[...holds.values()].map(({ name, from, to }) => `  on hold: ${from} to ${to}, ${name}`),
    ].join('\n'),
  )
}

export const key = async (options: { readonly config: string }): Promise<number> => {
  const { setting, data } = await findHistory(options)
  if (setting === undefined || data === undefined)
    throw new KeytrailError('history.missing', 'there is no history')
  return say(verifierKeyOf(setting, data))
}

const dayOf = (text: string): string => {
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || Number.isNaN(Date.parse(text)))
    throw new KeytrailError('usage.option', `"${text}" is no day such as 2026-03-01`)
  return text
}

export const hold = async (
  name: string,
  options: WhoAndWhy & { readonly from: string; readonly to: string },
): Promise<number> => {
  const [from, to] = [dayOf(options.from), dayOf(options.to)]
  if (from > to) throw new KeytrailError('usage.option', '--from must not be after --to')
  await change(options, (writer, state, by) => {
    if (state.holds.has(name))
      throw new KeytrailError('usage.option', `there is a hold ${name}: release it first`)
    return commitStep(writer, state, { what: 'hold', ...by, hold: { name, from, to } })
  })
  return say(`on hold: ${from} to ${to}, ${name}`)
}

export const release = async (name: string, options: WhoAndWhy): Promise<number> => {
  await change(options, (writer, state, by) => {
    if (!state.holds.has(name)) throw new KeytrailError('usage.option', `there is no hold ${name}`)
    return commitStep(writer, state, { what: 'release', ...by, release: name })
  })
  return say(`released: ${name}`)
}

export const expireNow = async (options: WhoAndWhy & { readonly before: string }): Promise<number> => {
  const before = dayOf(options.before)
  const count = ({ files }: HistoryState) =>
    [...files.values()].filter(({ kind, day }) => kind !== 'control' && day < before).length
  let was = 0
  const after = await change(options, (writer, state, by) => {
    was = count(state)
    return expire(writer, state, before, by)
  })
  const left = count(after)
  return say(`${was - left} files removed${left > 0 ? `; ${left} stay: they are on hold` : ''}`)
}

export const rotate = async (options: WhoAndWhy & { readonly to: string }): Promise<number> => {
  let young = ''
  await change(options, async (writer, state, by) => {
    const signer = fileSigner(options.to, writer.origin, !existsSync(options.to))
    young = signer.verifierKey
    const said = rotationText(writer.signer.verifierKey, young, state.tree.size)
    const statement = await signNote(said, [writer.signer, signer])
    const next = await commitStep(writer, state, {
      what: 'rotate',
      ...by,
      rotate: { statement },
      signer: young,
    })
    await writeCheckpoint({ ...writer, signer }, next)
    return next
  })
  return say(`${young}\nName ${options.to} with history.key in ${options.config}, and start run again.`)
}

export interface ExportOptions extends WhichHistory {
  readonly kind?: KindName | undefined
  readonly from?: string | undefined
  readonly to?: string | undefined
}

/** One JSON object a line, with what the leaf of the record is made of. */
export const exportRecords = async (options: ExportOptions): Promise<number> => {
  const now = Date.now()
  const [from, to] = [options.from, options.to].map((text) =>
    text === undefined ? undefined : momentOf(text, now),
  )
  const { store } = await findHistory(options)
  const { files } = await openState(store)
  const { openDuck, readRecords } = await import('../history/parquet.ts')
  await withScratch(async (scratch) => {
    const duck = await openDuck(scratch)
    for (const file of files.values()) {
      if (options.kind !== undefined && file.kind !== options.kind) continue
      if (
        (from ?? 0) > Date.parse(file.time[1]) ||
        (to ?? Number.POSITIVE_INFINITY) < Date.parse(file.time[0])
      )
        continue
      const local = await store.local(file.path)
      if (fileSha256(local) !== file.sha256)
        throw new KeytrailError('history.damaged', `${file.path} is not what was sealed`)
      let lines: string[] = []
      await readRecords(duck, local, file, ({ raw, ...record }) => {
        const base64 =
          raw === undefined ? '' : Buffer.from(raw.buffer, raw.byteOffset, raw.length).toString('base64')
        lines.push(`${JSON.stringify({ ...record, raw: base64 })}\n`)
      })
      for (; lines.length > 0; lines = lines.slice(1000))
        if (!process.stdout.write(lines.slice(0, 1000).join(''))) await once(process.stdout, 'drain')
    }
    duck.close()
  })
  return 0
}
