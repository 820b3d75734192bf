/** What is shipped to run Keytrail elsewhere: each file against the program that it is for, or against Keytrail itself. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../src/config/config.ts'
import { isObject } from '../src/normalize/json.ts'
import { root } from './support/scan.ts'
import { service } from './support/service.ts'

const folder = mkdtempSync(join(tmpdir(), 'keytrail-deploy-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const has = (program: string) => spawnSync(program, ['--version']).error === undefined
const run = (program: string, ...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: join(root, 'deploy'), encoding: 'utf8' })
  return { status, said: stdout + stderr }
}
const read = (...path: string[]) => readFileSync(join(root, ...path), 'utf8')

/** Every text of an expression in a rule file or a dashboard. */
function* expressionsIn(value: unknown): Generator<string> {
  if (Array.isArray(value)) for (const one of value) yield* expressionsIn(one)
  else if (isObject(value))
    for (const [name, one] of Object.entries(value))
      if (name === 'expr' && typeof one === 'string') yield one
      else if (name === 'query' && typeof one === 'string' && one.includes('label_values')) yield one
      else yield* expressionsIn(one)
}

const metricsIn = (expression: string): string[] =>
  [
    ...expression
      .replace(/\{[^}]*\}|"[^"]*"/g, '')
      .matchAll(/\b(?:keytrail|process|nodejs|v8js|target)_\w+/g),
  ].map(([name]) => name)

describe('metrics', () => {
  test('every metric that a panel or a rule names is in a real scrape, and the scrape is well-formed', async () => {
    const port = 21_000 + (process.pid % 20_000)
    const one = service([join(root, 'examples/aws')], { http: { listen: `127.0.0.1:${port}` } })
    let scraped = ''
    const { code, log } = await one.run({
      once: false,
      onStart: (stop, log) => {
        const timer = setInterval(async () => {
          if (!log().includes('keytrail 0')) return
          clearInterval(timer)
          for (let n = 0; n < 100 && !/_total\{[^}]*outcome="kept"[^}]*\} [1-9]/.test(scraped); n++)
            scraped = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
          stop('SIGTERM')
        }, 20)
      },
    })
    expect(code, log).toBe(0)
    const told = new Set([...scraped.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name))
    const named = [
      parse(read('deploy/prometheus/alerts.yml')),
      JSON.parse(read('deploy/grafana/keytrail.json')),
    ].map((file) => new Set([...expressionsIn(file)].flatMap(metricsIn)))
    for (const names of named) expect(names.size).toBeGreaterThan(10)
    expect(named.flatMap((names) => [...names]).filter((name) => !told.has(name))).toEqual([])

    /** Law 2, as it is told. */
    const sum = (pattern: RegExp) =>
      [...scraped.matchAll(pattern)].reduce((all, [, value]) => all + Number(value), 0)
    const received = sum(/^keytrail_records_received_total\{.*\} (\d+)$/gm)
    expect(received).toBeGreaterThan(0)
    expect(sum(/^keytrail_records_total\{.*\} (\d+)$/gm)).toBe(received)
    expect(sum(/^keytrail_sink_alerts\{.*\} (\d+)$/gm)).toBe(sum(/^keytrail_alert_revisions_total (\d+)$/gm))
    one.remove()
    if (!has('promtool')) return
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: scraped,
      encoding: 'utf8',
    })
    expect(status, stdout + stderr).toBe(0)
  })

  test.skipIf(!has('promtool'))('promtool finds nothing wrong with the rules, and their cases hold', () => {
    for (const args of [
      ['check', 'rules', 'prometheus/alerts.yml'],
      ['test', 'rules', 'prometheus/alerts.test.yml'],
      ['check', 'config', '--syntax-only', 'prometheus/prometheus.yml'],
    ]) {
      const { status, said } = run('promtool', ...args)
      expect(status, said).toBe(0)
    }
  })
})

test.skipIf(!has('systemd-analyze'))(
  'systemd finds nothing wrong with the unit, and little that it may do',
  () => {
    const { status, said } = run(
      'systemd-analyze',
      'security',
      '--offline=true',
      '--threshold=20',
      'keytrail.service',
    )
    expect(status, said).toBe(0)
  },
)

