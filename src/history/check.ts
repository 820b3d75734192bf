/**
 * Whether a history is what was sealed, as docs/history.md says in "How it is verified": from the signed checkpoint back along
 * the chain of manifests, then the tree, then the files. What is proven is never taken from what is to be proven.
 */

import type { Checkpoint, HistoryFinding, HistoryReport, Wrong } from '../model/history.ts'
import {
  type HistoryFile,
  type HistoryState,
  type Manifest,
  manifestPath,
  NO_HISTORY,
  parseManifest,
  sha256Hex,
  stateAfter,
} from './manifest.ts'
import { openNote, parseCheckpoint, parseRotation, parseVerifierKey, type VerifierKey } from './note.ts'
import type { HistoryStore } from './store.ts'
import { emptyEdge, grow, HASH_BYTES, partialTiles, rootOf, TILE_WIDTH, tilePath } from './tree.ts'

export interface Checking {
  readonly keys: readonly VerifierKey[]
  /** Checkpoints that were kept elsewhere. */
  readonly retained: readonly string[]
  /** UTC, RFC 3339. */
  readonly from?: string | undefined
  readonly to?: string | undefined
  /** Looks into a file: records that are not those of the tree, the first of them. */
  readonly records?: ((file: HistoryFile, hashes: Buffer) => Promise<Located>) | undefined
  /** Look into all files, not only those that are changed. */
  readonly allRecords?: boolean | undefined
  progress?(records: number): void
}

/** The first record of a file that is not what it was; none when all are. */
export interface Located {
  readonly leaf?: number | undefined
  readonly detail: string
}

/** When a key may sign: sizes of the tree. */
interface Trusted {
  readonly key: VerifierKey
  readonly from: number
  to: number
}

/** Keys that the given ones vouch for, by statements that both the old and the new key signed. */
const trustedKeys = (given: readonly VerifierKey[], chain: readonly Manifest[]): Trusted[] => {
  const trusted: Trusted[] = given.map((key) => ({ key, from: 0, to: Number.POSITIVE_INFINITY }))
  const rotations = chain.flatMap(({ rotate }) => {
    const text = rotate && openNote(rotate.statement, [])?.text
    const said = text === undefined ? undefined : parseRotation(text)
    const [old, young] = [said?.from, said?.to].map((one) =>
      one === undefined ? undefined : parseVerifierKey(one),
    )
    if (rotate === undefined || said === undefined || old === undefined || young === undefined) return []
    const { signers = [] } = openNote(rotate.statement, [old, young]) ?? {}
    return signers.includes(old.id) && signers.includes(young.id) ? [{ old, young, size: said.size }] : []
  })
  const find = ({ id }: VerifierKey) => trusted.find(({ key }) => key.id === id)
  for (const { old, young, size } of rotations) {
    const known = find(old)
    if (known === undefined) continue
    known.to = Math.min(known.to, size)
    if (find(young) === undefined) trusted.push({ key: young, from: size, to: Number.POSITIVE_INFINITY })
  }
  for (const { old, young, size } of rotations.toReversed())
    if (find(young) !== undefined && find(old) === undefined) trusted.push({ key: old, from: 0, to: size })
  return trusted
}

const checkpointOf = (
  note: string,
  trusted: readonly Trusted[],
): { checkpoint: Checkpoint } | { kind: Wrong; detail: string } => {
  const opened = openNote(
    note,
    trusted.map(({ key }) => key),
  )
  const checkpoint = opened && parseCheckpoint(opened.text)
  if (opened === undefined || checkpoint === undefined)
    return { kind: 'signature', detail: 'it is not a signed checkpoint' }
  if (opened.forged) return { kind: 'signature', detail: `it is not what ${checkpoint.origin} signed` }
  const signed = trusted.filter(
    ({ key }) => opened.signers.includes(key.id) && key.name === checkpoint.origin,
  )
  if (signed.length === 0) return { kind: 'unknown_key', detail: 'no given key signed it' }
  if (!signed.some(({ from, to }) => from <= checkpoint.size && checkpoint.size <= to))
    return {
      kind: 'expired_key',
      detail: `the key that signed it was replaced before record ${checkpoint.size}`,
    }
  return { checkpoint }
}

