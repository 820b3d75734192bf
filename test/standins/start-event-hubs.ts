/** A namespace of Event Hubs by hand: `node test/standins/start-event-hubs.ts [hub:partitions ...]`, until it is stopped. */
import { startEventHubs } from './event-hubs.ts'

const wanted = process.argv.slice(2)
const hubs = (wanted.length === 0 ? ['insights-logs-auditevent:4'] : wanted).map((text) => {
  const [name = '', partitions = '4'] = text.split(':')
  return { name, partitions: Number(partitions), consumerGroups: ['keytrail'] }
})
const service = await startEventHubs({ hubs })
process.stdout.write(`ready ${service.connectionString}\n`)
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => void service.close().then(() => process.exit(0)))
