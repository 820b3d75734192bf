/** Sigma's encodings: what a text looks like inside other data. Sigma specification, modifiers appendix. */

const littleEndian = (text: string) => Buffer.from(text, 'utf16le')

const toBytes: Readonly<Record<string, (text: string) => Buffer>> = {
  wide: littleEndian,
  utf16le: littleEndian,
  utf16be: (text) => littleEndian(text).swap16(),
  utf16: (text) => Buffer.concat([Buffer.from([0xff, 0xfe]), littleEndian(text)]),
}

export const textEncodings: readonly string[] = Object.keys(toBytes)

/**
 * The three ways a text can show inside Base64, by its place modulo 3; what depends on its neighbors is cut off.
 * Before it stand i bytes, which spoil the first ceil(8i/6) characters; behind it the last one may be spoiled. A text
 * too short to fill one character at some place cannot be seen there.
 */
const atOffsets = (bytes: Buffer): string[] =>
  [0, 1, 2]
    .map((offset) => {
      const whole = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
      return whole.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6))
    })
    .filter((one) => one !== '')

/**
 * @param names modifiers of a field, in order
 * @returns the texts to look for: one, or one for each offset
 */
export const encoded = (text: string, names: readonly string[]): string[] => {
  const name = names.find((one) => toBytes[one] !== undefined)
  const bytes = toBytes[name ?? '']?.(text) ?? Buffer.from(text, 'utf8')
  if (names.includes('base64offset')) return atOffsets(bytes)
  return [bytes.toString(names.includes('base64') ? 'base64' : 'latin1')]
}
