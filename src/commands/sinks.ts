/** The sinks of a configuration, each with what it takes. */
import { hostname } from 'node:os'
import { readSecret, Secret } from '../config/secrets.ts'
import { azureToken } from '../forward/azure-token.ts'
import { consoleSink } from '../forward/console.ts'
import { kafkaSink } from '../forward/kafka.ts'
import { ndjsonSink } from '../forward/ndjson.ts'
import type { Encoder } from '../forward/parts.ts'
import { sentinelEncoder, sentinelSink } from '../forward/sentinel.ts'
import { hecEncoder, splunkSink } from '../forward/splunk.ts'
import { syslogSink } from '../forward/syslog.ts'
import { webhookSink } from '../forward/webhook.ts'
import { explained, hangUp, openKafka, rootOf, tlsOf } from '../ingest/kafka-client.ts'
import type { Alert } from '../model/alert.ts'
import type { Config } from '../model/config.ts'
import type { KeyEvent } from '../model/event.ts'
import {
  categories as allCategories,
  type Criticality,
  criticalities,
  type OperationCategory,
} from '../model/operations.ts'
import type { Format } from '../model/setting.ts'
import type { ForwardOptions, Selection } from '../pipeline/forward.ts'
import { type Sink, SinkFault } from '../pipeline/ports.ts'
import { type Rendering, renderings } from '../render/renderings.ts'
import { renderAlertLine } from '../render/terminal.ts'

export interface ConfiguredSink
  extends Pick<ForwardOptions, 'sink' | 'selection' | 'maxWaitMs' | 'batchBytes'> {
  /** Bytes of one as it is sent, before compression. */
  readonly size: {
    event(json: string): number
    alert(alert: Alert): number
  }
}

const lineSize = ({ event, alert }: Rendering): ConfiguredSink['size'] => ({
  event: (json) => Buffer.byteLength(event(json)) + 1,
  alert: (one) => Buffer.byteLength(alert(one)) + 1,
})
const sentSize = ({ event, alert }: Encoder, between: number): ConfiguredSink['size'] => ({
  event: (json) => event(json).bytes.length + between,
  alert: (one) => alert(one).bytes.length + between,
})

/** An acknowledgement takes a second or more: what is delivered together must be worth the wait. */
const ACKNOWLEDGED_BYTES = 2 * 1024 * 1024
/** A few full requests at the same time. */
const SENTINEL_BYTES = 1024 * 1024

const everything = (feed: boolean, alerts: boolean): Selection => ({
  feed,
  alerts,
  wantsAlert: () => true,
  wantsEvent: () => true,
})

/** @param name as in the configuration @throws SinkFault */
const secretOf = (name: string): string => {
  const found = readSecret(name)
  if (found instanceof Secret) return found.reveal()
  throw new SinkFault(found.missing)
}

const atLeast = (least: Criticality) => {
  const enough = new Set(criticalities.slice(criticalities.indexOf(least)))
  return (one: Criticality) => enough.has(one)
}

const alertsFrom = (least: Criticality): Selection => {
  const wants = atLeast(least)
  return { ...everything(false, true), wantsAlert: ({ severity }) => wants(severity) }
}

interface FeedConfig {
  readonly criticality: Criticality
  readonly categories: readonly OperationCategory[]
}

const feedOf = ({ criticality, categories }: FeedConfig): Selection => {
  if (criticality === 'info' && allCategories.every((one) => categories.includes(one)))
    return everything(true, false)
  const wants = atLeast(criticality)
  const all = new Set(categories)
  return {
    ...everything(true, false),
    wantsEvent(json) {
      const event = JSON.parse(json) as KeyEvent // journaled: it follows the schema
      return wants(event.criticality) && all.has(event.operation_category)
    },
  }
}

type SinkConfig<T extends Config['sinks'][string]['type']> = Extract<Config['sinks'][string], { type: T }>

interface Streams<A, F> {
  readonly alerts?: A | undefined
  readonly feed?: F | undefined
  readonly format: Format
  readonly max_wait_seconds: number
}

