/**
 * The journal in SQLite, synchronous: in a worker thread of `run` (`sqlite.ts`), in memory for tests, and read by
 * the commands of an operator while `run` is at work. WAL with `synchronous=FULL`: what is committed survives a
 * power cut.
 */
import { mkdirSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { isTimed } from '../detect/state.ts'
import type { Alert } from '../model/alert.ts'
import { KeytrailError } from '../model/error.ts'
import { criticalities } from '../model/operations.ts'
import { sha256 } from '../normalize/text.ts'
import type {
  Block,
  Commit,
  Control,
  Cursor,
  DeadLetter,
  KnownId,
  Loaded,
  Position,
  StoredAlert,
  Trouble,
  Wanted,
} from '../pipeline/ports.ts'
import { decompress, unpackBlock } from './block.ts'
import { LEDGER_SCHEMA, ledgerOver } from './ledger.ts'

/** Raised when a table changes; a journal of another version is refused, never guessed at. */
const SCHEMA_VERSION = 4

const SCHEMA = `
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE log(seq INTEGER PRIMARY KEY, at INTEGER, count INTEGER, first_event INTEGER, last_event INTEGER,
  bytes INTEGER, digest TEXT, data BLOB);
CREATE TABLE control(n INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER, at INTEGER, kind TEXT, who TEXT, body TEXT);
CREATE TABLE positions(feed TEXT, place TEXT, value TEXT, PRIMARY KEY(feed, place)) WITHOUT ROWID;
CREATE TABLE alerts(n INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER, alert_id TEXT, revision INTEGER, at INTEGER,
  time TEXT, severity INTEGER, signal INTEGER, body TEXT);
CREATE UNIQUE INDEX alert_revisions ON alerts(alert_id, revision);
CREATE TABLE rejected(n INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER, reason TEXT, body TEXT);
CREATE TABLE ids(id BLOB PRIMARY KEY, digest TEXT, seq INTEGER, item INTEGER) WITHOUT ROWID;
CREATE INDEX ids_by_age ON ids(seq);
CREATE TABLE state(key TEXT PRIMARY KEY, value TEXT, due INTEGER, timed INTEGER) WITHOUT ROWID;
CREATE INDEX state_by_due ON state(due) WHERE timed = 0;
CREATE INDEX state_timed ON state(due, key) WHERE timed = 1;
CREATE TABLE lists(name TEXT, chunk INTEGER, part INTEGER, entries TEXT, due INTEGER,
  PRIMARY KEY(name, chunk, part)) WITHOUT ROWID;
CREATE INDEX lists_by_due ON lists(due);
CREATE TABLE unmerged(seq INTEGER PRIMARY KEY, lists TEXT);
CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE sinks(name TEXT PRIMARY KEY, feed INTEGER, alerts INTEGER, passed INTEGER, memo TEXT) WITHOUT ROWID;
CREATE TABLE troubles(sink TEXT PRIMARY KEY, since INTEGER, reason TEXT, fault INTEGER) WITHOUT ROWID;
CREATE TABLE dead(n INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT, stream TEXT, id TEXT, reason TEXT, body TEXT, at INTEGER,
  again INTEGER);
${LEDGER_SCHEMA}`

/** File systems whose locks and flushes cannot be trusted, by the magic number of statfs(2). */
const NETWORK_FILE_SYSTEMS = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x5346414f, 'AFS'],
])

export type Access =
  /** The one process that judges: takes the lock. */
  | 'judge'
  /** Writes what the judge does not: dispositions, dead letters. */
  | 'operator'
  | 'reader'

/** What retention keeps of blocks that every sink has passed. */
export interface Retention {
  readonly days: number
  readonly bytes: number
}

/** The streams that history takes row by row. */
const STREAMS = {
  alerts: 'SELECT n, seq, at, signal, body FROM alerts',
  rejections: 'SELECT n, at, body FROM rejected',
  control: 'SELECT n, seq, at, kind, who, body FROM control',
}

