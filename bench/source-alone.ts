/** One source without judge and journal: what it hands over is counted, acknowledged and dropped. Arguments: configuration, records. */
import { sourceOf } from '../src/commands/sources.ts'
import { loadConfig } from '../src/config/config.ts'
import { measured } from './usage.ts'

const [path = '', expected = ''] = process.argv.slice(2)
const [[feed, config] = []] = Object.entries(loadConfig(path).sources)
if (feed === undefined || config === undefined) throw new Error(`${path} names no source`)
const source = sourceOf(feed, config, { follow: false, onNotice: (text) => console.error(text) })
let bytes = 0
let began: number | undefined
let last = 0
await source.read(
  () => undefined,
  async (piece) => {
    if (piece === 'idle' || piece.bytes.length === 0) return
    began ??= performance.now()
    last = performance.now()
    bytes += piece.bytes.length
    await piece.settle?.()
  },
  new AbortController().signal,
  async () => undefined,
)
await source.close?.()
measured.wall = last - (began ?? last)
if (bytes < Number(expected) * 100) throw new Error(`only ${bytes} bytes arrived`)
