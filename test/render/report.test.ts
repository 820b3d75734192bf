import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import type { Alert } from '../../src/model/alert.ts'
import type { FileResult, KeyTimeline, ScanReport } from '../../src/model/summary.ts'
import { renderReport } from '../../src/render/report.ts'

const about = { version: '0.1.0', command: 'keytrail scan logs --report report.html' }
const key = 'arn:aws:kms:eu-central-1:123456789012:key/1111aaaa-1a1a-41a1-81a1-1a1a1a1a1a1a'
const mallory = 'arn:aws:iam::123456789012:user/mallory'

const alert = (differs: Partial<Alert> = {}): Alert => ({
  schema_version: 'kms.alert.v1',
  alert_id: '0123456789abcdef0123456789abcdef',
  revision: 2,
  kind: 'signal',
  status: 'updated',
  detector: {
    id: 'burst-decrypt',
    version: 3,
    content_hash: 'c0ffee'.padEnd(64, '0'),
    calibration_hash: 'ca11b0'.padEnd(64, '0'),
    reference: 'https://example.com/rules/burst',
  },
  severity: 'critical',
  title: 'Decrypt burst on one key',
  explanation: 'mallory decrypted 180 times within 10 minutes.',
  entity: { key_id: key, principal: mallory, account: '123456789012' },
  provider: 'aws',
  account: '210987654321',
  window: { start: '2026-03-02T10:08:19.000Z', end: '2026-03-02T10:18:19.500Z' },
  time: { first_event: '2026-03-02T10:12:21Z', last_event: '2026-03-02T10:18:19Z' },
  observed: 1234.5,
  threshold: 50,
  expected: 7,
  evidence: {
    event_ids: ['8aad49f2532a1e96e0ad82c3f48e634a', '9bbd49f2532a1e96e0ad82c3f48e634b'],
    total: 180,
    sample: [{ summary: `Decrypt success by ${mallory} from 192.0.2.77`, raw_ref: 'logs/a.json.gz:51' }],
  },
  labels: { criticality: 'crown-jewel' },
  attack: [
    { v18: 'T1098', v19: 'T1098' },
    { v18: 'T1562.008', v19: 'T1685.002' },
  ],
  controls: ['KMS-01', 'SC-12'],
  triage: ['Is the caller known?', 'What does the key protect?', 'Revoke the credentials.'],
  replay_run_id: 'run-7',
  ...differs,
})

const denied = '2026-03-02T09:48:17Z Decrypt denied by ben'
const timeline = (differs: Partial<KeyTimeline> = {}): KeyTimeline => ({
  key,
  events: 12,
  first: '2026-03-02T09:00:00Z',
  last: '2026-03-02T10:59:00Z',
  operations: { decrypt: 9, rotate: 3 },
  principals: 2,
  slots: [1, 0, 9, 2],
  notable: [{ time: '2026-03-02T09:48:17Z', criticality: 'high', text: denied }],
  ...differs,
})

const file = (differs: Partial<FileResult> = {}): FileResult => {
  return { path: 'logs/a.json.gz', status: 'read', received: 1, skipped: {}, rejected: [], ...differs }
}

const complete = { alertsNotListed: 0, keysNotListed: 0, problems: [], ungrouped: 0 }

const calm: ScanReport = {
  summary: {
    alerts: { by_detector: {}, total: 0 },
    files: { failed: 0, read: 16, skipped: 0 },
    mfa: { unknown: 226, verified: 4 },
    operations: { decrypt: 456, rotate: 1 },
    outcomes: { denied: 1, success: 782 },
    records: { duplicate: 5, kept: 783, received: 1200, rejected: 0, skipped: 412 },
    rejections: [],
    services: { aws_kms: 783 },
  },
  files: [file()],
  skipped: { out_of_scope: 412 },
  alerts: [],
  span: { first: '2026-03-02T09:00:00Z', last: '2026-03-02T11:00:00Z' },
  keys: [timeline()],
  detectors: 24,
  ...complete,
  paths: ['logs'],
}

