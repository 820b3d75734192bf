#!/usr/bin/env node
// Verifies a Keytrail history without Keytrail: Node and this file, no network. docs/history.md says what is checked, in
// which order, and what it proves. It reads no Parquet: a data file is compared by its SHA-256; records are checked where
// they are given as `keytrail history export` prints them.
//
//   node verify-history.mjs --key 'NAME+ID+BASE64' [--checkpoint FILE]… [--records FILE]… FOLDER…
//
// Prints one JSON object a folder: verdict (verified | failed), records, findings [{ object, leaf, detail }], checked
// (number of exported records). Exit code 0: all verified; 1: something is not; 2: wrong use.
import { createHash, createPublicKey, verify } from 'node:crypto'
import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const sha = (...parts) => {
  const digest = createHash('sha256')
  for (const part of parts) digest.update(part)
  return digest.digest()
}
const node = (left, right) => sha(Buffer.of(1), left, right)

/** A failure that ends the check. */
class Bad extends Error {
  constructor(object, leaf, detail) {
    super(detail)
    this.finding = { object, leaf, detail }
  }
}

const read = (folder, path) => {
  try {
    return readFileSync(join(folder, path))
  } catch {
    return undefined
  }
}

// Keys, notes, checkpoints

const parseKey = (text) => {
  const [, name, id, encoded] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text.trim()) ?? []
  const typed = Buffer.from(encoded ?? '', 'base64')
  if (typed.length !== 33 || typed[0] !== 1) return undefined
  if (sha(`${name}\n`, typed).subarray(0, 4).toString('hex') !== id) return undefined
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: typed.subarray(1).toString('base64url') }
  return { name, id, key: createPublicKey({ key: jwk, format: 'jwk' }) }
}

const parseNote = (note) => {
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) return undefined
  const signatures = note
    .slice(end + 2, -1)
    .split('\n')
    .map((line) => {
      const [, name, encoded] = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? []
      const bytes = Buffer.from(encoded ?? '', 'base64')
      return bytes.length > 4 && bytes.toString('base64') === encoded
        ? { name, id: bytes.subarray(0, 4).toString('hex'), bytes: bytes.subarray(4) }
        : undefined
    })
  return signatures.includes(undefined) ? undefined : { text: note.slice(0, end + 1), signatures }
}

const fits = ({ text, signatures }, { name, id, key }) =>
  signatures.some(
    (one) => one.name === name && one.id === id && verify(null, Buffer.from(text), key, one.bytes),
  )

const rotationOf = (manifest) => {
  const statement = manifest.rotate?.statement
  const note = typeof statement === 'string' ? parseNote(statement) : undefined
  const [, from, to, size] =
    /^keytrail\.history\.rotation\.v1\n(\S+)\n(\S+)\n(\d+)\n$/.exec(note?.text ?? '') ?? []
  const [old, young] = [from, to].map((one) => one && parseKey(one))
  return old && young && fits(note, old) && fits(note, young) ? [{ old, young, size: Number(size) }] : []
}

const trust = (given, manifests) => {
  const trusted = given.map((key) => ({ key, from: 0, to: Number.POSITIVE_INFINITY }))
  const find = ({ id }) => trusted.find(({ key }) => key.id === id)
  const rotations = manifests.flatMap(rotationOf)
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

const NOTE =
  /[^\s+]+\n\d+\n[A-Za-z0-9+/]{43}=\nmanifest \d+ [0-9a-f]{64}\n\n(?:\u2014 \S+ [A-Za-z0-9+/]+={0,2}\n?)+/g

/** Checkpoints in a text: one as it is, or in alerts as JSON or CSV, where line ends are escaped. None: the text itself. */
const retainedIn = (text) => {
  const plain = text
    .replace(/\\+u([0-9a-fA-F]{4})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 16)))
    .replace(/\\+n/g, '\n')
    .replace(/\\+r|\r(?=\n)/g, '')
    .replace(/\\+\//g, '/')
  const notes = new Set(plain.match(NOTE)?.map((note) => `${note.trimEnd()}\n`))
  return notes.size > 0 ? [...notes] : [text]
}

