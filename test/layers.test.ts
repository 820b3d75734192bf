import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'
import { root } from './support/scan.ts'

/** Layers from top to bottom; neighbours do not see each other. `telemetry` stands beside them. */
const layers: readonly (readonly string[])[] = [
  ['main', 'commands', 'config'],
  ['ingest', 'journal', 'forward', 'history', 'serve'],
  ['pipeline'],
  ['normalize', 'enrich', 'detect', 'render'],
  ['model'],
]
const pure = new Set(['normalize', 'enrich', 'detect', 'render', 'model'])
const edges = new Set(['ingest', 'journal', 'forward', 'history', 'serve'])

/** What pure code may import besides its own layers: parsers and functions without effect. */
const pureModules: Readonly<Record<string, readonly string[]>> = {
  'node:crypto': ['hash', 'createHash', 'Hash'],
  'node:net': ['BlockList', 'isIP'],
  'node:util': ['styleText'],
  'node:zlib': ['gunzipSync'],
  re2js: ['RE2JS'],
  zod: ['z'],
  yaml: ['Document', 'isMap', 'LineCounter', 'parseAllDocuments', 'parseDocument'],
}
/** Packages whose use says that the outside world begins. */
const sdk =
  /^(@aws-sdk|@azure|@google-cloud|kafkajs|@duckdb|node:(fs|http|https|net|sqlite|child_process|worker_threads|dgram|tls|dns)(\/|$))/
const effects =
  /\b(Date\.now|new Date\(\)|performance\.now|Math\.random|setTimeout|setInterval|process\.|console\.|fetch\()/

interface Import {
  readonly names: readonly string[]
  readonly from: string
}

const importsOf = (text: string): Import[] =>
  [
    ...text.matchAll(
      /^(?:import|export)\s+(?:type\s+)?(\{[^}]*\}|\*(?:\s+as\s+\w+)?|\w+)(?:\s*,\s*\{[^}]*\})?\s+from\s+'([^']+)'/gm,
    ),
  ].map(([, names = '', from = '']) => ({
    names: names
      .replace(/[{}]/g, '')
      .split(',')
      .map(
        (name) =>
          name
            .trim()
            .replace(/^type\s+/, '')
            .split(' as ')[0] ?? '',
      )
      .filter((name) => name !== ''),
    from,
  }))

const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? filesBelow(join(folder, entry.name))
      : entry.name.endsWith('.ts')
        ? [join(folder, entry.name)]
        : [],
  )

const src = join(root, 'src')
const files = filesBelow(src).map((path) => ({
  path: relative(root, path),
  layer: relative(src, path).split('/')[0]?.replace(/\.ts$/, '') ?? '',
  text: readFileSync(path, 'utf8'),
  folder: dirname(path),
}))
const levelOf = (layer: string) => layers.findIndex((names) => names.includes(layer))

describe('layers', () => {
  test('every folder of src has its place', () => {
    expect(
      [...new Set(files.map((file) => file.layer))].filter(
        (layer) => levelOf(layer) < 0 && layer !== 'telemetry',
      ),
    ).toEqual([])
  })

  test('imports point down, and neighbours do not see each other', () => {
    const wrong = files.flatMap(({ path, layer, text, folder }) =>
      importsOf(text)
        .filter(({ from }) => from.startsWith('.'))
        .flatMap(({ from }) => {
          const target = relative(src, join(folder, from)).split('/')[0]?.replace(/\.ts$/, '') ?? ''
          if (target === layer || target === 'telemetry') return []
          const own = levelOf(layer)
          const other = levelOf(target)
          const wired = own === 0 && other === 0
          return wired || other > own ? [] : [`${path} imports ${target}`]
        }),
    )
    expect(wrong).toEqual([])
  })

  test('SDKs, sockets and files occur at the edges and where things are wired', () => {
    const wrong = files
      .filter(({ layer }) => !edges.has(layer) && levelOf(layer) !== 0)
      .flatMap(({ path, text }) =>
        importsOf(text)
          .filter(
            ({ from, names }) => sdk.test(from) && !names.every((name) => pureModules[from]?.includes(name)),
          )
          .map(({ from }) => `${path} imports ${from}`),
      )
    expect(wrong).toEqual([])
  })

  test('pure layers have no clock, no chance, no log and no I/O', () => {
    const wrong = files
      .filter(({ layer }) => pure.has(layer))
      .flatMap(({ path, text }) => {
        const foreign = importsOf(text)
          .filter(({ from }) => !from.startsWith('.'))
          .filter(({ from, names }) => !names.every((name) => pureModules[from]?.includes(name)))
          .map(({ from }) => `${path} imports ${from}`)
        const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '').replace(/'[^'\n]*'/g, "''")
        const found = effects.exec(code)?.[0]
        return found === undefined ? foreign : [...foreign, `${path} uses ${found}`]
      })
    expect(wrong).toEqual([])
  })

  test('no code is made from text', () => {
    expect(
      files.filter(({ text }) => /\beval\(|new Function\b|node:vm/.test(text)).map(({ path }) => path),
    ).toEqual([])
  })
})
