import { hash } from 'node:crypto'
import { expect, test } from 'vitest'
import { checkpointAlert } from '../../src/commands/history-sink.ts'
import { checkpointsIn, openNote, parseVerifierKey } from '../../src/history/note.ts'
import {
  emptyEdge,
  grow,
  leafHash,
  loadEdge,
  partialTiles,
  rootOf,
  tilePath,
} from '../../src/history/tree.ts'
import { renderings } from '../../src/render/renderings.ts'
import { random } from '../support/kills.ts'

/** Of the reference implementation of RFC 6962 (certificate-transparency, merkletree tests). */
const inputs = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
]
const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

const leafOf = (entry: Buffer) => Buffer.from(leafHash(Buffer.concat([Buffer.alloc(1), entry])), 'latin1')

test('the roots of the reference vectors of RFC 6962', () => {
  const edge = emptyEdge()
  expect(rootOf(edge).toString('hex')).toBe(roots[0])
  for (const [at, input] of inputs.entries()) {
    grow(edge, leafOf(Buffer.from(input, 'hex')), () => {})
    expect(rootOf(edge).toString('hex')).toBe(roots[at + 1])
  }
})

/** RFC 6962 section 2.1, word by word. */
const slowRoot = (hashes: readonly Buffer[]): Buffer => {
  const [only] = hashes
  if (only === undefined) return hash('sha256', '', 'buffer')
  if (hashes.length === 1) return only
  let k = 1
  while (k * 2 < hashes.length) k *= 2
  const parts = [Buffer.of(1), slowRoot(hashes.slice(0, k)), slowRoot(hashes.slice(k))]
  return hash('sha256', Buffer.concat(parts), 'buffer')
}

test('grows in any steps to the root that the definition gives, and goes on from its partial tiles', async () => {
  const next = random(7)
  const sizes = [1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000]
  const leaves = Array.from({ length: 70_000 }, (_, n) => leafOf(Buffer.from(String(n))))
  const tiles = new Map<string, Buffer>()
  let edge = emptyEdge()
  for (const size of sizes) {
    while (edge.size < size) {
      const count = Math.min(1 + Math.floor(next() * 5000), size - edge.size)
      const added = Buffer.concat(leaves.slice(edge.size, edge.size + count))
      grow(edge, added, (path, tile) => tiles.set(path, Buffer.from(tile)))
    }
    expect(rootOf(edge).toString('hex')).toBe(slowRoot(leaves.slice(0, size)).toString('hex'))
    for (const [level, { path, width }] of partialTiles(size).entries())
      if (width > 0) tiles.set(path, edge.levels[level] ?? Buffer.alloc(0))
    const loaded = await loadEdge(size, async (path) => tiles.get(path))
    if ('missing' in loaded) throw new Error(loaded.missing)
    edge = loaded
  }
  expect(tiles.get('tile/0/000')?.equals(Buffer.concat(leaves.slice(0, 256)))).toBe(true)
  expect([...tiles.keys()].every((path) => /^tile\/\d\/\d{3}(\.p\/\d+)?$/.test(path))).toBe(true)
})

test('tiles are named as C2SP tlog-tiles names them', () => {
  expect(tilePath(0, 1_234_067, 256)).toBe('tile/0/x001/x234/067')
  expect(tilePath(2, 0, 3)).toBe('tile/2/000.p/3')
})

test('reads the note of the format’s own documentation', () => {
  const key = parseVerifierKey('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
  if (key === undefined) throw new Error('no key')
  const text =
    'If you think cryptography is the answer to your problem,\nthen you don\u2019t know what your problem is.\n'.replace(
      '\u2019',
      "'",
    )
  const signature =
    'x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM='
  const note = `${text}\n\u2014 PeterNeumann ${signature}\n`
  expect(openNote(note, [key])).toEqual({ text, signers: ['c74f20a3'], forged: false })
  expect(openNote(note.replace('answer', 'Answer'), [key])?.forged).toBe(true)
})

test('a checkpoint is found in the alert that carries it, however a SIEM writes it', () => {
  const root = Buffer.alloc(32, 251).toString('base64') // with + and /
  const note = `example.com/history\n783\n${root}\nmanifest 12 ${'5a'.repeat(32)}\n\n\u2014 example.com/history ${root}\n\u2014 example.com/history 8fvU\n`
  const tree = { size: 783, root: 'fb'.repeat(32) }
  const alert = checkpointAlert(
    { kind: 'checkpoint', note, state: { number: 12, sha256: '5a'.repeat(32), tree } },
    0,
  )
  const json = JSON.stringify(alert)
  const texts: Record<string, string> = {
    'as it is': note,
    'as it is, with the ends of lines of Windows': note.replaceAll('\n', '\r\n'),
    'without its last end of line': note.trimEnd(),
    ...Object.fromEntries(Object.entries(renderings).map(([name, { alert: of }]) => [name, of(alert)])),
    indented: JSON.stringify(alert, null, 2),
    'Splunk: an event of HEC, and exported': JSON.stringify({
      result: { _raw: JSON.stringify({ event: alert }) },
    }),
    'Splunk: CSV': `"_raw"\n"${json.replaceAll('"', '""')}"\n`,
    'Sentinel: CSV': `Explanation,Severity\n"${alert.explanation}",info\n`,
    'JSON as .NET writes it': json.replaceAll('+', '\\u002B').replaceAll('\u2014', '\\u2014'),
    'JSON that escapes slashes': json.replaceAll('/', '\\/'),
  }
  for (const [name, text] of Object.entries(texts)) expect(checkpointsIn(text), name).toEqual([note])
  expect(checkpointsIn(`${json}\n${json.replaceAll('783', '784')}\n`)).toEqual([
    note,
    note.replace('783', '784'),
  ])
  expect(checkpointsIn(json.replace('manifest 12', 'manifest'))).toEqual([])
})
