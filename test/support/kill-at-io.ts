/**
 * Preloaded into a process under test: kills it, as `kill -9` does, at the n-th call that changes a file system,
 * before the call when n is odd, after it when n is even. `KILL_IO` is n.
 */
import fs from 'node:fs'
import promises from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

const wanted = Number(process.env['KILL_IO'])
let made = 0

const die = () => {
  process.kill(process.pid, 'SIGKILL')
  for (;;); // the signal comes at the next system call at the latest
}

type Call = (...all: never[]) => unknown
const watched = <F extends Call>(call: F): F =>
  ((...all: never[]) => {
    const mine = ++made === Math.ceil(wanted / 2)
    if (mine && wanted % 2 === 1) die()
    const result = call(...all)
    if (!mine) return result
    if (result instanceof Promise) return result.then(die)
    return die()
  }) as F // the same call, watched

for (const name of ['renameSync', 'linkSync', 'fsyncSync', 'unlinkSync', 'writeFileSync'] as const)
  Object.assign(fs, { [name]: watched(fs[name] as Call) })
for (const name of ['writeFile', 'rename'] as const)
  Object.assign(promises, { [name]: watched(promises[name] as Call) })
syncBuiltinESMExports()