const openCheckpoint = (bytes, object, trusted) => {
  const note = bytes && parseNote(bytes.toString())
  const found =
    /^([^\n+\s]+)\n(0|[1-9]\d*)\n([A-Za-z0-9+/]{43}=)\nmanifest ([1-9]\d*) ([0-9a-f]{64})\n$/.exec(
      note?.text ?? '',
    ) ?? []
  const [, origin, size, root, number, sha256] = found
  if (root === undefined || Buffer.from(root, 'base64').toString('base64') !== root)
    throw new Bad(
      object,
      undefined,
      bytes === undefined ? 'there is no checkpoint' : 'it is no signed checkpoint',
    )
  const named = trusted.filter(({ key }) =>
    note.signatures.some(({ name, id }) => name === key.name && id === key.id),
  )
  if (named.length === 0) throw new Bad(object, undefined, 'no trusted key signed it')
  if (!named.every(({ key }) => fits(note, key)))
    throw new Bad(object, undefined, 'the signature does not fit')
  if (!named.some(({ key, from, to }) => key.name === origin && from <= Number(size) && Number(size) <= to))
    throw new Bad(object, undefined, 'the key that signed it may not sign at this size')
  return {
    size: Number(size),
    root: Buffer.from(root, 'base64').toString('hex'),
    number: Number(number),
    sha256,
  }
}

// Manifests

const manifestPath = (number) => `manifest/${String(number).padStart(9, '0')}.json`

const readManifests = (folder) => {
  const manifests = new Map()
  for (let number = 1; ; number++) {
    const bytes = read(folder, manifestPath(number))
    if (bytes === undefined) {
      const more = readdirSync(join(folder, 'manifest')).some((name) => Number(name.slice(0, 9)) > number)
      if (more) continue
      return manifests
    }
    try {
      const manifest = JSON.parse(bytes.toString())
      if (manifest !== null && typeof manifest === 'object')
        manifests.set(number, { manifest, sha256: sha(bytes).toString('hex') })
    } catch {
      // not JSON: the chain says so
    }
  }
}

/** What holds after a manifest, or why it contradicts those before it. */
const apply = (state, manifest) => {
  const files = new Map(state.files)
  const holds = new Map(state.holds)
  const gone = manifest.removed.map((path) => files.get(path))
  const ranges = manifest.added.flatMap(({ leaves }) => leaves).sort(([a], [b]) => a - b)
  const rows = manifest.added.reduce((sum, one) => sum + one.rows, 0)
  const wrong = (why) => {
    throw new Bad(manifestPath(manifest.number), state.size, why)
  }
  if (gone.includes(undefined)) wrong('it removes what is not there')
  if (rows !== ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0)) wrong('its counts do not fit')
  if (manifest.what === 'seal') {
    let next = state.size
    for (const [from, to] of ranges) {
      if (from !== next) wrong(`record ${next} is in no file, or in two`)
      next = to + 1
    }
    if (next !== manifest.tree.size || gone.length > 0) wrong('its files are not its records')
  } else {
    if (manifest.tree.size !== state.size || manifest.tree.root !== state.root) wrong('it changes the tree')
    if (manifest.what !== 'compact' && rows > 0) wrong('it adds records')
    if (manifest.what !== 'compact' && manifest.what !== 'expire' && gone.length > 0)
      wrong('it removes records')
  }
  if (manifest.what === 'compact') {
    if (gone.reduce((sum, one) => sum + one.rows, 0) !== rows) wrong('it makes more or fewer records')
    for (const [from, to] of gone.flatMap(({ leaves }) => leaves))
      if (!ranges.some(([a, b]) => a <= from && to <= b)) wrong(`records ${from} to ${to} are lost`)
  }
  if (manifest.what === 'expire')
    for (const { day } of gone)
      for (const { name, from, to } of holds.values())
        if (from <= day && day <= to) wrong(`${name} holds ${day}`)
  for (const one of manifest.added) files.set(one.path, one)
  for (const path of manifest.removed) files.delete(path)
  if (manifest.hold) holds.set(manifest.hold.name, manifest.hold)
  if (manifest.release !== undefined) holds.delete(manifest.release)
  const sum = JSON.stringify({ files: [...files.values()], holds: [...holds.values()] })
  if (manifest.all && JSON.stringify({ files: manifest.all.files, holds: manifest.all.holds }) !== sum)
    wrong('what it sums up is not the sum')
  return { files, holds, size: manifest.tree.size, root: manifest.tree.root }
}

// Tree

