/**
 * Writes schemas/*.schema.json and docs/fields.md from the zod schemas in src/model, docs/mapping.md from src/render, and the
 * pages of write-docs.ts.
 * With --check it writes nothing and fails when a file differs: the guard against drift.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { ALERT_SCHEMA_VERSION, alert } from '../src/model/alert.ts'
import { config } from '../src/model/config.ts'
import { casesDocument, correlationDocument, filterDocument, ruleDocument } from '../src/model/detector.ts'
import { EVENT_SCHEMA_VERSION, keyEvent } from '../src/model/event.ts'
import { knowledge } from '../src/model/knowledge.ts'
import { operations } from '../src/model/operations.ts'
import { REJECTION_SCHEMA_VERSION, rejection } from '../src/model/outcome.ts'
import { mappingPage } from './mapping.ts'
import { cell, generated, pages, type Schema, typeOf } from './write-docs.ts'

const root = join(import.meta.dirname, '..')

const published = {
  [EVENT_SCHEMA_VERSION]: keyEvent,
  [ALERT_SCHEMA_VERSION]: alert,
  [REJECTION_SCHEMA_VERSION]: rejection,
  'keytrail.config': config,
  'keytrail.knowledge': knowledge,
  'keytrail.rule': ruleDocument,
  'keytrail.correlation': correlationDocument,
  'keytrail.filter': filterDocument,
  'keytrail.cases': casesDocument,
} as const

const jsonSchema = (name: string): Schema => {
  const schema = z.toJSONSchema(published[name as keyof typeof published], {
    target: 'draft-2020-12',
    io: 'input',
  })
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: `urn:keytrail:${name}`,
    title: name,
    ...schema,
  } as Schema // the parts read below
}

const rows = (schema: Schema, path: string): string[] =>
  Object.entries(schema.properties ?? {}).flatMap(([name, one]) => {
    const field = path === '' ? name : `${path}.${name}`
    const values = one.enum ?? one.items?.enum
    const about = [
      one.description ?? one.items?.description ?? '',
      values === undefined ? '' : values.map((value) => `\`${value}\``).join(' '),
    ]
    const own = `| \`${field}\` | ${typeOf(one)} | ${schema.required?.includes(name) ? 'yes' : ''} | ${cell(about.filter((part) => part !== '').join(': '))} |`
    const inner = one.type === 'object' ? one : one.items
    return inner?.properties === undefined
      ? [own]
      : [own, ...rows(inner, one.type === 'array' ? `${field}[]` : field)]
  })

const table = (name: string): string =>
  `## ${name}\n\n${jsonSchema(name).description ?? ''}.\n\n| field | type | always there | meaning |\n|---|---|---|---|\n${rows(jsonSchema(name), '').join('\n')}\n`

const fieldPage = (): string => `<!-- Written by scripts/write-schemas.ts from src/model: change it there. -->
# Fields

Absent stays absent: a field that the log does not speak of is not in the record, never \`""\` or \`null\`. What a log
leaves open is \`unknown\`, and unknown is never counted as no.

${[EVENT_SCHEMA_VERSION, ALERT_SCHEMA_VERSION, REJECTION_SCHEMA_VERSION].map(table).join('\n')}
## Operations

The closed set. Criticality is where an event starts; the context rules in \`src/enrich/criticality.ts\` may move it.

| operation | category | criticality |
|---|---|---|
${Object.entries(operations)
  .map(([name, [category, criticality]]) => `| \`${name}\` | ${category} | ${criticality} |`)
  .join('\n')}
`

const files = new Map<string, string>([
  ...Object.keys(published).map((name): [string, string] => [
    join('schemas', `${name}.schema.json`),
    `${JSON.stringify(jsonSchema(name), null, 2)}\n`,
  ]),
  [join('docs', 'fields.md'), fieldPage()],
  [
    join('docs', 'mapping.md'),
    mappingPage(jsonSchema(EVENT_SCHEMA_VERSION), jsonSchema(ALERT_SCHEMA_VERSION)),
  ],
  ...(await pages(jsonSchema('keytrail.config'))),
])

const check = process.argv.includes('--check')
let drifted = 0
for (const [path, text] of files) {
  const full = join(root, path)
  if (check) {
    if (existsSync(full) && readFileSync(full, 'utf8') === text) continue
    drifted++
    console.error(`${path} differs from what it is made of; run: npm run schemas`)
  } else {
    mkdirSync(dirname(full), { recursive: true })
    writeFileSync(full, text)
  }
}
for (const folder of generated.map((name) => join('docs', name)))
  for (const name of readdirSync(join(root, folder)))
    if (!files.has(join(folder, name))) {
      if (!check) rmSync(join(root, folder, name))
      else console.error(`${join(folder, name)} is of something that is no more; run: npm run schemas`)
      drifted += Number(check)
    }
if (drifted > 0) process.exit(1)
