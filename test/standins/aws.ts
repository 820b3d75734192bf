/**
 * S3 by moto, a third party's server in memory (PyPI `moto[server]`), and ListPublicKeys by ourselves, because moto has
 * none. `MOTO_SERVER` and `AWS_CLI` name the programs when they are not on PATH.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { S3Client } from '@aws-sdk/client-s3'

const program = (name: string, variable: string, question: string): string | undefined => {
  const path = process.env[variable] ?? name
  return spawnSync(path, [question]).status === 0 ? path : undefined
}
export const motoServer = program('moto_server', 'MOTO_SERVER', '--help')
export const awsCli = program('aws', 'AWS_CLI', '--version')

export interface Aws {
  /** For programs that are to speak with it. */
  readonly env: Readonly<Record<string, string>>
  readonly s3: S3Client
  /** What ListPublicKeys answers, as the command line prints it. */
  keys: string
  /** Forgets all buckets. */
  reset(): Promise<void>
  close(): Promise<void>
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  await new Promise((resolve) => server.close(resolve))
  return port
}

export const startAws = async (): Promise<Aws> => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const moto = spawn(motoServer ?? '', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
  const answers = () =>
    fetch(`${url}/moto-api/data.json`).then(
      ({ ok }) => ok,
      () => false,
    )
  for (let tries = 0; !(await answers()); tries++) {
    if (tries > 300 || moto.exitCode !== null) throw new Error('moto does not start')
    await sleep(100)
  }
  const aws = { keys: '{"PublicKeyList":[]}' }
  const keyServer = createServer((request, response) => {
    const known = String(request.headers['x-amz-target']).endsWith('.ListPublicKeys')
    response.writeHead(known ? 200 : 400, { 'content-type': 'application/x-amz-json-1.1' })
    const seconds = (text: string) => Date.parse(text) / 1000
    const timed = (name: string, value: unknown) => (/Time$/.test(name) ? seconds(String(value)) : value)
    response.end(known ? JSON.stringify(JSON.parse(aws.keys, timed)) : '{"__type":"InvalidAction"}')
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => keyServer.once('listening', resolve))
  const keyPort = (keyServer.address() as AddressInfo).port // it listens on TCP
  const env = {
    AWS_ENDPOINT_URL: url,
    AWS_ENDPOINT_URL_S3: url,
    AWS_ENDPOINT_URL_CLOUDTRAIL: `http://127.0.0.1:${keyPort}`,
    AWS_REGION: 'eu-central-1',
    AWS_DEFAULT_REGION: 'eu-central-1',
    AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'example',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
  }
  const s3 = new S3Client({
    endpoint: url,
    region: env.AWS_REGION,
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY },
    forcePathStyle: true,
  })
  return Object.assign(aws, {
    env,
    s3,
    reset: async () => {
      await fetch(`${url}/moto-api/reset`, { method: 'POST' })
    },
    close: async () => {
      s3.destroy()
      keyServer.closeAllConnections()
      keyServer.close()
      moto.kill()
      await new Promise((resolve) => (moto.exitCode === null ? moto.once('exit', resolve) : resolve(0)))
    },
  })
}