/** What lies behind a cursor. */
export interface Waiting {
  readonly events: number
  /** When the oldest of it was kept, milliseconds since 1970; ticks left out. */
  readonly oldest: number | undefined
  readonly tick: number | undefined
}

export interface StoredRow {
  readonly n: number
  readonly seq: number
  readonly kept: number
  readonly isSignal: boolean
  readonly body: string
}

const actOf = ({ n = 0, kind = '', who = '', body = '' }: Row) => ({ n, kind, who, body })

const DAY_MS = 86_400_000
/** How long a repeat is known as one (detection-science.md section 4). */
const IDS_DAYS = 7

type Row = Record<string, SQLInputValue>

/** To SQLite: a database in memory that overflows into a nameless file. */
const TEMPORARY = ''

export class Store {
  readonly #db: DatabaseSync
  readonly #lock: { close(): void } | undefined
  readonly #folder: string | undefined
  readonly #epoch: number
  readonly #prepared = new Map<string, StatementSync>()
  /** What became of objects. */
  readonly ledger = ledgerOver({
    run: (...all) => this.#run(...all),
    one: (...all) => this.#one(...all),
    all: (...all) => this.#all(...all),
  })

  /**
   * @param folder the data directory; `undefined` keeps everything until it is closed, in memory and what it cannot hold on disk
   * @throws KeytrailError `journal.locked`, `journal.missing`, `journal.version`, `journal.network`
   */
  constructor(folder: string | undefined, access: Access) {
    this.#folder = folder
    const path = folder === undefined ? TEMPORARY : join(folder, 'journal.db')
    if (folder !== undefined && access === 'judge') {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      const network = NETWORK_FILE_SYSTEMS.get(statfsSync(folder).type)
      if (network !== undefined)
        throw new KeytrailError('journal.network', `${folder} is on a network file system (${network})`)
      this.#lock = lockOf(folder, JUDGE)
    }
    let db: DatabaseSync | undefined
    try {
      db = new DatabaseSync(path, { readOnly: access === 'reader', timeout: 5000 })
      prepare(db, folder, access)
      this.#db = db
      this.#epoch = Number(this.#one(`SELECT value FROM meta WHERE name='epoch'`)?.['value'] ?? 0)
      if (access !== 'judge') return
      this.#epoch++
      this.#run(`INSERT OR REPLACE INTO meta VALUES('epoch', ?)`, this.#epoch)
    } catch (cause) {
      db?.close()
      this.#lock?.close()
      if (isCannotOpen(cause) && access !== 'judge') throw missing(folder)
      throw cause
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#prepared.get(sql)
    if (statement === undefined) {
      statement = this.#db.prepare(sql)
      this.#prepared.set(sql, statement)
    }
    return statement
  }

  #run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...values).changes)
  }

