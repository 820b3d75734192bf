/** Sources beside each other in one loop. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sqliteJournal } from '../../src/journal/sqlite.ts'
import { defaultConfig } from '../../src/model/config.ts'
import { liveJudge } from '../../src/pipeline/live-judge.ts'
import { runLoop } from '../../src/pipeline/loop.ts'
import { recordNormalizer } from '../../src/pipeline/normalize-record.ts'
import type { Source } from '../../src/pipeline/ports.ts'
import { record } from '../support/cloudtrail.ts'

test('an acknowledgement that is not answered keeps back none of another feed', {
  timeout: 5000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'keytrail-loop-'))
  const journal = await sqliteJournal(folder, { days: 7, bytes: 1e9 }, () => {})
  const judge = liveJudge(journal, recordNormalizer(defaultConfig, undefined), [], () => {})
  const [asked, answered] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const order: string[] = []
  const source = (feed_id: string, ready: Promise<void>, settle: () => Promise<void>): Source => ({
    feed_id,
    transport: 'file',
    async read(_, take) {
      await ready
      const bytes = Buffer.from(`${JSON.stringify(record())}\n`)
      await take({ place: 'a', bytes, ends: true, position: () => undefined, settle })
    },
  })
  const slow = source('slow', Promise.resolve(), async () => {
    asked.resolve()
    await answered.promise
    order.push('slow')
  })
  const other = source('other', asked.promise, async () => {
    order.push('other')
    answered.resolve()
  })
  try {
    await runLoop(
      {
        sources: [slow, other],
        journal,
        judge,
        settings: defaultConfig,
        budget: Number.MAX_SAFE_INTEGER,
        clock: Date.now,
        onNotice: () => {},
        onCommit: () => {},
      },
      new AbortController().signal,
    )
    expect(order).toEqual(['other', 'slow'])
  } finally {
    await journal.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