const busy: ScanReport = {
  ...calm,
  summary: {
    ...calm.summary,
    alerts: { by_detector: { 'burst-decrypt': 9 }, total: 9 },
    files: { failed: 2, read: 16, skipped: 1 },
    records: { duplicate: 5, kept: 783, received: 1203, rejected: 3, skipped: 412 },
    rejections: [{ count: 3, example: 'logs/b.json:17', reason: 'bad_time' }],
  },
  files: [
    file(),
    file({
      path: 'logs/b.gz',
      status: 'failed',
      reason: 'truncated',
      detail: 'the end is missing',
      received: 7,
    }),
    file({ path: 'logs/c.json.gz', status: 'failed', reason: 'unreadable' }),
    file({ path: 'logs/CloudTrail-Digest/d.json.gz', status: 'skipped', reason: 'digest' }),
  ],
  skipped: { out_of_scope: 400, insight: 12 },
  alerts: [
    alert(),
    alert({ severity: 'high' }),
    alert({ severity: 'medium', status: 'withdrawn' }),
    alert({ severity: 'low', account: '', entity: {} }),
  ],
  alertsNotListed: 5,
  keysNotListed: 3,
  problems: ['detectors/broken.yml:3:1: unknown field'],
  ungrouped: 6,
}

const styleOf = (page: string) => /(?<=<style>).*(?=<\/style>)/s.exec(page)?.[0] ?? ''
const withoutStyle = (page: string) => page.replace(styleOf(page), '')