interface Link {
  readonly one: Manifest
  readonly sha256: string
  readonly bytes: Buffer
}

/** All manifests, from the first on; ends where one is missing or is none. */
const readChain = async (store: HistoryStore): Promise<{ links: Map<number, Link>; last: number }> => {
  const links = new Map<number, Link>()
  const numbers = (await store.list('manifest/')).map((path) => Number(/(\d+)\.json$/.exec(path)?.[1] ?? 0))
  const last = numbers.reduce((most, one) => Math.max(most, one), 0)
  for (let number = 1; number <= last; number++) {
    const bytes = await store.get(manifestPath(number))
    const one = bytes && parseManifest(bytes)
    if (bytes !== undefined && one?.number === number)
      links.set(number, { one, bytes, sha256: sha256Hex(bytes) })
  }
  return { links, last }
}

const contradictions = (before: HistoryState, after: HistoryState, one: Manifest): string | undefined => {
  const rows = one.added.reduce((sum, file) => sum + file.rows, 0)
  const ranges = one.added.flatMap(({ leaves }) => leaves).sort(([a], [b]) => a - b)
  const covered = ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0)
  const gone = one.removed.map((path) => before.files.get(path))
  if (gone.includes(undefined)) return 'it removes a file that is not there'
  if (rows !== covered) return `its files hold ${rows} records, and name ${covered}`
  if (one.what === 'seal') {
    let next = before.tree.size
    for (const [from, to] of ranges) {
      if (from !== next) return `record ${next} is in no file, or in two`
      next = to + 1
    }
    if (next !== one.tree.size) return `its files end at record ${next}, its tree at ${one.tree.size}`
    return gone.length > 0 ? 'it removes files' : undefined
  }
  if (one.tree.size !== before.tree.size || one.tree.root !== before.tree.root) return 'it changes the tree'
  const lost = new Set(gone.flatMap((file) => file?.leaves.map(([from, to]) => `${from} ${to}`) ?? []))
  if (one.what === 'compact') {
    const expected = gone.reduce((sum, file) => sum + (file?.rows ?? 0), 0)
    if (expected !== rows) return `it makes ${rows} records of ${expected}`
    for (const range of lost) {
      const [from = 0, to = 0] = range.split(' ').map(Number)
      if (!ranges.some(([a, b]) => a <= from && to <= b)) return `records ${from} to ${to} are lost`
    }
  } else if (rows > 0) return 'it adds files'
  if (one.what === 'expire')
    for (const file of gone)
      for (const { name, from, to } of before.holds.values())
        if (file !== undefined && from <= file.day && file.day <= to)
          return `it removes ${file.day}, which ${name} holds`
  if (one.what !== 'compact' && one.what !== 'expire' && gone.length > 0) return 'it removes files'
  if (one.all !== undefined) {
    const same = (a: readonly unknown[], b: Iterable<unknown>) => JSON.stringify(a) === JSON.stringify([...b])
    if (!same(one.all.files, after.files.values()) || !same(one.all.holds, after.holds.values()))
      return 'what it sums up is not the sum'
  }
  return undefined
}

const firstDifference = (a: Buffer, b: Buffer): number => {
  let at = 0
  while (at < a.length && a.subarray(at, at + HASH_BYTES).equals(b.subarray(at, at + HASH_BYTES)))
    at += HASH_BYTES
  return at / HASH_BYTES
}

