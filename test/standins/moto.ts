/** Starts moto behind a relay that misbehaves when it is told to. See `moto/README.md`. */
import { execFile, spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { root } from '../support/scan.ts'

const requirements = join(import.meta.dirname, 'moto/requirements.txt')
const run = promisify(execFile)

/** Installs it once, in a virtual environment of its own. @returns the program, or why there is none */
const install = async (): Promise<{ readonly python: string } | { readonly missing: string }> => {
  const version = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12)
  const folder = join(root, 'node_modules/.cache/keytrail', `moto-${version}`)
  const python = join(folder, 'bin/python')
  if (existsSync(python)) return { python }
  const own = `${folder}.${randomUUID()}`
  try {
    mkdirSync(own, { recursive: true })
    await run('python3', ['-m', 'venv', own])
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary', ':all:']
    await run(join(own, 'bin/python'), [...pip, '-r', requirements], { timeout: 300_000 })
    renameSync(own, folder)
  } catch (cause) {
    rmSync(own, { recursive: true, force: true })
    if (!existsSync(python)) return { missing: cause instanceof Error ? cause.message : String(cause) }
  }
  return { python }
}

export interface Asked {
  readonly method: string
  /** `/bucket/key` or `/account/queue`. */
  readonly path: string
  /** Such as `AmazonSQS.DeleteMessageBatch`; empty for S3. */
  readonly target: string
  /** Access key that signed it. */
  readonly signer: string
  readonly body: string
}

export interface Answer {
  readonly status: number
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface Moto {
  readonly url: string
  readonly asked: readonly Asked[]
  /**
   * Answers in place of the server; `hang` never does, `cut` closes the connection, `half` does so in the middle of the
   * answer.
   */
  behave: (asked: Asked) => Answer | 'hang' | 'cut' | 'half' | undefined
  /** Closes the connections that hang. */
  cutHanging(): void
  close(): Promise<void>
}

/** S3 refuses in XML. */
export const s3Error = (status: number, code: string, message: string): Answer => ({
  status,
  headers: { 'content-type': 'application/xml' },
  body: `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`,
})

/** SQS refuses in JSON. */
export const sqsError = (status: number, type: string, message: string): Answer => ({
  status,
  headers: { 'content-type': 'application/x-amz-json-1.0' },
  body: JSON.stringify({ __type: `com.amazonaws.sqs#${type}`, message }),
})

const bodyOf = async (incoming: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer) // no encoding is set
  return Buffer.concat(chunks)
}

const installed = await install()
/** Why tests with it are skipped. */
export const motoMissing = 'missing' in installed ? installed.missing : undefined
if (motoMissing !== undefined) console.warn(`moto cannot be installed, its tests are skipped: ${motoMissing}`)

export const startMoto = async (): Promise<Moto> => {
  if ('missing' in installed) throw new Error(installed.missing)
  const child = spawn(installed.python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PYTHONUNBUFFERED: '1' },
  })
  const port = await new Promise<number>((resolve, reject) => {
    let text = ''
    const look = (chunk: Buffer) => {
      text += chunk
      const [, found] = /Running on http:\/\/127\.0\.0\.1:(\d+)/.exec(text) ?? []
      if (found !== undefined) resolve(Number(found))
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.on('error', reject)
    child.on('exit', (code) => reject(new Error(`moto ended with ${code}: ${text}`)))
  })
  const asked: Asked[] = []
  const hanging = new Set<Socket>()
  const server = createServer((incoming, outgoing) => {
    void bodyOf(incoming).then((body) => {
      const { method = '', url: path = '', headers } = incoming
      const one: Asked = {
        method,
        path,
        target: String(headers['x-amz-target'] ?? ''),
        signer: /Credential=([^/]+)\//.exec(headers.authorization ?? '')?.[1] ?? '',
        body: body.length < 100_000 ? body.toString() : '',
      }
      asked.push(one)
      const answer = moto.behave(one)
      if (answer === 'hang') return void hanging.add(incoming.socket)
      if (answer === 'cut') return void incoming.socket.destroy()
      if (answer !== undefined && answer !== 'half')
        return void outgoing.writeHead(answer.status, answer.headers).end(answer.body)
      const onward = request({ host: '127.0.0.1', port, method, path, headers }, (reply) => {
        outgoing.writeHead(reply.statusCode ?? 500, reply.headers)
        if (answer === undefined) return void reply.pipe(outgoing)
        void bodyOf(reply).then((whole) =>
          outgoing.write(whole.subarray(0, whole.length / 2), () => incoming.socket.destroy()),
        )
      })
      onward.on('error', () => outgoing.destroy())
      onward.end(body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port: own } = server.address() as AddressInfo // it listens on a port
  const moto: Moto = {
    url: `http://127.0.0.1:${own}`,
    asked,
    behave: () => undefined,
    cutHanging() {
      for (const socket of hanging) socket.destroy()
      hanging.clear()
    },
    async close() {
      server.closeAllConnections()
      server.close()
      const ended = new Promise((resolve) => child.once('close', resolve))
      child.kill('SIGTERM')
      await ended
    },
  }
  return moto
}