const tilePath = (level, index, width) => {
  const digits = String(index)
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g)
  const name = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/')
  return `tile/${level}/${name}${width < 256 ? `.p/${width}` : ''}`
}

const subtree = (hashes) =>
  hashes.length === 1
    ? hashes[0]
    : node(subtree(hashes.slice(0, hashes.length / 2)), subtree(hashes.slice(hashes.length / 2)))

const split = (bytes) =>
  Array.from({ length: bytes.length / 32 }, (_, at) => bytes.subarray(at * 32, at * 32 + 32))

/** Root of the first `size` records, from full tiles (their roots, level by level) and what is right of them. */
const rootAt = (levels, size) => {
  let root
  for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / 256)) {
    const width = count % 256
    const from = count - width
    const tail = levels[level].slice(from, count)
    for (let bit = 1; bit <= width; bit *= 2)
      if (width & bit) {
        const at = width & ~(2 * bit - 1)
        const one = subtree(tail.slice(at, at + bit))
        root = root === undefined ? one : node(one, root)
      }
  }
  return root ?? sha('')
}

const checkTree = (folder, size, seals) => {
  const findings = []
  const levels = [[]]
  for (let index = 0; index * 256 < size; index++) {
    const width = Math.min(256, size - index * 256)
    const path = tilePath(0, index, width)
    const bytes = read(folder, path)
    if (bytes?.length !== width * 32) throw new Bad(path, index * 256, `it does not hold ${width} hashes`)
    levels[0].push(...split(bytes))
  }
  for (let level = 0; levels[level].length >= 256; level++) {
    levels[level + 1] = []
    for (let at = 0; at + 256 <= levels[level].length; at += 256)
      levels[level + 1].push(subtree(levels[level].slice(at, at + 256)))
  }
  const stored = (level, index, width) => read(folder, tilePath(level, index, width))
  let from = 0
  for (const { size: end, root } of seals) {
    if (rootAt(levels, end).toString('hex') !== root) {
      const last = Math.floor((end - 1) / 256)
      const full = Math.floor(size / 256)
      let bad = last
      for (let index = last; index >= Math.floor(from / 256); index--) {
        if (index >= full) continue
        const above = Math.floor(index / 256)
        const hashes = stored(1, above, Math.min(256, full - above * 256))
        const at = (index % 256) * 32
        if (!hashes || !levels[1][index].equals(hashes.subarray(at, at + 32))) bad = index
      }
      throw new Bad(
        tilePath(0, bad, Math.min(256, size - bad * 256)),
        bad * 256,
        `the root at ${end} is another`,
      )
    }
    from = end
  }
  for (let level = 1; level < levels.length; level++)
    for (let index = 0; index * 256 < levels[level].length; index++) {
      const own = levels[level].slice(index * 256, index * 256 + 256)
      const bytes = stored(level, index, own.length)
      if (bytes?.equals(Buffer.concat(own))) continue
      const differs =
        bytes?.length === own.length * 32 ? own.findIndex((one, at) => !one.equals(split(bytes)[at])) : 0
      const leaf = (index * 256 + differs) * 256 ** level
      findings.push({
        object: tilePath(level, index, own.length),
        leaf,
        detail: 'it does not hold the hashes below',
      })
    }
  return { findings, leaves: levels[0] }
}

// Exported records

const KINDS = { feed: 0, alerts: 1, signals: 2, rejections: 3, control: 4 }

const leafOf = ({ kind, seq, item, kept, raw, body }) => {
  const header = Buffer.alloc(21)
  header.writeUInt8(KINDS[kind], 0)
  header.writeBigUInt64BE(BigInt(seq), 1)
  header.writeUInt32BE(item, 9)
  header.writeBigUInt64BE(BigInt(kept), 13)
  return sha(Buffer.of(0), header, sha(Buffer.from(raw, 'base64')), sha(body))
}