/** Builds the tree again from its leaf hashes, and compares it with every stored tile and every root on the way. */
const checkTree = async (
  store: HistoryStore,
  roots: readonly { size: number; root: string }[],
  progress: Checking['progress'],
): Promise<HistoryFinding[]> => {
  const findings: HistoryFinding[] = []
  const size = roots.at(-1)?.size ?? 0
  const edge = emptyEdge()
  const upper: [string, Buffer][] = []
  const tileWidth = (index: number) => Math.min(TILE_WIDTH, size - index * TILE_WIDTH)
  const compareUpper = async () => {
    for (const [path, tile] of upper.splice(0)) {
      const [, level = '', numbers = ''] = /^tile\/(\d+)\/([x\d/]+)/.exec(path) ?? []
      const index = Number(numbers.replace(/[x/]/g, ''))
      const stored = await store.get(path)
      if (stored?.equals(tile)) continue
      const differs = stored?.length === tile.length ? firstDifference(stored, tile) : 0
      const span = TILE_WIDTH ** Number(level)
      const leaf = (index * TILE_WIDTH + differs) * span
      findings.push({
        kind: stored === undefined ? 'missing' : 'changed',
        object: path,
        leaf,
        to: Math.min(leaf + span, size) - 1,
        detail: 'it does not hold the hashes of the records below it',
      })
    }
  }
  let next = 0
  for (let index = 0; index * TILE_WIDTH < size; index++) {
    const width = tileWidth(index)
    const path = tilePath(0, index, width)
    const bytes = await store.get(path)
    const first = index * TILE_WIDTH
    if (bytes?.length !== width * HASH_BYTES) {
      const kind = bytes === undefined ? 'missing' : 'changed'
      return [
        {
          kind,
          object: path,
          leaf: first,
          to: first + width - 1,
          detail: `it does not hold ${width} hashes`,
        },
      ]
    }
    let from = 0
    for (; (roots[next]?.size ?? Number.POSITIVE_INFINITY) <= first + width; next++) {
      const { size: at, root } = roots[next] ?? { size: 0, root: '' }
      grow(edge, bytes.subarray(from * HASH_BYTES, (at - first) * HASH_BYTES), (...tile) => upper.push(tile))
      from = at - first
      if (rootOf(edge).toString('hex') !== root)
        return [await blame(store, roots[next - 1]?.size ?? 0, at, size)]
    }
    grow(edge, bytes.subarray(from * HASH_BYTES), (...tile) => upper.push(tile))
    if (upper.length > 0) await compareUpper()
    progress?.(first + width)
  }
  for (const [level, { path, width }] of partialTiles(size).entries())
    if (width > 0) upper.push([path, edge.levels[level] ?? Buffer.alloc(0)])
  await compareUpper()
  return findings
}

/** Which tile of a segment is not what it was: the tile above knows, unless it is the last. */
const blame = async (
  store: HistoryStore,
  from: number,
  end: number,
  size: number,
): Promise<HistoryFinding> => {
  const firstTile = Math.floor(from / TILE_WIDTH)
  const lastTile = Math.floor((end - 1) / TILE_WIDTH)
  let bad = lastTile
  for (let index = lastTile; index >= firstTile; index--) {
    const above = Math.floor(index / TILE_WIDTH)
    const full = Math.floor(size / TILE_WIDTH)
    if (index >= full) continue
    const parent = await store.get(tilePath(1, above, Math.min(TILE_WIDTH, full - above * TILE_WIDTH)))
    const at = (index % TILE_WIDTH) * HASH_BYTES
    const own = emptyEdge()
    grow(own, (await store.get(tilePath(0, index, TILE_WIDTH))) ?? Buffer.alloc(0), () => {})
    if (parent === undefined || !rootOf(own).equals(parent.subarray(at, at + HASH_BYTES))) bad = index
  }
  const width = Math.min(TILE_WIDTH, size - bad * TILE_WIDTH)
  const leaf = bad * TILE_WIDTH
  const detail = `the tree of the first ${end} records has another root`
  return { kind: 'changed', object: tilePath(0, bad, width), leaf, to: leaf + width - 1, detail }
}

const hashesOf = async (store: HistoryStore, file: HistoryFile, size: number): Promise<Buffer> => {
  const parts: Buffer[] = []
  for (const [from, to] of file.leaves)
    for (let leaf = from; leaf <= to; ) {
      const index = Math.floor(leaf / TILE_WIDTH)
      const end = Math.min(to + 1, (index + 1) * TILE_WIDTH)
      const tile = await store.get(tilePath(0, index, Math.min(TILE_WIDTH, size - index * TILE_WIDTH)))
      parts.push(
        (tile ?? Buffer.alloc(0)).subarray(
          (leaf % TILE_WIDTH) * HASH_BYTES,
          (end - index * TILE_WIDTH) * HASH_BYTES,
        ),
      )
      leaf = end
    }
  return Buffer.concat(parts)
}

