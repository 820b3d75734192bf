/** Checkpoints of Event Hubs in Azurite: they follow the journal, and begin where it knows nothing. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EventHubProducerClient } from '@azure/event-hubs'
import { BlobCheckpointStore } from '@azure/eventhubs-checkpointstore-blob'
import { ContainerClient } from '@azure/storage-blob'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { type Azurite, azuriteMissing, startAzurite } from '../standins/azurite.ts'
import { type EventHubs, startEventHubs } from '../standins/event-hubs.ts'
import { audit } from '../support/azure.ts'
import { eventually, reading } from '../support/reading.ts'
import { service } from '../support/service.ts'

const PARTITIONS = 2

describe.skipIf(azuriteMissing !== undefined)('checkpoints', { timeout: 120_000 }, () => {
  let storage: Azurite
  let hubs: EventHubs
  let containers = 0
  beforeAll(async () => {
    storage = await startAzurite()
    hubs = await startEventHubs({
      hubs: ['run', 'unsettled', 'away'].map((name) => ({
        name,
        partitions: PARTITIONS,
        consumerGroups: ['keytrail'],
      })),
    })
    Object.assign(process.env, { EVENT_HUBS: hubs.connectionString, STORAGE: storage.connectionString })
  })
  afterAll(async () => {
    await hubs.close()
    await storage.stop()
  })

  const setUp = async (hub: string) => {
    const name = `checkpoints${++containers}`
    const container = new ContainerClient(storage.connectionString, name)
    await container.create()
    const config = {
      type: 'event_hubs',
      connection_string: '\u0024{env:EVENT_HUBS}',
      hubs: [hub],
      consumer_group: 'keytrail',
      start: 'latest',
      checkpoints: { container: `${storage.url}/${name}`, connection_string: '\u0024{env:STORAGE}' },
    }
    const store = new BlobCheckpointStore(container)
    const namespace = new EventHubProducerClient(hubs.connectionString, hub).fullyQualifiedNamespace
    const marks = async () =>
      (await store.listCheckpoints(namespace, hub, 'keytrail'))
        .map(({ partitionId, sequenceNumber }) => `${partitionId}:${sequenceNumber}`)
        .sort()
    /** Puts a record into each partition. */
    const publish = async (count: number) => {
      const producer = new EventHubProducerClient(hubs.connectionString, hub)
      for (let partition = 0; partition < PARTITIONS; partition++)
        await producer.sendBatch(
          Array.from({ length: count }, () => ({ body: { records: [audit()] } })),
          { partitionId: String(partition) },
        )
      await producer.close()
    }
    return { config, container, marks, publish }
  }

  test('are written after the commit, and are where a journal begins that knows nothing', async () => {
    const { config, marks, publish } = await setUp('run')
    const keep = (one: ReturnType<typeof service>) => {
      const path = join(one.folder, 'keytrail.json')
      const sinks = { out: { type: 'ndjson', events: join(one.folder, 'events.ndjson') } }
      writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), sinks }))
      return one
    }
    const first = keep(service([], { sources: { azure: { ...config, start: 'earliest' } } }))
    const other = keep(service([], { sources: { azure: config } }))
    try {
      await publish(3)
      const ran = await first.run()
      expect(ran.code, ran.log).toBe(0)
      expect(await marks()).toEqual(['0:2', '1:2'])
      await publish(2)
      const went = await other.run()
      expect(went.code, went.log).toBe(0)
      const store = other.store()
      expect(store.counters().get('received|azure')).toBe(2 * PARTITIONS)
      store.close()
      expect(await marks()).toEqual(['0:4', '1:4'])
    } finally {
      first.remove()
      other.remove()
    }
  })

  test('do not pass what is not settled', async () => {
    const { config, marks, publish } = await setUp('unsettled')
    await publish(5)
    const options = { follow: true, onNotice: () => {} }
    const source = sourceOf('azure', sourceConfig.parse({ ...config, start: 'earliest' }), options)
    const stop = new AbortController()
    let left = 4
    const settles: (() => Promise<void>)[] = []
    await source.read(
      () => undefined,
      async (piece) => {
        if (piece === 'idle' || piece.bytes.length === 0 || !piece.place.includes('/0@')) return
        if (piece.settle !== undefined && settles.length < 2) settles.push(piece.settle)
        if (--left === 0) stop.abort()
      },
      stop.signal,
      async () => undefined,
    )
    for (const settle of settles) await settle()
    await source.close?.()
    expect(await marks()).toEqual(['0:1'])
  })

  test('a container that is away keeps nobody from reading on; where to begin is waited for', async () => {
    const { config, container, marks, publish } = await setUp('away')
    await publish(2)
    await container.delete()
    const notices: string[] = []
    const open = () =>
      sourceOf('azure', sourceConfig.parse({ ...config, start: 'earliest' }), {
        follow: true,
        onNotice: (text) => notices.push(text),
      })
    const waits = reading(open())
    await eventually('it waits', () => notices.some((text) => text.includes('cannot be read')))
    expect(waits.pieces.map(({ trouble }) => trouble)).toContainEqual(
      expect.stringContaining('checkpoints in'),
    )
    expect(waits.texts()).toEqual([])
    await eventually('the container is there again', () =>
      container.create().then(
        () => true,
        () => false,
      ),
    )
    await eventually('it reads', () => waits.texts().length === 2 * PARTITIONS)
    await waits.stop()
    expect(await marks()).toEqual(['0:1', '1:1'])
    await container.delete()
    await publish(1)
    const goesOn = reading(open(), waits.positions)
    await eventually('it reads on', () => goesOn.texts().length === PARTITIONS)
    await goesOn.stop()
    expect(notices.some((text) => text.includes('is not written'))).toBe(true)
  })
})
