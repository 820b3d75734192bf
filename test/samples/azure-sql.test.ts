/**
 * The database key scenario of examples/azure-sql/ and its misuses. Records are written from database-keys.md and the
 * vendor's documented shapes, before and apart from the rules; expectations are the document's.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Entry } from '../../scripts/azure-sql/callers.ts'
import { K1 } from '../../scripts/azure-sql/calls.ts'
import { exampleFiles, filesOf, scenario } from '../../scripts/azure-sql/scenario.ts'
import { loadDetectors } from '../../src/config/detectors.ts'
import { loadKnowledge } from '../../src/config/knowledge.ts'
import type { KeyEvent } from '../../src/model/event.ts'
import type { Knowledge } from '../../src/model/knowledge.ts'
import { operations } from '../../src/model/operations.ts'
import { rows as expectedRows } from '../support/azure-sql-rows.ts'
import { type Variant, variants } from '../support/azure-sql-variants.ts'
import { designFolder, hasDesign } from '../support/samples.ts'
import { root, scanBytes, scanCli } from '../support/scan.ts'

const folder = join(root, 'examples', 'azure-sql')
const register = () => loadKnowledge([join(folder, 'databases.yml')]).known

/** What a scan of these records gives, and the entry that each event came from. */
const scan = (entries: readonly Entry[], known?: Knowledge) => {
  const files = filesOf(entries)
  const places = files.map(({ name, text }) => ({ path: name, bytes: Buffer.from(text) }))
  const result = scanBytes(places, known === undefined ? {} : { known })
  const entryOf = ({ raw_ref }: KeyEvent): Entry | undefined => {
    const [name, number] = raw_ref.split(':')
    return files.find((file) => file.name === name)?.entries[Number(number) - 1]
  }
  const counts = (of: 'skipped' | 'rejected') => result.tallies.flatMap((tally) => [...tally[of].keys()])
  const raised = result.alerts.map(({ detector, severity }) => `${detector.id} ${severity}`).sort()
  return { ...result, entryOf, skipped: counts('skipped'), rejected: counts('rejected'), raised }
}

describe('files of the example', () => {
  it.each(exampleFiles)('$name is what the generator writes', ({ name, text }) =>
    expect(readFileSync(join(folder, name), 'utf8')).toBe(text),
  )
  it('there are no others but the text about them and the configuration', () => {
    const generated = exampleFiles.map(({ name }) => name)
    expect(readdirSync(folder).sort()).toEqual([...generated, 'README.md', 'keytrail.yml'].sort())
  })
})

describe('the clean run', () => {
  const { events, skipped, rejected, tally, entryOf } = scan(scenario)
  const eventsOf = (row: number) => events.filter((event) => entryOf(event)?.row === row)

  it('every record is kept', () => {
    expect([skipped, rejected, tally.duplicate]).toEqual([[], [], 0])
    expect(events).toHaveLength(scenario.length)
  })
  it('nothing is unknown', () =>
    expect(events.filter((event) => event.operation === 'unknown' || event.parse_warnings)).toEqual([]))

  it.each(expectedRows)('row $row', ({ row, events: expected }) => {
    expect(eventsOf(row)).toHaveLength(expected.length)
    expect(eventsOf(row)).toMatchObject(expected)
  })
  it('row 6 is the same action as row 5', () =>
    expect(eventsOf(6).map(({ action_id }) => action_id)).toEqual(
      eventsOf(5).map(({ action_id }) => action_id),
    ))
})

describe('what only other records and the register know', () => {
  const { events, entryOf } = scan(scenario, register())
  const eventsOf = (row: number) => events.filter((event) => entryOf(event)?.row === row)

  it.each([10, 15, 16, 17, 18])('row %i: omar had a second factor', (row) => {
    for (const { auth } of eventsOf(row)) {
      expect(auth.mfa).toBe('verified')
      expect(auth.mfa_source).toMatch(/^joined_/)
    }
  })
  it.each([22, 23, 24, 25, 26, 35])('row %i: the instance came with its secret', (row) => {
    for (const { actor } of eventsOf(row)) expect(actor.credential_id).toBe(K1)
  })
  it.each([24, 25, 26, 32, 33, 35, 40, 42])('row %i: the key protects a database', (row) => {
    const basis = [32, 33, 40].includes(row) ? 'claim' : 'register'
    for (const { crypto, labels, operation } of eventsOf(row)) {
      if (operation === 'read_metadata') continue
      expect([crypto?.used_for, labels?.['used_for_basis']]).toEqual(['sql', basis])
    }
  })
})

