/** Progress of long work: one line that rewrites itself on a terminal, a plain line now and then elsewhere. */

export interface Progress {
  /** Cheap: writes only when it is time. */
  update(text: () => string): void
  done(): void
}

const TERMINAL_MS = 200
const PLAIN_MS = 10_000

export const progress = (stream: NodeJS.WriteStream, quiet: boolean): Progress => {
  const every = stream.isTTY ? TERMINAL_MS : PLAIN_MS
  let last = performance.now()
  let shown = false
  return {
    update(text) {
      if (quiet || performance.now() - last < every) return
      last = performance.now()
      shown = true
      stream.write(stream.isTTY ? `\r\x1b[2K${text().slice(0, (stream.columns ?? 80) - 1)}` : `${text()}\n`)
    },
    done() {
      if (shown && stream.isTTY) stream.write('\r\x1b[2K')
      shown = false
    },
  }
}