  #one(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined // a row is a record of SQL values
  }

  #all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[] // a row is a record of SQL values
  }

  #atomically(work: () => void): void {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      work()
      this.#db.exec('COMMIT')
    } catch (cause) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw cause
    }
  }

  get next(): number {
    return Number(this.#one(`SELECT value FROM meta WHERE name='seq'`)?.['value'] ?? 0) + 1
  }

  /** @param block its items, packed and compressed; absent when there are none */
  commit(commit: Omit<Commit, 'items'>, block: StoredBlock | undefined): void {
    this.#atomically(() => {
      if (Number(this.#one(`SELECT value FROM meta WHERE name='epoch'`)?.['value']) !== this.#epoch)
        throw new KeytrailError('journal.locked', 'another process has taken over this journal')
      const { seq, at } = commit
      this.#run(`INSERT OR REPLACE INTO meta VALUES('seq', ?)`, seq)
      if (block !== undefined)
        this.#run(
          'INSERT INTO log VALUES(?, ?, ?, ?, ?, ?, ?, ?)',
          seq,
          at,
          block.count,
          block.firstEvent,
          block.lastEvent,
          block.data.length,
          sha256(block.data),
          block.data,
        )
      for (const one of commit.control) this.#control(one, at, one.ordered ? seq : null)
      for (const [feed, places] of commit.positions)
        for (const [place, position] of places)
          this.#run('INSERT OR REPLACE INTO positions VALUES(?, ?, ?)', feed, place, JSON.stringify(position))
      for (const alert of commit.alerts) this.#alert(alert, seq, at, 0)
      for (const signal of commit.signals) this.#alert(signal, seq, at, 1)
      for (const one of commit.rejected)
        this.#run('INSERT INTO rejected VALUES(NULL, ?, ?, ?)', at, one.reason, JSON.stringify(one))
      this.ledger.keep(commit.ledger, at)
      this.ledger.keepVerdicts(commit.integrity ?? [], at)
      for (const [index, { id, digest }] of commit.ids.entries())
        this.#run('INSERT OR REPLACE INTO ids VALUES(?, ?, ?, ?)', Buffer.from(id, 'hex'), digest, seq, index)
      for (const { name, chunk, entries, due } of commit.lists)
        this.#run('INSERT INTO lists VALUES(?, ?, ?, ?, ?)', name, chunk, seq, entries, due)
      if (commit.merged) this.#run('DELETE FROM unmerged')
      if (commit.unmerged !== undefined) this.#run('INSERT INTO unmerged VALUES(?, ?)', seq, commit.unmerged)
      if (commit.forget !== undefined) {
        this.#run('DELETE FROM state WHERE due <= ? AND timed = 0', commit.forget)
        this.#run('DELETE FROM lists WHERE due <= ?', commit.forget)
      }
      for (const { key, value, due } of commit.values)
        if (value === undefined) this.#run('DELETE FROM state WHERE key = ?', key)
        else
          this.#run('INSERT OR REPLACE INTO state VALUES(?, ?, ?, ?)', key, value, due, isTimed(key) ? 1 : 0)
      for (const [name, amount] of commit.counters) this.#count(name, amount)
    })
  }

  #count(name: string, amount: number): void {
    this.#run(
      'INSERT INTO counters VALUES(?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value',
      name,
      amount,
    )
  }

  #control({ kind, who, body }: Control, at: number, seq: number | null): void {
    this.#run('INSERT INTO control VALUES(NULL, ?, ?, ?, ?, ?)', seq, at, kind, who, body)
  }

  #alert(alert: Alert, seq: number, at: number, signal: number): void {
    // A revision that is there already is evidence that came after the alert was final: it edits nothing.
    this.#run(
      'INSERT OR IGNORE INTO alerts VALUES(NULL, ?, ?, ?, ?, ?, ?, ?, ?)',
      seq,
      alert.alert_id,
      alert.revision,
      at,
      alert.time.last_event,
      criticalities.indexOf(alert.severity),
      signal,
      JSON.stringify(alert),
    )
  }

  positions(feed: string): Map<string, Position> {
    const rows = this.#all('SELECT place, value FROM positions WHERE feed = ?', feed)
    return new Map(rows.map((row) => [String(row['place']), JSON.parse(String(row['value'])) as Position])) // written by commit
  }

  known(ids: readonly string[]): Map<string, KnownId> {
    const found = new Map<string, KnownId>()
    for (const id of ids) {
      const row = this.#one('SELECT digest, seq, item FROM ids WHERE id = ?', Buffer.from(id, 'hex'))
      if (row !== undefined)
        found.set(id, { digest: String(row['digest']), seq: Number(row['seq']), index: Number(row['item']) })
    }
    return found
  }

  load({ values, chunks }: Wanted): Loaded {
    return {
      values: values.flatMap((key) => {
        const row = this.#one('SELECT value, due FROM state WHERE key = ?', key)
        return row === undefined ? [] : [[key, String(row['value']), Number(row['due'])] as const]
      }),
      chunks: chunks.flatMap(([name, chunk]) =>
        this.#all('SELECT entries FROM lists WHERE name = ? AND chunk = ? ORDER BY part', name, chunk).map(
          (row) => [name, chunk, String(row['entries'])] as const,
        ),
      ),
    }
  }

  unmerged(): string[] {
    return this.#all('SELECT lists FROM unmerged ORDER BY seq').map((row) => String(row['lists']))
  }

  due(watermark: number): Loaded['values'] {
    return this.#all(
      'SELECT key, value, due FROM state WHERE due <= ? AND timed = 1 ORDER BY due, key',
      watermark,
    ).map((row) => [String(row['key']), String(row['value']), Number(row['due'])] as const)
  }

  /** @throws KeytrailError `journal.damaged` when a block is not what was written */
  blocks(after: number, bytes: number): PackedBlock[] {
    const found: PackedBlock[] = []
    let size = 0
    for (const row of this.#statement(
      'SELECT seq, at, digest, data FROM log WHERE seq > ? ORDER BY seq',
    ).iterate(after)) {
      const block = blockOf(row as Row)
      found.push(block)
      size += block.packed.length
      if (size >= bytes) break
    }
    return found
  }

  block(seq: number): PackedBlock | undefined {
    const row = this.#one('SELECT seq, at, digest, data FROM log WHERE seq = ?', seq)
    return row === undefined ? undefined : blockOf(row)
  }

  /** Blocks that hold events between two times, milliseconds since 1970. */
  *blocksBetween(from: number, to: number): Generator<Block> {
    const rows = this.#all(
      'SELECT seq FROM log WHERE last_event >= ? AND first_event <= ? ORDER BY seq',
      from,
      to,
    )
    for (const row of rows) {
      const block = this.block(Number(row['seq']))
      if (block !== undefined) yield unpacked(block)
    }
  }

  alerts(after: number, limit: number): StoredAlert[] {
    return this.#all(
      'SELECT n, seq, body FROM alerts WHERE n > ? AND signal = 0 ORDER BY n LIMIT ?',
      after,
      limit,
    ).map(storedAlert)
  }

  /** Which journal it is: SHA-256 of its first act. @throws KeytrailError `journal.missing` when it has none yet */
  identity(): string {
    const first = this.#one('SELECT at, who, body FROM control WHERE n = 1')
    if (first === undefined) throw missing(this.#folder)
    return sha256(JSON.stringify([first['at'], first['who'], first['body']]))
  }

  /** Rows of a stream behind a place in it, for history. */
  after(stream: 'alerts' | 'rejections' | 'control', n: number, limit: number): StoredRow[] {
    return this.#all(`${STREAMS[stream]} WHERE n > ? ORDER BY n LIMIT ?`, n, limit).map((row) => ({
      n: Number(row['n']),
      seq: Number(row['seq'] ?? 0),
      kept: Number(row['at']),
      isSignal: row['signal'] === 1,
      body: stream === 'control' ? JSON.stringify(actOf(row)) : String(row['body']),
    }))
  }

  /** Whether there is more behind a cursor than that time passed, and since when. */
  waiting(feed: number, after: Readonly<Record<keyof typeof STREAMS, number>>): Waiting {
    const { events = 0, oldest = null } =
      this.#one(
        `SELECT sum(count) AS events, min(at) AS oldest FROM (
         SELECT count, at FROM log WHERE seq > ?1 UNION ALL SELECT 0, at FROM alerts WHERE n > ?2 UNION ALL
         SELECT 0, at FROM rejected WHERE n > ?3 UNION ALL SELECT 0, at FROM control WHERE n > ?4 AND kind <> 'tick')`,
        feed,
        after.alerts,
        after.rejections,
        after.control,
      ) ?? {}
    const tick = this.#one('SELECT min(at) AS at FROM control WHERE n > ?', after.control)?.['at']
    const since = (at: unknown) => (typeof at === 'number' ? at : undefined)
    return { events: Number(events ?? 0), oldest: since(oldest), tick: since(tick) }
  }

  /** Numbers of the log that are kept, in order: blocks and ordered acts. */
  numbers(): number[] {
    return this.#all(
      'SELECT seq FROM log UNION SELECT seq FROM control WHERE seq IS NOT NULL ORDER BY seq',
    ).map((row) => Number(row['seq']))
  }

  /** Bodies of the alerts and signals that one commit made, in order. */
  alertsOf(seq: number): string[] {
    return this.#all('SELECT body FROM alerts WHERE seq = ? ORDER BY signal, n', seq).map((row) =>
      String(row['body']),
    )
  }

  /** Ordered acts of one commit. */
  controlsOf(seq: number): StoredControl[] {
    return this.#all('SELECT * FROM control WHERE seq = ? ORDER BY n', seq).map(controlOf)
  }

  /** Last revision of each alert whose id begins with `prefix`. */
  alertsBy(prefix: string): StoredAlert[] {
    return this.#all(
      `SELECT n, seq, body FROM alerts a WHERE alert_id >= ? AND alert_id < ? AND revision =
       (SELECT max(revision) FROM alerts b WHERE b.alert_id = a.alert_id) ORDER BY alert_id LIMIT 100`,
      prefix,
      `${prefix}g`,
    ).map(storedAlert)
  }

  /** Last revision of each alert since a time, newest first. */
  alertsSince(since: string, severity: number, limit: number): StoredAlert[] {
    return this.#all(
      `SELECT n, seq, body FROM alerts a WHERE time >= ? AND severity >= ? AND signal = 0 AND revision =
       (SELECT max(revision) FROM alerts b WHERE b.alert_id = a.alert_id) ORDER BY time DESC, n DESC LIMIT ?`,
      since,
      severity,
      limit,
    ).map(storedAlert)
  }

  /** What Keytrail and its operators did, in order. */
  *controls(kind?: string): Generator<StoredControl> {
    for (const row of this.#all(
      'SELECT * FROM control WHERE ?1 IS NULL OR kind = ?1 ORDER BY n',
      kind ?? null,
    ))
      yield controlOf(row)
  }

  /** What `read` asks is of one moment, while others write. */
  snapshot<T>(read: () => T): T {
    this.#db.exec('BEGIN')
    try {
      return read()
    } finally {
      this.#db.exec('COMMIT')
    }
  }

  /** Values and entries that are remembered, by the detector whose they are; `''`: no detector's. Reads all of it. */
  stateSizes(): { readonly detector: string; readonly entries: number; readonly bytes: number }[] {
    return this.#all(
      `SELECT detector, sum(entries) AS entries, sum(bytes) AS bytes FROM (
       SELECT substr(rest, 1, instr(rest, '|') - 1) AS detector, count(*) AS entries, sum(size) AS bytes
       FROM (SELECT CASE WHEN substr(key, 1, instr(key, '|')) IN ('open|', 'days|', 'first|')
         THEN substr(key, instr(key, '|') + 1) ELSE '' END AS rest, length(key) + length(value) AS size FROM state) GROUP BY 1
       UNION ALL SELECT substr(name, 1, instr(name, '|') - 1), count(*), sum(length(name) + length(entries))
       FROM lists GROUP BY 1) GROUP BY 1`,
    ).map((row) => ({
      detector: String(row['detector']),
      entries: Number(row['entries']),
      bytes: Number(row['bytes']),
    }))
  }

  /** Events received since, milliseconds since 1970. */
  eventsSince(at: number): number {
    return Number(this.#one('SELECT sum(count) AS count FROM log WHERE at >= ?', at)?.['count'] ?? 0)
  }

  alertCount(): number {
    return Number(this.#one('SELECT count(*) AS count FROM alerts WHERE signal = 0')?.['count'] ?? 0)
  }

  /** One value of the state. */
  value(key: string): unknown {
    const text = this.#one('SELECT value FROM state WHERE key = ?', key)?.['value']
    return text === undefined ? undefined : JSON.parse(String(text))
  }

  /** Whether a process judges on it now. */
  isLocked(): boolean {
    if (this.#folder === undefined) return false
    try {
      lockOf(this.#folder, JUDGE).close()
      return false
    } catch (cause) {
      if (cause instanceof KeytrailError && cause.code === 'journal.locked') return true
      throw cause
    }
  }

  counters(): Map<string, number> {
    return new Map(
      this.#all('SELECT name, value FROM counters').map((row) => [String(row['name']), Number(row['value'])]),
    )
  }

  cursor(sink: string): Cursor {
    const row = this.#one('SELECT * FROM sinks WHERE name = ?', sink)
    return row === undefined ? { feed: 0, alerts: 0, passed: 0, memo: {} } : cursorOf(row)
  }

  cursors(): Map<string, Cursor> {
    return new Map(this.#all('SELECT * FROM sinks').map((row) => [String(row['name']), cursorOf(row)]))
  }

  settle(sink: string, cursor: Cursor, dead: readonly DeadLetter[], at: number): void {
    this.#atomically(() => {
      this.#run(
        'INSERT OR REPLACE INTO sinks VALUES(?, ?, ?, ?, ?)',
        sink,
        cursor.feed,
        cursor.alerts,
        cursor.passed,
        JSON.stringify(cursor.memo),
      )
      this.#bury(sink, dead, at)
    })
  }

  trouble(sink: string, trouble: Trouble | undefined): void {
    if (trouble === undefined) this.#run('DELETE FROM troubles WHERE sink = ?', sink)
    else
      this.#run(
        'INSERT OR REPLACE INTO troubles VALUES(?, ?, ?, ?)',
        sink,
        trouble.since,
        trouble.reason,
        Number(trouble.fault),
      )
  }

  troubles(): Map<string, Trouble> {
    return new Map(
      this.#all('SELECT * FROM troubles').map((row) => [
        String(row['sink']),
        { since: Number(row['since']), reason: String(row['reason']), fault: row['fault'] === 1 },
      ]),
    )
  }

  /** Removes sinks that are no longer configured: they must not hold the journal back. */
  retire(names: readonly string[]): void {
    for (const name of [...this.cursors().keys(), ...this.troubles().keys()])
      if (!names.includes(name)) {
        this.#run('DELETE FROM sinks WHERE name = ?', name)
        this.trouble(name, undefined)
      }
  }

  /** Events and alerts that a sink has not settled, and the age of the oldest. */
  behind({ feed, alerts }: Cursor): {
    events: number
    alerts: number
    bytes: number
    oldest: number | undefined
  } {
    const log = this.#one(
      'SELECT sum(count) AS events, sum(bytes) AS bytes, min(at) AS oldest FROM log WHERE seq > ?',
      feed,
    )
    const left = this.#one(
      'SELECT count(*) AS count, min(at) AS oldest FROM alerts WHERE n > ? AND signal = 0',
      alerts,
    )
    const oldest = [log?.['oldest'], left?.['oldest']]
      .filter((one) => one !== null && one !== undefined)
      .map(Number)
    return {
      events: Number(log?.['events'] ?? 0),
      alerts: Number(left?.['count'] ?? 0),
      bytes: Number(log?.['bytes'] ?? 0),
      oldest: oldest.length === 0 ? undefined : Math.min(...oldest),
    }
  }

  backlog(): number {
    const feeds = [...this.cursors().values()].map(({ feed }) => feed)
    if (feeds.length === 0) return 0
    return Number(
      this.#one('SELECT sum(bytes) AS bytes FROM log WHERE seq > ?', Math.min(...feeds))?.['bytes'] ?? 0,
    )
  }

  deadCounts(): { readonly sink: string; readonly stream: string; readonly count: number }[] {
    return this.#all(
      'SELECT sink, stream, count(*) AS count FROM dead WHERE again = 0 GROUP BY sink, stream',
    ).map((row) => ({
      sink: String(row['sink']),
      stream: String(row['stream']),
      count: Number(row['count']),
    }))
  }

  deadLetters(): StoredLetter[] {
    return this.#all('SELECT * FROM dead WHERE again = 0 ORDER BY n').map(letterOf)
  }

  /** Dead letters that wait to be sent again. */
  again(sink: string): StoredLetter[] {
    return this.#all('SELECT * FROM dead WHERE again = 1 AND sink = ? ORDER BY n LIMIT 1000', sink).map(
      letterOf,
    )
  }

  settleAgain(sink: string, count: number, dead: readonly DeadLetter[], at: number): void {
    this.#atomically(() => {
      for (const { n } of this.again(sink).slice(0, count)) this.#run('DELETE FROM dead WHERE n = ?', n)
      this.#bury(sink, dead, at)
    })
  }

  #bury(sink: string, dead: readonly DeadLetter[], at: number, again = 0): void {
    for (const one of dead)
      this.#run(
        'INSERT INTO dead VALUES(NULL, ?, ?, ?, ?, ?, ?, ?)',
        sink,
        one.stream,
        one.id,
        one.reason,
        one.body,
        at,
        again,
      )
  }

  /** Has a sink send what it sent before; records who did it and why. */
  sendAgain(sink: string, letters: readonly DeadLetter[], control: Control, at: number): void {
    this.#atomically(() => {
      this.#bury(sink, letters, at, 1)
      this.#control(control, at, null)
    })
  }

  /** Sends dead letters again, or removes them; records who did it and why. */
  decideLetters(numbers: readonly number[], what: 'again' | 'remove', control: Control, at: number): void {
    this.#atomically(() => {
      for (const n of numbers)
        this.#run(
          what === 'again' ? 'UPDATE dead SET again = 1 WHERE n = ?' : 'DELETE FROM dead WHERE n = ?',
          n,
        )
      this.#control(control, at, null)
    })
  }

  /** Records an act of an operator. */
  act(control: Control, at: number): void {
    this.#control(control, at, null)
  }

  rejections(limit: number): string[] {
    return this.#all('SELECT body FROM rejected ORDER BY n DESC LIMIT ?', limit).map((row) =>
      String(row['body']),
    )
  }

  trim(now: number, keep: Retention): void {
    const feeds = [...this.cursors().values()].map(({ feed }) => feed)
    const passed = feeds.length === 0 ? Number.MAX_SAFE_INTEGER : Math.min(...feeds)
    this.#run('DELETE FROM log WHERE seq <= ? AND at < ?', passed, now - keep.days * DAY_MS)
    const total = Number(this.#one('SELECT sum(bytes) AS bytes FROM log')?.['bytes'] ?? 0)
    if (total > keep.bytes)
      this.#run(
        `DELETE FROM log WHERE seq <= ?1 AND seq <= (SELECT max(seq) FROM
         (SELECT seq, sum(bytes) OVER (ORDER BY seq DESC) AS kept FROM log) WHERE kept > ?2)`,
        passed,
        keep.bytes,
      )
    const oldest = this.#one('SELECT max(seq) AS seq FROM log WHERE at < ?', now - IDS_DAYS * DAY_MS)?.['seq']
    if (typeof oldest === 'number') this.#run('DELETE FROM ids WHERE seq <= ?', oldest)
    this.ledger.trim(now)
  }

  /** Sizes for people: rows and bytes by table, and the file. */
  info(): { version: number; epoch: number; pages: number; bytes: number; tables: Record<string, number> } {
    const tables = [
      'log',
      'control',
      'alerts',
      'rejected',
      'ledger',
      'integrity',
      'ids',
      'state',
      'lists',
      'dead',
    ]
    const pages = Number(this.#one('PRAGMA page_count')?.['page_count'] ?? 0)
    return {
      version: SCHEMA_VERSION,
      epoch: this.#epoch,
      pages,
      bytes: pages * Number(this.#one('PRAGMA page_size')?.['page_size'] ?? 0),
      tables: Object.fromEntries(
        tables.map((name) => [
          name,
          Number(this.#one(`SELECT count(*) AS count FROM ${name}`)?.['count'] ?? 0),
        ]),
      ),
    }
  }

  /** Looks for damage: SQLite's own check, and the digest of every block. @returns what is wrong */
  check(): string[] {
    const wrong = this.#all('PRAGMA integrity_check')
      .map((row) => String(row['integrity_check']))
      .filter((text) => text !== 'ok')
    for (const { seq } of this.#all('SELECT seq FROM log ORDER BY seq') as { seq: number }[]) {
      try {
        this.block(seq)
      } catch (cause) {
        if (!(cause instanceof KeytrailError)) throw cause
        wrong.push(cause.message)
      }
    }
    return wrong
  }

  /** Gives free pages back to the file system. */
  compact(): void {
    this.#db.exec('VACUUM; PRAGMA wal_checkpoint(TRUNCATE)')
  }

  close(): void {
    this.#db.close()
    this.#lock?.close()
  }
}

const missing = (folder: string | undefined) =>
  new KeytrailError('journal.missing', `there is no journal in ${folder}`)

/** SQLITE_CANTOPEN */
const isCannotOpen = (cause: unknown) =>
  cause instanceof Error && 'errcode' in cause && (Number(cause.errcode) & 0xff) === 14

/** Sets a database up, makes its tables when it is new, and refuses what another version wrote. */
const prepare = (db: DatabaseSync, folder: string | undefined, access: Access): void => {
  if (access !== 'reader') {
    db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384')
    db.exec('PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864')
  }
  const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0)
  if (version === SCHEMA_VERSION) return
  if (version !== 0)
    throw new KeytrailError(
      'journal.version',
      `the journal in ${folder} has version ${version}; this program reads version ${SCHEMA_VERSION}`,
    )
  if (access !== 'judge') throw missing(folder)
  db.exec(`BEGIN IMMEDIATE;${SCHEMA}PRAGMA user_version=${SCHEMA_VERSION};COMMIT`)
}

export interface StoredBlock {
  readonly count: number
  readonly firstEvent: number
  readonly lastEvent: number
  readonly data: Uint8Array
}

/** A block as it crosses between threads: one piece of memory. */
export interface PackedBlock {
  readonly seq: number
  readonly at: number
  readonly packed: Uint8Array
}

export interface StoredControl {
  readonly n: number
  readonly seq: number | undefined
  readonly at: number
  readonly kind: string
  readonly who: string
  readonly body: string
}

const storedAlert = (row: Row): StoredAlert => ({
  n: Number(row['n']),
  seq: Number(row['seq']),
  alert: JSON.parse(String(row['body'])) as Alert, // written by commit
})

const controlOf = (row: Row): StoredControl => ({
  n: Number(row['n']),
  seq: row['seq'] === null ? undefined : Number(row['seq']),
  at: Number(row['at']),
  kind: String(row['kind']),
  who: String(row['who']),
  body: String(row['body']),
})

export type StoredLetter = DeadLetter & { readonly n: number; readonly sink: string; readonly at: number }

const letterOf = (row: Row): StoredLetter => ({
  n: Number(row['n']),
  sink: String(row['sink']),
  stream: row['stream'] === 'feed' ? 'feed' : 'alerts',
  id: String(row['id']),
  reason: String(row['reason']),
  body: String(row['body']),
  at: Number(row['at']),
})

const cursorOf = (row: Row): Cursor => ({
  feed: Number(row['feed']),
  alerts: Number(row['alerts']),
  passed: Number(row['passed']),
  memo: JSON.parse(String(row['memo'])) as Position, // written by settle
})

export const unpacked = ({ seq, at, packed }: PackedBlock): Block => ({
  seq,
  at,
  items: unpackBlock(packed),
})

const blockOf = (row: Row): PackedBlock => {
  const data = row['data']
  const seq = Number(row['seq'])
  if (!(data instanceof Uint8Array) || sha256(data) !== row['digest'])
    throw new KeytrailError('journal.damaged', `block ${seq} of the journal is not what was written`)
  return { seq, at: Number(row['at']), packed: decompress(data) }
}

/** SQLITE_BUSY */
const BUSY = 5

const JUDGE = 'judge.lock'

/**
 * A lock that the system releases when the process ends, however it ends.
 * @param waitMs how long another may hold it
 */
export const lockOf = (folder: string, name: string, waitMs = 0): { close(): void } => {
  const lock = new DatabaseSync(join(folder, name), { timeout: waitMs })
  try {
    lock.exec('BEGIN EXCLUSIVE')
    return lock
  } catch (cause) {
    lock.close()
    if (!(cause instanceof Error && 'errcode' in cause && (Number(cause.errcode) & 0xff) === BUSY))
      throw cause
    throw new KeytrailError('journal.locked', `another keytrail is running on ${folder}`, { cause })
  }
}
