/** Rows of an answer as a table, CSV or JSON lines. */
import { visible } from './escape.ts'

const MAX_CELL = 80

const plain = (value: unknown): string =>
  value === null || value === undefined
    ? ''
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value)

/** A spreadsheet takes these for the beginning of a formula (OWASP, CSV injection). */
const guarded = (cell: string) =>
  /^[=+\-@\t\r]/.test(cell) && Number.isNaN(Number(cell)) ? `'${cell}` : cell

const csvCell = (value: unknown): string => {
  const cell = guarded(plain(value))
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell
}

const table = (names: readonly string[], rows: readonly (readonly unknown[])[]): string => {
  const cells = [names, ...rows].map((row) =>
    row.map((one) => {
      const cell = visible(plain(one))
      return cell.length > MAX_CELL ? `${cell.slice(0, MAX_CELL - 1)}…` : cell
    }),
  )
  const widths = names.map((_, at) => cells.reduce((most, row) => Math.max(most, row[at]?.length ?? 0), 0))
  const lines = cells.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  return `${lines.toSpliced(1, 0, widths.map((width) => '-'.repeat(width)).join('  ')).join('\n')}\n`
}

export const answerFormats = {
  table,
  csv: (names: readonly string[], rows: readonly (readonly unknown[])[]) =>
    [names, ...rows].map((row) => `${row.map(csvCell).join(',')}\r\n`).join(''),
  json: (names: readonly string[], rows: readonly (readonly unknown[])[]) =>
    rows
      .map((row) => `${JSON.stringify(Object.fromEntries(names.map((name, at) => [name, row[at]])))}\n`)
      .join(''),
}
