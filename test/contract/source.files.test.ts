import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { delivery } from '../support/cloudtrail.ts'
import { sourceContract } from './source.ts'

sourceContract('files', {
  async make() {
    const folder = mkdtempSync(join(tmpdir(), 'keytrail-files-'))
    const config = { type: 'files', paths: [folder], start: 'beginning' }
    let number = 0
    return {
      config,
      async publish(records) {
        const unfinished = `${folder}.unfinished`
        writeFileSync(unfinished, gzipSync(delivery(records)))
        renameSync(unfinished, join(folder, `${String(++number).padStart(6, '0')}.json.gz`))
      },
      open: () => sourceOf('logs', sourceConfig.parse(config), { follow: true, onNotice: () => {} }),
      close: async () => rmSync(folder, { recursive: true, force: true }),
    }
  },
})
