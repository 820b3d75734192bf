/** The source Event Hubs keeps the contract of every source, with the vendor's client on a server of its own process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { EventHubProducerClient } from '@azure/event-hubs'
import { afterAll } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { sourceContract } from '../contract/source.ts'
import { root } from '../support/scan.ts'

/** More hubs than the suite has tests. */
const hubs = Array.from({ length: 16 }, (_, number) => `audit-${number}`)
let child: ChildProcess | undefined
let ready: Promise<string> | undefined
let used = 0

const start = () =>
  new Promise<string>((resolve, reject) => {
    child = spawn(
      process.execPath,
      [join(root, 'test/standins/start-event-hubs.ts'), ...hubs.map((name) => `${name}:3`)],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    child.on('error', reject)
    child.stdout?.on('data', (line: Buffer) =>
      resolve(
        line
          .toString()
          .replace(/^ready /, '')
          .trim(),
      ),
    )
  })

afterAll(() => void child?.kill())

sourceContract('event hubs', {
  async make() {
    ready ??= start()
    const connection = await ready
    process.env['EVENT_HUBS'] = connection
    const hub = hubs[used++] ?? ''
    const producer = new EventHubProducerClient(connection, hub)
    const config = {
      type: 'event_hubs',
      connection_string: '\u0024{env:EVENT_HUBS}',
      hubs: [hub],
      consumer_group: 'keytrail',
      start: 'earliest',
    }
    return {
      config,
      async publish(records) {
        for (let at = 0; at < records.length; at += 100)
          await producer.sendBatch(records.slice(at, at + 100).map((body) => ({ body })))
      },
      open: () => sourceOf('hubs', sourceConfig.parse(config), { follow: true, onNotice: () => {} }),
      close: () => producer.close(),
    }
  },
})
