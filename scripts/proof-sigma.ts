/**
 * Asks independent Sigma engines about the 31 cases, the generated rules and records, and the generated histories of
 * test/oracles. With --write their answers become the golden match sets that the tests compare with.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sigmaCases } from '../test/detect/sigma-cases.ts'
import { compared, comparedHistories, decidedCases } from '../test/oracles/decisions.ts'
import { correlations, histories } from '../test/oracles/histories.ts'
import { families } from '../test/oracles/pairs.ts'
import { isHere, type Oracle, oracles } from './oracles/engines.ts'

let isWrong = false
const complain = (text: string) => {
  isWrong = true
  console.error(text)
}

/** Writes what an engine says, or compares it with what it said. */
const keep = (file: string, lines: readonly object[]) => {
  const path = join(import.meta.dirname, '../test/oracles', file)
  const text = lines.map((one) => `${JSON.stringify(one)}\n`).join('')
  if (process.argv.includes('--write')) writeFileSync(path, text)
  else if (readFileSync(path, 'utf8') !== text) complain(`${path} is not what the engine says now`)
}

const sum = (all: readonly number[]) => all.reduce((a, b) => a + b, 0)

const askCases = (key: string, { name, pairs }: Oracle) => {
  const differ = sigmaCases.filter(([, detection, records]) => {
    const events = records.map(([record]) => record as Readonly<Record<string, unknown>>) // each is an object
    const [matched] = pairs?.({ rules: [detection], events }) ?? []
    const expected = records.flatMap(([, matches], index) => (matches ? [index] : []))
    return JSON.stringify(matched) !== JSON.stringify(expected)
  })
  const names = differ.map(([one]) => one)
  const decided = decidedCases[key] ?? []
  for (const one of names) if (!decided.includes(one)) complain(`${name}: case "${one}" differs`)
  for (const one of decided) if (!names.includes(one)) complain(`${name}: case "${one}" agrees now`)
  console.log(
    `${name}: ${sigmaCases.length - names.length} of ${sigmaCases.length} cases agree, ${names.length} were decided otherwise`,
  )
}

for (const [key, oracle] of Object.entries(oracles)) {
  const { name, install, pairs, histories: ask } = oracle
  if (!isHere(oracle)) {
    console.warn(`SKIPPED: no ${name} here; ${install}`)
    if (process.env['CI'] !== undefined) isWrong = true
    continue
  }
  if (pairs !== undefined) {
    askCases(key, oracle)
    const answers = [...families].map(([family, one]) => ({ engine: name, family, matches: pairs(one) }))
    keep(`pairs.${key}.ndjson`, answers)
    const results = answers.map(({ family, matches }) => compared(name, family, matches))
    for (const one of results.flatMap(({ differences }) => differences)) complain(`${name}: ${one}`)
    console.log(
      `${name}: ${families.size} families, ${sum(results.map((one) => one.pairs))} pairs of rule and record, ${sum(results.map((one) => one.differences.length))} differences that were not decided; ${sum(results.map((one) => one.refused))} rules it does not support`,
    )
  }
  if (ask !== undefined) {
    const lines = ask(correlations, histories).map((ends) => ({ engine: name, ends }))
    keep(`histories.${key}.ndjson`, lines)
    const { asked, windows, differences } = comparedHistories(name, lines)
    for (const one of differences) complain(`${name}: ${one}`)
    console.log(
      `${name}: ${histories.length} histories, ${asked} correlations, ${windows} windows, ${differences.length} differences that were not decided`,
    )
  }
}
process.exitCode = isWrong ? 1 : 0
