/**
 * The reference below docs/: a page for each command, source, sink and detector, and an index of it all. What they say
 * comes from the program's own help, the schema of the configuration and the detectors; `write-schemas.ts` writes it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { parse } from 'yaml'
import { loadDetectors } from '../src/config/detectors.ts'
import type { Schema as MappedSchema } from './mapping.ts'

export interface Schema extends MappedSchema {
  readonly description?: string
  readonly default?: unknown
  readonly secret?: boolean
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | false
  readonly items?: Schema
  readonly oneOf?: readonly Schema[]
  readonly anyOf?: readonly Schema[]
}

export const typeOf = (schema: Schema): string => {
  if (schema.const !== undefined) return `"${schema.const}"`
  if (schema.enum !== undefined) return 'one of'
  if (schema.type === 'array')
    return `list of ${schema.items?.enum !== undefined ? 'values' : typeOf(schema.items ?? {})}`
  if (schema.type === 'object') return schema.properties === undefined ? 'map of texts' : 'object'
  return `${schema.type === 'string' ? 'text' : (schema.type ?? 'value')}${schema.maxLength === undefined ? '' : ` ≤ ${schema.maxLength}`}`
}

export const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

const root = join(import.meta.dirname, '..')
const read = (...path: string[]) => readFileSync(join(root, ...path), 'utf8')
const written = (from: string) => `<!-- Written by scripts/write-docs.ts from ${from}: change it there. -->\n`
const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  rows.length === 0
    ? ''
    : `\n${[head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')}\n`
const code = (text: string) => `\`${text}\``

/** Folders that hold generated pages only. */
export const generated = ['commands', 'sources', 'sinks', 'detectors'] as const

/** Pages that tell more, written by hand. */
const guides: Readonly<Record<string, string>> = {
  'commands/scan': 'scan.md',
  'commands/run': 'run.md',
  'commands/init': 'run.md',
  'commands/status': 'run.md',
  'commands/reload': 'operations.md',
  'commands/backup': 'operations.md',
  'commands/journal': 'run.md',
  'commands/rules': 'rules.md',
  'commands/backfill': 'sources.md',
  'commands/verify': 'verify-cloudtrail.md',
  'commands/estimate': 'siem.md',
  'commands/doctor': 'siem.md',
  'commands/resend': 'siem.md',
  'commands/sentinel': 'siem.md',
  'sources/files': 'run.md',
  'sources/s3': 'sources.md',
  'sources/cloudwatch_logs': 'sources.md',
  'sources/kafka': 'sources.md',
  'sources/event_hubs': 'sources.md',
  'sources/pubsub': 'sources.md',
  'sinks/ndjson': 'sinks.md',
  'sinks/console': 'run.md',
  'sinks/kafka': 'sinks.md',
  'sinks/webhook': 'sinks.md',
  'sinks/syslog': 'sinks.md',
  'sinks/splunk': 'siem.md',
  'sinks/sentinel': 'siem.md',
}

const more = (page: string) => {
  const guide = guides[page]
  return guide === undefined ? '' : `\nMore: [${guide}](../${guide}).\n`
}

interface Page {
  readonly name: string
  readonly about: string
  readonly text: string
}

/** The program is asked for its version, so that it does nothing, and then described. */
const program = async (): Promise<Command> => {
  const [given, write] = [process.argv.splice(2, Number.POSITIVE_INFINITY, '--version'), process.stdout.write]
  process.stdout.write = () => true
  try {
    return (await import('../src/main.ts')).program as unknown as Command // its options do not matter here
  } finally {
    process.stdout.write = write
    process.argv.splice(2, Number.POSITIVE_INFINITY, ...given)
  }
}

const optionAbout = ({ description, argChoices, defaultValue, mandatory }: Command['options'][number]) => {
  const plain = defaultValue === undefined || typeof defaultValue === 'boolean' || defaultValue === ''
  const isSaid = plain || (Array.isArray(defaultValue) && defaultValue.length === 0)
  return [
    description,
    argChoices === undefined ? '' : `: ${argChoices.map(code).join(' ')}`,
    isSaid ? '' : ` (default: ${String(defaultValue)})`,
    mandatory ? ' (needed)' : '',
  ].join('')
}

const commandText = (command: Command, name: string, level: string): string => {
  const subs = command.commands.map((one) => commandText(one, `${name} ${one.name()}`, `${level}#`))
  const usage = command.commands.length > 0 ? '' : `\n\`\`\`\n${name} ${command.usage()}\n\`\`\`\n`
  return `${level} ${name}

${sentence(command.description())}
${usage}${table(
  ['argument', 'meaning'],
  command.registeredArguments.map((one) => [
    code(one.name()),
    `${one.description}${one.defaultValue === undefined ? '' : ` (default: ${String(one.defaultValue)})`}`,
  ]),
)}${table(
  ['option', 'meaning'],
  command.options.map((one) => [code(one.flags), optionAbout(one)]),
)}${subs.length > 0 ? `\n${subs.join('\n')}` : ''}`
}

const sentence = (text: string) => `${text[0]?.toUpperCase() ?? ''}${text.slice(1).replace(/\.$/, '')}.`

const commandPages = async (): Promise<Page[]> =>
  (await program()).commands.map((one) => {
    const name = one.name()
    const text = commandText(one, `keytrail ${name}`, '#')
    return {
      name,
      about: one.description(),
      text: `${written('src/main.ts')}${text}${more(`commands/${name}`)}\nExit codes and examples: \`keytrail --help\`.\n`,
    }
  })

