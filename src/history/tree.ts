/**
 * The Merkle tree over all records (RFC 6962 section 2.1), kept as tiles of 256 hashes (https://c2sp.org/tlog-tiles).
 * A tile of level L + 1 holds the roots of 256 tiles of level L; the rightmost tile of a level may be partial.
 */
import { hash } from 'node:crypto'

export const HASH_BYTES = 32
export const TILE_WIDTH = 256

const sha = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer')

/** What stands before an entry when it is hashed. */
const LEAF = 0
/**
 * Hash of a leaf (RFC 6962, section 2.1).
 * @param entry behind one byte of room @returns 32 bytes as latin1, half the work of a Buffer
 */
export const leafHash = (entry: Buffer): string => {
  entry[0] = LEAF
  return hash('sha256', entry, 'binary')
}

const pair = Buffer.alloc(1 + 2 * HASH_BYTES, 1)
const nodeHash = (left: Uint8Array, right: Uint8Array): Buffer => {
  pair.set(left, 1)
  pair.set(right, 1 + HASH_BYTES)
  return sha(pair)
}

const at = (hashes: Buffer, index: number) => hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES)

/** Root of a perfect subtree: `count` hashes, a power of two, from `from` on. */
const perfect = (hashes: Buffer, from: number, count: number): Buffer =>
  count === 1
    ? at(hashes, from)
    : nodeHash(perfect(hashes, from, count / 2), perfect(hashes, from + count / 2, count / 2))

const numbered = (index: number): string => {
  const groups = String(index)
    .padStart(Math.ceil(String(index).length / 3) * 3, '0')
    .match(/\d{3}/g)
  return (groups ?? []).map((group, place, all) => (place < all.length - 1 ? `x${group}` : group)).join('/')
}

/** @param width hashes in it; fewer than 256 in a partial one */
export const tilePath = (level: number, index: number, width: number): string =>
  `tile/${level}/${numbered(index)}${width < TILE_WIDTH ? `.p/${width}` : ''}`

/** The rightmost tile of each level that is not full: all that is needed to go on, and to know the root. */
export interface Edge {
  size: number
  readonly levels: Buffer[]
}

export const emptyEdge = (): Edge => ({ size: 0, levels: [] })

/** The partial tiles of a tree of this size: where they are, and how many hashes they hold. */
export const partialTiles = (size: number): { path: string; width: number }[] => {
  const tiles: { path: string; width: number }[] = []
  for (let level = 0, hashes = size; hashes > 0; level++, hashes = Math.floor(hashes / TILE_WIDTH)) {
    const width = hashes % TILE_WIDTH
    tiles.push({ path: tilePath(level, Math.floor(hashes / TILE_WIDTH), width), width })
  }
  return tiles
}

export const loadEdge = async (
  size: number,
  get: (path: string) => Promise<Buffer | undefined>,
): Promise<Edge | { readonly missing: string }> => {
  const levels: Buffer[] = []
  for (const { path, width } of partialTiles(size)) {
    const bytes = width === 0 ? Buffer.alloc(0) : await get(path)
    if (bytes?.length !== width * HASH_BYTES) return { missing: path }
    levels.push(Buffer.from(bytes))
  }
  return { size, levels }
}

/**
 * Adds leaf hashes to the tree.
 * @param full told each tile that became full
 */
export const grow = (edge: Edge, leaves: Buffer, full: (path: string, tile: Buffer) => void): void => {
  const add = (level: number, count: number, hashes: Buffer): void => {
    const open = edge.levels[level] ?? Buffer.alloc(0)
    const all = Buffer.concat([open, hashes])
    let first = (count - open.length / HASH_BYTES) / TILE_WIDTH
    const tileBytes = TILE_WIDTH * HASH_BYTES
    const roots: Buffer[] = []
    let from = 0
    for (; from + tileBytes <= all.length; from += tileBytes) {
      const tile = all.subarray(from, from + tileBytes)
      full(tilePath(level, first++, TILE_WIDTH), tile)
      roots.push(perfect(tile, 0, TILE_WIDTH))
    }
    edge.levels[level] = Buffer.from(all.subarray(from))
    if (roots.length > 0) add(level + 1, Math.floor(count / TILE_WIDTH), Buffer.concat(roots))
  }
  add(0, edge.size, leaves)
  edge.size += leaves.length / HASH_BYTES
}

/** Root hash of the tree as it stands. */
export const rootOf = ({ levels }: Edge): Buffer => {
  let root: Buffer | undefined
  for (const hashes of levels) {
    const width = hashes.length / HASH_BYTES
    for (let count = 1; count <= width; count *= 2)
      if ((width & count) > 0) {
        const subtree = perfect(hashes, (width & ~(2 * count - 1)) >>> 0, count)
        root = root === undefined ? subtree : nodeHash(subtree, root)
      }
  }
  return root ?? sha(Buffer.alloc(0))
}
