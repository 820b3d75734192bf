/** Whether a database used the key, and how that is known: by the record itself, or by the database register. */
import type { KeyEvent } from '../model/event.ts'

/** The service agent of Cloud SQL; the accounts of its instances live in the same domain and use no keys. */
const CLOUD_SQL = /^service-\d+@gcp-sa-cloud-sql\.iam\.gserviceaccount\.com$/

/** @param labels of the event, the register's among them */
export const databaseUse = (
  event: KeyEvent,
  labels: KeyEvent['labels'],
): { readonly use: 'sql' | 'rds'; readonly basis: string } | undefined => {
  const known = event.crypto?.used_for
  if (known === 'rds') return { use: known, basis: 'context' }
  if (known === 'sql') return { use: known, basis: 'claim' }
  if (event.operation_category !== 'cryptographic') return undefined
  if (event.actor.name !== undefined && CLOUD_SQL.test(event.actor.name))
    return { use: 'sql', basis: 'service_agent' }
  const own = labels?.['database_part'] === 'key' && labels['database_role'] === 'principal'
  return own ? { use: event.source.provider === 'aws' ? 'rds' : 'sql', basis: 'register' } : undefined
}
