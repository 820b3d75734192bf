/** The log formats, by name. The format is detected for each record. */
import type { Provider } from '../model/event.ts'
import { azureActivity } from './azure-activity.ts'
import { cloudtrail } from './cloudtrail.ts'
import { entra } from './entra.ts'
import type { Format } from './format.ts'
import { gcpAudit } from './google.ts'
import { keyVault } from './key-vault.ts'

/** In this order: the Activity log also takes the Azure records that are no other format's. */
export const formats = {
  cloudtrail,
  gcp_audit: gcpAudit,
  key_vault: keyVault,
  entra,
  azure_activity: azureActivity,
} satisfies Record<string, Format>

export type FormatName = keyof typeof formats

export const providerOf = (name: FormatName): Provider =>
  name === 'cloudtrail' ? 'aws' : name === 'gcp_audit' ? 'gcp' : 'azure'
export const formatNames = Object.keys(formats) as FormatName[]

export const isFormatName = (name: string): name is FormatName => Object.hasOwn(formats, name)
