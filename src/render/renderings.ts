/** What a sink can send: an event and an alert as JSON text in each format. A format is one file beside this one. */
import type { Alert } from '../model/alert.ts'
import type { KeyEvent } from '../model/event.ts'
import type { Format } from '../model/setting.ts'
import { asimAlert, asimEvent } from './asim.ts'
import { cimAlert, cimEvent } from './cim.ts'
import { ecsAlert, ecsEvent, ecsEventBefore87 } from './ecs.ts'
import { ocsfAlert, ocsfEvent } from './ocsf.ts'

export interface Rendering {
  /** @param json the event as it is journaled @param event the same, where it is parsed already @returns JSON on one line */
  event(json: string, event?: KeyEvent): string
  /** @returns JSON on one line */
  alert(alert: Alert): string
}

/** A journaled event follows the schema. */
const parse = (json: string) => JSON.parse(json) as KeyEvent

const shaped = (event: (of: KeyEvent) => object, alert: (of: Alert) => object): Rendering => ({
  event: (json, of = parse(json)) => JSON.stringify(event(of)),
  alert: (of) => JSON.stringify(alert(of)),
})

export const renderings: Readonly<Record<Format, Rendering>> = {
  native: { event: (json) => json, alert: (alert) => JSON.stringify(alert) },
  cim: { event: (json, event = parse(json)) => cimEvent(event, json), alert: cimAlert },
  asim: shaped(asimEvent, asimAlert),
  ocsf: shaped(ocsfEvent, ocsfAlert),
  ecs: shaped(ecsEvent, ecsAlert),
  ecs_before_8_7: shaped(ecsEventBefore87, ecsAlert),
}
