import { sourceOf } from '../../src/commands/sources.ts'
import { sourceConfig } from '../../src/model/sources.ts'
import { startCloudWatchLogs } from '../standins/cloudwatch-logs.ts'
import { sourceContract } from './source.ts'

process.env['AWS_ACCESS_KEY_ID'] ??= 'AKIAEXAMPLEEXAMPLE12'
process.env['AWS_SECRET_ACCESS_KEY'] ??= 'secret'

sourceContract('cloudwatch logs', {
  rereads: true, // what the last minute brought; it is a duplicate
  async make() {
    const logs = await startCloudWatchLogs()
    logs.group('trail')
    const config = {
      type: 'cloudwatch_logs',
      groups: [{ name: 'trail', region: 'eu-central-1' }],
      start: 'beginning',
      poll_seconds: 1,
      requests_per_second: 1000,
      endpoint: logs.url,
    }
    return {
      config,
      async publish(records) {
        const timestamp = Date.now()
        logs.put(
          'trail',
          records.map((one) => ({ timestamp, message: JSON.stringify(one) })),
        )
      },
      open: () => sourceOf('logs', sourceConfig.parse(config), { follow: true, onNotice: () => {} }),
      close: () => logs.close(),
    }
  },
})
