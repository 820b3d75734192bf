/**
 * The chain of manifests: each says what one step added to a history and took out, and names the one before it by hash.
 * What a history holds is the sum of its chain.
 */
import { hash } from 'node:crypto'
import { z } from 'zod'
import { KeytrailError } from '../model/error.ts'
import { kindNames } from '../model/history.ts'
import { checkpointText, openNote, parseCheckpoint, type Signer, signNote } from './note.ts'
import type { HistoryStore } from './store.ts'

export const HISTORY_SCHEMA_VERSION = 'keytrail.history.v1'

const digest = z.string().regex(/^[0-9a-f]{64}$/)
const path = z.string().regex(/^data\/[a-z]+\/\d{4}-\d\d-\d\d\/\d{9}-[0-9a-f]{16}\.parquet$/)
const day = z.iso.date()
const count = z.int().min(0)
const moment = z.iso.datetime()

const file = z.strictObject({
  path,
  kind: z.enum(kindNames),
  day,
  rows: z.int().min(1),
  bytes: z.int().min(1),
  sha256: digest,
  leaves: z.array(z.tuple([count, count])).min(1),
  time: z.tuple([moment, moment]),
  hours: z.record(z.string(), z.record(z.string(), count)).optional(),
})
export type HistoryFile = z.infer<typeof file>

const cursor = z.strictObject({ feed: count, alerts: count, rejections: count, control: count })
export type HistoryCursor = z.infer<typeof cursor>
const hold = z.strictObject({ name: z.string().min(1).max(128), from: day, to: day })
export type Hold = z.infer<typeof hold>

const manifest = z.strictObject({
  schema_version: z.literal(HISTORY_SCHEMA_VERSION),
  number: z.int().min(1),
  previous: digest,
  what: z.enum(['seal', 'compact', 'expire', 'hold', 'release', 'rotate']),
  made: moment,
  by: z.string().max(64),
  who: z.string().max(256),
  reason: z.string().max(2048),
  journal: digest,
  /** Verifier key that signs from this step on. */
  signer: z.string().max(512),
  cursor,
  tree: z.strictObject({ size: count, root: digest }),
  added: z.array(file),
  removed: z.array(path),
  hold: hold.optional(),
  release: z.string().optional(),
  rotate: z.strictObject({ statement: z.string() }).optional(),
  /** All that holds after this step, so that nobody needs to read what came before. */
  all: z.strictObject({ files: z.array(file), holds: z.array(hold) }).optional(),
})
export type Manifest = z.infer<typeof manifest>

export const sha256Hex = (bytes: Uint8Array | string): string => hash('sha256', bytes, 'hex')
export const NO_HASH = '0'.repeat(64)
export const manifestPath = (number: number) => `manifest/${String(number).padStart(9, '0')}.json`

/** @returns nothing when it is none */
export const parseManifest = (bytes: Uint8Array): Manifest | undefined => {
  try {
    const parsed = manifest.safeParse(JSON.parse(Buffer.from(bytes).toString()))
    return parsed.success && Buffer.from(bytes).equals(manifestBytes(parsed.data)) ? parsed.data : undefined
  } catch {
    return undefined // no JSON
  }
}

/** Members in the order of the schema: the same manifest has the same bytes. */
const manifestBytes = (one: Manifest): Buffer => Buffer.from(`${JSON.stringify(manifest.parse(one))}\n`)

/** What a history holds after a number of steps. */
export interface HistoryState {
  readonly number: number
  /** Of the newest manifest. */
  readonly sha256: string
  readonly journal: string | undefined
  readonly signer: string | undefined
  readonly cursor: HistoryCursor
  readonly tree: Manifest['tree']
  readonly files: ReadonlyMap<string, HistoryFile>
  readonly holds: ReadonlyMap<string, Hold>
}

export const NO_HISTORY: HistoryState = {
  number: 0,
  sha256: NO_HASH,
  journal: undefined,
  signer: undefined,
  cursor: { feed: 0, alerts: 0, rejections: 0, control: 0 },
  tree: { size: 0, root: sha256Hex('') },
  files: new Map(),
  holds: new Map(),
}

/** @param bytes of the manifest */
export const stateAfter = (state: HistoryState, one: Manifest, bytes: Uint8Array): HistoryState => {
  const files = new Map(one.all?.files.map((each) => [each.path, each]) ?? state.files)
  const holds = new Map(one.all?.holds.map((each) => [each.name, each]) ?? state.holds)
  for (const each of one.added) files.set(each.path, each)
  for (const each of one.removed) files.delete(each)
  if (one.hold !== undefined) holds.set(one.hold.name, one.hold)
  if (one.release !== undefined) holds.delete(one.release)
  const { number, journal, signer, cursor: after, tree } = one
  return { number, sha256: sha256Hex(bytes), journal, signer, cursor: after, tree, files, holds }
}

