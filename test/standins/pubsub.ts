/** Starts Google's test server for Pub/Sub behind a relay that cuts connections. See `pubsub/README.md`. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  type CreateSubscriptionOptions,
  Duration,
  PubSub,
  type Subscription,
  type Topic,
} from '@google-cloud/pubsub'
import { root } from '../support/scan.ts'

const source = join(import.meta.dirname, 'pubsub')

/** Why there can be no server here; absent when there can. */
export const noPubSub: string | undefined =
  spawnSync('go', ['version']).status === 0 ? undefined : "no Go here: Google's test server cannot be built"

/** Builds it once for each version of its source. @returns the program */
const build = async (): Promise<string> => {
  const hash = createHash('sha256')
  for (const name of ['main.go', 'go.mod', 'go.sum']) hash.update(readFileSync(join(source, name)))
  const program = join(root, 'node_modules/.cache/keytrail', `pubsub-${hash.digest('hex').slice(0, 12)}`)
  if (!existsSync(program)) await promisify(execFile)('go', ['build', '-o', program, '.'], { cwd: source })
  return program
}

/** What the server knows of a message. */
export interface Published {
  readonly id: string
  readonly topic: string
  readonly deliveries: number
  readonly acks: number
}

export interface RunningPubSub {
  readonly project: string
  /** Address of the server, through the relay. */
  readonly endpoint: string
  readonly client: PubSub
  /** Makes a topic with one subscription of the same name. */
  subscription(
    options?: CreateSubscriptionOptions,
  ): Promise<{ topic: Topic; subscription: Subscription; name: string }>
  messages(topic: Topic): Promise<Published[]>
  /** Moves the server's clock, so that leases lapse at once. */
  advance(seconds: number): Promise<void>
  /** The next calls of a method fail with a gRPC status. */
  fail(method: string, code: number, times: number): Promise<void>
  /** Streams that open from now on end without an error after this time; 0: never. */
  streamsLast(seconds: number): Promise<void>
  /** @returns how many connections were cut */
  cut(): number
  /** New connections are closed at once, or not any more. */
  refuse(on: boolean): void
  stop(): Promise<void>
}

const PROJECT = 'acme-payments'
let names = 0

export const startPubSub = async (): Promise<RunningPubSub> => {
  process.env['METADATA_SERVER_DETECTION'] = 'none' // the client looks for one although it needs no credentials
  const child = spawn(await build(), [], { stdio: ['ignore', 'pipe', 'ignore'] })
  const ready = await new Promise<string>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', () => reject(new Error('the server ended')))
    child.stdout.on('data', (line: Buffer) => resolve(line.toString()))
  })
  const [, host = '', control = ''] = /HOST=(\S+) CONTROL=(\S+)/.exec(ready) ?? []
  const tell = async (path: string) => {
    const answer = await fetch(`${control}/${path}`, { method: 'POST' })
    if (!answer.ok) throw new Error(await answer.text())
  }

  const sockets = new Set<Socket>()
  let refusing = false
  const relay = createServer((socket) => {
    if (refusing) return void socket.destroy()
    const [address, port] = host.split(':')
    const other = connect(Number(port), address)
    for (const [one, another] of [
      [socket, other],
      [other, socket],
    ] as const) {
      sockets.add(one)
      one.pipe(another)
      one.on('error', () => another.destroy())
      one.on('close', () => {
        sockets.delete(one)
        another.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(relay.address() as AddressInfo).port}` // it listens on a port
  /** Not through the relay. */
  const client = new PubSub({ projectId: PROJECT, apiEndpoint: `http://${host}` })
  const cut = () => {
    const count = sockets.size / 2
    for (const socket of sockets) socket.destroy()
    return count
  }
  return {
    project: PROJECT,
    endpoint,
    client,
    async subscription(options) {
      const name = `audit-${process.pid}-${++names}`
      const [topic] = await client.createTopic(name)
      const [subscription] = await topic.createSubscription(name, { ackDeadlineSeconds: 10, ...options })
      return { topic, subscription, name }
    },
    async messages({ name }) {
      const all = (await (await fetch(`${control}/messages`)).json()) as Published[] // the server's own form
      return all.filter(({ topic }) => topic === name)
    },
    advance: (seconds) => tell(`clock?advance=${seconds}s`),
    fail: (method, code, times) => tell(`fail?method=${method}&code=${code}&times=${times}`),
    streamsLast: (seconds) => tell(`streams?last=${seconds}s`),
    cut,
    refuse(on) {
      refusing = on
      if (on) cut()
    },
    async stop() {
      await client.close()
      cut()
      relay.close()
      child.kill()
    },
  }
}

/** The client wants its own kind of duration. */
export const seconds = (count: number) => Duration.from({ seconds: count })
