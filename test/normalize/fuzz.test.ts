/** A small dose of the fuzz harness on every run; `FUZZ` and `SEED` give a larger one. */
import { expect, test } from 'vitest'
import { fuzz } from '../support/fuzz.ts'

const executions = Number(process.env['FUZZ'] ?? 30_000)
const seed = Number(process.env['SEED'] ?? 1)

test(`${executions} changed records of every format end with an outcome (seed ${seed})`, {
  timeout: 600_000,
}, () => {
  const { failures, outcomes, slowest } = fuzz(executions, seed)
  expect(failures).toEqual([])
  expect(slowest).toBeLessThan(1000)
  for (const format of ['cloudtrail', 'key_vault', 'azure_activity', 'gcp_audit'])
    expect(outcomes[`${format} event`], format).toBeGreaterThan(executions / 100)
})
