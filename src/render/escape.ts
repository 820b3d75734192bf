/**
 * What the report is made of: HTML in which a value cannot become markup, because the template escapes
 * whatever is put into it.
 * One escaping fits the two contexts a report uses, element text and double-quoted attributes; there is no third
 * (no script, no style, no URL made from a value), so there is nothing to choose wrongly.
 */

const mark: unique symbol = Symbol('html')

/** Text that is markup already; only `html` and `trusted` make it. */
export interface Html {
  readonly [mark]: string
}

export type Value = string | number | Html | readonly Html[] | undefined

/**
 * Characters that hide, reorder or forge text: controls, bidirectional marks, zero width, private use, lone
 * surrogates, line separators, every space but the common one, blank letters.
 */
const invisible =
  /(?! )[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Z}\p{Default_Ignorable_Code_Point}\u2800\uFFF9-\uFFFC\uFFFE\uFFFF]/gu

/** More marks on one letter than any script needs: they would paint over the neighboring lines. */
const stacked = /(\p{M}{4})\p{M}+/gu

const codePoint = (char: string) =>
  `[U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`

/** The same text with nothing in it that cannot be seen: U+202E is shown as `[U+202E]`. */
export const visible = (text: string): string => text.replace(stacked, '$1…').replace(invisible, codePoint)

/** Braces and backticks too: a ticket system may run the page through a template engine. */
const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
  '{': '&#123;',
  '}': '&#125;',
}

export const escapeHtml = (text: string): string =>
  visible(text).replace(/[&<>"'`{}]/g, (char) => entities[char] ?? '')

const rendered = (value: Value): string => {
  if (value === undefined) return ''
  if (typeof value === 'string') return escapeHtml(value)
  if (typeof value === 'number') return escapeHtml(String(value))
  if (mark in value) return value[mark]
  return value.map((one) => one[mark]).join('')
}

/** Only for text of our own, such as the style sheet. */
export const trusted = (markup: string): Html => ({ [mark]: markup })

/** Tagged template: the literal parts are markup, every value is escaped unless it is `Html`. */
export const html = (parts: TemplateStringsArray, ...values: readonly Value[]): Html =>
  trusted(String.raw({ raw: parts }, ...values.map(rendered)))

export const markupOf = (value: Html): string => value[mark]

export const when = (condition: boolean, then: () => Html): Html | undefined =>
  condition ? then() : undefined

/** A value from the log, in the font that tells look-alike letters apart. */
export const code = (text: string): Html => html`<code>${text}</code>`

export const codeOrNone = (text: string | undefined): Html | undefined =>
  text === undefined ? undefined : code(text)

export const listItems = (all: readonly Html[]): Html[] => all.map((one) => html`<li>${one}</li>`)

export const joined = (all: readonly Html[], separator = ', '): Html =>
  html`${all.map((one, index) => (index === 0 ? one : html`${separator}${one}`))}`

/** Name and value, in two columns; a value that is not there takes its row with it. */
export const facts = (rows: readonly (readonly [name: string, value: Html | undefined])[]): Html =>
  html`<dl class="facts">
${rows.map(([name, value]) => (value === undefined ? html`` : html`<dt>${name}</dt><dd>${value}</dd>\n`))}</dl>`

/** A cell is markup, or a count. */
export const table = (
  caption: string,
  heads: readonly string[],
  rows: readonly (readonly (Html | number)[])[],
): Html => {
  const head = (name: string) =>
    name === 'Count' ? html`<th scope="col" class="count">${name}</th>` : html`<th scope="col">${name}</th>`
  const cell = (value: Html | number) =>
    typeof value === 'number' ? html`<td class="count">${number(value)}</td>` : html`<td>${value}</td>`
  return html`<div class="scroll"><table><caption>${caption}</caption>
<thead><tr>${heads.map(head)}</tr></thead>
<tbody>
${rows.map((row) => html`<tr>${row.map(cell)}</tr>\n`)}</tbody></table></div>
`
}

const numbers = new Intl.NumberFormat('en-US', { maximumFractionDigits: 3 })
export const number = (count: number): string => numbers.format(count)
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${number(count)} ${count === 1 ? one : many}`

/** `2026-03-02 09:00:11 UTC`; a text that is not such a time stays as it is. */
export const moment = (time: string): string =>
  time.replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.0+|(\.\d+))?Z$/, '$1 $2$3 UTC')

export const between = (first: string, last: string): string =>
  first === last ? moment(first) : `${moment(first).replace(/ UTC$/, '')} to ${moment(last)}`

/** The more frequent first; the order of equals is fixed by their names. */
export const byCount = (values: Readonly<Record<string, number>>): [name: string, count: number][] =>
  Object.entries(values).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))

export type Words = Readonly<Record<string, string>>

/** The explanation of a name; `undefined` for a name that is not in the table, also for `constructor`. */
export const wordOf = (words: Words, name: string | undefined): string | undefined =>
  name !== undefined && Object.hasOwn(words, name) ? words[name] : undefined

/** @param words when given, each name is explained */
export const counts = (
  caption: string,
  head: string,
  values: Readonly<Record<string, number>>,
  words?: Words,
): Html => {
  const rows = byCount(values).map(([name, count]) =>
    words === undefined ? [html`${name}`, count] : [html`${name}`, html`${wordOf(words, name)}`, count],
  )
  return table(caption, words === undefined ? [head, 'Count'] : [head, 'What it means', 'Count'], rows)
}
