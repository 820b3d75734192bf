/**
 * Makes files of Azure and Google records for the benchmark, seeded, out of the calm records of the cases that were written
 * from the vendors' pages (`test/detectors/independent`). Times, ids, callers and keys differ in every record; one record in
 * ten is about a virtual machine and out of scope.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readCases } from '../src/commands/test.ts'
import { recordsOf } from '../src/detect/cases.ts'
import { type Json, object } from '../src/normalize/json.ts'
import { random } from './generate.ts'

export type Form = 'azure lines' | 'azure records' | 'google lines'

const cases = join(import.meta.dirname, '..', 'test', 'detectors', 'independent')
const read = (file: string) => readCases(join(cases, `${file}.cases.yml`))
const base = (file: string): Json => read(file).base
/** The first record of a case: sign-ins stand there before what they are joined to. */
const first = (file: string, name: string): Json => {
  const document = read(file)
  const one = document.cases.find((each) => each.name === name)
  const [record] = one === undefined ? [] : recordsOf(document, one)
  if (record === undefined) throw new Error(`${file} has no case ${name}`)
  return record
}

const START = Date.parse('2026-04-14T00:00:00Z')
const DAY_MS = 86_400_000
const TENTH = 0.1
const APPLICATIONS = 200
const KEYS = 500

type Random = ReturnType<typeof random>
/** @param time RFC 3339 to the millisecond, without the Z */
type Make = (next: Random, hex: (digits: number) => string, time: string) => Json

const azureMaker = (): Make => {
  const vault = [base('burst-decrypt.azure'), base('key-purged.azure')]
  const activity = [base('vault-protection-missing.azure-activity'), base('log-diag-narrowed.azure-activity')]
  const entra = [
    first('destructive-no-mfa.azure', 'the sign-in was of two factors'),
    first('elevate-access.entra', 'a member is added to a directory role'),
  ]
  const machine = 'MICROSOFT.COMPUTE/VIRTUALMACHINES'
  return (next, hex, time) => {
    const share = next() / 2 ** 32
    const pick = (from: readonly Json[]) => from[next() % from.length] ?? {}
    const common = {
      time: `${time}${hex(4).replace(/[a-f]/g, '7')}Z`,
      correlationId: `${hex(8)}-0000-4000-8000-${hex(8)}${hex(4)}`,
      callerIpAddress: `198.51.100.${next() % 256}`,
    }
    if (share < TENTH) {
      const one = pick(activity)
      const resourceId = String(one['resourceId']).replace(
        /MICROSOFT\.KEYVAULT.*/,
        `${machine}/VM-${next() % KEYS}`,
      )
      return { ...one, ...common, operationName: `${machine}/START/ACTION`, resourceId }
    }
    if (share < 0.8) {
      const one = pick(vault)
      const key = `https://kv-payments.vault.azure.net/keys/k-${next() % KEYS}/${hex(8)}${hex(8)}${hex(8)}${hex(8)}`
      const claim = object(object(one['identity'])['claim'])
      const oid = `6e1f0a11-0000-4000-8000-${String(next() % APPLICATIONS).padStart(12, '0')}`
      return {
        ...one,
        ...common,
        identity: { claim: { ...claim, oid } },
        properties: { ...object(one['properties']), id: key, requestUri: `${key}/unwrapkey?api-version=7.4` },
      }
    }
    const one = pick(share < 0.9 ? activity : entra)
    const properties = object(one['properties'])
    return properties['id'] === undefined
      ? { ...one, ...common }
      : {
          ...one,
          ...common,
          callerIpAddress: one['callerIpAddress'], // it stands in properties, too
          properties: {
            ...properties,
            id: `${hex(8)}-0000-4000-8000-${hex(8)}${hex(4)}`,
            correlationId: common.correlationId,
            ...(properties['activityDateTime'] === undefined ? {} : { activityDateTime: common.time }),
          },
        }
  }
}

const googleMaker = (): Make => {
  const entries = [
    base('burst-decrypt.gcp'),
    base('burst-decrypt.gcp'),
    base('decoy-key-touched.gcp'),
    base('policy-change-no-mfa.gcp'),
  ]
  return (next, hex, time) => {
    const one = entries[next() % entries.length] ?? {}
    const payload = object(one['protoPayload'])
    const key = `projects/payments-prod/locations/europe-west3/keyRings/cards/cryptoKeys/k-${next() % KEYS}`
    const away = next() / 2 ** 32 < TENTH
    const principalEmail = `app-${next() % APPLICATIONS}@payments-prod.iam.gserviceaccount.com`
    return {
      ...one,
      timestamp: `${time}${hex(6).replace(/[a-f]/g, '7')}Z`,
      insertId: `${hex(8)}${hex(4)}`,
      protoPayload: {
        ...payload,
        authenticationInfo: { principalEmail, principalSubject: `serviceAccount:${principalEmail}` },
        requestMetadata: { ...object(payload['requestMetadata']), callerIp: `198.51.100.${next() % 256}` },
        ...(away
          ? {
              serviceName: 'compute.googleapis.com',
              methodName: 'v1.compute.instances.start',
              resourceName: 'projects/payments-prod/zones/z/instances/i',
            }
          : { resourceName: key }),
      },
    }
  }
}

/** Writes the files of a form. @returns bytes written */
export const generateClouds = (
  folder: string,
  form: Form,
  records: number,
  perFile: number,
  seed: number,
): number => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const make = form === 'google lines' ? googleMaker() : azureMaker()
  const next = random(seed)
  const hex = (digits: number) => next().toString(16).padStart(8, '0').slice(0, digits)
  let bytes = 0
  for (let made = 0, file = 0; made < records; file++) {
    const part: Json[] = []
    for (; part.length < perFile && made < records; made++) {
      const at = START + Math.floor((made / records) * DAY_MS) - (next() % 300_000) // as late as five minutes
      part.push(make(next, hex, new Date(at).toISOString().slice(0, 23)))
    }
    const text =
      form === 'azure records'
        ? JSON.stringify({ records: part })
        : `${part.map((one) => JSON.stringify(one)).join('\n')}\n`
    bytes += Buffer.byteLength(text)
    writeFileSync(join(folder, `PT1H-${String(file).padStart(6, '0')}.json`), text)
  }
  return bytes
}
