/** The log formats, by name. The format is detected for each record. */
import { cloudtrail } from './cloudtrail.ts'
import type { Format } from './format.ts'

export const formats = { cloudtrail } satisfies Record<string, Format>

export type FormatName = keyof typeof formats
export const formatNames = Object.keys(formats) as FormatName[]

export const isFormatName = (name: string): name is FormatName => Object.hasOwn(formats, name)