/** Every record must be the one that the tree has at its number, no number twice; within a file none is left out. */
const checkRecords = async (paths, leaves, files) => {
  const seen = new Set()
  const bad = []
  for (const path of paths)
    for await (const line of createInterface({
      input: createReadStream(path),
      crlfDelay: Number.POSITIVE_INFINITY,
    })) {
      let record
      try {
        record = JSON.parse(line)
        const isFirst = !seen.has(record.leaf)
        seen.add(record.leaf)
        if (!isFirst || !leaves[record.leaf]?.equals(leafOf(record))) bad.push(record.leaf)
      } catch {
        bad.push(record?.leaf)
      }
    }
  for (const { leaves: ranges } of files) {
    const left = []
    let given = 0
    for (const [from, to] of ranges)
      for (let leaf = from; leaf <= to; leaf++)
        if (seen.has(leaf)) given++
        else left.push(leaf)
    if (given > 0) for (const leaf of left) bad.push(leaf)
  }
  const known = bad.filter((leaf) => Number.isSafeInteger(leaf)).sort((a, b) => a - b)
  return {
    checked: seen.size,
    findings:
      bad.length === 0
        ? []
        : [
            {
              object: 'exported records',
              leaf: known[0],
              detail: `${bad.length} are not what was sealed, or left out`,
            },
          ],
  }
}

// All of it

export const verifyHistory = async (folder, { keys, checkpoints = [], records = [] }) => {
  const findings = []
  let size = 0
  let checked = 0
  try {
    statSync(join(folder, 'manifest'))
    const manifests = readManifests(folder)
    const trusted = trust(
      keys,
      [...manifests.values()].map(({ manifest }) => manifest),
    )
    const newest = openCheckpoint(read(folder, 'checkpoint'), 'checkpoint', trusted)
    size = newest.size
    const chain = []
    for (let [number, expected] = [newest.number, newest.sha256]; number > 0; number--) {
      const link = manifests.get(number)
      if (link?.sha256 !== expected || link.manifest.number !== number)
        throw new Bad(manifestPath(number), undefined, 'it is not the one that the next one names')
      chain.unshift(link)
      expected = link.manifest.previous
    }
    for (const [at, text] of checkpoints.entries()) {
      const object = `retained checkpoint ${at + 1}`
      const kept = openCheckpoint(text, object, trusted)
      if (chain[kept.number - 1]?.sha256 !== kept.sha256)
        throw new Bad(object, kept.size, 'this history is not the one it names')
    }
    let state = { files: new Map(), holds: new Map(), size: 0, root: sha('').toString('hex') }
    for (const { manifest } of chain) state = apply(state, manifest)
    if (state.size !== newest.size || state.root !== newest.root)
      throw new Bad('checkpoint', undefined, 'its tree is not that of its manifest')
    const seals = chain
      .filter(({ manifest }) => manifest.what === 'seal')
      .map(({ manifest }) => manifest.tree)
    const tree = checkTree(folder, size, seals)
    findings.push(...tree.findings)
    for (const { path, sha256, leaves } of state.files.values()) {
      const bytes = read(folder, path)
      if (bytes === undefined || sha(bytes).toString('hex') !== sha256)
        findings.push({
          object: path,
          leaf: leaves[0][0],
          detail: bytes ? 'it was changed' : 'it is missing',
        })
    }
    const exported = await checkRecords(records, tree.leaves, state.files.values())
    checked = exported.checked
    findings.push(...exported.findings)
  } catch (cause) {
    findings.push(cause instanceof Bad ? cause.finding : { object: folder, detail: String(cause) })
  }
  return { folder, verdict: findings.length > 0 ? 'failed' : 'verified', records: size, checked, findings }
}

const main = async () => {
  const options = { '--key': [], '--checkpoint': [], '--records': [] }
  const folders = []
  const all = process.argv.slice(2)
  while (all.length > 0) {
    const one = all.shift()
    if (one in options) options[one].push(all.shift() ?? '')
    else folders.push(one)
  }
  const keys = options['--key'].map(parseKey)
  if (folders.length === 0 || keys.length === 0 || keys.includes(undefined)) {
    process.stderr.write(
      "usage: verify-history.mjs --key 'NAME+ID+BASE64' [--checkpoint FILE]... [--records FILE]... FOLDER...\n",
    )
    return 2
  }
  const checkpoints = options['--checkpoint'].flatMap((path) => retainedIn(readFileSync(path, 'utf8')))
  let failed = false
  for (const folder of folders) {
    const report = await verifyHistory(folder, { keys, checkpoints, records: options['--records'] })
    failed ||= report.verdict === 'failed'
    process.stdout.write(`${JSON.stringify(report)}\n`)
  }
  return failed ? 1 : 0
}

if (process.argv[1]?.endsWith('verify-history.mjs')) process.exitCode = await main()