/** An hour without a record counts as a gap where so many are usual: by chance it would happen once in 5e8 hours. */
const USUAL_IN_AN_HOUR = 20
const HOUR_MS = 3_600_000

const iso = (at: number): string => `${new Date(at).toISOString().slice(0, 16)}Z`

/** @param to when it was asked for: silence at the end is a gap, too */
const silentHours = (files: readonly HistoryFile[], from: string, ends: string, to?: string): string[] => {
  const feeds = new Map<string, Map<string, number>>()
  for (const { hours = {} } of files)
    for (const [feed, counts] of Object.entries(hours)) {
      const known = feeds.get(feed) ?? new Map<string, number>()
      feeds.set(feed, known)
      for (const [hour, count] of Object.entries(counts)) known.set(hour, (known.get(hour) ?? 0) + count)
    }
  return [...feeds].flatMap(([feed, counts]) => {
    const usual = [...counts.values()].sort((a, b) => a - b)[counts.size >> 1] ?? 0
    if (usual < USUAL_IN_AN_HOUR) return []
    const known = [...counts.keys()].sort()
    const begin = Math.max(Date.parse(`${known[0]}:00:00Z`), Math.ceil(Date.parse(from) / HOUR_MS) * HOUR_MS)
    const end = Math.min(
      to === undefined ? Date.parse(`${known.at(-1)}:00:00Z`) : Date.parse(to) - HOUR_MS,
      Date.parse(ends) - HOUR_MS,
    )
    const gaps: { from: number; to: number }[] = []
    for (let at = begin; at <= end; at += HOUR_MS) {
      if (counts.has(iso(at).slice(0, 13))) continue
      const last = gaps.at(-1)
      if (last?.to === at) last.to += HOUR_MS
      else gaps.push({ from: at, to: at + HOUR_MS })
    }
    return gaps.map((gap) =>
      gap.to - gap.from === HOUR_MS
        ? `${feed} has no record in the hour of ${iso(gap.from)}, where ${usual} are usual`
        : `${feed} has no record from ${iso(gap.from)} to ${iso(gap.to)}, where ${usual} an hour are usual`,
    )
  })
}

const gapsOf = (state: HistoryState, chain: readonly Manifest[], { from, to }: Checking): string[] => {
  const files = [...state.files.values()]
  const events = files.filter(({ kind }) => kind === 'feed')
  const begins = events.map(({ time }) => time[0]).sort()[0]
  const ends = files
    .map(({ time }) => time[1])
    .sort()
    .at(-1)
  if (begins === undefined || ends === undefined) return ['there is no event in it']
  const removed = new Set(chain.filter(({ what }) => what === 'expire').flatMap((one) => one.removed))
  const expired = new Set(
    chain.flatMap(({ added }) =>
      added.filter(({ path }) => removed.has(path)).map(({ kind, day }) => `${day} ${kind}`),
    ),
  )
  const [first, last] = [from ?? begins, to ?? ends]
  return [
    ...(from !== undefined && Date.parse(from) < Date.parse(begins) ? [`history begins at ${begins}`] : []),
    ...(to !== undefined && Date.parse(to) > Date.parse(ends) ? [`history ends at ${ends}`] : []),
    ...[...expired]
      .sort()
      .filter((one) => first.slice(0, 10) <= one.slice(0, 10) && one.slice(0, 10) <= last.slice(0, 10))
      .map((one) => `${one}: removed by retention`),
    ...silentHours(events, first, ends, to),
  ]
}

