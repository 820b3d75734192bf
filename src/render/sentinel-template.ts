/**
 * An Azure Resource Manager template with everything Sentinel needs: two tables, one data collection rule of the
 * kind that has an endpoint of its own, and the role that lets Keytrail write to it.
 * https://learn.microsoft.com/azure/azure-monitor/logs/tutorial-logs-ingestion-api
 */
import { alertColumns, type ColumnType, eventColumns } from './asim.ts'

export interface SentinelStream {
  readonly table: string
  /** As the data collection rule declares it. */
  readonly stream: string
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[]
}

const streamOf = (
  name: string,
  columns: readonly (readonly [string, ColumnType, unknown])[],
): SentinelStream => ({
  table: `${name}_CL`,
  stream: `Custom-${name}`,
  columns: columns.map(([column, type]) => ({ name: column, type })),
})

export const alertStream = streamOf('KeytrailAlert', alertColumns)
export const eventStream = streamOf('KeytrailEvent', eventColumns)
const streams = [alertStream, eventStream]

/** Monitoring Metrics Publisher, https://learn.microsoft.com/azure/role-based-access-control/built-in-roles */
const PUBLISHER = '3913510d-42f4-4e42-8a64-420c390055eb'
const RULE = "[resourceId('Microsoft.Insights/dataCollectionRules', parameters('ruleName'))]"
const WORKSPACE = "resourceId('Microsoft.OperationalInsights/workspaces', parameters('workspaceName'))"

const tableOf = ({ table, columns }: SentinelStream) => ({
  type: 'Microsoft.OperationalInsights/workspaces/tables',
  apiVersion: '2025-07-01',
  name: `[concat(parameters('workspaceName'), '/${table}')]`,
  properties: {
    plan: 'Analytics',
    totalRetentionInDays: "[parameters('retentionDays')]",
    schema: {
      name: table,
      columns: columns.map(({ name, type }) => ({ name, type: type === 'datetime' ? 'dateTime' : type })),
    },
  },
})

const rule = {
  type: 'Microsoft.Insights/dataCollectionRules',
  apiVersion: '2024-03-11',
  name: "[parameters('ruleName')]",
  location: "[parameters('location')]",
  kind: 'Direct',
  dependsOn: streams.map(
    ({ table }) =>
      `[resourceId('Microsoft.OperationalInsights/workspaces/tables', parameters('workspaceName'), '${table}')]`,
  ),
  properties: {
    streamDeclarations: Object.fromEntries(streams.map(({ stream, columns }) => [stream, { columns }])),
    destinations: { logAnalytics: [{ name: 'workspace', workspaceResourceId: `[${WORKSPACE}]` }] },
    dataFlows: streams.map(({ stream, table }) => ({
      streams: [stream],
      destinations: ['workspace'],
      transformKql: 'source',
      outputStream: `Custom-${table}`,
    })),
  },
}

const assignment = {
  type: 'Microsoft.Authorization/roleAssignments',
  apiVersion: '2022-04-01',
  name: "[guid(resourceGroup().id, parameters('ruleName'), parameters('principalId'))]",
  scope: "[concat('Microsoft.Insights/dataCollectionRules/', parameters('ruleName'))]",
  dependsOn: [RULE],
  properties: {
    roleDefinitionId: `[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '${PUBLISHER}')]`,
    principalId: "[parameters('principalId')]",
    principalType: 'ServicePrincipal',
  },
}

const parameter = (type: string, description: string, more: object = {}) => ({
  type,
  ...more,
  metadata: { description },
})

/** The template as an object, to be written as JSON. */
export const sentinelTemplate = () => ({
  $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
  contentVersion: '1.0.0.0',
  parameters: {
    workspaceName: parameter('string', 'Log Analytics workspace that Sentinel uses, in this resource group'),
    principalId: parameter('string', 'object id of the identity that Keytrail signs in with'),
    location: parameter('string', 'region of the workspace', { defaultValue: '[resourceGroup().location]' }),
    ruleName: parameter('string', 'name of the data collection rule', { defaultValue: 'keytrail' }),
    retentionDays: parameter('int', 'days the rows are kept, archive included', { defaultValue: 365 }),
  },
  resources: [...streams.map(tableOf), rule, assignment],
  outputs: {
    rule: { type: 'string', value: `[reference(${RULE.slice(1, -1)}, '2024-03-11').immutableId]` },
    endpoint: {
      type: 'string',
      value: `[reference(${RULE.slice(1, -1)}, '2024-03-11').endpoints.logsIngestion]`,
    },
  },
})