test('the image holds what the program needs: what the Dockerfile copies runs without the rest', () => {
  const lines = read('Dockerfile').split('\n')
  const image = join(folder, 'image')
  const copies = lines
    .filter((line) => /^COPY (?!--from)/.test(line))
    .flatMap((line) => {
      const [, ...names] = line.split(/\s+/)
      const to = names.pop() ?? ''
      return names.map((name) => [name, to] as const)
    })
  expect(copies.length).toBeGreaterThan(3)
  for (const [name, to] of copies)
    cpSync(join(root, name), join(image, to, to.endsWith('/') ? name : ''), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(image, 'node_modules'))
  const [, entry = '[]'] = /^ENTRYPOINT (\[.*\])$/m.exec(read('Dockerfile')) ?? []
  const [node = '', main = ''] = JSON.parse(entry) as string[]
  expect(node).toBe('node')
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      join(image, main.replace('/opt/keytrail/', '')),
      'scan',
      join(root, 'examples/aws'),
      '--no-save',
      '--json',
    ],
    { encoding: 'utf8' },
  )
  expect(status, stderr).toBe(0)
  expect(JSON.parse(stdout).alerts.total).toBeGreaterThan(0)
})

test('the compose file names files that are there, and its configuration holds', () => {
  const { services, secrets } = parse(read('docker-compose.yml'), { merge: true }) as {
    services: Record<string, { volumes?: string[]; read_only?: boolean; cap_drop?: string[] }>
    secrets: Record<string, { file: string }>
  }
  const mounted = Object.values(services)
    .flatMap(({ volumes = [] }) => volumes)
    .map((one) => one.split(':')[0] ?? '')
    .filter((path) => path.startsWith('./deploy'))
  expect(mounted.length).toBeGreaterThan(3)
  for (const path of mounted) expect(existsSync(join(root, path)), path).toBe(true)
  for (const name of ['keytrail', 'scan'])
    expect(services[name], name).toMatchObject({ read_only: true, cap_drop: ['ALL'] })
  expect(Object.values(secrets).map(({ file }) => file)).toEqual(['./secrets/metrics_token'])
  expect(loadConfig(join(root, 'deploy/keytrail.yml')).http?.listen).toBe('0.0.0.0:9470')
})

test('the bill of materials names every package of the lockfile that runs, with its version', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts/sbom.mjs')], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  expect(status, stderr).toBe(0)
  const { bomFormat, specVersion, components, dependencies } = JSON.parse(stdout) as {
    bomFormat: string
    specVersion: string
    components: { 'bom-ref': string; name: string; version: string; purl: string; hashes?: object[] }[]
    dependencies: { dependsOn: string[] }[]
  }
  expect([bomFormat, Number(specVersion) >= 1.5]).toEqual(['CycloneDX', true])
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { version: string; dev?: boolean; devOptional?: boolean }>
  }
  const expected = Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional)
    .map(([path, { version }]) => `${path.split('node_modules/').at(-1)}@${version}`)
  const found = new Set(components.map(({ name, version }) => `${name}@${version}`))
  expect(expected.filter((one) => !found.has(one))).toEqual([])
  expect(components.every(({ purl, hashes }) => purl.startsWith('pkg:npm/') && hashes?.length === 1)).toBe(
    true,
  )
  expect(found.size).toBe(new Set(expected).size)
  /** What package.json names, and nothing that is not in the list. */
  const direct = Object.keys((JSON.parse(read('package.json')) as { dependencies: object }).dependencies)
  const refs = new Set(components.map(({ 'bom-ref': ref }) => ref))
  expect(dependencies[0]?.dependsOn).toHaveLength(direct.length)
  expect(dependencies.flatMap(({ dependsOn }) => dependsOn).filter((ref) => !refs.has(ref))).toEqual([])
})

test('every link of the documentation leads somewhere', () => {
  const pages = ['README.md', 'SECURITY.md', 'CONVENTIONS.md', 'src/README.md', 'examples/README.md'].concat(
    readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => join('docs', name)),
  )
  const broken = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)]
      .map(([, link = '']) => join(root, dirname(page), link))
      .filter((path) => !existsSync(path))
      .map((path) => `${page}: ${path.slice(root.length)}`),
  )
  expect(pages.length).toBeGreaterThan(60)
  expect(broken).toEqual([])
})
