/**
 * The twelve misuses of the database key scenario (database-keys.md 7.1): rows that each adds or changes, the alerts the
 * document expects, and a near miss in the same file that must add none of them.
 */
import { activity, role, roles } from '../../scripts/azure-sql/activity.ts'
import {
  application,
  type Entry,
  from,
  guid,
  type Made,
  person,
  SERVER,
  VAULT,
  versionOf,
} from '../../scripts/azure-sql/callers.ts'
import {
  diagnosticSetting,
  diagnostics,
  ekm,
  get,
  ines,
  K1,
  lena,
  mi,
  moment,
  omar,
  orders,
  ordersNext,
  protectorWrite,
  row,
  secretsChanged,
  serverKeyWrite,
  sql01,
  unwrap,
  vaultBody,
  vaultWrite,
} from '../../scripts/azure-sql/calls.ts'
import { directory, tokenFor } from '../../scripts/azure-sql/entra.ts'
import { audit, keyProperties, vaultAudit } from '../../scripts/azure-sql/key-vault.ts'
import { daily, scenario } from '../../scripts/azure-sql/scenario.ts'

export interface Variant {
  readonly id: string
  readonly title: string
  /** The clean run that it starts from. */
  readonly clean: readonly Entry[]
  readonly added: readonly Entry[]
  readonly near: readonly Entry[]
  /** `detector severity`, one for each alert. */
  readonly alerts: readonly string[]
  /** What the near miss rightly raises: detectors that are not about databases. */
  readonly nearAlerts?: readonly string[]
  /** Networks of the instance, where they are not the example's. */
  readonly networks?: readonly string[]
  /** What the document does not want, but is raised as long as `database-key-at-risk` does not wait ten minutes. */
  readonly early?: readonly string[]
}

/** Rows 1 to 35, as far as they lie on day 0 and day 1. */
const toDay1 = scenario.filter((one) => one.time < moment(2, '00:00:00'))
const instead = (...changed: readonly Entry[]) => [
  ...toDay1.filter((one) => changed.every(({ row: number }) => one.row !== number)),
  ...changed,
]

// --- The rest of the cast ---
const OUTSIDE = '203.0.113.9'
const mallory = person('mallory', OUTSIDE)
const evil = application('sp-evil', '198.51.100.50', 'azsdk-python-keyvault-keys/4.10.0')
const pipeline = application('sp-deploy', '198.51.100.60', 'terraform/1.12.1')
const [K2, K3] = [guid('secret K2'), guid('secret K3')]
const testKey = { key: 'sql-test', version: versionOf('sql-test', 1) }
const ekmOutside = from(ekm, OUTSIDE)

// --- Calls that only misuse has ---
const refused = (by: typeof ekm, description: string, properties = {}) => ({
  status: 403,
  properties,
  more: { resultDescription: `${description}\r\nCaller: appid=${by.appid};oid=${by.oid}` },
})
const firewall = refused(ekmOutside, `Client address is not authorized: ${OUTSIDE}`, {
  isAddressAuthorized: false,
})
const forbidden = refused(mi, 'Caller is not authorized to perform action on resource.', {
  isRbacAuthorized: false,
})
const purgeProtected = refused(omar, 'Operation "purge" is not allowed because purge protection is enabled.')
const removal = (key: typeof orders): Made[] => [
  audit('KeyUpdate', { by: omar, ...key, properties: keyProperties(1_811_924_162, false) }),
  audit('KeyDelete', { by: omar, ...key, call: `/keys/${key.key}` }),
  audit('KeyPurge', { by: omar, key: key.key, call: `/deletedkeys/${key.key}`, ...purgeProtected }),
]
const opened = vaultBody('Allow', '192.0.2.40/32')
const firewallOpened = row(
  50,
  1,
  '11:00:00',
  vaultWrite(omar, opened),
  vaultAudit('VaultPatch', omar, opened),
)
const oneMore = vaultBody('Deny', '192.0.2.40/32', '192.0.2.41/32')
const ordersKey = `${VAULT}/keys/orders-tde`
const access = { role: roles.serviceEncryptionUser, to: mi, scope: ordersKey }
const database = `${SERVER}/databases/orders`
const inaccessible = (phase: 'Start' | 'Success') =>
  activity('Microsoft.Sql/servers/databases/makeDatabaseInaccessible/action', database, undefined, {
    phase,
    operation: 'lost',
  })
