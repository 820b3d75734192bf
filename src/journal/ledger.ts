/** The ledger of the journal: what became of each object of a bucket, and whether it is what was delivered. */
import type { SQLInputValue } from 'node:sqlite'
import type { IntegrityVerdict, ObjectVerdict } from '../model/integrity.ts'
import { afterDigest, type Fate, type KnownDigest, type LedgerEntry } from '../pipeline/ports.ts'

export const LEDGER_SCHEMA = `
CREATE TABLE ledger(feed TEXT, place TEXT, version TEXT, outcome TEXT, reason TEXT, detail TEXT, records INTEGER, at INTEGER,
  PRIMARY KEY(feed, place)) WITHOUT ROWID;
CREATE INDEX ledger_by_age ON ledger(at);
CREATE INDEX ledger_digests ON ledger(feed, at) WHERE reason = 'digest';
CREATE TABLE integrity(object TEXT PRIMARY KEY, verdict TEXT, at INTEGER) WITHOUT ROWID;
CREATE INDEX integrity_by_age ON integrity(at);
`

type Row = Record<string, SQLInputValue>

export interface Sql {
  run(sql: string, ...values: SQLInputValue[]): number
  one(sql: string, ...values: SQLInputValue[]): Row | undefined
  all(sql: string, ...values: SQLInputValue[]): Row[]
}

/** How many objects of a feed have one fate. */
export interface FateCount {
  readonly feed: string
  readonly outcome: Fate['outcome']
  readonly reason: string | undefined
  readonly objects: number
  readonly records: number
}

/** An object whose records are missing, for good or until now. */
export interface Missing {
  readonly feed: string
  readonly place: string
  readonly outcome: Fate['outcome']
  readonly reason: string
  readonly detail: string
  /** Milliseconds since 1970. */
  readonly at: number
}

const DAY_MS = 86_400_000
/** As long as SQS keeps a message at most: it cannot come again after that. */
const DONE_DAYS = 14
/** What is missing is a gap in the evidence of an audit: a year, and a month to look at it. */
const MISSING_DAYS = 396
/** Verdicts that nothing is wrong: two quarters, for who asks about the last one. */
const PROVEN_DAYS = 184
const GONE = "('failed', 'waiting')"

const reasonOf = (row: Row) => (row['reason'] === null ? undefined : String(row['reason']))
const outcomeOf = (row: Row) => row['outcome'] as Fate['outcome'] // written by `keep`

export const ledgerOver = ({ run, one, all }: Sql) => ({
  keep(entries: readonly LedgerEntry[], at: number): void {
    for (const { feed, place, version, outcome, reason, detail, records } of entries)
      run(
        'INSERT OR REPLACE INTO ledger VALUES(?, ?, ?, ?, ?, ?, ?, ?)',
        feed,
        place,
        version,
        outcome,
        reason ?? null,
        detail,
        records,
        at,
      )
  },
  fate(feed: string, place: string): Fate | undefined {
    const row = one('SELECT * FROM ledger WHERE feed = ? AND place = ?', feed, place)
    return (
      row && {
        outcome: outcomeOf(row),
        reason: reasonOf(row) as Fate['reason'], // written by `keep`
        detail: String(row['detail']),
        version: String(row['version']),
      }
    )
  },
  keepVerdicts(verdicts: readonly ObjectVerdict[], at: number): void {
    for (const { object, verdict } of verdicts)
      run('INSERT OR REPLACE INTO integrity VALUES(?, ?, ?)', object, verdict, at)
  },
  digests(feed: string, since: number): KnownDigest[] {
    return all(
      `SELECT l.place, l.at, i.verdict, last.object AS last FROM ledger l LEFT JOIN integrity i ON i.object = l.place
       LEFT JOIN integrity last ON last.object = ?3 || l.place
       WHERE l.feed = ?1 AND l.reason = 'digest' AND l.at >= ?2 ORDER BY l.at`,
      feed,
      since,
      afterDigest(''),
    ).map((row) => ({
      place: String(row['place']),
      at: Number(row['at']),
      verdict: (row['verdict'] ?? undefined) as IntegrityVerdict | undefined, // written by `keepVerdicts`
      isLast: row['last'] !== null,
    }))
  },
  /** How many objects have each verdict. */
  verdicts(): Partial<Record<IntegrityVerdict, number>> {
    const rows = all(
      "SELECT verdict, count(*) AS objects FROM integrity WHERE object LIKE 's3:%' GROUP BY verdict",
    )
    return Object.fromEntries(rows.map((row) => [row['verdict'], Number(row['objects'])]))
  },
  counts(): FateCount[] {
    return all(
      'SELECT feed, outcome, reason, count(*) AS objects, sum(records) AS records FROM ledger GROUP BY feed, outcome, reason',
    ).map((row) => ({
      feed: String(row['feed']),
      outcome: outcomeOf(row),
      reason: reasonOf(row),
      objects: Number(row['objects']),
      records: Number(row['records']),
    }))
  },
  /** Newest first. */
  missing(limit: number): Missing[] {
    return all(`SELECT * FROM ledger WHERE outcome IN ${GONE} ORDER BY at DESC, place LIMIT ?`, limit).map(
      (row) => ({
        feed: String(row['feed']),
        place: String(row['place']),
        outcome: outcomeOf(row),
        reason: reasonOf(row) ?? '',
        detail: String(row['detail']),
        at: Number(row['at']),
      }),
    )
  },
  trim(now: number): void {
    run(`DELETE FROM ledger WHERE at < ? AND outcome NOT IN ${GONE}`, now - DONE_DAYS * DAY_MS)
    run('DELETE FROM ledger WHERE at < ?', now - MISSING_DAYS * DAY_MS)
    run("DELETE FROM integrity WHERE at < ? AND verdict <> 'failed'", now - PROVEN_DAYS * DAY_MS)
    run('DELETE FROM integrity WHERE at < ?', now - MISSING_DAYS * DAY_MS)
  },
})
