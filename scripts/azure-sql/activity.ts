// Records of the Activity log. Shape: Azure Activity log event schema, the form that Event Hubs and storage get.
import {
  type Caller,
  type Fields,
  guid,
  issuer,
  type Made,
  managementClaims,
  SUBSCRIPTION,
  TENANT,
} from './callers.ts'

interface ActivityFacts {
  /** First of several records about an operation, or the last one. */
  readonly phase?: 'Start' | 'Success'
  readonly created?: boolean
  readonly request?: Fields
  readonly response?: Fields
  readonly uti?: string
  /** Records about one operation have one correlation id. */
  readonly operation?: string
}
const pascal = (body: Fields): Fields =>
  Object.fromEntries(
    Object.entries(body).map(([name, value]) => [name[0]?.toUpperCase() + name.slice(1), value]),
  )

export const activity =
  (action: string, resource: string, by: Caller | undefined, facts: ActivityFacts = {}): Made =>
  ({ row, time, id }) => {
    const { phase = 'Success', created = false } = facts
    const evidence =
      by === undefined
        ? {}
        : {
            role: 'Contributor',
            principalId: by.oid.replaceAll('-', ''),
            principalType: by.kind === 'person' ? 'User' : 'ServicePrincipal',
          }
    const human = {
      'http://schemas.microsoft.com/claims/authnmethodsreferences': 'pwd,mfa',
      'http://schemas.microsoft.com/identity/claims/scope': 'user_impersonation',
      ipaddr: by?.ip,
      uti: facts.uti ?? guid(`uti ${id}`).slice(0, 22),
    }
    const claims =
      by === undefined
        ? {}
        : {
            aud: 'https://management.core.windows.net/',
            iss: issuer,
            'http://schemas.microsoft.com/identity/claims/tenantid': TENANT,
            ...managementClaims(by),
            ...(by.kind === 'person' && human),
          }
    const signature = phase === 'Start' ? 'Started.' : created ? 'Succeeded.Created' : 'Succeeded.OK'
    const record = {
      time,
      resourceId: resource.toUpperCase(),
      operationName: action.toUpperCase(),
      category: 'Administrative',
      resultType: phase,
      resultSignature: signature,
      durationMs: 0,
      ...(by !== undefined && { callerIpAddress: by.ip }),
      correlationId: guid(`correlation ${facts.operation ?? id}`),
      identity: { authorization: { scope: resource, action, evidence }, claims },
      level: 'Information',
      tenantId: TENANT,
      properties: {
        eventCategory: 'Administrative',
        entity: resource,
        message: action,
        hierarchy: `${TENANT}/${SUBSCRIPTION}`,
        ...(phase === 'Success' && { statusCode: created ? 'Created' : 'OK' }),
        ...(facts.request && { requestbody: JSON.stringify(facts.request) }),
        ...(facts.response && { responseBody: JSON.stringify(facts.response) }),
      },
    }
    return { row, category: 'Activity', time, record }
  }

export interface Assignment {
  readonly role: string
  readonly to: Caller
  readonly scope: string
}
export const roles = {
  cryptoOfficer: '14b46e9e-c2b7-41b4-b07b-48a6ebf60603',
  cryptoUser: '12338af0-0e69-4776-bea7-57ae8d297424',
  serviceEncryptionUser: 'e147488a-f6f5-4113-8e2d-b22465e65bf6',
}
/** A role is given (the request has it) or taken (only the answer has it). */
export const role = (verb: 'write' | 'delete', by: Caller, { role: id, to, scope }: Assignment): Made => {
  const name = guid(`assignment ${id} ${to.oid} ${scope}`)
  const own = `${scope}/providers/Microsoft.Authorization/roleAssignments/${name}`
  const properties = {
    principalId: to.oid,
    principalType: to.kind === 'person' ? 'User' : 'ServicePrincipal',
    roleDefinitionId: `/subscriptions/${SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/${id}`,
    scope,
  }
  return activity(`Microsoft.Authorization/roleAssignments/${verb}`, own, by, {
    created: verb === 'write',
    ...(verb === 'write' && { request: { Id: name, Properties: pascal(properties) } }),
    response: { id: own, name, type: 'Microsoft.Authorization/roleAssignments', properties },
  })
}
