/** Labels of an event from what the operator knows, as it held at the time of the event. */
import type { KeyEvent } from '../model/event.ts'
import type { Knowledge } from '../model/knowledge.ts'
import { wildcardMatch } from '../model/wildcard.ts'
import { databaseLabeler } from './databases.ts'
import { holdsAt } from './effective.ts'
import { accountsGiven } from './recipients.ts'

type Labeled = Knowledge['labels'][number]

export type LabelsOf = (event: KeyEvent) => Readonly<Record<string, string>> | undefined

/** Finds what is said about an id: quickly where it is named, one by one where a pattern may match. */
const indexOf = (all: readonly Labeled[]) => {
  const exact = new Map<string, [number, Labeled][]>()
  const patterns: [number, Labeled][] = []
  for (const [place, one] of all.entries()) {
    const key = one.match.toLowerCase()
    if (key.includes('*')) patterns.push([place, one])
    else exact.set(key, [...(exact.get(key) ?? []), [place, one]])
  }
  return (id: string | undefined, time: string): Record<string, string> => {
    if (id === undefined) return {}
    const key = id.toLowerCase()
    const found = [
      ...(exact.get(key) ?? []),
      ...patterns.filter(([, one]) => wildcardMatch(one.match.toLowerCase(), key)),
    ]
    return Object.assign(
      {},
      ...found
        .filter(([, one]) => holdsAt(one, time))
        .sort(([a], [b]) => a - b)
        .map(([, one]) => one.labels),
    ) as Record<string, string>
  }
}

const prefixed = (labels: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(labels).map(([name, value]) => [`caller_${name}`, value]))

type Relation = 'own' | 'partner' | 'stranger'
/** @returns nothing without a list of our own accounts: then nobody can say who is outside */
type Relate = (account: string, target: string | undefined, time: string) => Relation | undefined

const relating = (known: Knowledge): Relate => {
  const own = new Set(known.own_accounts.map((one) => one.toLowerCase()))
  return (account, target, time) => {
    if (own.size === 0) return undefined
    const [from, to] = [account.toLowerCase(), target?.toLowerCase()]
    if (own.has(from)) return 'own'
    const isPartner = known.partners.some(
      (one) =>
        one.actor.toLowerCase() === from &&
        (one.target === '*' || one.target.toLowerCase() === to) &&
        holdsAt(one, time),
    )
    return isPartner ? 'partner' : 'stranger'
  }
}

/** Where the caller of another account stands. */
const relationOf = ({ actor, target, initiated_by, time }: KeyEvent, relate: Relate) =>
  target.cross_account !== true ||
  actor.account === undefined ||
  initiated_by === 'cloud_service' ||
  initiated_by === 'cloud_internal'
    ? undefined
    : relate(actor.account, target.account, time.event)

/** Whether a change gives somebody outside a permission. */
const sharedWith = (event: KeyEvent, relate: Relate): Relation | undefined => {
  const { target, time } = event
  const strangers = accountsGiven(event).filter(
    (account) => account !== target.account && relate(account, target.account, time.event) === 'stranger',
  )
  return strangers.length > 0 ? 'stranger' : undefined
}

/** The planned work in whose time and place an event falls. */
const plannedWork = ({ target, time }: KeyEvent, windows: Knowledge['change_windows']) => {
  const places = [target.key_id, target.container, target.account]
  const open = windows.find(
    (one) =>
      holdsAt(one, time.event) &&
      places.some(
        (place) => place !== undefined && wildcardMatch(one.match.toLowerCase(), place.toLowerCase()),
      ),
  )
  return open && { change_window: open.note ?? open.match }
}

/**
 * Labels of the key count first, then those of its account; those of the caller are called `caller_…`; `relation`
 * says where a caller of another account stands, `shared_with` whether a change lets a stranger in; `database_…`
 * are of the database register.
 */
export const labeler = (known: Knowledge): LabelsOf => {
  if (
    [known.labels, known.own_accounts, known.change_windows, known.databases].every((all) => all.length === 0)
  )
    return () => undefined
  const index = (kind: Labeled['kind']) => indexOf(known.labels.filter((one) => one.kind === kind))
  const [ofKey, ofPrincipal, ofAccount] = [index('key'), index('principal'), index('account')]
  const relate = relating(known)
  const ofDatabase = databaseLabeler(known.databases)
  return (event) => {
    const time = event.time.event
    const relation = relationOf(event, relate)
    const shared = event.change === undefined ? undefined : sharedWith(event, relate)
    const labels = {
      ...ofAccount(event.target.account, time),
      ...ofKey(event.target.container, time),
      ...ofKey(event.target.key_id, time),
      ...prefixed(ofPrincipal(event.actor.principal ?? event.actor.id, time)),
      ...plannedWork(event, known.change_windows),
      ...(relation !== undefined && { relation }),
      ...(shared !== undefined && { shared_with: shared }),
      ...ofDatabase(event),
    }
    return Object.keys(labels).length === 0 ? undefined : labels
  }
}