/** Alerts and feed apart, so that one that is stuck does not hold the other. */
const streamsOf = <A extends { severity: Criticality }, F extends Parameters<typeof feedOf>[0]>(
  name: string,
  { alerts, feed, format, max_wait_seconds }: Streams<A, F>,
  make: (name: string, stream: A | F, rendering: Rendering) => Sink,
): ConfiguredSink[] => {
  const rendering = renderings[format]
  const one = (sink: Sink, selection: Selection): ConfiguredSink => ({
    sink,
    selection,
    maxWaitMs: max_wait_seconds * 1000,
    size: lineSize(rendering),
  })
  return [
    ...(alerts === undefined ? [] : [one(make(name, alerts, rendering), alertsFrom(alerts.severity))]),
    ...(feed === undefined ? [] : [one(make(`${name}.feed`, feed, rendering), feedOf(feed))]),
  ]
}

const splunk = (
  name: string,
  sink: SinkConfig<'splunk'>,
  onNotice: (text: string) => void,
): ConfiguredSink[] => {
  const rendering = renderings[sink.format]
  return streamsOf(name, sink, (stream, { index, sourcetype }) =>
    splunkSink({
      name: stream,
      url: sink.url,
      token: () => secretOf(sink.token),
      caFile: sink.ca_file,
      ack: sink.ack,
      ackMs: sink.ack_seconds * 1000,
      gzip: sink.gzip,
      index,
      sourcetype,
      rendering,
      inFlight: sink.in_flight,
      onNotice,
    }),
  ).map((one) => ({
    ...one,
    batchBytes: ACKNOWLEDGED_BYTES,
    size: sentSize(hecEncoder({ sourcetype: 'kms:event', rendering }), 0),
  }))
}

const sentinel = (name: string, sink: SinkConfig<'sentinel'>): ConfiguredSink[] => {
  const { endpoint, rule, credential, authority, scope } = sink
  const rendering = renderings[sink.format]
  const token = azureToken({ credential, authority, scope, secretOf })
  return streamsOf(name, sink, (sinkName, { stream }) =>
    sentinelSink({
      name: sinkName,
      endpoint,
      rule,
      stream,
      rendering,
      token,
      caFile: sink.ca_file,
      inFlight: sink.in_flight,
      clock: Date.now,
    }),
  ).map((one) => ({
    ...one,
    batchBytes: SENTINEL_BYTES,
    size: sentSize(sentinelEncoder(rendering), 1),
  }))
}

/** @param name as configured; a second stream of the same sink is called `NAME.feed` */
export const sinksOf = (
  name: string,
  sink: Config['sinks'][string],
  onNotice: (text: string) => void,
): ConfiguredSink[] => {
  switch (sink.type) {
    case 'ndjson':
      return [
        {
          sink: ndjsonSink(
            name,
            {
              ...(sink.events !== undefined && { events: sink.events }),
              ...(sink.alerts !== undefined && { alerts: sink.alerts }),
            },
            renderings[sink.format],
          ),
          selection: everything(sink.events !== undefined, sink.alerts !== undefined),
          size: lineSize(renderings[sink.format]),
        },
      ]
    case 'console': {
      const color = process.stdout.isTTY === true && !process.env['NO_COLOR']
      const rendering = renderings[sink.format === 'text' || sink.format === 'json' ? 'native' : sink.format]
      const render = (alert: Alert) =>
        sink.format === 'text' ? renderAlertLine(alert, { color }) : `${rendering.alert(alert)}\n`
      return [
        {
          sink: consoleSink(name, process.stdout, render),
          selection: everything(false, true),
          size: lineSize(rendering),
        },
      ]
    }
    case 'splunk':
      return splunk(name, sink, onNotice)
    case 'sentinel':
      return sentinel(name, sink)
    case 'kafka':
      return streamsOf(name, sink, (stream, { topic }, rendering) =>
        kafkaSink({
          name: stream,
          topic,
          rendering,
          compression: sink.compression,
          client: { open: () => openKafka({ ...sink, secretOf }), explained, hangUp, rootOf },
        }),
      )
    case 'webhook':
      return streamsOf(name, sink, (stream, _, rendering) =>
        webhookSink({ ...sink, name: stream, rendering, secretOf, clock: Date.now }),
      )
    case 'syslog':
      return streamsOf(name, sink, (stream, _, rendering) =>
        syslogSink({
          ...sink,
          name: stream,
          rendering,
          hostname: sink.hostname ?? hostname(),
          tls: () => tlsOf(sink.tls),
        }),
      )
  }
}
