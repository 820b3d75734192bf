/**
 * Preloaded into a `run` under test: kills the process, as `kill -9` does, when a call is made for the n-th time.
 * `KILL_AT` names the window and the number, such as `commit:17`.
 */
import fs from 'node:fs'
import { ClientRequest } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import { DatabaseSync } from 'node:sqlite'

const [window, text = '1'] = (process.env['KILL_AT'] ?? '').split(':')
let left = Number(text)

const die = () => {
  if (--left > 0) return
  process.kill(process.pid, 'SIGKILL')
  for (;;); // the signal comes at the next system call at the latest
}

const { exec } = DatabaseSync.prototype
DatabaseSync.prototype.exec = function (sql) {
  if (window === 'inside-commit' && sql === 'COMMIT') die()
  exec.call(this, sql)
  if (window === 'after-commit' && sql === 'COMMIT') die()
  if (window === 'recovery' && sql.startsWith('PRAGMA wal_autocheckpoint')) die()
}

/** Paths whose answer is the moment: it has come, and nothing was done with it. */
const answers: Readonly<Record<string, string>> = {
  'hec-answered': '/services/collector/event',
  'hec-acknowledged': '/services/collector/ack',
  'sentinel-answered': '/dataCollectionRules/',
}
const answered = answers[window ?? '']
if (answered !== undefined) {
  const { emit } = ClientRequest.prototype
  ClientRequest.prototype.emit = function (this: ClientRequest, event: string | symbol, ...all: unknown[]) {
    if (event === 'response' && this.path.startsWith(answered)) die()
    return emit.call(this, event, ...all)
  } as typeof emit
}

if (window === 'kafka-answered') {
  const { Kafka } = (await import('kafkajs')).default
  const { producer } = Kafka.prototype
  Kafka.prototype.producer = function (...all) {
    const made = producer.apply(this, all)
    const { send } = made
    made.send = async (record) => {
      const answer = await send(record)
      die()
      return answer
    }
    return made
  }
}

if (window === 'after-read') {
  const { readFileSync } = fs
  fs.readFileSync = ((...all: Parameters<typeof readFileSync>) => {
    const bytes = readFileSync(...all)
    if (String(all[0]).endsWith('.json.gz')) die()
    return bytes
  }) as typeof readFileSync
  syncBuiltinESMExports()
}
if (window === 'before-settle') {
  const { FileHandle } = await fs.promises.open('/dev/null').then((file) => {
    const found = { FileHandle: file.constructor as { prototype: { datasync(): Promise<void> } } }
    return file.close().then(() => found)
  })
  const { datasync } = FileHandle.prototype
  FileHandle.prototype.datasync = async function () {
    await datasync.call(this)
    die()
  }
}
