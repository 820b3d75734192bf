// Records of Entra ID: audit logs and sign-ins. Shapes: Microsoft Graph, directoryAudit and signIn.
import {
  type Caller,
  type Category,
  CLI,
  type Fields,
  guid,
  type Made,
  TENANT,
  type Value,
} from './callers.ts'

type Modified = readonly [displayName: string, oldValue: string | null, newValue: string | null]
interface Resource {
  readonly id: string
  readonly displayName: string
  readonly type: 'Application' | 'ServicePrincipal' | 'User'
  readonly modified?: readonly Modified[]
}
export const directory = (
  activityName: string,
  by: Caller,
  resources: readonly Resource[],
  operation?: string,
): Made => {
  return ({ row, time, id }) => {
    const correlationId = guid(`correlation ${operation ?? id}`)
    const record = {
      time,
      resourceId: `/tenants/${TENANT}/providers/Microsoft.aadiam`,
      operationName: activityName,
      operationVersion: '1.0',
      category: 'AuditLogs',
      tenantId: TENANT,
      resultSignature: 'None',
      durationMs: 0,
      callerIpAddress: by.ip,
      correlationId,
      identity: by.name.split('@')[0],
      level: 4,
      properties: {
        id: `Directory_${guid(`directory ${id}`)}`,
        category: 'ApplicationManagement',
        correlationId,
        result: 'success',
        resultReason: '',
        activityDisplayName: activityName,
        activityDateTime: time,
        loggedByService: 'Core Directory',
        operationType: activityName.split(' ')[0],
        initiatedBy: {
          user: { id: by.oid, displayName: null, userPrincipalName: by.name, ipAddress: by.ip },
        },
        targetResources: resources.map(({ modified = [], ...one }) => ({
          ...one,
          modifiedProperties: modified.map(([displayName, oldValue, newValue]) => ({
            displayName,
            oldValue,
            newValue,
          })),
        })),
        additionalDetails: [{ key: 'User-Agent', value: by.agent }],
      },
    }
    return { row, category: 'AuditLogs', time, record }
  }
}
/** Old and new values are JSON inside a text. */
export const json = (value: Value): string => JSON.stringify(value)
export const secret = (id: string, name: string): string =>
  `[KeyIdentifier=${id},KeyType=Password,KeyUsage=Verify,DisplayName=${name}]`

const signInRecord = (
  category: Category,
  by: Caller,
  id: string,
  time: string,
  properties: Fields,
): Fields => ({
  time,
  resourceId: `/tenants/${TENANT}/providers/Microsoft.aadiam`,
  operationName: 'Sign-in activity',
  operationVersion: '1.0',
  category,
  tenantId: TENANT,
  resultType: '0',
  resultSignature: 'None',
  durationMs: 0,
  callerIpAddress: by.ip,
  correlationId: guid(`correlation ${id}`),
  identity: by.name,
  level: 4,
  properties: {
    id: guid(`sign-in ${id}`),
    createdDateTime: time,
    appId: by.appid,
    ipAddress: by.ip,
    conditionalAccessStatus: by.kind === 'person' ? 'success' : 'notApplied',
    status: { errorCode: 0 },
    ...properties,
  },
})
/** A person signs in, with a second factor. */
export const signIn =
  (by: Caller, uti: string): Made =>
  ({ row, time, id }) => ({
    row,
    category: 'SignInLogs',
    time,
    record: signInRecord('SignInLogs', by, id, time, {
      userId: by.oid,
      userPrincipalName: by.name,
      resourceDisplayName: 'Windows Azure Service Management API',
      resourceId: '797f4846-ba00-4fd7-ba43-dac1f8f63013',
      clientAppUsed: by.appid === CLI ? 'Mobile Apps and Desktop clients' : 'Browser',
      userAgent: by.agent,
      authenticationRequirement: 'multiFactorAuthentication',
      authenticationDetails: [
        {
          authenticationMethod: 'Password',
          succeeded: true,
          authenticationStepResultDetail: 'Correct password',
          authenticationStepRequirement: 'Primary authentication',
        },
        {
          authenticationMethod: 'Mobile app notification',
          succeeded: true,
          authenticationStepResultDetail: 'MFA completed in Azure AD',
          authenticationStepRequirement: 'Secondary authentication',
        },
      ],
      uniqueTokenIdentifier: uti,
    }),
  })
/** An application asks for a token: with a secret, or as a managed identity. */
export const tokenFor =
  (by: Caller, credential?: string): Made =>
  ({ row, time, id }) => {
    const category = by.kind === 'application' ? 'ServicePrincipalSignInLogs' : 'ManagedIdentitySignInLogs'
    const record = signInRecord(category, by, id, time, {
      servicePrincipalId: by.oid,
      servicePrincipalName: by.name,
      resourceDisplayName: 'Azure Key Vault',
      resourceIdentity: 'cfa8b339-82a2-471a-a3c9-0fc0be7a4093',
      ...(credential !== undefined && {
        clientCredentialType: 'clientSecret',
        servicePrincipalCredentialKeyId: credential,
      }),
      uniqueTokenIdentifier: guid(`uti ${id}`).slice(0, 22),
    })
    return { row, category, time, record }
  }
