/** Preloaded: notes at the end what the process used, where `USAGE` names. */
import { writeFileSync } from 'node:fs'

/** Set by a program that counts for itself, milliseconds. */
export const measured: { wall?: number } = {}

process.on('exit', () => {
  const { user, system } = process.cpuUsage()
  const { maxRSS } = process.resourceUsage()
  writeFileSync(
    process.env['USAGE'] ?? '/dev/null',
    JSON.stringify({ cpu: user + system, memory: Math.round(maxRSS / 1024), ...measured }),
  )
})
