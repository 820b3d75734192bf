/** Splunk and Sentinel for a `run` under test: both servers, the configuration of both sinks, what arrived. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { alertStream, eventStream } from '../../src/render/sentinel-template.ts'
import { type Hec, type HecOptions, startHec } from '../standins/hec.ts'
import { CLIENT, type LogsIngestion, startLogsIngestion, TENANT } from '../standins/logs-ingestion.ts'

export interface Siem {
  readonly hec: Hec
  readonly ingestion: LogsIngestion
  readonly sinks: { readonly splunk: object; readonly sentinel: object }
  readonly env: Readonly<Record<string, string>>
  /** The records as they were sent, in the order of arrival, with repeats. */
  arrived(where: 'splunk' | 'sentinel', stream: 'alerts' | 'feed'): Record<string, unknown>[]
  close(): Promise<void>
}

type Native = Record<string, unknown>

export const startSiem = async (options: HecOptions = {}): Promise<Siem> => {
  const names = (stream: typeof alertStream) => stream.columns.map(({ name }) => name)
  const hec = await startHec(options)
  const ingestion = await startLogsIngestion({
    rule: 'dcr-1',
    streams: { [alertStream.stream]: names(alertStream), [eventStream.stream]: names(eventStream) },
  })
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-siem-'))
  const ca = join(folder, 'ca.pem')
  writeFileSync(ca, ingestion.certificate)
  return {
    hec,
    ingestion,
    sinks: {
      splunk: {
        type: 'splunk',
        url: hec.url,
        token: '\u0024{env:HEC_TOKEN}',
        ack_seconds: 2,
        max_wait_seconds: 1,
        alerts: {},
        feed: {},
      },
      sentinel: {
        type: 'sentinel',
        endpoint: ingestion.url,
        rule: 'dcr-1',
        credential: {
          type: 'client_secret',
          tenant: TENANT,
          client: CLIENT,
          secret: '\u0024{env:ENTRA_SECRET}',
        },
        authority: ingestion.url,
        ca_file: ca,
        max_wait_seconds: 1,
        alerts: {},
        feed: {},
      },
    },
    env: { HEC_TOKEN: hec.token, ENTRA_SECRET: ingestion.secret, NODE_EXTRA_CA_CERTS: ca },
    arrived(where, stream) {
      if (where === 'splunk') {
        const sourcetype = stream === 'alerts' ? 'kms:alert' : 'kms:event'
        return hec.indexed.flatMap((one) =>
          one.sourcetype === sourcetype ? [one.event['kms'] as Native] : [],
        )
      }
      const rows = ingestion.rows.get((stream === 'alerts' ? alertStream : eventStream).stream) ?? []
      return rows.map((row) => row['AdditionalFields'] as Native)
    },
    async close() {
      await hec.close()
      await ingestion.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
