/**
 * Signed notes (https://c2sp.org/signed-note) and checkpoints (https://c2sp.org/tlog-checkpoint), with Ed25519. A key is
 * told to others as `NAME+ID+BASE64`, its verifier key; the name is the origin of the history.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { KeytrailError, messageOf } from '../model/error.ts'
import type { Checkpoint } from '../model/history.ts'

/** Whoever holds the private key: a file, or a key service of a cloud that signs Ed25519. */
export interface Signer {
  readonly verifierKey: string
  sign(text: string): Promise<Buffer>
}

export interface VerifierKey {
  readonly name: string
  readonly id: string
  readonly key: KeyObject
}

const ED25519 = 1
const ID_BYTES = 4

const idOf = (name: string, typed: Buffer): string =>
  hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), typed]), 'buffer')
    .subarray(0, ID_BYTES)
    .toString('hex')

const verifierKeyOf = (name: string, key: KeyObject): string => {
  const typed = Buffer.concat([
    Buffer.of(ED25519),
    Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url'),
  ])
  return `${name}+${idOf(name, typed)}+${typed.toString('base64')}`
}

/** @returns nothing when it is no Ed25519 verifier key */
export const parseVerifierKey = (text: string): VerifierKey | undefined => {
  const [, name = '', id = '', encoded = ''] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text.trim()) ?? []
  const typed = Buffer.from(encoded, 'base64')
  if (typed.length !== 33 || typed[0] !== ED25519 || idOf(name, typed) !== id) return undefined
  const x = typed.subarray(1).toString('base64url')
  return { name, id, key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) }
}

/** @param create a new key is written when there is no file @throws KeytrailError `history.key` */
export const fileSigner = (path: string, name: string, create: boolean): Signer => {
  try {
    if (create) {
      const { privateKey } = generateKeyPairSync('ed25519')
      writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), {
        mode: 0o600,
        flag: 'wx',
        flush: true,
      })
    }
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST'))
      throw new KeytrailError('history.key', `the key ${path} cannot be made: ${messageOf(cause)}`, { cause })
  }
  try {
    const key = createPrivateKey(readFileSync(path))
    if (key.asymmetricKeyType !== 'ed25519') throw new Error('it is no Ed25519 key')
    return {
      verifierKey: verifierKeyOf(name, createPublicKey(key)),
      sign: async (text) => sign(null, Buffer.from(text), key),
    }
  } catch (cause) {
    throw new KeytrailError('history.key', `the key ${path} cannot be used: ${messageOf(cause)}`, { cause })
  }
}

export const signNote = async (text: string, signers: readonly Signer[]): Promise<string> => {
  const lines: string[] = []
  for (const { verifierKey, sign: by } of signers) {
    const [name, id = ''] = verifierKey.split('+')
    const signature = Buffer.concat([Buffer.from(id, 'hex'), await by(text)])
    lines.push(`\u2014 ${name} ${signature.toString('base64')}\n`)
  }
  return `${text}\n${lines.join('')}`
}

export interface Note {
  readonly text: string
  /** Ids of the keys that are given and whose signature fits. */
  readonly signers: readonly string[]
  /** A signature of a given key does not fit: the text is not what was signed. */
  readonly forged: boolean
}

/** @returns nothing when it is not a note */
export const openNote = (note: string, keys: readonly VerifierKey[]): Note | undefined => {
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) return undefined
  const text = note.slice(0, end + 1)
  const signers: string[] = []
  let forged = false
  for (const line of note.slice(end + 2, -1).split('\n')) {
    const [, name, encoded = ''] = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? []
    const bytes = Buffer.from(encoded, 'base64')
    if (name === undefined || bytes.toString('base64') !== encoded) return undefined
    const id = bytes.subarray(0, ID_BYTES).toString('hex')
    const key = keys.find((one) => one.name === name && one.id === id)
    if (key === undefined) continue
    if (verify(null, Buffer.from(text), key.key, bytes.subarray(ID_BYTES))) signers.push(id)
    else forged = true
  }
  return { text, signers, forged }
}

export const checkpointText = ({ origin, size, root, manifest }: Checkpoint): string =>
  `${origin}\n${size}\n${Buffer.from(root, 'hex').toString('base64')}\nmanifest ${manifest.number} ${manifest.sha256}\n`

/** @returns nothing when the text is not one of ours */
export const parseCheckpoint = (text: string): Checkpoint | undefined => {
  const found =
    /^([^\n+\s]+)\n(0|[1-9]\d{0,14})\n([A-Za-z0-9+/]{43}=)\nmanifest ([1-9]\d{0,8}) ([0-9a-f]{64})\n$/.exec(
      text,
    )
  if (found === null) return undefined
  const [, origin = '', size, root = '', number, sha256 = ''] = found
  const checkpoint = {
    origin,
    size: Number(size),
    root: Buffer.from(root, 'base64').toString('hex'),
    manifest: { number: Number(number), sha256 },
  }
  return checkpointText(checkpoint) === text ? checkpoint : undefined
}

const CHECKPOINT =
  /[^\s+]+\n\d+\n[A-Za-z0-9+/]{43}=\nmanifest \d+ [0-9a-f]{64}\n\n(?:\u2014 \S+ [A-Za-z0-9+/]+={0,2}\n?)+/g
const ESCAPED: Readonly<Record<string, string>> = { n: '\n', r: '\r', '/': '/' }

/**
 * The notes of checkpoints in a text: one as it is, or the alerts that carry them, as a SIEM exports them, whose line ends
 * are escaped once or more often. Who wrote what is around a note does not matter: it is signed.
 */
export const checkpointsIn = (text: string): string[] => {
  const plain = text
    .replace(/\\+(?:u([0-9a-fA-F]{4})|([nr/]))/g, (_all, code?: string, short = '') =>
      code === undefined ? (ESCAPED[short] ?? '') : String.fromCharCode(Number.parseInt(code, 16)),
    )
    .replaceAll('\r\n', '\n')
  return [...new Set(plain.match(CHECKPOINT)?.map((note) => `${note.trimEnd()}\n`))]
}

/** What both keys sign when one takes the place of the other, from the next checkpoint on. */
export const rotationText = (from: string, to: string, size: number): string =>
  `keytrail.history.rotation.v1\n${from}\n${to}\n${size}\n`

/** @returns the verifier keys, and the size of the tree up to which the old one signs; nothing when it is none */
export const parseRotation = (text: string): { from: string; to: string; size: number } | undefined => {
  const [, from = '', to = '', size] =
    /^keytrail\.history\.rotation\.v1\n(\S+)\n(\S+)\n(0|[1-9]\d{0,14})\n$/.exec(text) ?? []
  return size === undefined ? undefined : { from, to, size: Number(size) }
}
