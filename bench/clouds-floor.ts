/**
 * The other sides of the benchmark of Azure and Google. `parse`: every record through `JSON.parse`, nothing else. `lines`: the
 * same, and one line of a few fields for each record in scope, to compare outputs. `read`: Keytrail's own reading and
 * normalizing of the same files, without order, judging and output.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultConfig } from '../src/model/config.ts'
import { type Json, object } from '../src/normalize/json.ts'
import { intake } from '../src/pipeline/intake.ts'

/** Time, operation, address and id of a record in scope; nothing of the others. */
const fields = (record: Json): string | undefined => {
  const payload = object(record['protoPayload'])
  if (payload['methodName'] !== undefined)
    return payload['serviceName'] === 'compute.googleapis.com'
      ? undefined
      : JSON.stringify([
          record['timestamp'],
          payload['methodName'],
          object(payload['requestMetadata'])['callerIp'],
          record['insertId'],
        ])
  const name = String(record['operationName'])
  if (name.startsWith('MICROSOFT.COMPUTE')) return undefined
  return JSON.stringify([record['time'], name, record['callerIpAddress'], record['correlationId']])
}

/** Every record of a file, in either form. */
const each = (text: string, take: (record: Json) => void) => {
  if (text.startsWith('{"records":'))
    for (const one of (JSON.parse(text) as { records: Json[] }).records) take(one)
  else
    for (let at = 0, end = text.indexOf('\n'); end >= 0; at = end + 1, end = text.indexOf('\n', at))
      take(JSON.parse(text.slice(at, end)) as Json) // our own files: each line is a record
}

const [mode = '', folder = '', output = ''] = process.argv.slice(2)
let count = 0
const lines: string[] = []
for (const name of readdirSync(folder)) {
  const bytes = readFileSync(join(folder, name))
  if (mode === 'read') {
    const reader = intake(
      {
        feed_id: 'bench',
        transport: 'file',
        place: name,
        received: () => '2026-04-15T00:00:00Z',
        settings: defaultConfig,
        strict: false,
      },
      { kept: () => count++ },
    )
    reader.push(bytes)
    reader.end()
  } else
    each(bytes.toString(), (record) => {
      const line = mode === 'lines' ? fields(record) : ''
      if (line === undefined) return
      count++
      if (mode === 'lines') lines.push(line)
    })
}
if (mode === 'lines') writeFileSync(output, lines.join('\n'))
console.log(JSON.stringify({ count }))
