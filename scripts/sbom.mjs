// Prints what runs, as CycloneDX 1.6 JSON, from the lockfile alone: `npm run --silent sbom > keytrail.cdx.json`. The same
// lockfile gives the same bytes. (`npm sbom --omit=dev` leaves out what a development package needs, too: yaml, for one.)
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const text = readFileSync(join(import.meta.dirname, '..', 'package-lock.json'), 'utf8')
const { packages } = JSON.parse(text)
const running = Object.entries(packages).filter(([, { dev, devOptional }]) => !dev && !devOptional)
const kept = new Set(running.map(([path]) => path))

const nameOf = (path, { name }) => name ?? path.split('node_modules/').at(-1)
const purlOf = (path) =>
  `pkg:npm/${nameOf(path, packages[path]).replace('@', '%40')}@${packages[path].version}`

/** Where Node finds it: in the package itself, then in each one around it. */
const resolved = (from, name) => {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`
    if (kept.has(path)) return path
    if (at === '') return undefined
  }
}

const component = ([path, one]) => {
  const [algorithm, digest] = one.integrity?.split('-') ?? []
  return {
    'bom-ref': purlOf(path),
    type: path === '' ? 'application' : 'library',
    name: nameOf(path, one),
    version: one.version,
    ...(path !== '' && { scope: one.optional ? 'optional' : 'required' }),
    ...(one.license && { licenses: [{ expression: one.license }] }),
    ...(digest && {
      hashes: [
        { alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(digest, 'base64').toString('hex') },
      ],
    }),
    purl: purlOf(path),
  }
}

const needs = ([path, { dependencies, optionalDependencies, peerDependencies }]) => {
  const names = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })
  const found = names.map((name) => resolved(path, name)).filter((one) => one !== undefined)
  return { ref: purlOf(path), dependsOn: [...new Set(found.map(purlOf))].sort() }
}

/** A package that lies in two places is one component. */
const once = (all, key) => [...new Map(all.map((one) => [one[key], one])).values()]
const hash = createHash('sha256').update(text).digest('hex')
const [own, ...rest] = running.map(component)
const uuid = [
  hash.slice(0, 8),
  hash.slice(8, 12),
  `5${hash.slice(13, 16)}`,
  `8${hash.slice(17, 20)}`,
  hash.slice(20, 32),
]

process.stdout.write(
  `${JSON.stringify(
    {
      bomFormat: 'CycloneDX',
      specVersion: '1.6',
      serialNumber: `urn:uuid:${uuid.join('-')}`,
      version: 1,
      metadata: { component: own },
      components: once(rest, 'bom-ref'),
      dependencies: once(running.map(needs), 'ref'),
    },
    null,
    2,
  )}\n`,
)
