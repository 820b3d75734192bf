/** A sink that shows alerts to whoever looks at the terminal; as JSON for a program behind a pipe. */
import type { Alert } from '../model/alert.ts'
import type { Sink } from '../pipeline/ports.ts'

/** @param render one alert as text for people */
export const consoleSink = (
  name: string,
  stream: NodeJS.WritableStream,
  render: (alert: Alert) => string,
): Sink => ({
  name,
  open: async () => ({}),
  async send({ alerts }) {
    const text = alerts.map(render).join('')
    if (text !== '')
      await new Promise<void>((resolve, reject) =>
        stream.write(text, (cause) => (cause ? reject(cause) : resolve())),
      )
    return { memo: {}, refused: [] }
  },
  async close() {},
})