const names: Readonly<Record<string, string>> = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&amp;': '&' }
const decode = (text: string) =>
  text.replace(/&#?\w+;/g, (one) => names[one] ?? String.fromCodePoint(Number(one.slice(2, -1))))

/** The text a reader sees: without markup, entities decoded, spaces folded. */
const textOf = (page: string) => decode(withoutStyle(page).replace(/<[^>]*>/g, ' ')).replace(/\s+/g, ' ')

const TAG = /<!DOCTYPE html>|<\/?([a-z]+[1-6]?)((?: [a-zA-Z-]+(?:="[^"<>]*")?)*)\/?>/g
const tags = ` html head meta title style body header main footer section article div span p h1 h2 h3 h4 dl dt dd ul
 ol li table caption thead tbody tr th td strong code br a details summary figure figcaption svg desc rect `
const attributes = ` lang charset http-equiv content name class id href aria-label aria-labelledby scope open role
 viewBox preserveAspectRatio x y width height `
const isIn = (list: string, name: string) => list.split(/\s+/).includes(name)

/** Reads the page as markup of our own making: whatever is not a known tag with known attributes is a finding. */
const findings = (whole: string): string[] => {
  const page = withoutStyle(whole)
  const found: string[] = []
  const stack: string[] = []
  const text = page.replace(TAG, (tag, name: string | undefined, rest: string | undefined) => {
    if (name === undefined) return ''
    if (!isIn(tags, name)) found.push(`tag ${tag}`)
    for (const [, attribute = '', value = ''] of (rest ?? '').matchAll(/ ([a-zA-Z-]+)(?:="([^"]*)")?/g)) {
      if (!isIn(attributes, attribute)) found.push(`attribute ${tag}`)
      if (attribute === 'href' && !/^#[a-z]+(-[a-z0-9]+)?$/.test(value)) found.push(`link ${tag}`)
    }
    if (tag.startsWith('</')) {
      if (stack.pop() !== name) found.push(`closes what is not open: ${tag}`)
    } else if (!['meta', 'br', 'rect'].includes(name)) stack.push(name)
    return ''
  })
  if (/NaN|Infinity|undefined/.test(page)) found.push('no value')
  if (/[<>"`{}]/.test(text)) found.push(`raw ${text.match(/.{0,20}[<>"`{}].{0,20}/)?.[0]}`)
  const invisible = /(?![ \n])[\p{Cc}\p{Cf}\p{Z}\p{Cs}\p{Default_Ignorable_Code_Point}]/u.exec(page)
  if (invisible) found.push(`invisible U+${invisible[0].codePointAt(0)?.toString(16)}`)
  return stack.length === 0 ? found : [...found, `left open: ${stack.join(' ')}`]
}

/** Changes every text of a value, and the names in those of its records that are open to any name. */
const poison = (value: unknown, change: (text: string) => string, at = ''): unknown => {
  if (value === 'failed' || value === 'skipped') return value // else the page would leave these files out
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((one) => poison(one, change, at))
  if (typeof value !== 'object' || value === null) return value
  const open = /^(labels|mfa|operations|outcomes|services|by_detector|skipped)$/.test(at) ? change : String
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [open(name), poison(inner, change, name)]),
  )
}

const payloads: readonly (readonly [name: string, payload: string])[] = [
  ['an image with a handler', '<img src=x onerror=alert(1)>'],
  ['a script', '</title></style></svg><script>alert(1)</script>'],
  ['the end of an attribute', '" onmouseover="alert(1)" x="'],
  ['the end of an attribute, single', "' onfocus='alert(1)' autofocus='"],
  ['a script link', '<a href="javascript:alert(1)">x</a> javascript:alert(1)'],
  ['an SVG with a handler', '<svg/onload=alert(1)><desc><foreignObject>'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the payload
  ['template braces', '`-alert(1)-` {{constructor.constructor("alert(1)")()}} ${7*7} {% raw %} <%= 7*7 %>'],
  ['the end of a comment', '--><!-- ]]> <?php'],
  ['an entity', '&lt;script&gt; &#60;script&#62; &amp'],
  ['bidirectional and zero-width', 'gpj\u202E.exe\u2066\u200B\u200D\uFEFF\u00AD\u061C'],
  ['control characters', 'a\u0000b\u001B[31mc\r\nd\te\u0085\u2028\u2029f\u00A0'],
  ['lone surrogates, tags, variation selectors', 'x\uD800y\uDC00z\u{E0041}\uFE0F\u3164\u2800b'],
  ['replacement patterns', "$& $1 $` $'"],
  ['names of Object.prototype', 'constructor'],
]

it.each(payloads)('in every field: %s', (_, payload) => {
  for (const change of [(text: string) => text + payload, () => payload]) {
    const hostile = poison(busy, change) as ScanReport // the same shape; only texts differ
    const page = renderReport(hostile, poison(about, change) as typeof about)
    expect(findings(page)).toEqual([])
    expect(page).not.toMatch(/<script|<img|<svg\/|<%|\{\{|\$\{|<!--/)
    expect(styleOf(page)).toBe(styleOf(renderReport(calm, about)))
  }
})

it.each([
  ['gpj\u202E.exe', 'gpj[U+202E].exe'],
  ['two\nlines', 'two[U+000A]lines'],
  ['<b>&amp;', '<b>&amp;'],
  ['\u{1F511} Ключ 鍵', '\u{1F511} Ключ 鍵'],
  [`Z${'\u0301'.repeat(40)}`, `Z${'\u0301'.repeat(4)}…`],
])('%j is shown as %j', (title, shown) => {
  expect(textOf(renderReport({ ...busy, alerts: [alert({ title })] }, about))).toContain(` ${shown} `)
})

const many = { ...calm, keys: Array.from({ length: 103 }, (_, n) => timeline({ key: `key-${n}-` })) }

it('shows every text of the report, but for those that only steer it', () => {
  const texts: string[] = []
  const marked = poison(busy, (text) => `${text}~${texts.push(text)}~`) as ScanReport
  const page = textOf(renderReport(marked, about))
  const missing = texts.filter(
    (text, index) => !page.includes(`${text}~${index + 1}~`) && !/^([-:.TZ\d]+|[\da-f]{64})$/.test(text),
  )
  expect(new Set(missing)).toEqual(new Set(['read', 'logs/a.json.gz', 'kms.alert.v1', 'signal', 'aws']))
})

const empty: ScanReport = { ...calm, span: undefined, keys: [], detectors: 0, skipped: {} }
const records = { duplicate: 0, kept: 0, received: 9, rejected: 0, skipped: 9 }
const failed = Array.from({ length: 102 }, (_, n) => file({ path: `f${n}`, status: 'failed' }))

it.each<[text: string, report: ScanReport]>([
  ['No alerts. 24 detectors looked at 783 events and found nothing to report.', calm],
  ['Nothing was judged: no detector was loaded.', empty],
  ['Nothing was judged: no event about a key was found.', { ...calm, summary: { ...calm.summary, records } }],
  ['No event was kept, so there is no time span.', empty],
  ['Every file and every record could be read.', calm],
  ['1,200 received = 783 kept + 412 skipped + 5 duplicate + 0 rejected', calm],
  ['The parts add up to 9', { ...calm, summary: { ...calm.summary, records: { ...records, received: 8 } } }],
  ['9 alerts: 1 critical, 1 high, 1 medium, 1 low, 5 not listed here.', busy],
  ['Not everything could be read: 2 files failed, 3 records rejected.', busy],
  [`Key ${key} Caller ${mallory} Account 123456789012`, busy],
  ['Recorded in AWS, account not in the log', busy],
  ['Time 2026-03-02 10:12:21 to 2026-03-02 10:18:19 UTC', busy],
  [
    'Window 2026-03-02 10:08:19 to 2026-03-02 10:18:19.500 UTC Observed 1,234.5 , threshold 50, expected 7',
    busy,
  ],
  ['180 events in total: the first 2 ids 8aad49f2532a1e96e0ad82c3f48e634a', busy],
  ['T1098 (v18 and v19); T1562.008 (v18), T1685.002 (v19) Controls KMS-01, SC-12', busy],
  ['burst-decrypt version 3, content c0ffee000000 , calibration ca11b0000000', busy],
  ['0123456789abcdef0123456789abcdef keytrail explain 01234567', busy],
  ['unknown the log does not say; unknown is not “no” 226', calm],
  ['12 events in 3 of 4 slots of 30 minutes; the busiest begins 2026-03-02 10:00:00 UTC with 9.', calm],
  ['12 events in 0 of 0 slots; the busiest has 0.', { ...calm, keys: [timeline({ slots: [] })] }],
  ['12 events in 0 of 2 slots', { ...calm, keys: [timeline({ slots: [0, 0] })] }],
  ['Events per slot, first to last: 1, 0, 9, 2', calm],
  ['3 more keys not shown', many],
  ['the compressed data ends early (the end is missing); 7 records read before that. Fetch the file', busy],
  ['2 more files not shown', { ...calm, files: failed }],
  ['bad_time no readable time, neither in the record nor in its envelope logs/b.json:17 3', busy],
  ['logs/CloudTrail-Digest/d.json.gz : a CloudTrail digest file, left for verification', busy],
  ['insight a CloudTrail Insight: a statistic, not a use of a key 12', busy],
  ['5 alerts: keytrail scan --alerts FILE writes them all. All alerts by detector', busy],
  [`version 0.1.0 Command ${about.command} Detectors 24 Not counted 6 events`, busy],
])('%s', (text, report) => {
  const page = renderReport(report, about)
  expect(textOf(page)).toContain(text)
  expect(findings(page)).toEqual([])
})

it.each<[name: string, text: string, report: ScanReport]>([
  ['a calm page has no warning', 'class="warning"', calm],
  ['a calm page has no alert section', 'id="alerts"', calm],
  ['a calm page has nothing unlisted', 'id="not-listed"', calm],
  ['three alerts need no index', 'Alerts at a glance', { ...busy, alerts: busy.alerts.slice(1) }],
  ['the 101st key is not shown', 'key-100-', many],
])('%s', (_, text, report) => expect(renderReport(report, about)).not.toContain(text))

it('has an index of alerts whose links have a target', () => {
  const page = renderReport(busy, about)
  const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target)
  expect(targets).toEqual(['unread', 'not-listed', 'alert-1', 'alert-2', 'alert-3', 'alert-4'])
  for (const target of targets) expect(page.split(`id="${target}"`)).toHaveLength(2)
})

it('admits exactly its own style sheet', () => {
  const page = renderReport(busy, about)
  const hash = createHash('sha256').update(styleOf(page)).digest('base64')
  expect(page).toContain(
    `content="default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'"`,
  )
  expect(styleOf(page)).not.toMatch(/url\(|@import|</)
  expect(page.match(/<style/g)).toHaveLength(1)
  expect(page).not.toMatch(/ style=|https?:\/\/(?!example\.com)/)
})

it('gives the same bytes for the same input', () => {
  expect(renderReport(structuredClone(busy), { ...about })).toBe(renderReport(busy, about))
})