const damaged = (number: number, why: string) =>
  new KeytrailError('history.damaged', `manifest ${number} ${why}`)

const readManifest = async (store: HistoryStore, number: number) => {
  const bytes = await store.get(manifestPath(number))
  if (bytes === undefined) return undefined
  const one = parseManifest(bytes)
  if (one?.number !== number) throw damaged(number, 'is not one')
  return { bytes, one }
}

/** Steps that were made since. */
export const catchUp = async (store: HistoryStore, state: HistoryState): Promise<HistoryState> => {
  let now = state
  for (;;) {
    const next = await readManifest(store, now.number + 1)
    if (next === undefined) return now
    if (next.one.previous !== now.sha256) throw damaged(next.one.number, 'does not follow the one before it')
    now = stateAfter(now, next.one, next.bytes)
  }
}

/** What a history holds. Trusts it: `verify` is who does not. @throws KeytrailError `history.damaged` */
export const openState = async (store: HistoryStore): Promise<HistoryState> => {
  const note = await store.get('checkpoint')
  const newest = note && parseCheckpoint(openNote(note.toString(), [])?.text ?? '')?.manifest.number
  const steps: { bytes: Buffer; one: Manifest }[] = []
  for (let number = newest ?? 0; number > 0; number--) {
    const step = await readManifest(store, number)
    if (step === undefined) throw damaged(number, 'is missing')
    steps.push(step)
    if (step.one.all !== undefined) break
  }
  return catchUp(
    store,
    steps.reduceRight((state, { one, bytes }) => stateAfter(state, one, bytes), NO_HISTORY),
  )
}

/** A step that is made on a history, before it has a number. */
export type Step = Pick<Manifest, 'what' | 'who' | 'reason'> &
  Partial<
    Pick<
      Manifest,
      'cursor' | 'tree' | 'added' | 'removed' | 'hold' | 'release' | 'rotate' | 'journal' | 'signer'
    >
  >

export interface Writer {
  readonly store: HistoryStore
  readonly signer: Signer
  readonly origin: string
  /** Name and version of the program. */
  readonly by: string
  readonly clock: () => number
}

/** @throws KeytrailError `history.key` when another key has taken over */
export const checkSigner = ({ signer: { verifierKey } }: Writer, { signer }: HistoryState): void => {
  if (signer !== undefined && signer !== verifierKey)
    throw new KeytrailError('history.key', `this history is signed with ${signer}, not with ${verifierKey}`)
}

/** Makes a step valid. Everything it names is in the store and durable. @throws KeytrailError `history.busy` */
export const commitStep = async (writer: Writer, state: HistoryState, step: Step): Promise<HistoryState> => {
  const number = state.number + 1
  checkSigner(writer, state)
  const { what, who, reason, cursor: after, tree, added, removed, journal, ...more } = step
  const base: Manifest = {
    schema_version: HISTORY_SCHEMA_VERSION,
    number,
    previous: state.sha256,
    what,
    made: new Date(writer.clock()).toISOString(),
    by: writer.by,
    who,
    reason,
    journal: journal ?? state.journal ?? NO_HASH,
    signer: writer.signer.verifierKey,
    cursor: after ?? state.cursor,
    tree: tree ?? state.tree,
    added: added ?? [],
    removed: removed ?? [],
    ...more,
  }
  const { files, holds } = stateAfter(state, base, new Uint8Array())
  const one =
    what === 'compact' ? { ...base, all: { files: [...files.values()], holds: [...holds.values()] } } : base
  const bytes = manifestBytes(one)
  if (!(await writer.store.add(manifestPath(number), bytes)))
    throw new KeytrailError('history.busy', `another process has written manifest ${number}`)
  const next = stateAfter(state, one, bytes)
  await writeCheckpoint(writer, next)
  return next
}

/** Signs what a history holds now. @returns the note */
export const writeCheckpoint = async (writer: Writer, state: HistoryState): Promise<string> => {
  const { size, root } = state.tree
  const note = await signNote(
    checkpointText({
      origin: writer.origin,
      size,
      root,
      manifest: { number: state.number, sha256: state.sha256 },
    }),
    [writer.signer],
  )
  await writer.store.put(['checkpoint', Buffer.from(note)])
  return note
}
