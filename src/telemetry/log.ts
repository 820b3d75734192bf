/** The log of a service: JSON lines on standard error, for a collector; readable lines on a terminal. */
import { pino } from 'pino'
import { printable } from '../normalize/text.ts'

export interface Log {
  debug(text: string, facts?: object): void
  info(text: string, facts?: object): void
  warn(text: string, facts?: object): void
  error(text: string, facts?: object): void
}

const LEVELS = ['debug', 'info', 'warn', 'error'] as const
type Level = (typeof LEVELS)[number]

export const openLog = (stream: NodeJS.WriteStream, level: Level): Log => {
  if (stream.isTTY) {
    const write = (own: Level) => (text: string) => {
      if (LEVELS.indexOf(own) >= LEVELS.indexOf(level))
        stream.write(`${new Date().toISOString().slice(11, 19)} ${own.padEnd(5)} ${printable(text)}\n`)
    }
    return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
  }
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => void stream.write(line) },
  )
  const write =
    (own: Level) =>
    (text: string, facts: object = {}) =>
      log[own](facts, printable(text))
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}
