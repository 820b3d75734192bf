/** The accounts that a change of permissions lets in: of policies, grants and bindings, in the words of each cloud. */
import type { KeyEvent } from '../model/event.ts'

const ARN = /^arn:aws[a-z-]*:(?:iam|sts)::(\d{12}):/
const ACCOUNT = /^\d{12}$/
const SERVICE_ACCOUNT = /@([a-z0-9-]+)\.iam\.gserviceaccount\.com$/

/** Account of an AWS principal, project of a service account, domain of a person, group or domain of Google. */
const accountOf = (member: string): string | undefined => {
  const aws = ARN.exec(member)?.[1] ?? (ACCOUNT.test(member) ? member : undefined)
  if (aws !== undefined) return aws
  const project = SERVICE_ACCOUNT.exec(member)?.[1]
  if (project !== undefined) return project
  const [, kind, name = ''] = /^(?:deleted:)?(user|group|domain|serviceAccount):(.+)$/.exec(member) ?? []
  if (kind === 'domain') return name
  return kind === undefined ? undefined : name.split('@')[1]
}

const listed = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value])
const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined

/** Principals of the Allow statements of a key policy. */
const principalsOf = (policy: string): string[] => {
  let document: unknown
  try {
    document = JSON.parse(policy)
  } catch {
    return [] // it was cut: change.policy stands in `truncated`
  }
  return listed(member(document, 'Statement'))
    .filter((statement) => member(statement, 'Effect') === 'Allow')
    .flatMap((statement) => listed(member(member(statement, 'Principal'), 'AWS')))
    .filter((one) => typeof one === 'string')
}

/** @returns accounts, projects and domains, each once */
export const accountsGiven = ({ change }: KeyEvent): readonly string[] => {
  const given = [
    ...(change?.policy === undefined ? [] : principalsOf(change.policy)),
    ...(change?.grant?.grantee === undefined ? [] : [change.grant.grantee]),
    ...(change?.bindings ?? []).flatMap((one) => (one.action === 'remove' ? [] : (one.member ?? []))),
  ]
  return [...new Set(given.flatMap((one) => accountOf(one) ?? []))]
}
