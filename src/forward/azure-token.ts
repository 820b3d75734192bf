/** Bearer tokens of Entra, by whichever credential the configuration names. */
import type { TokenCredential } from '@azure/identity'
import { messageOf } from '../model/error.ts'
import { sha256 } from '../normalize/text.ts'
import { SinkFault } from '../pipeline/ports.ts'

export type AzureCredential =
  | {
      readonly type: 'client_secret'
      readonly tenant: string
      readonly client: string
      readonly secret: string
    }
  | { readonly type: 'certificate'; readonly tenant: string; readonly client: string; readonly path: string }
  | { readonly type: 'managed_identity'; readonly client?: string | undefined }
  | {
      readonly type: 'workload_identity'
      readonly tenant?: string | undefined
      readonly client?: string | undefined
      readonly token_file?: string | undefined
    }

export interface AzureTokenOptions {
  readonly credential: AzureCredential
  /** Address that gives tokens, where it is not the public cloud's. */
  readonly authority?: string | undefined
  readonly scope: string
  /** Reads the secret that a credential names. @throws SinkFault for a sink */
  readonly secretOf: (name: string) => string
}

export interface AzureToken {
  /** The token that is valid now, renewed before it ends. @throws SinkFault */
  token(signal: AbortSignal): Promise<string>
  /** Ask for a new one: the last was refused. */
  renew(): void
}

/** @throws what `secretOf` throws */
export const credentialOf = async ({
  credential,
  authority,
  secretOf,
}: Omit<AzureTokenOptions, 'scope'>): Promise<TokenCredential> => {
  const identity = await import('@azure/identity') // large: only where it is needed
  const options = authority === undefined ? {} : { authorityHost: authority, disableInstanceDiscovery: true }
  switch (credential.type) {
    case 'client_secret': {
      const { tenant, client, secret } = credential
      return new identity.ClientSecretCredential(tenant, client, secretOf(secret), options)
    }
    case 'certificate':
      return new identity.ClientCertificateCredential(
        credential.tenant,
        credential.client,
        { certificatePath: credential.path },
        options,
      )
    case 'managed_identity':
      return credential.client === undefined
        ? new identity.ManagedIdentityCredential()
        : new identity.ManagedIdentityCredential({ clientId: credential.client })
    case 'workload_identity':
      return new identity.WorkloadIdentityCredential({
        ...options,
        ...(credential.tenant !== undefined && { tenantId: credential.tenant }),
        ...(credential.client !== undefined && { clientId: credential.client }),
        ...(credential.token_file !== undefined && { tokenFilePath: credential.token_file }),
      })
  }
}

/** Whether Entra answered that it does not know us, rather than that it was not reached. */
const isRefusal = (cause: unknown): boolean => {
  if (!(cause instanceof Error)) return false
  const status = 'statusCode' in cause ? Number(cause.statusCode) : 0
  return (
    (status >= 400 && status < 500 && status !== 429) ||
    cause.name === 'CredentialUnavailableError' ||
    /AADSTS(7\d{5,}|50\d{3}|90002)|invalid_client/.test(cause.message)
  )
}

export const azureToken = (options: AzureTokenOptions): AzureToken => {
  const { credential: chosen, secretOf } = options
  let credential: TokenCredential | undefined
  let made: string | undefined
  return {
    async token(signal) {
      try {
        const secret = chosen.type === 'client_secret' ? sha256(secretOf(chosen.secret)) : undefined
        if (secret !== made) credential = undefined // the secret was replaced
        made = secret
        credential ??= await credentialOf(options)
        const found = await credential.getToken(options.scope, { abortSignal: signal })
        if (found !== null) return found.token
      } catch (cause) {
        signal.throwIfAborted()
        credential = undefined
        if (cause instanceof SinkFault) throw cause
        const [line = ''] = messageOf(cause).split('\n')
        const text = `no token from Entra: ${line.slice(0, 300)}`
        throw isRefusal(cause) ? new SinkFault(text, { cause }) : new Error(text, { cause })
      }
      throw new SinkFault(`the credential ${options.credential.type} gives no token`)
    },
    renew() {
      credential = undefined
    },
  }
}
