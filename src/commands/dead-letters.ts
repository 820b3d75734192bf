/** `keytrail dead-letters list | show | replay | purge`: what a sink refused, with the reason. */
import { Store } from '../journal/store.ts'
import { KeytrailError } from '../model/error.ts'
import { printable } from '../normalize/text.ts'
import { dataFolder, operator, type Where } from './where.ts'

export interface LetterOptions extends Where {
  readonly json: boolean
}

export const listLetters = (options: LetterOptions): number => {
  const store = new Store(dataFolder(options), 'reader')
  try {
    const found = store.deadLetters()
    for (const { body, ...one } of found)
      process.stdout.write(
        options.json
          ? `${JSON.stringify(one)}\n`
          : `${String(one.n).padStart(6)}  ${one.sink}  ${one.stream}  ${one.id}  ${printable(one.reason)}\n`,
      )
    if (!options.json)
      process.stdout.write(`${found.length} ${found.length === 1 ? 'dead letter' : 'dead letters'}\n`)
    return 0
  } finally {
    store.close()
  }
}

const chosen = (store: Store, numbers: readonly string[], all: boolean) => {
  const letters = store.deadLetters()
  if (all) return letters
  if (numbers.length === 0)
    throw new KeytrailError('usage.option', 'name the numbers of dead letters, or --all')
  return numbers.map((text) => {
    const letter = letters.find((one) => String(one.n) === text)
    if (letter === undefined) throw new KeytrailError('usage.option', `there is no dead letter ${text}`)
    return letter
  })
}

export const showLetter = (number: string, options: LetterOptions): number => {
  const store = new Store(dataFolder(options), 'reader')
  try {
    for (const one of chosen(store, [number], false))
      process.stdout.write(`${JSON.stringify({ ...one, body: JSON.parse(one.body) }, null, 2)}\n`)
    return 0
  } finally {
    store.close()
  }
}

export interface DecideOptions extends Where {
  readonly all: boolean
  readonly reason: string
}

/** A running service sends them; otherwise the next one does. */
export const decideLetters = (
  what: 'again' | 'remove',
  numbers: readonly string[],
  options: DecideOptions,
): number => {
  const store = new Store(dataFolder(options), 'operator')
  try {
    const letters = chosen(store, numbers, options.all)
    const body = JSON.stringify({
      reason: printable(options.reason),
      letters: letters.map(({ n, sink, id }) => ({ n, sink, id })),
    })
    const kind = what === 'again' ? 'replay' : 'purge'
    store.decideLetters(
      letters.map(({ n }) => n),
      what,
      { kind, ordered: false, who: operator(), body },
      Date.now(),
    )
    process.stdout.write(`${letters.length} ${what === 'again' ? 'will be sent again' : 'removed'}\n`)
    return 0
  } finally {
    store.close()
  }
}
