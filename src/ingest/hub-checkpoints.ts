/**
 * Checkpoints of Event Hubs in a container of Azure Storage, in the form of the vendor's clients: for whoever watches
 * the lag there or takes over from there. They are written after the commit, and read only where the journal knows nothing.
 */
import type { Checkpoint, CheckpointStore } from '@azure/event-hubs'
import { messageOf } from '../model/error.ts'
import type { EventHubsConfig } from '../model/sources.ts'
import type { HubAccess } from './hub-client.ts'
import { BEFORE_ALL, type HubPartition } from './hub-partition.ts'

export interface CheckpointAccess extends HubAccess, Pick<EventHubsConfig, 'checkpoints'> {}

/** Reading does not wait for a storage account. */
const PATIENCE = { retryOptions: { maxTries: 2, tryTimeoutInMs: 10_000 } }

/** @throws KeytrailError when a secret is missing */
const openStore = async (access: CheckpointAccess, url: string): Promise<CheckpointStore> => {
  const { BlobCheckpointStore } = await import('@azure/eventhubs-checkpointstore-blob')
  const { ContainerClient } = await import('@azure/storage-blob')
  const secret = access.checkpoints?.connection_string
  const name = new URL(url).pathname.split('/').at(-1) ?? ''
  return new BlobCheckpointStore(
    secret === undefined
      ? new ContainerClient(url, await access.credential(), PATIENCE)
      : new ContainerClient(access.secretOf(secret), name, PATIENCE),
  )
}

export const hubCheckpoints = (access: CheckpointAccess, onTrouble: (text: string) => void) => {
  const { consumer_group, checkpoints, connection_string } = access
  const pending = new Map<string, Checkpoint>()
  let opened: CheckpointStore | undefined
  let writing = Promise.resolve()

  const namespaceOf = async () => {
    if (connection_string === undefined) return access.namespace ?? ''
    const { parseEventHubConnectionString } = await import('@azure/event-hubs')
    const { fullyQualifiedNamespace } = parseEventHubConnectionString(access.secretOf(connection_string))
    return fullyQualifiedNamespace.replace(/:\d+$/, '') // as the vendor's client has it
  }
  const open = async (url: string) => {
    opened ??= await openStore(access, url)
    return opened
  }
  const write = async (url: string) => {
    for (const [keep, one] of [...pending])
      try {
        await (await open(url)).updateCheckpoint({ ...one, fullyQualifiedNamespace: await namespaceOf() })
        if (pending.get(keep) === one) pending.delete(keep)
      } catch (cause) {
        onTrouble(`the checkpoint of ${keep} is not written to ${url}, and tried again: ${messageOf(cause)}`)
      }
  }

  return {
    isOn: checkpoints !== undefined,
    /** The journal holds everything up to there. */
    settled({ hub, id, keep }: HubPartition, sequenceNumber: number, offset: string | undefined) {
      if (offset === undefined || offset === BEFORE_ALL) return
      pending.set(keep, {
        fullyQualifiedNamespace: '',
        eventHubName: hub,
        consumerGroup: consumer_group,
        partitionId: id,
        sequenceNumber,
        offset,
      })
    },
    /** What is there of a partition. @throws when the container does not answer: then nobody knows where to begin */
    async known({ hub, id }: HubPartition): Promise<Checkpoint | undefined> {
      if (checkpoints === undefined) return undefined
      const store = await open(checkpoints.container)
      const all = await store.listCheckpoints(await namespaceOf(), hub, consumer_group).catch((cause) => {
        throw new Error(
          `the checkpoints in ${checkpoints.container} cannot be read (is the container there, and the role Storage Blob Data Contributor given?): ${messageOf(cause)}`,
        )
      })
      return all.find(({ partitionId }) => partitionId === id)
    },
    /** Writes what was settled. */
    flush(): Promise<void> {
      if (checkpoints !== undefined) writing = writing.then(() => write(checkpoints.container))
      return writing
    },
  }
}
