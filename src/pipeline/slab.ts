/**
 * Memory for many small pieces of bytes that live about as long as each other: one allocation for hundreds of them, and
 * none of it in the heap.
 */
const SLAB_BYTES = 1024 * 1024
/** What is larger gets memory of its own. */
const MAX_PIECE = SLAB_BYTES / 8
/** A UTF-16 unit of text has at most three bytes in UTF-8. */
const UTF8_BYTES = 3

let slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
let used = 0

const room = (bytes: number) => {
  if (used + bytes <= SLAB_BYTES) return
  slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  used = 0
}

/** A copy of lent bytes. */
export const copyOf = (bytes: Buffer): Buffer => {
  if (bytes.length > MAX_PIECE) return Buffer.from(bytes)
  room(bytes.length)
  slab.set(bytes, used)
  const kept = slab.subarray(used, used + bytes.length)
  used += bytes.length
  return kept
}

/** A text in UTF-8. */
export const bytesOf = (text: string): Buffer => {
  if (text.length * UTF8_BYTES > MAX_PIECE) return Buffer.from(text)
  room(text.length * UTF8_BYTES)
  const from = used
  used += slab.write(text, from)
  return slab.subarray(from, used)
}
