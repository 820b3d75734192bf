// The database register of the scenario: what its operator knows, as a file of knowledge.
import { keyUrl, SERVER } from './callers.ts'
import { appObject, ekm, ines, K1, lena, mi, moment, omar, sql01, sql01Next } from './calls.ts'

const window = (day: number, note: string) =>
  `{ from: ${moment(day, '08:00')}Z, until: ${moment(day, '12:00')}Z, note: ${note} }`
const people = `    key_admins: [${omar.oid}] # ${omar.name}
    database_admins: [${lena.oid}] # ${lena.name}
    auditors: [${ines.oid}] # ${ines.name}
    backup_identity: ${omar.oid}
    rotation_days: 365
    environment: production
    change_windows:
      - ${window(0, 'set-up')}
      - ${window(330, 'new key for sql01')}
`

export const register = `# Which databases depend on which keys, who may use them and who may change them.
databases:
  - id: sql01
    platform: sql_server_ekm
    server: sql01
    databases: [payroll, ledger]
    keys:
      - { key_id: ${keyUrl(sql01.key)}, purpose: tde }
      - { key_id: ${keyUrl(sql01Next.key)}, purpose: tde, predecessor: ${keyUrl(sql01.key)} }
    principals: # ${ekm.name}
      - oid: ${ekm.oid}
        appid: ${ekm.appid}
        application: ${appObject}
        kind: service_principal
        registrars: [${lena.oid}] # ${lena.name}
        credential_ids: [${K1}]
    networks: [192.0.2.40/32]
${people}  - id: sql-orders
    platform: azure_sql
    server: ${SERVER}
    databases: [orders, carts, stock]
    keys:
      - { key_id: ${keyUrl('orders-tde')}, purpose: tde }
    principals:
      - { oid: ${mi.oid}, appid: ${mi.appid}, kind: managed_identity }
${people.replace('new key for sql01', 'yearly review')}`