const variantsOf = (schema: Schema | false | undefined): readonly Schema[] =>
  schema ? (schema.oneOf ?? schema.anyOf ?? [schema]) : []

/** One row for each setting; those of an object, or of one of several forms, come below it. */
const settings = (schema: Schema, path = ''): string[][] =>
  Object.entries(schema.properties ?? {}).flatMap(([name, one]) => {
    const field = path === '' ? name : `${path}.${name}`
    if (one.const !== undefined) return path === '' ? [] : [[code(field), `"${one.const}"`, 'yes', '']]
    const forms = one.oneOf ?? one.anyOf
    const values = one.enum ?? one.items?.enum
    const given = one.default === undefined || typeof one.default === 'object' ? '' : String(one.default)
    const about = [one.description ?? '', ...(values === undefined ? [] : [values.map(code).join(' ')])]
    const kind = one.secret ? 'secret' : forms ? 'one of these forms' : typeOf(one)
    const own = [
      code(field),
      kind,
      schema.required?.includes(name) ? 'yes' : given === '' ? '' : `default ${code(given)}`,
      about.filter((part) => part !== '').join(': '),
    ]
    const inner = forms ?? [one.type === 'array' ? (one.items ?? {}) : one]
    return [own, ...inner.flatMap((form) => settings(form, one.type === 'array' ? `${field}[]` : field))]
  })

const examples = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' })
  .filter((name) => /(^|\/)(keytrail|sinks\/[a-z]+)\.yml$/.test(name))
  .sort()
  .map((name) => join('examples', name))
  .map((path) => ({
    path,
    text: read(path),
    body: parse(read(path)) as Record<string, Record<string, { type: string }>>,
  })) // checked by their own test

const typePages = (kind: 'sources' | 'sinks', config: Schema): Page[] => {
  const variants = variantsOf(config.properties?.[kind]?.additionalProperties).flatMap(
    (one) => one.oneOf ?? one.anyOf ?? [one],
  )
  return variants.map((schema) => {
    const name = schema.properties?.['type']?.const ?? ''
    const example = examples.find(({ body }) =>
      Object.values(body[kind] ?? {}).some(({ type }) => type === name),
    )
    const about = schema.description ?? ''
    return {
      name,
      about,
      text: `${written('the schema of the configuration in src/model')}# ${kind === 'sinks' ? 'Sink' : 'Source'} \`${name}\`

${sentence(about)}
${table(['setting', 'type', 'needed', 'meaning'], settings(schema))}
A *secret* is named, never written: \`\${env:NAME}\` or \`\${file:path}\`.
${example === undefined ? '' : `\n[${example.path}](../../${example.path}):\n\n\`\`\`yaml\n${example.text.trimEnd()}\n\`\`\`\n`}${more(`${kind}/${name}`)}`,
    }
  })
}

/** Without its heading, one level deeper links. */
const bodyOf = (readme: string) => readme.replace(/^# .*\n+/, '').replaceAll('](../', '](../../detectors/')

const detectorPages = (): Page[] =>
  loadDetectors([], true).detectors.map(({ facts, kind }) => {
    const severities = [...new Set([facts.severity, ...facts.raise.map((one) => one.severity)])]
    const folder = join('detectors', facts.id)
    return {
      name: facts.id,
      about: facts.title,
      text: `${written(`${folder}`)}# ${facts.id}

${sentence(facts.title)} ${facts.description ?? ''}
${table(
  ['severity', 'kind', 'version', 'ATT&CK', 'controls'],
  [
    [
      severities.join(', '),
      kind,
      String(facts.version),
      facts.tags
        .filter((tag) => /^attack\.t\d/.test(tag))
        .map((tag) => tag.slice(7).toUpperCase())
        .join(' '),
      facts.controls.join(' '),
    ],
  ],
)}
${bodyOf(read(folder, 'README.md')).trimEnd()}

## To decide
${(facts.triage ?? []).map((one, at) => `${at + 1}. ${one}`).join('\n')}

## Harmless reasons
${facts.falsepositives.map((one) => `- ${one}`).join('\n')}

The rule: [detector.yml](../../${folder}/detector.yml), its cases beside it.
`,
    }
  })

/** Title and first sentence of a page that is written by hand. */
const guideLine = (file: string) => {
  const [title = '', ...rest] = read('docs', file)
    .replace(/^<!--.*-->\n/, '')
    .split('\n')
  const first = rest.join('\n').trim().split('\n\n')[0]?.replaceAll('\n', ' ') ?? ''
  const said = /^.*?[.:](?= |$)/.exec(first)?.[0].replace(/:$/, '.') ?? first
  return `- [${title.replace(/^# /, '')}](${file}): ${said}`
}

const titles = { commands: 'Commands', sources: 'Sources', sinks: 'Sinks', detectors: 'Detectors' } as const

/** @returns path and text of every page */
export const pages = async (config: Schema): Promise<[string, string][]> => {
  const all = {
    commands: await commandPages(),
    sources: typePages('sources', config),
    sinks: typePages('sinks', config),
    detectors: detectorPages(),
  }
  const hand = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md') && name !== 'README.md')
  const index = `${written('the pages themselves')}# Documentation

${hand.sort().map(guideLine).join('\n')}

${generated
  .map(
    (kind) =>
      `## ${titles[kind]}\n\n${all[kind].map(({ name, about }) => `- [${name}](${kind}/${name}.md): ${about}`).join('\n')}\n`,
  )
  .join('\n')}`
  return [
    ['docs/README.md', index],
    ...generated.flatMap((kind) =>
      all[kind].map(({ name, text }): [string, string] => [`docs/${kind}/${name}.md`, text]),
    ),
  ]
}
