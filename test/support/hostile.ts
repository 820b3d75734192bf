/** Hostile input: what holds for every scan, whatever comes. */
import { expect } from 'vitest'
import { keyEvent } from '../../src/model/event.ts'
import { scanBytes } from './scan.ts'

/** Control, line-separating, bidirectional and zero-width characters: none may be shown as it is. */
const UNSAFE = /[\0-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/
const json = JSON.stringify
const untouched = Object.getOwnPropertyNames(Object.prototype).join()
export const safe = (name: string, value: unknown) => {
  const text = typeof value === 'string' ? name + value : name
  if (UNSAFE.test(text) || !text.isWellFormed()) throw new Error(`unsafe: ${json(text)}`)
  return value
}
/** Scans one file and checks what holds for every input: the sum, the schema, nothing unsafe to show. */
export const scanChecked = (input: string | Buffer, options: Parameters<typeof scanBytes>[1] = {}) => {
  const { events, tally, tallies } = scanBytes([{ path: 'file', bytes: Buffer.from(input) }], options)
  const { kept, duplicate } = tally
  const all = [...tallies, tally]
  const refused = all.flatMap((one) => [...one.rejected.values()].map(({ count }) => count))
  const skipped = all.flatMap((one) => [...one.skipped.values()])
  const received = tallies.reduce((sum, one) => sum + one.received, 0)
  expect([...refused, ...skipped, kept].reduce((a, b) => a + b, duplicate)).toBe(received)
  for (const one of events) expect(keyEvent.safeParse(one).error?.issues ?? json(one, safe)).toMatch('{')
  expect(Object.getOwnPropertyNames(Object.prototype).join()).toBe(untouched)
  return { received, kept, duplicate, rejected: all.flatMap((one) => [...one.rejected.keys()]), events }
}