export const checkHistory = async (store: HistoryStore, checking: Checking): Promise<HistoryReport> => {
  const { links, last } = await readChain(store)
  const chain = [...links.values()].map(({ one }) => one)
  const trusted = trustedKeys(checking.keys, chain)
  const findings: HistoryFinding[] = []
  let checkpoint: Checkpoint | undefined
  let [files, bytes] = [0, 0]
  const report = (gaps: readonly string[]): HistoryReport => ({
    verdict: findings.length > 0 ? 'failed' : gaps.length > 0 ? 'incomplete' : 'verified',
    records: checkpoint?.size ?? 0,
    files,
    bytes,
    checkpoint,
    findings,
    gaps,
  })

  const note = await store.get('checkpoint')
  const opened =
    note === undefined
      ? { kind: 'missing' as const, detail: 'there is no checkpoint' }
      : checkpointOf(note.toString(), trusted)
  if (!('checkpoint' in opened)) {
    findings.push({ object: 'checkpoint', ...opened })
    return report([])
  }
  checkpoint = opened.checkpoint
  const signed = checkpoint.manifest

  for (let [number, expected] = [signed.number, signed.sha256]; number > 0; number--) {
    const link = links.get(number)
    if (link?.sha256 !== expected) {
      const isThere = link !== undefined || (await store.get(manifestPath(number))) !== undefined
      const leaf = links.get(number - 1)?.one.tree.size
      const detail = isThere ? 'it is not the one that the next one names' : 'it is not there'
      findings.push({ kind: isThere ? 'changed' : 'missing', object: manifestPath(number), leaf, detail })
      return report([])
    }
    expected = link.one.previous
  }
  for (const [at, text] of checking.retained.entries()) {
    const kept = checkpointOf(text, trusted)
    const object = `retained checkpoint ${at + 1}`
    if (!('checkpoint' in kept)) findings.push({ object, ...kept })
    else {
      const { manifest, size } = kept.checkpoint
      if (manifest.number > signed.number || links.get(manifest.number)?.sha256 !== manifest.sha256)
        findings.push({
          kind: 'fork',
          object,
          leaf: size,
          detail: `manifest ${manifest.number} of this history is not the one it names`,
        })
    }
  }

  let state = NO_HISTORY
  const roots: { size: number; root: string }[] = []
  for (let number = 1; number <= signed.number; number++) {
    const link = links.get(number)
    if (link === undefined) break
    const before = state
    state = stateAfter(state, link.one, link.bytes)
    const wrong = contradictions(before, state, link.one)
    if (wrong !== undefined)
      findings.push({
        kind: 'inconsistent',
        object: manifestPath(number),
        leaf: before.tree.size,
        detail: wrong,
      })
    if (link.one.what === 'seal') roots.push(link.one.tree)
  }
  if (checkpoint.size !== state.tree.size || checkpoint.root !== state.tree.root)
    findings.push({
      kind: 'inconsistent',
      object: 'checkpoint',
      detail: 'its tree is not that of the manifest it names',
    })
  if (findings.length > 0) return report([])
  const inTree = await checkTree(store, roots, checking.progress)

  const overlaps = ({ time }: HistoryFile) =>
    (checking.from === undefined || Date.parse(time[1]) >= Date.parse(checking.from)) &&
    (checking.to === undefined || Date.parse(time[0]) <= Date.parse(checking.to))
  const inFiles: HistoryFinding[] = []
  for (const file of [...state.files.values()].filter(overlaps)) {
    const { path, sha256, leaves } = file
    files++
    bytes += file.bytes
    const found = await store.sha256(path)
    const suspect = inTree.some(({ leaf = 0, to = leaf }) => leaves.some(([a, b]) => a <= to && leaf <= b))
    const isWhole = found === sha256
    let located: Located = { detail: '' }
    if (found !== undefined && checking.records !== undefined && (!isWhole || suspect || checking.allRecords))
      located = await checking.records(file, await hashesOf(store, file, state.tree.size))
    if (isWhole && located.leaf !== undefined && suspect) {
      // The file is what was signed: the tile is wrong, and the record shows where.
      for (const [at, one] of inTree.entries())
        if ((one.leaf ?? 0) <= located.leaf && located.leaf <= (one.to ?? one.leaf ?? 0))
          inTree[at] = { ...one, leaf: located.leaf, to: located.leaf }
    } else if (!isWhole || located.leaf !== undefined)
      inFiles.push({
        kind: found === undefined ? 'missing' : 'changed',
        object: path,
        leaf: located.leaf ?? leaves[0]?.[0],
        to: located.leaf ?? leaves.at(-1)?.[1],
        detail: located.detail || (found === undefined ? 'the file is not there' : `its SHA-256 is ${found}`),
      })
  }
  findings.push(...inTree, ...inFiles)
  const unsigned = last > signed.number ? [`what manifest ${signed.number + 1} adds is not signed yet`] : []
  return report([...unsigned, ...gapsOf(state, chain.slice(0, signed.number), checking)])
}
