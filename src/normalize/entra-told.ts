/** What an Entra record tells, whichever of its logs it is from. */
import type { KeyEvent } from '../model/event.ts'
import type { AzureFacts } from './azure-event.ts'

type Actor = KeyEvent['actor']

export interface Party {
  readonly id: string | undefined
  readonly name: string | undefined
  readonly appid: string | undefined
  readonly type: Actor['type']
  readonly by: KeyEvent['initiated_by']
}

export interface Told extends Pick<AzureFacts, 'native' | 'mapping' | 'effect' | 'result' | 'action'> {
  readonly party: Party
  readonly actor?: Partial<Actor>
  readonly auth: KeyEvent['auth']
  readonly ip: unknown
  readonly agent: unknown
  readonly container: unknown
  readonly disabled?: boolean
  readonly change?: KeyEvent['change']
}