describe.skipIf(!hasDesign)('the table of the document', () => {
  const text = hasDesign ? readFileSync(join(designFolder, 'database-keys.md'), 'utf8') : ''
  const table = text
    .slice(text.indexOf('\n| # | time | category'), text.indexOf('\nExpected: every row normalized'))
    .split('\n')
    .filter((line) => /^\| \d/.test(line))
    .map((line) => line.split(/ *\| */).slice(1, -1))
    .map(([row = '', time = '', category = '', , , normalized = '']) => ({
      row: Number(row),
      time,
      category,
      normalized,
    }))
  it('has 42 rows', () =>
    expect(table.map(({ row }) => row)).toEqual(Array.from({ length: 42 }, (_, at) => at + 1)))

  it.each(table.filter(({ row }) => row !== 36))(
    'row $row: $time $category → $normalized',
    ({ row, time, category, normalized }) => {
      const own = scenario.filter((one) => one.row === row)
      const [day = '', clock = ''] = time.includes(' ') && time.startsWith('d') ? time.split(' ') : ['', time]
      const kind = category.split(':')[0]
      expect(new Set(own.map((one) => one.category))).toEqual(new Set([kind]))
      expect(own[0]?.time.slice(11, 19)).toContain(clock.replace(' …', ''))
      if (day !== '')
        expect((Date.parse(own[0]?.time.slice(0, 10) ?? '') - Date.UTC(2025, 5, 2)) / 86_400_000).toBe(
          Number(day.slice(1)),
        )
      const words = [...normalized.matchAll(/\w+/g)]
        .map(([word]) => word)
        .filter((word) => word in operations)
      const mapped = new Set(
        expectedRows.find((one) => one.row === row)?.events.map((event) => event.operation),
      )
      for (const word of words) expect(mapped).toContain(word)
    },
  )
})

/** Detectors of the table below that do not exist yet. */
const missing: readonly string[] = [
  'chain-delete-purge',
  'coverage-gap',
  'policy-self-grant',
  'policy-then-use',
  'recon-firewall-denied',
  'rotation-overdue',
]
const existing = loadDetectors([], true).detectors.map((one) => one.facts.id)
const idOf = (alert: string) => alert.split(' ')[0] ?? ''
const due = (alerts: readonly string[]) => alerts.filter((one) => !missing.includes(idOf(one))).sort()

describe('detectors of the misuses', () => {
  it.each(missing)('%s does not exist yet', (id) => expect(existing).not.toContain(id))
  it('all others exist', () => {
    const named = variants.flatMap((one) => [...one.alerts, ...(one.nearAlerts ?? []), ...(one.early ?? [])])
    expect(
      due(named)
        .map(idOf)
        .filter((id) => !existing.includes(id)),
    ).toEqual([])
  })
})

describe('alerts', () => {
  it('the clean run with the register: none', () => expect(scan(scenario, register()).raised).toEqual([]))
  it('the clean run without it: two roles on keys, one backup', () =>
    expect(scan(scenario).raised).toEqual([
      'key-backup medium',
      'rbac-key-role medium',
      'rbac-key-role medium',
    ]))

  const misuse = ({ clean, added, near, networks }: Variant) => {
    const known = register()
    const of = networks === undefined ? {} : { networks: [...networks] }
    const databases = known.databases.map((one) => (one.id === 'sql01' ? { ...one, ...of } : one))
    return scan([...clean, ...added, ...near], { ...known, databases })
  }
  it.each(variants)('$id, $title', (one) => {
    const { raised, rejected, skipped, tally } = misuse(one)
    expect([rejected, skipped, tally.duplicate]).toEqual([[], [], one.id === 'V12' ? 7 : 0])
    const wanted = [...one.alerts, ...(one.nearAlerts ?? []), ...(one.early ?? [])]
    expect(raised).toEqual(due(wanted))
  })

  const riskOf = (id: string) => {
    const [found] = variants.filter((one) => one.id === id).map(misuse)
    return found?.alerts
      .filter(({ detector }) => detector.id === 'database-key-at-risk')
      .map((one) => one.explanation)
  }
  it('an alert on a key at risk names the databases, and when they will feel it', () => {
    expect(riskOf('V3')).toEqual([expect.stringMatching(/sql01.*payroll, ledger.*next restart/)])
    expect(riskOf('V4')?.at(-1)).toMatch(/sql-orders.*orders, carts, stock.*2025-06-03T11:30:00/)
    expect(riskOf('V11')).toEqual([expect.stringMatching(/sql01.*payroll, ledger/)])
  })

  it('the program reads the folder with its configuration, and says the same', () => {
    const { summary, alerts } = scanCli(['examples/azure-sql', '--config', 'examples/azure-sql/keytrail.yml'])
    const { length } = scenario
    const none = { duplicate: 0, rejected: 0, skipped: 0 }
    expect(summary.records).toEqual({ ...none, kept: length, received: length })
    expect(summary.files).toEqual({ failed: 0, read: 6, skipped: 3 })
    expect(alerts.map(({ detector, severity }) => `${detector.id} ${severity}`).sort()).toEqual([])
  })
})