const principalRemoved = (who: typeof ekm): Made =>
  directory('Remove service principal', mallory, [
    { id: who.oid, displayName: who.name, type: 'ServicePrincipal' },
  ])
const rotatedLate = scenario.filter((one) => one.row < 39 && one.row !== 33)
const ownRole = { role: roles.cryptoUser, to: lena, scope: VAULT }
const duplicated = toDay1.filter((one) => one.row >= 21 && one.row <= 26)

const variant = (
  id: string,
  title: string,
  added: readonly Entry[],
  near: readonly Entry[],
  alerts: readonly string[],
  more: Partial<Variant> = {},
): Variant => ({ id, title, clean: toDay1, added, near, alerts, ...more })

// biome-ignore format: a row is a line
export const variants: readonly Variant[] = [
  variant(
    'V1',
    'foreign unwrap',
    [
      ...row(50, 1, '11:00:00', role('write', omar, { role: roles.cryptoUser, to: evil, scope: `${VAULT}/keys/sql01-tde` })),
      ...row(51, 1, '11:05:00', unwrap(evil, sql01)),
    ],
    row(60, 1, '12:00:00', get(ines, sql01)),
    ['rbac-key-role medium', 'database-principal-foreign high', 'policy-then-use high'],
  ),
  variant(
    'V2',
    'the principal from a new network',
    [
      ...row(50, 1, '11:00:00', tokenFor(ekmOutside, K1)),
      ...row(51, 1, '11:00:05', unwrap(ekmOutside, sql01, firewall)),
    ],
    [
      ...row(60, 1, '12:00:00', tokenFor(from(ekm, '192.0.2.41'), K1)),
      ...row(61, 1, '12:00:05', unwrap(from(ekm, '192.0.2.41'), sql01)),
    ],
    ['caller-new-asn high', 'recon-firewall-denied medium'],
    {
      networks: ['192.0.2.40/32', '192.0.2.41/32'],
      clean: instead(
        ...row(9, 0, '08:12:09', vaultWrite(omar, oneMore)),
        ...row(10, 0, '08:12:09', vaultAudit('VaultPut', omar, oneMore)),
      ),
    },
  ),
  variant(
    'V2b',
    'the principal from a new network, through the opened firewall',
    [
      ...firewallOpened,
      ...row(51, 1, '11:10:00', tokenFor(ekmOutside, K1)),
      ...row(52, 1, '11:10:05', unwrap(ekmOutside, sql01)),
    ],
    [],
    ['vault-network-open high', 'caller-new-asn critical'],
  ),
  variant(
    'V3',
    'key removed',
    row(50, 1, '11:00:00', ...removal(sql01)),
    row(60, 1, '12:00:00', ...removal(testKey)),
    [
      'key-disabled high',
      'key-deletion-scheduled critical',
      'key-purge-denied medium',
      'chain-delete-purge critical',
      'database-key-at-risk critical',
    ],
    {
      nearAlerts: [
        'key-disabled high',
        'key-deletion-scheduled high',
        'key-purge-denied medium',
        'chain-delete-purge critical',
      ],
    },
  ),
  variant(
    'V4',
    'access of Azure SQL revoked',
    [
      ...row(50, 1, '11:00:00', role('delete', omar, access)),
      ...row(51, 1, '11:03:00', unwrap(mi, orders, forbidden)),
      ...row(52, 1, '11:07:00', unwrap(mi, orders, forbidden)),
      ...row(53, 1, '11:11:00', unwrap(mi, orders, forbidden)),
      ...row(54, 1, '11:36:00', inaccessible('Start')),
      ...row(55, 1, '12:06:00', inaccessible('Success')),
    ],
    [
      ...row(60, 0, '11:00:00', role('delete', omar, access)),
      ...row(61, 0, '11:06:00', role('write', omar, access)),
    ],
    ['database-key-at-risk critical', 'database-access-lost critical'],
    { early: ['database-key-at-risk critical'] },
  ),
  variant(
    'V4b',
    'access of the instance revoked: it fails at its next restart',
    row(50, 1, '11:00:00', role('delete', omar, { ...access, to: ekm, scope: `${VAULT}/keys/sql01-tde` })),
    [],
    ['database-key-at-risk critical'],
  ),
  variant(
    'V5',
    'protector downgraded',
    row(50, 1, '11:00:00', protectorWrite(lena)),
    row(60, 0, '11:00:00', protectorWrite(lena, ordersNext.version)),
    ['database-protector-downgraded high'],
  ),
  variant(
    'V6',
    'secret added by another',
    [
      ...row(50, 1, '11:00:00', secretsChanged(mallory, [K1, K3], [K1, K3, K2])),
      ...row(51, 1, '11:05:00', tokenFor(ekmOutside, K2)),
      ...row(52, 1, '11:05:05', unwrap(ekmOutside, sql01)),
    ],
    row(60, 0, '11:00:00', secretsChanged(lena, [K1], [K1, K3])),
    // database-credential-unknown becomes critical when it can look back to the credential that was added
    ['database-credential-added high', 'database-credential-unknown medium', 'caller-new-asn critical'],
  ),
  variant(
    'V7',
    'firewall opened',
    firewallOpened,
    row(60, 0, '11:00:00', vaultWrite(omar, oneMore), vaultAudit('VaultPatch', omar, oneMore)),
    ['vault-network-open high'],
  ),
  variant(
    'V8',
    'logs off, while the Activity log goes on',
    [
      ...row(50, 1, '11:00:00', activity('Microsoft.Insights/diagnosticSettings/delete', diagnosticSetting, omar)),
      ...[2, 3, 4, 5, 6, 7, 8, 9].flatMap((day) =>
        row(51, day, '09:00:00', vaultWrite(omar, vaultBody('Deny', '192.0.2.40/32'))),
      ),
    ],
    row(60, 0, '11:00:00', activity('Microsoft.Insights/diagnosticSettings/write', diagnosticSetting, omar, { request: diagnostics, })),
    ['log-stopped high', 'coverage-gap medium'],
  ),
  variant('V9', 'rotation missing', [], [], ['rotation-overdue medium', 'rotation-overdue medium'], {
    clean: [...rotatedLate, ...daily(367, Number.POSITIVE_INFINITY)],
  }),
  variant(
    'V9b',
    'the key is rotated, the databases are not',
    [],
    [],
    ['database-rotation-not-applied medium'],
    {
      clean: [
        ...scenario.filter((one) => one.row !== 40 && one.row !== 33),
        ...daily(331, Number.POSITIVE_INFINITY),
      ],
    },
  ),
  variant(
    'V10',
    'duties merged: the owner of the keys sets the protector',
    [],
    row(60, 1, '11:00:00', audit('KeyUpdate', { by: pipeline, ...orders, properties: keyProperties(1_811_924_200) }), serverKeyWrite(pipeline, orders.version)),
    ['database-duties-merged medium'],
    { clean: instead(...row(31, 0, '10:04:00', protectorWrite(omar, orders.version))) },
  ),
  variant(
    'V10b',
    'duties merged: the database administrator gives herself the keys',
    row(50, 1, '11:00:00', role('write', lena, ownRole)),
    [],
    ['database-duties-merged medium', 'policy-self-grant high', 'rbac-key-role medium'],
  ),
  variant(
    'V11',
    'principal deleted',
    row(50, 1, '11:00:00', principalRemoved(ekm)),
    row(60, 1, '11:10:00', principalRemoved(application('sp-wiki', OUTSIDE, ''))),
    ['database-key-at-risk critical'],
  ),
  variant('V12', 'rows 21 to 26 twice, late and in another order', [...duplicated].reverse(), [], []),
]
